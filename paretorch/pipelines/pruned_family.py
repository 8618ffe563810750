"""A family that prunes one shared dense model and retrains it, for several retraining durations."""

from collections.abc import Mapping
from dataclasses import dataclass

from paretorch.evidence.records import RunRecord
from paretorch.methods.schedules import DenseSchedule
from paretorch.pipelines.arm import Arm
from paretorch.pipelines.dense import DenseResult
from paretorch.pipelines.family import Family, Rehearsal, in_words
from paretorch.pipelines.run_writer import RunWriter
from paretorch.training.run import RunDirectory
from paretorch.training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class PrunedFamily(Family):
    """The shared dense model, pruned and retrained.

    Attributes:
        arms: the arm of each duration, which is its retraining epochs.
    """

    arms: Mapping[float, Arm]

    prunes = True

    def check(self, dense: DenseSchedule) -> None:
        trainer = Trainer(self.task, self.settings, seed=0)
        self._check_steps(trainer)
        for arm in self.arms.values():
            arm.check(trainer, dense)
            arm.compression.rehearsal(trainer)  # refuses what cannot be timed

    def plan(self) -> tuple[str, int]:
        trainer, rates = Trainer(self.task, self.settings, seed=0), self.arms[self.durations[0]].rates
        granted = [self.arms[duration].compression.granted_epochs for duration in self.durations]
        steps = sum(trainer.num_steps(epochs or 0.0) for epochs in granted) * max(1, len(rates))
        return in_words(f"{self.name}: pruned and retrained", self.durations, rates), steps

    def rehearsed(self, trainer: Trainer) -> Mapping[str, Rehearsal]:
        dense = trainer.model()
        model, methods = self.arms[self.durations[0]].compression.rehearsal(trainer)
        # a mask is a dense tensor, whatever its zeros, so only shapes count, and what methods say of themselves
        keys = " ".join(method.step_key for method in methods if method.step_key)
        return {
            "dense": Rehearsal(dense, (), self._same(dense)),
            "retrain": Rehearsal(model, methods, f"{self._same(model)} {keys}".rstrip()),
        }

    def run(
        self,
        duration: float,
        writer: RunWriter,
        directory: RunDirectory,
        trainer: Trainer,
        *,
        dense: DenseResult | None,
        step_s: Mapping[str, float],
    ) -> RunRecord:
        assert dense is not None
        arm = self.arms[duration]
        identity = self.identity(
            duration,
            steps=trainer.num_steps(duration),
            epochs=duration,
            factors=arm.factors,
            methods=arm.compression.method_ids(),
        )
        longest = duration == max(self.durations)
        return arm.run(dense, writer, directory, trainer, identity, timed=False, inspected=longest, step_s=step_s)
