"""Gates of channels: what a window computes, what stands still, what the end leaves, and resuming in its middle."""

import copy
import math
from functools import partial
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
import torch
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.measurement.macs import count_macs
from paretorch.methods.catalogue import cards
from paretorch.methods.cost_model import layer_shapes
from paretorch.methods.method import Method, Run
from paretorch.methods.width.cutting import narrowed, plan_cut
from paretorch.methods.width.extract import masked
from paretorch.methods.width.gates import UnitGates
from paretorch.methods.width.structured_continuous import StructuredContinuous
from paretorch.training.data import ArrayExamples
from paretorch.training.run import RunDirectory
from paretorch.training.supervised import SupervisedTask
from paretorch.training.trainer import PhaseResult, Trainer
from tests.methods.width.handmade import perceptron, perceptron_groups
from tests.training.problems import plain

SIZES = (6, 16, 12, 3)
GROUPS = perceptron_groups(*SIZES)


def task(factory=partial(perceptron, *SIZES)) -> SupervisedTask:  # noqa: B008  # a constant
    stream = torch.Generator().manual_seed(4)
    inputs = torch.randn(160, 6, generator=stream)
    targets = (inputs @ torch.randn(6, 3, generator=stream)).argmax(1)
    parts = [ArrayExamples(inputs=inputs[i], targets=targets[i]) for i in torch.arange(160).split([96, 32, 32])]
    return SupervisedTask(factory, train=parts[0], evaluation=parts[1], test=parts[2])


class Watch(Method):
    """Keeps copies of the model and of the gates' window at the end of every step."""

    name = "watch"

    def __init__(self, gates: StructuredContinuous, *, stop_at: int | None = None) -> None:
        self.gates, self.stop_at = gates, stop_at
        self.seen: list[tuple[tuple[Tensor, ...], dict[str, Tensor], dict[str, Tensor]]] = []

    def before_forward(self, run: Run) -> None:
        if run.step == self.stop_at:
            raise RuntimeError("killed")
        weights = {name: p.detach().clone() for name, p in run.model.named_parameters()}
        momentum = {
            name: run.optimizer.state[p]["momentum_buffer"].clone()
            for name, p in run.model.named_parameters()
            if p in run.optimizer.state
        }
        self.seen.append((self.gates._present, weights, momentum))


def fit(
    method: StructuredContinuous, *others: Method, num_steps: int = 120, folder: Path | None = None, **settings: object
) -> tuple[nn.Module, PhaseResult]:
    directory = None if folder is None else RunDirectory(folder, recipe="", resume=True)
    try:
        trainer = Trainer(task(), plain(16, lr=0.1, momentum=0.9, **settings), seed=2, directory=directory)
        model = trainer.model()
        return model, trainer.fit(model, phase="scs", num_steps=num_steps, methods=[method, *others])
    finally:
        if directory is not None:
            directory.close()


def method(**settings: object) -> StructuredContinuous:
    return StructuredContinuous(**{"target": 0.4, "groups": GROUPS, "window": 7, "start": 1.0, **settings})


@pytest.mark.slow
def test_the_end_leaves_a_smaller_plain_model_of_about_the_wanted_cost():
    gates = method()
    model, result = fit(gates, num_steps=200)
    widths = (model[0].out_features, model[2].out_features)
    assert widths == tuple(len(units) for units in gates.gates.staying()) != GROUPS.full
    assert GROUPS.num_macs(widths) / GROUPS.num_macs(GROUPS.full) == pytest.approx(0.4, abs=0.06)
    assert list(model.state_dict()) == list(perceptron(*SIZES).state_dict())
    fresh = perceptron(6, *widths, 3)
    assert {n: p.shape for n, p in model.named_parameters()} == {n: p.shape for n, p in fresh.named_parameters()}
    assert sum(p.numel() for p in model.parameters()) == GROUPS.num_params(widths)
    assert result.validation["accuracy"] > 0.8
    shapes = [tuple(entry["momentum_buffer"].shape) for _, entry in sorted(result.optimizer_state["state"].items())]
    assert shapes == [tuple(p.shape) for p in model.parameters()], "a next phase could go on with the momentum"
    last = result.curve[-1]
    assert last["final_cost"] == pytest.approx(GROUPS.num_macs(widths) / GROUPS.num_macs(GROUPS.full))
    assert last["expected_cost"] == pytest.approx(last["final_cost"], abs=0.05)


