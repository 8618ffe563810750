"""Resuming: after signals, after everything but the checkpoint was lost, and never from what does not fit."""

import os
import signal
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from paretorch.artefacts.tree import save_tree
from paretorch.errors import ArtefactError, InputError
from paretorch.methods.method import Method, Run
from paretorch.training.interrupt import stop_on_signal
from paretorch.training.run import RunDirectory
from paretorch.training.settings import TrainSettings
from paretorch.training.trainer import PhaseResult, Trainer
from tests.training.problems import normed_task, plain


class Signals(Method):
    """Sends this process a signal in the middle of a step, like Ctrl-C would, and logs a number in every step."""

    name = "signals"

    def __init__(self, at: int | None = None, number: int = signal.SIGINT) -> None:
        self.at, self.number = at, number

    def before_update(self, run: Run) -> None:
        run.log(**{f"epoch_at_{run.step}": float(run.epoch)})
        if run.step == self.at:
            os.kill(os.getpid(), self.number)


def fit(
    folder: Path | None, method: Method, *, seed: int = 1, num_steps: int = 250, **settings: Any
) -> tuple[dict[str, Tensor], PhaseResult]:
    directory = RunDirectory(folder, recipe="", resume=True) if folder is not None else None
    try:
        trainer = Trainer(
            normed_task(), plain(16, momentum=0.9, checkpoint_seconds=1000, **settings), seed=seed, directory=directory
        )
        model = trainer.model()
        result = trainer.fit(model, phase="dense", num_steps=num_steps, methods=[method])
        return model.state_dict(), result
    finally:
        if directory is not None:
            directory.close()


def without_seconds(curve: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in point.items() if key != "seconds"} for point in curve]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("at", [0, 100, 249])
def test_stopped_by_a_signal_and_resumed_equals_the_uninterrupted_run(tmp_path: Path, number: int, at: int) -> None:
    expected, whole = fit(None, Signals())
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "run", Signals(at, number))
    with RunDirectory(tmp_path / "run", recipe="", resume=True) as directory:
        assert directory.load("current")["progress"]["step"] == at + 1, "the running step was finished first"
    resumed, result = fit(tmp_path / "run", Signals())
    assert all(torch.equal(expected[name], resumed[name]) for name in expected)
    assert without_seconds(result.curve) == without_seconds(whole.curve)
    assert result.validation == whole.validation


def test_seconds_add_up_over_resumptions(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "run", Signals(200))
    with RunDirectory(tmp_path / "run", recipe="", resume=True) as directory:
        before = directory.load("current")["progress"]["watch"]["seconds"]
    _, result = fit(tmp_path / "run", Signals())
    assert 0 < before < result.seconds
    assert [point["seconds"] for point in result.curve] == sorted(point["seconds"] for point in result.curve)


def test_signal_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with stop_on_signal() as stop:
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] != before
        assert not stop.requested
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_second_signal_acts_at_once() -> None:
    with stop_on_signal() as stop:
        signal.raise_signal(signal.SIGTERM)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_training_in_a_thread_installs_no_handlers() -> None:
    results: list[PhaseResult] = []
    thread = threading.Thread(target=lambda: results.append(fit(None, Signals(), num_steps=2)[1]))
    thread.start()
    thread.join(timeout=60)
    assert results[0].steps == 2


def interrupted(folder: Path, **settings: Any) -> Path:
    """A run directory with a checkpoint at step 4 of 10."""
    with pytest.raises(KeyboardInterrupt):
        fit(folder, Signals(3), num_steps=10, **settings)
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 2}, "has seed .*, this run"),
        ({"num_steps": 11}, "has num_steps 10, this run 11"),
        ({"lr": 0.2}, "has settings .*'lr': 0.1"),
        ({"clip_norm": 1.0}, "has settings .*'clip_norm': None"),
    ],
)
def test_checkpoint_of_another_plan_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    folder = interrupted(tmp_path / "run")
    with pytest.raises(InputError, match=message):
        fit(folder, Signals(), **({"num_steps": 10} | change))


def test_checkpoint_of_other_methods_is_refused(tmp_path: Path) -> None:
    folder = interrupted(tmp_path / "run")
    with pytest.raises(InputError, match=r"methods \['signals'\]; this run has \['method'\]"):
        fit(folder, Method(), num_steps=10)


def test_checkpoint_of_other_optimizers_is_refused(tmp_path: Path) -> None:
    class Second(Signals):
        def start(self, run: Run) -> None:
            run.optimizers["second"] = torch.optim.SGD(run.model.parameters(), lr=0.1)

    folder = interrupted(tmp_path / "run")
    with pytest.raises(InputError, match=r"optimizers \['main'\]; this run has \['main', 'second'\]"):
        fit(folder, Second(), num_steps=10)


def test_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    class Shrinks(Signals):
        def start(self, run: Run) -> None:
            run.model.layers[4] = torch.nn.Linear(10, 2)

    folder = interrupted(tmp_path / "run")
    with pytest.raises(InputError, match=r"(?s)does not fit the model.*layers\.4\.weight"):
        fit(folder, Shrinks(), num_steps=10)


def test_checkpoint_of_another_phase_is_left_alone_and_the_phase_starts_at_its_beginning(tmp_path: Path) -> None:
    folder = interrupted(tmp_path / "run")
    steps: list[int] = []

    class Steps(Method):
        def before_forward(self, run: Run) -> None:
            steps.append(run.step)

    with RunDirectory(folder, recipe="", resume=True) as directory:
        trainer = Trainer(normed_task(), plain(16), seed=1, directory=directory)
        trainer.fit(trainer.model(), phase="retrain", num_steps=2, methods=[Steps()])
    assert steps == [0, 1]


def test_another_machine_is_warned_about_and_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = interrupted(tmp_path / "run")
    monkeypatch.setattr(torch, "__version__", "2.0.0")
    with pytest.warns(UserWarning, match=r"written with .*this process has .*2\.0\.0.*may differ in the last bits"):
        _, result = fit(folder, Signals(), num_steps=10)
    assert result.steps == 10


def test_checkpoint_that_is_no_file_of_ours_is_refused(tmp_path: Path) -> None:
    folder = interrupted(tmp_path / "run")
    (folder / "checkpoints" / "current.safetensors").write_bytes(b"garbage, and more of it")
    with pytest.raises(ArtefactError, match=r"current\.safetensors cannot be read"):
        fit(folder, Signals(), num_steps=10)


def test_checkpoint_with_one_flipped_bit_is_refused(tmp_path: Path) -> None:
    folder = interrupted(tmp_path / "run")
    path = folder / "checkpoints" / "current.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtefactError, match=r"current\.safetensors was changed or damaged"):
        fit(folder, Signals(), num_steps=10)


@pytest.mark.parametrize("tree", [{"a": 1}, [1, 2], "text"])
def test_tree_that_is_no_checkpoint_is_refused(tmp_path: Path, tree: Any) -> None:
    folder = interrupted(tmp_path / "run")
    save_tree(folder / "checkpoints" / "current.safetensors", tree)
    with pytest.raises(ArtefactError, match="is no checkpoint of a training phase"):
        fit(folder, Signals(), num_steps=10)


def test_description_of_a_user_s_optimizer_holds_no_address() -> None:
    """It is compared on resume, and another process keeps the function elsewhere."""

    def own_optimizer(parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=0.1)

    described = TrainSettings(optimizer=own_optimizer).describe()["optimizer"]
    assert "own_optimizer" in described
    assert "0x" not in described
    assert "0x" not in TrainSettings(optimizer=partial(own_optimizer)).describe()["optimizer"]
