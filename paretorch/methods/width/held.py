"""Entries that no profile of a step used, put back after its update: neither decay nor momentum moves them.

Their gradient is exactly zero, but weight decay shrinks them in every step and momentum carries them on, as in all
public code of ordered dropout; where wide units are sampled rarely this decay acts like a hidden penalty on them. With
entries held, a step changes what it trained and nothing else. Costs a mask and a copy of the held entries per step.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from paretorch.methods.width.groups import Profile
from paretorch.methods.width.ordered import OrderedModel


@dataclass(frozen=True)
class Held:
    """The unused entries of one parameter and of the optimizer state of its shape, as they were."""

    parameter: nn.Parameter
    unused: Tensor
    values: Tensor
    state: dict[tuple[int, str], Tensor]


def hold(ordered: OrderedModel, profiles: Sequence[Profile], optimizers: Iterable[Optimizer]) -> list[Held]:
    """Copies of all entries that none of `profiles` uses, to be put back by `restore`; call it before the update."""
    parameters = dict(ordered.model.named_parameters())
    held = []
    for name in dict.fromkeys(axis.tensor for axis in ordered.groups.axes if axis.tensor in parameters):
        used = [ordered.used(name, profile) for profile in profiles]
        unused, parameter = ~torch.stack(used).any(0), parameters[name]
        if unused.any():
            held.append(held_entries(parameter, unused, optimizers))
    return held


def held_entries(parameter: nn.Parameter, unused: Tensor, optimizers: Iterable[Optimizer]) -> Held:
    """A copy of the entries of a parameter where `unused` (bool, of its shape) is True, for `restore`."""
    state = {place: tensor[unused] for place, tensor in _alike(parameter, optimizers)}
    return Held(parameter, unused, parameter.detach()[unused], state)


def restore(held: Iterable[Held], optimizers: Iterable[Optimizer]) -> None:
    """Put the entries back after the update; optimizer state that the update created is zero there."""
    with torch.no_grad():
        for entries in held:
            entries.parameter[entries.unused] = entries.values
            for place, tensor in _alike(entries.parameter, optimizers):
                tensor[entries.unused] = entries.state.get(place, 0)


def _alike(parameter: nn.Parameter, optimizers: Iterable[Optimizer]) -> list[tuple[tuple[int, str], Tensor]]:
    """Optimizer state of the parameter's shape, by optimizer and key."""
    states: list[dict[str, Any]] = [optimizer.state.get(parameter, {}) for optimizer in optimizers]
    return [
        ((number, key), value)
        for number, state in enumerate(states)
        for key, value in state.items()
        if isinstance(value, Tensor) and value.shape == parameter.shape
    ]
