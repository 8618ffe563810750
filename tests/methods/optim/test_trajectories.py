"""AvaGrad and Delayed Adam against their formulas: the paper's, the released code's, and pytorch_optimizer's."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from paretorch.methods.optim import AvaGrad, AvaGradW, DelayedAdam
from tests.methods.optim.formulas import arrays, assert_same, gradients, params, published, released, run

BETAS = (0.9, 0.99)
STALE: dict[str, Any] = {"gamma": "stale", "norm_scope": "group", "skip_first": True}
both_ways = pytest.mark.parametrize("foreach", [False, True], ids=["blocks", "lists"])


@both_ways
@pytest.mark.parametrize("eps", [0.1, 1e-8, 10.0])
def test_the_stale_rule_is_the_released_code(foreach: bool, eps: float) -> None:
    tensors = params()
    start, steps = arrays(tensors), gradients(12, like=tensors)
    seen = run(AvaGrad(tensors, 0.03, betas=BETAS, eps=eps, foreach=foreach, **STALE), steps)
    expected = released(start, [arrays(grads) for grads in steps], lr=0.03, betas=BETAS, eps=eps)
    assert_same(seen, expected)
    assert_same(seen[:1], [start], within=0.0)


@both_ways
@pytest.mark.parametrize("decoupled", [False, True])
def test_decay_under_the_stale_rule_is_that_of_the_released_code(foreach: bool, decoupled: bool) -> None:
    tensors = params()
    start, steps = arrays(tensors), gradients(12, like=tensors)
    settings = {"betas": BETAS, "eps": 0.1, "weight_decay": 0.2, "foreach": foreach}
    optimizer = AvaGradW if decoupled else AvaGrad
    seen = run(optimizer(tensors, 0.03, **settings, **STALE), steps)
    expected = released(
        start, [arrays(g) for g in steps], lr=0.03, betas=BETAS, eps=0.1, decay=0.2, decoupled=decoupled
    )
    assert_same(seen, expected)


@both_ways
@pytest.mark.parametrize("corrected", [False, True])
@pytest.mark.parametrize("eps", [0.1, 1e-8, 10.0])
def test_the_default_is_the_algorithm_of_the_paper_with_corrected_moments(
    foreach: bool, corrected: bool, eps: float
) -> None:
    tensors = params()
    start, steps = arrays(tensors), gradients(12, like=tensors)
    seen = run(AvaGrad(tensors, 0.03, betas=BETAS, eps=eps, bias_correction=corrected, foreach=foreach), steps)
    given = [arrays(grads) for grads in steps]
    assert_same(seen, published(start, given, lr=0.03, betas=BETAS, eps=eps, corrected=corrected))


@both_ways
@pytest.mark.parametrize("corrected", [False, True])
def test_delayed_adam_is_the_same_without_the_normalisation(foreach: bool, corrected: bool) -> None:
    tensors = params()
    start, steps = arrays(tensors), gradients(12, like=tensors)
    seen = run(DelayedAdam(tensors, 0.03, betas=BETAS, bias_correction=corrected, foreach=foreach), steps)
    given = [arrays(grads) for grads in steps]
    settings: dict[str, Any] = {"lr": 0.03, "betas": BETAS, "eps": 0.1, "corrected": corrected}
    assert_same(seen, published(start, given, normalised=False, **settings))


@pytest.mark.slow
@pytest.mark.parametrize("decay", [0.0, 0.2])
def test_the_stale_rule_has_the_trajectory_of_pytorch_optimizer(decay: float) -> None:
    peer = pytest.importorskip("pytorch_optimizer", reason="needs the peers extra")
    ours, theirs = params(), params()
    steps = gradients(12, like=ours)
    seen = run(AvaGrad(ours, 0.03, eps=0.1, weight_decay=decay, **STALE), steps)
    settings: dict[str, Any] = {"eps": 0.1, "weight_decay": decay, "weight_decouple": False, "foreach": False}
    assert_same(seen, run(peer.AvaGrad(theirs, lr=0.03, **settings), steps))


@pytest.mark.parametrize("make", [AvaGrad, AvaGradW])
def test_with_decay_beside_the_gradient_and_no_gradient_weights_shrink_at_every_step(make: type[AvaGrad]) -> None:
    tensors = params()
    start = arrays(tensors)
    zero = [[torch.zeros_like(p) for p in tensors]] * 5
    decay: dict[str, Any] = {"weight_decay": 0.1} | ({} if make is AvaGradW else {"decoupled": True})
    assert_same(run(make(tensors, 0.5, **decay), zero)[-1:], [[w * (1 - 0.05) ** 5 for w in start]])
    tensors = params()
    assert_same(run(make(tensors, 0.5, **decay, **STALE), zero)[-1:], [[w * (1 - 0.05) ** 4 for w in start]])


def test_a_single_weight_moves_by_its_first_moment_alone() -> None:
    (weight,) = params([()])
    steps = gradients(8, like=[weight])
    value, moment, expected = weight.item(), 0.0, []
    for (g,) in steps:
        moment = 0.9 * moment + 0.1 * g.item()
        value -= 0.03 * moment
        expected.append([np.array(value)])
    assert_same(run(AvaGrad([weight], 0.03, bias_correction=False), steps), expected)


def test_scaling_gradients_and_eps_together_scales_the_steps() -> None:
    c, tensors = 100.0, params()
    start, steps = arrays(tensors), gradients(6, like=tensors)
    plain = run(AvaGrad(tensors, 0.03, eps=0.1), steps)
    scaled = run(AvaGrad(params(), 0.03, eps=0.1 * c), [[c * g for g in grads] for grads in steps])
    for one, other in zip(plain, scaled, strict=True):
        for a, b, w in zip(one, other, start, strict=True):
            np.testing.assert_allclose(b - w, c * (a - w), rtol=1e-9, atol=1e-9)


def test_scaling_the_root_and_eps_together_leaves_the_step_as_it_is() -> None:
    moved = []
    for c in (1.0, 64.0):
        tensors = params()
        optimizer = AvaGrad(tensors, 0.03, eps=0.1 * c)
        steps = gradients(5, like=tensors)
        run(optimizer, steps[:4])
        for p in tensors:
            state = optimizer.state[p]
            state["exp_avg_sq"].copy_(c * c * torch.arange(1.0, 1 + p.numel(), dtype=p.dtype).view(p.shape))
            state["exp_avg"].fill_(0.5)
            p.detach().zero_()
        moved.append(run(optimizer, steps[4:]))
    assert_same(*moved)


def test_gradients_that_come_late_start_with_a_step_of_rate_one_where_only_active_entries_count() -> None:
    (weight,) = params([(4,)])
    start = arrays([weight])[0]
    optimizer = AvaGrad([weight], 0.1, eps=1e-9, norm_over="active", betas=(0.0, 0.99))
    early, late = torch.tensor([2.0, -3.0, 0.0, 0.0]).double(), torch.tensor([2.0, -3.0, 5.0, 0.0]).double()
    run(optimizer, [[early]] * 3)
    before = arrays([weight])[0]
    after = run(optimizer, [[late]])[-1][0]
    assert before[2] == start[2]
    np.testing.assert_allclose(before[2] - after[2], 0.1 * 5.0, rtol=1e-12)
    rates = (before - after)[:2] / (0.1 * np.array([2.0, -3.0]))
    np.testing.assert_allclose(np.sqrt(np.mean(rates**2)), 1.0, rtol=1e-12)


@pytest.mark.parametrize(
    "make", [AvaGrad, AvaGradW, lambda p: AvaGrad(p, norm_over="active"), lambda p: AvaGrad(p, **STALE)]
)
def test_lists_and_blocks_are_the_same_to_rounding_for_any_layout(
    make: Callable[..., AvaGrad], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paretorch.methods.optim.passes.CPU_BLOCK", 7)  # several blocks, the last one shorter
    trajectories = []
    for foreach in (False, True):
        tensors = params([(4, 3, 5, 5), (9,), (0,), (6, 4)])
        tensors[0].data = tensors[0].data.contiguous(memory_format=torch.channels_last)
        tensors[3].data = tensors[3].data.T.contiguous().T
        optimizer = make(tensors)
        for group in optimizer.param_groups:
            group["foreach"] = foreach
        trajectories.append(run(optimizer, gradients(6, like=tensors)))
        assert all(optimizer.state[p]["exp_avg"].stride() == p.stride() for p in tensors)
    assert_same(*trajectories)
