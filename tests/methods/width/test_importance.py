"""Importance equals its formula, order changes no output, and budgets hold exactly."""

import copy
import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.methods.width.groups import WidthGroup, WidthGroups
from paretorch.methods.width.importance import Kind, unit_importance
from paretorch.methods.width.keeping import keep_within
from paretorch.methods.width.reorder import reorder_
from tests.methods.width.cut_models import CASES, along, convolutions, each, key_value_heads, linear_chain, settled
from tests.methods.width.handmade import perceptron, perceptron_groups

every_case = pytest.mark.parametrize("name", CASES)


def normalised(scores: Tensor) -> Tensor:
    return scores / scores.mean()


@pytest.mark.parametrize(("kind", "power"), [("l1", 1), ("l2", 2)])
def test_group_magnitude_is_the_mean_over_tensors_of_sums_by_unit(kind: Kind, power: int) -> None:
    case = settled(convolutions())
    first, norm, second, last = (case.model[i] for i in (0, 1, 4, 7))
    raised = [layer.weight.detach().abs() ** power for layer in (first, norm, second, last)]
    zero = (raised[0].sum((1, 2, 3)) + raised[1] + raised[2].sum((0, 2, 3))) / 3
    one = (raised[2].sum((1, 2, 3)) + raised[3].sum(0).view(4, 2).sum(1)) / 2
    found = unit_importance(case.model, case.groups, kind=kind)
    torch.testing.assert_close(found, (normalised(zero), normalised(one)), rtol=1e-12, atol=0)


def test_magnitude_of_the_consumers_alone() -> None:
    case = settled(key_value_heads())
    columns = case.model.output.weight.detach().abs().sum(0).view(2, 12).sum(1)
    (found,) = unit_importance(case.model, case.groups, kind="consumer-l1")
    torch.testing.assert_close(found, normalised(columns), rtol=1e-12, atol=0)


def test_a_shared_weight_that_reads_its_own_group_counts_both_ways() -> None:
    model = nn.Sequential(nn.Linear(3, 3, bias=False))
    groups = WidthGroups((WidthGroup("0", 3),), (along("0.weight", 0, each(3)), along("0.weight", 1, each(3))))
    weight = model[0].weight.detach().double().abs()
    (found,) = unit_importance(model, groups, kind="l1")
    torch.testing.assert_close(found, normalised(weight.sum(0) + weight.sum(1)), rtol=1e-12, atol=0)


def test_taylor_is_the_mean_over_batches_of_the_gates_gradient() -> None:
    case = settled(linear_chain())
    batches = [torch.randn(4, 5, dtype=torch.float64) for _ in range(3)]

    def loss(model: nn.Module, batch: Tensor) -> Tensor:
        return model(batch).square().sum()

    found = unit_importance(case.model, case.groups, kind="taylor", batches=iter(batches), loss=loss)
    expected = [torch.zeros(2, size, dtype=torch.float64) for size in case.groups.full]
    layers = [case.model[0], case.model[2], case.model[4]]
    for batch in batches:
        case.model.zero_grad()
        loss(case.model, batch).backward()
        products = [(layer.weight * layer.weight.grad).detach() for layer in layers]
        for g in range(2):
            expected[g][0] += products[g].sum(1).abs()
            expected[g][1] += products[g + 1].sum(0).abs()
    torch.testing.assert_close(found, tuple(normalised(scores.mean(0)) for scores in expected), rtol=1e-10, atol=0)


def test_taylor_predicts_what_the_loss_loses_where_it_is_linear_in_the_consumer() -> None:
    case = settled(linear_chain())
    case.model[4].bias.data.zero_()
    gates = WidthGroups(case.groups.groups[1:], (along("4.weight", 1, each(6)),))
    batch = torch.randn(7, 5, dtype=torch.float64)

    def loss(model: nn.Module, batch: Tensor) -> Tensor:
        return model(batch).sum()

    (found,) = unit_importance(case.model, gates, kind="taylor", batches=[batch], loss=loss)
    changes = torch.zeros(6, dtype=torch.float64)
    for unit in range(6):
        without = copy.deepcopy(case.model)
        without[4].weight.data[:, unit] = 0
        changes[unit] = (loss(case.model, batch) - loss(without, batch)).abs()
    torch.testing.assert_close(found, normalised(changes), rtol=1e-10, atol=0)


