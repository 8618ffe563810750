"""A family of models trained from scratch, at several durations.

"Trained shorter" is the baseline that most methods have to beat, and it is only fair with a schedule of its own: a long
run that is stopped early ends with a learning rate that had not come down.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from paretorch.errors import NotFiniteError
from paretorch.evidence.records import RunRecord
from paretorch.methods.schedules import DenseSchedule, Schedule
from paretorch.methods.schedules.truncated import Truncated
from paretorch.pipelines.arm import with_step_times
from paretorch.pipelines.dense import DenseResult, train_dense
from paretorch.pipelines.family import Family, in_words
from paretorch.pipelines.run_writer import RunWriter, Trained, logger
from paretorch.pipelines.tuning import budget, tuned
from paretorch.training.run import RunDirectory
from paretorch.training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class TrainedFamily(Family):
    """Models trained from scratch.

    Attributes:
        curve: the schedule, given its number of steps and a peak, or None for the recipe's own.
        rates: peaks to choose from on validation.
        added_epochs: trained on top of every duration, where the other families had a dense phase before.
        stop_early: cut the schedule of the longest duration instead of building one per duration.
    """

    curve: Callable[[int, float | None], Schedule]
    rates: tuple[float, ...] = ()
    added_epochs: float = 0.0
    stop_early: bool = False

    def check(self, dense: DenseSchedule) -> None:
        trainer = Trainer(self.task, self.settings, seed=0)
        self._check_steps(trainer, added_epochs=self.added_epochs)
        for duration in self.durations:
            self._schedule(trainer, duration, self.rates[0] if self.rates else None)

    def plan(self) -> tuple[str, int]:
        trainer = Trainer(self.task, self.settings, seed=0)
        steps = sum(trainer.num_steps(self.added_epochs + duration) for duration in self.durations)
        words = in_words(f"{self.name}: trained from scratch", self.durations, self.rates)
        return words, steps * max(1, len(self.rates))

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
        epochs = self.added_epochs + duration
        identity = self.identity(
            duration, steps=trainer.num_steps(epochs), epochs=epochs, factors={"method": "dense"}, methods=[]
        )

        def trial(rate: float | None, own: Trainer) -> Trained:
            result = train_dense(own, self._schedule(own, duration, rate))
            return Trained(model=result.model, entries=[result.entry])

        try:
            best = tuned(trial, self.rates, trainer, epochs=epochs)
        except NotFiniteError as error:
            logger.warning("%s at %g epochs diverged: %s", self.name, duration, error)
            granted = {"phase": "dense", "kind": "dense", "diverged": True, **budget(trainer, epochs)}
            entries = with_step_times([granted], step_s, trial="dense")
            return writer.diverged(directory, trainer.seed, entries, identity, error=error)
        entries = with_step_times([*best.trials, *best.trained.entries], step_s, trial="dense")
        named = replace(identity, others={**identity.others, "tuning": best.tuning_at(step_s.get("dense"))})
        return writer.finish(directory, trainer, replace(best.trained, entries=entries), named, timed=False)

    def _schedule(self, trainer: Trainer, duration: float, rate: float | None) -> Schedule:
        steps = trainer.num_steps(self.added_epochs + duration)
        if not self.stop_early:
            return self.curve(steps, rate)
        longest = trainer.num_steps(self.added_epochs + max(self.durations))
        return Truncated(num_steps=steps, whole=self.curve(longest, rate))
