"""Continuous sparsification: the trajectory of the reparametrised network, its ends, and resuming."""

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from paretorch.methods.cost_model import layer_shapes
from paretorch.methods.method import Method, Run
from paretorch.methods.sparsity.continuous.method import CARD, ContinuousSparsification
from paretorch.training.run import RunDirectory
from tests.methods.sparsity.continuous.soft_problem import (
    Oracle,
    Watch,
    fit_whatever_is_undecided,
    method,
    whatever_is_undecided,
)
from tests.methods.sparsity.gradual.problems import NUM_WEIGHTS, Small, assert_resumes, trained
from tests.methods.sparsity.gradual.reparametrised import (
    OPTIMIZERS,
    STEPS,
    WEIGHTS,
    Started,
    examples,
    fit,
    largest_difference,
    network,
)
from tests.methods.sparsity.gradual.test_substitution_costs import INPUT, Moved, mlp

ENTRIES = sum(network().get_parameter(name).numel() for name in WEIGHTS)


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("changes", [{}, {"scaled": False}, {"strength": 0.0}, {"penalty": 0.0}, {"final_beta": 1.0}])
def test_every_step_is_that_of_the_reparametrised_network(kind: str, changes: dict[str, Any]) -> None:
    own = method(ending="threshold", **changes)
    watch = Watch(own)
    fit_whatever_is_undecided(own, watch, kind=kind)
    states = Oracle(kind=kind, **changes).train()
    assert largest_difference(watch.seen, states) < 1e-12
    assert largest_difference(states[:1], states[-1:]) > 0.01, "something moved"


def test_clipping_reaches_the_weights_and_not_the_masks() -> None:
    watch = Watch(method())
    fit_whatever_is_undecided(watch.watched, watch, clip_norm=0.2)
    states = Oracle().train(clip=0.2)
    assert largest_difference(watch.seen, states) < 1e-12


def test_micro_batches_add_up_to_the_step_of_the_whole_batch() -> None:
    watch = Watch(method())
    fit_whatever_is_undecided(watch.watched, watch, accumulate=2)
    assert largest_difference(watch.seen, Oracle().train()) < 1e-12


def test_the_first_forward_pass_with_c_is_that_of_the_plain_network() -> None:
    scaled, unscaled = Watch(method()), Watch(method(scaled=False))
    for watch in (scaled, unscaled):
        fit_whatever_is_undecided(watch.watched, watch, num_steps=2)
    gate = float(torch.sigmoid(torch.tensor(-0.3, dtype=torch.float64)))
    for name, plain in network().named_parameters():
        if name in WEIGHTS:
            torch.testing.assert_close(scaled.forward[0][name], plain.detach(), rtol=4e-16, atol=0)
            torch.testing.assert_close(unscaled.forward[0][name], plain.detach() * gate, rtol=4e-16, atol=0)
        else:
            assert torch.equal(scaled.forward[0][name], plain.detach())


def test_c_is_taken_by_itself_only_where_batch_normalisation_undoes_it() -> None:
    for model, expected in ((Small(), 1 + math.exp(0.1)), (network(), 1.0)):
        own = ContinuousSparsification(sparsity=0.5)
        own.start(Started(OPTIMIZERS["sgd"], model))
        assert own.scale == expected


def test_masks_have_an_optimizer_of_their_own_without_decay_and_no_bias_or_norm_has_a_mask() -> None:
    run, own = Started(OPTIMIZERS["sgd"], Small()), ContinuousSparsification(sparsity=0.5)
    own.start(run)
    (group,) = run.optimizers["masks"].param_groups
    assert [id(s) for s in group["params"]] == [id(s) for s in own.logits.values()]
    assert (group["weight_decay"], group["momentum"], group["nesterov"]) == (0, 0.9, True)
    main = {id(p) for one in run.optimizer.param_groups for p in one["params"]}
    assert main == {id(p) for p in run.model.parameters()}
    assert set(own.logits) == {"hidden.weight", "output.weight"}
    assert set(run.model.state_dict()) == set(Small().state_dict()), "the model has no other tensors"


def test_the_end_is_c_w_under_the_largest_logits_exactly() -> None:
    watch = Watch(method())
    model, _ = fit_whatever_is_undecided(watch.watched, watch)
    last, c = watch.seen[-1], 1 + math.exp(0.3)
    every = torch.cat([last[f"s {name}"].flatten() for name in WEIGHTS])
    kept = torch.zeros(ENTRIES, dtype=torch.bool)
    kept[every.argsort(stable=True)[round(0.7 * ENTRIES) :]] = True
    parts = kept.split([last[name].numel() for name in WEIGHTS])
    for name, mask in zip(WEIGHTS, parts, strict=True):
        expected = torch.where(mask.view_as(last[name]), c * last[name], 0.0)
        assert torch.equal(model.get_parameter(name).detach(), expected)
        assert not torch.signbit(model.get_parameter(name)[~mask.view_as(last[name])]).any()
    assert watch.watched.masks.num_pruned == round(0.7 * ENTRIES)
    assert watch.watched.exact


