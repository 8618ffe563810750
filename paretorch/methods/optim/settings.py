"""What is set for a group of parameters, and the refusal of what a step cannot be made with."""

import sys
from collections.abc import Mapping
from numbers import Real
from typing import Any, TypedDict

from torch import Tensor

from paretorch.errors import InputError

EPS_RANGE = (1e-12, 1e15)  # outside of it sums of 1 / eps^2, over many weights of v = 0, leave the range of float32
FINITE = sys.float_info.max


class Settings(TypedDict, total=False):
    """What `DelayedOptimizer` takes beside the learning rate, for subclasses that hand it on."""

    betas: tuple[float, float]
    eps: float
    weight_decay: float
    decoupled: bool
    bias_correction: bool
    skip_first: bool
    foreach: bool | None
    capturable: bool


def check_settings(group: Mapping[str, Any]) -> None:
    """Refuse settings that cannot be worked with.

    Raises:
        InputError: naming the setting and its value.
    """
    lr, betas = group["lr"], group["betas"]
    if isinstance(lr, Tensor):
        if not group["capturable"] or lr.dim() or lr.is_complex():
            raise InputError(
                f"lr is a tensor of shape {tuple(lr.shape)} and type {lr.dtype}; expected a number, or a real 0-d "
                "tensor with capturable=True"
            )
        lr = lr.item()
    if not _is_number(lr, 0, FINITE):
        raise InputError(f"lr = {lr!r} must be a finite number of at least 0")
    if not _is_number(group["eps"], *EPS_RANGE):
        raise InputError(f"eps = {group['eps']!r} must lie between {EPS_RANGE[0]:g} and {EPS_RANGE[1]:g}")
    if not (
        isinstance(betas, tuple | list) and len(betas) == 2 and all(_is_number(one, 0, 1) and one < 1 for one in betas)
    ):
        raise InputError(f"betas = {betas!r} must be two numbers in [0, 1)")
    if not _is_number(group["weight_decay"], 0, FINITE):
        raise InputError(f"weight_decay = {group['weight_decay']!r} must be a finite number of at least 0")


def _is_number(value: Any, low: float, high: float) -> bool:
    return isinstance(value, Real) and low <= float(value) <= high
