"""Sparsifies and searches for tickets in each of several processes: `python -m torch.distributed.run ... FOLDER`.

Each process writes what it ended with: of the pruning mode weights and logits after every fifth step and the final
weights; of searches, one uninterrupted and one that died and went on, the final state and the ledger's masks.
"""

import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from paretorch.artefacts.files import write_json
from paretorch.methods.method import Run
from paretorch.methods.schedules import DenseSchedule, Linear
from paretorch.methods.sparsity.continuous.search_round import SearchRound
from paretorch.pipelines.compression import Start
from paretorch.pipelines.ticket_search import TicketSearch
from paretorch.training.run import RunDirectory
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.trainer import Trainer
from tests.methods.sparsity.continuous.soft_problem import Watch, fit_whatever_is_undecided, method
from tests.methods.sparsity.gradual import problems, reparametrised
from tests.methods.sparsity.gradual.problems import KilledError
from tests.training.hook_driver import digest

TASKS = {"plain": reparametrised.task, "normed": problems.task}
FATAL = 11  # of all steps of a search


class MortalRound(SearchRound):
    """A round that dies before one step of the search, if there is one; steps of all rounds are counted together."""

    def __init__(self, *, fatal: list[int], **settings: Any) -> None:
        super().__init__(**settings)
        self.fatal = fatal

    def before_forward(self, run: Run) -> None:
        if self.fatal:
            self.fatal[0] -= 1
            if self.fatal[0] < 0:
                raise KilledError
        super().before_forward(run)


def pruned() -> dict[str, Tensor]:
    """Weights and logits after every fifth step, and the finished model."""
    own = method()
    watch = Watch(own)
    model, _ = fit_whatever_is_undecided(own, watch, clip_norm=0.5, accumulate=2, num_steps=20, evaluate_epochs=1000)
    every = {f"{step} {key}": value for step in range(0, 20, 5) for key, value in watch.seen[step].items()}
    return every | {f"end {key}": value for key, value in model.state_dict().items()}


def searched(task: str, directory: RunDirectory | None = None, *, fatal: int | None = None) -> dict[str, Any]:
    """What a search of two rounds leaves; it dies before step `fatal`."""
    settings = TrainSettings(
        batch_size=16, optimizer=OptimizerSpec(lr=0.1, weight_decay=1e-3), accumulate=2, device="cpu",
        checkpoint_seconds=0,
    )  # fmt: skip
    own = Trainer(TASKS[task](), settings, seed=3, directory=directory)
    epochs = 24 / own.steps_per_epoch
    compression = TicketSearch(
        sparsity=0.8,
        epochs=epochs,
        rounds=2,
        rewind_epochs=3 / own.steps_per_epoch,
        search=partial(MortalRound, fatal=[] if fatal is None else [fatal], strength=5.0, mask_lr=0.3),
    )
    schedule = DenseSchedule.of(Linear(num_steps=24, peak=0.1))
    result = compression.run_from(own, Start(model=own.model(), schedule=schedule))
    rewound = next(entry for entry in result.entries if entry["phase"] == "rewind")
    return {
        "weights": {name: value.flatten().tolist() for name, value in result.model.state_dict().items()},
        "state": digest(result.model.state_dict()),
        "masks": [rewound["mask_hash"], *(found["mask_hash"] for found in rewound["rounds"])],
        "validation": [entry["validation"] for entry in result.entries],
    }


def resumed(task: str, folder: Path) -> dict[str, Any]:
    """What a search leaves that died in its second round and went on."""
    try:
        with RunDirectory(folder, recipe="x") as directory:
            searched(task, directory, fatal=FATAL)
    except KilledError:
        with RunDirectory(folder, recipe="x", resume=True) as directory:
            return searched(task, directory)
    raise AssertionError("it was to die")


if __name__ == "__main__":
    torch.set_num_threads(1)
    place, rank = Path(sys.argv[1]), os.environ["RANK"]
    save_file(pruned(), place / f"pruned-{rank}.safetensors")
    report = {name: {"whole": searched(name), "resumed": resumed(name, place / name)} for name in TASKS}
    write_json(place / f"searched-{rank}.json", report)
    torch.distributed.destroy_process_group()
