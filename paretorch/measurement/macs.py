"""Count the multiply-accumulates (MACs) of one forward pass, and how many of them meet a nonzero weight.

Every operation that reaches torch's dispatcher is seen, so functional calls (`F.linear`, `@`, attention) and a layer
called twice count as they run. With true output shapes,

    matrix product (m, k) @ (k, n)              m k n
    convolution, weight (out, in/groups, *k)    numel(output) * numel(weight[0])
    transposed,  weight (in, out/groups, *k)    numel(input)  * numel(weight[0])
    attention, L queries, S keys                batch heads L S (E + E_v)       a causal mask is not subtracted
    fused recurrent layer                       tokens * numel(weight matrices)

    nonzero = sum over operations of MACs * nonzeros(weight) / numel(weight)

which is exact because every entry of a weight meets the same number of inputs. Products with padded zeros count.
Products of two activations have no weight and count in full. One MAC is two floating-point operations. Bias additions,
norms, activations, pooling and embedding look-ups are no MACs, and neither are products written as elementwise
multiplication and sum. Arithmetic without a formula here (sparse and quantised kernels, fft, distances, foreign
operators) is listed as uncounted, never taken for zero.
"""

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, is_traceable_wrapper_subclass

from paretorch.measurement.inputs import ExampleInputs, as_inputs, call, check_model, device_of, left_as_found


@dataclass(frozen=True, kw_only=True)
class LayerMacs:
    """MACs of one layer on one example, all its calls together. calls: counted operations."""

    dense: int
    nonzero: int
    calls: int


@dataclass(frozen=True, kw_only=True)
class UncountedOp:
    """An operation that does arithmetic and has no formula: its name, the layer it ran in, how often, and why."""

    op: str
    layer: str
    calls: int
    why: str

    def __str__(self) -> str:
        return f"{self.op} in {self.layer or 'the model itself'}, {self.calls} call(s): {self.why}"


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
        stack.enter_context(_unfused_attention())
        if "torch._dynamo" in sys.modules:  # else nothing can be compiled, and loading it takes seconds
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(_followed(model, counter.stack))
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


def _matrix(first: int) -> Callable[..., tuple[int, list[Tensor]]]:
    """Formula of a matrix or batched matrix product whose operands start at argument `first`."""

    def formula(_output: Tensor, args: tuple[Any, ...]) -> tuple[int, list[Tensor]]:
        left, right = args[first], args[first + 1]
        rows = left.shape[:-1].numel()
        return rows * left.shape[-1] * (right.shape[-1] if right.dim() > 1 else 1), [left, right]

    return formula


def _convolution(output: Tensor, args: tuple[Any, ...]) -> tuple[int, list[Tensor]]:
    inputs, weight, transposed = args[0], args[1], args[6]
    return (inputs if transposed else output).numel() * weight.shape[1:].numel(), [weight]


def _attention(_output: Tensor, args: tuple[Any, ...]) -> tuple[int, list[Tensor]]:
    query, key, value = args[:3]
    return query.shape[:-1].numel() * key.shape[-2] * (query.shape[-1] + value.shape[-1]), []


def _recurrent_cpu(_output: Tensor, args: tuple[Any, ...]) -> tuple[int, list[Tensor]]:
    inputs, input_weight, hidden_weight = args[:3]
    return inputs.shape[:-1].numel() * (input_weight.numel() + hidden_weight.numel()), [input_weight, hidden_weight]


def _recurrent_cuda(_output: Tensor, args: tuple[Any, ...]) -> tuple[int, list[Tensor]]:
    weights = [weight for weight in args[1] if weight.dim() == 2]  # the rest are biases
    return args[0].shape[:-1].numel() * sum(weight.numel() for weight in weights), weights


# name of the aten operator -> formula(output, args) -> (MACs, operands that may be weights)
FORMULAS: dict[str, Callable[..., tuple[int, list[Tensor]]]] = {
    **dict.fromkeys(("mm", "bmm", "mv", "dot", "vdot", "_int_mm"), _matrix(0)),
    **dict.fromkeys(("addmm", "_addmm_activation", "addbmm", "baddbmm", "addmv"), _matrix(1)),
    **dict.fromkeys(("convolution", "_convolution"), _convolution),
    "mkldnn_rnn_layer": _recurrent_cpu,
    "_cudnn_rnn": _recurrent_cuda,
    **dict.fromkeys(
        (
            "_scaled_dot_product_flash_attention",
            "_scaled_dot_product_flash_attention_for_cpu",
            "_scaled_dot_product_efficient_attention",
            "_scaled_dot_product_cudnn_attention",
            "_scaled_dot_product_fused_attention_overrideable",
        ),
        _attention,
    ),
}

