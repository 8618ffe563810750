"""A family whose durations are the troughs of one cyclic run per seed: a screening, at about half the cost.

The learning rate comes down at the end of every cycle, each twice as long as the one before, and there the run stands
for a run of that length (Portes et al. 2022, arXiv 2206.00832). The points of a seed are one run that goes on, so they
depend on each other, and nothing is claimed from them. Each cycle is a phase of its own, whose last state is kept: the
model of every point is measured like any other.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from paretorch.errors import InputError, NotFiniteError
from paretorch.evidence.records import RunRecord
from paretorch.methods.schedules import DenseSchedule
from paretorch.methods.schedules.cyclic import CyclicCosine
from paretorch.pipelines.arm import with_step_times
from paretorch.pipelines.dense import DenseResult
from paretorch.pipelines.family import Family
from paretorch.pipelines.phases import Phase, train_phase
from paretorch.pipelines.run_writer import RunWriter, Trained, logger
from paretorch.pipelines.tuning import budget
from paretorch.training.run import RunDirectory
from paretorch.training.trainer import Trainer

WAIT_S = 86_400.0  # for another process that trains the earlier cycles of the same run


@dataclass(frozen=True, kw_only=True)
class ScreenedFamily(Family):
    """Models read at the troughs of cyclic runs.

    Attributes:
        peak: highest learning rate of every cycle.
    """

    peak: float

    def check(self, dense: DenseSchedule) -> None:
        schedule = self._schedule(Trainer(self.task, self.settings, seed=0))
        if len(schedule.troughs()) != len(self.durations):
            raise InputError(f"{self.name!r}: the cycles do not end at the durations {list(self.durations)}")

    def plan(self) -> tuple[str, int]:
        schedule = self._schedule(Trainer(self.task, self.settings, seed=0))
        return f"{self.name}: one cyclic run, read at {len(self.durations)} durations", schedule.num_steps

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
        number = list(self.durations).index(duration) + 1
        identity = self.identity(
            duration, steps=trainer.num_steps(duration), epochs=duration, factors={"method": "dense"}, methods=[]
        )
        shared = directory.path.parent.parent
        with writer.directory(shared, self.folder(max(self.durations), trainer.seed) + "-cycles", wait_s=WAIT_S) as own:
            try:
                trained = self._cycles(Trainer(self.task, self.settings, seed=trainer.seed, directory=own), number)
            except NotFiniteError as error:
                logger.warning("%s at %g epochs diverged: %s", self.name, duration, error)
                granted = {"phase": "dense", "kind": "dense", "diverged": True, **budget(trainer, duration)}
                entries = with_step_times([granted], step_s, trial="dense")
                return writer.diverged(directory, trainer.seed, entries, identity, error=error)
        entries = with_step_times(trained.entries, step_s, trial="dense")
        return writer.finish(directory, trainer, replace(trained, entries=entries), identity, timed=False)

    def _cycles(self, trainer: Trainer, number: int) -> Trained:
        """The model after so many cycles, trained or loaded."""
        whole, model = self._schedule(trainer), trainer.model()
        ends = whole.troughs()
        entries: list[dict[str, Any]] = []
        state = None
        for position in range(number):
            start = ends[position - 1] if position else 0
            phase = Phase(name=f"cycle-{position}", num_steps=ends[position] - start, schedule=_from(whole, start))
            entry, state = train_phase(
                trainer, model, phase, details={"kind": "dense", "lr_peak": self.peak}, optimizer_state=state
            )
            entries.append(entry)
        return Trained(model=model, entries=entries)

    def _schedule(self, trainer: Trainer) -> CyclicCosine:
        steps = [trainer.num_steps(duration) for duration in self.durations]
        wanted = [steps[0] * (2 ** (number + 1) - 1) for number in range(len(steps))]
        if steps != wanted:
            first = self.durations[0]
            better = ", ".join(f"{first * (2 ** (number + 1) - 1):g}" for number in range(len(steps)))
            raise InputError(
                f"{self.name!r}: a screening reads one run at the ends of cycles that double, so the durations "
                f"{list(self.durations)} must be {better}"
            )
        return CyclicCosine(num_steps=steps[-1], peak=self.peak, first_cycle=steps[0])


def _from(schedule: CyclicCosine, start: int) -> Callable[[int], float]:
    """The schedule of a phase that begins `start` steps into the whole."""
    return lambda step: schedule(start + step)
