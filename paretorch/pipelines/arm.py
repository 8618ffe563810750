"""An arm: one way to compress a dense model, and one run of it, with the best of several learning rates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from paretorch.errors import InputError, NotFiniteError
from paretorch.evidence.records import RunRecord
from paretorch.methods.schedules import DenseSchedule
from paretorch.pipelines.compression import Compression, Start
from paretorch.pipelines.dense import DenseResult
from paretorch.pipelines.run_writer import Identity, RunWriter, Trained, logger
from paretorch.pipelines.shared_start import Shared, SharedStarts
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
        compression: what is done; with `rates`, once per rate.
        rates: learning rates to choose from on validation, every trial charged; empty: nothing is tuned.
    """

    id: str
    label: str
    factors: dict[str, Any]
    compression: Compression
    rates: tuple[float, ...] = ()

    def check(self, trainer: Trainer, dense: DenseSchedule) -> None:
        """Refuse what `run` could not do with the task's model.

        Raises:
            InputError: naming the arm.
        """
        try:
            self._check_rates()
            _at(self.compression, self.rates[0] if self.rates else None).check(trainer, trainer.model(), dense=dense)
        except InputError as error:
            raise InputError(f"arm {self.label!r}: {error}") from error

    def _check_rates(self) -> None:
        """Refuse rates that change what arms share: it is trained once, before any rate is tried."""
        key = self.compression.shared_key
        if any(_at(self.compression, rate).shared_key != key for rate in self.rates):
            raise InputError(
                f"rates = {self.rates} would change what is trained once for all arms of {key!r}; make an arm of each "
                "rate"
            )

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
        shared: SharedStarts | None = None,
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
            shared: the trainings that arms of this seed share; None only where no arm has a `shared_key`.
        """
        kind = self.compression.trial_kind
        before = [dense.entry] if self.compression.from_dense else []
        start: Shared | None = None
        try:
            if shared is not None and (start := shared.of(self.compression)) is not None:
                before += [{**entry, "shared_by": start.arms} for entry in start.start.entries]
            best = compress(self.compression, self.rates, trainer, dense, start=None if start is None else start.start)
        except NotFiniteError as error:
            logger.warning("%s diverged: %s", self.label, error)
            epochs = self.compression.granted_epochs
            granted = {} if epochs is None else budget(trainer, epochs)
            failed = {"phase": kind, "kind": kind, "diverged": True, **granted}
            charged = with_step_times([*before, failed], step_s or {}, trial=kind)
            return writer.diverged(directory, trainer.seed, charged, identity, error=error)
        entries = [*before, *best.trials, *best.trained.entries]
        trained = replace(best.trained, entries=with_step_times(entries, step_s or {}, trial=kind))
        if start is not None:
            trained = replace(trained, notes=(*start.notes(), *trained.notes))
        if not inspected:
            trained = replace(trained, dense=None)
        tuning = best.tuning_at((step_s or {}).get(kind))
        named = replace(identity, others={**identity.others, "tuning": tuning})
        return writer.finish(directory, trainer, trained, named, timed=timed and self.compression.compresses)


def compress(
    compression: Compression,
    rates: Sequence[float],
    trainer: Trainer,
    dense: DenseResult,
    *,
    start: Start | None = None,
) -> Tuned:
    """Compress a dense model, with the best of several learning rates.

    Args:
        compression: what is done.
        rates: learning rates of retraining, see `tuned`; empty: `compression` is run as it is.
        trainer: its directory, if it has one, makes every phase resumable.
        dense: the model to compress, which is left as it is, and its learning rates.
        start: what came of a training that arms share; None starts from the dense model.

    Raises:
        NotFiniteError: if the only run, or every trial, diverges. InputError: as `Compression.run_from`.
    """
    begin = Start(model=dense.model, schedule=dense.schedule) if start is None else start

    def trial(rate: float | None, own: Trainer) -> Trained:
        result = _at(compression, rate).run_from(own, begin)
        return Trained(
            model=result.model,
            entries=result.entries,
            edits=result.edits,
            dense=dense.model if compression.compresses else None,
            notes=result.notes,
        )

    return tuned(trial, rates, trainer, epochs=compression.granted_epochs)


def _at(compression: Compression, rate: float | None) -> Compression:
    return compression if rate is None else compression.at_rate(rate)


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
