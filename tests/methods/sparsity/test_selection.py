"""Exact-count selection against a stable sort of everything, with the streaming forced into its rare branches."""

import math
import struct
from collections.abc import Mapping
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from paretorch.errors import InputError
from paretorch.methods.sparsity import ranking
from paretorch.methods.sparsity.selection import cumulative_counts, select, selected_counts, target_count

SPECIAL = (0.0, -0.0, 1.0, -1.0, 1e-45, -1e-45, 1.1754942e-38, 1e-40, 6e-8, 3.3e38, -3.3e38, 0.5, 0.50000006)
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def oracle(
    scores: Mapping[str, Tensor], num_pruned: int, previous: Mapping[str, Tensor] | None = None, absolute: bool = True
) -> dict[str, Tensor]:
    """Sort everything at once, stably: the specification."""
    wide = torch.cat([s.double().reshape(-1) for s in scores.values()]).numpy()
    keys = np.abs(wide) if absolute else wide + 0.0
    if previous is not None:
        keys[~torch.cat([previous[n].reshape(-1) for n in scores]).numpy()] = -np.inf
    kept = np.ones(len(keys), dtype=bool)
    kept[np.argsort(keys, kind="stable")[:num_pruned]] = False
    parts = torch.from_numpy(kept).split([s.numel() for s in scores.values()])
    return {n: p.view(s.shape) for (n, s), p in zip(scores.items(), parts, strict=True)}


