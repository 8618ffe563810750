"""What a model is called with while it is measured, and the promise that it is left as it was found.

Example inputs are a tensor, a tuple of tensors (positional) or a mapping of tensors (keywords); all share their first
dimension, the batch. Other batch sizes are made by repeating the examples cyclically.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

ExampleInputs = Tensor | tuple[Tensor, ...] | Mapping[str, Tensor]


@dataclass(frozen=True)
class Inputs:
    """Positional and keyword tensors `(batch, ...)` of one call; made by `as_inputs`."""

    positional: tuple[Tensor, ...]
    keywords: dict[str, Tensor]

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> "Inputs":
        return Inputs(tuple(map(change, self.positional)), {k: change(v) for k, v in self.keywords.items()})

    @property
    def batch(self) -> int:
        """Number of examples."""
        return next(iter((*self.positional, *self.keywords.values()))).shape[0]

    def with_batch(self, size: int) -> "Inputs":
        """The same examples, repeated cyclically or cut, as a batch of `size`."""
        if size < 1:
            raise ValueError(f"a batch size is 1 or more; got {size}.")
        which = torch.arange(size) % self.batch
        return self._mapped(lambda tensor: tensor.detach()[which.to(tensor.device)])

    def to(self, device: torch.device) -> "Inputs":
        """The same examples on `device`."""
        return self._mapped(lambda tensor: tensor.to(device))

    def __str__(self) -> str:
        shown = [_shown(tensor) for tensor in self.positional]
        shown += [f"{name}={_shown(tensor)}" for name, tensor in self.keywords.items()]
        return ", ".join(shown)


def _shown(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{tuple(tensor.shape)}"


def as_inputs(example_inputs: ExampleInputs) -> Inputs:
    """Check the example inputs and bring them into one form.

    Raises:
        TypeError: neither a tensor, nor a tuple, list or mapping of tensors.
        ValueError: no tensor, a tensor without a batch dimension, an empty batch or unequal batch sizes.
    """
    if isinstance(example_inputs, Tensor):
        inputs = Inputs((example_inputs,), {})
    elif isinstance(example_inputs, Mapping):
        inputs = Inputs((), dict(example_inputs))
    elif isinstance(example_inputs, tuple | list):
        inputs = Inputs(tuple(example_inputs), {})
    else:
        raise TypeError(
            f"example_inputs must be a tensor, a tuple of tensors or a mapping of keyword tensors; got "
            f"{type(example_inputs).__name__}."
        )
    named: dict[str | int, Tensor] = dict(enumerate(inputs.positional))
    named.update(inputs.keywords)
    if not named:
        raise ValueError("example_inputs is empty; give at least one tensor with a batch dimension.")
    for name, tensor in named.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(f"example_inputs[{name!r}] must be a tensor; got {type(tensor).__name__}.")
        if tensor.dim() == 0 or tensor.shape[0] == 0:
            raise ValueError(
                f"example_inputs[{name!r}] has shape {tuple(tensor.shape)}; the first dimension is the batch and needs "
                "at least one example."
            )
    sizes = {name: tensor.shape[0] for name, tensor in named.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"all example inputs must share their first dimension, the batch; got {sizes}.")
    return inputs


def check_model(model: nn.Module) -> None:
    """Refuse what is no module, and lazy modules: their first forward would change them.

    Raises:
        TypeError: not an `nn.Module`. ValueError: a parameter or buffer has no shape yet.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module; got {type(model).__name__}.")
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if torch.nn.parameter.is_lazy(tensor):
            raise ValueError(f"{name} has no shape yet; run one forward pass before measuring.")


def device_of(model: nn.Module) -> torch.device:
    """Device of the first parameter or buffer; the CPU when there is none."""
    for tensor in (*model.parameters(), *model.buffers()):
        return tensor.device
    return torch.device("cpu")


def call(model: nn.Module, inputs: Inputs) -> object:
    """One forward pass; a failure says what was called.

    Raises:
        RuntimeError: the forward pass failed, for any reason; the original error is its cause.
    """
    try:
        return model(*inputs.positional, **inputs.keywords)
    except Exception as error:
        raise RuntimeError(
            f"the forward pass failed when called as {type(model).__name__}({inputs}) in evaluation mode on "
            f"{device_of(model)}: {type(error).__name__}: {error}"
        ) from error


@contextmanager
def left_as_found(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients inside; afterwards every module's mode, every buffer (object and value) and
    torch's random state are what they were, also after an error. Parameters and sparse buffers are not written to by a
    forward pass, so their values are not watched.
    """
    modes = [(module, module.training) for module in model.modules()]
    buffers = [
        (module, name, buffer, buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    device = device_of(model)
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices), torch.no_grad():
            model.eval()
            yield
    finally:
        for module, training in modes:
            module.training = training
        with torch.no_grad():
            for module, name, buffer, value in buffers:
                if module._buffers.get(name) is not buffer:
                    module._buffers[name] = buffer
                if buffer.layout == torch.strided and not torch.equal(buffer, value):
                    buffer.copy_(value)
