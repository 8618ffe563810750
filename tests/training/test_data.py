"""Examples, splits, samplers and random streams."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from paretorch.errors import InputError
from paretorch.training.data import ArrayExamples, MapExamples, as_examples, split
from paretorch.training.sampler import ShuffledEpochs
from paretorch.training.seeding import generator, seed_global, stream_seed


def test_batch_holds_the_examples_asked_for_and_says_which() -> None:
    examples = ArrayExamples(inputs=torch.arange(10.0), targets=torch.arange(10) * 2)
    batch = examples.batch(torch.tensor([3, 3, 9]))
    assert batch["inputs"].tolist() == [3, 3, 9]
    assert batch["targets"].tolist() == [6, 6, 18]
    assert batch["index"].tolist() == [3, 3, 9]
    assert len(examples) == 10


def test_subset_is_renumbered_from_zero() -> None:
    part = ArrayExamples(inputs=torch.arange(10.0)).subset(torch.tensor([7, 2]))
    assert len(part) == 2
    assert part.batch(torch.tensor([1]))["inputs"].tolist() == [2]


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"inputs": torch.empty(0, 3)},
        {"inputs": torch.zeros(3), "targets": torch.zeros(4)},
        {"inputs": torch.tensor(3.0)},
    ],
)
def test_arrays_of_no_or_unequal_length_are_refused(tensors: dict[str, Tensor]) -> None:
    with pytest.raises(InputError, match="one equal, non-zero length; got lengths"):
        ArrayExamples(**tensors)


def test_array_named_index_is_refused() -> None:
    with pytest.raises(InputError, match="no tensor may be named `index`"):
        ArrayExamples(inputs=torch.zeros(3), index=torch.zeros(3))


def test_pair_of_numpy_arrays_becomes_examples() -> None:
    examples = as_examples((np.eye(3, dtype=np.float32), np.array([0, 1, 2])))
    batch = examples.batch(torch.tensor([2]))
    assert batch["inputs"].tolist() == [[0, 0, 1]]
    assert batch["inputs"].dtype == torch.float32
    assert batch["targets"].dtype == torch.int64


def test_examples_are_passed_through() -> None:
    examples = ArrayExamples(inputs=torch.zeros(3))
    assert as_examples(examples) is examples


class Dicts(Dataset[dict[str, Any]]):
    """Items are dicts, as in the datasets of Hugging Face, whose `batch` is not ours."""

    def __init__(self, item: Any = None) -> None:
        self.item = item

    def __len__(self) -> int:
        return 4

    def __getitem__(self, i: int) -> Any:
        return {"inputs": torch.full((2,), float(i)), "targets": i} if self.item is None else self.item

    def batch(self, batch_size: int, drop_last_batch: bool = False) -> Any:
        raise AssertionError("this is not our batch")


def test_datasets_of_pairs_and_of_dicts_are_collated() -> None:
    pairs = as_examples(TensorDataset(torch.arange(4.0), torch.arange(4)))
    assert pairs.batch(torch.tensor([2, 0]))["inputs"].tolist() == [2, 0]
    dicts = as_examples(Dicts())
    assert isinstance(dicts, MapExamples)
    batch = dicts.batch(torch.tensor([3, 1]))
    assert batch["inputs"].tolist() == [[3, 3], [1, 1]]
    assert batch["targets"].tolist() == [3, 1]
    assert batch["index"].tolist() == [3, 1]


def test_item_without_a_length_or_numbers_is_refused() -> None:
    with pytest.raises(InputError, match=r"needs __len__ and __getitem__.*generator lacks them"):
        as_examples(i for i in range(3))
    with pytest.raises(InputError, match="the dataset list is empty"):
        as_examples([])


@pytest.mark.parametrize("item", [{"text": "hello"}, (1, 2, 3), torch.zeros(2), (1, "cat")])
def test_items_that_are_neither_pairs_nor_dicts_of_tensors_are_refused(item: Any) -> None:
    with pytest.raises(InputError, match=r"items of Dicts must be dicts of tensors or .input, target. pairs"):
        as_examples(Dicts(item)).batch(torch.tensor([0, 1]))


@given(count=st.integers(2, 400), fraction=st.floats(0.01, 0.99), seed=st.integers(0, 5))
def test_split_parts_are_sorted_disjoint_and_complete(count: int, fraction: float, seed: int) -> None:
    if not 0 < round(count * fraction) < count:
        with pytest.raises(InputError, match=f"of {count} examples leaves one part empty"):
            split(count, fraction, seed)
        return
    rest, held = split(count, fraction, seed)
    assert len(held) == round(count * fraction)
    assert torch.cat([rest, held]).sort().values.tolist() == list(range(count))
    assert rest.tolist() == sorted(rest.tolist())
    assert held.tolist() == sorted(held.tolist())


def test_split_depends_on_its_seed_only() -> None:
    torch.manual_seed(5)
    first = split(100, 0.3)
    torch.manual_seed(6)
    assert all(torch.equal(a, b) for a, b in zip(first, split(100, 0.3), strict=True))
    assert not torch.equal(first[1], split(100, 0.3, seed=1)[1])


@given(count=st.integers(1, 60), size=st.integers(1, 60), seed=st.integers(0, 3))
def test_every_epoch_is_a_permutation_without_its_incomplete_batch(count: int, size: int, seed: int) -> None:
    if size > count:
        with pytest.raises(InputError, match=f"between 1 and the {count} training examples; got {size}"):
            ShuffledEpochs(count, batch_size=size, seed=seed)
        return
    sampler = ShuffledEpochs(count, batch_size=size, seed=seed)
    assert sampler.steps_per_epoch == count // size
    for epoch in range(3):
        steps = range(epoch * sampler.steps_per_epoch, (epoch + 1) * sampler.steps_per_epoch)
        batches = [sampler.batch(step) for step in steps]
        assert all(len(batch) == size for batch in batches)
        drawn = torch.cat(batches).tolist()
        assert len(set(drawn)) == len(drawn) == size * (count // size)
        assert set(drawn) <= set(range(count))


def test_batch_is_a_function_of_seed_and_step_in_whatever_order_it_is_asked_for() -> None:
    forward, backward = (ShuffledEpochs(50, batch_size=8, seed=3) for _ in range(2))
    expected = [forward.batch(step).tolist() for step in range(20)]
    assert [backward.batch(step).tolist() for step in reversed(range(20))] == expected[::-1]
    assert expected[:6] != expected[6:12], "a new order every epoch"
    assert [ShuffledEpochs(50, batch_size=8, seed=4).batch(step).tolist() for step in range(6)] != expected[:6]
    assert forward.state_dict() == {}


def test_examples_dropped_at_the_end_differ_from_epoch_to_epoch() -> None:
    sampler = ShuffledEpochs(10, batch_size=4, seed=0)
    drawn = Counter(int(i) for step in range(2 * 60) for i in sampler.batch(step))
    assert len(drawn) == 10
    assert max(drawn.values()) - min(drawn.values()) < 25, "each example is left out in a fifth of 60 epochs"


def test_streams_of_neighbouring_seeds_steps_and_labels_are_unrelated() -> None:
    labels = [("shuffle",), ("step",), ("step", 1), ("step", 11), ("step", "1"), ("step", 1, 1), ("ste", "p1")]
    seeds = [stream_seed(seed, *label) for seed in range(200) for label in labels]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert len({seed % 2**32 for seed in seeds}) == len(seeds)
    draws = torch.stack([torch.randn(500, generator=generator(0, "step", step)) for step in range(40)])
    correlations = torch.corrcoef(draws) - torch.eye(40)
    assert float(correlations.abs().max()) < 0.25  # five standard deviations of 1 / sqrt(500)


def test_stream_seed_never_changes_between_versions() -> None:
    """A checkpoint stores none, so another rule would silently change what resumed runs draw."""
    assert stream_seed(0) == 5254295370254170289
    assert stream_seed(0, "shuffle", 3) == 4284466156871139858


def test_global_generators_of_torch_numpy_and_python_start_at_the_named_stream() -> None:
    import random

    def draw() -> tuple[float, float, float]:
        return float(torch.rand(())), float(np.random.rand()), random.random()

    seed_global(7, "step", 3)
    first = draw()
    draw()
    seed_global(7, "step", 3)
    assert draw() == first
    seed_global(7, "step", 4)
    assert all(a != b for a, b in zip(draw(), first, strict=True))
