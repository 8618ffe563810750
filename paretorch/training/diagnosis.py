"""What binds a training step, from the seconds of whole steps and of steps that lack a stage, timed in turns.

    bound_i = median over rounds of t(whole step) / t(step without stage i)      measured, at least 1
    share_i = 1 - 1 / bound_i                                                    of the time that is not hidden

"data loading" is reading, collating and preparing examples; "optimizer step" the update alone; "compute" is what no
ablation removes: forward and backward pass with their memory traffic and launches, clipping, and what methods do. A
stage that others hide has a bound of 1, however long it takes.

No method that makes a stage k times as fast gains more than the stage's bound, and Amdahl's law says how much less:

    S(k) = 1 / (1 - share_i + share_i / k) <= bound_i

Every bound compares with the whole step as it is now, so that the largest names what binds first. Once that is relieved
the bottleneck migrates: diagnose again.

Source: G. M. Amdahl, AFIPS 1967 (`measurement.amdahl`). Ablation as the test of a bottleneck and the threshold of 1.1
are ours.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from paretorch.errors import InputError
from paretorch.measurement.amdahl import serial_speedup
from paretorch.measurement.interleaved import median_interval
from paretorch.methods.catalogue import all_cards
from paretorch.methods.queries import relieving
from paretorch.methods.taxonomy import Resource

WORTH_RELIEVING = 1.1  # below it even the complete removal of a stage gains less than a tenth


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of a training step.

    Attributes:
        resource: what binds there, in the words of the cards.
        share: of the time of a step, in [0, 1]; the shares of all stages sum to 1.
        bound: at most so many times as fast is a step without it; measured, except for "compute", where it follows
            from the share and may be infinite.
        interval: for the bound: low, high and the probability with which they hold it if rounds are independent
            (`median_interval`); None for "compute".
    """

    resource: Resource
    share: float
    bound: float
    interval: tuple[float, float, float] | None

    @property
    def worth_relieving(self) -> bool:
        """Whether the bound was measured, is at least `WORTH_RELIEVING`, and its interval lies above 1."""
        return self.interval is not None and self.bound >= WORTH_RELIEVING and self.interval[0] > 1


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What binds a training step.

    Attributes:
        stages: those that were taken away, and "compute", which is the rest.
        whole: seconds of a whole step, one number per round.
        without: the same without one stage, by its resource; the same places are pairs.
        forward: share of the forward pass and loss in the time of "compute"; the rest is mostly the backward pass.
        steps: training steps of each round.
        device: where.
    """

    stages: tuple[Stage, ...]
    whole: tuple[float, ...]
    without: Mapping[Resource, tuple[float, ...]]
    forward: float
    steps: int
    device: str

    @property
    def dominant(self) -> Resource:
        """The stage with the largest bound among those that are worth relieving; "compute" if none is."""
        found = [stage for stage in self.stages if stage.worth_relieving]
        return max(found, key=lambda stage: stage.bound).resource if found else "compute"

    def stage(self, resource: str) -> Stage:
        """The stage of that resource.

        Raises:
            InputError: if the step has no such stage.
        """
        for stage in self.stages:
            if stage.resource == resource:
                return stage
        raise InputError(f"this step has no stage {resource!r}; it has {[stage.resource for stage in self.stages]}")

    def predicted(self, resource: str, factor: float) -> float:
        """How many times as fast a step becomes if one stage becomes `factor` times as fast.

        Args:
            resource: the stage.
            factor: above 0; infinite for a stage that vanishes.

        Returns:
            Amdahl's law for stages that run one after the other; never above the stage's bound.

        Raises:
            InputError: if the step has no such stage, or the factor is not above 0.
        """
        bound = self.stage(resource).bound
        if not factor > 0:
            raise InputError(f"factor = {factor} is not above 0; 2 makes the stage twice as fast, math.inf removes it")
        shares: dict[str, float] = {stage.resource: stage.share for stage in self.stages}
        return min(bound, serial_speedup(shares, {resource: factor}))

    def relieved_by(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Ids of the methods that relieve the dominant resource: those that ship, and published ones that do not."""
        found = relieving(all_cards().values(), self.dominant)
        return tuple(c.id for c in found if c.implemented), tuple(c.id for c in found if not c.implemented)

    def lines(self) -> list[str]:
        """The diagnosis in sentences."""
        seconds = float(np.median(self.whole))
        built, published = self.relieved_by()
        return [
            f"A training step takes {1000 * seconds:.3g} ms on {self.device} (median of {len(self.whole)} rounds of "
            f"{self.steps} steps).",
            *(self._sentence(stage) for stage in self.stages),
            self._verdict(),
            f"Methods whose cards relieve {self.dominant}: {', '.join(built) or 'none that ships'}; published and not "
            f"built here: {len(published)} (`paretorch methods --relieves {self.dominant!r}` names them).",
        ]

    def _sentence(self, stage: Stage) -> str:
        part = f"{stage.resource}: {stage.share:.0%} of the step"
        if stage.interval is None:
            return f"{part}, of which forward pass and loss take {self.forward:.0%}; no ablation removes it."
        low, high, coverage = stage.interval
        return (
            f"{part}; without it a step is {stage.bound:.2f} times as fast ({coverage:.0%} interval {low:.2f} to "
            f"{high:.2f})."
        )

    def _verdict(self) -> str:
        if self.dominant != "compute":
            return (
                f"What binds first: {self.dominant}. No relief of it makes a step more than "
                f"{self.stage(self.dominant).bound:.2f} times as fast. Diagnose again after relieving it, because the "
                "bottleneck migrates."
            )
        unclear = [s.resource for s in self.stages if s.interval is not None and s.bound >= WORTH_RELIEVING]
        if unclear:
            return (
                f"What binds is not told: the rounds cannot tell {' and '.join(unclear)} from noise. Diagnose again "
                "with more rounds, on a machine that does nothing else."
            )
        return (
            f"Compute binds: without any one of the other stages a step would be less than {WORTH_RELIEVING:g} times "
            "as fast."
        )


