"""A cut changes what it names and nothing else, says it all in JSON, and takes optimizer state along."""

import copy
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from paretorch.errors import InputError
from paretorch.measurement.macs import count_macs
from paretorch.methods.replacement import replace_parameters
from paretorch.methods.width.cutting import Cut, narrowed, plan_cut
from paretorch.methods.width.extract import extract, masked
from paretorch.methods.width.groups import RmsScale, Size, WidthGroup, WidthGroups
from paretorch.methods.width.kept import Kept
from tests.methods.width.cut_models import CASES, along, convolutions, each, linear_chain, per, residual, settled
from tests.methods.width.handmade import perceptron, perceptron_groups

every_case = pytest.mark.parametrize("name", CASES)


def some(groups: WidthGroups) -> tuple[Tensor, ...]:
    """Units that are no prefix: all but the first, or all."""
    return tuple(torch.arange(min(1, size - 1), size) for size in groups.full)


@given(st.sets(st.integers(0, 30), min_size=1), st.integers(0, 3))
def test_kept_entries_are_runs_that_say_exactly_these_entries(entries: set[int], beyond: int) -> None:
    index = torch.tensor(sorted(entries))
    kept = Kept.of(index, size=max(entries) + 1 + beyond)
    assert kept.index.equal(index)
    assert len(kept) == len(entries)
    assert Kept.from_dict(json.loads(json.dumps(kept.to_dict()))) == kept
    assert len(kept.runs) == sum(1 for entry in entries if entry - 1 not in entries)


@pytest.mark.parametrize(
    "fields",
    [
        {"size": 4, "runs": []},
        {"size": 4, "runs": [[0, 5]]},
        {"size": 4, "runs": [[-1, 2]]},
        {"size": 4, "runs": [[2, 2]]},
        {"size": 4, "runs": [[0, 2], [2, 3]]},
        {"size": 4, "runs": [[2, 3], [0, 1]]},
        {"size": 4, "runs": [[0, 1, 2]]},
        {"size": 4, "runs": [[0, True]]},
        {"size": 4.0, "runs": [[0, 2]]},
        {"size": 4, "runs": [3]},
        {"size": 4, "runs": "all"},
        {"size": 4},
        [[0, 2]],
    ],
)
def test_what_does_not_describe_kept_entries_is_refused(fields: object) -> None:
    with pytest.raises(InputError, match=r"runs"):
        Kept.from_dict(fields)


@every_case
def test_a_cut_comes_back_from_json_and_does_the_same(name: str) -> None:
    case = settled(CASES[name]())
    cut = plan_cut(case.groups, some(case.groups))
    again = Cut.from_dict(json.loads(json.dumps(cut.to_dict())))
    assert again == cut
    one, two = copy.deepcopy(case.model), copy.deepcopy(case.model)
    cut.apply_(one)
    again.apply_(two)
    assert repr(one) == repr(two)
    assert one(case.inputs).equal(two(case.inputs))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"slices": 3}, "'slices' of a cut is a mapping of names; got 3"),
        ({"sizes": None}, "'sizes' of a cut is a mapping"),
        ({"slices": {"a": 1}}, "'a' of a cut is a mapping"),
        ({"slices": {"a": {"-1": {"size": 2, "runs": [[0, 1]]}}}}, "dimension of 'a' is a number from 0; got '-1'"),
        ({"sizes": {"a": {"b": [3, 3]}}}, r"size of 'a\.b'.*before > after > 0; got \[3, 3\]"),
        ({"sizes": {"a": {"b": [3, 0]}}}, "before > after > 0"),
        ({"rms": {"a": [3]}}, "size of 'a'"),
        ({"rms": {"a": [3.0, 2]}}, "two integers"),
    ],
)
def test_what_does_not_describe_a_cut_is_refused(change: dict[str, object], match: str) -> None:
    with pytest.raises(InputError, match=match):
        Cut.from_dict({"slices": {}, "sizes": {}, "rms": {}, **change})


