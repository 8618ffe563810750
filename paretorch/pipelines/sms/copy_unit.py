"""One copy of a soup in one cycle: the pruned model retrained under the common mask, as a resumable unit.

All copies of a cycle begin with one file: weights, masks, a learning rate per step for each copy, how they are
retrained, and the teacher where there is one. So a copy is the same wherever it is trained.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from paretorch.artefacts.tree import load_tree
from paretorch.errors import RunError
from paretorch.methods.method import Method
from paretorch.methods.schedules import Schedule
from paretorch.methods.sparsity.enforcement import MaskEnforcement
from paretorch.methods.sparsity.masks import Masks
from paretorch.pipelines.phases import Phase, train_phase
from paretorch.pipelines.retraining import Retraining
from paretorch.pipelines.sms.units import RESULT, Unit
from paretorch.training.plain import from_plain, to_plain
from paretorch.training.run import RunDirectory
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class CopyUnit(Unit):
    """A copy.

    Attributes:
        start: file that all copies of the cycle begin with, see `save_start`.
        copy: its position among them.
        phase: names the random streams.
        weight_decay: in place of the settings'; None: the settings'.
    """

    start: Path
    copy: int
    phase: str
    weight_decay: float | None = None

    def run(self, given: Trainer) -> None:
        with self.directory() as directory:
            trainer = Trainer(
                given.task,
                self._settings(given.settings),
                seed=self.seed,
                directory=directory,
                metered=given.metered,
                label=self.name,
            )
            start = load_tree(self.start)
            model = trainer.model()
            model.load_state_dict(start["model"])
            masks, rates = Masks.from_state_dict(start["masks"]), start["rates"][self.copy].tolist()
            methods: list[Method] = [MaskEnforcement(masks)]
            if start["teacher"] is not None:
                teacher = trainer.model()
                teacher.load_state_dict(start["teacher"])
                retraining: Retraining = from_plain(start["retraining"])
                methods += retraining.methods(trainer, phase=self.phase, teacher=teacher)
            phase = Phase(name=self.phase, num_steps=len(rates), schedule=rates.__getitem__, methods=methods)
            train_phase(trainer, model, phase, details={})
            masks.check(model)
            directory.save(RESULT, model.state_dict())

    def collect(self) -> dict[str, Any]:
        """The ledger line of the finished copy; its optimizer state is deleted.

        Raises:
            RunError: if its ledger does not name it.
        """
        with self.directory() as directory:
            line = directory.finished(self.phase)
            if line is None:
                raise RunError(
                    f"{self.name}: {self.result} exists, but the ledger beside it does not say how it was trained; "
                    "remove the folder and run again"
                )
            directory.remove(self.phase)
            return line

    def _settings(self, settings: TrainSettings) -> TrainSettings:
        if self.weight_decay is None:
            return settings
        assert isinstance(settings.optimizer, OptimizerSpec)  # as `Variation.check_settings` demands
        return replace(settings, optimizer=replace(settings.optimizer, weight_decay=self.weight_decay))


def save_start(
    directory: RunDirectory,
    name: str,
    *,
    model: nn.Module,
    masks: Masks,
    schedules: list[Schedule],
    retraining: Retraining,
    teacher: nn.Module | None,
) -> Path:
    """Write what all copies of a cycle begin with.

    Args:
        directory: of the run they belong to.
        name: of the file.
        model: pruned.
        masks: of it.
        schedules: one per copy.
        retraining: how they are retrained.
        teacher: the dense model; None if retraining makes no use of it.
    """
    state = {
        "model": model.state_dict(),
        "masks": masks.state_dict(),
        "rates": [torch.tensor(schedule.trace(), dtype=torch.float64) for schedule in schedules],
        "retraining": to_plain(retraining, where="retraining"),
        "teacher": None if teacher is None else teacher.state_dict(),
    }
    directory.save(name, state)
    return directory.checkpoint_path(name)
