"""Factors of layers that the batch norm behind them absorbs.

    bn(W x + b)  =  bn'((W x + b) / s)        gain' = sign(s) gain, eps' = eps / s^2, mean' = mean / s, var' = var / s^2

holds exactly, in training and in evaluation mode, if the norm is the only reader of what the layer makes. It is found
by watching one forward pass: every operation outside of the norm that touches the layer's output, or a view of it,
forbids the move, and so does a layer or norm that runs twice.

Source: scale invariance of batch norm, Ioffe and Szegedy, ICML 2015, section 3.3; moving eps too, so that the equality
is exact, is ours.
"""

import math
from collections import Counter
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from paretorch.errors import InputError
from paretorch.measurement.inputs import ExampleInputs, as_inputs, call, left_as_found
from paretorch.methods.sharing.layers import plain_kind


def following_norms(model: nn.Module, example_inputs: ExampleInputs) -> dict[str, str]:
    """Layer -> the batch norm that alone reads its output, for all Linear and convolutional layers that have one.

    Args:
        model: left as found; it is run once, in evaluation mode.
        example_inputs: tensor, tuple of tensors or mapping of keyword tensors, on the model's device.
    """
    watch = _Watch()
    with ExitStack() as stack:
        stack.enter_context(left_as_found(model))
        for name, module in model.named_modules():
            if plain_kind(module) is not None:
                stack.callback(module.register_forward_hook(watch.made_by(name)).remove)
            elif isinstance(module, _BatchNorm):
                stack.callback(module.register_forward_pre_hook(watch.enters(name)).remove)
                stack.callback(module.register_forward_hook(watch.leaves).remove)
        stack.enter_context(watch)
        outputs = call(model, as_inputs(example_inputs))
    watch.touch(tree_leaves(outputs))
    return watch.pairs()


def check_norms(model: nn.Module, norms: dict[str, str]) -> None:
    """Refuse a pair that names no batch norm, or one norm for two layers.

    Raises:
        InputError: naming it.
    """
    modules = dict(model.named_modules())
    for layer, norm in norms.items():
        if layer not in modules or not isinstance(modules.get(norm), _BatchNorm):
            raise InputError(f"norms names {norm!r} behind {layer!r}; expected a batch norm and a layer of the model")
    if twice := [norm for norm, count in Counter(norms.values()).items() if count > 1]:
        raise InputError(f"norms names {twice} behind several layers; a norm can absorb the factor of one")


def can_absorb(norm: _BatchNorm, factor: float) -> bool:
    """Whether divided statistics and epsilon stay in the range of their types, up to what epsilon hides anyway."""
    square = factor**2
    if not 0 < square < math.inf or not 0 < norm.eps / square < math.inf:
        return False
    mean, var = norm.running_mean, norm.running_var
    if mean is None or var is None:
        return True
    near = partial(torch.allclose, rtol=0.01)
    return near(mean / factor * factor, mean, atol=0.01 * norm.eps**0.5) and near(
        var / square * square, var, atol=0.01 * norm.eps
    )


@torch.no_grad()
def absorb_(norm: _BatchNorm, factor: float) -> None:
    """Let the norm take over a factor of the layer before it, whose output is from now on divided by it; in place.

    Args:
        norm: with a gain; one that `can_absorb` the factor.
        factor: s.
    """
    if factor < 0:
        norm.weight.neg_()
    if norm.running_mean is not None and norm.running_var is not None:
        norm.running_mean.div_(factor)
        norm.running_var.div_(factor**2)
    norm.eps /= factor**2


class _Watch(TorchDispatchMode):
    """Who makes and who touches a tensor, by the address of its memory, while a model runs."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Tensor] = []  # so that no address is used again
        self.maker: dict[int, str] = {}
        self.calls: Counter[str] = Counter()
        self.readers: dict[str, set[str]] = {}
        self.others: set[str] = set()
        self.inside = 0

    def made_by(self, name: str) -> Any:
        """A forward hook of the layer."""

        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            self.kept.append(output)
            self.maker[output.untyped_storage().data_ptr()] = name
            self.calls[name] += 1

        return hook

    def enters(self, name: str) -> Any:
        """A hook before the norm's forward."""

        def hook(_module: nn.Module, inputs: Any) -> None:
            self.calls[name] += 1
            self.inside += 1
            for made in self._makers(inputs):
                self.readers.setdefault(made, set()).add(name)

        return hook

    def leaves(self, *_: Any) -> None:
        """A hook behind the norm's forward."""
        self.inside -= 1

    def touch(self, tensors: Any) -> None:
        """Note that somebody else than a norm reads the tensors."""
        self.others.update(self._makers(tensors))

    def pairs(self) -> dict[str, str]:
        """Layer -> its only reader."""
        return {
            layer: next(iter(norms))
            for layer, norms in self.readers.items()
            if len(norms) == 1
            and layer not in self.others
            and self.calls[layer] == 1
            and self.calls[next(iter(norms))] == 1
        }

    def _makers(self, tensors: Any) -> set[str]:
        addresses = {t.untyped_storage().data_ptr() for t in tree_leaves(tensors) if isinstance(t, Tensor)}
        return {self.maker[address] for address in addresses if address in self.maker}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not self.inside:
            self.touch((args, kwargs))
        return func(*args, **(kwargs or {}))
