"""The best of several learning rates, chosen on validation; the trials that were not chosen are charged to the arm.

A comparison is only fair if every arm may be tuned at a known cost: each rate is a full run.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from paretorch.errors import NotFiniteError
from paretorch.pipelines.run_writer import Trained
from paretorch.training.run import RunDirectory
from paretorch.training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """The trial that did best.

    Attributes:
        trained: what came of it.
        trials: one ledger entry per trial that was not chosen.
        tuning: for the record: "trials", "space", "chosen", and the "values" (validation; the worst infinity where a
            trial diverged) and "costs" (seconds) of all trials; {} when there was nothing to choose.
    """

    trained: Trained
    trials: list[dict[str, Any]]
    tuning: dict[str, Any]

    def tuning_at(self, step_s: float | None) -> dict[str, Any]:
        """`tuning` with the cost of a trial as its steps times the seconds of one; None leaves what was measured."""
        if step_s is None or not self.tuning:
            return self.tuning
        steps = sum(entry.get("steps", 0) for entry in self.trained.entries)
        return self.tuning | {"costs": [steps * step_s for _ in self.tuning["costs"]]}


def tuned(
    run: Callable[[float | None, Trainer], Trained], rates: Sequence[float], trainer: Trainer, *, epochs: float | None
) -> Tuned:
    """Call `run` once per rate and keep the best on validation; the first wins a tie.

    Args:
        run: one trial, given its learning rate and its trainer; without rates it is called once, with None.
        rates: learning rates to choose from.
        trainer: each trial gets its own folder below `trials/` in the trainer's directory.
        epochs: budget of one trial, which a trial that diverges is charged in full; None if it is given in minutes.

    Raises:
        NotFiniteError: if the only run, or every trial, diverges.
    """
    if not rates:
        return Tuned(trained=run(None, trainer), trials=[], tuning={})
    best: tuple[float, Trained] | None = None
    entries: list[tuple[float, dict[str, Any]]] = []
    failures: list[NotFiniteError] = []
    for rate in rates:
        own = trainer.in_directory(_folder(trainer.directory, rate))
        began = time.perf_counter()
        try:
            trained = run(rate, own)
        except NotFiniteError as error:
            failures.append(error)
            entries.append((rate, _diverged(rate, trainer, epochs=epochs, seconds=time.perf_counter() - began)))
            continue
        finally:
            if own.directory is not None:
                own.directory.close()
        entries.append((rate, _summary(rate, trained)))
        if best is None or trainer.task.better(_validation(trained), _validation(best[1])):
            best = (rate, trained)
    if best is None:
        raise NotFiniteError(f"every learning rate of {list(rates)} diverged; the first: {failures[0]}")
    worst = -math.inf if trainer.task.higher_is_better else math.inf
    return Tuned(
        trained=best[1],
        trials=[entry for rate, entry in entries if rate != best[0]],
        tuning={
            "trials": len(rates),
            "space": list(rates),
            "chosen": best[0],
            "values": [entry.get("validation", worst) for _, entry in entries],
            "costs": [entry["seconds"] for _, entry in entries],
        },
    )


def _validation(trained: Trained) -> float:
    return float(trained.entries[-1]["validation"])


def _folder(directory: RunDirectory | None, rate: float) -> RunDirectory | None:
    if directory is None:
        return None
    recipe = (directory.path / "recipe.toml").read_text(encoding="utf-8")
    return RunDirectory(directory.path / "trials" / f"lr-{float(rate)!r}", recipe=recipe, resume=True)


def _summary(rate: float, trained: Trained) -> dict[str, Any]:
    steps = [entry for entry in trained.entries if "steps" in entry]
    taught = sum(entry.get("teacher_samples", 0) for entry in steps)
    return {
        "phase": f"trial-lr-{rate:g}",
        "kind": "trial",
        "lr_peak": rate,
        "validation": _validation(trained),
        **{key: sum(entry[key] for entry in steps) for key in ("steps", "epochs", "samples", "seconds")},
        **({"teacher_samples": taught} if taught else {}),
    }


def _diverged(rate: float, trainer: Trainer, *, epochs: float | None, seconds: float) -> dict[str, Any]:
    """A trial that diverged is charged its whole budget, because it was granted it."""
    entry = {"phase": f"trial-lr-{rate:g}", "kind": "trial", "lr_peak": rate, "diverged": True, "seconds": seconds}
    if epochs is None:
        return entry
    return entry | budget(trainer, epochs)


def budget(trainer: Trainer, epochs: float) -> dict[str, Any]:
    """What a run of so many epochs is granted, for the ledger line of one that diverged."""
    steps = trainer.num_steps(epochs)
    return {"epochs": epochs, "steps": steps, "samples": steps * trainer.settings.batch_size}
