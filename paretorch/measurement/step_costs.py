"""What one training step costs on any machine: FLOPs, bytes read and written, bytes kept for the backward pass.

All three are counted in the same step; none is a time. See `flops`, `traffic` and `saved_activations` for what each
contains.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from torch import nn

from paretorch.measurement.flops import FlopCounter, StepFlops
from paretorch.measurement.gradient_step import Loss, gradient_step
from paretorch.measurement.inputs import ExampleInputs, as_inputs
from paretorch.measurement.saved_activations import SavedActivations
from paretorch.measurement.traffic import TrafficCounter


@dataclass(frozen=True, kw_only=True)
class StepCosts:
    """flops: of the step, forward and backward. bytes_accessed: read and written. saved_bytes: kept for backward."""

    flops: StepFlops
    bytes_accessed: int
    saved_bytes: int


class StepCounter:
    """Context manager around one real training step, whatever its loop.

    Eager training computes bitwise the same inside and outside; compiled code runs eagerly inside. Where that matters,
    count with `step_costs` instead, which leaves the model as found.

        with StepCounter(model) as counter:
            loss(model(x), y).backward()
            optimizer.step()
        costs = counter.result(batch=len(x))

    model: what is trained; names layers, and its own tensors are not activations.
    """

    def __init__(self, model: nn.Module) -> None:
        self._flops = FlopCounter(model)
        self._traffic = TrafficCounter()
        self._saved = SavedActivations(model)
        self._inside = ExitStack()

    def __enter__(self) -> "StepCounter":
        with ExitStack() as stack:
            for counter in (self._saved, self._traffic, self._flops):
                stack.enter_context(counter)
            self._inside = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._inside.close()

    def result(self, *, batch: int) -> StepCosts:
        """What was counted, for a step on `batch` examples.

        Raises:
            RuntimeError: too much of the time went into arithmetic without a formula, as in `FlopCounter.result`.
        """
        return StepCosts(
            flops=self._flops.result(batch=batch),
            bytes_accessed=self._traffic.bytes_accessed,
            saved_bytes=self._saved.peak_bytes,
        )


def step_costs(model: nn.Module, example_inputs: ExampleInputs, *, loss: Loss | None = None) -> StepCosts:
    """Costs of one forward and backward pass on the example inputs, without an optimizer.

    Args:
        model: left as found. example_inputs, loss: as in `flops.count_flops`.

    Raises:
        TypeError, ValueError, RuntimeError: as `flops.count_flops`.
    """
    with gradient_step(model, example_inputs, loss=loss) as step:
        step()  # the first call also prepares kernels, which would distort the shares of the time
        with StepCounter(model) as counter:
            step()
    return counter.result(batch=as_inputs(example_inputs).batch)