def test_when_all_gates_are_decided_and_all_units_present_the_three_modes_and_the_cut_model_agree():
    gates = method()
    trainer = Trainer(task(), plain(16), seed=2)
    model = trainer.model()
    run = trainer._start(model, "scs", 10, [gates], None)
    with torch.no_grad():
        for s in gates.gates.logits:
            s.copy_(torch.where(torch.rand_like(s) < 0.5, -1.0, 1.0))
    run.step = 10  # beta = 200, so that |beta s| is 200
    inputs = torch.randn(5, 6)
    staying = gates.gates.staying()
    scaled = masked(model, GROUPS, staying)
    with torch.no_grad():
        for layer in (2, 4):
            scaled[layer].weight.mul_(1 + math.exp(-1.0))  # c = 1 / sigma(1)
        expected = scaled(inputs)
    for mode in ("relaxed", "mean", "finalised"):
        with gates.evaluated(run, mode):
            torch.testing.assert_close(model(inputs), expected, rtol=1e-5, atol=1e-6)
    with gates.evaluation_weights(run):
        torch.testing.assert_close(model(inputs), expected, rtol=1e-5, atol=1e-6)
    gates.finish(run)
    torch.testing.assert_close(model(inputs).detach(), expected, rtol=1e-5, atol=1e-6)
    assert sorted(run.optimizers) == ["main"]
    assert gates.cut == plan_cut(GROUPS, staying)
    assert tuple(len(units) for units in staying) == narrowed(GROUPS, staying).full


def test_early_on_the_three_modes_are_three_networks():
    gates = method()
    trainer = Trainer(task(), plain(16), seed=2)
    model = trainer.model()
    run = trainer._start(model, "scs", 10, [gates], None)
    inputs, outputs = torch.randn(5, 6), {}
    for mode in ("relaxed", "mean", "finalised"):
        with gates.evaluated(run, mode):
            outputs[mode] = model(inputs)
    torch.testing.assert_close(outputs["relaxed"], model(inputs).detach(), rtol=1e-5, atol=1e-6)  # c sigma(s_0) = 1
    assert not torch.allclose(outputs["mean"], outputs["relaxed"], rtol=0.05)
    assert not torch.allclose(outputs["finalised"], outputs["relaxed"], rtol=0.05)


