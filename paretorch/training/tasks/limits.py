"""The option `train_limit` that tasks share: learn from the first so many training examples, for quick tries."""

from torch import Tensor

from paretorch.errors import InputError


def limited(index: Tensor, train_limit: int | None) -> Tensor:
    """The first `train_limit` of the training examples at `index` (n,); all of them for None.

    Raises:
        InputError: for fewer than one or more than there are.
    """
    if train_limit is None:
        return index
    if not 1 <= train_limit <= len(index):
        raise InputError(f"train_limit must be between 1 and {len(index)}; got {train_limit}")
    return index[:train_limit]
