"""Numbers that are learned beside the weights, by the name of the weight: what thresholds and mask logits share.

They are parameters of no module; a method gives them to an optimizer, computes their gradients, and keeps their values
in its checkpoints.
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from paretorch.errors import NotFiniteError


class LearnedNumbers(Mapping[str, nn.Parameter]):
    """Learned numbers by the name of the weight they act on.

    Args:
        values: starting values, floating point; copied.

    Attributes:
        words: what error messages call them.
    """

    words: ClassVar[str] = "learned numbers"

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        self._values = {name: nn.Parameter(value.detach().clone()) for name, value in values.items()}

    def __getitem__(self, name: str) -> nn.Parameter:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def check(self) -> None:
        """Refuse numbers that are NaN or infinite.

        Raises:
            NotFiniteError: naming them.
        """
        if bad := [name for name, value in self.items() if not torch.isfinite(value).all()]:
            raise NotFiniteError(
                f"the {self.words} of {', '.join(bad[:3])} became NaN or infinite; a lower learning rate, a "
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