def test_data_leave_no_trace_in_the_model() -> None:
    case = settled(convolutions())
    case.model.train()
    before = {key: value.clone() for key, value in case.model.state_dict().items()}
    batches = [case.inputs, case.inputs + 1]
    unit_importance(case.model, case.groups, kind="activation", batches=batches)
    unit_importance(case.model, case.groups, kind="taylor", batches=batches, loss=lambda model, x: model(x).sum())
    assert all(module.training for module in case.model.modules())
    assert all(case.model.state_dict()[key].equal(value) for key, value in before.items())
    assert all(parameter.grad is None for parameter in case.model.parameters())
    assert not any(module._forward_pre_hooks for module in case.model.modules())


def test_activation_is_the_mean_over_positions_and_the_norm_over_examples_and_channels() -> None:
    case = settled(convolutions())
    batches = [case.inputs, torch.randn_like(case.inputs)]
    images = torch.cat(batches)
    with torch.no_grad():
        maps = case.model[:4](images)
        flat = case.model[:7](images)
    zero = maps.abs().mean((2, 3)).square().sum(0).sqrt()
    one = flat.abs().square().sum(0).view(4, 2).sum(1).sqrt()
    found = unit_importance(case.model, case.groups, kind="activation", batches=batches)
    torch.testing.assert_close(found, (normalised(zero), normalised(one)), rtol=1e-10, atol=0)


def test_activation_of_heads_is_summed_over_positions_and_the_entries_of_the_head() -> None:
    case = settled(key_value_heads())
    seen = []
    handle = case.model.output.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    case.model(case.inputs)
    handle.remove()
    expected = seen[0].abs().mean(1).square().sum(0).view(2, 12).sum(1).sqrt()
    calls = {"forward": lambda model, batch: model(batch["x"])}
    (found,) = unit_importance(case.model, case.groups, kind="activation", batches=[{"x": case.inputs}], **calls)
    torch.testing.assert_close(found, normalised(expected), rtol=1e-10, atol=0)


def test_activation_of_half_precision_is_added_up_in_double_precision() -> None:
    model, groups = perceptron(4, 3, 2).to(torch.bfloat16), perceptron_groups(4, 3, 2)
    batches = [torch.ones(1, 4, dtype=torch.bfloat16)] * 500
    model[0].weight.data.fill_(0.25)
    model[0].bias.data.copy_(torch.tensor([0.0, 1.0, 2.0]))
    (found,) = unit_importance(model, groups, kind="activation", batches=batches)
    assert found.tolist() == pytest.approx([0.5, 1.0, 1.5], rel=1e-12)  # bfloat16 stops counting at 256


