"""Copies of a soup: what they differ in, what is left of them, how they go on, and how bad ones are refused by name."""

import logging
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from paretorch.artefacts.tree import load_tree, save_tree
from paretorch.errors import InputError, NotFiniteError
from paretorch.methods.distillation.settings import DistillationSettings
from paretorch.pipelines.compression import Compressed, Start
from paretorch.pipelines.imp import IMP
from paretorch.pipelines.retraining import Retraining
from paretorch.pipelines.sms import SMS, RePrune
from paretorch.pipelines.sms.copy_unit import CopyUnit
from paretorch.training.run import RunDirectory
from paretorch.training.seeding import stream_seed
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.trainer import Trainer
from tests.pipelines.sms_problem import SEED, SETTINGS, Small, counted, dense, same, start, task, trainer


def soup(**settings: Any) -> SMS:
    return SMS(**{"sparsity": 0.7, "epochs": 2, "copies": 3, "guard": False, **settings})


def in_folder(folder: Path, sms: SMS, given: Callable[[RunDirectory], Trainer] = trainer) -> Compressed:
    with RunDirectory(folder, recipe="x", resume=True) as directory:
        return sms.run_from(given(directory), start())


def copy_file(folder: Path, position: int, cycle: int = 0) -> Path:
    return folder / "copies" / f"cycle-{cycle}-copy-{position}" / "checkpoints" / "candidate.safetensors"


def pruned(imp: IMP, settings: TrainSettings = SETTINGS, seed: int = SEED) -> dict[str, torch.Tensor]:
    given = Trainer(task(), settings, seed=seed)
    return imp.run(given, start().model, dense=start().schedule).model.state_dict()


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_each_copy_is_iterative_pruning_with_the_seed_that_the_ledger_says(tmp_path: Path) -> None:
    fixed = Retraining(schedule="LLR", reestimate_batches=0)  # statistics would be drawn with the seed of the run
    result = in_folder(tmp_path / "run", soup(retraining=fixed))
    imp = IMP(sparsity=0.7, epochs=2, retraining=fixed)
    for position in range(3):
        seed = SEED if position == 0 else stream_seed(SEED, "copy", position)
        assert result.entries[1 + position]["seed"] == seed
        assert equal(load_tree(copy_file(tmp_path / "run", position)), pruned(imp, seed=seed))


def test_each_copy_has_the_weight_decay_that_was_asked_for(tmp_path: Path) -> None:
    values = (0.0, 1e-3, 0.1)
    result = in_folder(tmp_path / "run", soup(vary="weight_decay", values=values))
    assert tuple(line["weight_decay"] for line in result.entries[1:4]) == values
    for position, decay in enumerate(values):
        own = replace(SETTINGS, optimizer=OptimizerSpec(lr=0.1, weight_decay=decay))
        found = load_tree(copy_file(tmp_path / "run", position))
        assert equal(found, pruned(IMP(sparsity=0.7, epochs=2), own))


def test_each_copy_has_the_peak_that_was_asked_for(tmp_path: Path) -> None:
    values, llr = (0.2, 0.1, 0.01), Retraining(schedule="LLR")
    result = in_folder(tmp_path / "run", soup(vary="lr", values=values, retraining=llr))
    assert tuple(line["lr_peak"] for line in result.entries[1:4]) == values
    for position, rate in enumerate(values):
        imp = IMP(sparsity=0.7, epochs=2, retraining=replace(llr, lr=rate))
        assert equal(load_tree(copy_file(tmp_path / "run", position)), pruned(imp))


def test_each_copy_has_the_length_that_was_asked_for(tmp_path: Path) -> None:
    values = (1.0, 2.0, 3.0)
    result = in_folder(tmp_path / "run", soup(vary="length", values=values))
    assert tuple(line["epochs"] for line in result.entries[1:4]) == values
    assert sum(line["epochs"] for line in result.entries[1:4]) == soup().granted_epochs
    for position, epochs in enumerate(values):
        imp = IMP(sparsity=0.7, epochs=epochs)
        assert equal(load_tree(copy_file(tmp_path / "run", position)), pruned(imp))


def test_copies_learn_from_the_teacher_as_iterative_pruning_does() -> None:
    taught = Retraining(distillation=DistillationSettings())
    imp = IMP(sparsity=0.7, epochs=2, retraining=taught).run(trainer(), start().model, dense=start().schedule)
    one = soup(copies=1, retraining=taught).run_from(trainer(), start())
    alone = soup(copies=1).run_from(trainer(), start())
    assert same(one.model, imp.model)
    assert not same(one.model, alone.model)
    assert one.entries[1]["teacher_samples"] == imp.entries[1]["teacher_samples"] > 0


def test_a_budget_in_minutes_is_that_of_one_copy_and_is_timed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed: list[int] = []
    monkeypatch.setattr(Trainer, "rehearse", lambda self, model, **settings: timed.append(1) or 0.01)
    sms = soup(epochs=None, minutes=0.002, copies=2)
    first = in_folder(tmp_path / "run", sms)
    again = in_folder(tmp_path / "run", sms)
    assert [line["steps"] for line in first.entries if "steps" in line] == [12, 12]  # 0.12 s of 0.01 s each
    assert first.entries == again.entries
    assert len(timed) == 1


def test_of_cycles_that_are_over_only_the_last_average_stays_on_the_disk(tmp_path: Path) -> None:
    in_folder(tmp_path / "run", soup(cycles=3))
    kept = {str(path.relative_to(tmp_path / "run")) for path in tmp_path.rglob("*.safetensors")}
    copies = {f"copies/cycle-2-copy-{position}/checkpoints/candidate.safetensors" for position in range(3)}
    assert kept == {"checkpoints/soup-1.safetensors", *copies}


