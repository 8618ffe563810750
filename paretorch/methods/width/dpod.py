"""Elastic training whose centre shrinks: layers are narrowed one at a time in training, and cut for good one at a time.

    at an event:  measure e_g(v) at the centre C for narrower v     (`tables`)
                  C_g <- v for the least error per saving           (`dpod_events`)
                  slice weights, statistics and optimizer state, and sample below the new centre

It ends with a model of the target size and a trace of measured (footprint, loss) points, from one training run. Only
the shrinking centre makes training steps cheaper; the events cost forward passes: (groups x levels + 1) times those of
the calibration examples.

Source: reconstructed from the abstract of J. Liu, MSc thesis, MBZUAI 2025; the full text was not available. From the
abstract: widths are pruned during training, one layer per step, at layer granularity, under footprint constraints, with
fine-tuning after it. Ours: the rest, in particular the rule of choice, the schedule, the calibration and every default.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.methods.card import Card, HyperParameter
from paretorch.methods.cost_model import Effect, Effects, LayerShape
from paretorch.methods.method import Run
from paretorch.methods.width.allocation.costs import cost_of
from paretorch.methods.width.archive import Entry
from paretorch.methods.width.calibration import Calibration
from paretorch.methods.width.cutting import narrowed, plan_cut
from paretorch.methods.width.dpod_events import FOOTPRINTS, WINDOW, Shrink, ShrinkPlan, choose
from paretorch.methods.width.elastic import ElasticTraining
from paretorch.methods.width.groups import Profile, WidthGroups
from paretorch.methods.width.samplers import Sampler
from paretorch.methods.width.tables import moved, sensitivity


def _cost(_layers: Sequence[LayerShape], _batch: int, settings: Mapping[str, Any]) -> Effects:
    """Steps cost the centre's share; an event measures its candidates and the centre on all calibration batches."""
    passes = settings["events"] * (settings["candidates"] + 1) * settings["batches"]
    share = Effect(factor=settings["centre_share"])
    return {"extra_forward": Effect(added=passes), "flops_forward": share, "flops_backward": share}


CARD = Card(
    id="dpod",
    title="Progressive shrinking of an elastic model (DPOD, reconstructed)",
    summary="Trains one layer at a time at random widths, and cuts one layer at a time to the least error per saving.",
    year=2025,
    references=(
        "J. Liu, MSc thesis, MBZUAI 2025, abstract; the full text was not available, and what the abstract does not "
        "say is reconstructed",
        "sampling of one layer: Horvath et al., Maestro, ICML 2024; greedy widths: Yu and Huang, AutoSlim, 2019",
    ),
    status="experimental",
    cells=(("parameters", "remove"), ("architecture", "restrict")),
    phase=("dense_train",),
    needs_total_duration=True,
    schedule_params=(("start of the events", WINDOW[0]), ("end of the events", WINDOW[1])),
    stochastic=True,
    stateful=True,
    hooks=("model_surgery", "forward", "backward"),
    composes_with=("bn-reestimate",),
    relieves=("compute", "memory capacity", "inference size", "inference latency", "inference compute"),
    caveat="steps become cheaper only as the centre shrinks; sampling narrow widths saves next to nothing",
    cost="steps at the share of the centre; per event one forward pass of all calibration batches per candidate",
    cost_model=_cost,
    charges=("calibration passes", "search"),
    realised_by="the cut is physical: smaller dense tensors; time falls where the kernels see the smaller widths",
    hyperparams=(
        HyperParameter(name="target", low=0.01, high=1.0, scale="log"),
        HyperParameter(name="events", default=20, low=0, high=1000, scale="integer"),
        HyperParameter(name="candidates", default=8, low=1, high=10_000, scale="integer"),
        HyperParameter(name="batches", default=20, low=1, high=10_000, scale="integer"),
        HyperParameter(name="centre_share", default=0.6, low=0.0, high=1.0),
    ),
    quality_risk="medium",
    invariants=(
        "each event narrows exactly one group, and the footprint falls strictly",
        "the cut model computes what the centre's prefix computed before the event",
        "optimizer state of the units that stay is kept bit for bit",
    ),
    evidence=("elastic_width",),
)


