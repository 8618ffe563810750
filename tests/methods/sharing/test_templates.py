"""Shared layers are combinations of template layers, begin as they should, and are found or refused by name."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from paretorch.errors import InputError
from paretorch.methods.sharing.decay import parameter_groups
from paretorch.methods.sharing.layers import SharedLayer
from paretorch.methods.sharing.templates import mixing_parameters, share_, shared_groups
from paretorch.methods.sparsity.prunable import prunable_parameters
from tests.methods.sharing.networks import CONVS, LAYERS, images, network, same


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_shared_layer_is_the_sum_of_its_template_layers_and_its_bias(kind: str, number: int) -> None:
    make, shape = LAYERS[kind]
    torch.manual_seed(0)
    model = nn.ModuleList([make() for _ in range(3)]).double()
    share_(model, templates=number)
    (group,) = shared_groups(model).values()
    inputs = torch.randn(shape, dtype=torch.float64)
    for layer in group.layers.values():
        parts = []
        for template in group.bank.templates:
            one = make().double()
            with torch.no_grad():
                one.weight.copy_(template)
            if one.bias is not None:
                nn.init.zeros_(one.bias)
            parts.append(one(inputs))
        expected = sum(alpha * part for alpha, part in zip(layer.coefficients, parts, strict=True))
        if layer.bias is not None:
            expected = expected + (layer.bias if "linear" in kind else layer.bias.view(-1, *[1] * (len(shape) - 2)))
        assert same(layer(inputs), expected)


def test_with_unit_rows_of_coefficients_and_as_many_templates_the_network_is_the_unshared_one() -> None:
    plain, shared = network(), network()
    share_(shared, templates=3)
    (group,) = shared_groups(shared).values()
    with torch.no_grad():
        for number, (name, layer) in enumerate(group.layers.items()):
            group.bank.templates[number] = plain.get_submodule(name).weight
            layer.coefficients.copy_(torch.eye(3)[number])
    assert torch.equal(shared(images()), plain(images()))


def test_gradients_of_templates_and_coefficients_are_those_of_the_weights_by_the_chain_rule() -> None:
    shared = network()
    share_(shared, templates=2)
    (group,) = shared_groups(shared).values()
    plain = network()
    plain.load_state_dict(
        {name: value for name, value in shared.state_dict().items() if name[0] not in CONVS}, strict=False
    )
    with torch.no_grad():
        for name, layer in group.layers.items():
            plain.get_submodule(name).weight.copy_(layer.weight)
            plain.get_submodule(name).bias.copy_(layer.bias)
    for model in (shared, plain):
        model(images()).square().sum().backward()
    slopes = [plain.get_submodule(name).weight.grad for name in group.layers]
    rows = group.coefficients.detach()
    for j, template in enumerate(group.bank.templates.detach()):
        expected = sum(float(rows[i, j]) * slope for i, slope in enumerate(slopes))
        assert same(group.bank.templates.grad[j], expected)
        for slope, layer in zip(slopes, group.layers.values(), strict=True):
            assert float(layer.coefficients.grad[j]) == pytest.approx(float((slope * template).sum()), rel=1e-9)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_every_parameter_of_a_fresh_model_gets_a_gradient(number: int) -> None:
    """The authors' layers begin with coefficients of zero unless their model draws them: then nothing ever moves."""
    model = network()
    share_(model, templates=number)
    model(images()).square().sum().backward()
    assert all(bool(row.abs().max() > 0) for row in mixing_parameters(model).values())
    assert [name for name, p in model.named_parameters() if not bool(p.grad.abs().max() > 0)] in (
        [],
        ["2.bias", "5.bias", "8.bias"],  # batch norm takes the mean away
    )


def test_with_as_many_templates_as_layers_the_rows_are_orthonormal_and_with_fewer_the_columns_are() -> None:
    model = nn.ModuleList([nn.Linear(4, 4) for _ in range(6)])
    for number in (1, 2, 6):
        fresh = copy.deepcopy(model)
        share_(fresh, templates=number)
        rows = shared_groups(fresh)["linear-4x4"].coefficients.detach()
        assert rows.shape == (6, number)
        torch.testing.assert_close(rows.T @ rows, torch.eye(number), atol=1e-6, rtol=0)
        assert float(rows.square().sum(1).mean()) == pytest.approx(number / 6, rel=1e-5)


def test_rows_of_length_one_are_drawn_where_they_are_asked_for() -> None:
    model = nn.ModuleList([nn.Linear(4, 4) for _ in range(6)])
    share_(model, templates=2, unit_rows=True)
    lengths = shared_groups(model)["linear-4x4"].coefficients.detach().norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(6))


def test_templates_have_the_variance_of_he_initialisation_by_fan_in() -> None:
    torch.manual_seed(0)
    model = nn.ModuleList([nn.Conv2d(32, 64, 3) for _ in range(2)])
    share_(model, templates=2)
    templates = shared_groups(model)["conv2d-64x32x3x3"].bank.templates
    for template in templates:
        assert float(template.detach().std()) == pytest.approx((2 / (32 * 9)) ** 0.5, rel=0.03)
        assert abs(float(template.detach().mean())) < 0.003


