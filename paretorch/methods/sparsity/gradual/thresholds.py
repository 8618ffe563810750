"""Thresholds that are learned beside the weights: a group of their own in the main optimizer, and never in the model.

They take the learning rate of the weights, so that the schedule drives both, and a decay of their own. Being in the
optimizer, they are clipped and stepped with the weights, and their momentum is in its checkpoint; their values are in
the method's. Their gradients are computed from those of the weights, which all processes share already. `remove` takes
group and momentum out, so that a next phase finds the optimizer of the plain model.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from paretorch.errors import InputError, NotFiniteError


class Thresholds(Mapping[str, nn.Parameter]):
    """Learned thresholds by the name of the weight they act on.

    Args:
        values: starting values, floating point.
    """

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        self._values = {name: nn.Parameter(value.detach().clone()) for name, value in values.items()}

    def __getitem__(self, name: str) -> nn.Parameter:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def add_to(self, optimizer: Optimizer, *, weight_decay: float) -> None:
        """Let the optimizer move them too, at its learning rate; `check_decay` says whether it can."""
        lr = optimizer.param_groups[0]["lr"]
        optimizer.add_param_group({"params": list(self.values()), "lr": lr, "weight_decay": weight_decay})

    def remove_from(self, optimizer: Optimizer) -> None:
        """Leave no trace in the optimizer."""
        own = {id(value) for value in self.values()}
        optimizer.param_groups[:] = [
            group for group in optimizer.param_groups if not any(id(p) in own for p in group["params"])
        ]
        for value in self.values():
            optimizer.state.pop(value, None)

    def check(self) -> None:
        """Refuse thresholds that are NaN or infinite.

        Raises:
            NotFiniteError: naming them.
        """
        if bad := [name for name, value in self.items() if not torch.isfinite(value).all()]:
            raise NotFiniteError(
                f"the learned thresholds of {', '.join(bad[:3])} became NaN or infinite; a lower learning rate, a "
                "warm-up or clip_norm usually helps"
            )

    def state_dict(self) -> dict[str, Any]:
        """The values by name."""
        return {name: value.detach() for name, value in self.items()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take the values back."""
        for name, value in self.items():
            value.copy_(state[name])


def check_decay(optimizer: Optimizer, weight_decay: float) -> None:
    """Refuse an optimizer that cannot let thresholds decay.

    Raises:
        InputError: if a decay is asked for and the optimizer has none.
    """
    if weight_decay and "weight_decay" not in optimizer.defaults:
        raise InputError(
            f"thresholds should decay by {weight_decay}, but {type(optimizer).__name__} has no weight_decay; use "
            "another optimizer, or a decay of 0"
        )
