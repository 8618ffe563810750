"""A search over the ranges of a recipe, with Optuna: every trial a sweep of its own, judged on validation, and charged.

Layout of the output folder: `recipe.toml`, `search.db` (unless the recipe names another storage), `trials/3.toml`, a
recipe that repeats trial 3, `trials/3/`, its sweep, and `search.json`, the result so far. Where only settings of the
arm are searched, all trials start from the same dense models, which are trained once, below `dense/`.

Trials are drawn by TPE (Bergstra, Bardenet, Bengio, Kegl, "Algorithms for hyper-parameter optimization", NeurIPS 2011;
for several objectives Ozaki et al., "Multiobjective tree-structured Parzen estimator", JAIR 73, 2022). The sampler of a
trial is seeded by the trial's number, so that a search that was killed draws what an uninterrupted one would have.
"""

import hashlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from paretorch.artefacts.files import remove_partial, write_json, write_text
from paretorch.errors import InputError, NotFiniteError, RunError
from paretorch.evidence.records import RunRecord
from paretorch.measurement.cost import Cost
from paretorch.methods.schedules import Schedule
from paretorch.pipelines.dense import DenseResult, TrainedDense
from paretorch.pipelines.sweep import Sweep
from paretorch.recipes import Recipe, load_recipe
from paretorch.recipes.search_table import SearchTable
from paretorch.recipes.strict import validated
from paretorch.recipes.toml_text import to_toml
from paretorch.search.result import CHARGES, SearchResult, Trial, in_words
from paretorch.training.run import RunDirectory
from paretorch.training.seeding import stream_seed
from paretorch.training.trainer import Trainer

logger = logging.getLogger("paretorch")

RESULT = "search.json"


@dataclass(frozen=True, kw_only=True)
class SharedDense(TrainedDense):
    """Dense models in folders of their own, trained by whoever asks first.

    Args:
        folder: holds one run directory per seed.
        recipe: text that these directories are tied to.
    """

    folder: Path
    recipe: str

    def __call__(self, trainer: Trainer, schedule: Schedule) -> DenseResult:
        """The model of the trainer's seed, with the trainer's task and settings."""
        with RunDirectory(self.folder / f"s{trainer.seed}", recipe=self.recipe, resume=True) as directory:
            own = Trainer(trainer.task, trainer.settings, seed=trainer.seed, directory=directory)
            return super().__call__(own, schedule)


