"""Thresholds that are learned beside the weights: a group of their own in the main optimizer, and never in the model.

They take the learning rate of the weights, so that the schedule drives both, and a decay of their own. Being in the
optimizer, they are clipped and stepped with the weights, and their momentum is in its checkpoint; their values are in
the method's. Their gradients are computed from those of the weights, which all processes share already. `remove` takes
group and momentum out, so that a next phase finds the optimizer of the plain model.
"""

from typing import ClassVar

from torch.optim import Optimizer

from paretorch.errors import InputError
from paretorch.methods.sparsity.gradual.learned import LearnedNumbers


class Thresholds(LearnedNumbers):
    """Learned thresholds by the name of the weight they act on."""

    words: ClassVar[str] = "learned thresholds"

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