def test_a_grouped_convolution_reads_one_place_of_every_group() -> None:
    model = nn.Sequential(nn.Conv2d(2, 6, 1), nn.Conv2d(6, 4, 1, groups=2))
    unit = torch.arange(3)
    axes = (along("0.weight", 0, unit.repeat(2)), along("0.bias", 0, unit.repeat(2)), along("1.weight", 1, unit))
    groups = WidthGroups((WidthGroup("0", 3, ("0",), ("1",)),), axes)
    images = torch.randn(3, 2, 4, 4)
    squares = model[0](images).detach().double().abs().mean((2, 3)).square().sum(0)
    (found,) = unit_importance(model, groups, kind="activation", batches=[images])
    torch.testing.assert_close(found, normalised((squares[:3] + squares[3:]).sqrt()), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"kind": "l3"}, "kind must be one of 'l1', 'l2'.*got 'l3'"),
        ({"kind": "taylor"}, "'taylor' needs batches and loss"),
        ({"kind": "taylor", "batches": []}, "'taylor' needs loss"),
        ({"kind": "activation"}, "'activation' needs batches"),
        ({"kind": "l2", "batches": []}, "'l2' has no use for batches"),
        ({"kind": "activation", "batches": []}, "there was no batch to look at"),
        ({"kind": "activation", "batches": [[1]]}, "a batch is the input tensor; got list"),
        ({"kind": "taylor", "batches": [], "loss": lambda model, batch: model(batch).sum()}, "there was no batch"),
        ({"kind": "taylor", "batches": [torch.ones(1, 5)], "loss": lambda model, batch: model(batch)}, "a scalar"),
    ],
)
def test_wrong_arguments_are_refused(arguments, match: str) -> None:
    case = linear_chain()
    with pytest.raises(InputError, match=match):
        unit_importance(case.model, case.groups, **arguments)


def test_what_cannot_be_ranked_is_refused_by_the_name_of_the_group() -> None:
    case = linear_chain()
    with torch.no_grad():
        case.model[2].weight[0, 0] = torch.nan
    with pytest.raises(InputError, match="units of '0' is NaN or infinite"):
        unit_importance(case.model, case.groups)
    unread = WidthGroups((WidthGroup("0", 8),), case.groups.axes[:2])
    with pytest.raises(InputError, match="no weight tells how much the units of '0' matter"):
        unit_importance(case.model, unread, kind="consumer-l1")
    with pytest.raises(InputError, match="no linear or convolutional layer that was called reads the units of '0'"):
        unit_importance(case.model, unread, kind="activation", batches=[case.inputs])
    case.model.requires_grad_(False)
    loss = lambda model, batch: model(batch).sum()  # noqa: E731
    with pytest.raises(InputError, match="every weight of '0' is frozen"):
        unit_importance(case.model, case.groups, kind="taylor", batches=[case.inputs], loss=loss)


def test_units_that_are_all_zero_have_importance_zero() -> None:
    model = perceptron(3, 4, 2)
    nn.init.zeros_(model[0].weight)
    nn.init.zeros_(model[2].weight)
    (found,) = unit_importance(model, perceptron_groups(3, 4, 2))
    assert found.tolist() == [0, 0, 0, 0]


@every_case
@pytest.mark.parametrize("kind", ["l2", "random"])
def test_putting_units_in_order_changes_no_output_and_puts_the_most_important_first(name: str, kind: str) -> None:
    case = settled(CASES[name]())
    scores = (
        unit_importance(case.model, case.groups)
        if kind == "l2"
        else tuple(torch.randn(size, dtype=torch.float64) for size in case.groups.full)
    )
    parameters = list(case.model.parameters())
    before, old = case.model(case.inputs), copy.deepcopy(case.model.state_dict())
    orders = reorder_(case.model, case.groups, scores)
    torch.testing.assert_close(case.model(case.inputs), before, rtol=1e-12, atol=1e-12)
    assert all(one is other for one, other in zip(case.model.parameters(), parameters, strict=True))
    moved = any(not value.equal(old[key]) for key, value in case.model.state_dict().items())
    assert moved == any(not order.equal(order.sort().values) for order in orders)
    for order, score in zip(orders, scores, strict=True):
        assert order.sort().values.equal(torch.arange(len(score)))
        assert score[order].equal(score.sort(descending=True).values)
    if kind == "l2":
        again = unit_importance(case.model, case.groups)
        torch.testing.assert_close(again, tuple(s.sort(descending=True).values for s in scores), rtol=1e-12, atol=0)


