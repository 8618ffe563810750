"""Training through f(w): the trajectory of the reparametrised network, resuming, evaluation, and what is refused."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from paretorch.errors import InputError, NotFiniteError
from paretorch.integrations.host import HostRun
from paretorch.methods.method import Method, Run
from paretorch.methods.sparsity.gradual.dnw import DNW
from paretorch.training.run import RunDirectory
from paretorch.training.trainer import Trainer
from tests.methods.sparsity.gradual.reparametrised import (
    METHODS,
    OPTIMIZERS,
    STEPS,
    WEIGHTS,
    Oracle,
    Seen,
    Started,
    Watch,
    examples,
    fit,
    largest_difference,
    network,
    task,
)
from tests.training.problems import normed_task, plain

CASES = [
    pytest.param(name, kind, clip, accumulate, marks=() if (clip is None) == (accumulate == 2) else pytest.mark.slow)
    for name in METHODS
    for kind in OPTIMIZERS
    for clip in (None, 0.3)
    for accumulate in (1, 2)
]


@pytest.mark.parametrize(("name", "kind", "clip", "accumulate"), CASES)
def test_every_step_is_that_of_the_reparametrised_network(name: str, kind: str, clip: float | None, accumulate: int):
    method = METHODS[name]()
    watch = Watch(method)
    fit(method, watch, kind=kind, clip_norm=clip, accumulate=accumulate)
    states = Oracle(name).train(kind, clip=clip)
    assert largest_difference(watch.seen, states) < 1e-12
    assert largest_difference(states[:1], states[-1:]) > 0.01, "something moved"


@pytest.mark.parametrize("name", METHODS)
def test_the_oracle_tells_a_gradient_that_is_not_clipped_with_the_others(name: str):
    """What the comparison above can see: without clipping in one of the two, they part."""
    method = METHODS[name]()
    watch = Watch(method)
    fit(method, watch, num_steps=20)
    assert largest_difference(watch.seen, Oracle(name).train("sgd", clip=0.3, num_steps=20)) > 1e-3


class Validated(Method):
    """The weights that every evaluation in mid-phase sees, by the number of finished steps."""

    name = "validated"

    def __init__(self) -> None:
        self.weights: dict[int, dict[str, Tensor]] = {}
        self.run: Run | None = None

    def start(self, run: Run) -> None:
        def look(module: nn.Module, _inputs: object) -> None:
            if not module.training:
                seen = {name: module.get_parameter(name).detach().clone() for name in WEIGHTS}
                self.weights[run.step] = seen

        self.handle = run.model.register_forward_pre_hook(look)

    def finish(self, run: Run) -> None:
        self.handle.remove()


@pytest.mark.parametrize("name", METHODS)
def test_an_evaluation_in_mid_phase_sees_what_the_next_forward_pass_sees_and_leaves_the_weights(name: str):
    seen, validated = Seen(METHODS[name]()), Validated()
    fit(seen.method, seen, validated)
    assert sorted(validated.weights) == list(range(1, STEPS))
    for step, weights in validated.weights.items():
        assert all(torch.equal(weights[key], seen.weights[step][key]) for key in WEIGHTS)
    alone = Seen(METHODS[name]())
    fit(alone.method, alone, evaluate_epochs=1000)
    assert all(torch.equal(a[key], b[key]) for a, b in zip(seen.dense, alone.dense, strict=True) for key in WEIGHTS)


@pytest.mark.parametrize("name", METHODS)
def test_the_curve_says_what_share_of_the_weights_is_zero_in_the_forward_pass(name: str):
    seen = Seen(METHODS[name]())
    _, result = fit(seen.method, seen)
    total = sum(seen.dense[0][key].numel() for key in WEIGHTS)
    for point in result.curve[:-1]:
        zeros = sum(int((seen.weights[point["step"]][key] == 0).sum()) for key in WEIGHTS)
        assert point["sparsity"] == zeros / total


def normed(
    name: str, folder: Path | None, *, stop_at: int | None = None, precision: str = "no"
) -> tuple[dict[str, Tensor], Watch]:
    """A network with batch normalisation and dropout, trained in float32; stopped before a step, if wanted."""
    method = METHODS[name]()
    watch = Watch(method, stop_at=stop_at)
    directory = None if folder is None else RunDirectory(folder, recipe="", resume=True)
    try:
        settings = plain(16, momentum=0.9, clip_norm=1.0, accumulate=2, checkpoint_seconds=0, precision=precision)
        trainer = Trainer(normed_task(), settings, seed=1, directory=directory)
        model = trainer.model()
        trainer.fit(model, phase="train", num_steps=STEPS, methods=[method, watch], schedule=lambda step: 0.1)
        return model.state_dict(), watch
    finally:
        if directory is not None:
            directory.close()


@pytest.mark.parametrize("stop_at", [1, 15, 22])
@pytest.mark.parametrize("name", METHODS)
def test_killed_and_resumed_is_bitwise_the_uninterrupted_run(name: str, stop_at: int, tmp_path: Path):
    expected, whole = normed(name, None)
    with pytest.raises(RuntimeError, match="killed"):
        normed(name, tmp_path, stop_at=stop_at)
    with RunDirectory(tmp_path, recipe="", resume=True) as directory:
        saved = directory.load("current")["state"]
    dense = {key: value for key, value in whole.seen[stop_at - 1].items() if not key.startswith("threshold")}
    assert all(torch.equal(saved["model"][key], value) for key, value in dense.items()), "a checkpoint holds w"
    resumed, rest = normed(name, tmp_path)
    assert len(rest.seen) == STEPS - stop_at
    assert all(torch.equal(expected[key], resumed[key]) for key in expected)
    for ours, theirs in zip(rest.seen, whole.seen[stop_at:], strict=True):
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


@pytest.mark.parametrize("name", METHODS)
def test_mixed_precision_moves_weights_and_thresholds_in_full_precision_nearly_alike(name: str):
    (_, full), (_, mixed) = normed(name, None), normed(name, None, precision="bf16")
    assert {value.dtype for value in mixed.seen[5].values()} == {torch.float32}
    assert 0 < largest_difference(mixed.seen[:6], full.seen[:6]) < 0.05
    assert largest_difference(full.seen[:1], full.seen[5:6]) > 0.1, "the weights moved by more than they differ"


@pytest.mark.parametrize("name", METHODS)
def test_a_finished_phase_is_finished_again_to_the_same_model(name: str, tmp_path: Path):
    first, _ = normed(name, tmp_path)
    again, watch = normed(name, tmp_path)
    assert watch.seen == []
    assert all(torch.equal(first[key], again[key]) for key in first)


class Explodes(Method):
    """A penalty that is infinite in one step."""

    name = "explodes"

    def penalty(self, run: Run) -> Tensor | None:
        return torch.tensor(torch.inf, dtype=torch.float64) if run.step == 7 else None


@pytest.mark.parametrize("name", METHODS)
def test_the_checkpoint_of_a_loss_that_is_not_finite_holds_the_dense_weights_too(name: str, tmp_path: Path):
    seen = Watch(METHODS[name]())
    with (
        RunDirectory(tmp_path, recipe="") as directory,
        pytest.raises(NotFiniteError, match=r"penalty of 'explodes' = inf at step 7"),
    ):
        fit(seen.watched, seen, Explodes(), directory=directory, checkpoint_seconds=1000)
    with RunDirectory(tmp_path, recipe="", resume=True) as directory:
        saved = directory.load("current")
    assert saved["progress"]["step"] == 7
    for key in WEIGHTS:
        assert torch.equal(saved["state"]["model"][key], seen.seen[-1][key])


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("name", METHODS)
def test_model_and_optimizer_are_left_plain_and_a_next_phase_goes_on_with_them(name: str, kind: str):
    method = METHODS[name]()
    model, result = fit(method, kind=kind, num_steps=20)
    assert list(model.state_dict()) == list(network().state_dict())
    assert [type(module) for module in model.modules()] == [type(module) for module in network().modules()]
    assert len(result.optimizer_state["param_groups"]) == 1
    assert len(result.optimizer_state["state"]) == len(list(model.parameters()))
    method.masks.check(model)
    zeros = {key: model.get_parameter(key) == 0 for key in WEIGHTS}
    assert all(torch.equal(~method.masks[key], zeros[key]) for key in WEIGHTS)
    trainer = Trainer(task(), plain(16))
    if kind == "sgd":
        trainer.fit(model, phase="next", num_steps=2, optimizer_state=result.optimizer_state)


@pytest.mark.parametrize("name", METHODS)
def test_the_final_model_is_what_an_evaluation_after_the_last_step_would_see(name: str):
    model, _ = fit(METHODS[name]())
    oracle = Oracle(name)
    oracle.train("sgd", clip=None)
    if name in ("dpf", "dnw"):
        oracle.renew(STEPS)
    inputs, _ = examples()
    expected = functional_call(oracle.model, oracle.seen(), (inputs,))
    torch.testing.assert_close(model(inputs), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", METHODS)
def test_loops_outside_this_package_refuse_by_name(name: str):
    model = network()
    with pytest.raises(InputError, match=rf"'{name}' needs evaluation_weights, which .* does not offer"):
        HostRun(model, OPTIMIZERS["sgd"](model.parameters()), methods=[METHODS[name]()], num_steps=STEPS)


@pytest.mark.parametrize("name", METHODS)
def test_two_updates_in_one_step_are_refused(name: str):
    run, method = Started(OPTIMIZERS["sgd"]), METHODS[name]()
    method.start(run)
    method.before_forward(run)
    run.model(examples()[0]).sum().backward()
    method.before_update(run)
    with pytest.raises(InputError, match=rf"'{name}' .* this step updates twice"):
        method.before_update(run)


@pytest.mark.parametrize("name", METHODS)
def test_a_parameter_that_another_method_replaced_is_refused(name: str):
    run, method = Started(OPTIMIZERS["sgd"]), METHODS[name]()
    method.start(run)
    run.replace_parameters({"3.weight": nn.Parameter(torch.zeros(8, 64, dtype=torch.float64))})
    with pytest.raises(InputError, match=r"replaced the parameter '3.weight'"):
        method.before_forward(run)


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("name", METHODS)
def test_a_step_that_a_loss_scaler_skips_leaves_weights_and_thresholds(name: str, kind: str):
    """As half precision has it: gradients that overflowed are unscaled before the methods see them."""
    run, method = Started(OPTIMIZERS[kind]), METHODS[name]()
    method.start(run)
    inputs, targets = examples()
    scaler, watch = torch.amp.GradScaler("cpu", init_scale=2.0**10), Watch(method)
    for attempt in range(4):
        method.before_forward(run)
        loss = scaler.scale(nn.functional.cross_entropy(run.model(inputs), targets))
        (loss * torch.inf if attempt == 2 else loss).backward()
        scaler.unscale_(run.optimizer)
        method.before_update(run)
        scaler.step(run.optimizer)
        scaler.update()
        run.optimizer.zero_grad()
        run.step += attempt != 2
        watch.after_update(run)
    assert largest_difference(watch.seen[2:3], watch.seen[1:2]) == 0.0
    assert largest_difference(watch.seen[3:], watch.seen[2:3]) > 0.0
    assert all(value.isfinite().all() for value in watch.seen[3].values())


def test_frozen_weights_and_excluded_ones_are_treated_as_the_names_say():
    model = network()
    model[3].weight.requires_grad_(False)
    run = Started(lambda parameters: torch.optim.SGD([p for p in parameters if p.requires_grad], lr=0.1), model)
    method = DNW(sparsity=0.5, exclude="0")
    method.start(run)
    before = {key: model.get_parameter(key).detach().clone() for key in WEIGHTS}
    method.before_forward(run)
    assert torch.equal(model[0].weight, before["0.weight"])
    assert int((model[3].weight == 0).sum() + (model[5].weight == 0).sum()) == (8 * 64 + 3 * 8) // 2
    model(torch.ones(1, 2, 6, 6, dtype=torch.float64)).sum().backward()
    method.before_update(run)
    assert all(torch.equal(model.get_parameter(key), before[key]) for key in WEIGHTS)
