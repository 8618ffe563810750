"""Families out of one elastic training: what is shared, what is chosen, what is cut, and how it is resumed."""

import copy
from dataclasses import replace
from pathlib import Path
from time import sleep
from typing import Any

import pytest
import torch
from torch import nn

from paretorch.errors import InputError, RunError
from paretorch.methods.schedules import DenseSchedule, Linear
from paretorch.methods.width.calibration import Calibration
from paretorch.methods.width.dpod import DPOD
from paretorch.methods.width.dpod_events import ShrinkPlan
from paretorch.methods.width.importance import unit_importance
from paretorch.methods.width.ordered import OrderedModel
from paretorch.methods.width.tables import moved, sensitivity
from paretorch.methods.width.tracing import find_groups
from paretorch.pipelines.dense import DenseResult
from paretorch.pipelines.elastic import Budgets, Elastic, ElasticRun, Widths
from paretorch.pipelines.elastic.calibration import calibration_of
from paretorch.pipelines.elastic.training import ElasticResult
from paretorch.pipelines.retraining import Retraining
from paretorch.training.run import RunDirectory
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.supervised import SupervisedTask
from paretorch.training.trainer import Trainer


def normed() -> nn.Sequential:
    """Two hidden layers, one of them with batch norm: 5 x 16, 16, 16 x 12, 12 x 3 and biases."""
    first, second = nn.Linear(5, 16), nn.Linear(16, 12)
    return nn.Sequential(first, nn.BatchNorm1d(16), nn.ReLU(), second, nn.ReLU(), nn.Linear(12, 3))


def task() -> SupervisedTask:
    stream = torch.Generator().manual_seed(3)
    inputs = 1 + torch.randn(224, 5, generator=stream)
    targets = (inputs @ torch.randn(5, 3, generator=stream)).argmax(1)
    parts = [(inputs[i], targets[i]) for i in torch.arange(224).split([160, 32, 32])]
    return SupervisedTask(normed, train=parts[0], evaluation=parts[1], test=parts[2])


SETTINGS = TrainSettings(batch_size=16, optimizer=OptimizerSpec(lr=0.1, momentum=0.9), device="cpu")
WIDTHS = Widths(quantum=4, min_ratio=0.25)
CALIBRATED = 64


def trainer_in(directory: RunDirectory | None = None, *, seed: int = 0, checkpoint_seconds: float = 60) -> Trainer:
    return Trainer(task(), replace(SETTINGS, checkpoint_seconds=checkpoint_seconds), seed=seed, directory=directory)


def dense() -> DenseResult:
    trainer = trainer_in()
    return DenseResult(model=trainer.model(), schedule=DenseSchedule.of(Linear(num_steps=40, peak=0.1)), entry={})


def elastic(budgets: Budgets, *, shrink: ShrinkPlan | None = None, **settings: Any) -> Elastic:
    run = ElasticRun(epochs=4, widths=WIDTHS, calibration_examples=CALIBRATED, shrink=shrink, **settings)
    return Elastic(run=run, budgets=budgets, epochs=1)


def shrinking(part: float, **settings: Any) -> Elastic:
    return elastic(Budgets(params=part), shrink=ShrinkPlan(target=part), **settings)


def family(*parts: float) -> list[Elastic]:
    given = [shrinking(part) for part in parts]
    return [member.among(given) for member in given]


GROUPS = find_groups(normed(), task().example_inputs())
FULL = GROUPS.num_params(GROUPS.full)


@pytest.fixture(scope="module")
def shrunk() -> tuple[list[Elastic], ElasticResult]:
    members = family(0.7, 0.5, 0.3)
    start = members[0].train_shared(trainer_in(), dense())
    return members, start.found["elastic"]


def test_arms_of_one_training_share_it_and_it_serves_all_their_budgets() -> None:
    members = family(0.5, 0.3, 0.7)
    assert len({member.shared_key for member in members}) == 1
    plan = members[0].run.shrink
    assert plan is not None
    assert plan.target == 0.3
    assert plan.keep_at == (0.7, 0.5)
    other = [shrinking(0.5), shrinking(0.3, sampler="uniform"), elastic(Budgets(params=0.3))]
    apart = [member.among(other) for member in other]
    assert len({member.shared_key for member in apart}) == 3
    assert [member.run.shrink and member.run.shrink.target for member in apart] == [0.5, 0.3, None]
    tuned = [elastic(Budgets(macs=part)).at_rate(rate) for part in (0.5, 0.3) for rate in (0.1, 0.2)]
    assert len({member.shared_key for member in tuned}) == 1


