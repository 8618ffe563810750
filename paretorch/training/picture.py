"""That the inputs of a model are pictures, and in which units: pixels in [0, 1], normalised channel by channel.

input = (pixel - mean) / std
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from paretorch.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Picture:
    """How a task's model inputs (what `Task.prepare` returns) are read as pictures.

    Args:
        shape: channels, height and width; an input may also be flattened to one row of as many numbers.
        mean, std: of the normalisation, one number per channel or one for all; the default is none.

    Raises:
        InputError: for a size below 1, a standard deviation that is not positive, or numbers for other channels.
    """

    shape: tuple[int, int, int]
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise InputError(f"a picture has the shape (channels, height, width), each 1 or more; got {self.shape}")
        if not all(len(values) in (1, self.shape[0]) for values in (self.mean, self.std)) or min(self.std) <= 0:
            raise InputError(
                f"mean and std are one number, or one for each of {self.shape[0]} channels, and std is positive; got "
                f"{self.mean} and {self.std}"
            )

    def pixels(self, inputs: Tensor) -> Tensor:
        """Model inputs (n, ...) as pixels (n, channels, height, width), float32.

        Raises:
            InputError: for inputs of another size.
        """
        if inputs[0].numel() != self.shape[0] * self.shape[1] * self.shape[2]:
            raise InputError(f"inputs of shape {tuple(inputs.shape[1:])} are no pictures of shape {self.shape}")
        mean, std = self._constants(inputs.device)
        return inputs.float().reshape(-1, *self.shape) * std + mean

    def inputs(self, pixels: Tensor, *, like: Tensor) -> Tensor:
        """The inverse of `pixels`: model inputs in the shape and type of `like` (n, ...)."""
        mean, std = self._constants(pixels.device)
        return ((pixels - mean) / std).to(like.dtype).reshape(like.shape)

    def _constants(self, device: torch.device) -> tuple[Tensor, Tensor]:
        mean, std = (torch.tensor(values, device=device).view(-1, 1, 1) for values in (self.mean, self.std))
        return mean, std
