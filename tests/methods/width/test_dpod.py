"""Progressive shrinking: one group per event, sliced exactly, resumable bit for bit, and refused before work starts."""

import copy
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.methods.method import Run
from paretorch.methods.width.calibration import Calibration
from paretorch.methods.width.dpod import DPOD, footprints, restored
from paretorch.methods.width.dpod_events import ShrinkPlan
from paretorch.methods.width.groups import WidthGroups
from paretorch.methods.width.samplers import Independent, Sandwich, SingleLayer
from paretorch.training.run import RunDirectory
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.supervised import SupervisedTask
from paretorch.training.trainer import Trainer
from tests.methods.width.handmade import perceptron, perceptron_groups
from tests.methods.width.test_calibration import normed
from tests.training.hook_methods import TwoBackwards

SIZES = (6, 16, 12, 8, 3)
GROUPS = perceptron_groups(*SIZES)
FULL = GROUPS.num_params(GROUPS.full)
SGD = OptimizerSpec(lr=0.05, momentum=0.9, weight_decay=1e-3)
ADAMW = OptimizerSpec(name="adamw", lr=0.01, weight_decay=0.01)
PLAN = ShrinkPlan(target=0.3, window=(0.1, 0.8))
STEPS = 40


def double_perceptron() -> nn.Sequential:
    return perceptron(*SIZES).double()


def task(model: Callable[[], nn.Module] = double_perceptron) -> SupervisedTask:
    """Regression on 64 examples, in double precision."""
    stream = torch.Generator().manual_seed(3)
    inputs = torch.randn(96, 6, generator=stream, dtype=torch.float64)
    targets = (inputs @ torch.randn(6, 3, generator=stream, dtype=torch.float64)).tanh()
    parts = [(inputs[i], targets[i]) for i in torch.arange(96).split([64, 16, 16])]
    return SupervisedTask(model, train=parts[0], evaluation=parts[1], test=parts[2], loss="mse")


def calibration(of: SupervisedTask) -> Calibration:
    examples = of.train_set()
    halves = [[examples.batch(part)] for part in torch.arange(32).split(16)]
    batches = [examples.batch(part) for part in torch.arange(64).split(16)]
    return Calibration(losses=lambda model, b: of.loss(model, b, "none"), splits=halves, statistics=batches)