def test_absent_units_stand_still_with_their_momentum_and_present_ones_move():
    gates = method()
    watch = Watch(gates)
    fit(gates, watch, num_steps=30)
    moved = 0
    for (_, before, momentum), (present, after, new) in pairwise(watch.seen[1:]):
        absent = torch.ones(16, dtype=torch.bool).index_fill_(0, present[0], False)
        for name in ("0.weight", "0.bias"):
            assert torch.equal(before[name][absent], after[name][absent])
            assert torch.equal(momentum[name][absent], new[name][absent])
        assert torch.equal(before["2.weight"][:, absent], after["2.weight"][:, absent])
        moved += int((before["0.weight"] != after["0.weight"])[present[0]].any(1).sum())
    assert moved > 20
    assert any(len(present[0]) < 16 for present, _, _ in watch.seen[1:])
    changes = [
        step
        for step, ((before, *_), (after, *_)) in enumerate(pairwise(watch.seen[1:]), start=1)
        if any(len(a) != len(b) or not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    ]
    assert len(changes) >= 2
    assert set(changes) <= {7, 14, 21, 28}


def test_a_window_computes_the_smaller_model():
    shapes = []

    class Spy(nn.Sequential):
        def forward(self, inputs):
            shapes.append((tuple(self[0].weight.shape), tuple(self[2].weight.shape), self[2].in_features))
            return super().forward(inputs)

    gates = method()
    trainer = Trainer(task(lambda: Spy(*perceptron(*SIZES))), plain(16), seed=2)
    run = trainer._start(trainer.model(), "scs", 10, [gates], None)
    gates.training_step(run, run.task.train_set().batch(torch.arange(16)))
    first, second = (len(units) for units in gates._present)
    assert shapes == [((first, 6), (second, first), first)]
    assert first < 16
    assert run.logged["window_cost"] == GROUPS.num_macs((first, second)) / GROUPS.num_macs(GROUPS.full)


@pytest.mark.slow
def test_a_model_that_begins_small_grows_to_the_wanted_cost():
    gates = method(open_ratio=0.25, target=0.6)
    _, result = fit(gates, num_steps=150)
    assert result.curve[0]["final_cost"] < 0.2
    assert result.curve[-1]["final_cost"] == pytest.approx(0.6, abs=0.08)


@pytest.mark.parametrize("stop_at", [12, 21])
def test_killed_within_a_window_and_resumed_the_weights_are_bitwise_the_same(tmp_path: Path, stop_at: int):
    whole, _ = fit(method(), num_steps=30)
    with pytest.raises(RuntimeError, match="killed"):
        fit(stopped := method(), Watch(stopped, stop_at=stop_at), num_steps=30, folder=tmp_path, checkpoint_seconds=0)
    resumed, _ = fit(again := method(), Watch(again), num_steps=30, folder=tmp_path, checkpoint_seconds=0)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    assert [p.shape for p in whole.parameters()] != [p.shape for p in perceptron(*SIZES).parameters()]
    replayed, _ = fit(
        last := method(), Watch(last), num_steps=30, folder=tmp_path
    )  # from the phase's end: finish again
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), replayed.parameters(), strict=True))


def test_beta_is_geometric_from_1_to_its_end():
    betas = [method(final_beta=50.0).beta(step, 9) for step in range(9)]
    assert (betas[0], betas[-1]) == (1.0, pytest.approx(50.0))
    ratios = [later / earlier for earlier, later in pairwise(betas)]
    assert ratios == pytest.approx([50 ** (1 / 8)] * 8)
    assert method().beta(0, 1) == 1.0


def test_gates_are_learned_by_an_optimizer_of_their_own_without_weight_decay():
    gates = method(lr=0.3)
    trainer = Trainer(task(), plain(16), seed=2)
    model = trainer.model()
    before = copy.deepcopy(model)
    run = trainer._start(model, "scs", 10, [gates], None)
    (group,) = run.optimizers["gates"].param_groups
    assert (group["weight_decay"], group["lr"], group["momentum"]) == (0, 0.3, 0.9)
    assert {id(p) for p in group["params"]} == {id(s) for s in gates.gates.logits}
    mine = {id(p) for g in run.optimizer.param_groups for p in g["params"]}
    assert mine == {id(p) for p in model.parameters()}
    assert [(n, p.shape) for n, p in model.state_dict().items()] == [
        (n, p.shape) for n, p in before.state_dict().items()
    ]


def test_units_are_present_as_often_as_their_gates_are_open_and_one_always_is():
    gates = UnitGates((4, 3), gated=(True, True), start=1.0, open_ratio=1.0, device=torch.device("cpu"))
    with torch.no_grad():
        gates.logits[0].copy_(torch.tensor([-1.0, 0.0, 0.5, 2.0]))
        gates.logits[1].fill_(-60.0)
        gates.logits[1][1] = -50.0
    draws = [gates.draw(1.5, Random(number)) for number in range(3000)]
    counts = torch.zeros(4).index_add_(0, torch.cat([d[0] for d in draws]), torch.ones(sum(len(d[0]) for d in draws)))
    torch.testing.assert_close(counts / 3000, torch.sigmoid(1.5 * gates.logits[0].detach()), rtol=0, atol=0.03)
    assert all(torch.equal(d[1], torch.tensor([1])) for d in draws)
    assert torch.equal(gates.staying()[1], torch.tensor([1]))
    assert torch.equal(gates.staying()[0], torch.tensor([2, 3])), "s = 0 is pruned"


