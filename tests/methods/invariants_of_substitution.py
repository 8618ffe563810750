"""Checks of what the cards of DPF, DNW, STR and DST promise."""

from functools import partial
from itertools import pairwise

import torch

from paretorch.methods.sparsity.gradual.dnw import DNW
from paretorch.methods.sparsity.gradual.dpf import DPF
from paretorch.methods.sparsity.gradual.dst import DST, surrogate, threshold_
from paretorch.methods.sparsity.gradual.masked_forward import MaskedForward
from paretorch.methods.sparsity.gradual.schedule import Interval
from paretorch.methods.sparsity.gradual.soft_threshold import SoftThreshold
from tests.methods.invariants import invariant
from tests.methods.sparsity.gradual.reparametrised import (
    METHODS,
    WEIGHTS,
    Oracle,
    Seen,
    Started,
    Watch,
    fit,
    largest_difference,
    network,
)


def agrees_with_automatic_differentiation(name: str) -> None:
    method = METHODS[name]()
    watch = Watch(method)
    fit(method, watch, clip_norm=0.5)
    assert largest_difference(watch.seen, Oracle(name).train("sgd", clip=0.5)) < 1e-12


def leaves_everything_plain(name: str) -> None:
    model, result = fit(METHODS[name](), num_steps=5)
    assert list(model.state_dict()) == list(network().state_dict())
    assert len(result.optimizer_state["param_groups"]) == 1
    shapes = [value["momentum_buffer"].shape for value in result.optimizer_state["state"].values()]
    assert shapes == [p.shape for p in model.parameters()]


def zeros_of(model: torch.nn.Module) -> int:
    return sum(int((model.get_parameter(name) == 0).sum()) for name in WEIGHTS)


@invariant("dpf", "exactly round(sparsity * N) weights are zero in the end")
def dpf_is_exact() -> None:
    total = sum(network().get_parameter(name).numel() for name in WEIGHTS)
    for sparsity in (0.0, 1 / 3, 0.9, 0.99):
        method = DPF(sparsity=sparsity, interval=Interval(steps=4))
        model, _ = fit(method, num_steps=17)
        assert zeros_of(model) == method.masks.num_pruned == round(sparsity * total)


@invariant("dpf", "the gradient at the pruned weights moves the dense ones, and a pruned weight that has grown returns")
def pruned_weights_return() -> None:
    agrees_with_automatic_differentiation("dpf")
    seen = Seen(DPF(sparsity=0.7, interval=Interval(steps=4), refresh_steps=1))
    fit(seen.method, seen)
    returned = [
        int((later["3.weight"].ne(0) & earlier["3.weight"].eq(0)).sum()) for earlier, later in pairwise(seen.weights)
    ]
    assert sum(returned) > 0


@invariant("dpf", "a mask prunes the smallest weights of all layers and stands until it is renewed")
def masks_stand() -> None:
    method = DPF(sparsity=0.7, interval=Interval(steps=10), refresh_steps=4)
    seen = Seen(method)
    fit(seen.method, seen, num_steps=30)
    masks = [{name: values[name] != 0 for name in WEIGHTS} for values in seen.weights]
    changes = [
        step
        for step in range(1, 30)
        if any(not torch.equal(masks[step][name], masks[step - 1][name]) for name in WEIGHTS)
    ]
    assert 10 in changes
    assert set(changes) <= {step for step in range(30) if step % 4 == 0 or step in (10, 20)}
    for step in (10, 16, 28):
        assert_largest_are_seen(seen, step)


def assert_largest_are_seen(seen: Seen, step: int) -> None:
    dense, shown = seen.dense[step], seen.weights[step]
    pruned = torch.cat([dense[name][shown[name] == 0].abs() for name in WEIGHTS])
    kept = torch.cat([dense[name][shown[name] != 0].abs() for name in WEIGHTS])
    assert pruned.max() < kept.min()
    assert all(torch.equal(shown[name], dense[name] * (shown[name] != 0)) for name in WEIGHTS)


@invariant("dnw", "exactly round(sparsity * N) weights are zero in every forward pass and in the end")
def dnw_is_exact() -> None:
    total = sum(network().get_parameter(name).numel() for name in WEIGHTS)
    seen = Seen(DNW(sparsity=0.8))
    model, _ = fit(seen.method, seen, num_steps=8)
    counts = [sum(int((values[name] == 0).sum()) for name in WEIGHTS) for values in seen.weights]
    assert counts == [round(0.8 * total)] * 8
    assert zeros_of(model) == round(0.8 * total)


