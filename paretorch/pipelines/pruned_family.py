"""A family that prunes, for several durations: of retraining a shared dense model, or of training from scratch."""

from collections.abc import Mapping
from dataclasses import dataclass

from paretorch.evidence.records import RunRecord
from paretorch.methods.schedules import DenseSchedule
from paretorch.pipelines.arm import Arm
from paretorch.pipelines.compression import Compression
from paretorch.pipelines.dense import DenseResult
from paretorch.pipelines.family import Family, Rehearsal, in_words
from paretorch.pipelines.run_writer import RunWriter
from paretorch.training.run import RunDirectory
from paretorch.training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class PrunedFamily(Family):
    """The shared dense model, pruned and retrained; or a model pruned while it is trained from scratch.

    The second kind takes its learning rates from the dense training, and is held against the dense model, and is not
    charged for it.

    Attributes:
        arms: the arm of each duration, which is its epochs of retraining, or of all its training.
    """

    arms: Mapping[float, Arm]

    prunes = True

    @property
    def charges_dense(self) -> bool:
        return self._first.from_dense

    @property
    def _first(self) -> Compression:
        return self.arms[self.durations[0]].compression

    def check(self, dense: DenseSchedule) -> None:
        trainer = Trainer(self.task, self.settings, seed=0)
        self._check_steps(trainer)
        for arm in self.arms.values():
            arm.check(trainer, dense)
            arm.compression.rehearsals(trainer)  # refuses what cannot be timed

    def plan(self) -> tuple[str, int]:
        trainer, rates = Trainer(self.task, self.settings, seed=0), self.arms[self.durations[0]].rates
        granted = [self.arms[duration].compression.granted_epochs for duration in self.durations]
        steps = sum(trainer.num_steps(epochs or 0.0) for epochs in granted) * max(1, len(rates))
        words = "pruned and retrained" if self.charges_dense else "trained from scratch and pruned on the way"
        return in_words(f"{self.name}: {words}", self.durations, rates), steps

    def rehearsed(self, trainer: Trainer) -> Mapping[str, Rehearsal]:
        dense = trainer.model()
        found = {"dense": Rehearsal(dense, (), self._same(dense))}
        for kind, (model, methods) in self._first.rehearsals(trainer).items():
            # a mask is a dense tensor, whatever its zeros, so only shapes count, and what methods say of themselves
            keys = " ".join(method.step_key for method in methods if method.step_key)
            found[kind] = Rehearsal(model, methods, f"{self._same(model)} {keys}".rstrip())
        return found

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
