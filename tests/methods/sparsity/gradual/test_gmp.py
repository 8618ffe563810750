"""Gradual magnitude pruning: counts along the cubic curve, recovering weights, momentum, resuming, bad input."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from paretorch.errors import InputError, RunError
from paretorch.methods.method import Run
from paretorch.methods.sparsity.gradual.gmp import GMP
from paretorch.methods.sparsity.gradual.schedule import Interval, PruningTimes, cubic_sparsity
from paretorch.methods.sparsity.magnitude import magnitude_masks
from paretorch.methods.sparsity.masks import Masks
from tests.methods.sparsity.gradual.problems import NAMES, NUM_WEIGHTS, Watch, assert_resumes, trained, trainer

STEPS = 60
EVERY = Interval(steps=10)  # five prunings, after 10, 20, ..., 50 steps


def zeros(model: nn.Module) -> int:
    return sum(int((model.get_parameter(name) == 0).sum()) for name in NAMES)


def watched(method: GMP, *, steps: int = STEPS) -> list[dict[str, Tensor]]:
    """What was kept after every step."""
    seen: list[dict[str, Tensor]] = []

    def look(run: Run) -> None:
        seen.append({name: run.model.get_parameter(name).detach() != 0 for name in NAMES})

    trained(method, Watch(look), steps=steps)
    return seen


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9, 0.977])
@pytest.mark.parametrize("recovering", [False, True])
def test_the_zeros_after_every_step_are_those_of_the_cubic_curve_and_the_last_are_exact(
    sparsity: float, recovering: bool
) -> None:
    method = GMP(sparsity=sparsity, interval=EVERY, allow_recovering=recovering)
    counts = [sum(int((~kept).sum()) for kept in masks.values()) for masks in watched(method)]
    expected = [round(NUM_WEIGHTS * sparsity * (1 - (1 - j / 5) ** 3)) for j in range(1, 6)]
    expected = [0] * 10 + [count for count in expected for _ in range(10)]
    assert counts == expected
    assert counts[-1] == method.masks.num_pruned == round(NUM_WEIGHTS * sparsity)
    assert [one["pruned"] for one in method.prunings] == expected[10::10]
    assert [one["step"] for one in method.prunings] == [10, 20, 30, 40, 50]


def test_masks_only_grow_unless_weights_may_recover() -> None:
    for recovering in (False, True):
        seen = watched(GMP(sparsity=0.8, interval=EVERY, allow_recovering=recovering))
        revived = sum(int((after[n] & ~before[n]).sum()) for before, after in pairwise(seen) for n in NAMES)
        assert (revived > 0) == recovering


@pytest.mark.parametrize("allocation", ["global", "uniform", "erk", "lamp", "random"])
def test_every_allocation_reaches_its_own_counts_per_layer(allocation: str) -> None:
    method = GMP(sparsity=0.7, interval=EVERY, allocation=allocation)
    model = trained(method, steps=STEPS)
    assert zeros(model) == round(NUM_WEIGHTS * 0.7)
    if allocation in ("uniform", "erk"):  # the only two whose counts do not depend on the weights
        once = magnitude_masks(model, sparsity=0.7, allocation=allocation)
        assert method.masks.counts() == once.counts()


def test_the_first_pruning_takes_the_smallest_weights_and_the_next_ones_the_smallest_of_those_left() -> None:
    before: list[dict[str, Tensor]] = []

    def look(run: Run) -> None:
        before.append({name: run.model.get_parameter(name).detach().clone() for name in NAMES})

    method = GMP(sparsity=0.6, interval=EVERY)
    trained(method, Watch(look), steps=STEPS)
    kept: Masks | None = None
    for pruning in method.prunings:
        model = nn.Module()
        weights = before[pruning["step"] - 1]
        model.hidden, model.output = nn.Linear(8, 24), nn.Linear(24, 3)
        with torch.no_grad():
            model.hidden.weight.copy_(weights["hidden.weight"])
            model.output.weight.copy_(weights["output.weight"])
        kept = magnitude_masks(model, sparsity=pruning["pruned"] / NUM_WEIGHTS, previous=kept)
        for name in NAMES:
            assert torch.equal(before[pruning["step"]][name] != 0, kept[name])


def test_the_momentum_of_pruned_entries_is_zero_from_the_pruning_on() -> None:
    left = []

    def look(run: Run) -> None:
        for name in NAMES:
            weight = run.model.get_parameter(name)
            left.append(float(run.optimizer.state[weight]["momentum_buffer"][weight == 0].abs().sum()))

    trained(GMP(sparsity=0.9, interval=EVERY), Watch(look), steps=STEPS)
    assert left == [0.0] * (2 * STEPS)


def test_a_recovering_weight_goes_on_from_the_value_it_had_when_it_was_pruned() -> None:
    """By an independent copy: every weight that is back equals its last value before it was pruned, moved one step."""
    history: list[dict[str, Tensor]] = []

    def look(run: Run) -> None:
        history.append({name: run.model.get_parameter(name).detach().clone() for name in NAMES})

    class Still(GMP):
        """Shows the weights right after a pruning, before the next step moves them."""

        after: dict[int, dict[str, Tensor]]

        def before_forward(self, run: Run) -> None:
            super().before_forward(run)
            if run.step % 10 == 0 and run.step:
                self.after[run.step] = {name: run.model.get_parameter(name).detach().clone() for name in NAMES}

    method = Still(sparsity=0.8, interval=EVERY, allow_recovering=True)
    method.after = {}
    trained(method, Watch(look), steps=STEPS)
    last = history[9]
    back = 0
    for step in (20, 30, 40, 50):
        now, trained_to = method.after[step], history[step - 1]
        previous = method.after[step - 10]
        for name in NAMES:
            waited = (previous[name] == 0) & (now[name] != 0)
            back += int(waited.sum())
            assert torch.equal(now[name][waited], last[name][waited])
        last = {n: torch.where(previous[n] == 0, last[n], trained_to[n]) for n in NAMES}
    assert back > 0


# With sparsity 0.5 the pruning after step 50 brings weights back, from what waits at step 45.
@pytest.mark.parametrize(("sparsity", "recovering"), [(0.85, False), (0.5, True)])
@pytest.mark.parametrize("fatal_step", [7, 20, 45, 55])
def test_a_run_that_dies_between_prunings_or_just_before_one_resumes_bitwise(
    tmp_path: Path, sparsity: float, recovering: bool, fatal_step: int
) -> None:
    def make() -> GMP:
        return GMP(sparsity=sparsity, interval=EVERY, allow_recovering=recovering)

    assert_resumes(make, tmp_path / "run", steps=STEPS, fatal_step=fatal_step)


def test_the_curve_holds_the_sparsity_after_every_epoch() -> None:
    own = trainer()
    method = GMP(sparsity=0.9)  # an interval of one epoch, 12 steps: prunings after 12, 24, 36 and 48
    curve = own.fit(own.model(), phase="gradual", num_steps=STEPS, methods=[method]).curve
    seen = {point["step"]: point["sparsity"] for point in curve if "sparsity" in point}
    counts = [round(NUM_WEIGHTS * 0.9 * (1 - (1 - j / 4) ** 3)) for j in range(5)]
    assert seen == {12 * (j + 1): count / NUM_WEIGHTS for j, count in enumerate(counts)}


def test_only_what_is_included_is_pruned() -> None:
    method = GMP(sparsity=0.5, interval=EVERY, include="hidden")
    model = trained(method, steps=STEPS)
    assert list(method.masks) == ["hidden.weight"]
    assert int((model.hidden.weight == 0).sum()) == 96
    assert not (model.output.weight == 0).any()


@given(steps=st.integers(3, 400), interval=st.integers(1, 100))
def test_the_prunings_are_equally_spaced_and_the_last_leaves_one_interval(steps: int, interval: int) -> None:
    if steps // interval < 3:
        with pytest.raises(InputError, match="needs at least two"):
            PruningTimes(num_steps=steps, interval=interval)
        return
    times = PruningTimes(num_steps=steps, interval=interval)
    found = [step for step in range(steps + 1) if times.number_at(step) is not None]
    assert found == [interval * j for j in range(1, times.count + 1)]
    assert interval <= steps - found[-1] < 2 * interval
    assert times.progress(found[-1]) == 1.0 > times.progress(found[-2])


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.999))
def test_the_cubic_curve_rises_from_nothing_to_the_final_sparsity(one: float, other: float, final: float) -> None:
    low, high = sorted((one, other))
    assert 0 == cubic_sparsity(0.0, final=final) <= cubic_sparsity(low, final=final)
    assert cubic_sparsity(low, final=final) <= cubic_sparsity(high, final=final)
    assert cubic_sparsity(1.0, final=final) == cubic_sparsity(1.5, final=final) == final
    assert cubic_sparsity(0.5, final=final) == pytest.approx(final * 7 / 8)


@pytest.mark.parametrize(("interval", "steps"), [(Interval(), 12), (Interval(epochs=0.25), 3), (Interval(steps=7), 7)])
def test_an_interval_is_given_in_epochs_or_steps(interval: Interval, steps: int) -> None:
    assert interval.num_steps(12) == steps


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GMP(sparsity=1.0), r"in \[0, 1\); got 1\.0"),
        (lambda: GMP(sparsity=90), "For 90 % removed pass 0.9"),
        (lambda: GMP(sparsity=0.5, allocation="globl"), "unknown allocation 'globl'"),
        (lambda: Interval(epochs=1, steps=3), "in epochs or in steps; got 1 epochs and 3 steps"),
        (lambda: Interval(epochs=0), "positive number of epochs; got 0"),
        (lambda: Interval(epochs=float("inf")), "positive number of epochs; got inf"),
        (lambda: Interval(steps=0), "at least one whole step; got 0"),
    ],
)
def test_settings_out_of_range_are_refused_with_their_value(make, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (GMP(sparsity=0.9, interval=Interval(steps=25)), "room for 1 before the last 25; .* at most 20 steps"),
        (GMP(sparsity=0.9, interval=Interval(steps=100)), "room for 0 before the last 100"),
        (GMP(sparsity=0.9999, interval=EVERY), r"sparsity=0\.9999 of 264 weights rounds to all of them"),
        (GMP(sparsity=0.9, interval=EVERY, include="nothing"), "nothing"),
        (GMP(sparsity=0.9, interval=EVERY, allocation="uniform+"), "0 convolutions"),
    ],
)
def test_a_run_or_a_model_that_does_not_fit_is_refused_before_it_begins(method: GMP, message: str) -> None:
    model = trainer().model()
    with pytest.raises(InputError, match=message):
        method.check(model, num_steps=STEPS, steps_per_epoch=12)
    with pytest.raises(InputError, match=message):
        trained(method, steps=STEPS)


def test_the_masks_are_not_known_before_the_end() -> None:
    with pytest.raises(RunError, match="after `finish`"):
        _ = GMP(sparsity=0.5).masks


def test_a_training_that_ends_early_says_what_sparsity_it_left() -> None:
    class Short(GMP):
        def finish(self, run: Run) -> None:
            self.prunings.pop()
            super().finish(run)

    with pytest.warns(UserWarning, match="after 4 of 5 prunings: the model's sparsity is"):
        trained(Short(sparsity=0.5, interval=EVERY), steps=STEPS)