def test_order_that_does_not_fit_is_refused() -> None:
    case = linear_chain()
    ones = [torch.ones(8), torch.ones(6)]
    with pytest.raises(InputError, match="given for 1 groups, and there are 2"):
        reorder_(case.model, case.groups, ones[:1])
    with pytest.raises(InputError, match=r"'2' is a finite number for each of its 6 units; got shape \(5,\)"):
        reorder_(case.model, case.groups, [ones[0], torch.ones(5)])
    with pytest.raises(InputError, match="finite: False"):
        reorder_(case.model, case.groups, [ones[0] / 0, ones[1]])
    with pytest.raises(InputError, match=r"'4\.weight' is no parameter or buffer"):
        reorder_(perceptron(5, 8, 6), case.groups, ones)


def widths_of(keep: tuple[Tensor, ...]) -> tuple[int, ...]:
    return tuple(len(units) for units in keep)


GROUPS = perceptron_groups(4, 6, 5, 3)
SCORES = st.tuples(*(st.lists(st.integers(0, 9), min_size=n, max_size=n) for n in GROUPS.full))


@given(scores=SCORES, params=st.integers(20, 90), round_to=st.integers(1, 3), macs=st.none() | st.integers(10, 80))
def test_a_uniform_budget_gives_the_largest_ratio_that_fits(scores, params, round_to, macs) -> None:
    importance = [torch.tensor(score, dtype=torch.float64) for score in scores]
    budget = {"params": params, "macs": macs, "round_to": round_to, "min_ratio": 0.2}

    def fits(profile: tuple[int, ...]) -> bool:
        return GROUPS.num_params(profile) <= params and (macs is None or GROUPS.num_macs(profile) <= macs)

    ratios = [widths_of(keep_within(GROUPS, importance, ratio=i / 60, **{**budget, "params": 999, "macs": None}))
              for i in range(1, 61)]  # fmt: skip
    possible = [profile for profile in ratios if fits(profile)]
    if not possible:
        with pytest.raises(InputError, match=r"cannot be reached: the smallest model .* has (params|macs)=\d+"):
            keep_within(GROUPS, importance, **budget)
        return
    keep = keep_within(GROUPS, importance, **budget)
    assert widths_of(keep) == max(possible, key=GROUPS.num_params)
    for units, score, size in zip(keep, importance, GROUPS.full, strict=True):
        assert len(units) % round_to == 0 or len(units) == size
        gone = torch.tensor([u for u in range(size) if u not in units])
        assert not len(gone) or score[units].min() >= score[gone].max()
        assert units.equal(units.sort().values)


@given(scores=SCORES, params=st.integers(20, 90))
def test_a_global_budget_takes_the_fewest_units_of_the_one_ranking(scores, params) -> None:
    importance = [torch.tensor(score, dtype=torch.float64) for score in scores]
    least = (2, 1)  # of 6 and 5 units, at a min_ratio of 0.2
    ranking = sorted((score, g) for g in range(2) for score in sorted(scores[g])[: GROUPS.full[g] - least[g]])
    profiles = [GROUPS.full]
    for _, g in ranking:
        profiles.append(tuple(width - (g == i) for i, width in enumerate(profiles[-1])))
    expected = next((profile for profile in profiles if GROUPS.num_params(profile) <= params), None)
    if expected is None:
        with pytest.raises(InputError, match=f"has params={GROUPS.num_params(least)}"):
            keep_within(GROUPS, importance, params=params, spread="global", min_ratio=0.2)
    else:
        keep = keep_within(GROUPS, importance, params=params, spread="global", min_ratio=0.2)
        assert widths_of(keep) == expected


