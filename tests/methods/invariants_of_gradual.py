"""Checks of what the cards of methods promise that make a model sparse while it trains, and of budgeted pruning."""

from itertools import pairwise

import torch

from paretorch.methods.method import Run
from paretorch.methods.schedules import DenseSchedule, Linear, MultiStep
from paretorch.methods.sparsity.gradual.gmp import GMP
from paretorch.methods.sparsity.gradual.schedule import Interval
from paretorch.pipelines.bimp import BIMP
from paretorch.pipelines.compression import Compressed, Start
from paretorch.pipelines.dense import train_dense
from paretorch.pipelines.imp import IMP
from tests.methods.invariants import invariant
from tests.methods.sparsity.gradual.problems import NAMES, NUM_WEIGHTS, Small, Watch, trained, trainer


@invariant("gmp", "after pruning j of m exactly round(sparsity * (1 - (1 - j/m)^3) * N) weights are zero")
def gmp_follows_the_cubic_curve() -> None:
    for sparsity in (0.3, 0.9, 0.99):
        method = GMP(sparsity=sparsity, interval=Interval(steps=6))
        model = trained(method, steps=48)
        expected = [round(sparsity * (1 - (1 - j / 7) ** 3) * NUM_WEIGHTS) for j in range(1, 8)]
        assert [one["pruned"] for one in method.prunings] == expected
        assert sum(int((model.get_parameter(name) == 0).sum()) for name in NAMES) == expected[-1]


@invariant("gmp", "masks only grow, unless weights may recover")
def gmp_masks_are_nested() -> None:
    kept: list[list[torch.Tensor]] = []
    look = Watch(lambda run: kept.append([run.model.get_parameter(name) != 0 for name in NAMES]))
    for recovering in (False, True):
        kept.clear()
        trained(GMP(sparsity=0.8, interval=Interval(steps=6), allow_recovering=recovering), look, steps=48)
        back = [bool((now & ~then).any()) for a, b in pairwise(kept) for then, now in zip(a, b, strict=True)]
        assert any(back) == recovering


@invariant("gmp", "pruned weights and their momentum are zero after every step")
def gmp_momentum_is_zero() -> None:
    method = GMP(sparsity=0.9, interval=Interval(steps=6))
    seen = []

    def look(run: Run) -> None:
        masks = method._enforced.masks
        for name in NAMES:
            weight = run.model.get_parameter(name)
            for values in (weight, run.optimizer.state[weight]["momentum_buffer"]):
                assert not values[~masks[name]].any()
        seen.append(masks.num_pruned)

    trained(method, Watch(look), steps=48)
    assert seen[-1] == round(0.9 * NUM_WEIGHTS)


def budgeted(*, epochs: float, dense_epochs: float, cycles: int) -> Compressed:
    bimp = BIMP(sparsity=0.9, epochs=epochs, dense_epochs=dense_epochs, cycles=cycles)
    schedule = DenseSchedule.of(MultiStep(num_steps=120, peak=0.1, milestones=(0.5,)))
    return bimp.run_from(trainer(), Start(model=Small(), schedule=schedule))


@invariant("bimp", "dense and retraining steps add up to the budget, and the last cycle takes the remainder")
def the_budget_is_spent() -> None:
    for dense_epochs, expected in ((2, [24, 9, 9, 10]), (1.5, [18, 11, 11, 12])):
        entries = budgeted(epochs=52 / 12, dense_epochs=dense_epochs, cycles=3).entries
        steps = [entry["steps"] for entry in entries if "steps" in entry]
        assert steps == expected
        assert sum(steps) == 52


@invariant("bimp", "the budget ratio of every cycle is its length over that of the dense training")
def the_ratio_is_of_the_dense_part() -> None:
    entries = budgeted(epochs=5, dense_epochs=3, cycles=2).entries
    assert [entry["d2"] for entry in entries if entry["kind"] == "retrain"] == [12 / 36, 12 / 36]


@invariant("bimp", "it is dense training with a linear schedule followed by iterative magnitude pruning, bit by bit")
def the_parts_are_the_parts() -> None:
    whole = budgeted(epochs=4, dense_epochs=2, cycles=2).model
    dense = train_dense(trainer(), Linear(num_steps=24, peak=0.1))
    parts = IMP(sparsity=0.9, epochs=2, cycles=2).run(trainer(), dense.model, dense=dense.schedule).model
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name
