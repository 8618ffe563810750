"""Training at many profiles of widths at once, so that sub-networks of one model can be cut out without training anew.

    each step: profiles w_1, w_2, ... from the sampler;   gradient = sum over i of grad L(f(x; w_i))

By default one layer at a time is narrowed and the loss is that of the sampled profile on labels; `full_pass` adds the
whole network and lets it teach (`distillation`). Gradients of units that are off are exactly zero. One narrowed layer
per step saves next to nothing by itself: with L layers, a step costs 1 - O(1 / L) of a full one. What saves is a centre
that shrinks (`narrow`).

Source: Horvath et al., "FjORD", NeurIPS 2021 (one level for all layers); one layer per step as in
`SamuelHorvath/Maestro-LoD`, for ranks; Yu et al., "Slimmable neural networks", ICLR 2019 (gradients of several widths
added); Yu and Huang, "Universally slimmable networks", ICCV 2019 (sandwich).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import Tensor

from paretorch.errors import InputError
from paretorch.methods.distillation.logits import check_distillable
from paretorch.methods.method import Method, Run, StepResult
from paretorch.methods.width.cutting import narrowed, plan_cut
from paretorch.methods.width.distillation import REMEDY, distillation_loss, loss_and_logits
from paretorch.methods.width.grid import grids
from paretorch.methods.width.groups import Profile, WidthGroups
from paretorch.methods.width.held import Held, hold, restore
from paretorch.methods.width.live import cut_live_
from paretorch.methods.width.ordered import OrderedModel
from paretorch.methods.width.samplers import Sampler, SingleLayer


class ElasticTraining(Method):
    """Owns the training step: each profile of the sampler's draw runs forward and backward, then one update.

    Logs the MACs of the step's passes over those of one pass at the centre (`sampled_share`), and of the centre over
    those of the uncut model (`centre_share`). Batch-norm statistics follow the centre's own passes only, which some
    samplers draw rarely: re-estimate them before the model is judged.

    Args:
        sampler: which profiles a step trains; None: one layer at a time.
        groups: of the model; None finds them from the task's example inputs.
        pins: name patterns of what is never cut, for groups that are found.
        quantum: widths are multiples of it; one, by group name, or None for the default of `grid`.
        min_ratio: no group is narrowed below this fraction of its size.
        full_pass: in every step the centre learns from labels and teaches the other profiles, which see no label.
        update: "all": weight decay and momentum move units that were off, as in public code; "active": they stay.

    Attributes:
        groups: of the model as it is now, after `start`.
        ordered: the model, to be run at any profile.
        sampler: bound to the groups.

    Raises:
        InputError: for groups together with pins, or an unknown `update`.
    """

    name = "elastic-training"

    groups: WidthGroups
    ordered: OrderedModel

    def __init__(
        self,
        sampler: Sampler | None = None,
        *,
        groups: WidthGroups | None = None,
        pins: Sequence[str] = (),
        quantum: int | Mapping[str, int] | None = None,
        min_ratio: float = 0.125,
        full_pass: bool = False,
        update: Literal["all", "active"] = "all",
    ) -> None:
        if groups is not None and pins:
            raise InputError(f"pins {list(pins)} are for groups that are found; these groups are given")
        if update not in ("all", "active"):
            raise InputError(f"update must be 'all' or 'active'; got {update!r}")
        self.sampler = SingleLayer() if sampler is None else sampler
        self.given, self.pins = groups, tuple(pins)
        self.quantum, self.min_ratio = quantum, min_ratio
        self.full_pass, self.update = full_pass, update
        self._cuts: list[list[Tensor]] = []
        self._trained: tuple[Profile, ...] = ()
        self._held: list[Held] = []

    def start(self, run: Run) -> None:
        if self.full_pass:
            check_distillable(run.task, remedy=REMEDY)
        self.groups = self.given if self.given is not None else self._found(run)
        self.ordered = OrderedModel(run.model, self.groups)
        self.sampler.bind(grids(self.groups, quantum=self.quantum, min_ratio=self.min_ratio), seed=run.seed)
        self._uncut_macs = self.groups.num_macs(self.groups.full)
        self._cuts, self._trained, self._held = [], (), []

    def training_step(self, run: Run, batch: Any) -> StepResult:
        drawn, centre = self.sampler.draw(), self.groups.full
        profiles = (centre, *(profile for profile in drawn if profile != centre)) if self.full_pass else drawn
        losses, teacher = [], None
        for profile in profiles:
            with self.ordered.at(profile):
                if not self.full_pass:
                    loss = run.task.loss(run.wrapped, batch)
                elif teacher is None:
                    loss, teacher = loss_and_logits(run, batch)
                else:
                    loss = distillation_loss(run, batch, teacher)
                run.backward(loss)  # at the profile, where checkpointed activations are computed again
            losses.append(loss.detach())
        self._trained = profiles
        self._log(run, profiles)
        return StepResult(loss=sum(losses[1:], losses[0]), updated=False)

    def before_update(self, run: Run) -> None:
        if self.update == "active" and self.groups.full not in self._trained:
            self._held = hold(self.ordered, self._trained, run.optimizers.values())

    def after_update(self, run: Run) -> None:
        restore(self._held, run.optimizers.values())
        self._held = []

    def narrow(self, run: Run, keep: Sequence[Tensor]) -> None:
        """Cut the model for good, with its optimizer state; the sampler goes on below the new centre.

        Args:
            run: between two steps, or in `after_update` of another method.
            keep: for each group the units that stay, int64, increasing; `groups.prefix(profile)` for a profile.

        Raises:
            InputError: as `plan_cut` does, before anything is changed.
        """
        self.after_update(run)
        cut_live_(run, plan_cut(self.groups, keep))
        self.groups = narrowed(self.groups, keep)
        self.ordered = OrderedModel(run.model, self.groups)
        self.sampler.recentre(self.groups.full)
        self._cuts.append([units.clone() for units in keep])

    def state_dict(self) -> dict[str, Any]:
        return {"cuts": self._cuts, "sampler": self.sampler.state_dict()}

    def load_state_dict(self, run: Run, state: dict[str, Any]) -> None:
        for keep in state["cuts"]:  # one after the other, so that scales of norms are rounded as they were
            self.narrow(run, keep)
        self.sampler.load_state_dict(state["sampler"])

    def _found(self, run: Run) -> WidthGroups:
        if run.task is None:
            raise InputError("without a task there are no example inputs to find width groups from; give `groups`")
        from paretorch.methods.width.tracing import find_groups  # late, because it loads torch's tracers

        return find_groups(run.model, run.task.example_inputs(), pins=self.pins)

    def _log(self, run: Run, profiles: Sequence[Profile]) -> None:
        if self.groups.macs:
            centre = self.groups.num_macs(self.groups.full)
            sampled = sum(map(self.groups.num_macs, profiles))
            run.log(sampled_share=sampled / centre, centre_share=centre / self._uncut_macs)
