"""Checks of what the card of Maestro promises."""

import copy

import torch

from paretorch.methods.rank.factored import factored_layers
from paretorch.methods.rank.factorize import factorise_
from paretorch.methods.rank.groups import rank_groups
from paretorch.methods.rank.lasso import important_ranks, rank_importance
from paretorch.methods.width.extract import extract
from tests.methods.invariants import invariant
from tests.methods.rank.layers import network, same


@invariant("maestro", "at full rank factoring does not change what the model computes")
def factoring_changes_nothing() -> None:
    model, inputs = network()
    expected = model(inputs)
    assert factorise_(model)
    assert same(model(inputs), expected)


@invariant("maestro", "cut to k ranks, a layer just factored is the best approximation of rank k")
def cuts_are_the_best_approximation() -> None:
    model, inputs = network()
    weights = {name: model.get_submodule(name).weight.detach().clone() for name in ("0", "3", "7")}
    factorise_(model)
    groups = rank_groups(model, inputs)
    for rank in (1, 2, 4):
        for name, layer in factored_layers(extract(model, groups, (rank,) * 3)).items():
            left, singular, right = torch.linalg.svd(weights[name].flatten(1), full_matrices=False)
            best = (left[:, :rank] * singular[:rank]) @ right[:rank]
            assert same(layer.weight.detach().flatten(1), best, to=1e-10)


@invariant("maestro", "the importance of ranks falls, so that the important ones are a prefix")
def importance_falls() -> None:
    model, _ = network()
    factorise_(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    for layer in factored_layers(model).values():
        importance = rank_importance(layer)
        assert torch.equal(importance, importance.sort(descending=True).values)
        middle = float(importance[1:3].mean())
        assert torch.equal(importance >= middle, torch.arange(layer.rank) < important_ranks(layer, middle))


@invariant("maestro", "no layer is left without a rank")
def one_rank_stays() -> None:
    model, inputs = network()
    factorise_(model)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for layer in factored_layers(twin).values():
            layer.up.weight.zero_()
    assert [important_ranks(layer, 1e-5) for layer in factored_layers(twin).values()] == [1, 1, 1]
    smallest = extract(model, rank_groups(model, inputs), (1, 1, 1))
    assert smallest(inputs).shape == model(inputs).shape
