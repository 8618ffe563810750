"""N:M and filter masks: exact groups, exact numbers of filters, the right dimension for every layer type."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.methods.sparsity.patterns import filter_masks, nm_mask, nm_masks
from tests.methods.sparsity.shapes import small_network


@settings(max_examples=60, deadline=None)
@given(
    m=st.integers(1, 8),
    data=st.data(),
    rows=st.integers(1, 4),
    groups=st.integers(1, 4),
)
def test_each_group_keeps_its_n_highest_and_prunes_earlier_ties(
    m: int, data: st.DataObject, rows: int, groups: int
) -> None:
    n = data.draw(st.integers(1, m))
    values = data.draw(st.lists(st.integers(-3, 3), min_size=rows * groups * m, max_size=rows * groups * m))
    scores = torch.tensor(values, dtype=torch.float32).view(rows, groups * m)
    mask = nm_mask(scores, n=n, m=m)
    for row in range(rows):
        for start in range(0, groups * m, m):
            group = scores[row, start : start + m].tolist()
            ranked = sorted(range(m), key=lambda i: (group[i], i))
            assert mask[row, start : start + m].tolist() == [i in ranked[m - n :] for i in range(m)]


def test_groups_run_along_input_channels_at_one_kernel_position() -> None:
    weight = torch.randn(6, 8, 3, 3, generator=torch.Generator().manual_seed(0))
    mask = nm_mask(weight.abs(), n=2, m=4)
    assert mask.is_contiguous()
    assert (mask.view(6, 2, 4, 3, 3).sum(2) == 2).all()
    flattened = weight.permute(0, 2, 3, 1).reshape(-1, 8)  # one row per output channel and kernel position
    expected = nm_mask(flattened.abs(), n=2, m=4).view(6, 3, 3, 8).permute(0, 3, 1, 2)
    assert torch.equal(mask, expected)


class Conv1D(nn.Module):
    """A linear layer whose weight is (in, out), as in transformers."""

    def __init__(self, num_inputs: int, num_outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(num_inputs, num_outputs))


@pytest.mark.parametrize(
    ("layer", "dim"),
    [
        (nn.Linear(8, 3), 1),
        (nn.Conv2d(8, 3, 3), 1),
        (nn.Conv2d(16, 4, 3, groups=2), 1),
        (nn.ConvTranspose2d(8, 3, 2), 0),
        (nn.ConvTranspose1d(16, 6, 2, groups=2), 0),
        (Conv1D(8, 3), 0),
    ],
)
def test_nm_masks_keep_n_of_m_inputs_of_every_layer_type(layer: nn.Module, dim: int) -> None:
    masks = nm_masks(layer, n=1, m=4, layer_types=[type(layer)])
    (mask,) = masks.values()
    grouped = mask.movedim(dim, -1)
    assert (grouped.reshape(-1, 4).sum(1) == 1).all()
    assert masks.num_pruned * 4 == masks.num_weights * 3


def test_nm_masks_name_the_parameter_that_does_not_divide() -> None:
    with pytest.raises(InputError, match=r"0\.weight: 2:4 needs a number of inputs divisible by 4, and 3 is not"):
        nm_masks(small_network(), n=2, m=4)
    assert list(nm_masks(small_network(), n=2, m=4, exclude="0")) == ["2.weight", "4.weight", "5.weight"]
    with pytest.raises(InputError, match=r"weight: 2:4 .* and 6 is not"):  # 12 inputs in two groups of 6
        nm_masks(nn.ConvTranspose1d(12, 4, 3, groups=2), n=2, m=4)


@pytest.mark.parametrize(("n", "m"), [(0, 4), (5, 4), (-1, 2)])
def test_impossible_patterns_are_refused(n: int, m: int) -> None:
    with pytest.raises(InputError, match=f"got n={n}, m={m}"):
        nm_mask(torch.ones(4, 4), n=n, m=m)


def test_patterns_refuse_weights_that_are_not_finite() -> None:
    model = nn.Linear(4, 4)
    with torch.no_grad():
        model.weight[0, 0] = torch.nan
    with pytest.raises(InputError, match="weight: 1 of 16 values are NaN"):
        nm_masks(model, n=2, m=4)
    with pytest.raises(InputError, match="weight: 1 of 16 values are NaN"):
        filter_masks(model, sparsity=0.5)


def filters_of(mask: Tensor, dim: int = 0) -> Tensor:
    rows = mask.movedim(dim, 0).flatten(1)
    assert torch.equal(rows.any(1), rows.all(1))
    return rows.all(1)


@pytest.mark.parametrize("allocation", ["global", "uniform"])
@pytest.mark.parametrize("sparsity", [0.0, 0.33, 0.5])
def test_filter_masks_prune_whole_filters_in_the_exact_number(allocation: str, sparsity: float) -> None:
    model = small_network()
    with torch.no_grad():
        for layer, scale in ((2, 6.0), (4, 0.45)):  # similar norms, else a global ranking empties a layer
            model[layer].weight.mul_(scale)
    masks = filter_masks(model, sparsity=sparsity, allocation=allocation, exclude="5")  # type: ignore[arg-type]
    lost = {name: int((~filters_of(mask)).sum()) for name, mask in masks.items()}
    assert sum(lost.values()) == round(sparsity * (8 + 16 + 32))
    if allocation == "uniform":
        assert all(abs(lost[name] - sparsity * size) < 1 for name, size in zip(lost, (8, 16, 32), strict=True))


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_the_filters_of_smallest_norm_are_pruned(norm: str) -> None:
    model = nn.Linear(2, 3, bias=False)
    with torch.no_grad():  # l1 norms 4, 5, 9; l2 norms 4, 3.6, 9
        model.weight.copy_(torch.tensor([[4.0, 0.0], [2.0, -3.0], [9.0, 0.0]]))
    kept = filters_of(filter_masks(model, sparsity=1 / 3, norm=norm)["weight"])  # type: ignore[arg-type]
    assert kept.tolist() == ([False, True, True] if norm == "l1" else [True, False, True])


def test_filters_of_a_transposed_convolution_lie_along_its_second_dimension() -> None:
    masks = filter_masks(nn.ConvTranspose2d(4, 6, 3), sparsity=0.5)
    assert (~filters_of(masks["weight"], dim=1)).sum() == 3


def test_a_layer_that_would_lose_all_filters_is_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    with torch.no_grad():
        model[0].weight.mul_(1e-3)
    with pytest.raises(InputError, match=r"would prune every filter of 0\.weight"):
        filter_masks(model, sparsity=0.5, allocation="global")
    assert filter_masks(model, sparsity=0.5, allocation="uniform").num_pruned == 16


@pytest.mark.parametrize("allocation", ["global", "uniform"])
def test_filter_masks_are_nested_on_previous_ones(allocation: str) -> None:
    model = small_network()
    previous = filter_masks(model, sparsity=0.2, include=["2", "4"])
    masks = filter_masks(model, sparsity=0.4, allocation="uniform", include=["2", "4"], previous=previous)
    assert masks.is_subset_of(previous)
    with pytest.raises(InputError, match="never revived"):
        filter_masks(model, sparsity=0.1, allocation=allocation, include=["2", "4"], previous=previous)  # type: ignore[arg-type]


def test_filter_masks_refuse_foreign_masks_and_unknown_words() -> None:
    model = nn.Linear(4, 4)
    scattered = torch.ones(4, 4, dtype=torch.bool)
    scattered[0, 0] = False
    with pytest.raises(InputError, match="weight: the previous mask prunes parts of filters"):
        filter_masks(model, sparsity=0.5, previous={"weight": scattered})
    with pytest.raises(InputError, match="cover other, which are not ranked now"):
        filter_masks(model, sparsity=0.5, allocation="global", previous={"other": scattered})
    with pytest.raises(InputError, match="cover other, which are not ranked now"):
        filter_masks(model, sparsity=0.5, previous={"other": scattered})
    with pytest.raises(InputError, match="got 'l3' and 'uniform'"):
        filter_masks(model, sparsity=0.5, norm="l3")  # type: ignore[arg-type]
