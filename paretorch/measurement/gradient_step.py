"""One forward and one backward pass on example inputs, to be counted, that leave the model as it was found."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from paretorch.measurement.inputs import ExampleInputs, as_inputs, check_model, device_of, left_as_found

Loss = Callable[[Any], Tensor]


@contextmanager
def gradient_step(
    model: nn.Module, example_inputs: ExampleInputs, *, loss: Loss | None = None
) -> Iterator[Callable[[], None]]:
    """Give a callable that runs forward and backward once per call, with gradients and in the modes found.

    Afterwards buffers, gradients and random state are what they were; parameters are not written to, unless a hook of
    the model does.

    Args:
        model: any module. example_inputs: tensor, tuple of tensors or mapping of keyword tensors, `(batch, ...)` each;
            those that require a gradient get one.
        loss: a scalar from the model's output. None: the sum of all outputs that require a gradient.

    Raises:
        TypeError, ValueError: not a module, a lazy module, inputs of the wrong kind, a loss that is no scalar tensor.
    """
    check_model(model)
    given = as_inputs(example_inputs)
    inputs = given.with_batch(given.batch).to(device_of(model))
    for name, tensor in inputs.keywords.items():
        tensor.requires_grad_(given.keywords[name].requires_grad)
    for tensor, original in zip(inputs.positional, given.positional, strict=True):
        tensor.requires_grad_(original.requires_grad)
    modes = [(module, module.training) for module in model.modules()]
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]

    def step() -> None:
        output = model(*inputs.positional, **inputs.keywords)
        value = _sum(output) if loss is None else loss(output)
        if not isinstance(value, Tensor) or value.numel() != 1:
            shown = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"loss must return a tensor with one entry; got {shown}. Reduce it, say with .mean().")
        if value.requires_grad:
            value.backward()
        for tensor in (*model.parameters(), *inputs.positional, *inputs.keywords.values()):
            tensor.grad = None

    with left_as_found(model), torch.enable_grad():
        for module, training in modes:
            module.training = training
        try:
            for parameter, _ in gradients:
                parameter.grad = None
            yield step
        finally:
            for parameter, gradient in gradients:
                parameter.grad = gradient


def _sum(output: Any) -> Tensor:
    leaves = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor) and leaf.requires_grad]
    return torch.stack([leaf.sum().float() for leaf in leaves]).sum() if leaves else torch.zeros(())
