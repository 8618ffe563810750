"""The options `train_limit` and `eval_limit` that tasks share: only the first so many examples, for quick tries."""

from torch import Tensor

from paretorch.errors import InputError


def limited(index: Tensor, limit: int | None, *, option: str = "train_limit") -> Tensor:
    """The first `limit` of the examples at `index` (n,); all of them for None. `option` is named in messages.

    Raises:
        InputError: for fewer than one or more than there are.
    """
    if limit is None:
        return index
    if not 1 <= limit <= len(index):
        raise InputError(f"{option} must be between 1 and {len(index)}; got {limit}")
    return index[:limit]
