"""The seconds of a phase hold the time in which the device works, and not only the time to give it the work."""

import time
from typing import Any

import pytest

from paretorch.training.loop import CURVE_POINTS, Loop
from paretorch.training.trainer import Trainer
from tests.training.problems import normed_task, plain


@pytest.mark.parametrize("num_steps", [10, 2 * CURVE_POINTS])
def test_waiting_for_queued_steps_is_training_time(monkeypatch: pytest.MonkeyPatch, num_steps: int) -> None:
    """As on an accelerator, where steps are queued and reading their losses waits for them."""

    class Queued(Loop):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.check_steps = 4

        def _read_losses(self) -> None:
            time.sleep(len(self.unread) / num_steps)
            super()._read_losses()

    monkeypatch.setattr("paretorch.training.trainer.Loop", Queued)
    trainer = Trainer(normed_task(), plain(16))
    assert trainer.fit(trainer.model(), phase="dense", num_steps=num_steps).seconds >= 1