def test_units_without_gates_are_always_present_and_learn_nothing():
    gates = UnitGates((4, 3), gated=(False, True), start=2.0, open_ratio=0.3, device=torch.device("cpu"))
    assert gates.parameters() == [gates.logits[1]]
    assert gates.values().tolist() == [2.0, -2.0, -2.0]
    for seed in range(50):
        assert len(gates.draw(1.0, Random(seed))[0]) == 4
    assert gates.probabilities(3.0)[0].tolist() == [1.0] * 4
    assert len(gates.staying()[0]) == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": 1.0}, r"target must be a fraction in \(0, 1\).* got 1\.0"),
        ({"open_ratio": 0.0}, r"open_ratio in \(0, 1\]; got 0\.4 and 0\.0"),
        ({"cost": "latency"}, r"cost must be 'macs' or 'params'; got 'latency'"),
        ({"window": 0}, r"window must be an integer of at least 1; got 0"),
        ({"start": 0.0}, r"start, strength and lr must be positive and finite; got 0\.0"),
        ({"strength": math.inf}, r"positive and finite; got 1\.0, inf"),
        ({"final_beta": 0.5}, r"final_beta must be finite and at least 1; got 0\.5"),
    ],
)
def test_a_setting_out_of_range_is_refused(settings: dict[str, object], message: str):
    with pytest.raises(InputError, match=message):
        method(**settings)


def test_a_target_below_one_unit_of_each_group_and_a_model_without_gates_are_refused():
    with pytest.raises(InputError, match=r"a target of 0\.01 of the macs cannot be reached: .* costs 0\.03"):
        fit(method(target=0.01))
    with pytest.raises(InputError, match="no width group of this model can have gates"):
        fit(method(groups=perceptron_groups(6, 3)))


def test_a_model_wrapped_for_several_processes_is_refused():
    gates = method()
    trainer = Trainer(task(), plain(16))
    run = trainer._start(trainer.model(), "scs", 10, [gates], None)
    run.wrapped = nn.Sequential(run.model)
    with pytest.raises(InputError, match="train with one process"):
        gates.training_step(run, {})


@pytest.mark.slow
@pytest.mark.parametrize("cost", ["macs", "params"])
def test_the_card_predicts_what_the_end_costs(cost: str):
    model, _ = fit(method(cost=cost, target=0.5), num_steps=200)
    full = perceptron(*SIZES)
    ((kind, effect),) = (
        cards()["structured-cs"].effects(layer_shapes(full, torch.ones(1, 6)), target=0.5, cost=cost).items()
    )
    if kind == "flops_forward":
        before, after = (count_macs(m, torch.ones(1, 6)).dense for m in (full, model))
    else:
        before, after = (sum(p.numel() for p in m.parameters()) for m in (full, model))
    assert kind == {"macs": "flops_forward", "params": "param_bytes"}[cost]
    assert after / before == pytest.approx(effect.factor, abs=0.06)


def test_a_penalty_of_another_method_reaches_the_step():
    class Pull(Method):
        name = "pull"

        def penalty(self, run: Run) -> Tensor:
            return sum(0.5 * p.square().sum() for p in run.model.parameters())

    pulled, _ = fit(method(target=0.9), Pull(), num_steps=20)
    free, _ = fit(method(target=0.9), num_steps=20)
    norms = [sum(float(p.detach().square().sum()) for p in model.parameters()) for model in (pulled, free)]
    assert norms[0] < 0.5 * norms[1]