class Search:
    """A recipe's search.

    Args:
        recipe: whole without the search; it has one arm at most. The dense model is judged if it has none.
        table: its `[search]` table.
        data: the data folder, for tasks that need one.
        command: what the user typed, for the records.

    Raises:
        InputError: if Optuna is not installed, or the space is none of this recipe.
    """

    def __init__(self, recipe: Recipe, table: SearchTable, *, data: Path | None, command: str) -> None:
        self._optuna = _optuna()
        self.table, self.axes, self.data, self.command = table, table.axes(), data, command
        self.values = recipe.model_dump(exclude_unset=True, exclude={"search"})
        self.base = self._sweep({}, where=f"recipe {recipe.name!r}")
        only_arm = all(key.startswith("arm.") for key in self.axes)
        self.shares_dense = only_arm and isinstance(self.base.dense, TrainedDense)

    @property
    def directions(self) -> dict[str, str]:
        """ "maximize" or "minimize", by objective; costs are minimised, quality as the task says."""
        better = {True: "maximize", False: "minimize"}
        return {
            name: better[name == "validation" and self.base.task.higher_is_better] for name in self.table.objectives
        }

    def check(self) -> None:
        """Refuse, before anything is trained, a range with an end that the recipe would refuse.

        Raises:
            InputError: naming key and value.
        """
        self.base.check()
        for key, axis in self.axes.items():
            for end in axis.ends():
                where = f"[search.space] {key!r} at {end!r}"
                sweep = self._sweep({key: end}, where=where)
                try:
                    sweep.check()
                except InputError as error:
                    raise InputError(f"{where}: {error}") from error

    def plan(self) -> list[str]:
        """What `run` would do, in words."""
        self.check()
        wanted = ", ".join(f"{direction} {name}" for name, direction in self.directions.items())
        ranges = [f"{key}: {json.dumps(axis.model_dump(exclude_unset=True))}" for key, axis in self.axes.items()]
        shared = "; all trials share the dense models" if self.shares_dense else ""
        head = f"each trial, at the recipe's own values{shared}:"
        return [f"{self.table.trials} trials, {wanted}", *ranges, head, *(f"  {line}" for line in self.base.plan())]

    def run(self, out: Path, *, resume: bool = False) -> SearchResult:
        """Run, or finish, all trials; the result is also in `search.json`, which is written after every trial.

        Raises:
            InputError: if `out` holds another search, or one without `resume`; if the storage cannot be opened, or does
                not hold the trials of `out`.
            RunError: if an objective is not known for the model.
            NotFiniteError: if a dense model that all trials share diverges.
            KeyboardInterrupt: with the state saved.
        """
        self.check()
        with RunDirectory(out, recipe=self._identity(), resume=resume):
            (out / "trials").mkdir(exist_ok=True)
            remove_partial(out / "trials")
            study = self._study(out)
            dense = self._charge_of_shared(out)
            while (trial := self._next(study)) is not None:
                self._run_trial(study, trial, out)
                write_json(out / RESULT, asdict(self._result(study, dense)))
            return self._result(study, dense)

    def _sweep(self, point: Mapping[str, Any], *, where: str) -> Sweep:
        recipe = validated(Recipe, self.table.put(self.values, point), where=where)
        try:
            recipe.check()
            sweep = recipe.sweep(data=self.data, command=self.command)
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        if len(sweep.arms) > 1:
            raise InputError(
                f"{where}: a search judges one arm, and here are {len(sweep.arms)}; leave one [[arm]] with one value "
                "per key"
            )
        return sweep

    def _identity(self) -> str:
        """What must be the same for a folder to be resumed; more trials may be asked for, and the storage moved."""
        searched = self.table.model_dump(exclude={"trials", "storage"})
        return f"{to_toml(self.values)}{self.base.recipe}# search: {json.dumps(searched)}\n"

    def _study(self, out: Path) -> Any:
        """The study in the storage, which must know the trials of the folder, and no others."""
        url = self.table.storage or f"sqlite:///{out.resolve() / 'search.db'}"
        digest = hashlib.sha256(self._identity().encode()).hexdigest()[:12]
        study = self._opened(url, f"{self.base.name}-{digest}")
        numbers = {trial.number for trial in study.get_trials(deepcopy=False)}
        ended = {trial.number for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()}
        here = {int(path.stem) for path in (out / "trials").glob("*.toml")}
        if here - numbers:
            raise InputError(f"{url} does not hold trial {min(here - numbers)} of {out}; name the storage of that run")
        if ended - here:
            raise InputError(
                f"{url} holds {len(ended)} trials of this search, and trial {min(ended - here)} is not in {out}; go on "
                "in the folder that they were run in, or name another storage"
            )
        return study

    def _opened(self, url: str, name: str) -> Any:
        from sqlalchemy.exc import SQLAlchemyError

        self._optuna.logging.set_verbosity(self._optuna.logging.WARNING)
        directions = list(self.directions.values())
        try:
            return self._optuna.create_study(storage=url, study_name=name, directions=directions, load_if_exists=True)
        except (ImportError, SQLAlchemyError, self._optuna.exceptions.OptunaError) as error:
            raise InputError(
                f"the storage {url!r} cannot be opened: {error}. Give an Optuna storage URL, such as sqlite:///search.db"
            ) from error

    def _next(self, study: Any) -> Any | None:
        """The trial that was interrupted, or a new one; None if there are enough."""
        made = study.get_trials(deepcopy=False)
        running = [trial for trial in made if not trial.state.is_finished()]
        number = running[0].number if running else len(made)
        seed = stream_seed(self.table.seed, "trial", number) % 2**32
        study.sampler = self._optuna.samplers.TPESampler(seed=seed)
        if running:
            return self._optuna.trial.Trial(study, running[0]._trial_id)
        return study.ask() if len(made) < self.table.trials else None

    def _shared(self, out: Path) -> SharedDense:
        return SharedDense(folder=out / "dense", recipe=self._identity())

    def _charge_of_shared(self, out: Path) -> dict[str, float | None]:
        """Train, or find, the dense models that all trials start from; what they cost."""
        entries = []
        for seed in self.base.seeds if self.shares_dense else ():
            trainer = Trainer(self.base.task, self.base.settings, seed=seed)
            schedule = self.base.dense_schedule(trainer.num_steps(self.base.dense_epochs))
            entries.append(self._shared(out)(trainer, schedule).entry)
        return {name: sum(entry[name] for entry in entries) for name in CHARGES}

    def _run_trial(self, study: Any, trial: Any, out: Path) -> None:
        """Run, or finish, one trial and tell the study what came of it."""
        point = {key: axis.suggest(trial, key) for key, axis in self.axes.items()}
        recipe = out / "trials" / f"{trial.number}.toml"
        write_text(recipe, to_toml(self.table.put(self.values, point)))
        logger.info("trial %d (%d of %d): %s", trial.number, trial.number + 1, self.table.trials, in_words(point))
        try:
            sweep = load_recipe(str(recipe)).sweep(data=self.data, command=self.command)
            sweep = replace(sweep, dense=self._shared(out)) if self.shares_dense else sweep
            sweep.check()
        except InputError as error:
            self._fail(study, trial, "refused", str(error), dict.fromkeys(CHARGES, 0))
            return
        began = time.perf_counter()
        records: list[RunRecord] = []
        try:
            records = _judged(sweep, sweep.run(out / "trials" / str(trial.number), resume=True))
            note = next((record.notes[0].removeprefix("diverged: ") for record in records if record.status != "ok"), "")
        except NotFiniteError as error:
            note = str(error)
        if note:
            charge = _granted(sweep, with_dense=not self.shares_dense) | {"seconds": time.perf_counter() - began}
            self._fail(study, trial, "diverged", note, charge)
            return
        found: dict[str, float] = {
            name: fmean(_objective(record, name) for record in records) for name in self.table.objectives
        }
        phases = [phase for record in records for phase in record.phases]
        charged = [phase for phase in phases if not (self.shares_dense and phase["phase"] == "dense")]
        trial.set_user_attr("charge", {name: sum(phase.get(name, 0) for phase in charged) for name in CHARGES})
        study.tell(trial, list(found.values()))
        logger.info("  %s", in_words(found))

    def _fail(self, study: Any, trial: Any, state: str, note: str, charge: Mapping[str, float | None]) -> None:
        logger.warning("  %s: %s", state, note)
        for name, value in (("state", state), ("note", note), ("charge", dict(charge))):
            trial.set_user_attr(name, value)
        study.tell(trial, state=self._optuna.trial.TrialState.FAIL)

    def _result(self, study: Any, dense: dict[str, float | None]) -> SearchResult:
        trials = tuple(self._trial(kept) for kept in study.get_trials() if kept.state.is_finished())
        known = {name: [dense[name], *(trial.charge[name] for trial in trials)] for name in CHARGES}
        return SearchResult(
            name=self.base.name,
            directions=self.directions,
            trials=trials,
            dense=dense,
            total={name: _sum(values) for name, values in known.items()},
            front=tuple(kept.number for kept in study.best_trials),
        )

    def _trial(self, kept: Any) -> Trial:
        return Trial(
            number=kept.number,
            values={key: self.axes[key].value(parameter) for key, parameter in kept.params.items()},
            state=kept.user_attrs.get("state", "complete"),
            objectives=dict(zip(self.table.objectives, kept.values or (), strict=False)),
            charge=kept.user_attrs["charge"],
            note=kept.user_attrs.get("note", ""),
        )


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise InputError('a search needs optuna, which is not installed: pip install "paretorch[search]"') from error
    return optuna


