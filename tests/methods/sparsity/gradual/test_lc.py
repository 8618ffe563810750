"""Learning-compression against SGD and AdamW written out by hand, with decay on all entries but the Q largest."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer, RMSprop

from paretorch.errors import InputError, RunError
from paretorch.integrations.host import HostRun
from paretorch.methods.sparsity.gradual.lc import LC
from paretorch.training.settings import OptimizerSpec
from tests.methods.sparsity.gradual.loops import (
    ADAMW,
    DECAY,
    LR,
    NESTEROV,
    Arrays,
    Nesterov,
    assert_close,
    gradients,
    loss,
    network,
    started,
    top,
    weights,
)
from tests.methods.sparsity.gradual.problems import NUM_WEIGHTS, assert_resumes, trained

WEIGHTS = 6 * 9 + 9 * 4 + 4 * 3


def decays(values: Arrays, count: int, decay: float) -> Arrays:
    """The decay of every entry: none for the `count` largest of all, by one sort of everything."""
    return {name: np.where(kept, 0.0, decay) for name, kept in top(values, count).items()}


@pytest.mark.parametrize("clip_norm", [None, 0.05])
def test_with_nesterov_momentum_the_run_is_the_one_written_out_by_hand(clip_norm: float | None) -> None:
    """Clipping is by the norm of the loss's gradient; the decay comes after it, as in torch."""
    run = started(LC(sparsity=0.6), clip_norm=clip_norm)
    oracle = Nesterov(weights(run.model))
    for _ in range(15):
        gradient = gradients(run)
        if clip_norm is not None:
            norm = np.sqrt(sum(np.square(value).sum() for value in gradient.values()))
            gradient = {name: value * min(1.0, clip_norm / (norm + 1e-6)) for name, value in gradient.items()}
        decay = decays(oracle.weights, WEIGHTS - round(0.6 * WEIGHTS), DECAY)
        run.update()
        oracle.step(gradient, decay)
        assert_close(run.model, oracle.weights)
        assert run.optimizer.param_groups[0]["weight_decay"] == DECAY


def test_with_adamw_the_run_is_the_one_written_out_by_hand() -> None:
    run = started(LC(sparsity=0.6), spec=ADAMW)
    values = weights(run.model)
    first, second = ({name: np.zeros_like(value) for name, value in values.items()} for _ in range(2))
    for t in range(1, 12):
        gradient = gradients(run)
        decay = decays(values, WEIGHTS - round(0.6 * WEIGHTS), ADAMW.weight_decay)
        run.update()
        for name, g in gradient.items():
            first[name] = 0.9 * first[name] + 0.1 * g
            second[name] = 0.999 * second[name] + 0.001 * g * g
            step = first[name] / (1 - 0.9**t) / (np.sqrt(second[name] / (1 - 0.999**t)) + 1e-8)
            values[name] = values[name] * (1 - ADAMW.lr * decay[name]) - ADAMW.lr * step
        assert_close(run.model, values)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_every_entry_is_bitwise_that_of_torch_with_the_decay_or_without_it(name: str) -> None:
    spec = OptimizerSpec(name=name, lr=0.05, momentum=0.9, weight_decay=0.03)
    run = started(LC(sparsity=0.5), spec=spec)
    largest = top(weights(run.model), WEIGHTS - round(0.5 * WEIGHTS))
    after = {}
    for decay in (0.0, 0.03):
        plain = network()
        optimizer = OptimizerSpec(name=name, lr=0.05, momentum=0.9, weight_decay=decay)(plain.parameters())
        loss(plain, 0).backward()
        optimizer.step()
        after[decay] = weights(plain)
    gradients(run)
    run.update()
    for key, value in weights(run.model).items():
        np.testing.assert_array_equal(value, np.where(largest[key], after[0.0][key], after[0.03][key]))
    assert (after[0.0]["0.weight"] != after[0.03]["0.weight"]).all()


def test_each_parameter_group_has_its_own_decay() -> None:
    model = network()
    norms = list(model[1].parameters())
    others = [p for p in model.parameters() if all(p is not norm for norm in norms)]
    optimizer = SGD([{"params": norms, "weight_decay": 0.0}, {"params": others, "weight_decay": 0.5}], lr=LR)
    run = HostRun(model, optimizer, methods=[LC(sparsity=0.9)], num_steps=3)
    run.start()
    before, gradient = weights(model), gradients(run)
    kept = top(before, WEIGHTS - round(0.9 * WEIGHTS))
    run.update()
    for name, after in weights(model).items():
        decay = np.where(kept[name], 0.0, 0.0 if name.startswith("1.") else 0.5)
        np.testing.assert_allclose(after, before[name] - LR * (gradient[name] + decay * before[name]), rtol=1e-12)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.0, 0.5]


