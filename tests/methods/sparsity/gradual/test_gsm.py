"""Global sparse momentum against SGD and AdamW written out by hand, with exactly Q gradients."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from paretorch.errors import InputError, RunError
from paretorch.integrations.host import HostRun
from paretorch.methods.sparsity.gradual.gsm import GSM, largest_products
from tests.methods.sparsity.gradual.loops import (
    ADAMW,
    DECAY,
    NESTEROV,
    Arrays,
    Nesterov,
    assert_close,
    gradients,
    network,
    started,
    top,
    weights,
)
from tests.methods.sparsity.gradual.problems import NUM_WEIGHTS, assert_resumes, trained

WEIGHTS, PARAMETERS = 6 * 9 + 9 * 4 + 4 * 3, 6 * 9 + 9 * 4 + 4 * 3 + 9 + 3 + 18


def sparse(values: Arrays, gradient: Arrays, count: int) -> Arrays:
    """The gradient with all but the `count` largest |w g| replaced by zeros, by one sort of everything."""
    chosen = top({name: values[name] * gradient[name] for name in values}, count)
    return {name: np.where(chosen[name], gradient[name], 0.0) for name in values}


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9])
def test_exactly_q_gradients_survive_and_they_are_those_of_the_largest_products(sparsity: float) -> None:
    run = started(GSM(sparsity=sparsity))
    assert sum(p.numel() for p in run.model.parameters()) == PARAMETERS
    count = WEIGHTS - round(sparsity * WEIGHTS)
    for _ in range(3):
        before = gradients(run)
        expected = sparse(weights(run.model), before, count)
        run.before_update()
        left = {name: parameter.grad.numpy() for name, parameter in run.model.named_parameters()}
        assert sum(np.count_nonzero(value) for value in left.values()) == count
        for name in left:
            np.testing.assert_array_equal(left[name], expected[name])
        run.optimizer.step()
        run.optimizer.zero_grad()


@pytest.mark.parametrize("clip_norm", [None, 0.05])
def test_with_nesterov_momentum_the_run_is_the_one_written_out_by_hand(clip_norm: float | None) -> None:
    run = started(GSM(sparsity=0.8), clip_norm=clip_norm)
    oracle = Nesterov(weights(run.model))
    for _ in range(15):
        gradient = sparse(oracle.weights, gradients(run), WEIGHTS - round(0.8 * WEIGHTS))
        if clip_norm is not None:  # the norm of what survived
            norm = np.sqrt(sum(np.square(value).sum() for value in gradient.values()))
            gradient = {name: value * min(1.0, clip_norm / (norm + 1e-6)) for name, value in gradient.items()}
        run.update()
        oracle.step(gradient, DECAY)
        assert_close(run.model, oracle.weights)


def test_with_adamw_an_entry_without_gradient_moves_by_its_moments_and_its_decay() -> None:
    run = started(GSM(sparsity=0.9), spec=ADAMW)
    group = run.optimizer.param_groups[0]
    for _ in range(6):
        gradient, before = gradients(run), weights(run.model)
        chosen = sparse(before, gradient, WEIGHTS - round(0.9 * WEIGHTS))
        moments = {
            name: [run.optimizer.state[p][key].numpy().copy() for key in ("exp_avg", "exp_avg_sq")]
            for name, p in run.model.named_parameters()
            if run.optimizer.state[p]
        }
        run.update()
        if not moments:
            continue
        t = run.step
        for name, after in weights(run.model).items():
            quiet = chosen[name] == 0
            first, second = 0.9 * moments[name][0] / (1 - 0.9**t), 0.999 * moments[name][1] / (1 - 0.999**t)
            moved = before[name] * (1 - group["lr"] * group["weight_decay"])
            moved -= group["lr"] * first / (np.sqrt(second) + 1e-8)
            np.testing.assert_allclose(after[quiet], moved[quiet], rtol=1e-11, atol=1e-14)


def test_the_end_leaves_exactly_the_target_and_a_plain_model() -> None:
    method = GSM(sparsity=0.7)
    model = trained(method, steps=30)
    assert method.masks.num_pruned == round(0.7 * NUM_WEIGHTS)
    method.masks.check(model)
    assert method.zeros(model) == method.masks
    assert not any(parameter._backward_hooks for parameter in model.parameters())


def test_q_counts_prunable_weights_and_the_ranking_covers_all_parameters() -> None:
    """So with S = 0 as many gradients are left out as there are biases and norms."""
    run = started(GSM(sparsity=0.0))
    gradients(run)
    run.before_update()
    assert sum(int(p.grad.eq(0).sum()) for p in run.model.parameters()) == PARAMETERS - WEIGHTS


@pytest.mark.parametrize("optimizer", [NESTEROV, ADAMW], ids=["nesterov", "adamw"])
def test_a_killed_run_goes_on_bitwise(optimizer: object, tmp_path: Path) -> None:
    given = {"optimizer": optimizer, "clip_norm": 0.5, "accumulate": 2}
    assert_resumes(lambda: GSM(sparsity=0.8), tmp_path / "run", steps=20, fatal_step=9, **given)


def test_a_parameter_without_gradient_takes_no_part() -> None:
    run = started(GSM(sparsity=0.5))
    run.model[0].weight.requires_grad_(False)
    before = gradients(run)
    assert "0.weight" not in before
    expected = sparse({name: weights(run.model)[name] for name in before}, before, 51)
    run.before_update()
    for name, value in expected.items():
        np.testing.assert_array_equal(run.model.get_parameter(name).grad.numpy(), value)


def test_gradients_that_overflowed_are_left_to_the_loss_scaler_which_skips_the_step() -> None:
    run = started(GSM(sparsity=0.5))
    gradients(run)
    run.model[0].weight.grad[0, 0] = torch.inf
    before = {name: p.grad.clone() for name, p in run.model.named_parameters()}
    run.before_update()
    assert all(torch.equal(p.grad, before[name]) for name, p in run.model.named_parameters())


def test_nan_weights_are_refused() -> None:
    run = started(GSM(sparsity=0.5))
    gradients(run)
    with torch.no_grad():
        run.model[0].weight[0, 0] = torch.nan
    with pytest.raises(InputError, match=r"0\.weight: 1 of 54 values are NaN or infinite"):
        run.before_update()


def test_in_half_precision_products_are_ranked_in_single_precision() -> None:
    weight = nn.Parameter(torch.full((3,), 1e-3, dtype=torch.float16))
    weight.grad = torch.tensor([1e-6, 3e-6, 2e-6], dtype=torch.float16)  # all products are 0 in float16
    assert largest_products({"w": weight}, 1)["w"].tolist() == [False, True, False]


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 90, True, "0.9"])
def test_a_sparsity_out_of_range_is_refused(sparsity: object) -> None:
    with pytest.raises(InputError, match=r"sparsity is the fraction of weights removed, in \[0, 1\)"):
        GSM(sparsity=sparsity)


def test_a_loop_that_clips_too_early_is_refused() -> None:
    model = network()
    run = HostRun(
        model, NESTEROV(model.parameters()), methods=[GSM(sparsity=0.5)], num_steps=3, clips_before_update=True
    )
    with pytest.raises(InputError, match=r"'gsm' zeroes gradients.* clips before it can"):
        run.start()


def test_a_sparse_gradient_is_refused_by_name() -> None:
    model = nn.Sequential(nn.Embedding(5, 4, sparse=True), nn.Linear(4, 2))
    run = HostRun(model, torch.optim.SGD(model.parameters(), lr=0.1), methods=[GSM(sparsity=0.5)], num_steps=3)
    run.start()
    model(torch.tensor([1, 2])).sum().backward()
    with pytest.raises(RunError, match=r"gradient of '0\.weight' has layout torch\.sparse_coo.*sparse=False"):
        run.before_update()
