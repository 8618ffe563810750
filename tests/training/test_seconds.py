"""The seconds of a phase hold the time in which the device works, and not only the time to give it the work."""

import time

import pytest

from paretorch.training.loop import Loop
from paretorch.training.trainer import Trainer
from tests.training.problems import normed_task, plain

WAIT_S = 0.02


class Queued(Loop):
    """A loop as on an accelerator: steps are queued, and reading the losses waits for them."""

    def __init__(self, *args, **options) -> None:
        super().__init__(*args, **options)
        self.check_steps = 4

    def _read_losses(self) -> None:
        time.sleep(WAIT_S * len(self.unread))
        super()._read_losses()


@pytest.mark.parametrize("num_steps", [10, 250])  # a point of the curve at every step, and at every second one
def test_waiting_for_queued_steps_is_training_time(monkeypatch: pytest.MonkeyPatch, num_steps: int) -> None:
    monkeypatch.setattr("paretorch.training.trainer.Loop", Queued)
    monkeypatch.setattr("tests.training.test_seconds.WAIT_S", 1 / num_steps)
    trainer = Trainer(normed_task(), plain(16))
    assert trainer.fit(trainer.model(), phase="dense", num_steps=num_steps).seconds >= 1