def test_each_template_is_in_the_state_dict_once_and_a_copy_of_the_model_shares_within_itself() -> None:
    model = network()
    share_(model, templates=2)
    assert [name for name in model.state_dict() if name.endswith("templates")] == ["2.bank.templates"]
    assert [name for name in model.state_dict() if name.endswith("coefficients")] == [
        f"{name}.coefficients" for name in CONVS
    ]
    assert len(list(model.parameters())) == len({id(p) for p in model.parameters()})
    twin = copy.deepcopy(model)
    banks = {id(twin.get_submodule(name).bank) for name in CONVS}
    assert len(banks) == 1
    assert not banks & {id(model[2].bank)}
    with torch.no_grad():
        twin[2].bank.templates.zero_()
    assert bool(model[8].weight.abs().sum() > 0)
    assert not twin[8].weight.any()


def test_weights_of_another_process_come_back_strictly() -> None:
    model, other = network(), network(seed=3)
    share_(model, templates=2)
    share_(other, templates=2)
    other.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(other(images()), model(images()))


def test_layers_keep_their_hooks_biases_and_identity() -> None:
    model = network()
    seen, biases, layers = [], [model[int(name)].bias for name in CONVS], [model[int(name)] for name in CONVS]
    model[5].register_forward_hook(lambda *_: seen.append(1))
    share_(model, templates=1)
    model(images())
    assert seen == [1]
    assert all(model[int(name)] is layer for name, layer in zip(CONVS, layers, strict=True))
    assert all(layer.bias is bias for layer, bias in zip(layers, biases, strict=True))
    assert all(isinstance(layer, nn.Conv2d) and isinstance(layer, SharedLayer) for layer in layers)


def test_a_module_under_two_names_is_one_layer() -> None:
    twice = nn.Linear(4, 4)
    model = nn.ModuleList([twice, nn.Linear(4, 4), twice])
    assert share_(model, templates=1) == {"linear-4x4": ("0", "1")}
    assert model[2] is model[0]


def test_groups_are_made_of_every_shape_that_has_enough_layers() -> None:
    model = nn.ModuleDict(
        {
            "a": nn.Linear(4, 4), "b": nn.Linear(4, 4), "c": nn.Linear(4, 4), "d": nn.Conv1d(3, 5, 2),
            "e": nn.Conv1d(3, 5, 2, bias=False), "f": nn.Linear(4, 5), "g": nn.Embedding(4, 4),
        }
    )  # fmt: skip
    assert share_(copy.deepcopy(model), templates=1) == {"linear-4x4": ("a", "b", "c"), "conv1d-5x3x2": ("d", "e")}
    assert share_(copy.deepcopy(model), templates=3) == {"linear-4x4": ("a", "b", "c")}
    with pytest.raises(InputError, match="no 4 layers of one shape that could share 4 templates"):
        share_(model, templates=4)


def test_layers_that_are_frozen_are_in_no_group_with_those_that_learn() -> None:
    model = nn.ModuleList([nn.Linear(4, 4) for _ in range(4)])
    model[:2].requires_grad_(False)
    assert share_(model, templates=1) == {"linear-4x4": ("0", "1"), "linear-4x4-2": ("2", "3")}
    assert [p.requires_grad for p in mixing_parameters(model).values()] == [False, False, True, True]
    assert [group.bank.templates.requires_grad for group in shared_groups(model).values()] == [False, True]


def test_groups_can_be_named_with_patterns_and_numbers_of_their_own() -> None:
    model = nn.ModuleDict({"x": nn.ModuleList([nn.Linear(3, 3) for _ in range(4)]), "y": nn.Linear(3, 3)})
    found = share_(model, templates={"late": 2, "early": 1}, groups={"late": ["x.[23]", "y"], "early": ["x.0", "x.1"]})
    assert found == {"late": ("x.2", "x.3", "y"), "early": ("x.0", "x.1")}
    assert {name: len(group.bank.templates) for name, group in shared_groups(model).items()} == {"early": 1, "late": 2}


def test_a_name_that_reads_as_a_pattern_is_that_layer() -> None:
    model = nn.ModuleDict({"a[1]": nn.Linear(3, 3), "a1": nn.Linear(3, 3), "b": nn.Linear(3, 3)})
    assert share_(model, templates=1, groups={"g": ["a[1]", "b"]}) == {"g": ("a[1]", "b")}


def tied() -> nn.Module:
    model = nn.ModuleList([nn.Linear(3, 3) for _ in range(4)])
    model[1].weight = model[0].weight
    return model


def normed() -> nn.Module:
    model = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
    parametrizations.weight_norm(model[0])
    return model