def test_without_a_directory_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    alone = soup(cycles=2).run_from(trainer(), start())
    assert list(tmp_path.iterdir()) == []
    assert same(alone.model, in_folder(tmp_path / "run", soup(cycles=2)).model)


class Stopped(BaseException):
    """The process ended here."""


@pytest.mark.parametrize("point", range(4, 22, 3))
def test_stopped_between_any_two_writes_it_goes_on_to_the_same_soup(
    point: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = soup(cycles=2, copies=2).run_from(trainer(), start())
    calls = 0

    def stopping(write: Callable[..., None]) -> Callable[..., None]:
        def wrapped(self: RunDirectory, *arguments: Any) -> None:
            nonlocal calls
            calls += 1
            if calls == point:
                raise Stopped
            write(self, *arguments)

        return wrapped

    with monkeypatch.context() as patched:
        for name in ("append", "save", "remove"):
            patched.setattr(RunDirectory, name, stopping(getattr(RunDirectory, name)))
        with pytest.raises(Stopped):
            in_folder(tmp_path / "run", soup(cycles=2, copies=2))
    resumed = in_folder(tmp_path / "run", soup(cycles=2, copies=2))
    assert same(resumed.model, whole.model)
    assert counted(resumed.entries) == counted(whole.entries)


def test_a_finished_copy_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = in_folder(tmp_path / "run", soup(cycles=2))
    monkeypatch.setattr(CopyUnit, "run", lambda self, given: pytest.fail("was trained again"))
    again = in_folder(tmp_path / "run", soup(cycles=2))
    assert first.entries == again.entries
    assert same(first.model, again.model)


def test_lines_about_progress_name_the_copy(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paretorch.training.progress.PLAIN_LINE_SECONDS", 0.0)
    with caplog.at_level(logging.INFO, logger="paretorch"):
        soup(cycles=2, copies=2).run_from(trainer(), start())
    for name in ("copy 0 of cycle 0", "copy 1 of cycle 0", "copy 0 of cycle 1", "copy 1 of cycle 1"):
        assert name in caplog.messages
        assert any(f"({name}): step 12 of 12" in line for line in caplog.messages)


def test_a_copy_that_diverges_is_named_and_the_others_stay(tmp_path: Path) -> None:
    seeds = [stream_seed(stream_seed(SEED, "copy", 1), "retrain-0")]
    trouble = {"kind": "infinite", "step": 5, "num_steps": [24], "seeds": seeds}
    with pytest.raises(NotFiniteError, match=r"copy 1 of cycle 0: penalty of 'trouble' = .*at step 5 of phase"):
        in_folder(tmp_path / "run", soup(), lambda directory: trainer(directory, **trouble))
    assert copy_file(tmp_path / "run", 0).exists()
    assert not copy_file(tmp_path / "run", 1).exists()


def test_workers_for_a_task_that_was_built_by_hand_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    for compression in (soup(), RePrune(sparsity=0.7, epochs=2)):
        given = Trainer(task(), SETTINGS, seed=SEED, workers=2)
        with pytest.raises(InputError, match=r"was built by hand.*file.py:factory"):
            compression.check(given, Small(), dense=start().schedule)
        with pytest.raises(InputError, match="was built by hand"):
            compression.run_from(given, start())


def test_a_weight_decay_needs_an_optimizer_that_has_one_to_set() -> None:
    own = replace(SETTINGS, optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1))
    sms = soup(vary="weight_decay", values=(0.0, 1e-4, 1e-3))
    with pytest.raises(InputError, match="needs an OptimizerSpec"):
        sms.check(Trainer(task(), own, seed=SEED), Small(), dense=start().schedule)


def damaged(kind: str, state: dict[str, torch.Tensor], path: Path) -> None:
    if kind == "missing":
        path.unlink()
        return
    if kind == "one bit":
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        return
    state = dict(state)
    if kind == "not a number":
        state["output.bias"] = torch.full_like(state["output.bias"], float("nan"))
    elif kind == "not zero":
        state["hidden.weight"] = torch.ones_like(state["hidden.weight"])
    elif kind == "larger":
        state["output.weight"] = torch.zeros(4, 24)
    save_tree(path, state)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "candidate 'copy 1' cannot be read: .*copy-1.*does not exist"),
        ("one bit", "candidate 'copy 1' cannot be read: .*copy-1.*was changed or damaged"),
        ("not a number", "candidate 'copy 1' has .*values in 'output.bias' that are NaN or infinite"),
        ("not zero", "candidate 'copy 1' is not zero in .* entries of 'hidden.weight' that its masks prune"),
        ("larger", "candidate 'copy 1' .*output.weight"),
    ],
)
@pytest.mark.parametrize("choice", ["uniform", "greedy", "best"])
def test_a_damaged_copy_is_refused_by_name(kind: str, message: str, choice: Any, tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "run", recipe="x") as directory:
        shared: Start = soup().train_shared(trainer(directory), dense())
    path = copy_file(tmp_path / "run", 1)
    damaged(kind, load_tree(path), path)
    with pytest.raises(InputError, match=message):
        soup(soup=choice).run_from(trainer(), shared)


def test_copies_within_a_run_that_a_launcher_has_spread_are_refused() -> None:
    given = trainer()
    given.accelerator.state.num_processes = 2
    try:
        for compression in (soup(), RePrune(sparsity=0.7, epochs=2)):
            with pytest.raises(InputError, match="spread this run over 2 processes"):
                compression.check(given, Small(), dense=start().schedule)
    finally:
        given.accelerator.state.num_processes = 1