def test_the_cut_model_is_the_one_that_is_built_so() -> None:
    case = convolutions()
    case.model.get_parameter("1.weight").requires_grad_(False)
    small = extract(case.model, case.groups, (3, 2))
    built = nn.Sequential(
        nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 2, 3, bias=False),
        nn.Sigmoid(), nn.Flatten(), nn.Linear(4, 5),
    )  # fmt: skip
    assert repr(small) == repr(built)
    assert {k: v.shape for k, v in small.state_dict().items()} == {k: v.shape for k, v in built.state_dict().items()}
    assert count_macs(small, case.inputs).dense == count_macs(built, case.inputs).dense
    assert [n for n, p in small.named_parameters() if not p.requires_grad] == ["1.weight"]


def test_dtypes_and_the_memory_format_stay_and_gradients_do_not() -> None:
    case = convolutions()
    case.model.to(torch.bfloat16).to(memory_format=torch.channels_last)
    case.model(case.inputs.to(torch.bfloat16)).sum().backward()
    small = extract(case.model, case.groups, (4, 2))
    weight = small.get_parameter("0.weight")
    assert weight.dtype == torch.bfloat16
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.is_contiguous()
    assert small.get_parameter("7.weight").is_contiguous()
    assert [name for name in ("0.weight", "1.bias", "7.weight") if small.get_parameter(name).grad is not None] == []


def test_a_tied_parameter_is_one_parameter_after_the_cut() -> None:
    case = settled(residual())
    small = extract(case.model, case.groups, (5, 6))
    assert small.head.weight is small.tokens.weight
    assert small.tokens.weight.shape == (7, 5)
    assert [name for name, _ in small.named_parameters()] == [name for name, _ in case.model.named_parameters()]


def test_the_scale_and_epsilon_of_an_rms_norm_keep_its_divisor() -> None:
    case = settled(residual())
    small = extract(case.model, case.groups, (2, 6))
    torch.testing.assert_close(small.norm.weight, 2 * case.model.norm.weight[:2], rtol=0, atol=0)  # sqrt(8 / 2)
    assert small.norm.eps == pytest.approx(4e-3)
    assert small.last.eps == 4 * torch.finfo(torch.float64).eps
    assert small.norm.normalized_shape == (2,)


def test_an_rms_norm_without_weight_or_epsilon_is_refused() -> None:
    model, groups = perceptron(3, 4, 2), perceptron_groups(3, 4, 2)
    scaled = WidthGroups(groups.groups, groups.axes, groups.sizes, rms=(RmsScale("1", per(1)),))
    with pytest.raises(InputError, match="RMS norm '1' has no weight to hold the scale"):
        extract(model, scaled, (2,))
    scaled = WidthGroups(groups.groups, groups.axes, groups.sizes, rms=(RmsScale("0", per(1)),))
    with pytest.raises(InputError, match="RMS norm '0' has no epsilon under one of the names eps, variance_epsilon"):
        extract(model, scaled, (2,))


@every_case
def test_groups_of_the_cut_model_cut_it_again(name: str) -> None:
    case = settled(CASES[name]())
    first = some(case.groups)
    model = copy.deepcopy(case.model)
    plan_cut(case.groups, first).apply_(model)
    groups = narrowed(case.groups, first)
    assert groups.full == tuple(len(units) for units in first)
    assert groups.names == case.groups.names
    second = some(groups)
    plan_cut(groups, second).apply_(model)
    both = tuple(units[again] for units, again in zip(first, second, strict=True))
    once = copy.deepcopy(case.model)
    plan_cut(case.groups, both).apply_(once)
    assert repr(model) == repr(once)
    torch.testing.assert_close(model(case.inputs), once(case.inputs), rtol=1e-12, atol=1e-12)
    zeroed = masked(case.model, case.groups, both)
    torch.testing.assert_close(model(case.inputs), zeroed(case.inputs), rtol=1e-12, atol=1e-12)


def test_costs_of_narrowed_groups_are_those_of_the_widths_that_are_left() -> None:
    groups = perceptron_groups(5, 8, 6, 3)
    left = narrowed(groups, (torch.tensor([1, 4, 7]), torch.arange(6)))
    for profile in [(3, 6), (2, 5), (1, 1)]:
        assert left.num_params(profile) == groups.num_params(profile)
        assert left.num_macs(profile) == groups.num_macs(profile)
    with pytest.raises(InputError, match="from 1 to 3; got 4"):
        left.num_params((4, 6))