def uneven() -> nn.Module:
    return nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 4), nn.Bilinear(3, 3, 3)])


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (uneven, {"templates": 0}, "a whole number of at least 1, or one for each group; got 0"),
        (uneven, {"templates": -1}, "got -1"),
        (uneven, {"templates": 2.0}, "got 2.0"),
        (uneven, {"templates": "2"}, "got '2'"),
        (uneven, {"templates": None}, "got None"),
        (uneven, {"templates": 0, "groups": {"a": ["0", "1"]}}, "from 1 to 2 templates; got 0"),
        (uneven, {"templates": 1, "groups": ["0", "1"]}, r"groups maps the name .* got \['0', '1'\]"),
        (uneven, {"templates": 1, "groups": {"a": [0, 1]}}, r"a list of names; got \[0, 1\]"),
        (uneven, {"templates": {"a": 1}}, "need the names of the groups"),
        (uneven, {"templates": 3, "groups": {"a": ["0", "1"]}}, "from 1 to 2 templates; got 3. More would be"),
        (uneven, {"templates": 1, "groups": {}}, "for one group at least; got {}"),
        (uneven, {"templates": 1, "groups": {"a": "0"}}, "a list of names; got '0'"),
        (uneven, {"templates": 1, "groups": {"a": ["0"]}}, r"\['0'\]; at least two"),
        (uneven, {"templates": 1, "groups": {"a": ["0", "3"]}}, "is called '3'; it has 0, 1, 2"),
        (uneven, {"templates": 1, "groups": {"a": ["0", "11"]}}, "is called '11'; did you mean '1'"),
        (uneven, {"templates": 1, "groups": {"a": ["0", "2"]}}, r"must agree .*'2': \(4, 3\)"),
        (uneven, {"templates": 1, "groups": {"a": ["0", "1"], "b": ["1", "2"]}}, "'1' is in the groups 'a' and 'b'"),
        (uneven, {"templates": {"b": 1}, "groups": {"a": ["0", "1"]}}, r"exactly the groups \['a'\]; got \['b'\]"),
        (tied, {"templates": 1, "groups": {"a": ["0", "2"]}}, "'0' is shared with another module; untie"),
        (normed, {"templates": 1, "groups": {"a": ["0", "1"]}}, "no Linear or convolution .* called '0'"),
        (normed, {"templates": 1}, "no 2 layers of one shape"),
    ],
)
def test_what_cannot_be_shared_is_refused_and_the_model_left_as_it_was(make, arguments, message: str) -> None:
    model = make()
    names = list(model.state_dict())
    with pytest.raises(InputError, match=message):
        share_(model, **arguments)
    assert list(model.state_dict()) == names


def test_a_layer_is_not_shared_twice_and_no_two_groups_have_one_name() -> None:
    model = nn.ModuleList([nn.Linear(3, 3) for _ in range(4)])
    share_(model, templates=1, groups={"a": ["0", "1"]})
    with pytest.raises(InputError, match="'0' has a shared weight already"):
        share_(model, templates=1, groups={"b": ["0", "2"]})
    with pytest.raises(InputError, match=r"has groups \['a'\] already"):
        share_(model, templates=1, groups={"a": ["2", "3"]})
    assert share_(model, templates=1) == {"linear-3x3": ("2", "3")}


def test_pruning_refuses_a_shared_layer_by_name() -> None:
    model = network()
    share_(model, templates=1)
    with pytest.raises(InputError, match=r"2\.weight is computed from other parameters"):
        prunable_parameters(model)


def test_weights_are_made_in_full_precision_under_autocast() -> None:
    model = network().float()
    share_(model, templates=2)
    expected = model[5].weight
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(model[5].weight, expected)
        assert model[5](torch.zeros(1, 4, 5, 5)).dtype == torch.bfloat16


def test_the_groups_for_an_optimizer_hold_everything_once_and_let_coefficients_be() -> None:
    model = network()
    share_(model, templates=2)
    rest, mixing = parameter_groups(model, weight_decay=5e-4)
    assert (rest["weight_decay"], mixing["weight_decay"]) == (5e-4, 0.0)
    assert [id(p) for p in mixing["params"]] == [id(model.get_submodule(name).coefficients) for name in CONVS]
    assert sorted(id(p) for p in rest["params"] + mixing["params"]) == sorted(map(id, model.parameters()))
    before = [p.detach().clone() for p in mixing["params"]]
    optimizer = torch.optim.SGD(parameter_groups(model, weight_decay=0.5), lr=0.1)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    norm = float(model[2].bank.templates.detach().norm())
    optimizer.step()
    assert all(torch.equal(p, was) for p, was in zip(mixing["params"], before, strict=True))
    assert float(model[2].bank.templates.detach().norm()) == pytest.approx(0.95 * norm)


@pytest.mark.slow
def test_compiled_by_torch_the_model_computes_the_same() -> None:
    model = network()
    share_(model, templates=2)
    expected = model(images())
    expected.square().sum().backward()
    slope = model[2].bank.templates.grad.clone()
    model.zero_grad()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    actual = compiled(images())
    actual.square().sum().backward()
    assert same(actual, expected)
    assert same(model[2].bank.templates.grad, slope, to=1e-9)