@invariant("dnw", "no weight that is seen is smaller than one that is not")
def dnw_sees_the_largest() -> None:
    seen = Seen(DNW(sparsity=0.8))
    fit(seen.method, seen, num_steps=6)
    for step in range(6):
        assert_largest_are_seen(seen, step)


@invariant("dnw", "weights that are not seen move by their gradient, straight through")
def unseen_weights_move() -> None:
    agrees_with_automatic_differentiation("dnw")
    seen = Seen(DNW(sparsity=0.8))
    assert isinstance(seen.method, MaskedForward)
    fit(seen.method, seen, num_steps=6)
    hidden = seen.weights[0]["3.weight"] == 0
    assert (seen.dense[5]["3.weight"] != seen.dense[0]["3.weight"])[hidden].float().mean() > 0.9


@invariant(
    "soft-threshold",
    "weights and their gradients are those of sign(w) relu(|w| - sigmoid(s)) by automatic differentiation",
)
def soft_threshold_is_differentiated() -> None:
    agrees_with_automatic_differentiation("soft-threshold")


@invariant("soft-threshold", "the final weights keep the shrinkage")
def shrinkage_stays() -> None:
    method = SoftThreshold(sparsity=0.5, initial=-2.0)
    watch = Watch(method)
    model, _ = fit(method, watch, num_steps=6)
    last = watch.seen[-1]
    for name in WEIGHTS:
        w, threshold = last[name], last[f"threshold {name}"].sigmoid()
        expected = torch.where(w > threshold, w - threshold, torch.where(w < -threshold, w + threshold, 0.0))
        torch.testing.assert_close(model.get_parameter(name).detach(), expected, rtol=0, atol=0)


@invariant("soft-threshold", "a threshold without gradient moves by its decay alone, as s_0 prod(1 - lr_t decay)")
def thresholds_decay() -> None:
    method = SoftThreshold(sparsity=0.5, initial=-9.0, threshold_decay=0.3)
    run = Started(partial(torch.optim.SGD, lr=1.0))
    method.start(run)
    optimizer = run.optimizer
    expected = -9.0
    for lr in (0.1, 0.5, 0.2):
        for group in optimizer.param_groups:
            group["lr"] = lr
        method.before_forward(run)
        for name in WEIGHTS:
            run.model.get_parameter(name).grad = torch.zeros_like(run.model.get_parameter(name))
        method.before_update(run)
        optimizer.step()
        expected *= 1 - lr * 0.3
    for s in method.thresholds.values():
        torch.testing.assert_close(float(s.detach()), expected, rtol=1e-12, atol=0)


@invariant("soft-threshold", "model and optimizer are left plain, without thresholds")
def soft_threshold_leaves_nothing() -> None:
    leaves_everything_plain("soft-threshold")


@invariant("dst", "the step function is differentiated as 2 - 4|x| up to 0.4, as 0.4 up to 1 and as 0 beyond")
def surrogate_values() -> None:
    x = torch.tensor([0.0, 0.1, -0.1, 0.4, -0.4, 0.7, 1.0, -1.0, 1.0001, -3.0])
    torch.testing.assert_close(
        surrogate(x), torch.tensor([2.0, 1.6, 1.6, 0.4, 0.4, 0.4, 0.4, 0.4, 0.0, 0.0]), rtol=1e-6, atol=0
    )
    assert surrogate(torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64)).tolist() == [2.0, 0.4, 0.4]


@invariant("dst", "weights and their gradients are those of the reparametrised network by automatic differentiation")
def dst_is_differentiated() -> None:
    agrees_with_automatic_differentiation("dst")


@invariant("dst", "a layer that would keep 1 % or less starts again with thresholds of 0")
def empty_layers_start_again() -> None:
    for kept, restarts in ((1, True), (2, True), (3, False)):
        weight, thresholds = torch.full((10, 20), 0.1), torch.full((10,), 0.5)
        weight.view(-1)[:kept] = 0.9
        before = weight.clone()
        threshold_(weight, thresholds)
        assert thresholds.tolist() == [0.0 if restarts else 0.5] * 10
        assert torch.equal(weight, before if restarts else before * (before > 0.5))
    assert DST(sparsity=0.5).alpha > 0


@invariant("dst", "model and optimizer are left plain, without thresholds")
def dst_leaves_nothing() -> None:
    leaves_everything_plain("dst")