def same(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> bool:
    return list(left) == list(right) and all(torch.equal(left[n], right[n]) for n in left)


@st.composite
def cases(draw: st.DrawFn) -> tuple[dict[str, Tensor], int, dict[str, Tensor]]:
    scores, previous = {}, {}
    values = st.one_of(st.sampled_from(SPECIAL), st.floats(width=32, allow_nan=False, allow_infinity=False))
    for i in range(draw(st.integers(1, 4))):
        dtype = draw(st.sampled_from(DTYPES))
        largest = torch.finfo(dtype).max
        flat = draw(st.lists(values, min_size=0 if i else 1, max_size=30))
        tensor = torch.tensor(flat, dtype=torch.float64).clamp(-largest, largest).to(dtype)
        scores[f"t{i}"] = tensor.view(-1, 2) if len(flat) % 2 == 0 else tensor
        kept = torch.tensor(draw(st.lists(st.booleans(), min_size=len(flat), max_size=len(flat))), dtype=torch.bool)
        previous[f"t{i}"] = kept.view(scores[f"t{i}"].shape)
    before = sum(int((~m).sum()) for m in previous.values())
    return scores, draw(st.integers(before, sum(s.numel() for s in scores.values()))), previous


@pytest.mark.parametrize(
    ("chunk", "sample", "sigmas", "passes", "examples"),
    [
        pytest.param(1 << 17, 1 << 18, 3.0, 4, 80, id="as shipped"),
        pytest.param(3, 4, 4.0, 100, 50, id="tiny chunks and samples"),
        pytest.param(5, 2, 0.0, 100, 40, id="brackets that miss"),
        pytest.param(4, 1, 4.0, 0, 20, id="halving only"),
    ],
)
def test_selection_equals_a_stable_sort_of_everything(
    chunk: int, sample: int, sigmas: float, passes: int, examples: int
) -> None:
    @settings(max_examples=examples, deadline=None)
    @given(cases())
    @example(({"t0": torch.zeros(9)}, 4, {"t0": torch.ones(9, dtype=torch.bool)}))
    def check(case: tuple[dict[str, Tensor], int, dict[str, Tensor]]) -> None:
        scores, num_pruned, previous = case
        for absolute in (True, False):
            masks = select(scores, num_pruned, absolute=absolute)
            assert same(masks, oracle(scores, num_pruned, absolute=absolute))
            nested = select(scores, num_pruned, previous=previous, absolute=absolute)
            assert same(nested, oracle(scores, num_pruned, previous, absolute))
            assert all(not (nested[n] & ~previous[n]).any() for n in nested)
            lost = {n: int((~m).sum()) for n, m in nested.items()}
            assert selected_counts(scores, num_pruned, previous=previous, absolute=absolute) == lost

    with (
        patch.object(ranking, "CHUNK", chunk),
        patch.object(ranking, "SAMPLE", sample),
        patch.object(ranking, "PIVOT_SIGMAS", sigmas),
        patch.object(ranking, "PIVOT_PASSES", passes),
    ):
        check()


@pytest.mark.parametrize("values", ["gaussian", "bfloat16", "constant", "ternary", "sorted", "periodic", "huge range"])
@pytest.mark.parametrize("sparsity", [0.5, 0.9, 0.98])
def test_selection_of_many_weights_equals_a_stable_sort_of_everything(values: str, sparsity: float) -> None:
    generator = torch.Generator().manual_seed(0)
    flat = torch.randn(700_001, generator=generator)
    flat = {
        "gaussian": flat,
        "bfloat16": flat.bfloat16(),
        "constant": torch.full_like(flat, -0.25),
        "ternary": flat.sign() * (flat.abs() > 1),
        "sorted": flat.sort().values,
        "periodic": torch.arange(len(flat)).remainder(64).float(),
        "huge range": (flat * 30).exp().clamp_max(3e38),
    }[values]
    scores = {f"t{i}": part for i, part in enumerate(flat.split([1, 299_999, 400_001]))}
    num_pruned = target_count(len(flat), sparsity)
    with patch.object(ranking, "SAMPLE", 1 << 14):
        masks = select(scores, num_pruned, absolute=True)
    assert same(masks, oracle(scores, num_pruned))
    assert sum(int((~m).sum()) for m in masks.values()) == num_pruned


def test_equal_weights_are_pruned_in_tensor_and_index_order() -> None:
    masks = select({"b": torch.ones(3), "a": torch.ones(2, 2), "c": torch.ones(2)}, 5)
    assert masks["b"].tolist() == [False, False, False]
    assert masks["a"].tolist() == [[False, False], [True, True]]
    assert masks["c"].tolist() == [True, True]


def test_float64_weights_are_told_apart_beyond_float32() -> None:
    close = torch.tensor([1.0 + 2e-12, 1.0 + 1e-12, 1.0 + 3e-12], dtype=torch.float64)
    assert select({"w": close}, 1)["w"].tolist() == [True, False, True]
    assert select({"a": close.float(), "w": close}, 4)["w"].tolist() == [True, False, True]


def test_channels_last_weights_are_ranked_in_logical_order() -> None:
    weight = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(0)).mul(4).round()
    previous = {"w": torch.rand(weight.shape, generator=torch.Generator().manual_seed(1)) > 0.2}
    rearranged = weight.to(memory_format=torch.channels_last)
    with patch.object(ranking, "CHUNK", 7):
        masks = select({"w": rearranged}, 150, previous=previous, absolute=True)
        rearranged_previous = {"w": previous["w"].to(memory_format=torch.channels_last)}
        again = select({"w": rearranged}, 150, previous=rearranged_previous, absolute=True)
    assert same(masks, oracle({"w": weight}, 150, previous))
    assert same(masks, again)


def test_functions_are_ranked_like_the_tensors_they_return_and_called_a_few_times() -> None:
    tensors = {f"t{i}": torch.randn(50_000, generator=torch.Generator().manual_seed(i)) for i in range(4)}
    calls = dict.fromkeys(tensors, 0)

    def compute(name: str) -> Tensor:
        calls[name] += 1
        return tensors[name]

    with patch.object(ranking, "SAMPLE", 1 << 14):
        masks = select({name: (lambda name=name: compute(name)) for name in tensors}, 120_000)
    assert same(masks, oracle(tensors, 120_000, absolute=False))
    assert max(calls.values()) <= 4


def test_the_weights_are_left_alone_and_the_masks_are_new() -> None:
    weight = torch.tensor([3.0, -1.0, 2.0])
    previous = {"w": torch.tensor([True, False, True])}
    masks = select({"w": weight}, 1, previous=previous, absolute=True)
    masks["w"].fill_(False)
    assert weight.tolist() == [3.0, -1.0, 2.0]
    assert previous["w"].tolist() == [True, False, True]


