"""A cut model computes what the model computes whose removed units are zero."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.methods.width.cutting import plan_cut
from paretorch.methods.width.extract import extract, masked
from paretorch.methods.width.groups import RmsScale, WidthGroup, WidthGroups
from tests.methods.width.cut_models import CASES, Case, GroupedQueries, along, each, per, queries, residual, settled

every_case = pytest.mark.parametrize("name", CASES)
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}


def cut(case: Case, keep: tuple[Tensor, ...]) -> nn.Module:
    twin = copy.deepcopy(case.model)
    plan_cut(case.groups, keep).apply_(twin)
    return twin


def difference(one: nn.Module, other: nn.Module, inputs: Tensor) -> float:
    """Largest difference of the outputs over the largest output."""
    with torch.no_grad():
        first, second = one(inputs), other(inputs)
    return float((first - second).abs().max() / second.abs().max())


@every_case
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_every_prefix_of_every_group_gives_the_outputs_of_the_masked_model(name: str, dtype: torch.dtype) -> None:
    case = settled(CASES[name](), dtype)
    full = case.groups.full
    profiles = [(1,) * len(full), tuple((n + 1) // 2 for n in full)]
    profiles += [(*full[:g], width, *full[g + 1 :]) for g, n in enumerate(full) for width in range(1, n)]
    for profile in profiles:
        small = extract(case.model, case.groups, profile)
        zeroed = masked(case.model, case.groups, case.groups.prefix(profile))
        assert difference(small, zeroed, case.inputs) < TOLERANCE[dtype], profile
        assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in case.model.parameters())
    smallest = extract(case.model, case.groups, profiles[0])
    assert difference(smallest, case.model, case.inputs) > 1e-2, "the removed units did something"


@every_case
@given(data=st.data())
def test_any_units_that_stay_give_the_outputs_of_the_masked_model(name: str, data: st.DataObject) -> None:
    torch.manual_seed(0)
    case = settled(CASES[name]())
    keep = tuple(
        torch.tensor(sorted(data.draw(st.sets(st.integers(0, size - 1), min_size=1)))) for size in case.groups.full
    )
    small = cut(case, keep)
    assert difference(small, masked(case.model, case.groups, keep), case.inputs) < 1e-12
    for axis in case.groups.axes:
        tensor = {**dict(small.named_parameters()), **dict(small.named_buffers())}[axis.tensor]
        assert tensor.shape[axis.dim] == axis.count.at([len(units) for units in keep])
        assert tensor.untyped_storage().nbytes() == tensor.nbytes, "it keeps the memory of the uncut tensor"


@every_case
def test_extraction_at_full_width_is_a_copy_bit_for_bit_and_leaves_the_model_alone(name: str) -> None:
    case = settled(CASES[name]())
    before = {key: value.clone() for key, value in case.model.state_dict().items()}
    twin = extract(case.model, case.groups, case.groups.full)
    extract(case.model, case.groups, (1,) * len(case.groups.full))
    masked(case.model, case.groups, case.groups.prefix((1,) * len(case.groups.full)))
    assert all(case.model.state_dict()[key].equal(value) for key, value in before.items())
    assert all(twin.state_dict()[key].equal(value) for key, value in before.items())
    assert not {id(p) for p in twin.parameters()} & {id(p) for p in case.model.parameters()}


def test_a_cut_layer_norm_is_not_the_masked_one() -> None:
    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.make, self.norm, self.read = nn.Linear(3, 8), nn.LayerNorm(8), nn.Linear(8, 2)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.read(self.norm(self.make(inputs)))

    axes = [along(n, 0, each(8)) for n in ("make.weight", "make.bias", "norm.weight", "norm.bias")]
    axes.append(along("read.weight", 1, each(8)))
    groups = WidthGroups((WidthGroup("make", 8),), tuple(axes))
    case = settled(Case(Normed(), groups, torch.randn(4, 3)))
    small = cut(case, groups.prefix((4,)))
    small.norm.normalized_shape = (4,)
    assert difference(small, masked(case.model, groups, groups.prefix((4,))), case.inputs) > 0.05


def test_a_cut_rms_norm_without_the_original_divisor_is_not_the_masked_one() -> None:
    case = settled(residual())
    keep = case.groups.prefix((4, 6))
    assert case.groups.rms == (RmsScale("norm", per(1)), RmsScale("last", per(1)))
    assert difference(cut(case, keep), masked(case.model, case.groups, keep), case.inputs) < 1e-12
    naive = Case(case.model, WidthGroups(case.groups.groups, case.groups.axes, case.groups.sizes), case.inputs)
    assert difference(cut(naive, keep), masked(case.model, case.groups, keep), case.inputs) > 0.05


def test_a_prefix_of_all_query_heads_reads_the_wrong_keys() -> None:
    case = settled(queries())
    keep = case.groups.prefix((1,))  # query head 0 of key 0, and query head 3, which is the first of key 1
    reference = masked(case.model, case.groups, keep)
    assert difference(cut(case, keep), reference, case.inputs) < 1e-12

    wrong = GroupedQueries(heads=2).double().eval()
    first_heads = torch.arange(2 * 4)
    kept = {
        f"{layer}.{n}": case.model.get_parameter(f"{layer}.{n}")
        for layer in ("key", "value")
        for n in ("weight", "bias")
    }
    kept["query.weight"], kept["query.bias"] = case.model.query.weight[first_heads], case.model.query.bias[first_heads]
    kept["output.weight"], kept["output.bias"] = case.model.output.weight[:, first_heads], case.model.output.bias
    wrong.load_state_dict(kept)
    only_first = copy.deepcopy(case.model)
    with torch.no_grad():
        only_first.output.weight[:, 2 * 4 :] = 0
    assert difference(wrong, only_first, case.inputs) > 0.05


def test_masking_the_convolution_alone_leaks_through_its_batch_norm() -> None:
    case = settled(CASES["convolutions"]())
    keep = case.groups.prefix((4, 4))
    leaky = copy.deepcopy(case.model)
    with torch.no_grad():
        leaky[0].weight[4:], leaky[0].bias[4:] = 0, 0
    assert difference(cut(case, keep), masked(case.model, case.groups, keep), case.inputs) < 1e-12
    assert difference(cut(case, keep), leaky, case.inputs) > 0.01


def test_zeros_in_front_of_a_sigmoid_are_read_as_halves() -> None:
    case = settled(CASES["convolutions"]())
    keep = case.groups.prefix((8, 2))
    halves = copy.deepcopy(case.model)
    with torch.no_grad():
        halves[4].weight[2:] = 0
    assert difference(cut(case, keep), masked(case.model, case.groups, keep), case.inputs) < 1e-12
    assert difference(cut(case, keep), halves, case.inputs) > 0.01


def test_a_profile_that_does_not_fit_is_refused() -> None:
    case = residual()
    with pytest.raises(InputError, match=r"has 2 widths.*got 1"):
        extract(case.model, case.groups, (4,))
    with pytest.raises(InputError, match="'gate' must be an integer from 1 to 6; got 7"):
        extract(case.model, case.groups, (4, 7))
