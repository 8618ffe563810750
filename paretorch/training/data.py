"""Examples by index: in-memory arrays, and any map-style dataset behind the same two methods.

A batch is a dict of tensors whose first dimension runs over examples; `index` (n,) int64 says which examples they are.
"""

import inspect
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import default_collate

from paretorch.errors import InputError

Batch = dict[str, Tensor]


class Examples(Protocol):
    """What the trainer reads: a length, and the batch of the examples at `index` (n,) int64."""

    def __len__(self) -> int: ...

    def batch(self, index: Tensor) -> Batch: ...


class ArrayExamples:
    """Examples held in memory as tensors with equal first dimensions.

    Args:
        tensors: by name, usually `inputs` and `targets`; `index` is added to every batch.

    Raises:
        InputError: for no tensor, an empty one, unequal lengths, or one that is named `index`.
    """

    def __init__(self, **tensors: Tensor) -> None:
        if "index" in tensors:
            raise InputError("no tensor may be named `index`: every batch says under it which examples it holds")
        lengths = {name: len(tensor) if tensor.dim() else 0 for name, tensor in tensors.items()}
        if not lengths or len(set(lengths.values())) != 1 or 0 in lengths.values():
            raise InputError(f"examples need tensors of one equal, non-zero length; got lengths {lengths}")
        self.tensors = tensors
        self._length = next(iter(lengths.values()))

    def __len__(self) -> int:
        return self._length

    def batch(self, index: Tensor) -> Batch:
        return {name: tensor[index] for name, tensor in self.tensors.items()} | {"index": index}

    def subset(self, index: Tensor) -> "ArrayExamples":
        """The examples at `index` (n,) int64, renumbered from 0."""
        return ArrayExamples(**{name: tensor[index] for name, tensor in self.tensors.items()})


class MapExamples:
    """A map-style dataset whose items are `(input, target)` pairs or dicts, collated by torch's default rule."""

    def __init__(self, dataset: Any) -> None:
        if not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")):
            raise InputError(
                f"a dataset needs __len__ and __getitem__ (map style) so that a run can be resumed at any step; "
                f"{type(dataset).__name__} lacks them"
            )
        if len(dataset) == 0:
            raise InputError(f"the dataset {type(dataset).__name__} is empty")
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def batch(self, index: Tensor) -> Batch:
        collated = default_collate([self.dataset[int(i)] for i in index])
        if isinstance(collated, Sequence) and len(collated) == 2:
            collated = {"inputs": collated[0], "targets": collated[1]}
        if isinstance(collated, dict) and all(isinstance(value, Tensor) for value in collated.values()):
            return collated | {"index": index}
        raise InputError(
            f"items of {type(self.dataset).__name__} must be dicts of tensors or (input, target) pairs; its item 0 is "
            f"{str(self.dataset[0])[:200]}"
        )


class Selected:
    """Some examples of a set; batches name them by their places in the whole set.

    Args:
        examples: the set.
        index: (n,) int64, which of them, in which order.
    """

    def __init__(self, examples: Examples, index: Tensor) -> None:
        self._examples, self._index = examples, index

    def __len__(self) -> int:
        return len(self._index)

    def batch(self, index: Tensor) -> Batch:
        return self._examples.batch(self._index[index])


class Head(Selected):
    """The first examples of a set.

    Args:
        examples: the set.
        limit: how many of them, or all if there are fewer.
    """

    def __init__(self, examples: Examples, limit: int) -> None:
        super().__init__(examples, torch.arange(min(limit, len(examples))))


def sampled(examples: Examples, limit: int, *, seed: int = 42) -> Examples:
    """`limit` of the examples at random, in their order, the same for every run; all of them if there are no more."""
    if len(examples) <= limit:
        return examples
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed))
    return Selected(examples, order[:limit].sort().values)


def as_examples(data: Any) -> Examples:
    """Examples from a pair of arrays `(inputs, targets)`, a map-style dataset, or examples already made.

    Raises:
        InputError: for anything else.
    """
    if hasattr(data, "__len__") and _has_batch(data):
        return data
    if isinstance(data, tuple) and len(data) == 2:
        inputs, targets = (torch.as_tensor(part) for part in data)
        return ArrayExamples(inputs=inputs, targets=targets)
    return MapExamples(data)


def _has_batch(data: Any) -> bool:
    """Whether `data.batch(index)` is ours; the datasets of other libraries have a `batch` that means something else."""
    return hasattr(data, "batch") and "index" in inspect.signature(data.batch).parameters


def split(num_examples: int, fraction: float, seed: int = 42) -> tuple[Tensor, Tensor]:
    """Indices (rest, held_out) of a random split, both sorted; the same for every run with the same `seed`.

    Raises:
        InputError: if either part would be empty.
    """
    num_held = round(num_examples * fraction)
    if not 0 < num_held < num_examples:
        raise InputError(f"holding out {fraction:g} of {num_examples} examples leaves one part empty")
    order = torch.randperm(num_examples, generator=torch.Generator().manual_seed(seed))
    return order[num_held:].sort().values, order[:num_held].sort().values
