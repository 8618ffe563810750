"""Checks of what the card of structured continuous sparsification promises."""

import copy

import pytest
import torch

from paretorch.methods.width.expected_cost import ExpectedCost
from paretorch.methods.width.extract import masked
from paretorch.methods.width.gated import GatedModel
from paretorch.methods.width.gates import UnitGates
from paretorch.methods.width.structured_continuous import StructuredContinuous
from paretorch.training.trainer import Trainer
from tests.methods.invariants import invariant
from tests.methods.width.handmade import perceptron, perceptron_groups
from tests.methods.width.test_expected_cost import over_all_draws
from tests.methods.width.test_structured_continuous import GROUPS, method, task
from tests.training.problems import plain


@invariant("structured-cs", "with all units present and beta without bound the gates are the hard mask")
def gates_become_the_hard_mask() -> None:
    model, groups = perceptron(5, 8, 6, 3).double(), perceptron_groups(5, 8, 6, 3)
    gates = UnitGates(groups.full, gated=(True, True), start=1.0, open_ratio=0.5, device=torch.device("cpu"))
    with torch.no_grad():
        for s in gates.logits:
            s.copy_(torch.randn_like(s))
    gated, inputs = GatedModel(model, groups), torch.randn(4, 5, dtype=torch.float64)
    everything = gated.plan(groups.prefix(groups.full))
    with gated.at(everything, [gate / gates.scale for gate in gates.scales(1e6, "relaxed")]):
        outputs = model(inputs)
    torch.testing.assert_close(outputs, masked(model, groups, gates.staying())(inputs), rtol=1e-6, atol=1e-7)
    for soft, hard in zip(gates.scales(1e6, "mean"), gates.scales(1e6, "finalised"), strict=True):
        torch.testing.assert_close(soft, hard)


@invariant("structured-cs", "absent units are not computed, and their weights stand still")
def absent_units_are_absent() -> None:
    trained = method()
    run = Trainer(task(), plain(16, momentum=0.9), seed=5)._start(perceptron(6, 16, 12, 3), "scs", 20, [trained], None)
    widths = []
    run.model[1].register_forward_hook(lambda _module, _inputs, output: widths.append(output.shape[1]))
    before = copy.deepcopy(run.model.state_dict())
    for run.step in range(3):
        trained.training_step(run, run.task.train_set().batch(torch.arange(16)))
        run.update()
    present = trained._present[0]
    assert widths == [len(present)] * 3
    absent = torch.ones(16, dtype=torch.bool).index_fill_(0, present, False)
    assert absent.any()
    assert torch.equal(run.model[0].weight[absent], before["0.weight"][absent])
    assert torch.equal(run.model[2].weight[:, absent], before["2.weight"][:, absent])
    assert not torch.equal(run.model[0].weight[present], before["0.weight"][present])


@invariant("structured-cs", "the expected cost is the mean over all draws")
def the_cost_is_expected() -> None:
    groups = perceptron_groups(3, 4, 5, 2)
    gates = UnitGates(groups.full, gated=(True, True), start=0.3, open_ratio=0.5, device=torch.device("cpu"))
    probabilities = [p.detach() for p in gates.probabilities(2.0)]
    expected = ExpectedCost(groups.macs, num_groups=2)(probabilities)
    assert float(expected) == pytest.approx(over_all_draws(groups.macs, probabilities), rel=1e-9)


@invariant("structured-cs", "the model is left plain, without gates")
def the_model_is_left_plain() -> None:
    trained: StructuredContinuous = method()
    model = perceptron(6, 16, 12, 3)
    Trainer(task(), plain(16), seed=2).fit(model, phase="scs", num_steps=40, methods=[trained])
    widths = tuple(len(units) for units in trained.gates.staying())
    assert widths != GROUPS.full
    fresh = perceptron(6, *widths, 3)
    assert repr(model) == repr(fresh)
    assert {n: t.shape for n, t in model.state_dict().items()} == {n: t.shape for n, t in fresh.state_dict().items()}
    assert all(type(p) is torch.nn.Parameter for p in model.parameters())
