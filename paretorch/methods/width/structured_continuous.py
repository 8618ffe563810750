"""Channels that are grown and pruned while a model trains: structured continuous sparsification.

    gate of unit u        c sigma(beta s_u)                 beta from 1 to beta_T, geometrically, over the phase
    present in a window   q_u ~ Bernoulli(sigma(beta s_u))  drawn every `window` steps
    loss                  L(f(x; units with q_u = 1, gated)) + strength N / (2 T) (E[cost] / cost - target)^2
    in the end            units with s_u > 0 stay, c is folded into the weights, the others are cut out

A unit that is absent is not computed: forward and backward of a window are those of the smaller model. Its weights and
their optimizer state stand still, so that a unit that was never present still has its initial weights when it comes.
s is learned by an optimizer of its own without weight decay. The cost term pulls on the N gates in proportion to the
gap between expected and wanted cost, down or up, so that a model that begins small grows; its weight falls with the
number of steps T, so that the pull over a whole phase does not depend on how long that is.

This is inspired by Yuan, Savarese and Maire, "Growing efficient deep networks by structured continuous sparsification",
ICLR 2021, and no reproduction: of it we know that units are switched by draws from sigma(beta s), that they are then
really absent, that beta is annealed, and that no fine-tuning follows. The form of the cost term (after CSQ, arXiv
2212.02770), what absent units keep, and all defaults are ours; layers are not removed; the savings that the paper
reports are not claimed.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from random import Random
from typing import Any, Literal

import torch
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.methods.card import Card, HyperParameter
from paretorch.methods.cost_model import CostKind, Effect, Effects, LayerShape
from paretorch.methods.method import Method, Run, StepResult
from paretorch.methods.width.cutting import Cut
from paretorch.methods.width.expected_cost import ExpectedCost
from paretorch.methods.width.gated import GatedModel
from paretorch.methods.width.gates import UNDECIDED, Mode, UnitGates
from paretorch.methods.width.groups import WidthGroups
from paretorch.methods.width.held import Held, held_entries, restore
from paretorch.methods.width.live import cut_live_


class StructuredContinuous(Method):
    """Owns the training step, and leaves a smaller plain model.

    Logs, as fractions of the full model's cost, that of the window (`window_cost`), the expected one (`expected_cost`)
    and that of the model which the end would leave (`final_cost`); and the fraction of gates that are `undecided`.

    Args:
        target: wanted cost as a fraction of the full model's, in (0, 1).
        cost: what is limited: "macs" or "params".
        groups: of the model; None finds them from the task's example inputs.
        window: steps between two draws.
        open_ratio: fraction of each group's units, the first ones, that begin at s = `start`; the others begin at
            -`start`. Below 1 the model grows.
        start: s_0, positive. The further from 0, the more steps a unit takes to be opened or shut.
        final_beta: beta at the last step, at least 1.
        strength: of the cost term, over the whole phase; positive.
        lr: learning rate of s (SGD with Nesterov momentum 0.9).

    Attributes:
        gated: the model, to be run on any of its units; after `start`.
        gates: s of every unit; after `start`.
        cut: what was cut; None before `finish`.

    Raises:
        InputError: for a number out of range.
    """

    name = "structured-cs"

    gated: GatedModel
    gates: UnitGates

    def __init__(
        self,
        *,
        target: float,
        cost: Literal["macs", "params"] = "macs",
        groups: WidthGroups | None = None,
        window: int = 50,
        open_ratio: float = 1.0,
        start: float = 0.2,
        final_beta: float = 200.0,
        strength: float = 60.0,
        lr: float = 0.1,
    ) -> None:
        if not 0 < target < 1 or not 0 < open_ratio <= 1:
            raise InputError(
                f"target must be a fraction in (0, 1), and open_ratio in (0, 1]; got {target} and {open_ratio}"
            )
        if cost not in ("macs", "params"):
            raise InputError(f"cost must be 'macs' or 'params'; got {cost!r}")
        if type(window) is not int or window < 1:
            raise InputError(f"window must be an integer of at least 1; got {window!r}")
        if not (min(start, strength, lr) > 0 and math.isfinite(start + strength + lr)):
            raise InputError(f"start, strength and lr must be positive and finite; got {start}, {strength} and {lr}")
        if not 1 <= final_beta < math.inf:
            raise InputError(f"final_beta must be finite and at least 1; got {final_beta}")
        self.target, self.cost, self.given, self.window = target, cost, groups, window
        self.open_ratio, self.start_at, self.final_beta = open_ratio, start, final_beta
        self.strength, self.lr = strength, lr
        self.cut: Cut | None = None
        self._held: list[Held] | None = None

    def start(self, run: Run) -> None:
        """Find the groups, and give their units gates with an optimizer of their own.

        Raises:
            InputError: if no group can have gates, or the target is below what one unit of each group costs.
        """
        groups = self.given if self.given is not None else _found(run)
        self.check_model(run.model, groups)
        gated = [group.name not in self.gated.ungated for group in groups.groups]
        self.gates = UnitGates(
            groups.full, gated=gated, start=self.start_at, open_ratio=self.open_ratio, device=run.device
        )
        run.optimizers["gates"] = torch.optim.SGD(self.gates.parameters(), lr=self.lr, momentum=0.9, nesterov=True)
        self._enter(groups.prefix(groups.full))
        self.cut = None

    def check_model(self, model: nn.Module, groups: WidthGroups) -> None:
        """Refuse, before training, a model that cannot have gates or cannot become so small.

        Raises:
            InputError: as `start`.
        """
        self.gated = GatedModel(model, groups)
        gated = [group.name not in self.gated.ungated for group in groups.groups]
        if not any(gated):
            raise InputError(f"no width group of this model can have gates: {self.gated.ungated or 'it has none'}")
        self._expected = ExpectedCost(getattr(groups, self.cost), num_groups=len(groups.groups))
        self._full = self._cost(groups.full)
        least = self._cost(1 if has_gates else size for has_gates, size in zip(gated, groups.full, strict=True))
        if self.target <= least / self._full:
            raise InputError(
                f"a target of {self.target} of the {self.cost} cannot be reached: one unit of every group with gates "
                f"costs {least / self._full:.4g}. Give more than that"
            )

    def training_step(self, run: Run, batch: Any) -> StepResult:
        """One step on the units of the window, which are drawn at its beginning."""
        if run.wrapped is not run.model:
            raise InputError("gates are not shared between processes; train with one process")
        beta = self.beta(run.step, run.num_steps)
        if run.step % self.window == 0:
            self._enter(self.gates.draw(beta, Random(f"{self.name} {run.seed} {run.step}")))
        if self._held is None:
            self._held = self._hold(run)
        with self.gated.at(self._cut, self.gates.scales(beta, "relaxed")):
            loss = run.task.loss(run.wrapped, batch)
            expected = self._expected(self.gates.probabilities(beta)) / self._full
            pull = self.strength * len(self.gates.values()) / (2 * run.num_steps)
            run.backward(loss + pull * (expected - self.target).square().to(loss.dtype))
        run.update("gates")
        run.log(
            window_cost=self._cost(map(len, self._present)) / self._full,
            expected_cost=float(expected.detach()),
            final_cost=self._cost(map(len, self.gates.staying())) / self._full,
            undecided=self.undecided(beta),
        )
        return StepResult(loss=loss.detach(), updated=False)

    def after_update(self, run: Run) -> None:
        """Put the entries of absent units back."""
        if self._held is not None:
            restore(self._held, [run.optimizer])

    def beta(self, step: int, num_steps: int) -> float:
        """The inverse temperature of a step: 1 at the first, `final_beta` at the last."""
        return float(self.final_beta ** (step / (num_steps - 1))) if num_steps > 1 else 1.0

    def undecided(self, beta: float | None = None) -> float:
        """The fraction of gates that are more than 1.8 % away from both ends at `beta`, by default the final one."""
        return float(((beta or self.final_beta) * self.gates.values()).abs().lt(UNDECIDED).float().mean())

    @contextmanager
    def evaluated(self, run: Run, mode: Mode) -> Iterator[None]:
        """A context in which the run's model is the network of that mode, without gradients.

        Args:
            run: between two steps.
            mode: "relaxed": the units of the present window with their gates; "mean": all units, with the mean of their
                gates over draws; "finalised": what the end would leave. Only the last is the compressed model.
        """
        everything = self.gated.groups.prefix(self.gated.groups.full)
        cut = self._cut if mode == "relaxed" else self.gated.plan(everything)
        beta = self.beta(max(run.step - 1, 0), run.num_steps)
        with torch.no_grad(), self.gated.at(cut, self.gates.scales(beta, mode)):
            yield

    def evaluation_weights(self, run: Run) -> AbstractContextManager[None]:
        """Validation during training sees what the end would leave."""
        return self.evaluated(run, "finalised")

    def finish(self, run: Run) -> None:
        """Cut the units whose gates are shut, fold c into the weights, and drop the gates."""
        self.gated.fold_(self.gates.scales(1.0, "finalised"))
        self.cut = self.gated.plan(self.gates.staying())
        del run.optimizers["gates"]
        cut_live_(run, self.cut)

    def state_dict(self) -> dict[str, Any]:
        """All s, and the units of the window."""
        return {"gates": self.gates.state_dict(), "present": list(self._present)}

    def load_state_dict(self, run: Run, state: dict[str, Any]) -> None:
        self.gates.load_state_dict(state["gates"])
        self._enter(state["present"])

    def _enter(self, present: Sequence[Tensor]) -> None:
        self._present, self._cut = tuple(present), self.gated.plan(present)
        self._held = None  # what is absent is copied in the next step, when the weights are there

    def _hold(self, run: Run) -> list[Held]:
        """The entries of absent units, to be put back after each update of the window."""
        held = []
        for name, parameter in run.model.named_parameters():
            if name in self._cut.slices:
                used = torch.ones(parameter.shape, dtype=torch.bool, device=parameter.device)
                for dim, kept in self._cut.slices[name].items():
                    here = torch.zeros(kept.size, dtype=torch.bool, device=parameter.device)
                    here[kept.index] = True
                    used &= here.unflatten(0, [-1 if d == dim else 1 for d in range(used.dim())])
                held.append(held_entries(parameter, ~used, [run.optimizer]))
        return held

    def _cost(self, widths: Iterable[int]) -> int:
        groups = self.gated.groups
        return groups.num_macs(widths) if self.cost == "macs" else groups.num_params(widths)


def _found(run: Run) -> WidthGroups:
    from paretorch.methods.width.tracing import find_groups

    if run.task is None:
        raise InputError("without a task there are no example inputs to find width groups from; give `groups`")
    return find_groups(run.model, run.task.example_inputs())


def _model_cost(_layers: Sequence[LayerShape], _batch: int, settings: Mapping[str, Any]) -> Effects:
    """What is limited ends at about the target; the rest depends on which units stay."""
    kind: CostKind = "flops_forward" if settings["cost"] == "macs" else "param_bytes"
    return {kind: Effect(factor=settings["target"])}


CARD = Card(
    id="structured-cs",
    title="Structured continuous sparsification",
    summary="Grows and prunes channels while the model trains, by soft gates that become binary.",
    year=2021,
    references=(
        "inspired by Yuan, Savarese and Maire, ICLR 2021, arXiv 2007.15353",
        "gates and annealing: Savarese, Silva and Maire, NeurIPS 2020, section 3",
        "cost term: CSQ, arXiv 2212.02770",
    ),
    status="experimental",
    cells=(("architecture", "remove"), ("architecture", "retrofit"), ("objective", "retrofit")),
    phase=("dense_train", "prune"),
    needs_total_duration=True,
    schedule_params=(("end of annealing", 1.0),),
    stochastic=True,
    stateful=True,
    hooks=("model_surgery", "forward", "loss", "eval_swap"),
    composes_with=("bn-reestimate",),
    relieves=("inference size", "inference compute", "inference latency", "compute"),
    worsens=("tuning cost",),
    caveat="no reproduction of the paper, whose algorithm we do not know in full; layers are not removed",
    cost="the wanted fraction of the MACs or parameters in the end; in training, that of the units that are present",
    cost_model=_model_cost,
    realised_by="the cut itself; in training, slices of the weights that hold only the units that are present",
    hyperparams=(
        HyperParameter(name="target", low=0.0, high=1.0),
        HyperParameter(name="cost", default="macs", scale="choice", choices=("macs", "params")),
        HyperParameter(name="window", default=50, low=1, high=10_000, scale="integer"),
        HyperParameter(name="open_ratio", default=1.0, low=0.0, high=1.0),
        HyperParameter(name="start", default=0.2, low=0.01, high=10.0, scale="log"),
        HyperParameter(name="final_beta", default=200.0, low=1.0, high=10_000.0, scale="log"),
        HyperParameter(name="strength", default=60.0, low=1.0, high=10_000.0, scale="log"),
        HyperParameter(name="lr", default=0.1, low=1e-3, high=1.0, scale="log"),
    ),
    tuning_cost=3,
    excludes=("last layer",),
    cost_scope="inference",
    quality_risk="high",
    invariants=(
        "with all units present and beta without bound the gates are the hard mask",
        "absent units are not computed, and their weights stand still",
        "the expected cost is the mean over all draws",
        "the model is left plain, without gates",
    ),
)
