"""RigL against a run written out in numpy: drop, grow, masked steps, and no update in a step of exchange."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from paretorch.errors import InputError, MaskViolationError
from paretorch.integrations.host import HostRun
from paretorch.methods.method import Run
from paretorch.methods.sparsity.gradual.rigl import RigL
from paretorch.methods.sparsity.gradual.topology import drop_fraction
from paretorch.training.settings import TrainSettings
from paretorch.training.supervised import SupervisedTask
from paretorch.training.trainer import Trainer
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
    weights,
)
from tests.methods.sparsity.gradual.problems import NUM_WEIGHTS, Watch, assert_resumes, trained

SPECS = pytest.mark.parametrize("optimizer", [NESTEROV, ADAMW], ids=["nesterov", "adamw"])


def masks_of(method: RigL) -> Arrays:
    return {name: mask.numpy().astype(float) for name, mask in method._enforced.masks.items()}


def exchange(weight: Arrays, gradient: Arrays, mask: Arrays, fraction: float) -> Arrays:
    """Drop and grow by sorting each layer."""
    after = {}
    for name, old in mask.items():
        kept = int(old.sum())
        count = round(fraction * kept)
        flat, scores = old.ravel().copy(), np.abs(weight[name]).ravel()
        there = np.flatnonzero(flat)
        flat[there[np.argsort(scores[there], kind="stable")[:count]]] = 0
        absent = np.flatnonzero(flat == 0)
        order = np.argsort(np.abs(gradient[name]).ravel()[absent], kind="stable")
        flat[absent[order[absent.size - count :]]] = 1
        after[name] = flat.reshape(old.shape) if kept < old.size else old
    return after


@pytest.mark.parametrize("clip_norm", [None, 0.05])
def test_with_nesterov_momentum_the_run_is_the_one_written_out_by_hand(clip_norm: float | None) -> None:
    method = RigL(sparsity=0.6, interval=3, end=0.7, alpha=0.4)
    run = started(method, num_steps=20, clip_norm=clip_norm)
    mask, changes = masks_of(method), []
    oracle = Nesterov({name: value * mask.get(name, 1.0) for name, value in weights(network()).items()})
    assert_close(run.model, oracle.weights)
    for t in range(20):
        gradient = gradients(run)
        if t in (3, 6, 9, 12):
            before = mask
            mask = exchange(oracle.weights, gradient, mask, 0.2 * (1 + np.cos(np.pi * t / 14)))
            changes.append(sum(int((mask[name] != before[name]).sum()) for name in mask))
            for name, exists in mask.items():
                oracle.weights[name] *= exists
                oracle.velocity[name] *= exists
        else:
            gradient = {name: value * mask.get(name, 1.0) for name, value in gradient.items()}
            if clip_norm is not None:
                norm = np.sqrt(sum(np.square(value).sum() for value in gradient.values()))
                gradient = {name: value * min(1.0, clip_norm / (norm + 1e-6)) for name, value in gradient.items()}
            oracle.step(gradient, DECAY)
        run.update()
        assert_close(run.model, oracle.weights)
        assert all(np.array_equal(value, mask[name]) for name, value in masks_of(method).items())
    assert run.step == 20
    assert method.exchanges == len(changes) == 4
    assert min(changes[:3]) > 0


@SPECS
def test_a_step_of_exchange_moves_no_weight_and_what_grows_starts_from_nothing(optimizer: Any) -> None:
    method = RigL(sparsity=0.5, interval=4, alpha=0.5)
    run = started(method, spec=optimizer)
    for _ in range(4):
        gradients(run)
        run.update()
    before, old = weights(run.model), masks_of(method)
    counters = {name: run.optimizer.state[p].get("step", torch.zeros(())).clone() for name, p in named(run)}
    gradients(run)
    run.update()
    new = masks_of(method)
    assert method.exchanges == 1
    assert any((new[name] > old[name]).any() for name in new)
    for name, after in weights(run.model).items():
        stays = (new[name] * old[name]).astype(bool) if name in new else np.ones_like(after, dtype=bool)
        np.testing.assert_array_equal(after[stays], before[name][stays])
        if name not in new:
            continue
        grown = new[name] > old[name]
        assert not after[grown].any()
        for state in run.optimizer.state[run.model.get_parameter(name)].values():
            if state.shape == after.shape:
                assert not state.numpy()[grown].any()
                assert state.numpy()[stays].all()
    for name, p in named(run):
        assert torch.equal(run.optimizer.state[p].get("step", torch.zeros(())), counters[name])


def named(run: HostRun) -> list[tuple[str, nn.Parameter]]:
    return list(run.model.named_parameters())


@SPECS
@pytest.mark.parametrize("allocation", ["erk", "uniform"])
def test_in_the_trainer_the_number_of_weights_of_every_layer_is_conserved_at_every_step(
    allocation: Any, optimizer: Any
) -> None:
    method = RigL(sparsity=0.8, allocation=allocation, interval=3, alpha=0.5)
    counts: list[dict[str, tuple[int, int]]] = []

    def look(run: Run) -> None:
        method._enforced.masks.check(run.model)
        counts.append(method._enforced.masks.counts())

    model = trained(method, Watch(look), steps=40, optimizer=optimizer, clip_norm=0.5, accumulate=2)
    assert len(counts) == 40
    assert all(count == counts[0] for count in counts)
    assert method.exchanges == 9  # at 3, 6, ..., 27: before step 30
    assert method.details() == {"exchanges": 9}
    assert method.masks.num_pruned == round(0.8 * NUM_WEIGHTS) == method.num_pruned(model)
    method.masks.check(model)


def test_the_gradient_of_an_exchange_is_that_of_the_whole_batch() -> None:
    """Micro-batches add up before weights are chosen: the same masks as without them."""
    generator = torch.Generator().manual_seed(1)
    data = torch.randn(64, 6, generator=generator, dtype=torch.float64), torch.randint(0, 3, (64,), generator=generator)
    task, left = SupervisedTask(network, train=data, evaluation=data, test=data), []
    for accumulate in (1, 4):
        method = RigL(sparsity=0.7, interval=1, end=1.0, alpha=1.0)
        trainer = Trainer(task, TrainSettings(batch_size=32, optimizer=NESTEROV, accumulate=accumulate, device="cpu"))
        trainer.fit(trainer.model(), phase="gradual", num_steps=3, methods=[method])
        left.append(method.masks)
        assert method.exchanges == 2
    assert left[0] == left[1]


@SPECS
@pytest.mark.parametrize("fatal_step", [8, 9, 15])  # before, in the middle of and after exchanges at 4, 8, 12
def test_a_killed_run_goes_on_bitwise(optimizer: Any, fatal_step: int, tmp_path: Path) -> None:
    given = {"optimizer": optimizer, "clip_norm": 0.5, "accumulate": 2}
    assert_resumes(lambda: RigL(sparsity=0.8, interval=4), tmp_path / "run", steps=20, fatal_step=fatal_step, **given)


def test_gradients_that_overflow_put_the_exchange_off_to_the_next_step() -> None:
    method = RigL(sparsity=0.5, interval=2)
    run = started(method)
    for t in range(6):
        gradients(run)
        if t == 2:
            run.model[0].weight.grad[0, 0] = torch.inf
            run.before_update()  # and the loss scaler skips the update
            run.optimizer.zero_grad()
            assert method.exchanges == 0
            run.step += 1
            continue
        run.update()
        assert method.exchanges == (0, 0, 0, 1, 2, 2)[t]


def test_the_masks_of_two_seeds_differ_and_those_of_one_are_the_same() -> None:
    masks = []
    for seed in (1, 1, 2):
        method = RigL(sparsity=0.8, interval=1)
        trained(method, steps=2, seed=seed)
        masks.append(method.masks)
    assert masks[0] == masks[1] != masks[2]


def test_a_phase_without_an_exchange_keeps_its_random_masks_and_says_so() -> None:
    method = RigL(sparsity=0.8, interval=8)  # the last exchange comes before step 8
    first: list[Any] = []
    with pytest.warns(UserWarning, match="exchanged no weight in 10 steps.*random masks.*below 8"):
        trained(method, Watch(lambda run: first.append(method._enforced.masks)), steps=10)
    assert method.exchanges == 0
    assert method.masks == first[0]


def test_weights_that_were_written_to_behind_its_back_are_found_at_the_end() -> None:
    method = RigL(sparsity=0.5)
    run = started(method)
    with torch.no_grad():
        run.model[0].weight.fill_(1.0)
    with pytest.warns(UserWarning, match="exchanged no weight"), pytest.raises(MaskViolationError, match=r"0\.weight"):
        run.finish()


def test_nan_weights_are_refused() -> None:
    run = started(RigL(sparsity=0.5, interval=1))
    gradients(run)
    run.update()
    gradients(run)
    with torch.no_grad():
        run.model[0].weight[0] = torch.nan
    with pytest.raises(InputError, match="values are NaN or infinite"):
        run.update()
    model = network()
    with torch.no_grad():
        model[0].weight[0] = torch.nan
    with pytest.raises(InputError, match=r"0\.weight: 6 of 54 values are NaN or infinite"):
        HostRun(model, NESTEROV(model.parameters()), methods=[RigL(sparsity=0.5)], num_steps=3).start()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sparsity": 1.0}, r"sparsity is the fraction of weights removed, in \[0, 1\)"),
        ({"sparsity": -0.5}, r"sparsity is the fraction of weights removed, in \[0, 1\)"),
        ({"allocation": "global"}, "unknown allocation 'global'; expected one of erk, uniform"),
        ({"interval": 0}, "interval is the number of steps between two exchanges, at least 1; got 0"),
        ({"interval": 2.5}, "interval is the number of steps .*; got 2.5"),
        ({"end": 0.0}, r"end is the fraction of the phase with exchanges, in \(0, 1\]; got 0.0"),
        ({"end": 1.5}, r"end is .*; got 1.5"),
        ({"alpha": 0.0}, r"alpha is the fraction of weights exchanged at first, in \(0, 1\]; got 0.0"),
        ({"alpha": float("nan")}, "alpha is .*; got nan"),
    ],
)
def test_settings_out_of_range_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RigL(**({"sparsity": 0.5} | given))


def test_a_layer_that_would_be_empty_is_refused_before_training() -> None:
    with pytest.raises(InputError, match=r"'uniform' leaves no weight in 5\.weight"):
        RigL(sparsity=0.97, allocation="uniform").check(network(), num_steps=10, steps_per_epoch=5)


def test_a_loop_that_clips_too_early_is_refused() -> None:
    model = network()
    run = HostRun(
        model, NESTEROV(model.parameters()), methods=[RigL(sparsity=0.5)], num_steps=3, clips_before_update=True
    )
    with pytest.raises(InputError, match=r"'rigl' zeroes gradients.* clips before it can"):
        run.start()


def test_the_fraction_at_the_first_exchange_is_that_of_its_step() -> None:
    """Not alpha itself, since the cosine runs from step 0."""
    method = RigL(sparsity=0.0, interval=5, end=1.0, alpha=0.3)
    assert method.last(10) == 10
    assert drop_fraction(5, last=method.last(10), alpha=method.alpha) == pytest.approx(0.15)
