"""Layers whose weight is computed from parameters that other layers use too.

    SharedLayer     W_i = sum_j alpha_i^(j) T_j        templates T of a bank, coefficients alpha of its own
    ScaledLayer     W_i = s_i W                        one weight W of several layers, a factor of its own

They are ordinary layers but for their weight: stride, padding, bias, hooks and every name stay, and the class of the
layer is exchanged in place. Whoever reads `layer.weight` gets the weight of this moment, differentiable; since it is no
parameter, whatever prunes or replaces weights refuses the layer.

A bank is a child of the first of its layers, and the others only refer to it, so that a state dict holds each template
once. (The authors register it under every layer, and state dicts hold it once per user.) So that layer must stay in
the model, and who freezes it freezes the templates of all. What is written into `layer.weight` is lost: it is made anew
at every access.

Source: Savarese and Maire, ICLR 2019, section 3. Changing the class in place, and scaled layers, are ours.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self

import torch
from torch import Tensor, nn

from paretorch.errors import InputError

_FOLDED = "_folded_from"
NO_WEIGHT = "the layer has no weight of its own to draw: draw a plain model and share or fold it again"


class TemplateBank(nn.Module):
    """The templates of one group of layers.

    Args:
        templates: (k, *shape of a weight).
        group: the group's name.
    """

    def __init__(self, templates: nn.Parameter, *, group: str) -> None:
        super().__init__()
        self.templates, self.group = templates, group

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """`to`, `half` and so on: a memory format of the model's images is none of the templates, of one axis more."""

        def flat(tensor: Tensor) -> Tensor:
            return fn(tensor.flatten(1)).view(tensor.shape)

        return super()._apply(flat, recurse)

    def combined(self, coefficients: Tensor) -> Tensor:
        """The weight of the coefficients (k,), in the templates' precision also under autocast."""
        with full_precision(self.templates.device):
            mixed = coefficients[None] @ self.templates.flatten(1)
        return mixed.view(self.templates.shape[1:])


class SharedLayer(nn.Module):
    """A layer whose weight is a combination of templates.

    Attributes:
        coefficients: (k,), its own.
        bank: the group's.
    """

    coefficients: nn.Parameter
    bank: TemplateBank

    def _made(self) -> Tensor:
        """What the forward pass uses, made anew at every access; differentiable."""
        return self.bank.combined(self.coefficients)

    weight: Any = property(_made)  # torch's layers declare an attribute, which a property may not override by type

    def reset_parameters(self) -> None:
        """Refused: torch would draw a weight that nobody keeps.

        Raises:
            InputError: always.
        """
        raise InputError(NO_WEIGHT)


class SharedLinear(SharedLayer, nn.Linear):
    """A linear layer of a bank."""


class SharedConv1d(SharedLayer, nn.Conv1d):
    """A convolution of a bank."""


class SharedConv2d(SharedLayer, nn.Conv2d):
    """A convolution of a bank."""


class SharedConv3d(SharedLayer, nn.Conv3d):
    """A convolution of a bank."""


class ScaledLayer(nn.Module):
    """A layer whose weight is a factor times a parameter of several layers.

    Attributes:
        base: the parameter that the layers have in common.
        scale: 0-d, its own.
    """

    base: nn.Parameter
    scale: nn.Parameter

    def _made(self) -> Tensor:
        """What the forward pass uses, made anew at every access; differentiable."""
        return self.scale * self.base

    weight: Any = property(_made)  # torch's layers declare an attribute, which a property may not override by type

    def reset_parameters(self) -> None:
        """Refused: torch would draw a weight that nobody keeps.

        Raises:
            InputError: always.
        """
        raise InputError(NO_WEIGHT)


class ScaledLinear(ScaledLayer, nn.Linear):
    """A linear layer with a factor."""


class ScaledConv1d(ScaledLayer, nn.Conv1d):
    """A convolution with a factor."""


class ScaledConv2d(ScaledLayer, nn.Conv2d):
    """A convolution with a factor."""


class ScaledConv3d(ScaledLayer, nn.Conv3d):
    """A convolution with a factor."""


SHARED: dict[type[nn.Module], type[SharedLayer]] = {
    nn.Linear: SharedLinear,
    nn.Conv1d: SharedConv1d,
    nn.Conv2d: SharedConv2d,
    nn.Conv3d: SharedConv3d,
}
SCALED: dict[type[nn.Module], type[ScaledLayer]] = {
    nn.Linear: ScaledLinear,
    nn.Conv1d: ScaledConv1d,
    nn.Conv2d: ScaledConv2d,
    nn.Conv3d: ScaledConv3d,
}
_PLAIN: dict[type[nn.Module], type[nn.Module]] = {
    made: plain for kinds in (SHARED, SCALED) for plain, made in kinds.items()
} | {plain: plain for plain in SHARED}


def plain_kind(layer: nn.Module) -> type[nn.Module] | None:
    """The class of torch's that the layer is or was; None for any other module, subclasses of them included."""
    return _PLAIN.get(type(layer))


def make_shared_(layer: nn.Module, bank: TemplateBank, coefficients: nn.Parameter, *, owner: bool) -> None:
    """Let a plain layer read the bank, in place.

    Args:
        layer: of a class that `SHARED` names.
        bank: with templates of the weight's shape.
        coefficients: (k,).
        owner: register the bank as a child of this layer; for exactly one layer of the group.
    """
    _become(layer, SHARED[_PLAIN[type(layer)]], coefficients=coefficients)
    if owner:
        layer.bank = bank
    else:
        layer.__dict__["bank"] = bank  # past `Module.__setattr__`, which would register it here too


def make_scaled_(layer: nn.Module, base: nn.Parameter, scale: nn.Parameter) -> None:
    """Let the layer's weight be `scale` times `base`, in place."""
    _become(layer, SCALED[_PLAIN[type(layer)]], base=base, scale=scale)


def make_plain_(layer: nn.Module, weight: nn.Parameter) -> None:
    """Make torch's own layer with this weight of it, in place."""
    _become(layer, _PLAIN[type(layer)], weight=weight)


def mark_folded_(layer: nn.Module, group: str) -> None:
    """Note on the layer, and on copies of it, which group it was folded from: its weight was learned."""
    layer.__dict__[_FOLDED] = group


def folded_from(layer: nn.Module) -> str | None:
    """The group that the layer was folded from in this process; None for any other."""
    return layer.__dict__.get(_FOLDED)


def full_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Outside of autocast: sums of few products, whose result every entry of a layer feels."""
    inside = device.type != "meta" and torch.is_autocast_enabled(device.type)
    return torch.autocast(device.type, enabled=False) if inside else nullcontext()


def _become(layer: nn.Module, kind: type[nn.Module], **parameters: nn.Parameter) -> None:
    """Exchange class and parameters; the bias stays, and stays last."""
    bias = layer._parameters.get("bias")
    layer._parameters.clear()
    layer._modules.pop("bank", None)
    layer.__dict__.pop("bank", None)
    layer.__class__ = kind
    for name, parameter in {**parameters, "bias": bias}.items():
        layer.register_parameter(name, parameter)