# A word of an operator's name (split at "_") that betrays arithmetic worth counting.
_ARITHMETIC = re.compile(
    r"\w*mm|\w*mv|v?dot|conv\w*|rnn|lstm|gru|attention|linear|matmul|cdist|pdist|fft|linalg|trilinear|transformer"
)
# These only carry such a word: elementwise cell updates and the packing of weights.
_NO_ARITHMETIC = frozenset({"_thnn_fused_lstm_cell", "_thnn_fused_gru_cell", "_cudnn_rnn_flatten_weight"})
_PLAIN_NAMESPACES = frozenset({"aten", "prim", "prims", "profiler", "c10d", "_c10d_functional"})


def entries_kept(weight: Tensor) -> int:
    """Nonzeros of a weight; all entries where a wrapper (quantised weights) hides them."""
    return weight.numel() if is_traceable_wrapper_subclass(weight) else int(torch.count_nonzero(weight))


class _Counter(TorchDispatchMode):
    """Adds up MACs by layer while active; `stack` names the modules whose forward is running."""

    def __init__(self, weights: set[int]) -> None:
        super().__init__()
        self.weights = weights
        self.stack: list[tuple[str, nn.Module]] = []
        self.dense: Counter[str] = Counter()
        self.nonzero: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.uncounted: Counter[tuple[str, str, str]] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        namespace, _, name = func._schema.name.partition("::")
        known = namespace == "aten" and name in FORMULAS
        if not known and namespace == "aten":
            with self:  # inference mode brings composite operators here whole; their parts are counted
                output = func.decompose(*args, **kwargs)
            if output is not NotImplemented:
                return output
        output = func(*args, **kwargs)
        layer = self.stack[-1][0] if self.stack else ""
        if known and not _sparse(args):
            self._add(layer, *FORMULAS[name](output, args), convolution="convolution" in name)
        elif known:
            self.uncounted[f"{namespace}.{name}", layer, "a sparse operand"] += 1
        elif namespace not in _PLAIN_NAMESPACES:
            self.uncounted[f"{namespace}.{name}", layer, "an operator foreign to torch's own set"] += 1
        elif name not in _NO_ARITHMETIC and any(_ARITHMETIC.fullmatch(word) for word in name.split("_")):
            self.uncounted[f"{namespace}.{name}", layer, "no formula"] += 1
        return output

    def _add(self, layer: str, macs: int, operands: list[Tensor], *, convolution: bool) -> None:
        weights = [t for t in operands if convolution or _storage(t) in self.weights]
        if not weights and self.stack and isinstance(self.stack[-1][1], nn.Linear):
            weights = operands[-1:]  # a weight computed on the fly: torch.nn.utils.prune, parametrizations, autocast
        entries = sum(weight.numel() for weight in weights)
        kept = sum(entries_kept(weight) for weight in weights)
        self.dense[layer] += macs
        self.nonzero[layer] += macs * kept // entries if entries else macs
        self.calls[layer] += 1


def _sparse(args: tuple[Any, ...]) -> bool:
    return any(isinstance(arg, Tensor) and arg.layout != torch.strided for arg in args)


def _storage(tensor: Tensor) -> int | None:
    """Address of the tensor's memory; None where it has none of its own (empty, meta, wrapper subclasses)."""
    try:
        return tensor.untyped_storage().data_ptr() or None
    except (RuntimeError, NotImplementedError):  # sparse layouts and wrappers refuse; they are then no plain weight
        return None


def _storages(model: nn.Module) -> set[int]:
    return {key for t in (*model.parameters(), *model.buffers()) if (key := _storage(t)) is not None}


@contextmanager
def _unfused_attention() -> Iterator[None]:
    """Keep transformer layers from taking one opaque kernel in evaluation mode."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextmanager
def _followed(model: nn.Module, stack: list[tuple[str, nn.Module]]) -> Iterator[None]:
    """Keep `stack` at the modules whose forward is running, by hooks that are gone afterwards."""

    def leave(_module: nn.Module, _args: Any, _output: Any) -> None:
        stack.pop()

    with ExitStack() as handles:
        for full_name, module in model.named_modules():
            entry = (full_name.replace("_orig_mod.", "").removesuffix("_orig_mod"), module)

            def enter(_module: nn.Module, _args: Any, entry: tuple[str, nn.Module] = entry) -> None:
                stack.append(entry)

            # first in, last out: what a module's own hooks compute counts as the module's
            handles.enter_context(module.register_forward_pre_hook(enter, prepend=True))
            handles.enter_context(module.register_forward_hook(leave))
        yield
