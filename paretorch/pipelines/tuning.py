"""The best of several learning rates, chosen on validation; the trials that were not chosen are charged to the arm.

A comparison is only fair if every arm may be tuned at a known cost: each rate is a full prune-retrain run.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from paretorch.errors import NotFiniteError
from paretorch.pipelines.dense import DenseResult
from paretorch.pipelines.imp import IMP, IMPResult
from paretorch.training.run import RunDirectory
from paretorch.training.trainer import Trainer


def tuned(
    imp: IMP,
    rates: Sequence[float],
    trainer: Trainer,
    dense: DenseResult,
) -> tuple[IMPResult, list[dict[str, Any]]]:
    """Run `imp` once per rate and keep the best on validation; the first wins a tie.

    Args:
        imp: with no rates it is run as it is.
        rates: learning rates for `imp.retraining.lr`.
        trainer: each trial gets its own folder below `trials/` in the trainer's directory.
        dense: the model to prune, which is left as it is, and its learning rates.

    Returns:
        The chosen result, and one ledger entry per trial that was not chosen.

    Raises:
        NotFiniteError: if the only run, or every trial, diverges.
    """
    if not rates:
        return imp.run(trainer, dense.model, dense=dense.schedule), []
    best: tuple[float, IMPResult] | None = None
    entries: list[tuple[float, dict[str, Any]]] = []
    failures: list[NotFiniteError] = []
    for rate in rates:
        trial = replace(imp, retraining=replace(imp.retraining, lr=rate))
        own = Trainer(trainer.task, trainer.settings, seed=trainer.seed, directory=_folder(trainer.directory, rate))
        began = time.perf_counter()
        try:
            result = trial.run(own, dense.model, dense=dense.schedule)
        except NotFiniteError as error:
            failures.append(error)
            entries.append((rate, _diverged(rate, imp, trainer, seconds=time.perf_counter() - began)))
            continue
        finally:
            if own.directory is not None:
                own.directory.close()
        value = result.entries[-1]["validation"]
        entries.append((rate, _summary(rate, result)))
        if best is None or trainer.task.better(value, best[1].entries[-1]["validation"]):
            best = (rate, result)
    if best is None:
        raise NotFiniteError(f"every learning rate of {list(rates)} diverged; the first: {failures[0]}")
    return best[1], [entry for rate, entry in entries if rate != best[0]]


def _folder(directory: RunDirectory | None, rate: float) -> RunDirectory | None:
    if directory is None:
        return None
    recipe = (directory.path / "recipe.toml").read_text(encoding="utf-8")
    return RunDirectory(directory.path / "trials" / f"lr-{float(rate)!r}", recipe=recipe, resume=True)


def _summary(rate: float, result: IMPResult) -> dict[str, Any]:
    trained = [entry for entry in result.entries if entry["kind"] == "retrain"]
    return {
        "phase": f"trial-lr-{rate:g}",
        "kind": "trial",
        "lr_peak": rate,
        "validation": trained[-1]["validation"],
        **{key: sum(entry[key] for entry in trained) for key in ("steps", "epochs", "samples", "seconds")},
    }


def _diverged(rate: float, imp: IMP, trainer: Trainer, *, seconds: float) -> dict[str, Any]:
    """A trial that diverged is charged its whole budget, because it was granted it."""
    entry = {"phase": f"trial-lr-{rate:g}", "kind": "trial", "lr_peak": rate, "diverged": True, "seconds": seconds}
    if imp.epochs is None:
        return entry
    steps = trainer.num_steps(imp.epochs)
    return entry | {"epochs": imp.epochs, "steps": steps, "samples": steps * trainer.settings.batch_size}
