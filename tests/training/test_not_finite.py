"""NaN and infinity stop a run with a message that says where, and never reach a checkpoint."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from paretorch.errors import NotFiniteError
from paretorch.methods.method import Method, Run, StepResult
from paretorch.training.run import RunDirectory
from paretorch.training.trainer import Trainer
from tests.training.problems import linear_task, normed_task, plain


class Bad(Method):
    """A penalty that is zero, and `value` at one step."""

    name = "bad"

    def __init__(self, at: int, value: float) -> None:
        self.at, self.value = at, value

    def penalty(self, run: Run) -> Tensor:
        return run.model.weight.sum() * (self.value if run.step == self.at else 0.0)


def fit(
    folder: Path | None, methods: list[Method], *, task: Any = None, num_steps: int = 6, **settings: Any
) -> dict[str, Tensor]:
    """The weights after the phase, or after it failed."""
    directory = RunDirectory(folder, recipe="", resume=True) if folder is not None else None
    trainer = Trainer(task or linear_task(), plain(8, **settings), directory=directory)
    model = trainer.model()
    try:
        trainer.fit(model, phase="dense", num_steps=num_steps, methods=methods)
    finally:
        if directory is not None:
            directory.close()
        fit.weights = {name: value.clone() for name, value in model.state_dict().items()}
    return fit.weights


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_bad_penalty_is_named_with_its_method_step_and_phase(tmp_path: Path, value: float) -> None:
    good = fit(None, [Bad(99, value)], num_steps=3)
    with pytest.raises(NotFiniteError, match=r"(?s)penalty of 'bad' = (nan|-?inf) at step 3 of phase 'dense'.*'loss'"):
        fit(tmp_path / "run", [Bad(3, value)], checkpoint_seconds=1000)
    for name in good:
        assert torch.equal(good[name], fit.weights[name]), "the weights were touched"
    with RunDirectory(tmp_path / "run", recipe="", resume=True) as directory:
        saved = directory.load("current")
    assert saved["progress"]["step"] == 3
    assert all(torch.equal(saved["state"]["model"][name], good[name]) for name in good)


def test_message_says_where_the_last_good_state_is(tmp_path: Path) -> None:
    with pytest.raises(NotFiniteError, match=r"The last good state is in .*current\.safetensors"):
        fit(tmp_path / "run", [Bad(1, float("nan"))])
    with pytest.raises(NotFiniteError, match="Nothing was saved, because the run has no directory"):
        fit(None, [Bad(1, float("nan"))])


def test_diverging_loss_is_caught_before_the_weights_are_lost() -> None:
    with pytest.raises(NotFiniteError, match=r"^loss = (inf|nan) at step \d+ of phase 'dense'"):
        fit(None, [], lr=1e200)
    assert all(torch.isfinite(value).all() for value in fit.weights.values())


def test_buffers_that_the_forward_pass_spoiled_are_not_saved_over_a_good_checkpoint(tmp_path: Path) -> None:
    class Poison(Method):
        def before_forward(self, run: Run) -> None:
            if run.step == 4:
                run.task.train_set().tensors["inputs"].fill_(float("inf"))

    with pytest.raises(NotFiniteError, match=r"at step 4.*last good state"):
        fit(tmp_path / "run", [Poison()], task=normed_task(), checkpoint_seconds=0)
    with RunDirectory(tmp_path / "run", recipe="", resume=True) as directory:
        saved = directory.load("current")
    assert saved["progress"]["step"] == 4
    assert all(torch.isfinite(value).all() for value in saved["state"]["model"].values())


def test_weights_that_became_nan_behind_a_finite_loss_are_not_saved(tmp_path: Path) -> None:
    class Spoils(Method):
        def after_update(self, run: Run) -> None:
            if run.step == 3:
                run.model.bias.data.fill_(float("nan"))

    with pytest.raises(NotFiniteError, match="bias became NaN or infinite by step 4 of phase 'dense'"):
        fit(tmp_path / "run", [Spoils()], checkpoint_seconds=0)
    with RunDirectory(tmp_path / "run", recipe="", resume=True) as directory:
        assert directory.load("current")["progress"]["step"] == 3


@pytest.mark.parametrize("reported_only", [False, True])
def test_owner_of_the_step_may_not_lose_the_run_to_nan_either(tmp_path: Path, reported_only: bool) -> None:
    """Its loss is read after it has updated the weights, so only the checkpoint before the step is of use."""

    class Owner(Method):
        def training_step(self, run: Run, batch: Any) -> StepResult:
            loss = run.task.loss(run.wrapped, batch)
            bad = loss * (float("nan") if run.step == 2 else 1.0)
            run.backward(loss if reported_only else bad)
            run.update()
            return StepResult(loss=bad.detach())

    good = fit(None, [Owner()], num_steps=2)
    with pytest.raises(NotFiniteError, match="loss = nan at step 2"):
        fit(tmp_path / "run", [Owner()], checkpoint_seconds=0)
    with RunDirectory(tmp_path / "run", recipe="", resume=True) as directory:
        saved = directory.load("current")
    assert saved["progress"]["step"] == 2
    assert all(torch.equal(value, good[name]) for name, value in saved["state"]["model"].items())
