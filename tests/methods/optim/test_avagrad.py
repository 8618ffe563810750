"""What AvaGrad does around its formula: groups, missing gradients, state, narrow types, graphs, and what it refuses."""

import copy
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from paretorch.artefacts.tree import load_tree, save_tree
from paretorch.errors import InputError
from paretorch.methods.optim import AvaGrad, AvaGradW, DelayedAdam
from paretorch.methods.sparsity.magnitude import magnitude_masks
from tests.methods.optim.formulas import arrays, assert_same, gradients, params, run

STALE: dict[str, Any] = {"gamma": "stale", "norm_scope": "group", "skip_first": True}
needs_compiler = pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None, reason="torch.compile on a CPU needs a C++ compiler (g++)"
)


def rates(optimizer: AvaGrad, group: int) -> np.ndarray:
    """gamma eta of the next step for the entries of a group, from the state before it."""
    found = []
    settings = optimizer.param_groups[group]
    for p in settings["params"]:
        state = optimizer.state[p]
        root = np.sqrt(state["exp_avg_sq"].numpy() / (1 - settings["betas"][1] ** float(state["step"])))
        found.append(1 / (root + settings["eps"]).ravel())
    return np.concatenate(found)


def two_groups(scopes: tuple[str, str]) -> tuple[AvaGrad, list[nn.Parameter]]:
    tensors = params()
    first, second = (
        {"params": part, "norm_scope": s} for part, s in zip((tensors[:2], tensors[2:]), scopes, strict=True)
    )
    return AvaGrad([first, second | {"eps": 0.5}], 0.03), tensors


@pytest.mark.parametrize("scopes", [("global", "global"), ("group", "group"), ("global", "group")])
def test_the_mean_goes_over_all_global_groups_together_and_over_each_other_group_alone(scopes: tuple[str, str]) -> None:
    optimizer, tensors = two_groups(scopes)
    steps = gradients(5, like=tensors)
    run(optimizer, steps[:4])
    eta = [rates(optimizer, group) for group in (0, 1)]
    run(optimizer, steps[4:])
    pooled = [np.concatenate(eta)] * 2 if scopes == ("global", "global") else eta
    for group, values in zip(optimizer.param_groups, pooled, strict=True):
        assert float(group["gamma"]) == pytest.approx(1 / np.sqrt(np.mean(values**2)), rel=1e-12)


def test_a_parameter_without_gradient_is_left_alone_and_counts_for_nothing() -> None:
    tensors, alone = params(), params()[:1]
    steps = gradients(4, like=tensors)
    optimizer = AvaGrad(tensors, 0.03)
    seen = run(optimizer, [[grads[0], None, None, None] for grads in steps])
    expected = run(AvaGrad(alone, 0.03), [grads[:1] for grads in steps])
    assert_same([one[:1] for one in seen], expected, within=0.0)
    assert_same([one[1:] for one in seen], [arrays(params()[1:])] * 4, within=0.0)
    assert len(optimizer.state) == 1


@pytest.mark.parametrize("settings", [{}, STALE, {"norm_over": "active"}], ids=["fresh", "stale", "active"])
def test_a_step_without_any_gradient_changes_nothing_and_an_empty_group_is_allowed(settings: dict[str, Any]) -> None:
    tensors = params()
    optimizer = AvaGrad([{"params": tensors}, {"params": []}], 0.03, **settings)
    assert_same(run(optimizer, [[None] * 4]), [arrays(params())], within=0.0)
    run(optimizer, gradients(3, like=tensors))
    gamma = float(optimizer.param_groups[0]["gamma"])
    before = arrays(tensors)
    assert_same(run(optimizer, [[None] * 4]), [before], within=0.0)
    assert float(optimizer.param_groups[0]["gamma"]) == gamma
    assert np.isfinite(gamma)


