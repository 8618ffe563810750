"""Checks of what the card of soft sharing promises."""

import copy

import torch
from torch import nn

from paretorch.methods.sharing.decay import exchange_, parameter_groups
from paretorch.methods.sharing.fold import fold_
from paretorch.methods.sharing.layers import SharedLayer
from paretorch.methods.sharing.similarity import similarity
from paretorch.methods.sharing.templates import mixing_parameters, share_, shared_groups
from tests.methods.invariants import invariant
from tests.methods.sharing.networks import CONVS, NORMS, images, network, same


@invariant(
    "soft-sharing", "a shared layer is the combination of its template layers, and gradients follow the chain rule"
)
def layers_are_combinations() -> None:
    torch.manual_seed(0)
    model = nn.ModuleList([nn.Linear(5, 5, bias=False).double() for _ in range(3)])
    share_(model, templates=2)
    (group,) = shared_groups(model).values()
    x, upstream = torch.randn(4, 5, dtype=torch.float64), torch.randn(4, 5, dtype=torch.float64)
    first = model[0]
    expected = sum(a * (x @ t.T) for a, t in zip(first.coefficients, group.bank.templates, strict=True))
    assert same(first(x), expected)
    (first(x) * upstream).sum().backward()
    slope = upstream.T @ x  # of the weight
    for j, template in enumerate(group.bank.templates.detach()):
        assert same(group.bank.templates.grad[j], first.coefficients[j].detach() * slope)
        assert same(first.coefficients.grad[j], (slope * template).sum())


@invariant("soft-sharing", "with as many templates as layers and unit coefficients the network is the unshared one")
def unit_coefficients_share_nothing() -> None:
    plain, model = network(), network()
    share_(model, templates=3)
    (group,) = shared_groups(model).values()
    with torch.no_grad():
        for number, (name, layer) in enumerate(group.layers.items()):
            group.bank.templates[number] = plain.get_submodule(name).weight
            layer.coefficients.copy_(torch.eye(3)[number])
    assert torch.equal(model(images()), plain(images()))


@invariant(
    "soft-sharing", "each template appears once in the state dict, and coefficients are not zero and do not decay"
)
def templates_appear_once() -> None:
    model = network()
    share_(model, templates=2)
    assert sum(name.endswith("templates") for name in model.state_dict()) == 1
    assert all(row.detach().abs().max() > 0 for row in mixing_parameters(model).values())
    _, mixing = parameter_groups(model, weight_decay=1.0)
    assert mixing["weight_decay"] == 0
    assert {id(p) for p in mixing["params"]} == {id(p) for p in mixing_parameters(model).values()}


@invariant("soft-sharing", "the similarity matrix is symmetric, 1 on the diagonal and blind to factors of rows")
def similarity_is_of_directions() -> None:
    rows = torch.randn(5, 3, dtype=torch.float64)
    found = similarity(rows)
    assert torch.equal(found, found.T)
    assert torch.equal(found.diagonal(), torch.ones(5, dtype=torch.float64))
    assert same(similarity(rows * torch.tensor([[-3.0], [1e-3], [2.0], [-0.5], [1e4]])), found)


@invariant("soft-sharing", "folding collinear rows changes no output, in training and in evaluation mode")
def folding_changes_no_output() -> None:
    model = network()
    share_(model, templates=1)
    for _ in range(3):
        model(images())
    for norms in (NORMS, {}):
        folded = copy.deepcopy(model)
        assert fold_(folded, norms=norms).max_change < 1e-15
        for training in (True, False):
            one, other = (copy.deepcopy(made).train(training) for made in (folded, model))
            assert same(one(images()), other(images()), to=1e-11)


@invariant("soft-sharing", "templates, coefficients and banks are gone from a folded model and its optimizer")
def nothing_auxiliary_is_left() -> None:
    model = network()
    share_(model, templates=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(images()).sum().backward()
    optimizer.step()
    before = list(model.parameters())
    fold_(model, norms=NORMS)
    exchange_(optimizer, before, model)
    assert not any(isinstance(module, SharedLayer) for module in model.modules())
    assert {type(model.get_submodule(name)) for name in CONVS} == {nn.Conv2d}
    (group,) = optimizer.param_groups
    assert [id(p) for p in group["params"]] == [id(p) for p in model.parameters()]
    assert set(map(id, optimizer.state)) <= {id(p) for p in model.parameters()}
