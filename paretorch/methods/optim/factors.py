"""The numbers of one step: decay, learning rate and bias corrections, for each tensor by its own count of steps.

    c = sqrt(1 - beta2^(t-1))       of v as it is before step t; 1 where t = 1, when v is zero
    shift = eps c                   so that 1 / (sqrt(v) / c + eps) = c / (sqrt(v) + shift), one pass less
    move = -lr / (1 - beta1^t)
    keep = 1 - lr * weight_decay    decoupled

They are computed in float64 and handed on as Python numbers, or as 0-d tensors where a graph captures the step.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

Numbers = list[Any]  # all float, or all Tensor


class Factors(NamedTuple):
    """One number per tensor; see this module. sum_correction, sum_shift: of the rates that gamma is computed from."""

    keep: Numbers
    move: Numbers
    correction: Numbers
    shift: Numbers
    sum_correction: Numbers
    sum_shift: Numbers


def exact(device: torch.device) -> torch.dtype:
    """The widest type of real numbers that the device has."""
    return torch.float32 if device.type == "mps" else torch.float64


def factors(group: Mapping[str, Any], steps: Sequence[Tensor]) -> Factors:
    """The factors of one step.

    Args:
        group: a group of parameters of `DelayedOptimizer`.
        steps: 0-d, of each tensor, this step counted; at least one.
    """
    if group["capturable"]:
        t = torch.stack(list(steps))
        columns = _at(group, t.to(exact(t.device)))
        return Factors(*(list(column.unbind()) for column in columns))
    counts = [float(step) for step in steps]
    known = {count: _at(group, count) for count in set(counts)}
    return Factors(*(list(each) for each in zip(*(known[count] for count in counts), strict=True)))


def _at(group: Mapping[str, Any], t: Any) -> tuple[Any, ...]:
    """The fields of `Factors` at step t, a number or a tensor of them."""
    beta1, beta2 = group["betas"]
    lr, decay = group["lr"], group["weight_decay"] if group["decoupled"] else 0.0
    gap = correction = moving = one = t / t  # of the type and length of t
    if group["skip_first"]:
        moving = (t > 1) * one
    if group["bias_correction"]:
        gap, correction = 1 - beta1**t, (1 - beta2 ** (t - 1) + (t == 1) * one) ** 0.5
    later = correction
    if group.get("gamma_mode") == "stale":  # the released code divides v before the step by the correction after it
        later = (1 - beta2**t) ** 0.5
    eps = group["eps"]
    return 1 - lr * decay * moving, -lr * moving / gap, correction, eps * correction, later, eps * later
