"""Elastic training in the trainer: which gradients a step adds, who teaches whom, cuts in mid-run, and resumption."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.methods.method import Method, Run
from paretorch.methods.width.distillation import distillation_loss
from paretorch.methods.width.elastic import ElasticTraining
from paretorch.methods.width.extract import extract
from paretorch.methods.width.groups import Count, Size, Term, WidthGroup, WidthGroups
from paretorch.methods.width.samplers import Chain, Independent, Sandwich, SingleLayer, Uniform
from paretorch.training.run import RunDirectory
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.supervised import SupervisedTask
from paretorch.training.trainer import PhaseResult, Trainer
from tests.methods.width.handmade import axis, perceptron, perceptron_groups
from tests.training.problems import linear_task, normed_task, plain

SIZES = (5, 8, 6, 3)
GROUPS = perceptron_groups(*SIZES)
DECAYING = OptimizerSpec(lr=0.1, momentum=0.9, weight_decay=0.1)
CLOSE = {"rtol": 1e-6, "atol": 1e-7}


def normed_groups() -> WidthGroups:
    """Of `normed_task`: one group of 10 units, with batch norm behind it."""
    rows = ["layers.0.weight", "layers.0.bias"]
    rows += [f"layers.1.{name}" for name in ("weight", "bias", "running_mean", "running_var")]
    axes = [axis(name, 0, 10, 0) for name in rows] + [axis("layers.4.weight", 1, 10, 0)]
    hidden = Count(0, {0: 1})
    sizes = (Size("layers.0", "out_features", hidden), Size("layers.1", "num_features", hidden))
    sizes += (Size("layers.4", "in_features", hidden),)
    macs = (Term(9, (hidden,)),)
    return WidthGroups((WidthGroup("layers.0", 10),), tuple(axes), sizes, params=macs, macs=macs)


def classes_task() -> SupervisedTask:
    """Three classes from five features on a perceptron with two hidden layers; 32 training examples."""
    stream = torch.Generator().manual_seed(2)
    inputs = torch.randn(52, 5, generator=stream)
    targets = (inputs @ torch.randn(5, 3, generator=stream)).argmax(1)
    parts = [(inputs[i], targets[i]) for i in torch.arange(52).split([32, 10, 10])]
    return SupervisedTask(partial(perceptron, *SIZES), train=parts[0], evaluation=parts[1], test=parts[2])


def fit(
    *methods: Method, num_steps: int = 1, batch_size: int = 32, optimizer: OptimizerSpec | None = None
) -> tuple[nn.Module, PhaseResult]:
    settings = TrainSettings(batch_size=batch_size, optimizer=optimizer or OptimizerSpec(lr=0.1), device="cpu")
    trainer = Trainer(classes_task(), settings, seed=4)
    model = trainer.model()
    return model, trainer.fit(model, phase="only", num_steps=num_steps, methods=methods)


def start_and_batch() -> tuple[nn.Sequential, Tensor, Tensor]:
    """The model before the first step of `fit`, and its only batch (the whole training set)."""
    trainer = Trainer(classes_task(), plain(32), seed=4)
    batch = trainer.train_set.batch(torch.arange(32))
    return trainer.model(), batch["inputs"], batch["targets"]


def forward(model: nn.Sequential, x: Tensor, profile: Sequence[int]) -> Tensor:
    """The sub-network written out by hand."""
    first, second = profile
    x = F.linear(x, model[0].weight[:first], model[0].bias[:first]).relu()
    x = F.linear(x, model[2].weight[:second, :first], model[2].bias[:second]).relu()
    return F.linear(x, model[4].weight[:, :second], model[4].bias)


def assert_one_step(trained: nn.Module, start: nn.Module, loss: Tensor, lr: float = 0.1) -> None:
    """`trained` is `start` after one step of gradient descent on `loss`."""
    for (name, now), before, gradient in zip(
        trained.named_parameters(),
        start.parameters(),
        torch.autograd.grad(loss, list(start.parameters())),
        strict=True,
    ):
        torch.testing.assert_close(now.detach(), before.detach() - lr * gradient, **CLOSE, msg=lambda m, n=name: n + m)


def test_a_step_descends_the_loss_of_the_sampled_profile() -> None:
    trained, _ = fit(ElasticTraining(Chain([(3, 4)]), groups=GROUPS))
    start, x, y = start_and_batch()
    assert_one_step(trained, start, F.cross_entropy(forward(start, x, (3, 4)), y))


def test_the_gradients_of_all_profiles_of_a_draw_are_added() -> None:
    trained, _ = fit(ElasticTraining(Chain([(3, 4), (8, 6), (1, 2)], samples=3), groups=GROUPS))
    start, x, y = start_and_batch()
    loss = sum(F.cross_entropy(forward(start, x, profile), y) for profile in [(3, 4), (8, 6), (1, 2)])
    assert_one_step(trained, start, loss)


def test_one_layer_at_a_time_is_the_default() -> None:
    method = ElasticTraining(groups=GROUPS, quantum=2)
    trained, _ = fit(method)
    assert isinstance(method.sampler, SingleLayer)
    again = SingleLayer().bind(method.sampler.grids, seed=method.sampler.seed)
    (profile,) = again.draw()
    start, x, y = start_and_batch()
    assert_one_step(trained, start, F.cross_entropy(forward(start, x, profile), y))


def test_training_at_the_full_profile_is_plain_training_bit_for_bit() -> None:
    for task, groups in ((classes_task, GROUPS), (normed_task, normed_groups())):
        models = []
        for methods in ([], [ElasticTraining(Chain([groups.full]), groups=groups)]):
            trainer = Trainer(task(), plain(8, momentum=0.9), seed=1)
            models.append(trainer.model())
            trainer.fit(models[-1], phase="only", num_steps=12, methods=methods)
        for name, tensor in models[0].state_dict().items():
            assert torch.equal(tensor, models[1].state_dict()[name]), name


def test_with_a_full_pass_the_centre_learns_labels_and_teaches_the_sampled_profile() -> None:
    trained, _ = fit(ElasticTraining(Chain([(3, 4)]), groups=GROUPS, full_pass=True))
    start, x, y = start_and_batch()
    whole = forward(start, x, (8, 6))
    taught = F.cross_entropy(forward(start, x, (3, 4)), whole.detach().softmax(1))
    assert_one_step(trained, start, F.cross_entropy(whole, y) + taught)


def test_with_a_sandwich_a_full_pass_is_in_place_distillation() -> None:
    method = ElasticTraining(Sandwich(samples=3), groups=GROUPS, full_pass=True, quantum=1)
    trained, _ = fit(method)
    profiles = Sandwich(samples=3).bind(method.sampler.grids, seed=method.sampler.seed).draw()
    start, x, y = start_and_batch()
    whole = forward(start, x, (8, 6))
    others = [p for p in profiles if p != (8, 6)]
    assert others[-1] == (1, 1)
    taught = [F.cross_entropy(forward(start, x, profile), whole.detach().softmax(1)) for profile in others]
    assert_one_step(trained, start, F.cross_entropy(whole, y) + sum(taught))


def test_a_full_pass_that_draws_the_centre_has_no_second_term() -> None:
    trained, _ = fit(ElasticTraining(Chain([(8, 6)]), groups=GROUPS, full_pass=True))
    start, x, y = start_and_batch()
    assert_one_step(trained, start, F.cross_entropy(forward(start, x, (8, 6)), y))


def test_each_profile_of_a_step_runs_the_model_once() -> None:
    calls = []

    class Counts(Method):
        name = "counts"

        def start(self, run: Run) -> None:
            run.model.register_forward_hook(lambda *_: calls.append(run.step) if run.model.training else None)

    fit(ElasticTraining(Sandwich(samples=4), groups=GROUPS, full_pass=True, quantum=1), Counts(), num_steps=5)
    assert all(2 <= calls.count(step) <= 4 for step in range(5))
    assert calls.count(0) + calls.count(1) > 4


def test_soft_targets_are_learned_only_where_there_is_a_label() -> None:
    class Words(SupervisedTask):
        def __init__(self) -> None:
            pass

        def logits(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
            return model(batch["inputs"])

        def labels(self, batch: dict[str, Tensor]) -> Tensor:
            return batch["targets"]

    stream = torch.Generator().manual_seed(0)
    teacher, student = (torch.randn(2, 3, 5, generator=stream) for _ in range(2))
    targets = torch.tensor([[1, -100, 2], [-100, -100, 0]])
    run: Any = type("Held", (), {"task": Words(), "wrapped": nn.Identity()})
    found = distillation_loss(run, {"inputs": student, "targets": targets}, teacher)
    pairs = [(0, 0), (0, 2), (1, 2)]
    terms = [-(teacher[i, j].softmax(0) * student[i, j].log_softmax(0)).sum() for i, j in pairs]
    torch.testing.assert_close(found, torch.stack(terms).mean())


@pytest.mark.parametrize("optimizer", [DECAYING, OptimizerSpec(name="adamw", lr=0.01, weight_decay=0.1)])
def test_units_that_were_off_are_moved_by_decay_and_momentum_unless_they_are_held(optimizer: OptimizerSpec) -> None:
    for update, moves in (("all", True), ("active", False)):
        changed: list[bool] = []
        states: list[dict[str, Tensor]] = []

        class Looks(Method):
            name = "looks"

            def before_forward(self, run: Run) -> None:
                self.before = run.model[0].weight.detach().clone()

            def after_update(self, run: Run) -> None:
                weight = run.model[0].weight
                changed.append(bool((weight[3:] != self.before[3:]).any()))  # noqa: B023
                assert not torch.equal(weight[:3], self.before[:3])
                states.append({k: v[3:].clone() for k, v in run.optimizer.state[weight].items() if v.dim()})  # noqa: B023

        sampler = Chain([(3, 4)])
        fit(ElasticTraining(sampler, groups=GROUPS, update=update), Looks(), num_steps=4, optimizer=optimizer)
        assert changed == [moves] * 4
        if not moves:
            assert not any(tensor.any() for state in states for tensor in state.values())


def test_held_units_keep_the_momentum_that_they_have() -> None:
    seen: list[Tensor] = []

    class Looks(Method):
        name = "looks"

        def after_update(self, run: Run) -> None:
            seen.append(run.optimizer.state[run.model[0].weight]["momentum_buffer"][3:].clone())

    class ThenNarrow(Chain):
        def _profiles(self, count: int) -> tuple[tuple[int, ...], ...]:
            return ((8, 6) if count < 2 else (3, 4),)

    method = ElasticTraining(ThenNarrow([(3, 4)]), groups=GROUPS, update="active")
    fit(method, Looks(), num_steps=5, optimizer=DECAYING)
    assert seen[1].any()
    assert not torch.equal(seen[0], seen[1])
    assert all(torch.equal(seen[1], later) for later in seen[2:])


class Cuts(Method):
    """Narrows an elastic training after given steps, as progressive shrinking does."""

    name = "cuts"

    def __init__(self, elastic: ElasticTraining, at: dict[int, tuple[int, ...]], stop: int | None = None) -> None:
        self.elastic, self.at, self.stop = elastic, at, stop

    def after_update(self, run: Run) -> None:
        if run.step in self.at:
            self.elastic.narrow(run, self.elastic.groups.prefix(self.at[run.step]))
        if run.step == self.stop:
            raise KeyboardInterrupt


@pytest.mark.parametrize("optimizer", [DECAYING, OptimizerSpec(name="adamw", lr=0.01)])
def test_a_cut_takes_weights_and_optimizer_state_along_and_recentres_the_sampler(optimizer: OptimizerSpec) -> None:
    found: list[tuple[nn.Module, dict[str, Tensor]]] = []

    class Looks(Method):
        def __init__(self, name: str) -> None:
            self.name = name

        def after_update(self, run: Run) -> None:
            if run.step == 3:
                state = run.optimizer.state[run.model[2].weight]
                copies = {key: value.clone() for key, value in state.items()}
                found.append((extract(run.model, elastic.groups, elastic.groups.full), copies))

    elastic = ElasticTraining(groups=GROUPS, quantum=1)
    cuts = Cuts(elastic, {3: (5, 2)})
    model, result = fit(elastic, Looks("before"), cuts, Looks("after"), num_steps=12, optimizer=optimizer)
    (before, state_before), (after, state_after) = found
    expected = extract(before, GROUPS, (5, 2))
    x = torch.randn(7, 5)
    torch.testing.assert_close(after(x), expected(x))
    for key, value in state_before.items():
        assert torch.equal(state_after[key], value[:2, :5] if value.dim() else value), key
    assert [tuple(p.shape) for p in model.parameters()] == [(5, 5), (5,), (2, 5), (2,), (3, 2), (3,)]
    assert model[2].out_features == 2
    assert elastic.groups.full == elastic.sampler.centre == (5, 2)
    shares = [point["centre_share"] for point in result.curve]
    whole, left = 5 * 8 + 8 * 6 + 6 * 3, 5 * 5 + 5 * 2 + 2 * 3
    assert [shares[0], shares[-1]] == pytest.approx([1.0, left / whole])
    assert all(0 < point["sampled_share"] <= 1 for point in result.curve)


def resumable(folder: Path, stop: int | None, update: str) -> tuple[nn.Module, dict[str, Any]]:
    with RunDirectory(folder, recipe="", resume=True) as directory:
        settings = TrainSettings(batch_size=8, optimizer=DECAYING, device="cpu", checkpoint_seconds=0)
        trainer = Trainer(normed_task(), settings, seed=5, directory=directory)
        model = trainer.model()
        elastic = ElasticTraining(groups=normed_groups(), quantum=2, full_pass=update == "all", update=update)
        cuts = Cuts(elastic, {6: (8,), 11: (5,)}, stop)
        result = trainer.fit(model, phase="only", num_steps=20, methods=[elastic, cuts])
        return model, {"optimizer": result.optimizer_state, "curve": [p["train_loss"] for p in result.curve]}


@pytest.mark.parametrize("update", ["all", "active"])
@pytest.mark.parametrize("stop", [4, 6, 9, 14])
def test_stopped_and_resumed_is_the_uninterrupted_run_bit_for_bit(tmp_path: Path, stop: int, update: str) -> None:
    whole, made = resumable(tmp_path / "whole", None, update)
    with pytest.raises(KeyboardInterrupt):
        resumable(tmp_path / "stopped", stop, update)
    model, again = resumable(tmp_path / "stopped", None, update)
    assert model.layers[0].weight.shape == (5, 6)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name
    assert again["curve"] == made["curve"]
    for number, state in made["optimizer"]["state"].items():
        assert torch.equal(state["momentum_buffer"], again["optimizer"]["state"][number]["momentum_buffer"])


def test_groups_are_found_from_the_task_and_pins_hold() -> None:
    method = ElasticTraining(quantum={"0": 4}, pins=["2"])
    fit(method, num_steps=3)
    assert method.groups.names == ("0",)
    assert method.sampler.grids == ((4, 8),)
    found = ElasticTraining(Independent(), quantum=2)
    fit(found, num_steps=3)
    assert (found.groups.names, found.groups.full) == (("0", "2"), (8, 6))
    assert found.groups.num_macs(found.groups.full) == 5 * 8 + 8 * 6 + 6 * 3


def test_a_step_in_half_precision_is_near_the_one_in_single_precision() -> None:
    weights = []
    for precision in ("no", "bf16"):
        settings = TrainSettings(batch_size=32, optimizer=OptimizerSpec(lr=0.1), device="cpu", precision=precision)
        trainer = Trainer(classes_task(), settings, seed=4)
        model = trainer.model()
        method = ElasticTraining(Chain([(3, 4), (8, 6)], samples=2), groups=GROUPS, full_pass=True)
        trainer.fit(model, phase="only", num_steps=5, methods=[method])
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    start = torch.cat([p.detach().flatten() for p in start_and_batch()[0].parameters()])
    moved = (weights[0] - start).norm()
    assert 0 < (weights[0] - weights[1]).norm() < 0.1 * moved


def test_distillation_without_class_scores_is_refused_before_a_weight_moves() -> None:
    trainer = Trainer(linear_task(), plain(24), seed=0)
    model = trainer.model()
    before = model.weight.detach().clone()
    groups = WidthGroups((WidthGroup("", 3),), (axis("weight", 1, 3, 0),))
    method = ElasticTraining(Chain([(3,)]), groups=groups, full_pass=True)
    with pytest.raises(InputError, match="`logits` of SupervisedTask are None; train with full_pass=False"):
        trainer.fit(model, phase="only", num_steps=1, methods=[method])
    assert torch.equal(model.weight, before)
    bare: Any = type("Bare", (), {"task": object(), "model": model, "seed": 0})
    with pytest.raises(InputError, match="object has no `logits` and `labels`"):
        method.start(bare)


def test_a_loss_that_calls_the_model_twice_cannot_teach() -> None:
    class Twice(SupervisedTask):
        def loss(self, model: nn.Module, batch: dict[str, Tensor], reduction: str = "mean") -> Tensor:
            return super().loss(model, batch, reduction) + super().loss(model, batch, reduction)

    arrays = (torch.randn(8, 5), torch.zeros(8, dtype=torch.int64))
    task = Twice(partial(perceptron, *SIZES), train=arrays, evaluation=arrays, test=arrays)
    trainer = Trainer(task, plain(8), seed=0)
    method = ElasticTraining(Uniform(), groups=GROUPS, full_pass=True)
    with pytest.raises(InputError, match="the loss of Twice calls the model 2 times"):
        trainer.fit(trainer.model(), phase="only", num_steps=1, methods=[method])


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InputError, match=r"pins \['0'\] are for groups that are found"):
        ElasticTraining(groups=GROUPS, pins=["0"])
    with pytest.raises(InputError, match="update must be 'all' or 'active'; got 'none'"):
        ElasticTraining(update="none")
    with pytest.raises(InputError, match="is for 3 groups; there are 2"):
        fit(ElasticTraining(Chain([(1, 2, 3)]), groups=GROUPS))
    with pytest.raises(InputError, match="quantum must be a positive integer"):
        fit(ElasticTraining(groups=GROUPS, quantum=0))
    with pytest.raises(InputError, match="min_ratio is the fraction"):
        fit(ElasticTraining(groups=GROUPS, min_ratio=2))
    with pytest.raises(InputError, match="of another model"):
        fit(ElasticTraining(groups=perceptron_groups(5, 7, 6, 3)))
    with pytest.raises(InputError, match="without a task there are no example inputs"):
        ElasticTraining(Independent()).start(type("Bare", (), {"task": None, "model": None, "seed": 0}))  # type: ignore[arg-type]
