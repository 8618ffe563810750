"""Finds the parameters that masks speak of, and zeroes their weights, gradients and optimizer state.

A binding pairs one mask with one parameter of one model. Names are those of the bare module: the prefixes that
DistributedDataParallel, an averaged copy, torch.compile or activation checkpointing put before a name are dropped.
A parameter that is tied (reachable under several names) is bound once.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from paretorch.errors import InputError, RunError
from paretorch.methods.sparsity.zeroing import is_sharded, local, placed_like, zero_pruned_

WRAPPER_SEGMENTS = frozenset({"_orig_mod", "_checkpoint_wrapped_module"})


@dataclass(slots=True)
class Binding:
    """One mask and the parameter it prunes.

    Attributes:
        name: the mask's name.
        owner, attribute: the module that holds the parameter, and under which attribute.
        parameter: the parameter when the binding was made.
        mask: bool, the parameter's full shape.
        placed: the mask's part that goes with the entries this process holds.
    """

    name: str
    owner: nn.Module
    attribute: str
    parameter: nn.Parameter
    mask: Tensor
    placed: Tensor

    def is_current(self) -> bool:
        """Whether the module still holds the parameter that was bound."""
        return self.owner._parameters.get(self.attribute) is self.parameter

    def zero_(self, tensor: Tensor) -> None:
        """Zero the pruned entries of the parameter, its gradient or its optimizer state."""
        values = local(tensor)
        if values.device != self.placed.device:  # the model was moved after binding
            self.placed = self.placed.to(values.device)
        zero_pruned_(values, self.placed)

    def mask_gradient_(self) -> None:
        """Zero the pruned entries of the parameter's gradient, if it has one.

        Raises:
            RunError: for a sparse gradient.
        """
        gradient = self.parameter.grad
        if gradient is None:
            return
        if gradient.layout is not torch.strided:
            raise RunError(
                f"the gradient of {self.name!r} has layout {gradient.layout}; masks need dense gradients: build the "
                "layer with sparse=False, or leave it out of the masks"
            )
        self.zero_(gradient)


def bare_name(name: str) -> str:
    """A parameter name without the segments that torch.compile and activation checkpointing insert."""
    return ".".join(part for part in name.split(".") if part not in WRAPPER_SEGMENTS)


def unwrapped(model: nn.Module) -> nn.Module:
    """The module inside torch.compile, DistributedDataParallel, DataParallel and AveragedModel."""
    while True:
        if isinstance(model, DistributedDataParallel | DataParallel | AveragedModel):
            model = model.module
        elif isinstance(inner := model._modules.get("_orig_mod"), nn.Module):
            model = inner
        else:
            return model


def unwrapped_optimizer(optimizer: Optimizer) -> Optimizer:
    """The torch optimizer inside wrappers that keep it as `.optimizer`, as Accelerate and Lightning do."""
    while isinstance(inner := getattr(optimizer, "optimizer", None), Optimizer):
        optimizer = inner
    return optimizer


def named_slots(model: nn.Module) -> Iterator[tuple[str, nn.Module, str, nn.Parameter]]:
    """(bare name, owner, attribute, parameter) for every name of every parameter; tied ones appear several times."""
    for prefix, module in unwrapped(model).named_modules(remove_duplicate=False):
        for name, parameter in module.named_parameters(prefix, recurse=False, remove_duplicate=False):
            yield bare_name(name), module, name.rpartition(".")[2], parameter


def bind(model: nn.Module, masks: Mapping[str, Tensor]) -> list[Binding]:
    """Pair every mask with its parameter.

    Raises:
        InputError: naming every mask whose parameter is missing, of another shape, lazy or not a real floating-point
            tensor, and tied parameters whose masks differ.
    """
    slots = {name: (owner, attribute, parameter) for name, owner, attribute, parameter in named_slots(model)}
    bindings: dict[int, Binding] = {}
    problems: list[str] = []
    for name, mask in masks.items():
        found = slots.get(name) or slots.get(name.removeprefix("module."))
        if found is None:
            close = get_close_matches(name, slots, n=1)
            problems.append(
                f"{name!r} is no parameter of {type(unwrapped(model)).__name__}"
                + (f" (did you mean {close[0]!r}?)" if close else "")
            )
            continue
        owner, attribute, parameter = found
        if problem := mismatch(name, mask, parameter):
            problems.append(problem)
        elif (tied := bindings.get(id(parameter))) is None:
            placed = placed_like(mask, parameter)
            bindings[id(parameter)] = Binding(name, owner, attribute, parameter, mask, placed)
        elif not torch.equal(tied.mask, mask.to(tied.mask.device)):
            problems.append(f"{name!r} and {tied.name!r} are one tied parameter but their masks differ; keep one")
    if problems:
        raise InputError(
            f"{len(problems)} of {len(masks)} masks do not fit the model: {'; '.join(problems)}. Masks go by the names "
            "of model.named_parameters() and have the shapes of those parameters."
        )
    return list(bindings.values())


def mismatch(name: str, mask: Tensor, parameter: nn.Parameter) -> str | None:
    """Why the mask cannot prune the parameter, or None."""
    if is_lazy(parameter):
        return f"{name!r} is a lazy parameter without a shape yet; run one forward pass first"
    if not parameter.is_floating_point():
        return f"{name!r} has dtype {parameter.dtype}, where a real floating-point dtype is needed"
    if mask.shape != parameter.shape:
        return f"{name!r}: the mask has shape {tuple(mask.shape)}, the parameter {tuple(parameter.shape)}"
    return None


def clear_state_(bindings: Iterable[Binding], optimizer: Optimizer) -> None:
    """Zero the pruned entries of every tensor in the optimizer's state that has its parameter's shape.

    That is momentum, first and second moments and their maxima. Step counters (0-d) and factored statistics of another
    shape are left alone. Without this, old momentum moves a newly pruned weight away from zero.
    """
    state = unwrapped_optimizer(optimizer).state
    for binding in bindings:
        parameter = binding.parameter
        for value in state.get(parameter, {}).values():
            if not isinstance(value, Tensor) or value.dim() == 0 or value.shape != parameter.shape:
                continue
            if not value.is_complex() and is_sharded(value) == is_sharded(parameter):
                binding.zero_(value)