class DPOD(ElasticTraining):
    """Elastic training with progressive shrinking.

    Args:
        plan: how far, by which footprint, and when.
        calibration: examples on which profiles are measured at events; training examples, fixed for the run.
        on_kept: called as `on_kept(fraction, weights)` at the event at which the footprint falls to `fraction` or below
            for the first time, with the weights before it (for `restored`), one of `plan.keep_at`; it stores them. A
            resumed run may call it again with the same weights.
        sampler, groups, quantum, min_ratio, full_pass: as in `ElasticTraining`.

    Attributes:
        events: one dict per event: step, group, width, error, saving, footprint (after it), of `plan.key`.
        trace: every centre with its loss when it became one, in units of the uncut model. Later ones had more training,
            so that they are no front; an `Archive` of them keeps what a smaller one did not beat.
        stopped: the tolerance ended the shrinking before the target.

    Raises:
        InputError: if weights are to be kept and there is no `on_kept`; and as `ElasticTraining`.
    """

    name = "dpod"

    def __init__(
        self,
        plan: ShrinkPlan,
        *,
        calibration: Calibration,
        on_kept: Callable[[float, dict[str, Any]], None] | None = None,
        sampler: Sampler | None = None,
        groups: WidthGroups | None = None,
        quantum: int | Mapping[str, int] | None = None,
        min_ratio: float = 0.125,
        full_pass: bool = False,
    ) -> None:
        if plan.keep_at and on_kept is None:
            raise InputError(f"weights are to be kept at {plan.keep_at}, and there is no on_kept to store them")
        super().__init__(sampler, groups=groups, quantum=quantum, min_ratio=min_ratio, full_pass=full_pass)
        self.plan, self.calibration, self.on_kept = plan, calibration, on_kept
        self.events: list[dict[str, Any]] = []
        self.trace: list[Entry] = []
        self.stopped = False

    def start(self, run: Run) -> None:
        """As `ElasticTraining`.

        Raises:
            InputError: if the target or the phase is too small for the plan.
        """
        super().start(run)
        self.plan.check(self.groups, self.sampler.grids, num_steps=run.num_steps)
        self._footprint = cost_of(self.groups, self.plan.key)
        self._full = self._footprint(self.groups.full)
        self._sized = self.groups.full, self._sizes()
        self.events, self.trace, self.stopped = [], [], False

    def before_forward(self, run: Run) -> None:
        now = self._logged()[f"centre_{self.plan.key}"]
        limit = self.plan.limit_at(run.step, num_steps=run.num_steps, full=self._full)
        if not self.stopped and now > limit and not self.plan.reached(now, full=self._full):
            self._event(run)
        run.log(**self._logged())

    def state_dict(self) -> dict[str, Any]:
        trace = [entry.to_dict() for entry in self.trace]
        return super().state_dict() | {"events": self.events, "trace": trace, "stopped": self.stopped}

    def load_state_dict(self, run: Run, state: dict[str, Any]) -> None:
        super().load_state_dict(run, state)
        self.events = list(state["events"])
        self.trace = [Entry.from_dict(entry) for entry in state["trace"]]
        self.stopped = bool(state["stopped"])

    def _logged(self) -> dict[str, float]:
        """What the curve shows of the centre, counted anew when it has moved."""
        if self._sized[0] != self.groups.full:
            self._sized = self.groups.full, self._sizes()
        return self._sized[1]

    def _sizes(self) -> dict[str, float]:
        centre = self.groups.full
        return {"centre_macs": self.groups.num_macs(centre), f"centre_{self.plan.key}": self._footprint(centre)}

    def _event(self, run: Run) -> None:
        """Measure, choose one group, and narrow it for good; or stop, if the tolerance says so."""
        centre = self.groups.full
        known: dict[Profile, tuple[float, ...]] = {}

        def losses_at(profile: Profile) -> tuple[float, ...]:
            known[profile] = self.calibration.measured(self.ordered, profile)
            return known[profile]

        levels = [widths if self.plan.all_levels else widths[-2:] for widths in self.sampler.grids]
        tables = sensitivity(self.groups, centre, grids=levels, losses_at=losses_at)
        if not self.events:
            self._note(run, centre, known[centre])
        shrink = choose(tables, centre, self._footprint)
        tolerance = self.plan.tolerance
        if shrink is None or (tolerance is not None and shrink.error > tolerance):
            self.stopped = True
            return
        after = moved(centre, shrink.group, shrink.width)
        self._keep_weights(run, self._footprint(after))
        self.narrow(run, self.groups.prefix(after))
        self._record(run, shrink)
        self._note(run, after, known[after])

    def _keep_weights(self, run: Run, after: float) -> None:
        """Hand over the weights for every fraction that the centre exceeds and `after` does not."""
        now = self._footprint(self.groups.full)
        for fraction in self.plan.keep_at:
            if now > fraction * self._full >= after:
                assert self.on_kept is not None
                model = {name: value.detach().clone() for name, value in run.model.state_dict().items()}
                self.on_kept(fraction, {"step": run.step, "cuts": list(self._cuts), "model": model})

    def _record(self, run: Run, shrink: Shrink) -> None:
        self.events.append(
            {
                "step": run.step,
                "group": self.groups.names[shrink.group],
                "width": shrink.width,
                "error": shrink.error,
                "saving": shrink.saving,
                "footprint": self._footprint(self.groups.full),
            }
        )

    def _note(self, run: Run, profile: Profile, losses: Sequence[float]) -> None:
        """A measured centre for the trace."""
        tracked = bool(self.ordered.statistics(self.groups.full))
        self.trace.append(
            Entry(
                profile=profile,
                footprint=footprints(self.groups, profile),
                loss=sum(losses) / len(losses),
                source="trace",
                seed=run.seed,
                reestimated=bool(self.calibration.statistics) or not tracked,
            )
        )


def footprints(groups: WidthGroups, profile: Profile) -> dict[str, float]:
    """All exact footprints of a profile, by name."""
    return {key: cost_of(groups, key)(profile) for key in FOOTPRINTS}


def restored(model: nn.Module, groups: WidthGroups, weights: Mapping[str, Any]) -> WidthGroups:
    """Cut `model` to the centre at which `weights` were kept, and load them; in place.

    Args:
        model: uncut, as it was before the training that kept the weights.
        groups: of that model.
        weights: as `on_kept` got them.

    Returns:
        The groups of the model as it is then; its profile is `full`.

    Raises:
        InputError: if the weights are of another model.
    """
    cuts: Sequence[Sequence[Tensor]] = weights["cuts"]
    for keep in cuts:
        plan_cut(groups, keep).apply_(model)
        groups = narrowed(groups, keep)
    try:
        with torch.no_grad():
            model.load_state_dict(weights["model"])
    except RuntimeError as error:
        raise InputError(f"the kept weights do not fit the model: {' '.join(str(error).split())}") from error
    return groups