@pytest.mark.parametrize("foreach", [None, False, True])
@pytest.mark.parametrize("settings", [{}, STALE, {"norm_over": "active"}], ids=["fresh", "stale", "active"])
def test_a_step_with_tensors_for_its_numbers_reads_none_of_them(foreach: bool | None, settings: dict[str, Any]) -> None:
    """As a CUDA graph needs it; on the meta device reading fails, and so does moving what is summed to another one."""
    p = nn.Parameter(torch.ones(3, device="meta"))
    lr = torch.tensor(0.1)
    optimizer = AvaGrad([{"params": []}, {"params": [p]}], lr, capturable=True, foreach=foreach, **settings)
    p.grad = torch.ones_like(p)
    optimizer.step()
    assert optimizer.param_groups[1]["gamma"].is_meta
    assert optimizer.state[p]["step"].is_meta


def test_steps_are_counted_on_the_cpu_where_no_graph_holds_them() -> None:
    p = nn.Parameter(torch.ones(3, device="meta"))
    optimizer = AvaGrad([p])
    p.grad = torch.ones_like(p)
    optimizer.step()
    assert float(optimizer.state[p]["step"]) == 1


def test_a_group_that_joins_later_begins_with_its_own_first_step() -> None:
    early, late = params()[:2], params()[2:]
    steps = gradients(6, like=[*early, *late])
    optimizer = AvaGrad(early, 0.03)
    run(optimizer, [grads[:2] for grads in steps[:3]])
    optimizer.add_param_group({"params": late, "lr": 0.01})
    seen = run(optimizer, steps[3:])
    whole = params()
    both = AvaGrad([{"params": whole[:2]}, {"params": whole[2:], "lr": 0.01}], 0.03)
    expected = run(both, [[*grads[:2], None, None] for grads in steps[:3]] + steps[3:])
    assert_same(seen, expected[3:], within=0.0)
    assert [float(optimizer.state[p]["step"]) for p in (early[0], late[0])] == [6, 3]


@pytest.mark.parametrize("captured", [False, True])
def test_schedulers_set_the_rate_of_the_next_step(captured: bool) -> None:
    tensors, by_hand = params(), params()
    steps = gradients(5, like=tensors)
    lr = torch.tensor(0.03, dtype=torch.float64) if captured else 0.03
    optimizer, expected = AvaGrad(tensors, lr, capturable=captured), AvaGrad(by_hand, 0.03)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    for step, grads in enumerate(steps):
        expected.param_groups[0]["lr"] = 0.03 / (1 + step)
        assert_same(run(optimizer, [grads]), run(expected, [grads]))
        scheduler.step()


@pytest.mark.parametrize("settings", [{}, STALE, {"norm_over": "active"}], ids=["fresh", "stale", "active"])
def test_a_state_that_was_saved_and_loaded_goes_on_with_the_same_bits(settings: dict[str, Any], tmp_path: Path) -> None:
    tensors = params()
    steps = gradients(8, like=tensors)
    optimizer = AvaGrad(tensors, 0.03, **settings)
    run(optimizer, steps[:4])
    save_tree(tmp_path / "state", optimizer.state_dict())
    twin = [nn.Parameter(p.detach().clone()) for p in tensors]
    loaded = AvaGrad(twin, 7.0, **settings)
    held = loaded.param_groups[0]["gamma"]
    loaded.load_state_dict(load_tree(tmp_path / "state"))
    assert loaded.param_groups[0]["gamma"] is held, "a graph holds its place in memory"
    assert torch.equal(loaded.param_groups[0]["gamma"], optimizer.param_groups[0]["gamma"])
    assert float(loaded.param_groups[0]["gamma"]) != 1.0
    assert_same(run(loaded, steps[4:]), run(optimizer, steps[4:]), within=0.0)


def test_a_copy_goes_on_by_itself() -> None:
    tensors = params()
    steps = gradients(6, like=tensors)
    optimizer = AvaGrad(tensors, 0.03, **STALE)
    run(optimizer, steps[:3])
    twin = copy.deepcopy(optimizer)
    seen = run(optimizer, steps[3:])
    assert_same(run(twin, steps[3:]), seen, within=0.0)


