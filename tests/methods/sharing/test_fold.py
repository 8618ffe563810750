"""Folding: which layers get one weight, what norms absorb, what stays; outputs do not change where none may."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.methods.sharing.absorbing import following_norms
from paretorch.methods.sharing.fold import cluster_labels, find_loops, fold_
from paretorch.methods.sharing.layers import ScaledLayer, SharedLayer
from paretorch.methods.sharing.similarity import layer_similarity
from paretorch.methods.sharing.templates import mixing_parameters, share_, shared_groups
from tests.methods.sharing.networks import CONVS, NORMS, images, network, same


def shared(rows: list[list[float]], *, number: int = 2) -> nn.Sequential:
    """The network with these coefficients, trained statistics and gains of both signs."""
    model = network()
    share_(model, templates=number)
    with torch.no_grad():
        for name, row in zip(CONVS, rows, strict=True):
            model.get_submodule(name).coefficients.copy_(torch.tensor(row))
        for norm in NORMS.values():
            model.get_submodule(norm).weight.copy_(torch.tensor([1.5, -0.5, 0.25, 2.0]))
            model.get_submodule(norm).bias.normal_()
    for seed in range(3):
        model(images(seed=10 + seed))
    return model


def outputs(model: nn.Module) -> dict[str, Tensor]:
    """In training and in evaluation mode; and the running statistics that training mode leaves."""
    copied = copy.deepcopy(model)
    return {"eval": copied.eval()(images()), "train": copied.train()(images()), "after": copied.eval()(images())}


COLLINEAR = [[0.6, -0.4], [-1.2, 0.8], [0.06, -0.04]]


@pytest.mark.parametrize("absorbed", [True, False])
def test_folding_collinear_rows_changes_no_output_in_any_mode(absorbed: bool) -> None:
    model = shared(COLLINEAR)
    before = outputs(model)
    found = fold_(model, norms=NORMS if absorbed else None)
    assert list(found.clusters.values()) == [CONVS]
    assert found.max_change < 1e-7  # rows were rounded to float32 on the way in
    for mode, expected in before.items():
        assert same(outputs(model)[mode], expected, to=1e-6), mode


def exact(rows: list[list[float]]) -> nn.Sequential:
    """The same with rows that are collinear in float64."""
    model = shared(rows)
    with torch.no_grad():
        for name, row in zip(CONVS, rows, strict=True):
            model.get_submodule(name).coefficients.copy_(torch.tensor(row, dtype=torch.float64))
    return model


@pytest.mark.parametrize("absorbed", [True, False])
def test_with_rows_that_are_collinear_to_the_last_digit_the_equality_is_too(absorbed: bool) -> None:
    model = exact(COLLINEAR)
    before = outputs(model)
    found = fold_(model, norms=NORMS if absorbed else None)
    assert found.max_change < 1e-15
    for mode, expected in before.items():
        assert same(outputs(model)[mode], expected, to=1e-12), mode


def test_gradients_of_the_folded_network_are_those_of_the_shared_one() -> None:
    model = exact(COLLINEAR)
    folded = copy.deepcopy(model)
    fold_(folded, norms=NORMS)
    for one in (model, folded):
        one.train()(images()).square().sum().backward()
    assert same(folded[0].weight.grad, model[0].weight.grad, to=1e-9)
    assert same(folded[13].weight.grad, model[13].weight.grad, to=1e-9)


def test_where_norms_absorb_all_factors_plain_layers_with_one_parameter_are_left() -> None:
    model = exact(COLLINEAR)
    eps = {norm: model.get_submodule(norm).eps for norm in NORMS.values()}
    found = fold_(model, norms=following_norms(model, images()))
    layers = [model.get_submodule(name) for name in CONVS]
    assert {type(layer) for layer in layers} == {nn.Conv2d}
    assert len({id(layer.weight) for layer in layers}) == 1
    assert list(model.state_dict()) == list(network().state_dict())
    assert not mixing_parameters(model)
    assert found.factors == {}
    assert {layer: norm for layer, (norm, _) in found.absorbed.items()} == {"5": "6", "8": "9"}
    assert found.absorbed["5"][1] == pytest.approx(-2)
    assert found.absorbed["8"][1] == pytest.approx(0.1)
    assert model[6].eps == found.eps["6"] == pytest.approx(eps["6"] / 4)
    assert model[9].eps == found.eps["9"] == pytest.approx(eps["9"] * 100)
    assert model[3].eps == eps["3"]
    assert model[6].weight.tolist() == [-1.5, 0.5, -0.25, -2.0]
    assert model[9].weight.tolist() == [1.5, -0.5, 0.25, 2.0]


def test_without_norms_each_layer_but_the_first_keeps_its_factor() -> None:
    model = exact(COLLINEAR)
    found = fold_(model)
    assert found.factors == {"5": pytest.approx(-2), "8": pytest.approx(0.1)}
    assert found.absorbed == found.eps == {}
    assert type(model[2]) is nn.Conv2d
    assert isinstance(model[5], ScaledLayer)
    assert model[5].base is model[8].base is model[2].weight
    assert list(mixing_parameters(model)) == ["5.scale", "8.scale"]
    model(images()).square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_the_layer_whose_factor_no_norm_absorbs_sets_the_scale() -> None:
    model = exact(COLLINEAR)
    weight = model[5].weight.detach().clone()
    found = fold_(model, norms={"2": "3", "8": "9"})
    assert found.factors == {}
    assert same(model[5].weight, weight)
    assert {layer: s for layer, (_, s) in found.absorbed.items()} == {
        "2": pytest.approx(-0.5),
        "8": pytest.approx(-0.05),
    }


def test_equal_rows_are_folded_to_the_bit_without_a_factor() -> None:
    model = exact([[0.3, 0.7]] * 3)
    before = outputs(model)
    found = fold_(model)
    assert found.factors == found.absorbed == {}
    assert found.max_change == 0
    assert all(torch.equal(outputs(model)[mode], expected) for mode, expected in before.items())


def test_layers_that_are_like_no_other_keep_their_weights_to_the_bit_and_it_is_said_when_nothing_is_saved() -> None:
    model = exact([[1.0, 0.0], [0.0, 1.0], [0.7, 0.7]])
    expected = [model.get_submodule(name).weight.detach().clone() for name in CONVS]
    before = sum(p.numel() for p in model.parameters())
    with pytest.warns(UserWarning, match=r"folded model has \d+ parameters and had \d+ with templates") as seen:
        found = fold_(model)
    assert seen[0].filename == __file__, "the line that folded, and none of torch's"
    assert [len(layers) for layers in found.clusters.values()] == [1, 1, 1]
    for name, weight in zip(CONVS, expected, strict=True):
        assert torch.equal(model.get_submodule(name).weight, weight)
    assert (found.params_before, found.params_after) == (before, sum(p.numel() for p in model.parameters()))
    assert found.params_after - found.params_before == 144 - 6
    assert found.loops == ()


def test_the_reported_change_is_that_of_the_weights() -> None:
    model = exact([[1.0, 0.02], [-2.0, 0.03], [0.0, 1.0]])
    weights = {name: model.get_submodule(name).weight.detach().clone() for name in CONVS}
    found = fold_(model, threshold=0.95)
    assert list(found.clusters.values()) == [("2", "5"), ("8",)]
    for name, was in weights.items():
        now = model.get_submodule(name).weight.detach()
        assert found.changes[name] == pytest.approx(float((now - was).norm() / was.norm()), rel=1e-9, abs=1e-15)
        if name != "8":  # the factor is the best one for the common weight
            assert abs(float((now * (was - now)).sum())) < 1e-12 * float(was.square().sum())
    assert 0 < found.max_change < 0.1


def test_rows_that_differ_by_rounding_leave_no_factor() -> None:
    """On another machine they may be equal: a resumed run must make the same layers there."""
    row = [0.3, 0.7]
    model = exact([row, [math.nextafter(value, 1) for value in row], [math.nextafter(value, 0) for value in row]])
    assert len({tuple(group.tolist()) for group in mixing_parameters(model).values()}) == 3
    found = fold_(model, norms={"2": "3"})
    assert found.factors == found.absorbed == {}
    assert found.max_change < 1e-15
    assert {type(model.get_submodule(name)) for name in CONVS} == {nn.Conv2d}


def test_templates_of_zeros_fold_into_a_weight_of_zeros() -> None:
    model = exact([[1.0, 0.02], [-2.0, 0.03], [1.0, 0.0]])
    with torch.no_grad():
        model[2].bank.templates.zero_()
    before = outputs(model)
    found = fold_(model, norms=NORMS)
    assert found.max_change == 0
    assert all(torch.equal(outputs(model)[mode], expected) for mode, expected in before.items())


@pytest.mark.parametrize("held", ["norm.weight", "bias"])
def test_a_norm_absorbs_nothing_where_another_module_has_the_same_gain_or_bias(held: str) -> None:
    model = exact(COLLINEAR)
    if held == "bias":
        model[5].bias = model[8].bias
    else:
        model[6].weight = model[9].weight
    before = outputs(model)
    found = fold_(model, norms=NORMS)
    assert set(found.absorbed) == {"2"}
    assert set(found.factors) == {"8"}
    assert all(same(outputs(model)[mode], expected) for mode, expected in before.items())


@pytest.mark.parametrize("size", [1e-3, 1e4])
def test_a_norm_absorbs_no_factor_that_would_leave_the_range_of_its_statistics(size: float) -> None:
    model = exact([[1.0, 0.0], [size, 0.0], [1.0, 0.0]]).half()
    with torch.no_grad():
        for norm in NORMS.values():
            model.get_submodule(norm).running_var.fill_(1.0)
    before = model.eval()(images().half())
    found = fold_(model, norms=NORMS)
    assert found.absorbed == {}
    assert found.factors == {"5": pytest.approx(size, rel=1e-3)}
    assert same(model(images().half()), before, to=0.02)


def test_any_two_layers_of_a_cluster_are_as_alike_as_the_threshold_says() -> None:
    torch.manual_seed(0)
    for _ in range(20):
        raw = torch.rand(7, 7, dtype=torch.float64)
        matrix = (raw + raw.T) / 2
        matrix.fill_diagonal_(1)
        labels = cluster_labels(matrix, 0.6)
        assert labels[0] == 0
        assert sorted(set(labels)) == list(range(max(labels) + 1))
        assert [labels.index(label) for label in range(max(labels) + 1)] == sorted(
            labels.index(label) for label in set(labels)
        )
        for i in range(7):
            for j in range(7):
                if labels[i] == labels[j]:
                    assert matrix[i, j] >= 0.6 - 1e-9


def test_loops_are_runs_of_equal_neighbouring_blocks() -> None:
    layers = tuple("abcdefgh")
    assert find_loops(layers, [0, 1, 0, 1, 0, 1, 2, 2], block=2) == [(("a", "b"), ("c", "d"), ("e", "f"))]
    assert find_loops(layers, [0, 0, 1, 1, 1, 2, 3, 3], block=1) == [
        (("a",), ("b",)),
        (("c",), ("d",), ("e",)),
        (("g",), ("h",)),
    ]
    assert find_loops(layers, [0, 1, 1, 0, 0, 1, 1, 0], block=2) == []
    assert find_loops(layers, [0, 1, 2, 0, 1, 2, 0, 1], block=3) == [(("a", "b", "c"), ("d", "e", "f"))]
    assert find_loops(layers, [0, 1, 2, 3, 0, 1, 2, 3], block=2) == []


def test_blocks_that_differ_in_stride_are_no_loop() -> None:
    def made(*strides: int) -> nn.Module:
        torch.manual_seed(0)
        model = nn.Sequential(*[nn.Conv2d(3, 3, 3, stride=stride, padding=1) for stride in strides])
        share_(model, templates=1)
        return model

    assert fold_(made(1, 1, 1, 1)).loops == ((("0", "1"), ("2", "3")),)
    found = fold_(made(1, 1, 2, 1))
    assert list(found.clusters.values()) == [("0", "1", "2", "3")]
    assert found.loops == ()


def test_a_layer_whose_bank_the_others_have_left_is_folded_alone() -> None:
    model = exact(COLLINEAR)
    model[5] = model[8] = nn.Identity()
    before = outputs(model)
    assert layer_similarity(model)["conv2d-4x4x3x3"].mean == 1
    found = fold_(model)
    assert list(found.clusters.values()) == [("2",)]
    assert all(torch.equal(outputs(model)[mode], expected) for mode, expected in before.items())


def test_the_threshold_is_in_the_report() -> None:
    found = fold_(exact(COLLINEAR), threshold=0.8, norms=NORMS)
    assert found.threshold == found.to_dict()["threshold"] == 0.8


def test_a_folded_model_has_no_bank_and_is_folded_once() -> None:
    model = exact(COLLINEAR)
    fold_(model, norms=NORMS)
    assert not any(isinstance(module, SharedLayer) for module in model.modules())
    assert "bank" not in dict(model[2].named_children())
    assert not shared_groups(model)
    with pytest.raises(InputError, match="no layers that share templates"):
        fold_(model)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threshold": 0.0}, r"in \(0, 1\]; got 0.0"),
        ({"threshold": 1.5}, "got 1.5"),
        ({"block": 0}, "at least 1; got 0"),
        ({"norms": {"2": "4"}}, "'4' behind '2'; expected a batch norm"),
        ({"norms": {"x": "3"}}, "behind 'x'"),
        ({"norms": {"2": "3", "5": "3"}}, r"\['3'\] behind several layers"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_changed(arguments, message: str) -> None:
    model = exact(COLLINEAR)
    before = outputs(model)["eval"]
    with pytest.raises(InputError, match=message):
        fold_(model, **arguments)
    assert torch.equal(outputs(model)["eval"], before)
