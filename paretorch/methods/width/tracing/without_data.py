"""Run a model on tensors without data: a copy on the meta device, and a mode that keeps everything there.

Nothing large is stored or computed, and the user's model is not touched. Only constants that the forward pass makes by
itself (positions, masks) have values, until they meet a tensor without data. What needs data (a branch on a value, a
shape that depends on one) is refused by name.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from paretorch.errors import InputError, ParetorchError
from paretorch.measurement.inputs import Inputs
from paretorch.measurement.operators import plain_kernels
from paretorch.methods.width.tracing.shapes import KNOWN, words

FACTORIES = frozenset(
    words(
        "arange as_tensor empty eye full linspace logspace ones rand randint randn randperm scalar_tensor tensor"
        " tril_indices triu_indices zeros hann_window hamming_window from_numpy"
    )
)
PLACES = frozenset(("to", "cpu", "cuda"))  # what moves a tensor to a device stays on meta
QUESTIONS = frozenset(
    words(
        "shape size dim ndim ndimension numel nelement dtype device is_cuda is_cpu is_meta layout requires_grad"
        " stride __len__ is_contiguous is_floating_point is_complex element_size get_device is_sparse is_quantized"
        " is_nested grad_fn grad __hash__ is_leaf names retain_grad is_mkldnn is_inference itemsize nbytes"
        " storage_offset __repr__ __format__"
    )
)
DATA_DEPENDENT = frozenset(
    words(
        "__bool__ __int__ __float__ __index__ __complex__ __array__ item tolist numpy nonzero argwhere unique"
        " unique_consecutive masked_select bincount equal allclose is_nonzero __contains__"
    )
)
HIDING = frozenset(
    words(
        "resize_ resize_as_ as_strided as_strided_ set_ data.set unsqueeze_ squeeze_ t_ transpose_ swapaxes_"
        " swapdims_ view_as_real view_as_complex"
    )
)


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Tensors in arguments: alone, in sequences and in mappings."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from tensors_in(each)
    elif isinstance(value, dict):
        for each in value.values():
            yield from tensors_in(each)


def on_meta(value: Any) -> Any:
    """Arguments with every tensor on the meta device."""
    if isinstance(value, Tensor):
        return value if value.is_meta else value.to("meta")
    if type(value) in (list, tuple):
        return type(value)(on_meta(each) for each in value)
    if type(value) is dict:
        return {key: on_meta(each) for key, each in value.items()}
    return value


def name_of(func: Any) -> str:
    """Name of a torch function; of a property, the property's, and "<name>.set" where it is assigned."""
    name: str = getattr(func, "__name__", "") or type(func).__name__
    if name in ("__get__", "__set__"):
        return func.__self__.__name__ + (".set" if name == "__set__" else "")
    return name


class MetaMode(TorchFunctionMode):
    """Keeps a forward pass on the meta device. `stack` names the modules that run, `failed` where it broke."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[tuple[str, nn.Module]] = []
        self.failed = ""

    @property
    def module(self) -> str:
        """Full name of the module that runs; "" is the model itself."""
        return self.stack[-1][0] if self.stack else ""

    def place(self) -> str:
        """The module that runs, in words."""
        return shown(self.module)

    def run(self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a function on meta tensors.

        Raises:
            InputError: it needs the data.
        """
        empty = any(tensor.is_meta for tensor in tensors_in((args, kwargs)))
        if empty and name in DATA_DEPENDENT:
            raise InputError(
                f"{self.place()} calls {name.strip('_')!r} on a tensor, so that its control flow or its shapes depend "
                "on data, and groups are found without data; decide by shapes or by attributes of the module"
            )
        device = "meta" if empty else "cpu"
        if "device" in kwargs or name in FACTORIES:
            kwargs = {**kwargs, "device": device}
        if name in PLACES:
            args = tuple(device if isinstance(arg, str | torch.device) else arg for arg in args)
            name, func = "to", torch.Tensor.to
        try:
            if not empty:
                return func(*args, **kwargs)
            args, kwargs = on_meta(args), on_meta(kwargs)
            known = KNOWN.get(name)
            output = known(args, kwargs) if known else None
            return func(*args, **kwargs) if output is None else output
        except Exception:
            self.failed = self.module
            raise

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        return self.run(func, name_of(func), args, kwargs or {})


@dataclass(frozen=True)
class Twin:
    """A copy without data and what it is called with. stack: the modules that run, kept up to date by `followed`."""

    model: nn.Module
    example: Inputs
    stack: list[tuple[str, nn.Module]]

    def run(self, mode: MetaMode) -> Any:
        """One forward pass.

        Raises:
            InputError: it failed; naming the module.
        """
        mode.stack = self.stack
        with torch.no_grad(), torch.random.fork_rng(devices=[]), plain_kernels(), mode:
            try:
                return self.model(*self.example.positional, **self.example.keywords)
            except ParetorchError:
                raise
            except Exception as error:  # a user's forward may raise anything
                raise InputError(
                    f"the forward pass of {type(self.model).__name__}({self.example}), run without data, failed in "
                    f"{shown(mode.failed)}: {type(error).__name__}: {error}"
                ) from error


def twin_of(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode whose parameters and buffers are on the meta device."""
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(torch.empty_like(parameter, device="meta"), requires_grad=False)
    for buffer in model.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    try:
        return copy.deepcopy(model, memo).eval()
    except Exception as error:  # a module's __deepcopy__ may raise anything
        raise InputError(
            f"{type(model).__name__} cannot be copied ({type(error).__name__}: {error}); groups are found on a copy"
        ) from error


def shown(module: str) -> str:
    """A module's name in a message."""
    return f"module {module!r}" if module else "the model's own forward"
