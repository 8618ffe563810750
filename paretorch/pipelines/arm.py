"""An arm: one way to compress a dense model, and one run of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from paretorch.errors import InputError, NotFiniteError
from paretorch.evidence.records import RunRecord
from paretorch.methods.schedules import DenseSchedule
from paretorch.pipelines.dense import DenseResult
from paretorch.pipelines.imp import IMP
from paretorch.pipelines.run_writer import Identity, RunWriter, Trained, logger
from paretorch.pipelines.tuning import Tuned, budget, tuned
from paretorch.training.run import RunDirectory
from paretorch.training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to compress the dense model.

    Attributes:
        id: for directory names, unique in the sweep.
        label: for people.
        factors: what distinguishes the arm, for grouping in reports.
        imp: what is done; with `rates`, once per rate.
        rates: learning rates to choose from on validation, every trial charged; empty: nothing is tuned.
    """

    id: str
    label: str
    factors: dict[str, Any]
    imp: IMP
    rates: tuple[float, ...] = ()

    def check(self, trainer: Trainer, dense: DenseSchedule) -> None:
        """Refuse what `run` could not do with the task's model.

        Raises:
            InputError: naming the arm.
        """
        try:
            at_rate(self.imp, self.rates[0] if self.rates else None).check(trainer, trainer.model(), dense=dense)
        except InputError as error:
            raise InputError(f"arm {self.label!r}: {error}") from error

    def run(
        self,
        dense: DenseResult,
        writer: RunWriter,
        directory: RunDirectory,
        trainer: Trainer,
        identity: Identity,
        *,
        timed: bool,
        inspected: bool = True,
        step_s: Mapping[str, float] | None = None,
    ) -> RunRecord:
        """Compress `dense` and write the record; one that diverges gets a record that says so.

        Args:
            dense: the model to compress, which is left as it is.
            writer: of the record.
            directory: of the run.
            trainer: with that directory.
            identity: of the run; its tuning is added.
            timed: also measure latency.
            inspected: also find out what compression changed beside the metric.
            step_s: median seconds of a step by kind of phase, where steps were timed interleaved with other arms'.
        """
        try:
            best = compress(self.imp, self.rates, trainer, dense)
        except NotFiniteError as error:
            logger.warning("%s diverged: %s", self.label, error)
            granted = {} if self.imp.epochs is None else budget(trainer, self.imp.epochs)
            failed = {"phase": "retrain", "kind": "retrain", "diverged": True, **granted}
            charged = with_step_times([dense.entry, failed], step_s or {}, trial="retrain")
            return writer.diverged(directory, trainer.seed, charged, identity, error=error)
        entries = [dense.entry, *best.trials, *best.trained.entries]
        trained = replace(best.trained, entries=with_step_times(entries, step_s or {}, trial="retrain"))
        if not inspected:
            trained = replace(trained, dense=None)
        tuning = best.tuning_at((step_s or {}).get("retrain"))
        named = replace(identity, others={**identity.others, "tuning": tuning})
        return writer.finish(directory, trainer, trained, named, timed=timed)


def compress(imp: IMP, rates: Sequence[float], trainer: Trainer, dense: DenseResult) -> Tuned:
    """Compress a dense model, with the best of several learning rates.

    Args:
        imp: what is done.
        rates: for `imp.retraining.lr`, see `tuned`; empty: `imp` is run as it is.
        trainer: its directory, if it has one, makes every phase resumable.
        dense: the model to compress, which is left as it is, and its learning rates.

    Raises:
        NotFiniteError: if the only run, or every trial, diverges. InputError: as `IMP.run`.
    """

    def trial(rate: float | None, own: Trainer) -> Trained:
        result = at_rate(imp, rate).run(own, dense.model, dense=dense.schedule)
        return Trained(model=result.model, entries=result.entries, masks=result.masks, dense=dense.model)

    return tuned(trial, rates, trainer, epochs=imp.epochs)


def at_rate(imp: IMP, rate: float | None) -> IMP:
    """`imp` with this learning rate; None leaves it as it is."""
    return imp if rate is None else replace(imp, retraining=replace(imp.retraining, lr=rate))


def with_step_times(
    entries: Sequence[dict[str, Any]], step_s: Mapping[str, float], *, trial: str
) -> list[dict[str, Any]]:
    """The ledger lines, those of a kind in `step_s` with its seconds per step.

    Args:
        entries: ledger lines.
        step_s: by kind of phase.
        trial: the kind of phase that a tuning trial consists of.
    """
    kinds = [trial if entry.get("kind") == "trial" else str(entry.get("kind")) for entry in entries]
    return [
        {**entry, "step_s": step_s[kind]} if kind in step_s else entry
        for entry, kind in zip(entries, kinds, strict=True)
    ]