def diagnosis_of(
    whole: Sequence[float],
    without: Mapping[Resource, Sequence[float]],
    *,
    forward: float,
    steps: int,
    device: str,
) -> Diagnosis:
    """The diagnosis from times.

    Removing a stage shortens a step by no more than its part of what is not hidden, so that the measured shares sum to
    1 at most. What noise puts above it is taken from all in proportion, and "compute" then has none.

    Args:
        whole: seconds of a whole step, one number per round.
        without: the same without one stage, by its resource; the same places are pairs.
        forward, steps, device: as in `Diagnosis`.

    Raises:
        InputError: for times that are no pairs, or not above 0.
    """
    for name, values in [("whole step", whole), *without.items()]:
        if len(values) != len(whole) or not values or not all(0 < value < math.inf for value in values):
            raise InputError(
                f"the rounds of {name!r} must be {max(1, len(whole))} positive numbers of seconds; got {list(values)}"
            )
    measured = [_measured(resource, whole, values) for resource, values in without.items()]
    total = max(1.0, math.fsum(stage.share for stage in measured))
    measured = [replace(stage, share=stage.share / total) for stage in measured]
    rest = max(0.0, 1 - math.fsum(stage.share for stage in measured))
    bound = 1 / (1 - rest) if rest < 1 else math.inf
    return Diagnosis(
        stages=(*measured, Stage(resource="compute", share=rest, bound=bound, interval=None)),
        whole=tuple(whole),
        without={resource: tuple(values) for resource, values in without.items()},
        forward=forward,
        steps=steps,
        device=device,
    )


def _measured(resource: Resource, whole: Sequence[float], without: Sequence[float]) -> Stage:
    """A stage from pairs of rounds; as for a `Ratio`, medians are those of the logarithms."""
    logs = np.log(whole) - np.log(without)
    low, high, coverage = median_interval(logs)
    bound = max(1.0, math.exp(float(np.median(logs))))  # below 1 is noise: less work is not slower
    return Stage(
        resource=resource, share=1 - 1 / bound, bound=bound, interval=(math.exp(low), math.exp(high), coverage)
    )