def test_the_threshold_leaves_what_is_above_0_and_says_that_it_is_not_exact() -> None:
    watch = Watch(method(ending="threshold"))
    model, _ = fit_whatever_is_undecided(watch.watched, watch)
    for name in WEIGHTS:
        assert torch.equal(model.get_parameter(name).detach() != 0, watch.seen[-1][f"s {name}"] > 0)
    assert not watch.watched.exact


@pytest.mark.parametrize("size", [30.0, 60.0])
def test_where_gates_are_decided_soft_and_hard_masks_give_the_same_outputs(size: float) -> None:
    stream = torch.Generator().manual_seed(3)
    run, own = Started(OPTIMIZERS["sgd"]), method(ending="threshold", final_beta=100.0, scaled=False)
    run.step = STEPS - 1
    own.start(run)
    with torch.no_grad():
        for s in own.logits.values():
            s.copy_(torch.where(torch.rand(s.shape, generator=stream) < 0.5, size / 100, -size / 100))
    inputs, _ = examples()
    own.before_forward(run)
    soft = run.model(inputs).detach()
    own.state_dict()  # puts w back
    own.finish(run)
    torch.testing.assert_close(run.model(inputs).detach(), soft, rtol=1e-6, atol=0)


def test_a_gate_at_beta_is_the_gate_of_beta_s_at_1() -> None:
    stream = torch.Generator().manual_seed(3)
    values = {name: torch.randn(w.shape, generator=stream, dtype=w.dtype) for name, w in network().named_parameters()}
    outputs = []
    for beta, factor in ((7.0, 1.0), (1.0, 7.0)):
        run, own = Started(OPTIMIZERS["sgd"]), method(final_beta=beta)
        run.step = STEPS - 1
        own.start(run)
        with torch.no_grad():
            for name, s in own.logits.items():
                s.copy_(factor * values[name])
        own.before_forward(run)
        outputs.append(run.model(examples()[0]).detach())
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-14, atol=1e-15)


def test_density_grows_with_the_start_and_falls_with_the_penalty() -> None:
    def density(*, initial: float = 0.0, penalty: float = 0.0) -> float:
        own = ContinuousSparsification(sparsity=0.0, strength=0.0, initial=initial, penalty=penalty, ending="threshold")
        with whatever_is_undecided():
            trained(own, steps=96, evaluate_epochs=1000)
        return own.logits.open_fraction()

    by_start = [density(initial=initial) for initial in (-0.2, 0.0, 0.2)]
    assert by_start == sorted(by_start)
    assert by_start[0] < 0.5 < 0.9 < by_start[-1]
    by_penalty = [density(initial=0.02, penalty=penalty) for penalty in (0.0, 0.1, 1.0)]
    assert by_penalty == sorted(by_penalty, reverse=True)
    assert by_penalty[-1] < by_penalty[0] - 0.1


@pytest.mark.parametrize("initial", [-0.2, 0.2])
def test_the_pull_brings_the_fraction_above_0_towards_the_target_from_both_sides(initial: float) -> None:
    missed = []
    for strength in (10.0, 0.0):
        own = ContinuousSparsification(sparsity=0.5, initial=initial, strength=strength)
        with whatever_is_undecided():
            trained(own, steps=120, evaluate_epochs=1000)
        missed.append(abs(own.logits.open_fraction() - 0.5))
        assert own.masks.num_pruned == round(0.5 * NUM_WEIGHTS)
    assert missed[0] < 0.5 * missed[1]


@pytest.mark.parametrize(
    ("opened", "sparsity", "gap"), [(0, 0.9, -1.0), (30, 0.9, 1.0), (20, 0.5, 0.0), (26, 0.3, -0.05 / 0.3)]
)
def test_an_undecided_logit_is_pulled_by_strength_over_the_steps_and_a_decided_one_is_left(
    opened: int, sparsity: float, gap: float
) -> None:
    """From below, from above, and where the count is right; 40 weights, of which `opened` are open."""
    model = nn.Linear(8, 5).double()
    run, own = Started(OPTIMIZERS["sgd"], model), method(sparsity=sparsity, penalty=0.0, strength=3.0, final_beta=50.0)
    run.step = STEPS - 1
    own.start(run)
    s = own.logits["weight"]
    with torch.no_grad():
        s.view(-1)[:opened], s.view(-1)[opened:] = 2.0, -2.0
        s[-1, -1] = -1e-12
    own.before_forward(run)
    model.weight.grad = torch.zeros_like(model.weight)  # the loss is at rest
    own.before_update(run)
    assert s.grad is not None
    assert float(s.grad[-1, -1]) == pytest.approx(gap * 3.0 / STEPS)
    assert float(s.grad.view(-1)[:-1].abs().max()) < 1e-30