def test_calibration_examples_are_disjoint_halves_of_the_training_set_fixed_by_the_seed() -> None:
    first, again = (calibration_of(trainer_in(), examples=50, batches=3) for _ in range(2))
    indices = [torch.cat([batch["index"] for batch in part]) for part in first.splits]
    assert [len(index) for index in indices] == [25, 25]
    assert len(torch.cat(indices).unique()) == 50
    inputs = task().train_set().batch(indices[0])["inputs"]
    assert torch.equal(inputs, first.splits[0][0]["inputs"])
    assert torch.equal(indices[0], again.splits[0][0]["index"])
    other = calibration_of(trainer_in(seed=1), examples=50, batches=3)
    assert not torch.equal(indices[0], other.splits[0][0]["index"])
    assert len(first.statistics) == 3
    whole = calibration_of(trainer_in(), examples=10_000, batches=0)
    assert [len(part[0]["index"]) for part in whole.splits] == [80, 80]


def test_weights_are_kept_for_every_budget_but_the_smallest(shrunk: tuple[list[Elastic], ElasticResult]) -> None:
    _, result = shrunk
    assert set(result.kept) == {0.7, 0.5}
    sizes = []
    for part, weights in result.kept.items():
        params = sum(p.numel() for p in weights.model.parameters())
        assert weights.shrunk is not None
        assert params == GROUPS.num_params(weights.groups.full) > part * FULL >= GROUPS.num_params(weights.shrunk)
        assert [table.widths[-1] for table in weights.tables] == list(weights.groups.full)
        sizes.append(params)
    final = sum(p.numel() for p in result.final.model.parameters())
    assert final == GROUPS.num_params(result.final.groups.full) <= 0.3 * FULL
    assert sizes[0] > sizes[1] > final


def test_each_member_is_within_its_budget_and_is_cut_from_its_own_weights(
    shrunk: tuple[list[Elastic], ElasticResult],
) -> None:
    members, result = shrunk
    start = replace_found(members[0], result)
    for member, name in zip(members, ("kept at 0.7", "kept at 0.5", "final"), strict=True):
        made = member.run_from(trainer_in(), start)
        cut, retrained = made.entries
        part = member.budgets.given()["params"]
        params = sum(p.numel() for p in made.model.parameters())
        assert params == cut["params"] <= part * FULL
        assert cut["weights"] == name
        assert retrained["steps"] == 10
        profile = tuple(row["width"] for row in cut["widths"])
        assert GROUPS.num_params(profile) == params
        chosen = min(c["loss"] for c in cut["candidates"] if c["footprint"]["params"] <= part * FULL)
        assert cut["loss"] == chosen
        fresh = copy.deepcopy(trainer_in().model())
        for edit in made.edits:
            edit.apply(fresh)
        fresh.load_state_dict(made.model.state_dict())
        inputs = torch.randn(7, 5)
        torch.testing.assert_close(fresh.eval()(inputs), made.model.eval()(inputs), rtol=1e-6, atol=1e-6)