class Watched(DPOD):
    """Looks at the model and its optimizer before and after every event."""

    def start(self, run: Run) -> None:
        super().start(run)
        self.pairs: list[tuple[Any, Any]] = []
        self.inputs = torch.randn(5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def _event(self, run: Run) -> None:
        before = self.look(run)
        groups, ordered = self.groups, self.ordered
        with torch.no_grad():
            super()._event(run)
            if self.groups is not groups:
                after = self.look(run)
                own = [float(p.numel()) for p in run.model.parameters()]
                assert sum(own) == self.groups.num_params(self.groups.full)  # counted, not computed
                after["measured"] = self.calibration.measured(self.ordered, self.groups.full)
                before["prefix"] = self.prefix_output(before["model"], ordered.groups)
                self.pairs.append((before, after))

    def prefix_output(self, model: nn.Module, groups: WidthGroups) -> Tensor:
        """By masks, which share no code with slicing."""
        hidden = self.inputs
        for number, width in enumerate(self.groups.full):
            layer = model[2 * number]
            hidden = layer(hidden).relu() * (torch.arange(layer.out_features) < width)
        return model[2 * len(groups.full)](hidden)

    def look(self, run: Run) -> dict[str, Any]:
        names = {parameter: name for name, parameter in run.model.named_parameters()}
        state = {names[p]: copy.deepcopy(dict(s)) for p, s in run.optimizer.state.items()}
        model = copy.deepcopy(run.model)
        return {"model": model, "centre": self.groups.full, "state": state, "output": model(self.inputs)}


def fit(
    method: DPOD, of: SupervisedTask, *, optimizer: OptimizerSpec = SGD, directory: RunDirectory | None = None
) -> tuple[nn.Module, Any]:
    settings = TrainSettings(batch_size=16, optimizer=optimizer, checkpoint_seconds=0, device="cpu")
    trainer = Trainer(of, settings, seed=0, directory=directory)
    model = trainer.model()
    result = trainer.fit(model, phase="elastic", num_steps=STEPS, methods=[method])
    return model, result


def watched(optimizer: OptimizerSpec = SGD, **settings: Any) -> Watched:
    of = task()
    method = Watched(
        settings.pop("plan", PLAN), calibration=calibration(of), groups=GROUPS, quantum=4, min_ratio=0.25, **settings
    )
    model, result = fit(method, of, optimizer=optimizer)
    method.model, method.result = model, result
    return method


@pytest.mark.parametrize("optimizer", [SGD, ADAMW], ids=["sgd", "adamw"])
def test_each_event_narrows_one_group_by_a_level_and_slices_weights_and_optimizer_state(
    optimizer: OptimizerSpec,
) -> None:
    method = watched(optimizer)
    assert len(method.pairs) == len(method.events) > 3
    assert method.pairs[0][0]["centre"] == (16, 12, 8)
    for before, after in method.pairs:
        moves = [(a, b) for a, b in zip(before["centre"], after["centre"], strict=True) if a != b]
        assert len(moves) == 1
        assert moves[0][0] - moves[0][1] == 4  # a grid step
        assert GROUPS.num_params(after["centre"]) < GROUPS.num_params(before["centre"])
        torch.testing.assert_close(after["output"], before["prefix"], rtol=1e-12, atol=1e-12)
        kept = before["model"].state_dict()
        moments = 0
        for name, value in after["model"].state_dict().items():
            region = tuple(slice(0, size) for size in value.shape)
            assert torch.equal(value, kept[name][region])
            for key, entry in after["state"][name].items():
                if isinstance(entry, Tensor) and entry.dim():
                    assert torch.equal(entry, before["state"][name][key][region])
                    moments += 1
                else:
                    assert entry == before["state"][name][key]
        assert moments >= 8
    final = method.pairs[-1][1]["centre"]
    assert GROUPS.num_params(final) <= 0.3 * FULL
    assert method.model[0].weight.shape == (final[0], 6)
    assert method.events[-1]["footprint"] == GROUPS.num_params(final)
    footprint = [FULL, *(event["footprint"] for event in method.events)]
    assert [a - b for a, b in pairwise(footprint)] == [e["saving"] for e in method.events]


def test_events_follow_the_targets_and_lie_in_the_window() -> None:
    method = watched()
    steps = [event["step"] for event in method.events]
    assert steps == sorted(set(steps))
    assert 4 <= steps[0] <= steps[-1] <= 32
    sizes = [FULL, *(event["footprint"] for event in method.events)]
    for event, before in zip(method.events, sizes, strict=False):
        limits = [PLAN.limit_at(event["step"] + k, num_steps=STEPS, full=FULL) for k in (-1, 0)]
        assert before > limits[1]  # due
        late = event["step"] - 1 in steps  # only after an event in the step before
        assert before <= limits[0] or late


def test_the_curve_shows_the_footprint_and_the_macs_of_the_centre() -> None:
    method = watched()
    curve = method.result.curve
    assert curve[0]["centre_params"] == FULL
    assert curve[-1]["centre_params"] == method.events[-1]["footprint"]
    assert curve[-1]["centre_macs"] == sum(a * b for a, b in pairwise((6, *method.groups.full, 3)))
    sizes = [point["centre_params"] for point in curve]
    assert sizes == sorted(sizes, reverse=True)


def test_the_trace_holds_losses_that_the_cut_models_have() -> None:
    method = watched()
    measured = {after["centre"]: sum(after["measured"]) / 2 for _, after in method.pairs}
    assert [entry.profile for entry in method.trace] == [GROUPS.full, *measured]
    for entry in method.trace:
        assert entry.source == "trace"
        assert entry.footprint == footprints(GROUPS, entry.profile)
        if entry.profile != GROUPS.full:
            assert entry.loss == pytest.approx(measured[entry.profile], rel=1e-9)


def test_all_levels_may_skip_widths_in_one_event() -> None:
    method = watched(plan=ShrinkPlan(target=0.3, window=(0.1, 0.8), all_levels=True))
    assert all(sum(a != b for a, b in zip(x["centre"], y["centre"], strict=True)) == 1 for x, y in method.pairs)
    narrow = watched()
    assert len(method.events) <= len(narrow.events)


def test_a_tolerance_ends_the_shrinking_before_the_target() -> None:
    method = watched(plan=ShrinkPlan(target=0.3, window=(0.1, 0.8), tolerance=0.0))
    assert method.stopped
    assert all(event["error"] == 0.0 for event in method.events)
    assert GROUPS.num_params(method.groups.full) > 0.3 * FULL


@pytest.mark.parametrize("sampler", [SingleLayer, Independent, Sandwich])
def test_samplers_go_on_below_the_new_centre(sampler: Callable[[], Any]) -> None:
    method = watched(sampler=sampler())
    assert method.sampler.centre == method.groups.full
    draws = [profile for _ in range(50) for profile in method.sampler.draw()]
    assert all(width <= top for profile in draws for width, top in zip(profile, method.groups.full, strict=True))


def test_batch_norm_statistics_are_cut_with_their_units() -> None:
    model, groups = normed()
    stream = torch.Generator().manual_seed(5)
    inputs = 1 + torch.randn(80, 3, generator=stream, dtype=torch.float64)
    parts = [(inputs[:64], inputs[:64, :2]), (inputs[64:], inputs[64:, :2])]
    of = SupervisedTask(lambda: copy.deepcopy(model), train=parts[0], evaluation=parts[1], test=parts[1], loss="mse")
    plan = ShrinkPlan(target=0.4, window=(0.1, 0.8))
    method = DPOD(plan, calibration=calibration(of), groups=groups, quantum=1, min_ratio=0.0)
    seen: list[tuple[dict[str, Tensor], dict[str, Tensor]]] = []
    narrow = method.narrow

    def spied(run: Run, keep: Any) -> None:
        before = {name: value.clone() for name, value in run.model.state_dict().items()}
        narrow(run, keep)
        seen.append((before, {name: value.clone() for name, value in run.model.state_dict().items()}))

    method.narrow = spied  # type: ignore[method-assign]
    trained, _ = fit(method, of)
    assert len(seen) == len(method.events) == 6 - method.groups.full[0]
    for before, after in seen:
        for name in ("1.running_mean", "1.running_var"):
            assert torch.equal(after[name], before[name][: len(after[name])])
        assert after["1.num_batches_tracked"] == before["1.num_batches_tracked"]
    assert trained[1].num_features == method.groups.full[0]
    assert all(entry.reestimated for entry in method.trace)


class KilledError(Exception):
    """Stands for the end of the process."""


class Bomb(DPOD):
    """Dies at the beginning of a step, or within an event after the cut."""

    at: int = -1
    inside: bool = False

    def before_forward(self, run: Run) -> None:
        if run.step == self.at and not self.inside:
            raise KilledError
        super().before_forward(run)

    def narrow(self, run: Run, keep: Any) -> None:
        super().narrow(run, keep)
        if self.inside and run.step == self.at and len(self._cuts) > len(self.events):
            raise KilledError


def run_to(directory: Path, *, at: int = -1, inside: bool = False) -> tuple[nn.Module, DPOD, dict[float, Any]]:
    of, kept = task(), {}
    plan = ShrinkPlan(target=0.3, window=(0.1, 0.8), keep_at=(0.6, 0.45))
    method = Bomb(plan, calibration=calibration(of), on_kept=kept.__setitem__, groups=GROUPS, quantum=4, min_ratio=0.25)
    method.at, method.inside = at, inside
    with RunDirectory(directory, recipe="x", resume=True) as opened:
        model, _ = fit(method, of, optimizer=ADAMW, directory=opened)
    return model, method, kept


@pytest.mark.parametrize("every", [6, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_anywhere_and_resumed_is_bitwise_the_uninterrupted_run(tmp_path: Path, every: int) -> None:
    """Before an event, within it after the cut, after it, and before the last step."""
    whole, method, kept = run_to(tmp_path / "whole")
    events = [event["step"] for event in method.events]
    moments = [(step, inside) for step in events for inside in (False, True)] + [(step + 1, False) for step in events]
    for number, (step, inside) in enumerate([*moments, (39, False)][::every]):
        directory = tmp_path / str(number)
        with pytest.raises(KilledError):
            run_to(directory, at=step, inside=inside)
        again, resumed, kept_again = run_to(directory)
        assert resumed.events == method.events
        assert resumed.trace == method.trace
        assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))
        for fraction, weights in kept_again.items():
            assert weights["step"] == kept[fraction]["step"]
            assert all(torch.equal(v, kept[fraction]["model"][k]) for k, v in weights["model"].items())


def test_a_finished_phase_is_loaded_at_its_last_centre(tmp_path: Path) -> None:
    model, method, _ = run_to(tmp_path / "run")
    again, loaded, kept = run_to(tmp_path / "run")
    assert loaded.groups.full == method.groups.full
    assert loaded.sampler.state_dict() == method.sampler.state_dict()
    assert not kept  # nothing was trained
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_weights_are_kept_as_they_were_when_the_footprint_last_exceeded_the_fraction(tmp_path: Path) -> None:
    _, method, kept = run_to(tmp_path / "run")
    assert set(kept) == {0.6, 0.45}
    sizes = {event["step"]: event["footprint"] for event in method.events}
    for fraction, weights in kept.items():
        model = double_perceptron()
        groups = restored(model, GROUPS, weights)
        assert groups.names == GROUPS.names
        params = sum(p.numel() for p in model.parameters())
        assert params == GROUPS.num_params(groups.full)
        assert params > fraction * FULL >= sizes[weights["step"]]
        assert all(torch.equal(v, weights["model"][name]) for name, v in model.state_dict().items())


def test_what_cannot_be_shrunk_is_refused_before_a_step() -> None:
    of = task()

    def refused(plan: ShrinkPlan, words: str, **settings: Any) -> None:
        method = DPOD(plan, calibration=calibration(of), groups=GROUPS, quantum=4, min_ratio=0.25, **settings)
        with pytest.raises(InputError, match=words):
            fit(method, of)

    refused(ShrinkPlan(target=0.01), r"smallest profile of the grids, \(4, 4, 4\), has 83, a fraction of 0.186")
    refused(ShrinkPlan(target=0.3, window=(0.5, 0.52)), r"has 1 steps \(20 to 21 of 40\), and shrinking may need 6")
    with pytest.raises(InputError, match="no on_kept to store them"):
        DPOD(ShrinkPlan(target=0.3, keep_at=(0.5,)), calibration=calibration(of))


def test_another_owner_of_the_step_is_refused() -> None:
    of = task()
    method = DPOD(PLAN, calibration=calibration(of), groups=GROUPS)
    trainer = Trainer(of, TrainSettings(batch_size=16, device="cpu"))
    with pytest.raises(InputError, match=r"at most one method may own the training step; \['dpod', 'two-backwards'\]"):
        trainer.fit(trainer.model(), phase="x", num_steps=STEPS, methods=[method, TwoBackwards()])


def test_kept_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    _, _, kept = run_to(tmp_path / "run")
    with pytest.raises(InputError, match="do not fit the model"):
        restored(perceptron(6, 16, 12, 8, 5).double(), perceptron_groups(6, 16, 12, 8, 5), kept[0.6])
