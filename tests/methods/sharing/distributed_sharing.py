"""Trains layers that share in each of several processes: `python -m torch.distributed.run ... FOLDER`.

Each process writes `rank-N.json`: of every case the end of an uninterrupted run, and of one that died and went on.
"""

import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from paretorch.artefacts.files import write_json
from paretorch.methods.sharing.soft_sharing import SoftSharing
from paretorch.training.run import RunDirectory
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.supervised import SupervisedTask
from paretorch.training.trainer import Trainer
from tests.methods.sharing.networks import NORMS, images, network
from tests.methods.sparsity.gradual.problems import Fatal, KilledError
from tests.training.hook_driver import digest

STEPS, FATAL = 8, 5


def without_norms() -> nn.Sequential:
    """Batch norm sees the examples of its own process; without it, two processes are one."""
    model = network()
    for norm in NORMS.values():
        model[int(norm)] = nn.Identity()
    return model


CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "kept": (without_norms, {"templates": 2, "unit_rows": True, "recurrence": 0.05}),
    "folded": (without_norms, {"templates": 2, "unit_rows": True, "recurrence": 0.5, "power": 2, "fold": 0.3}),
    "normed": (network, {"templates": 2, "recurrence": 0.5, "power": 2, "fold": 0.3}),
}


def trained(case: str, directory: RunDirectory | None = None, *, fatal: int | None = None) -> dict[str, Any]:
    """What a run leaves; it dies before step `fatal`."""
    make, settings = CASES[case]
    data = (images(24), torch.arange(24) % 3)
    chosen = TrainSettings(
        batch_size=8, accumulate=2, clip_norm=0.5, device="cpu", checkpoint_seconds=0,
        optimizer=OptimizerSpec(lr=0.05, momentum=0.9, weight_decay=1e-3),
    )  # fmt: skip
    own = Trainer(SupervisedTask(make, train=data, evaluation=data, test=data), chosen, seed=1, directory=directory)
    model, method = own.model(), SoftSharing(**settings)
    result = own.fit(model, phase="train", num_steps=STEPS, methods=[method, Fatal(fatal)])
    return {
        "weights": {name: value.flatten().tolist() for name, value in model.state_dict().items()},
        "state": digest(model.state_dict()),
        "optimizer": digest(result.optimizer_state),
        "details": method.details(),
        "validation": result.validation,
    }


def resumed(case: str, folder: Path) -> dict[str, Any]:
    """What a run leaves that died and went on."""
    try:
        with RunDirectory(folder, recipe="x") as directory:
            trained(case, directory, fatal=FATAL)
    except KilledError:
        with RunDirectory(folder, recipe="x", resume=True) as directory:
            return trained(case, directory)
    raise AssertionError("it was to die")


if __name__ == "__main__":
    torch.set_num_threads(1)
    place = Path(sys.argv[1])
    report = {case: {"whole": trained(case), "resumed": resumed(case, place / case)} for case in CASES}
    write_json(place / f"rank-{os.environ['RANK']}.json", report)
    torch.distributed.destroy_process_group()
