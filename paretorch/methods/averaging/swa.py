"""Stochastic weight averaging: the mean of the weights along the end of one training phase, at no further steps.

    s in A  <=>  s > begin * N  and  (N - s) divisible by every        s = steps finished, N = steps of the phase
    w_swa = mean of w_s over A                                         the last step is in A

Saves against a soup: one run in the place of m. Costs 8 bytes per weight, one addition per moment, and the batches from
which batch-norm statistics are re-estimated. Needs a learning rate that still moves the weights in the averaged part:
along one that falls to zero the moments are nearly equal.

Source: Izmailov, Podoprikhin, Garipov, Vetrov and Wilson, UAI 2018, algorithm 1; there with a constant or cyclic rate
from 75 % of the budget on. Deviation: moments are counted back from the last step.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import nn

from paretorch.errors import InputError
from paretorch.methods.averaging.running_mean import RunningMean
from paretorch.methods.card import Card, HyperParameter
from paretorch.methods.cost_model import Effect, Effects, LayerShape
from paretorch.methods.method import Method, Run

SUM_BYTES, MOMENT_BYTES = 8, 4 + 2 * 8  # per float32 weight: kept; read and written when a moment is added


def _cost(layers: Sequence[LayerShape], _batch: int, settings: Mapping[str, Any]) -> Effects:
    """Per step on the average over the phase; the passes are those at its end."""
    weights = sum(layer.num_weights for layer in layers)
    moments_per_step = (1 - settings["begin"]) / settings["every"]
    return {
        "param_bytes": Effect(added=SUM_BYTES * weights),
        "bytes_moved": Effect(added=MOMENT_BYTES * weights * moments_per_step),
        "launches": Effect(added=len(layers) * moments_per_step),
        "extra_forward": Effect(added=settings["batches"]),
    }


CARD = Card(
    id="swa",
    title="Stochastic weight averaging",
    summary="Ends a phase with the mean of the weights along its last part; pruned weights stay pruned.",
    year=2018,
    references=("Izmailov, Podoprikhin, Garipov, Vetrov and Wilson, UAI 2018",),
    reference_implementation="timgaripov/swa",
    cells=(("parameters", "retrofit"), ("algorithm", "retrofit")),
    phase=("dense_train", "finetune"),
    needs_total_duration=True,
    schedule_params=(("begin of averaging", 0.75),),
    stateful=True,
    hooks=("post_step", "eval_swap"),
    composes_with=("bn-reestimate", "masks"),
    relieves=("steps to target",),
    worsens=("memory capacity",),
    caveat="little to gain where the learning rate ends near zero, because the averaged weights are then nearly equal",
    cost="8 bytes per weight; one addition per averaged moment; forward passes for batch-norm statistics",
    cost_model=_cost,
    charges=("calibration passes",),
    realised_by="a schedule whose rate still moves the weights in the averaged part of the phase",
    hyperparams=(
        HyperParameter(name="begin", default=0.75, low=0, high=0.99),
        HyperParameter(name="every", default=1, low=1, high=100_000, scale="integer"),
        HyperParameter(name="batches", default=20, low=0, high=10_000, scale="integer"),
    ),
    tuning_cost=1,
    quality_risk="low",
    invariants=(
        "the average is the mean of the weights at the averaged steps, the last one included",
        "what is zero in the weights at the end is zero in the average",
        "the weights that are trained are bitwise those without averaging",
        "a resumed phase ends with the average of the uninterrupted one, bitwise",
    ),
    evidence=("sparse_soups",),
)


class SWA(Method):
    """The mean of the weights along the end of a phase takes their place, for validation and at the end.

    Hooks: before_forward (take a moment, after all hooks of the step before), evaluation_weights (the mean so far, with
    batch-norm statistics of its own), finish (leave the mean). Touches parameters at the end only, and batch-norm
    statistics; never gradients, optimizer, data or loss. It may stand before or after `MaskEnforcement`; of methods
    that exchange weights in `before_forward`, it sees what those before it leave.

    Args:
        begin: fraction of the phase before the first moment, in [0, 1).
        every: steps between two moments; None: once per epoch.
        reestimate: called with the model when it holds the mean, to re-estimate batch-norm statistics; None for models
            without.

    Attributes:
        mean: moments so far.

    Raises:
        InputError: for numbers out of range.
    """

    name = "swa"

    def __init__(
        self,
        *,
        begin: float = 0.75,
        every: int | None = None,
        reestimate: Callable[[nn.Module], object] | None = None,
    ) -> None:
        if not 0 <= begin < 1:
            raise InputError(
                f"begin is the fraction of the phase before averaging, in [0, 1); got {begin}. For the last quarter "
                "pass 0.75"
            )
        if every is not None and every < 1:
            raise InputError(f"every is the number of steps between two averaged moments, at least 1; got {every}")
        self.begin, self.every, self.reestimate = begin, every, reestimate
        self.mean = RunningMean()
        self._last = -1

    def start(self, run: Run) -> None:
        self.mean, self._last = RunningMean(), -1

    def before_forward(self, run: Run) -> None:
        self._take(run)

    def evaluation_weights(self, run: Run) -> AbstractContextManager[None]:
        return self._averaged(run)

    def finish(self, run: Run) -> None:
        self._take(run)
        self._put(run)

    def state_dict(self) -> dict[str, Any]:
        return {"mean": self.mean.state_dict(), "last": self._last}

    def load_state_dict(self, run: Run, state: dict[str, Any]) -> None:
        self.mean.load_state_dict(state["mean"], run.device)
        self._last = state["last"]

    def _take(self, run: Run) -> None:
        """Add the weights after the last finished step, if it is to be averaged and was not yet."""
        every = self.every or run.steps_per_epoch
        due = run.step > self.begin * run.num_steps and (run.num_steps - run.step) % every == 0
        if due and run.step > self._last:
            self.mean.add(run.model)
            self._last = run.step

    def _put(self, run: Run) -> None:
        """The mean so far, if there is any, with statistics of its own."""
        if self.mean.count:
            self.mean.apply_(run.model)
            if self.reestimate is not None:
                self.reestimate(run.model)

    @contextmanager
    def _averaged(self, run: Run) -> Iterator[None]:
        self._take(run)
        tensors = [*run.model.parameters(), *run.model.buffers()]
        held = [tensor.detach().clone() for tensor in tensors]
        try:
            self._put(run)
            yield
        finally:
            with torch.no_grad():
                for tensor, old in zip(tensors, held, strict=True):
                    tensor.copy_(old)
