"""One whole run of iterative magnitude pruning as a resumable unit, for the average of several at the end."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

from torch import nn

from paretorch.artefacts.tree import load_tree
from paretorch.errors import RunError
from paretorch.measurement.energy.reading import EnergyReading
from paretorch.methods.schedules import DenseSchedule
from paretorch.methods.sparsity.masks import Masks
from paretorch.pipelines.imp import IMP
from paretorch.pipelines.sms.units import RESULT, Unit
from paretorch.training.plain import from_plain, to_plain
from paretorch.training.run import RunDirectory
from paretorch.training.trainer import Trainer

MASKS = "masks"
SUMMED = ("steps", "epochs", "samples", "teacher_samples")


@dataclass(frozen=True, kw_only=True)
class ImpUnit(Unit):
    """A run.

    Attributes:
        start: file that all runs begin with, see `save_start`.
    """

    start: Path

    def run(self, given: Trainer) -> None:
        with self.directory() as directory:
            trainer = Trainer(
                given.task,
                given.settings,
                seed=self.seed,
                directory=directory,
                metered=given.metered,
                label=self.name,
            )
            start = load_tree(self.start)
            model = trainer.model()
            model.load_state_dict(start["model"])
            imp: IMP = from_plain(start["imp"])
            dense: DenseSchedule = from_plain(start["dense"])
            result = imp.run(trainer, model, dense=dense)
            directory.save(MASKS, result.masks.state_dict())
            directory.save(RESULT, result.model.state_dict())

    def collect(self) -> tuple[Masks, dict[str, Any]]:
        """The masks of the finished run, and all of its phases as one ledger line; its checkpoints are deleted.

        Raises:
            RunError: if its masks or its ledger are gone.
        """
        with self.directory() as directory:
            packed, lines = directory.load(MASKS), directory.ledger()
            trained = [line for line in lines if line.get("kind") == "retrain"]
            if packed is None or not trained:
                raise RunError(
                    f"{self.name}: {self.result} exists, but not the masks or the ledger that belong to it; remove the "
                    "folder and run again"
                )
            for line in trained:
                directory.remove(line["phase"])
        last = trained[-1]
        return Masks.from_state_dict(packed), {
            "kind": "retrain",
            **{key: sum(line[key] for line in trained) for key in SUMMED if key in last},
            "seconds": sum(line["seconds"] for line in lines if "seconds" in line),
            "step_time": last["step_time"],
            "overhead": _summed(line["overhead"] for line in trained),
            "energy": _energy([line["energy"] for line in trained if line["steps"]]),
            "validation": last["validation"],
            **{key: last[key] for key in ("schedule", "lr_peak", "d2", "zeros", "mask_hash")},
        }


def save_start(directory: RunDirectory, name: str, *, model: nn.Module, imp: IMP, dense: DenseSchedule) -> Path:
    """Write what all runs begin with: the dense model, what is done with it, and its learning rates."""
    state = {
        "model": model.state_dict(),
        "imp": to_plain(imp, where="imp"),
        "dense": to_plain(dense, where="dense"),
    }
    directory.save(name, state)
    return directory.checkpoint_path(name)


def _summed(parts: Iterable[dict[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for part in parts:
        for key, seconds in part.items():
            total[key] = total.get(key, 0.0) + seconds
    return total


def _energy(readings: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of all phases together; {} unless every one was measured."""
    known = [EnergyReading.from_dict(reading) for reading in readings if reading]
    return reduce(EnergyReading.plus, known).to_dict() if known and len(known) == len(readings) else {}