def _judged(sweep: Sweep, records: Sequence[RunRecord]) -> list[RunRecord]:
    """The records of the arm, one per seed; of the dense model if there is no arm."""
    return [record for record in records if record.arm == sweep.arms[0].label] if sweep.arms else list(records)


def _objective(record: RunRecord, name: str) -> float:
    value = record.validation if name == "validation" else getattr(Cost.from_dict(record.cost), name)
    if value is None:
        raise RunError(f"{record.run_id}: {name} is not known for this model, so no trial can be judged by it")
    return float(value)


def _granted(sweep: Sweep, *, with_dense: bool) -> dict[str, float | None]:
    """Steps and samples that the recipe allows for all seeds; None if an arm is given minutes."""
    trainer, epochs, size = Trainer(sweep.task, sweep.settings), sweep.dense_epochs, sweep.settings.batch_size
    steps = sweep.dense.plan(epochs, trainer.num_steps(epochs), size)[1] if with_dense else 0
    for arm in sweep.arms:
        shared = arm.compression.plan_shared(trainer)[1] if arm.compression.shared_key else 0
        granted = arm.compression.plan(trainer)[1]
        if granted is None or shared is None:
            return {"steps": None, "samples": None}
        steps += shared + granted * max(1, len(arm.rates))
    steps *= len(sweep.seeds)
    return {"steps": steps, "samples": steps * size}


def _sum(values: Sequence[float | None]) -> float | None:
    return None if any(value is None for value in values) else sum(value for value in values if value is not None)
