"""Count the multiply-accumulates (MACs) of one forward pass, and how many of them meet a nonzero weight.

Every operation that reaches torch's dispatcher is seen, so functional calls (`F.linear`, `@`, attention) and a layer
called twice count as they run; the formulas are those of `operators`. With them,

    nonzero = sum over operations of MACs * nonzeros(weight) / numel(weight)

which is exact because every entry of a weight meets the same number of inputs. Products with padded zeros count.
Products of two activations have no weight and count in full. One MAC is two floating-point operations. Bias additions,
norms, activations, pooling and embedding look-ups are no MACs, and neither are products written as elementwise
multiplication and sum. Arithmetic without a formula here (sparse and quantised kernels, fft, distances, foreign
operators) is listed as uncounted, never taken for zero.
"""

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from paretorch.measurement.inputs import ExampleInputs, as_inputs, call, check_model, device_of, left_as_found
from paretorch.measurement.operators import (
    FORMULAS,
    OperatorMode,
    UncountedOp,
    followed,
    is_sparse,
    name_of,
    plain_kernels,
    why_uncounted,
)


@dataclass(frozen=True, kw_only=True)
class LayerMacs:
    """MACs of one layer on one example, all its calls together. calls: counted operations."""

    dense: int
    nonzero: int
    calls: int


@dataclass(frozen=True, kw_only=True)
class MacCount:
    """MACs of one example: all (`dense`), those that meet a nonzero weight (`nonzero`), and both by layer.

    per_layer: by module name; "" holds what the model's own forward computes. A module under several names has its
    first. uncounted: when not empty, the true totals are larger than `dense` and `nonzero`.
    """

    dense: int
    nonzero: int
    per_layer: dict[str, LayerMacs]
    uncounted: tuple[UncountedOp, ...]


def count_macs(model: nn.Module, example_inputs: ExampleInputs) -> MacCount:
    """MACs of one forward pass on the first example, in evaluation mode and outside compiled kernels.

    Args:
        model: left as found (modes, buffers, random state; its hooks run once as in any call).
        example_inputs: tensor, tuple of tensors or mapping of keyword tensors, `(batch, ...)` each.

    Returns:
        A `MacCount`.

    Raises:
        TypeError, ValueError: not a module, a lazy module, inputs of the wrong kind. RuntimeError: the forward failed.
    """
    check_model(model)
    inputs = as_inputs(example_inputs).with_batch(1).to(device_of(model))
    counter = _Counter(_storages(model))
    with ExitStack() as stack:
        stack.enter_context(left_as_found(model))
        stack.enter_context(plain_kernels())
        stack.enter_context(followed(model, counter.stack))
        stack.enter_context(counter)
        call(model, inputs)
    per_layer = {
        layer: LayerMacs(dense=counter.dense[layer], nonzero=counter.nonzero[layer], calls=counter.calls[layer])
        for layer in counter.calls
    }
    return MacCount(
        dense=sum(counter.dense.values()),
        nonzero=sum(counter.nonzero.values()),
        per_layer=per_layer,
        uncounted=tuple(
            UncountedOp(op=op, layer=layer, calls=calls, why=why)
            for (op, layer, why), calls in sorted(counter.uncounted.items())
        ),
    )


def entries_kept(weight: Tensor) -> int:
    """Nonzeros of a weight; all entries where a wrapper (quantised weights) hides them."""
    return weight.numel() if is_traceable_wrapper_subclass(weight) else int(torch.count_nonzero(weight))


class _Counter(OperatorMode):
    """Adds up MACs by layer while active; `stack` names the modules whose forward is running."""

    def __init__(self, weights: set[int]) -> None:
        super().__init__()
        self.weights = weights
        self.stack: list[tuple[str, nn.Module]] = []
        self.dense: Counter[str] = Counter()
        self.nonzero: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.uncounted: Counter[tuple[str, str, str]] = Counter()

    def knows(self, namespace: str, name: str) -> bool:
        return namespace == "aten" and name in FORMULAS

    def seen(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        namespace, name = name_of(func)
        layer = self.stack[-1][0] if self.stack else ""
        known = self.knows(namespace, name)
        if known and not is_sparse(args):
            self._add(layer, *FORMULAS[name](output, args), convolution="convolution" in name)
        elif why := "a sparse operand" if known else why_uncounted(namespace, name):
            self.uncounted[f"{namespace}.{name}", layer, why] += 1

    def _add(self, layer: str, macs: int, operands: list[Tensor], *, convolution: bool) -> None:
        weights = [t for t in operands if convolution or _storage(t) in self.weights]
        if not weights and self.stack and isinstance(self.stack[-1][1], nn.Linear):
            weights = operands[-1:]  # a weight computed on the fly: torch.nn.utils.prune, parametrizations, autocast
        entries = sum(weight.numel() for weight in weights)
        kept = sum(entries_kept(weight) for weight in weights)
        self.dense[layer] += macs
        self.nonzero[layer] += macs * kept // entries if entries else macs
        self.calls[layer] += 1


def _storage(tensor: Tensor) -> int | None:
    """Address of the tensor's memory; None where it has none of its own (empty, meta, wrapper subclasses)."""
    try:
        return tensor.untyped_storage().data_ptr() or None
    except (RuntimeError, NotImplementedError):  # sparse layouts and wrappers refuse; they are then no plain weight
        return None


def _storages(model: nn.Module) -> set[int]:
    return {key for t in (*model.parameters(), *model.buffers()) if (key := _storage(t)) is not None}
