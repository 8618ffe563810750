"""Count the floating-point operations (FLOPs) of a training step, forward and backward apart; one MAC is two FLOPs.

The counter of `torch.utils.flop_counter.FlopCounterMode` with its errors (torch 2.13) corrected: a grouped
convolution's backward pass costs its forward pass once per wanted gradient (torch: `groups` times that for the
weight's); fused attention and recurrent layers on the CPU and products with vectors cost something (torch: 0); a sparse
matrix costs its stored entries (torch: all). Formulas: `operators`, `training_formulas`, then torch's for the rest.

What runs is counted: activations that the backward pass computes again are, gradients that nobody needs are not, zeros
in a dense weight are. Elementwise operations, reductions, norms, softmax, bias additions, pooling, embedding look-ups
and optimizer steps count 0 by design: they cost memory traffic (`traffic`). Integer kernels are counted apart.
Arithmetic without a formula is listed as uncounted with its share of the time; above `MAX_UNCOUNTED_SHARE` no figure is
given at all.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from paretorch.measurement.gradient_step import Loss, gradient_step
from paretorch.measurement.inputs import ExampleInputs, as_inputs, check_model, device_of
from paretorch.measurement.latency import synchronizer
from paretorch.measurement.operators import (
    FOREIGN,
    FORMULAS,
    OperatorMode,
    UncountedOp,
    followed,
    is_sparse,
    is_wrapped,
    name_of,
    plain_kernels,
    why_uncounted,
)
from paretorch.measurement.training_formulas import BACKWARD_FORMULAS, integer_macs, sparse_macs

MAX_UNCOUNTED_SHARE = 0.05  # of the time of all operators


@dataclass(frozen=True, kw_only=True)
class StepFlops:
    """FLOPs of one step on `batch` examples.

    forward: outside autograd's engine. backward: inside it, recomputed activations included. integer_ops: operations
    of quantised kernels (two per MAC), which are no floating-point ones. uncounted: when not empty, the true totals are
    larger.
    """

    forward: int
    backward: int
    integer_ops: int
    uncounted: tuple[UncountedOp, ...]
    batch: int

    @property
    def total(self) -> int:
        """Forward and backward together."""
        return self.forward + self.backward

    def to_dict(self) -> dict[str, Any]:
        """JSON values only; the uncounted operations as text."""
        return {
            "forward": self.forward,
            "backward": self.backward,
            "integer_ops": self.integer_ops,
            "uncounted": list(map(str, self.uncounted)),
            "batch": self.batch,
        }


def count_flops(model: nn.Module, example_inputs: ExampleInputs, *, loss: Loss | None = None) -> StepFlops:
    """FLOPs of one forward and backward pass on the example inputs, in the modes that the modules have.

    Args:
        model: left as found. Compiled code runs eagerly, so the figure is that of the model before compilation.
        example_inputs: tensor, tuple of tensors or mapping of keyword tensors, `(batch, ...)` each, at the batch size
            to count; those that require a gradient get one, and the first layer then pays for it.
        loss: a scalar from the model's output. None: the sum of all outputs that require a gradient.

    Raises:
        TypeError, ValueError: not a module, inputs or a loss of the wrong kind. RuntimeError: arithmetic without a
        formula takes more than `MAX_UNCOUNTED_SHARE` of the time; the message names it.
    """
    with gradient_step(model, example_inputs, loss=loss) as step:
        with FlopCounter(model) as counter:
            step()
        if counter.incomplete:  # once more for the shares: the first call also prepares kernels
            with FlopCounter(model) as counter:
                step()
    return counter.result(batch=as_inputs(example_inputs).batch)


class FlopCounter:
    """Context manager that counts the FLOPs of whatever runs inside it, such as one real training step.

        with FlopCounter(model) as counter:
            loss(model(x), y).backward()
            optimizer.step()
        flops = counter.result(batch=len(x))

    model: names the layers of uncounted operations, and the device to wait for. Inside, compiled code runs eagerly and
    transformer layers do not fuse. clock: seconds, monotone.
    """

    def __init__(self, model: nn.Module, *, clock: Callable[[], float] = time.perf_counter) -> None:
        check_model(model)
        self._model = model
        self._mode = _FlopMode(synchronizer(device_of(model)), clock)
        self._inside = ExitStack()

    def __enter__(self) -> "FlopCounter":
        with ExitStack() as stack:
            stack.enter_context(plain_kernels())
            stack.enter_context(followed(self._model, self._mode.stack))
            stack.enter_context(self._mode)
            self._inside = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._inside.close()

    @property
    def incomplete(self) -> bool:
        """Whether arithmetic without a formula ran."""
        return bool(self._mode.uncounted)

    def result(self, *, batch: int) -> StepFlops:
        """What was counted, for a step on `batch` examples.

        Raises:
            RuntimeError: arithmetic without a formula takes more than `MAX_UNCOUNTED_SHARE` of the time.
        """
        mode = self._mode
        uncounted = tuple(
            UncountedOp(
                op=op,
                layer=layer,
                calls=calls,
                why=why,
                time_share=mode.seconds[op, layer, why] / mode.total_s if mode.total_s else None,
            )
            for (op, layer, why), calls in sorted(mode.uncounted.items())
        )
        missing = [item for item in uncounted if item.why != FOREIGN]
        share = sum(item.time_share or 0.0 for item in missing)
        if share > MAX_UNCOUNTED_SHARE:
            raise RuntimeError(
                f"no FLOPs are given, because arithmetic without a formula took {share:.0%} of the time (at most "
                f"{MAX_UNCOUNTED_SHARE:.0%} is allowed): {'; '.join(map(str, missing))}. Compare measured time instead."
            )
        return StepFlops(
            forward=mode.forward,
            backward=mode.backward,
            integer_ops=mode.integer_ops,
            uncounted=uncounted,
            batch=batch,
        )


class _FlopMode(OperatorMode):
    """Adds up while active; `stack` names the modules whose forward is running."""

    def __init__(self, wait: Callable[[], None] | None, clock: Callable[[], float]) -> None:
        super().__init__()
        self.stack: list[tuple[str, nn.Module]] = []
        self.forward = 0
        self.backward = 0
        self.integer_ops = 0
        self.uncounted: Counter[tuple[str, str, str]] = Counter()
        self.seconds: defaultdict[tuple[str, str, str], float] = defaultdict(float)
        self.total_s = 0.0
        self._last_s = 0.0
        self._wait = wait
        self._clock = clock
        self._torch = FlopCounterMode(display=False).flop_registry

    def run(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        start = self._clock()
        output = func(*args, **kwargs)
        if self._wait is not None:
            self._wait()
        self._last_s = self._clock() - start
        return output

    def knows(self, namespace: str, name: str) -> bool:
        return namespace == "aten" and (name in FORMULAS or name in BACKWARD_FORMULAS)

    def seen(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        self.total_s += self._last_s
        namespace, name = name_of(func)
        integer = integer_macs(namespace, name, args)
        if integer is not None:
            self.integer_ops += 2 * integer
            return
        backward = torch._C._current_graph_task_id() != -1  # autograd's engine is running
        counted = self._flops(func, args, kwargs, output)
        if isinstance(counted, str):
            outside = "the backward pass" if backward else "the step outside the model"
            key = f"{namespace}.{name}", self.stack[-1][0] if self.stack else outside, counted
            self.uncounted[key] += 1
            self.seconds[key] += self._last_s
        elif backward:
            self.backward += counted
        else:
            self.forward += counted

    def _flops(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> int | str:
        """FLOPs of one operator that ran, or why there is no figure."""
        namespace, name = name_of(func)
        packet = getattr(func, "_overloadpacket", func)
        known = self.knows(namespace, name) or packet in self._torch
        missing = why_uncounted(namespace, name)
        if not (known or missing):
            return 0
        if is_wrapped(args, kwargs):
            return "an operand whose own format hides the arithmetic"
        if namespace == "aten" and is_sparse(args):
            sparse = sparse_macs(name, args)
            return "a sparse operand" if sparse is None else 2 * sparse
        if not known:
            return missing or 0
        if name in BACKWARD_FORMULAS:
            return 2 * BACKWARD_FORMULAS[name](args)
        if name in FORMULAS:
            return 2 * FORMULAS[name](output, args)[0]
        return int(self._torch[packet](*args, **kwargs, out_val=output))
