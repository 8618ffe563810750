"""Trains in each of several processes: `python -m torch.distributed.run ... distributed_run.py FOLDER STEPS [KILL_AT]`.

Each process writes `rank-N.json` into the folder: a hash of the final state, the loss curve, the validation.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from paretorch.artefacts.files import write_json
from paretorch.methods.method import Method, Run
from paretorch.training.run import RunDirectory
from paretorch.training.trainer import Trainer
from tests.training.hook_driver import digest
from tests.training.hook_methods import SGD, HalfCut, small_task
from tests.training.hook_methods import settings as half_cut_settings
from tests.training.problems import linear_task, plain


class Kills(Method):
    """Kills its process with -9 at one step; the launcher ends the others."""

    name = "kills"

    def __init__(self, at: int | None) -> None:
        self.at = at

    def before_update(self, run: Run) -> None:
        if run.step == self.at and os.environ.get("RANK") == "1":
            os.kill(os.getpid(), signal.SIGKILL)

    def penalty(self, run: Run) -> Tensor | None:
        weight = getattr(run.model, "weight", None)
        return None if weight is None else 0.01 * weight.square().sum()


def main(folder: Path, what: str, kill_at: int | None) -> None:
    rank = os.environ.get("RANK", "0")
    directory = RunDirectory(folder / "run", recipe=what, resume=True)
    if what == "linear":
        trainer = Trainer(linear_task(), plain(8, lr=0.02, momentum=0.9, accumulate=2), directory=directory)
        methods: list[Method] = [Kills(kill_at)]
    else:
        trainer = Trainer(small_task(), half_cut_settings(SGD), directory=directory)
        methods = [Kills(kill_at), HalfCut()]
    model = trainer.model()
    result = trainer.fit(model, phase="dense", num_steps=12, methods=methods)
    report: dict[str, Any] = {
        "hash": digest(model.state_dict()),
        "weights": [value.flatten().tolist() for value in model.parameters()],
        "losses": [point["train_loss"] for point in result.curve],
        "validation": result.validation,
        "plain": type(model).__name__,
    }
    write_json(folder / f"rank-{rank}.json", report)
    directory.close()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else None)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