def test_dead_entries_and_small_eps_shrink_gamma_as_predicted_and_active_entries_alone_do_not() -> None:
    d, dead, eps = 50, 20, 1e-8
    found = {}
    for norm_over in ("all", "active"):
        (weight,) = params([(d,)])
        steps = gradients(30, like=[weight])
        for (g,) in steps:
            g[:dead] = 0.0
        optimizer = AvaGrad([weight], 0.03, eps=eps, norm_over=norm_over)
        before = arrays([weight])[0]
        moved = np.abs(run(optimizer, steps)[-1][0] - before)
        assert not moved[:dead].any()
        found[norm_over] = float(optimizer.param_groups[0]["gamma"]), moved.max()
    assert found["all"][0] == pytest.approx(eps * np.sqrt(d / dead), rel=1e-6)
    assert found["all"][1] < 0.03 * 10  # the first step, at rate 1, is all there is
    assert found["active"][0] > 1e-3


def test_where_every_second_moment_overflows_gamma_stays_and_nothing_becomes_nan() -> None:
    p = nn.Parameter(torch.ones(4))
    optimizer = AvaGrad([p], 0.1)
    for size in (1.0, 1e30, 1.0):
        p.grad = torch.full((4,), size)
        optimizer.step()
    assert optimizer.state[p]["exp_avg_sq"].isinf().all()
    assert optimizer.param_groups[0]["gamma"].isfinite()
    assert p.isfinite().all()