@pytest.mark.parametrize("name", sorted(set(CASES) - {"residual"}))
@pytest.mark.parametrize("optimizer_type", [torch.optim.SGD, torch.optim.AdamW])
def test_with_its_optimizer_state_a_cut_model_takes_the_next_step_of_the_masked_one(name: str, optimizer_type) -> None:
    case = settled(CASES[name]())
    more = {"momentum": 0.9} if optimizer_type is torch.optim.SGD else {}

    def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        model.train()(case.inputs).square().sum().backward()
        optimizer.step()

    optimizer = optimizer_type(case.model.parameters(), lr=1e-3, weight_decay=0.1, **more)
    step(case.model, optimizer)
    keep = some(case.groups)
    zeroed = masked(case.model, case.groups, keep)
    zeroed_optimizer = optimizer_type(zeroed.parameters(), lr=1e-3, weight_decay=0.1, **more)
    zeroed_optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))

    cut = plan_cut(case.groups, keep)
    parts = cut.parameters(case.model)
    state = {name: part.slice_state(optimizer.state[part.old]) for name, part in parts.items()}
    replace_parameters(case.model, [optimizer], {name: part.new for name, part in parts.items()}, state)
    cut.resize_(case.model)

    step(case.model, optimizer)
    step(zeroed, zeroed_optimizer)
    for full_name, old in zeroed.named_parameters():
        new = case.model.get_parameter(full_name)
        if full_name not in parts:
            torch.testing.assert_close(new, old, rtol=1e-9, atol=1e-10)
            continue
        for tensor, expected in (
            (new, old),
            *((optimizer.state[new][key], zeroed_optimizer.state[old][key]) for key in optimizer.state[new]),
        ):
            for dim, kept in parts[full_name].kept.items() if expected.dim() else ():
                expected = expected.index_select(dim, kept.index)
            torch.testing.assert_close(tensor, expected, rtol=1e-6, atol=1e-8)  # a step is 1e-3


def test_the_two_halves_of_a_cut_make_the_whole_one() -> None:
    case = settled(convolutions())
    whole, halves = copy.deepcopy(case.model), copy.deepcopy(case.model)
    cut = plan_cut(case.groups, some(case.groups))
    made = cut.apply_(whole)
    parts = cut.parameters(halves)
    assert parts.keys() == made.keys()
    assert repr(halves) == repr(case.model)
    for name, part in parts.items():
        assert part.old is halves.get_parameter(name)
        assert made[name].new is whole.get_parameter(name)
        setattr(halves.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2], part.new)
    cut.resize_(halves)
    assert repr(halves) == repr(whole)
    assert halves(case.inputs).equal(whole(case.inputs))


def test_state_of_an_unknown_shape_is_refused_by_its_name_and_numbers_pass() -> None:
    case = linear_chain()
    part = plan_cut(case.groups, some(case.groups)).parameters(case.model)["0.weight"]
    assert part.slice_state({"step": 3, "name": "x"}) == {"step": 3, "name": "x"}
    assert part.slice_state({"step": torch.tensor(3.0)}) == {"step": torch.tensor(3.0)}
    with pytest.raises(InputError, match=r"'row' has shape \(8,\), its parameter \(8, 5\)"):
        part.slice_state({"row": torch.zeros(8)})


@pytest.mark.parametrize(
    ("keep", "match"),
    [
        ((torch.arange(3),), "units of 1 groups, and there are 2"),
        ((torch.arange(3), torch.arange(0)), "'2' .* at least one; got none"),
        ((torch.tensor([0, 0]), torch.arange(3)), r"'0' that stay are increasing int64.*from 0 to 7.*got \[0, 0\]"),
        ((torch.tensor([2, 1]), torch.arange(3)), r"got \[2, 1\]"),
        ((torch.tensor([-1, 1]), torch.arange(3)), r"got \[-1, 1\]"),
        ((torch.tensor([1, 8]), torch.arange(3)), r"got \[1, 8\]"),
        ((torch.tensor([1.0]), torch.arange(3)), r"got torch.float32 \(1,\)"),
        ((torch.ones(8, dtype=torch.bool), torch.arange(3)), r"got torch.bool \(8,\)"),
        (([0, 1], torch.arange(3)), "got list"),
    ],
)
def test_units_that_do_not_fit_are_refused(keep: object, match: str) -> None:
    for function in (plan_cut, narrowed):
        with pytest.raises(InputError, match=match):
            function(linear_chain().groups, keep)