@pytest.mark.parametrize(("bad", "num_pruned"), [(math.nan, 0), (math.nan, 3), (math.inf, 2), (-math.inf, 2)], ids=str)
def test_nan_and_infinity_are_refused_with_name_and_number(bad: float, num_pruned: int) -> None:
    weight = torch.ones(10)
    weight[[2, 7]] = bad
    with pytest.raises(InputError, match=r"layer\.weight: 2 of 10 values are NaN or infinite"):
        select({"first": torch.ones(3), "layer.weight": weight}, num_pruned, absolute=True)


def test_weights_whose_sum_overflows_are_not_mistaken_for_infinite() -> None:
    weight = torch.tensor([3e38, 3e38, 2e38, 1.0])
    assert select({"w": weight}, 2)["w"].tolist() == [True, True, False, False]


def test_bad_arguments_are_refused() -> None:
    scores = {"w": torch.arange(4.0)}
    with pytest.raises(InputError, match="between 0 and the 4 entries; got 5"):
        select(scores, 5)
    with pytest.raises(InputError, match="between 0 and the 4 entries; got -1"):
        select(scores, -1)
    with pytest.raises(InputError, match="already prune 3 of 4 entries, more than the target of 2"):
        select(scores, 2, previous={"w": torch.tensor([True, False, False, False])})
    with pytest.raises(InputError, match="cover v, which are not ranked now"):
        select(scores, 2, previous={"v": torch.ones(4, dtype=torch.bool)})
    with pytest.raises(InputError, match=r"w: the previous mask must be a bool tensor of shape \(4,\)"):
        select(scores, 2, previous={"w": torch.ones(2, dtype=torch.bool)})
    with pytest.raises(InputError, match=r"w: scores must be floating point .* torch.int64"):
        select({"w": torch.arange(4)}, 2)


def test_nothing_and_everything_can_be_pruned() -> None:
    scores = {"w": torch.tensor([2.0, 1.0]), "empty": torch.empty(0)}
    assert select(scores, 0)["w"].tolist() == [True, True]
    assert select(scores, 2)["w"].tolist() == [False, False]
    kept = {"w": torch.tensor([False, True])}
    assert select(scores, 1, previous=kept)["w"].tolist() == [False, True]


@given(low=st.floats(width=32), high=st.floats(width=32))
def test_the_middle_float_lies_strictly_between_and_halves_the_floats_between(low: float, high: float) -> None:
    low, high = sorted((low + 0.0, high + 0.0)) if low == low and high == high else (-1.0, 1.0)
    between = float(np.float32(np.nextafter(np.float32(low), np.float32(np.inf))))
    if not low < between < high:
        return
    middle = ranking.middle_float(low, high, torch.float32)
    assert low < middle < high
    gaps = [abs(_order(b) - _order(a)) for a, b in ((low, middle), (middle, high))]
    assert abs(gaps[0] - gaps[1]) <= 1


def _order(value: float) -> int:
    bits = struct.unpack("<i", struct.pack("<f", value))[0]
    return bits if bits >= 0 else -(bits & 0x7FFFFFFF)


@given(num_weights=st.integers(0, 10**9), sparsity=st.floats(0, 1, exclude_max=True), cycles=st.integers(1, 12))
def test_cumulative_counts_grow_and_end_at_the_one_shot_count(num_weights: int, sparsity: float, cycles: int) -> None:
    counts = cumulative_counts(num_weights, sparsity, cycles)
    assert len(counts) == cycles
    assert counts == sorted(counts)
    assert counts[-1] == round(num_weights * sparsity)


def test_cumulative_counts_remove_equal_fractions_of_what_remains() -> None:
    # 1 - 0.02^(1/3) = 0.7286 and 1 - 0.02^(2/3) = 0.9263, the phases of 98 % in three cycles
    assert cumulative_counts(1_000_000, 0.98, 3) == [728_558, 926_319, 980_000]
    assert cumulative_counts(5, 0.5, 1) == [2]  # Python rounds 2.5 to even


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 90, math.nan, "0.9", True])
def test_a_sparsity_outside_zero_to_one_is_refused_with_a_hint(sparsity: object) -> None:
    with pytest.raises(InputError, match=r"got .*\. For 90 % removed pass 0\.9"):
        target_count(10, sparsity)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="cycles is the number of prunings, at least 1; got 0"):
        cumulative_counts(10, 0.5, 0)