def test_the_closure_is_called_once_with_gradients_and_its_loss_comes_back() -> None:
    (weight,) = params([(3,)])
    optimizer, calls = AvaGrad([weight], 0.1, bias_correction=False), []

    def closure() -> float:
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        calls.append(loss.item())
        return calls[-1]

    start = arrays([weight])[0]
    assert optimizer.step(closure) == calls[0]
    assert len(calls) == 1
    np.testing.assert_allclose(arrays([weight])[0], start - 0.1 * 0.1 * 2 * start, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize("norm_over", ["all", "active"])
def test_narrow_weights_follow_wide_ones_and_their_sums_do_not_overflow(
    dtype: torch.dtype, foreach: bool, norm_over: Any
) -> None:
    shape, eps = (300,), 1e-3  # 1 / eps^2 is far above the largest number of float16
    (wide,) = params([shape])
    narrow, start = nn.Parameter(wide.detach().to(dtype)), arrays([wide])[0]
    steps = [[(g.sign() * (3 + g.abs())).to(dtype).double()] for (g,) in gradients(8, like=[wide])]  # v stays above 0
    settings: dict[str, Any] = {"eps": eps, "foreach": foreach, "norm_over": norm_over}
    expected = run(AvaGrad([wide], 0.1, **settings), steps)[-1][0]
    optimizer = AvaGrad([narrow], 0.1, **settings)
    found = run(optimizer, steps)[-1][0]
    moved = np.linalg.norm(expected - start)
    assert np.linalg.norm(found - expected) < 0.05 * moved
    assert optimizer.state[narrow]["exp_avg_sq"].dtype == dtype
    assert float(optimizer.param_groups[0]["gamma"]) > eps


@pytest.mark.parametrize("foreach", [False, True])
def test_active_entries_of_a_narrow_tensor_are_counted_beyond_its_largest_number(foreach: bool) -> None:
    size = 70_000
    weight = nn.Parameter(torch.zeros(size, dtype=torch.float16))
    optimizer = AvaGrad([weight], 0.1, norm_over="active", foreach=foreach, bias_correction=False)
    for _ in range(2):
        weight.grad = torch.ones_like(weight)
        optimizer.step()
    assert float(optimizer.param_groups[0]["gamma"]) == pytest.approx(0.1 + 0.001**0.5, rel=1e-3)


def test_the_smallest_eps_does_not_overflow_the_sum_over_many_dead_entries() -> None:
    dead, live = nn.Parameter(torch.zeros(2_000_000)), nn.Parameter(torch.zeros(4))
    optimizer = AvaGrad([dead, live], betas=(0.9, 0.99999), eps=1e-12)
    for _ in range(3):
        dead.grad, live.grad = torch.zeros_like(dead), torch.ones_like(live)
        optimizer.step()
    assert float(optimizer.param_groups[0]["gamma"]) == pytest.approx(1e-12, rel=1e-3)


def test_tensors_of_several_types_share_one_mean() -> None:
    tensors = params()
    mixed = [nn.Parameter(p.detach().float() if i % 2 else p.detach().clone()) for i, p in enumerate(tensors)]
    steps = gradients(6, like=tensors)
    expected = run(AvaGrad(tensors, 0.03), steps)
    assert_same(run(AvaGrad(mixed, 0.03), steps), expected, within=1e-4)


@pytest.mark.parametrize("make", [AvaGrad, AvaGradW, DelayedAdam])
def test_the_step_with_tensors_for_its_numbers_is_the_step_with_numbers(make: Callable[..., Any]) -> None:
    plain, captured = params(), params()
    steps = gradients(6, like=plain)
    settings: dict[str, Any] = {"weight_decay": 0.1, "skip_first": True}
    lr = torch.tensor(0.03, dtype=torch.float64)
    expected = run(make(plain, 0.03, **settings), steps)
    assert_same(run(make(captured, lr, capturable=True, **settings), steps), expected)


def compiled_equals_eager(backend: str, *, steps: int = 4, **settings: Any) -> None:
    eager, traced = params(), params()
    given = gradients(steps, like=eager)
    expected = run(AvaGrad(eager, 0.03, **settings), given)
    optimizer = AvaGrad(traced, torch.tensor(0.03, dtype=torch.float64), capturable=True, **settings)
    step = torch.compile(optimizer.step, backend=backend)
    for grads, wanted in zip(given, expected, strict=True):
        for p, grad in zip(traced, grads, strict=True):
            p.grad = grad.clone()
        step()
        assert_same([arrays(traced)], [wanted])


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [{}, {"norm_over": "active"}, {"weight_decay": 0.1, "decoupled": True}],
    ids=["plain", "active", "decay"],
)
def test_the_step_as_torch_compile_traces_it_is_the_eager_step(settings: dict[str, Any]) -> None:
    compiled_equals_eager("aot_eager", **settings)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.slow
@needs_compiler
def test_the_compiled_step_is_the_eager_step() -> None:
    compiled_equals_eager("inductor")


def test_masked_weights_stay_zero_under_it() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    optimizer = AvaGradW(model.parameters(), 0.1, weight_decay=0.1)
    masks = magnitude_masks(model, sparsity=0.5)
    masks.attach(model, optimizer)
    for _ in range(5):
        model(torch.randn(16, 6)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    masks.check(model)
    assert all(not optimizer.state[model.get_parameter(name)]["exp_avg"][~mask].any() for name, mask in masks.items())


@pytest.mark.parametrize("make", [AvaGrad, DelayedAdam])
def test_sparse_gradients_are_refused_before_anything_moves(make: Callable[..., Any]) -> None:
    table, dense = nn.Embedding(5, 2, sparse=True), nn.Linear(2, 1)
    optimizer = make([*dense.parameters(), *table.parameters()], lr=0.1)
    before = dense.weight.detach().clone()
    dense(table(torch.tensor([1, 2]))).sum().backward()
    with pytest.raises(InputError, match=r"shape \(5, 2\) has the layout torch.sparse_coo"):
        optimizer.step()
    assert torch.equal(dense.weight, before)
    assert int(optimizer.state[dense.weight]["step"]) == 0