@given(scores=SCORES, round_to=st.integers(1, 4), ratio=st.integers(7, 20))
def test_a_global_ratio_is_a_cap_on_the_units_of_all_groups(scores, round_to, ratio) -> None:
    importance = [torch.tensor(score, dtype=torch.float64) for score in scores]
    arguments = {"ratio": ratio / 20, "spread": "global", "round_to": round_to, "min_ratio": 0.01}
    smallest = sum(min(size, round_to) for size in GROUPS.full)
    if smallest > round(ratio / 20 * 11):
        with pytest.raises(InputError, match=f"units=.* cannot be reached.* has units={smallest}"):
            keep_within(GROUPS, importance, **arguments)
        return
    widths = widths_of(keep_within(GROUPS, importance, **arguments))
    assert round(ratio / 20 * 11) - sum(widths) < max(2, 2 * round_to) - 1 or sum(widths) == smallest
    assert sum(widths) <= round(ratio / 20 * 11)
    assert all(width % round_to == 0 or width == size for width, size in zip(widths, GROUPS.full, strict=True))


def test_a_uniform_ratio_is_the_nearest_width_in_exact_arithmetic() -> None:
    groups = perceptron_groups(3, 100, 10, 2)
    importance = [torch.arange(size).flip(0) for size in groups.full]
    assert widths_of(keep_within(groups, importance, ratio=0.29)) == (29, 3)  # 0.29 * 100 is 28.999999999999996
    assert widths_of(keep_within(groups, importance, ratio=0.25)) == (25, 3)  # halves go up
    assert widths_of(keep_within(groups, importance, ratio=0.5, round_to=8)) == (48, 8)
    assert widths_of(keep_within(groups, importance, ratio=1.0, round_to=8)) == (100, 10)
    assert widths_of(keep_within(groups, importance, ratio=0.01)) == (13, 2)  # an eighth stays, rounded up
    keep = keep_within(groups, importance, ratio=0.5)
    assert keep[1].equal(torch.arange(5))


def test_a_budget_of_the_whole_model_keeps_everything_and_one_less_does_not() -> None:
    importance = [torch.ones(size) for size in GROUPS.full]
    full = GROUPS.num_params(GROUPS.full)
    for spread in ("uniform", "global"):
        assert widths_of(keep_within(GROUPS, importance, params=full, spread=spread)) == GROUPS.full
        less = widths_of(keep_within(GROUPS, importance, params=full - 1, spread=spread))
        assert GROUPS.num_params(less) < full


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({}, "no budget was given"),
        ({"ratio": 0}, r"ratio is a fraction of the units in \(0, 1\]; got 0"),
        ({"ratio": 1.5}, "got 1.5"),
        ({"ratio": 0.5, "min_ratio": 0}, "min_ratio is a fraction"),
        ({"ratio": 0.5, "round_to": 0}, "round_to is a number of units of at least 1; got 0"),
        ({"ratio": 0.5, "spread": "even"}, "spread must be 'uniform' or 'global'; got 'even'"),
        ({"params": 3}, r"params=3 cannot be reached: the smallest model .* has params=\d+"),
        ({"macs": 1}, r"macs=1 cannot be reached"),
    ],
)
def test_a_budget_that_makes_no_sense_is_refused(arguments, match: str) -> None:
    with pytest.raises(InputError, match=match):
        keep_within(GROUPS, [torch.ones(size) for size in GROUPS.full], **arguments)


def test_every_reachable_width_is_within_its_caps_by_recount() -> None:
    importance = [torch.rand(size) for size in GROUPS.full]
    for params, spread in itertools.product(range(30, 95, 7), ("uniform", "global")):
        widths = widths_of(keep_within(GROUPS, importance, params=params, spread=spread))
        model = perceptron(4, *widths, 3)
        assert sum(parameter.numel() for parameter in model.parameters()) <= params


def test_another_model_is_not_put_in_order_by_half() -> None:
    groups, other = perceptron_groups(4, 6, 2), perceptron(4, 6, 2)
    last = list(other)[-1]
    last.weight = nn.Parameter(torch.randn(2, 7))
    before = copy.deepcopy(other.state_dict())
    with pytest.raises(InputError, match=r"has shape \(2, 7\), and its groups have 6 entries along dimension 1"):
        reorder_(other, groups, (torch.arange(6.0),))
    assert all(value.equal(before[name]) for name, value in other.state_dict().items())