def refused(model: nn.Module, cut: Cut, match: str) -> None:
    shown, state = repr(model), {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(InputError, match=match):
        cut.apply_(model)
    assert repr(model) == shown
    assert all(model.state_dict()[k].equal(v) for k, v in state.items())


def test_a_cut_for_another_model_is_refused_and_leaves_the_model_alone() -> None:
    case = convolutions()
    cut = plan_cut(case.groups, case.groups.prefix((3, 2)))
    refused(perceptron(5, 8, 3), cut, r"0\.weight has shape \(8, 5\)|no plain parameter")
    other = convolutions().model
    other[1] = nn.BatchNorm2d(8, affine=False)
    refused(other, cut, r"'1\.weight' is no plain parameter or buffer of Sequential; did you mean")
    other = convolutions().model
    other[1].running_mean = torch.zeros(9)
    refused(other, cut, r"1\.running_mean has shape \(9,\); the cut is for 8 entries along dimension 0")
    other = convolutions().model
    other[4].in_channels = 9
    refused(other, cut, "in_channels of '4' is 9, and the cut is for 8")
    refused(convolutions().model, Cut(sizes={"9": {"out_features": (3, 2)}}), "'9' is no plain module")
    cut.apply_(case.model)
    refused(case.model, cut, "has been made already")


def test_weights_that_are_computed_from_others_are_refused() -> None:
    groups = perceptron_groups(4, 8, 2)
    cut = plan_cut(groups, groups.prefix((3,)))
    model = perceptron(4, 8, 2)
    parametrizations.weight_norm(model[0])
    refused(model, cut, r"'0\.weight' is no plain parameter.*weight norm")
    model = perceptron(4, 8, 2)
    prune.l1_unstructured(model[0], "weight", 0.5)
    refused(model, cut, r"'0\.weight' is no plain parameter.*pruning by torch\.nn\.utils")
    model = perceptron(4, 8, 2)
    model[0].register_buffer("weight_mask", torch.ones(8, 4))
    refused(model, cut, r"\['weight_mask'\] stand beside 0\.weight")
    lazy = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.Linear(8, 2))
    with pytest.raises(InputError, match=r"0\.weight has no shape yet; run one forward pass first"):
        cut.apply_(lazy)


def test_a_tied_parameter_under_two_names_is_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    groups = WidthGroups((WidthGroup("0", 4),), (along("0.weight", 0, each(4)), along("1.weight", 0, each(4))))
    with pytest.raises(InputError, match=r"1\.weight and 0\.weight are one tied parameter"):
        plan_cut(groups, groups.prefix((2,))).apply_(model)


def test_a_shared_module_and_a_compiled_model_are_cut_once() -> None:
    shared = nn.Linear(4, 4)
    model = nn.ModuleDict({"a": shared, "b": shared})
    axes = (along("a.weight", 0, each(4)), along("a.weight", 1, each(4)), along("a.bias", 0, each(4)))
    sizes = (Size("a", "in_features", per(1)), Size("a", "out_features", per(1)))
    groups = WidthGroups((WidthGroup("a", 4),), axes, sizes)
    before = shared.weight.detach().clone()
    plan_cut(groups, (torch.tensor([1, 3]),)).apply_(torch.compile(model, backend="eager"))
    assert model["a"] is model["b"]
    assert shared.weight.equal(before[[1, 3]][:, [1, 3]])
    assert (shared.in_features, shared.out_features, len(shared.bias)) == (2, 2, 2)


def test_a_shared_buffer_is_cut_under_all_its_names() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    for layer in model:
        layer.register_buffer("scale", torch.arange(4.0) if layer is model[0] else model[0].scale)
    groups = WidthGroups((WidthGroup("0", 4),), (along("0.scale", 0, each(4)),))
    plan_cut(groups, (torch.tensor([1, 3]),)).apply_(model)
    assert model[0].scale.tolist() == [1.0, 3.0]
    assert model[1].scale is model[0].scale


def test_a_parameter_may_stand_beside_another_whose_name_it_begins() -> None:
    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w, self.w_bias = nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(4))

    groups = WidthGroups((WidthGroup("", 4),), (along("w", 0, each(4)), along("w_bias", 0, each(4))))
    layer = Layer()
    plan_cut(groups, groups.prefix((3,))).apply_(layer)
    assert (layer.w.shape, layer.w_bias.shape) == ((3, 3), (3,))