@pytest.mark.parametrize("spec", [NESTEROV, ADAMW], ids=["nesterov", "adamw"])
def test_the_end_leaves_exactly_the_target_and_the_optimizer_without_our_hooks(spec: OptimizerSpec) -> None:
    method, held = LC(sparsity=0.7), []

    def optimizer(parameters: object) -> Optimizer:
        held.append(spec(parameters))
        return held[-1]

    model = trained(method, steps=30, optimizer=optimizer)
    assert method.masks.num_pruned == round(0.7 * NUM_WEIGHTS)
    assert method.zeros(model) == method.masks
    assert held[0].param_groups[0]["weight_decay"] == spec.weight_decay
    assert not held[0]._optimizer_step_pre_hooks
    assert not held[0]._optimizer_step_post_hooks


@pytest.mark.parametrize("optimizer", [NESTEROV, ADAMW], ids=["nesterov", "adamw"])
def test_a_killed_run_goes_on_bitwise(optimizer: object, tmp_path: Path) -> None:
    given = {"optimizer": optimizer, "clip_norm": 0.5, "accumulate": 2}
    assert_resumes(lambda: LC(sparsity=0.8), tmp_path / "run", steps=20, fatal_step=9, **given)


def test_a_loop_that_breaks_off_gets_its_optimizer_back() -> None:
    model = network()
    optimizer = NESTEROV(model.parameters())

    def broken() -> None:
        with HostRun(model, optimizer, methods=[LC(sparsity=0.5)], num_steps=3) as run:
            gradients(run)
            run.update()
            raise KeyError

    with pytest.raises(KeyError):
        broken()
    assert not optimizer._optimizer_step_pre_hooks
    assert optimizer.param_groups[0]["weight_decay"] == DECAY


def test_a_loop_that_clips_before_the_update_gives_the_same_weights() -> None:
    late = started(LC(sparsity=0.6), clip_norm=0.05)
    model = network()
    early = HostRun(
        model, NESTEROV(model.parameters()), methods=[LC(sparsity=0.6)], num_steps=20, clips_before_update=True
    )
    early.start()
    for _ in range(5):
        gradients(late)
        late.update()
        gradients(early)
        nn.utils.clip_grad_norm_(model.parameters(), 0.05)
        early.update()
    assert all(np.array_equal(value, weights(model)[name]) for name, value in weights(late.model).items())


def test_a_loop_with_its_backward_pass_inside_the_step_is_refused() -> None:
    run = started(LC(sparsity=0.5))

    def closure() -> float:
        gradients(run)
        run.before_update()
        return 0.0

    with pytest.raises(RunError, match=r"'lc' decays weights before the optimizer's step.*closure, as Lightning's"):
        run.optimizer.step(closure)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: SGD(p, lr=0.1), "acts by weight decay alone, and the SGD of this run has none"),
        (lambda p: RMSprop(p, lr=0.1, weight_decay=0.1), "of SGD, Adam and AdamW, without maximize; got RMSprop"),
        (lambda p: AdamW(p, lr=0.1, maximize=True), "without maximize; got AdamW"),
    ],
)
def test_a_decay_that_cannot_be_taken_over_is_refused(make: object, message: str) -> None:
    model = network()
    with pytest.raises(InputError, match=message):
        HostRun(model, make(model.parameters()), methods=[LC(sparsity=0.5)], num_steps=3).start()


def test_nan_weights_are_refused() -> None:
    run = started(LC(sparsity=0.5))
    gradients(run)
    with torch.no_grad():
        run.model[3].weight[0, 0] = torch.nan
    with pytest.raises(InputError, match=r"3\.weight: 1 of 36 values are NaN or infinite"):
        run.update()


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 90])
def test_a_sparsity_out_of_range_is_refused(sparsity: float) -> None:
    with pytest.raises(InputError, match=r"sparsity is the fraction of weights removed, in \[0, 1\)"):
        LC(sparsity=sparsity)
