"""See every operator that reaches torch's dispatcher, and know which ones multiply matrices and how much.

With true output shapes, in multiply-accumulates (MACs; one is two floating-point operations),

    matrix product (m, k) @ (k, n)              m k n
    convolution, weight (out, in/groups, *k)    numel(output) * numel(weight[0])
    transposed,  weight (in, out/groups, *k)    numel(input)  * numel(weight[0])
    attention, L queries, S keys                batch heads L S (E + E_v)       a causal mask is not subtracted
    fused recurrent layer                       tokens * numel(weight matrices)

An operator that does such arithmetic and has no formula is recognised by its name, never taken for zero.
"""

import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import HigherOrderOperator
from torch.utils._python_dispatch import TorchDispatchMode, is_traceable_wrapper_subclass
from torch.utils._pytree import tree_leaves


@dataclass(frozen=True, kw_only=True)
class UncountedOp:
    """An operation that does arithmetic and has no formula: its name, the layer it ran in, how often, and why.

    time_share: its part of the time of all operators, in [0, 1]; None where no time was taken.
    """

    op: str
    layer: str
    calls: int
    why: str
    time_share: float | None = None

    def __str__(self) -> str:
        share = "" if self.time_share is None else f", {self.time_share:.0%} of the time"
        return f"{self.op} in {self.layer or 'the model itself'}, {self.calls} call(s){share}: {self.why}"


def _matrix(first: int) -> Callable[..., tuple[int, list[Tensor]]]:
    """Formula of a matrix or batched matrix product whose operands start at argument `first`."""

    def formula(_output: Tensor, args: tuple[Any, ...]) -> tuple[int, list[Tensor]]:
        left, right = args[first], args[first + 1]
        rows = left.shape[:-1].numel()
        return rows * left.shape[-1] * (right.shape[-1] if right.dim() > 1 else 1), [left, right]

    return formula


def convolution_macs(inputs: Tensor, weight: Tensor, output: Tensor, *, transposed: bool) -> int:
    """MACs of a convolution: each input (transposed) or output entry meets one filter's worth of weights."""
    return (inputs if transposed else output).numel() * weight.shape[1:].numel()


def _convolution(output: Tensor, args: tuple[Any, ...]) -> tuple[int, list[Tensor]]:
    return convolution_macs(args[0], args[1], output, transposed=args[6]), [args[1]]


def _attention(_output: Tensor, args: tuple[Any, ...]) -> tuple[int, list[Tensor]]:
    query, key, value = args[:3]
    return query.shape[:-1].numel() * key.shape[-2] * (query.shape[-1] + value.shape[-1]), []


def _recurrent_cpu(_output: Tensor, args: tuple[Any, ...]) -> tuple[int, list[Tensor]]:
    inputs, input_weight, hidden_weight = args[:3]
    return inputs.shape[:-1].numel() * (input_weight.numel() + hidden_weight.numel()), [input_weight, hidden_weight]


def _recurrent_cuda(_output: Tensor, args: tuple[Any, ...]) -> tuple[int, list[Tensor]]:
    weights = [weight for weight in args[1] if weight.dim() == 2]  # the rest are biases
    return args[0].shape[:-1].numel() * sum(weight.numel() for weight in weights), weights


# where the operands of a matrix product start among its arguments
PRODUCTS = {
    **dict.fromkeys(("mm", "bmm", "mv", "dot", "vdot", "_int_mm"), 0),
    **dict.fromkeys(("addmm", "_addmm_activation", "addbmm", "baddbmm", "addmv"), 1),
}

