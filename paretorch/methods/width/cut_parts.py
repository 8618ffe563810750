"""What a parameter, a buffer, a size and an epsilon become in a cut, and why some of them cannot be cut."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from paretorch.errors import InputError
from paretorch.methods.sparsity.binding import bare_name, unwrapped
from paretorch.methods.sparsity.zeroing import is_sharded
from paretorch.methods.width.kept import Kept

EPSILONS = ("eps", "variance_epsilon")  # what torch and transformers call the epsilon of an RMS norm


@dataclass(frozen=True)
class CutParameter:
    """A parameter before and after the cut.

    Attributes:
        old: in the model now.
        new: `old` without the removed entries, times `scale`; requires_grad, dtype, device and memory format are those
            of `old`, and there is no gradient.
        kept: dimension -> the entries that stay.
        scale: sqrt(d / k) for the weight of an RMS norm over a cut axis, else 1.
    """

    old: nn.Parameter
    new: nn.Parameter
    kept: Mapping[int, Kept]
    scale: float = 1.0

    def slice_state(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Optimizer state of the old parameter, cut like it: momentum and moments sliced, counters as they are.

        The surviving entries are those of the old state bit for bit, those of a rescaled RMS norm too.

        Args:
            state: `optimizer.state[part.old]`; may be empty.

        Raises:
            InputError: a tensor has neither the parameter's shape nor 0 dimensions, so that it is unknown which of its
                entries belong to the units that stay.
        """
        return {key: self._sliced(key, value) for key, value in state.items()}

    def _sliced(self, key: str, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if value.shape == self.old.shape:
            return selected(value, self.kept)
        if value.dim() == 0:
            return value.clone()
        raise InputError(
            f"optimizer state {key!r} has shape {tuple(value.shape)}, its parameter {tuple(self.old.shape)}; it is not "
            "known how to cut it. Leave the parameter out of the state, and it starts with an empty one."
        )


def selected(tensor: Tensor, kept: Mapping[int, Kept]) -> Tensor:
    """The entries that stay along all dimensions, in the memory format of `tensor`."""
    last = tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    channels_last = last and not tensor.is_contiguous()
    for dim, entries in kept.items():
        tensor = entries.select(tensor, dim)
    return tensor.contiguous(memory_format=torch.channels_last) if channels_last else tensor.contiguous()


def check_parameter(name: str, parameter: nn.Parameter, owner: nn.Module, kept: Mapping[int, Kept]) -> None:
    """Raise InputError if the parameter cannot be cut, or not so."""
    if is_lazy(parameter):
        raise InputError(f"{name} has no shape yet; run one forward pass first")
    if is_sharded(parameter):
        raise InputError(f"{name} is sharded over several processes; cut the model before it is sharded.")
    stem = f"{name.rpartition('.')[2]}_"
    computed = {f"{stem}{end}" for end in ("g", "mask", "orig", "u", "v")}
    if foreign := sorted(computed & {*owner._parameters, *owner._buffers}):
        raise InputError(
            f"{foreign} stand beside {name} (weight norm or pruning by torch.nn.utils, say); how to cut those is not "
            "known. Remove them first."
        )
    check_shape(name, parameter, kept)


def check_shape(name: str, tensor: Tensor, kept: Mapping[int, Kept]) -> None:
    """Raise InputError unless the tensor has the dimensions that the cut is for."""
    for dim, entries in kept.items():
        if not dim < tensor.dim() or tensor.shape[dim] != entries.size:
            raise InputError(
                f"{name} has shape {tuple(tensor.shape)}; the cut is for {entries.size} entries along dimension {dim}. "
                "It was made for another model, or has been made already."
            )


def resized(module: nn.Module, name: str, attribute: str, before: int, after: int) -> Any:
    """The new value of a size, in the form of the old one: an integer, or a tuple of one."""
    old = getattr(module, attribute, None)
    if old != before and old != (before,):
        raise InputError(
            f"{attribute} of {name or 'the model'!r} is {old!r}, and the cut is for {before}. It was made for another "
            "model, or has been made already."
        )
    return after if isinstance(old, int) else (after,)


def new_epsilon(norm: nn.Module, name: str, ratio: float) -> tuple[str, float]:
    """Which attribute of an RMS norm is its epsilon, and what it becomes."""
    for attribute in EPSILONS:
        if hasattr(norm, attribute):
            value = getattr(norm, attribute)
            if value is None:  # torch's word for the machine epsilon of the input's dtype
                value = torch.finfo(next(norm.parameters()).dtype).eps
            return attribute, value * ratio
    raise InputError(f"the RMS norm {name!r} has no epsilon under one of the names {', '.join(EPSILONS)}; pin its axis")


def named_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Every module by its name without wrappers; a shared one under all its names."""
    return {bare_name(name): module for name, module in unwrapped(model).named_modules(remove_duplicate=False)}


def named_buffers(model: nn.Module) -> dict[str, tuple[nn.Module, Tensor]]:
    """Owner and tensor of every buffer by its full name; a shared one under all its names."""
    return {
        f"{prefix}.{name}".removeprefix("."): (module, buffer)
        for prefix, module in named_modules(model).items()
        for name, buffer in module.named_buffers(recurse=False, remove_duplicate=False)
    }


def missing(name: str, what: str, model: nn.Module, known: Sequence[str]) -> str:
    """What to say of a name that the model does not have."""
    close = get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return (
        f"{name!r} is no plain {what} of {type(unwrapped(model)).__name__}{hint}. A tensor that is computed from "
        "others (weight norm, another parametrization, pruning by torch.nn.utils) is cut after these are removed."
    )
