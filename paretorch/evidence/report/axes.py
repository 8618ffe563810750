"""The cost axes of a report's figures: what an arm costs in counted size, in measured time, in training.

Time is an axis only where some arm's time changed; else all points would lie at 1, which a table says better.
Theoretical costs (multiply-accumulates) are no axis here: they are in a table, labelled, and never drawn as speed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from paretorch.evidence.arms import Arm
from paretorch.evidence.quantities import (
    cost_field,
    measured_speeds,
    total_bytes,
    training_epochs,
    training_seconds,
)
from paretorch.evidence.records import RunRecord
from paretorch.evidence.report.cost_words import TUNED_COST
from paretorch.evidence.statistics import Interval


@dataclass(frozen=True)
class Place:
    """Where an arm lies on a cost axis; `certified` is False for a time taken on a noisy machine."""

    cost: Interval
    certified: bool = True


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One cost.

    Args:
        key: short name, used as the figure's id.
        title: heading of the figure.
        label: label of the axis, with the unit.
        caption: what a reader must know to read it.
        places: label of the arm -> where it lies; arms without a value are left out.
        log: logarithmic scale.
        can_rank: whether a front may be drawn; False when the costs cannot be told apart.
    """

    key: str
    title: str
    label: str
    caption: str
    places: dict[str, Place] = field(default_factory=dict)
    log: bool = False
    can_rank: bool = True


def axes_of(arms: Sequence[Arm], baseline: Arm | None) -> list[Axis]:
    """Size, measured time per batch size where it changed, training cost: those for which any arm has a value."""
    axes = [_size(arms), *_times(arms, baseline), _training(arms)]
    return [axis for axis in axes if axis.places]


def _counted(arms: Sequence[Arm], read: Callable[[RunRecord], float | None]) -> dict[str, Place]:
    intervals = {arm.label: arm.interval(read) for arm in arms}
    return {label: Place(interval) for label, interval in intervals.items() if interval is not None}


def _size(arms: Sequence[Arm]) -> Axis:
    nonzeros = _counted(arms, lambda run: cost_field(run, "nonzeros"))
    if nonzeros:
        return Axis(
            key="size",
            title="Quality against size",
            label="non-zero parameters (counted)",
            caption="Non-zero parameters are counted exactly. A masked model stored as dense tensors takes as many "
            "bytes as before, and a cut one fewer; the bytes that were really stored are in the cost table.",
            places=nonzeros,
            log=True,
        )
    return Axis(
        key="size",
        title="Quality against size",
        label="stored bytes",
        caption="Bytes as stored, with masks, indices and scales.",
        places=_counted(arms, total_bytes),
        log=True,
    )


def _training(arms: Sequence[Arm]) -> Axis:
    epochs = _counted(arms, training_epochs)
    tuned = f" {TUNED_COST}" if any(arm.is_whole for arm in arms) else ""
    return Axis(
        key="training",
        title="Quality against training cost",
        label="training epochs, all phases" if epochs else "training seconds, all phases (measured)",
        caption="All phases are charged: dense training, every retraining, discarded tuning trials. A compressed model "
        "that starts from a trained dense one is never cheaper to train than the dense one."
        f"{tuned}",
        places=epochs or _counted(arms, training_seconds),
    )


def _times(arms: Sequence[Arm], baseline: Arm | None) -> list[Axis]:
    by_batch: dict[int, dict[str, Place]] = {}
    changed: dict[int, bool] = {}
    for arm in arms:
        if arm.is_baseline:
            continue
        for speed in measured_speeds(arm, baseline):
            ratio = speed.interval
            low, high = (None if end is None else 1 / end for end in (ratio.high, ratio.low))
            time = Interval(1 / ratio.mean, low, high, ratio.n, ratio.confidence)
            by_batch.setdefault(speed.batch, {})[arm.label] = Place(time, speed.certified)
            changed[speed.batch] = changed.get(speed.batch, False) or speed.changed
    axes = []
    for batch, places in sorted(by_batch.items()):
        if not changed[batch]:
            continue
        if baseline is not None:
            places = {baseline.label: Place(Interval(1.0, None, None, 1))} | places
        certified = all(place.certified for place in places.values())
        caption = "Measured time of one forward pass over that of the dense model; 1 is no change, bars are intervals. "
        caption += (
            "All timings are certified: taken side by side on a quiet machine."
            if certified
            else "Hollow marks are not certified: the machine was noisy, or the models were not timed side by side."
        )
        axes.append(
            Axis(
                key=f"latency-{batch}",
                title=f"Quality against measured time, batch size {batch}",
                label="time / dense time (measured)",
                caption=caption,
                places=places,
                can_rank=certified,
            )
        )
    return axes