# name of the aten operator -> formula(output, args) -> (MACs, operands that may be weights)
FORMULAS: dict[str, Callable[..., tuple[int, list[Tensor]]]] = {
    **{name: _matrix(first) for name, first in PRODUCTS.items()},
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
    r"\w*mm|\w*mv|v?dot|conv(?!ert)\w*|rnn|lstm|gru|attention|linear|matmul|cdist|pdist|fft|linalg|trilinear"
    r"|transformer"
)
# These only carry such a word: elementwise cell updates, the packing of weights, norms.
_NO_ARITHMETIC = frozenset(
    {
        "_thnn_fused_lstm_cell",
        "_thnn_fused_lstm_cell_backward_impl",
        "_thnn_fused_gru_cell",
        "_thnn_fused_gru_cell_backward",
        "_cudnn_rnn_flatten_weight",
        "linalg_vector_norm",
    }
)
_PLAIN_NAMESPACES = frozenset({"aten", "prim", "prims", "profiler", "c10d", "_c10d_functional"})
FOREIGN = "an operator foreign to torch's own set"


def why_uncounted(namespace: str, name: str) -> str | None:
    """Why an operator without a formula must be listed; None when it does no arithmetic worth counting."""
    if namespace not in _PLAIN_NAMESPACES:
        return FOREIGN
    arithmetic = name not in _NO_ARITHMETIC and any(_ARITHMETIC.fullmatch(word) for word in name.split("_"))
    return "no formula" if arithmetic else None


class OperatorMode(TorchDispatchMode, ABC):
    """Hands every operator that ran inside it to `seen`; composite operators arrive as their parts."""

    supports_higher_order_operators = True

    def knows(self, namespace: str, name: str) -> bool:
        """Whether the operator is wanted whole although it may be composite."""
        return False

    def run(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the operator."""
        return func(*args, **kwargs)

    @abstractmethod
    def seen(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        """Take note of one operator that ran."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        namespace, name = name_of(func)
        # tensors in a format of their own answer for themselves, down to the question for their number of dimensions
        if namespace == "aten" and not self.knows(namespace, name) and not is_wrapped(args, kwargs):
            with self:  # inference mode brings composite operators here whole; their parts are counted
                output = func.decompose(*args, **kwargs)
            if output is not NotImplemented:
                return output
        output = self.run(func, args, kwargs)
        self.seen(func, args, kwargs, output)
        return output


def name_of(func: Any) -> tuple[str, str]:
    """Namespace and name of an operator, without its overload."""
    if isinstance(func, HigherOrderOperator):
        return "higher_order", func.name()
    namespace, _, name = func._schema.name.partition("::")
    return namespace, name


def is_sparse(args: tuple[Any, ...]) -> bool:
    """Whether an argument is a tensor in a sparse or foreign layout."""
    return any(isinstance(arg, Tensor) and arg.layout != torch.strided for arg in args)


def is_wrapped(*arguments: Any) -> bool:
    """Whether a tensor among nested arguments has a format of its own that hides what is computed."""
    return any(map(is_traceable_wrapper_subclass, tree_leaves(arguments)))


@contextmanager
def plain_kernels() -> Iterator[None]:
    """Keep arithmetic from hiding: transformer layers do not fuse in evaluation mode, compiled code runs eagerly."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with ExitStack() as stack:
            if "torch._dynamo" in sys.modules:  # else nothing can be compiled, and loading it takes seconds
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextmanager
def followed(model: nn.Module, stack: list[tuple[str, nn.Module]]) -> Iterator[None]:
    """Keep `stack` at the modules whose forward is running, by hooks that are gone afterwards."""

    def leave(_module: nn.Module, _args: Any, _output: Any) -> None:
        stack.pop()

    with ExitStack() as handles:
        for full_name, module in model.named_modules():
            entry = (full_name.replace("_orig_mod.", "").removesuffix("_orig_mod"), module)

            def enter(_module: nn.Module, _args: Any, entry: tuple[str, nn.Module] = entry) -> None:
                stack.append(entry)

            # first in, last out: what a module's own hooks compute counts as the module's; also left by an exception,
            # with which checkpointing ends a forward pass that it repeats
            handles.enter_context(module.register_forward_pre_hook(enter, prepend=True))
            handles.enter_context(module.register_forward_hook(leave, always_call=True))
        yield