def test_where_nothing_is_to_be_pruned_and_all_is_open_there_is_no_pull() -> None:
    run, own = Started(OPTIMIZERS["sgd"]), method(sparsity=0.0, penalty=0.0, initial=0.5)
    own.start(run)
    own.before_forward(run)
    for weight in run.model.parameters():
        weight.grad = torch.zeros_like(weight)
    own.before_update(run)
    assert not any(s.grad.any() for s in own.logits.values() if s.grad is not None)


def test_validation_in_mid_phase_sees_hard_masks_and_leaves_the_weights() -> None:
    own = method()
    watch = Watch(own)
    zeros: dict[int, int] = {}

    class Validated(Method):
        name = "validated"

        def start(self, run: Run) -> None:
            def look(module: nn.Module, _inputs: object) -> None:
                if not module.training:
                    zeros[run.step] = sum(int((module.get_parameter(name) == 0).sum()) for name in WEIGHTS)

            self.handle = run.model.register_forward_pre_hook(look)

        def finish(self, run: Run) -> None:
            self.handle.remove()

    fit_whatever_is_undecided(own, watch, Validated())
    assert zeros == dict.fromkeys(range(1, STEPS), round(0.7 * ENTRIES))
    alone = Watch(method())
    fit_whatever_is_undecided(alone.watched, alone, evaluate_epochs=1000)
    assert largest_difference(watch.seen, alone.seen) == 0.0


def test_the_curve_holds_sparsity_by_sign_and_undecided_gates() -> None:
    watch = Watch(method())
    _, result = fit_whatever_is_undecided(watch.watched, watch)
    point = result.curve[-1]
    last = torch.cat([watch.seen[-1][f"s {name}"].flatten() for name in WEIGHTS])
    assert point["sparsity"] == pytest.approx(float((last <= 0).double().mean()))
    assert point["undecided"] == pytest.approx(float((60 * last.abs() < 4).double().mean()))
    assert watch.watched.details() == {
        "open": pytest.approx(1 - point["sparsity"]), "undecided": point["undecided"], "scale": watch.watched.scale,
    }  # fmt: skip


@pytest.mark.parametrize("fatal_step", [1, 25])
def test_killed_and_resumed_is_bitwise_the_uninterrupted_run(fatal_step: int, tmp_path: Path) -> None:
    assert_resumes(lambda: ContinuousSparsification(sparsity=0.8), tmp_path, steps=60, fatal_step=fatal_step)


def test_a_checkpoint_holds_w_and_s_and_the_momentum_of_both(tmp_path: Path) -> None:
    own = method()
    watch = Watch(own, stop_at=9)
    with RunDirectory(tmp_path, recipe="") as directory, pytest.raises(RuntimeError, match="killed"):
        fit(own, watch, directory=directory, checkpoint_seconds=0)
    with RunDirectory(tmp_path, recipe="", resume=True) as directory:
        state = directory.load("current")["state"]
    for name in WEIGHTS:
        assert torch.equal(state["model"][name], watch.seen[-1][name])
        assert torch.equal(state["methods"][own.name]["logits"][name], watch.seen[-1][f"s {name}"])
    buffers = [one["momentum_buffer"] for one in state["optimizers"]["masks"]["state"].values()]
    assert [b.shape for b in buffers] == [network().get_parameter(name).shape for name in WEIGHTS]
    assert all(bool(b.any()) for b in buffers)


def test_model_and_optimizers_are_left_plain() -> None:
    left: list[list[str]] = []

    class Look(Method):
        name = "look"

        def finish(self, run: Run) -> None:
            left.append(list(run.optimizers))

    model, result = fit_whatever_is_undecided(method(), Look())
    assert list(model.state_dict()) == list(network().state_dict())
    assert left == [["main"]]
    assert len(result.optimizer_state["state"]) == len(list(model.parameters()))


def test_a_step_that_a_loss_scaler_skips_leaves_weights_and_masks() -> None:
    run, own = Started(OPTIMIZERS["sgd"]), method()
    own.start(run)
    watch, (inputs, targets) = Watch(own), examples()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    for attempt in range(4):
        own.before_forward(run)
        loss = scaler.scale(nn.functional.cross_entropy(run.model(inputs), targets))
        (loss * torch.inf if attempt == 2 else loss).backward()
        scaler.unscale_(run.optimizer)
        own.before_update(run)
        scaler.step(run.optimizer)
        scaler.update()
        own.after_update(run)
        run.optimizer.zero_grad()
        run.step += attempt != 2
        watch.after_update(run)
    assert largest_difference(watch.seen[2:3], watch.seen[1:2]) == 0.0
    assert largest_difference(watch.seen[3:], watch.seen[2:3]) > 0.0
    assert all(value.isfinite().all() for value in watch.seen[3].values())


