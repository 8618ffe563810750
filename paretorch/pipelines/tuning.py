"""The best of several learning rates, chosen on validation; the trials that were not chosen are charged to the arm.

A comparison is only fair if every arm may be tuned at a known cost: each rate is a full prune-retrain run.
"""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

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
    """
    if not rates:
        return imp.run(trainer, copy.deepcopy(dense.model), dense=dense.schedule), []
    best: tuple[float, IMPResult] | None = None
    entries: list[tuple[float, dict[str, Any]]] = []
    for rate in rates:
        trial = replace(imp, retraining=replace(imp.retraining, lr=rate))
        with_directory = Trainer(
            trainer.task, trainer.settings, seed=trainer.seed, directory=_folder(trainer.directory, rate)
        )
        try:
            result = trial.run(with_directory, copy.deepcopy(dense.model), dense=dense.schedule)
        finally:
            if with_directory.directory is not None:
                with_directory.directory.close()
        value = result.entries[-1]["validation"]
        entries.append((rate, _summary(rate, result)))
        if best is None or trainer.task.better(value, best[1].entries[-1]["validation"]):
            best = (rate, result)
    assert best is not None
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
