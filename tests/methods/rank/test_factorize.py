"""A factored layer computes what the layer did; its first ranks are the best approximation; and it can be undone."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from paretorch.errors import InputError
from paretorch.measurement.macs import count_macs
from paretorch.methods.rank.covariance import input_covariances
from paretorch.methods.rank.factored import Factored, factored_layers
from paretorch.methods.rank.factorize import factorise_, factors, merge_
from paretorch.methods.rank.groups import rank_groups
from paretorch.methods.width.cutting import plan_cut
from paretorch.methods.width.extract import extract
from tests.methods.rank.layers import LAYERS, layer, network, same


@pytest.mark.parametrize("kind", LAYERS)
def test_at_full_rank_a_factored_layer_computes_what_the_layer_did(kind):
    model, inputs = layer(kind)
    expected, weight = model(inputs), model[0].weight.detach().clone()
    assert factorise_(model) == {"0": min(weight.flatten(1).shape)}
    assert isinstance(model[0], Factored)
    assert same(model(inputs), expected)
    assert same(model[0].weight, weight)


@pytest.mark.parametrize("kind", LAYERS)
def test_the_error_of_a_truncated_layer_is_its_tail_of_singular_values(kind):
    model, _ = layer(kind)
    weight = model[0].weight.detach().flatten(1)
    singular = torch.linalg.svdvals(weight)
    assert factorise_(model, rank=2) == {"0": 2}
    left = model[0].weight.detach().flatten(1)
    assert float((left - weight).norm()) == pytest.approx(float(singular[2:].norm()), rel=1e-12)
    assert torch.linalg.svdvals(left)[:2].tolist() == pytest.approx(singular[:2].tolist())


@pytest.mark.parametrize("kind", ["linear", "strided, dilated conv"])
def test_cut_to_a_smaller_rank_a_factored_layer_is_the_best_approximation_of_that_rank(kind):
    model, inputs = layer(kind)
    truncated = copy.deepcopy(model)
    factorise_(truncated, rank=3)
    factorise_(model)
    groups = rank_groups(model, inputs)
    small = extract(model, groups, (3,))
    assert small[0].rank == 3
    assert same(small(inputs), truncated(inputs))
    assert groups.num_params((3,)) == sum(p.numel() for p in small.parameters())
    assert groups.num_macs((3,)) == count_macs(small, inputs).dense


def test_the_two_factors_share_the_singular_values_evenly():
    model, _ = layer("linear")
    factorise_(model)
    norms = model[0].up.weight.norm(dim=0), model[0].down.weight.norm(dim=1)
    torch.testing.assert_close(*norms, rtol=1e-12, atol=0)
    assert torch.equal(norms[0], norms[0].sort(descending=True).values)


@pytest.mark.parametrize("rank", [1, 3, 5])
def test_with_a_covariance_no_factors_of_that_rank_are_closer_on_such_inputs(rank):
    """(A C^{1/2})_k C^{-1/2}, by the symmetric root, and against a descent that starts from it."""
    torch.manual_seed(0)
    weight = torch.randn(5, 8, dtype=torch.float64)
    mix = torch.randn(8, 8, dtype=torch.float64)
    covariance = mix @ mix.T + 0.1 * torch.eye(8, dtype=torch.float64)
    values, vectors = torch.linalg.eigh(covariance)
    root, inverse = (vectors * values**power @ vectors.T for power in (0.5, -0.5))
    left, singular, right = torch.linalg.svd(weight @ root, full_matrices=False)
    expected = (left[:, :rank] * singular[:rank]) @ right[:rank] @ inverse
    up, down = factors(weight, rank, covariance=covariance)
    torch.testing.assert_close(up @ down, expected, rtol=1e-9, atol=1e-9)

    def error(approximation):
        difference = weight - approximation
        return torch.trace(difference @ covariance @ difference.T)

    parts = [up.clone().requires_grad_(), down.clone().requires_grad_()]
    gradients = torch.autograd.grad(error(parts[0] @ parts[1]), parts)
    assert max(float(gradient.abs().max()) for gradient in gradients) < 1e-8
    plain_up, plain_down = factors(weight, rank)
    assert rank == 5 or float(error(up @ down)) < 0.99 * float(error(plain_up @ plain_down))


@pytest.mark.parametrize("kind", LAYERS)
def test_covariances_are_those_of_what_the_layer_multiplies(kind):
    """Mean of |W x|^2 over positions = trace(W C W^T), and factoring with them leaves the function as it is."""
    model, inputs = layer(kind)
    model[0].register_parameter("bias", None)
    found = input_covariances(model, [inputs, 2 * inputs], layers=["0"], forward=lambda m, batch: m(batch))
    weight = model[0].weight.detach().flatten(1)
    channels = 1 if isinstance(model[0], nn.Conv2d) else -1
    outputs = torch.cat([model(inputs), model(2 * inputs)]).detach().movedim(channels, -1).flatten(0, -2)
    assert float(torch.trace(weight @ found["0"] @ weight.T)) == pytest.approx(
        float(outputs.square().sum(1).mean()), rel=1e-12
    )
    expected = model(inputs)
    factorise_(model, covariances=found)
    assert same(model(inputs), expected, to=1e-9)


def test_a_direction_that_no_input_takes_is_kept_at_full_rank():
    model, inputs = layer("linear")
    inputs = torch.cat([inputs[:, :5], torch.zeros(4, 1, dtype=torch.float64)], dim=1)
    found = input_covariances(model, [inputs], layers=["0"], forward=lambda m, batch: m(batch))
    weight = model[0].weight.detach().clone()
    factorise_(model, covariances=found)
    assert same(model[0].weight, weight, to=1e-8)
    with pytest.raises(InputError, match="saw only zeros"):
        factors(weight, 2, covariance=torch.zeros(6, 6))


def test_merging_multiplies_out_where_that_is_not_dearer():
    model, inputs = network()
    expected = model(inputs)
    names = list(model.state_dict())
    factorise_(model)
    assert set(factored_layers(model)) == {"0", "3", "7"}
    for name, rank in {"3": 2, "7": 3}.items():
        groups = rank_groups(model, inputs)
        plan_cut(groups, groups.prefix(groups.profile({f"{name}.down": rank}))).apply_(model)
    cut = model(inputs)
    assert not same(cut, expected, to=0.01)
    # (n + m) r against n m: 35 * 8 > 216, 84 * 2 < 864, 16 * 3 = 48
    assert merge_(model) == ("0", "7")
    assert same(model(inputs), cut)
    assert merge_(model, always=True) == ("3",)
    assert same(model(inputs), cut)
    assert list(model.state_dict()) == names
    assert {type(module) for module in model} <= {type(module) for module in network()[0]}


@pytest.mark.parametrize("kind", LAYERS)
def test_factored_and_merged_a_layer_has_its_settings_back(kind):
    model, inputs = layer(kind)
    before, expected = repr(model), model(inputs)
    model[0].weight.requires_grad_(False)
    model.eval()
    factorise_(model)
    assert not any(module.training for module in model.modules())
    merge_(model, always=True)
    assert repr(model) == before
    assert same(model(inputs), expected)
    assert not model[0].weight.requires_grad
    assert not model[0].training


def test_gradients_reach_both_factors_and_the_bias_is_the_same_parameter():
    model, inputs = layer("conv")
    bias = model[0].bias
    factorise_(model)
    assert model[0].bias is bias
    model(inputs).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_a_layer_under_two_names_is_replaced_under_both():
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.ReLU(), shared)
    assert factorise_(model) == {"0": 4}
    assert model[0] is model[2]
    assert isinstance(model[2], Factored)
    assert merge_(model, always=True) == ("0",)
    assert model[0] is model[2]


def test_layers_are_chosen_by_pattern_and_ranks_by_name():
    model, _ = network()
    assert factorise_(copy.deepcopy(model), layers=["[03]"], rank=5) == {"0": 5, "3": 5}
    assert factorise_(model, layers=["7", "0"], rank={"7": 1, "0": 8}) == {"0": 8, "7": 1}
    assert list(factored_layers(model)) == ["0", "7"]
    assert factorise_(model) == {"0.down": 8, "0.up": 8, "3": 12}, "what is left, and factors of factors"


def test_a_layer_with_one_output_is_left_out_unless_it_is_named():
    model = nn.Sequential(nn.Linear(4, 1))
    assert factorise_(model) == {}
    assert factorise_(model, layers=["0"]) == {"0": 1}


def hooked() -> nn.Module:
    linear = nn.Linear(4, 4)
    linear.register_forward_hook(lambda *_: None)
    return linear


def tied() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Embedding(4, 4))
    model[0].weight = model[1].weight
    return model


@pytest.mark.parametrize(
    ("module", "layers", "message"),
    [
        (nn.Conv2d(4, 4, 3, groups=2), ["0"], r"'0' has groups=2"),
        (nn.Conv2d(4, 4, 3, groups=2), ["*"], r"'0' has groups=2"),
        (nn.Conv1d(4, 4, 3), ["0"], r"'0' is a Conv1d; only Linear and Conv2d"),
        (nn.Conv1d(4, 4, 3), ["*"], r"no Linear or Conv2d of the model is called '\*'"),
        (nn.MultiheadAttention(4, 2), ["0.out_proj"], r"'0.out_proj' is a NonDynamicallyQuantizableLinear"),
        (prune.l1_unstructured(nn.Linear(4, 4), "weight", 0.5), ["0"], "computes its weight from other tensors"),
        (parametrizations.weight_norm(nn.Linear(4, 4)), ["0"], "is a ParametrizedLinear"),
        (hooked(), ["0"], "has hooks"),
        (tied(), ["0.0"], r"the weight of '0.0' is shared"),
        (nn.Linear(4, 4), ["fc"], r"no Linear or Conv2d of the model is called 'fc'"),
        (nn.Linear(4, 4), "0", r"layers is a list of names; got the text '0'"),
    ],
)
def test_what_cannot_be_factored_says_why(module, layers, message):
    model = nn.Sequential(module)
    before = repr(model)
    with pytest.raises(InputError, match=message):
        factorise_(model, layers=layers)
    assert repr(model) == before


def test_without_names_what_cannot_be_factored_is_left_alone():
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.Conv1d(4, 4, 3), tied(), hooked(), nn.Linear(4, 3))
    assert factorise_(model) == {"4": 3}


@pytest.mark.parametrize(
    ("rank", "message"),
    [
        (0, r"a rank is an integer of at least 1; got 0"),
        (2.0, r"a rank is an integer of at least 1; got 2\.0"),
        ({"0": 0, "2": 1}, r"the rank of '0' must be an integer from 1 to 4; got 0"),
        ({"0": 5, "2": 1}, r"the rank of '0' must be an integer from 1 to 4; got 5"),
        ({"0": 4}, r"exactly the layers \['0', '2'\]; these differ: \['2'\]"),
    ],
)
def test_a_rank_that_does_not_exist_is_refused(rank, message):
    with pytest.raises(InputError, match=message):
        factorise_(nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)), rank=rank)


@pytest.mark.parametrize(
    ("covariances", "message"),
    [
        ({"1": torch.eye(4)}, r"given for '1', which is not among the layers"),
        ({"0": torch.eye(5)}, r"of '0' must be \(4, 4\) and finite; got \(5, 5\)"),
        ({"0": torch.eye(4) * torch.nan}, r"must be \(4, 4\) and finite"),
    ],
)
def test_a_covariance_that_does_not_fit_is_refused(covariances, message):
    with pytest.raises(InputError, match=message):
        factorise_(nn.Sequential(nn.Linear(4, 5)), covariances=covariances)


def test_covariances_are_refused_without_data_and_for_other_modules():
    model, _ = network()
    with pytest.raises(InputError, match=r"no batch reached the layers \['0'\]"):
        input_covariances(model, [], layers=["0"], forward=lambda m, batch: m(batch))
    with pytest.raises(InputError, match=r"'1' is no Linear"):
        input_covariances(model, [], layers=["1"], forward=lambda m, batch: m(batch))


def test_a_model_that_is_one_layer_or_not_factored_says_what_to_do():
    with pytest.raises(InputError, match="put it into a Sequential"):
        factorise_(nn.Linear(3, 3))
    with pytest.raises(InputError, match="call factorise_ first"):
        rank_groups(nn.Sequential(nn.Linear(3, 3)), torch.ones(1, 3))