def test_the_time_of_the_search_is_charged(
    shrunk: tuple[list[Elastic], ElasticResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    members, result = shrunk
    measured = Calibration.measured

    def slowly(*args: Any) -> tuple[float, ...]:
        sleep(0.1)
        return measured(*args)

    monkeypatch.setattr(Calibration, "measured", slowly)
    cut, _ = members[1].run_from(trainer_in(), replace_found(members[1], result)).entries
    assert cut["seconds"] >= 0.1 * len(cut["candidates"])


def replace_found(member: Elastic, result: ElasticResult) -> Any:
    from paretorch.pipelines.compression import Start

    return Start(model=result.final.model, schedule=dense().schedule, entries=result.entries, found={"elastic": result})


def test_tables_of_the_ledger_are_those_of_the_weights(shrunk: tuple[list[Elastic], ElasticResult]) -> None:
    _, result = shrunk
    for weights in (result.final, *result.kept.values()):
        ordered = OrderedModel(weights.model, weights.groups)
        again = sensitivity(
            weights.groups,
            weights.groups.full,
            grids=WIDTHS.grids(GROUPS),
            losses_at=lambda profile, ordered=ordered: result.calibration.measured(ordered, profile),
        )
        assert again == weights.tables
    entry = result.entries[1]
    assert [event["footprint"] for event in entry["events"]] == [
        GROUPS.num_params(tuple(e["profile"])) for e in entry["trace"][1:]
    ]


def test_starting_from_the_dense_model_orders_its_units_and_keeps_its_function() -> None:
    member = elastic(Budgets(params=0.5), from_dense=True, training=Retraining(schedule="LLR", lr=1e-12))
    given = dense()
    own = replace(SETTINGS, optimizer=OptimizerSpec(lr=1e-12, momentum=0.0))
    result = member.run.train(Trainer(task(), own, seed=0), given)
    model = result.final.model.eval()
    inputs = torch.randn(9, 5)
    statistics = {name: value for name, value in model.state_dict().items() if "running" in name}
    before = given.model.eval()(inputs)
    model[1].reset_running_stats()  # the dense model's, which was never trained
    torch.testing.assert_close(model(inputs), before, rtol=1e-4, atol=1e-5)
    assert statistics
    for scores in unit_importance(model, result.groups):
        assert torch.equal(scores, scores.sort(descending=True).values) or (scores.diff() < 1e-6).all()
    assert member.from_dense
    assert not elastic(Budgets(params=0.5)).from_dense


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def patched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """`[n]` makes the n-th cut of the training the last thing that happens; [0] lets it live."""
    countdown, narrow = [0], DPOD.narrow

    def fatal(self: DPOD, run: Any, keep: Any) -> None:
        narrow(self, run, keep)
        countdown[0] -= 1
        if countdown[0] == 0:
            raise Killed

    monkeypatch.setattr(DPOD, "narrow", fatal)
    return countdown


@pytest.mark.slow
def test_a_family_killed_in_its_training_and_resumed_is_bitwise_the_same(tmp_path: Path, patched: list[int]) -> None:
    members = family(0.6, 0.3)

    def all_of(folder: Path) -> tuple[ElasticResult, list[Any]]:
        with RunDirectory(folder / "shared", recipe="x", resume=True) as directory:
            start = members[0].train_shared(trainer_in(directory, checkpoint_seconds=0), dense())
        made = []
        for number, member in enumerate(members):
            with RunDirectory(folder / str(number), recipe="x", resume=True) as directory:
                made.append(member.run_from(trainer_in(directory), start))
        return start.found["elastic"], made

    whole, expected = all_of(tmp_path / "whole")
    for moment in (1, 3, 1):  # each time some cuts further, the replayed ones counted
        patched[0] = moment + 2 * (moment == 3)
        with pytest.raises(Killed):
            all_of(tmp_path / "killed")
    patched[0] = 0
    found, made = all_of(tmp_path / "killed")
    assert found.final.tables == whole.final.tables
    assert set(found.kept) == set(whole.kept) == {0.6}
    for a, b in [(found.final, whole.final), (found.kept[0.6], whole.kept[0.6])]:
        assert a.groups.full == b.groups.full
        assert same_weights(a.model, b.model)
    assert all(same_weights(a.model, b.model) for a, b in zip(made, expected, strict=True))
    again, loaded = all_of(tmp_path / "killed")  # everything finished: nothing is trained
    assert same_weights(again.final.model, whole.final.model)
    assert all(same_weights(a.model, b.model) for a, b in zip(loaded, expected, strict=True))
    assert [a.entries for a in loaded] == [b.entries for b in made]


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_kept_weights_that_are_gone_stop_the_run(tmp_path: Path) -> None:
    member = family(0.6, 0.3)[0]
    with RunDirectory(tmp_path / "run", recipe="x", resume=True) as directory:
        member.train_shared(trainer_in(directory), dense())
    (tmp_path / "run" / "checkpoints" / "elastic-kept-0.6.safetensors").unlink()
    with (
        RunDirectory(tmp_path / "run", recipe="x", resume=True) as directory,
        pytest.raises(RunError, match=r"kept at 0.6 of the footprint are gone from .*elastic-kept-0.6"),
    ):
        member.train_shared(trainer_in(directory), dense())


def test_a_tolerance_that_stops_the_shrinking_leaves_the_rest_to_the_search() -> None:
    run = replace(shrinking(0.3).run, shrink=ShrinkPlan(target=0.3, tolerance=0.0))
    member = Elastic(run=run, budgets=Budgets(params=0.3), epochs=0)
    start = member.train_shared(trainer_in(), dense())
    result = start.found["elastic"]
    assert result.entries[1]["stopped_by_tolerance"]
    assert GROUPS.num_params(result.final.groups.full) > 0.3 * FULL
    made = member.run_from(trainer_in(), start)
    assert sum(p.numel() for p in made.model.parameters()) <= 0.3 * FULL


def test_what_cannot_be_reached_is_refused_before_training() -> None:
    def refused(member: Elastic, words: str) -> None:
        trainer = trainer_in()
        with pytest.raises(InputError, match=words):
            member.check(trainer, trainer.model(), dense=dense().schedule)

    smallest = GROUPS.num_params((4, 4))  # of the grids, multiples of 4 from a quarter on
    refused(elastic(Budgets(params=0.01)), rf"smallest profile of the grids, \(4, 4\), has {smallest}")
    refused(
        elastic(Budgets(params=0.9, macs=0.01)), "budget of 90 % params 1 % macs allows 3 macs of 308, and the smallest"
    )
    nothing = replace(elastic(Budgets(params=0.5)).run, epochs=0.01)
    refused(
        replace(elastic(Budgets(params=0.5)), run=nothing), "0.01 epochs are less than one optimizer step; .* has 10"
    )
    refused(shrinking(0.05), r"shrinking to 0.05 of params .* cannot be reached")
    short = replace(shrinking(0.5).run, epochs=0.3)
    refused(replace(shrinking(0.5), run=short), "shrinking may need 5 events")
    apart = replace(shrinking(0.5), budgets=Budgets(params=0.7))
    refused(apart, "keeps no weights for 70 % params: it shrinks to 0.5")
    pinned = replace(elastic(Budgets(params=0.5)).run, widths=Widths(pins=("*",)))
    refused(replace(elastic(Budgets(params=0.5)), run=pinned), "has no width that can be cut")


def test_a_teacher_without_class_scores_is_refused_before_training() -> None:
    taught = elastic(Budgets(params=0.5), full_pass=True)
    trainer = trainer_in()
    model = trainer.model()
    before = copy.deepcopy(model.state_dict())
    taught.check(trainer, model, dense=dense().schedule)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    inputs = torch.randn(20, 5)
    parts = (inputs, inputs[:, :3])
    numbers = SupervisedTask(normed, train=parts, evaluation=parts, test=parts, loss="mse")
    with pytest.raises(InputError, match="needs class scores, and the `logits` of SupervisedTask are None"):
        taught.check(Trainer(numbers, SETTINGS), model, dense=dense().schedule)


def test_settings_out_of_range_are_refused() -> None:
    shrink = ShrinkPlan(target=0.5)
    with pytest.raises(InputError, match="'gaussian' is no sampler of widths"):
        ElasticRun(epochs=1, sampler="gaussian")
    with pytest.raises(InputError, match="positive number of epochs; got 0"):
        ElasticRun(epochs=0)
    with pytest.raises(InputError, match="ALLR takes its rate"):
        ElasticRun(epochs=1, training=Retraining(schedule="ALLR"))
    with pytest.raises(InputError, match="ALLR takes its rate"):
        Elastic(run=ElasticRun(epochs=1), budgets=Budgets(params=0.5), epochs=1, finetuning=Retraining(schedule="ALLR"))
    with pytest.raises(InputError, match="say how small"):
        Budgets()
    with pytest.raises(InputError, match=r"macs is the fraction that may be left, in \(0, 1\]; got 1.2"):
        Budgets(macs=1.2)
    with pytest.raises(InputError, match="a budget is one fraction of params"):
        elastic(Budgets(macs=0.5), shrink=shrink)
    with pytest.raises(InputError, match="leaves nothing to shrink"):
        elastic(Budgets(params=1.0), shrink=shrink)
    with pytest.raises(InputError, match="either as epochs or as minutes; got neither"):
        Elastic(run=ElasticRun(epochs=1), budgets=Budgets(params=0.5))
    with pytest.raises(InputError, match="cannot be split in 2 halves"):
        calibration_of(trainer_in(), examples=1, batches=1)


def test_a_model_whose_widths_are_found_in_training_cannot_be_timed_beforehand() -> None:
    with pytest.raises(InputError, match="Elastic cannot be an arm of a comparison"):
        shrinking(0.5).rehearsal(trainer_in())


def test_the_fine_tuning_rate_is_a_share_of_the_dense_peak_and_falls_to_its_floor(
    shrunk: tuple[list[Elastic], ElasticResult],
) -> None:
    members, result = shrunk
    start = replace_found(members[0], result)
    made = replace(members[2], peak_share=0.4).run_from(trainer_in(), start)
    assert made.entries[1]["lr_peak"] == pytest.approx(0.4 * 0.1)
    own = members[2].at_rate(0.03).run_from(trainer_in(), start)
    assert own.entries[1]["lr_peak"] == pytest.approx(0.03)


def test_moves_of_the_centre_are_those_of_the_events(shrunk: tuple[list[Elastic], ElasticResult]) -> None:
    _, result = shrunk
    centre = GROUPS.full
    for event in result.entries[1]["events"]:
        centre = moved(centre, GROUPS.names.index(event["group"]), event["width"])
    assert centre == result.final.groups.full