def test_a_layer_that_the_loss_does_not_reach_is_moved_by_the_pull_alone() -> None:
    run, own = Started(OPTIMIZERS["sgd"]), method(penalty=0.0, scaled=False)
    own.start(run)
    own.before_forward(run)
    run.model[0](torch.ones(1, 2, 6, 6, dtype=torch.float64)).sum().backward()
    own.before_update(run)
    gate = float(torch.sigmoid(torch.tensor(-0.3, dtype=torch.float64)))
    expected = -4 * 2.0 / STEPS * gate * (1 - gate)  # upwards, since nothing is open yet; beta is 1
    for name in ("3.weight", "5.weight"):
        gradient = own.logits[name].grad
        torch.testing.assert_close(gradient, torch.full_like(gradient, expected), rtol=1e-12, atol=0)
    assert own.logits["0.weight"].grad.std() > 0
    own.after_update(run)
    assert all(s.grad is None for s in own.logits.values()), "nothing of this step is left for one that comes later"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_logits_of_a_narrow_model_are_learned_in_float32(dtype: torch.dtype) -> None:
    run, own = Started(OPTIMIZERS["sgd"], nn.Linear(8, 5).to(dtype)), method(strength=0.0)
    own.start(run)
    weight, s = run.model.weight, own.logits["weight"]
    w, gradient = weight.detach().clone(), torch.linspace(-0.3, 0.4, 40).view(5, 8).to(dtype)
    own.before_forward(run)
    weight.grad = gradient.clone()
    own.before_update(run)
    gate = torch.sigmoid(torch.full_like(w, -0.3, dtype=torch.float32))
    slope = (1 + math.exp(0.3)) * gate * (1 - gate)
    torch.testing.assert_close(s.grad, (gradient.float() * w.float() + 0.4 / 40) * slope, rtol=1e-5, atol=1e-8)
    assert torch.equal(weight.detach(), w)
    own.after_update(run)
    assert s.dtype == torch.float32
    assert (s + 0.3).abs().max() > 0


@pytest.mark.parametrize("scales", [(0.5, 1.0), (0.0, 1.0), (0.0, 0.0)])
def test_the_rate_of_the_masks_follows_the_course_and_not_the_scale_of_a_group(scales: tuple[float, float]) -> None:
    model = network()
    first, *others = model.parameters()
    groups = [{"params": [first], "lr_scale": scales[0]}, {"params": others, "lr_scale": scales[1]}]
    run, own = Started(lambda _params: torch.optim.SGD(groups, lr=0.1), model), method()
    own.start(run)
    for group in run.optimizer.param_groups:
        group["lr"] = 0.1 * 0.25 * group["lr_scale"]  # as our trainer sets it, at a quarter of the peak
    own.before_forward(run)
    nn.functional.cross_entropy(model(examples()[0]), examples()[1]).backward()
    own.before_update(run)
    own.after_update(run)
    wanted = 0.3 * 0.25 if any(scales) else 0.0
    assert run.optimizers["masks"].param_groups[0]["lr"] == pytest.approx(wanted)


def test_gates_that_are_undecided_in_the_end_are_warned_of() -> None:
    with pytest.warns(UserWarning, match=r"100 % of the mask logits ended with \|final_beta s\| < 4"):
        fit(method(final_beta=1.0, strength=0.0))


def test_operations_bytes_and_memory_of_a_step_are_those_predicted() -> None:
    model, own = mlp(), ContinuousSparsification(sparsity=0.5)
    run = Started(partial(torch.optim.SGD, lr=0.1), model)
    own.start(run)
    for run.step in (0, 1):  # the second step finds copies and momentum
        model(INPUT).square().sum().backward()
        with Moved(model) as moved:
            own.before_forward(run)
            own.before_update(run)
            own.after_update(run)
    effects = CARD.effects(layer_shapes(mlp(), INPUT), sparsity=0.5)
    assert (moved.launches, moved.bytes) == (effects["launches"].added, effects["bytes_moved"].added)
    momentum = [state["momentum_buffer"] for state in run.optimizers["masks"].state.values()]
    held: list[Tensor] = [*own._held.values(), *own.logits.values(), *own._gates.values(), *momentum]
    assert sum(t.nbytes for t in held) == effects["param_bytes"].added
