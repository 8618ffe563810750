"""Checks of what the cards of GSM, LC and RigL promise: methods that change gradients or decay entry by entry."""

import numpy as np
import torch

from paretorch.methods.method import Run
from paretorch.methods.sparsity.gradual.base import GradualMethod
from paretorch.methods.sparsity.gradual.gsm import GSM
from paretorch.methods.sparsity.gradual.lc import LC
from paretorch.methods.sparsity.gradual.rigl import RigL
from tests.methods.invariants import invariant
from tests.methods.sparsity.gradual.loops import (
    DECAY,
    LR,
    MOMENTUM,
    Arrays,
    arrays,
    gradients,
    started,
    top,
    weights,
)
from tests.methods.sparsity.gradual.problems import NAMES, NUM_WEIGHTS, Watch, trained

KEPT = 102 - 61  # of the network's prunable weights at a sparsity of 0.6


@invariant("gsm", "only the Q gradients of largest |w g| over all parameters act")
def gsm_keeps_q_gradients() -> None:
    run = started(GSM(sparsity=0.6))
    before, values = gradients(run), weights(run.model)
    run.before_update()
    chosen = top({name: values[name] * before[name] for name in values}, KEPT)
    assert sum(int(each.sum()) for each in chosen.values()) == KEPT
    for name, parameter in run.model.named_parameters():
        np.testing.assert_array_equal(parameter.grad.numpy(), np.where(chosen[name], before[name], 0.0))


def velocities(run: Run) -> Arrays:
    return arrays({name: run.optimizer.state[p]["momentum_buffer"] for name, p in run.model.named_parameters()})


@invariant("gsm", "every other entry moves by decay and momentum alone")
def gsm_leaves_decay_and_momentum() -> None:
    run = started(GSM(sparsity=0.6))
    gradients(run)
    run.update()
    before, values, old = gradients(run), weights(run.model), velocities(run)
    quiet = {name: ~each for name, each in top({n: values[n] * before[n] for n in values}, KEPT).items()}
    run.update()
    for name, after in weights(run.model).items():
        decay = DECAY * values[name]
        moved = values[name] - LR * (decay + MOMENTUM * (MOMENTUM * old[name] + decay))
        np.testing.assert_allclose(after[quiet[name]], moved[quiet[name]], rtol=1e-12, atol=1e-15)


def count_in_the_end(make: type[GradualMethod]) -> None:
    for sparsity in (0.0, 0.5, 0.9, 0.99):
        model = trained(make(sparsity=sparsity), steps=6)
        zeros = sum(int((model.get_parameter(name) == 0).sum()) for name in NAMES)
        assert zeros == round(sparsity * NUM_WEIGHTS)


@invariant("gsm", "exactly round(sparsity * N) weights are zero in the end")
def gsm_count_is_exact() -> None:
    count_in_the_end(GSM)


@invariant("lc", "exactly round(sparsity * N) weights are zero in the end")
def lc_count_is_exact() -> None:
    count_in_the_end(LC)


@invariant("lc", "weight decay acts on every entry but the Q largest over all parameters, and on them not at all")
def lc_decays_the_others() -> None:
    run = started(LC(sparsity=0.6))
    gradient, values = gradients(run), weights(run.model)
    kept = top(values, KEPT)
    run.update()
    for name, after in weights(run.model).items():
        g = gradient[name] + np.where(kept[name], 0.0, DECAY * values[name])
        np.testing.assert_allclose(after, values[name] - LR * (1 + MOMENTUM) * g, rtol=1e-12, atol=1e-15)


@invariant("lc", "clipping sees the gradients of the loss alone")
def lc_clips_the_gradient_of_the_loss() -> None:
    run = started(LC(sparsity=0.6), clip_norm=1e-3)
    gradient = gradients(run)
    norm = np.sqrt(sum(np.square(each).sum() for each in gradient.values()))
    assert norm > 1e-2
    run.before_update()
    for name, parameter in run.model.named_parameters():
        np.testing.assert_allclose(parameter.grad.numpy(), gradient[name] * 1e-3 / (norm + 1e-6), rtol=1e-12)


@invariant("rigl", "every layer has the same number of weights at every step")
def rigl_conserves_counts() -> None:
    for allocation in ("erk", "uniform"):
        method = RigL(sparsity=0.75, allocation=allocation, interval=2, alpha=1.0)
        counts = []

        def look(run: Run, method: RigL = method, counts: list[list[int]] = counts) -> None:
            masks = method._enforced.masks
            counts.append([int(masks[name].sum()) for name in NAMES])
            for name in NAMES:
                assert not run.model.get_parameter(name)[~masks[name]].any()

        trained(method, Watch(look), steps=20)
        assert counts == [counts[0]] * 20
        assert sum(counts[0]) == NUM_WEIGHTS - round(0.75 * NUM_WEIGHTS)
        assert method.exchanges == 7


def exchanging() -> tuple[Run, RigL, Arrays, Arrays, Arrays]:
    """A run before and after its first exchange: its gradients, weights and masks before."""
    method = RigL(sparsity=0.6, interval=3, alpha=0.8)
    run = started(method)
    for _ in range(3):
        gradients(run)
        run.update()
    gradient, values, masks = gradients(run), weights(run.model), arrays(dict(method._enforced.masks))
    run.update()
    assert method.exchanges == 1
    return run, method, gradient, values, masks


@invariant("rigl", "the k smallest weights of a layer go, and of what is then absent the k of largest gradient come")
def rigl_exchanges_the_right_ones() -> None:
    _, method, gradient, values, masks = exchanging()
    fraction = 0.4 * (1 + np.cos(np.pi * 3 / 15))
    for name, old in masks.items():
        new, count = method._enforced.masks[name].numpy(), round(fraction * old.sum())
        left = old & (np.abs(values[name]) > np.sort(np.abs(values[name][old]))[count - 1])
        least = np.sort(np.abs(gradient[name][~left]))[-count]
        np.testing.assert_array_equal(new, left | (~left & (np.abs(gradient[name]) >= least)))


@invariant("rigl", "what grows starts at zero with zero optimizer state")
def rigl_grows_from_nothing() -> None:
    run, method, _, _, masks = exchanging()
    for name, old in masks.items():
        grown = method._enforced.masks[name] & ~torch.from_numpy(old)
        weight = run.model.get_parameter(name)
        assert grown.any()
        assert not weight[grown].any()
        assert not run.optimizer.state[weight]["momentum_buffer"][grown].any()


@invariant("rigl", "a step of exchange moves no weight")
def rigl_stands_still() -> None:
    run, method, _, values, masks = exchanging()
    for name, after in weights(run.model).items():
        stays = np.ones(after.shape, bool) if name not in masks else masks[name] & method._enforced.masks[name].numpy()
        np.testing.assert_array_equal(after[stays], values[name][stays])
