"""`[search]`: which settings of a recipe are searched, in which ranges, and what a trial is judged by.

[search]
trials = 20
objectives = ["validation", "nonzeros"]
[search.space]
"train.lr" = { low = 0.01, high = 0.3, log = true }
"arm.schedule" = { choices = ["LLR", "ALLR"] }

The recipe is whole without this table: its own value of a searched key holds where nothing is searched.
"""

import copy
import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from paretorch.errors import InputError
from paretorch.recipes.arm_methods import METHODS
from paretorch.recipes.strict import Strict, nearest, validated
from paretorch.recipes.train_table import DenseTable, TrainTable

Objective = Literal["validation", "nonzeros", "macs_nonzero", "total_bytes", "seconds"]

# Keys of an arm are those of any method: one that its own does not have is refused when the arm is built.
# The options of a task are known to its factory alone, which refuses others by name.
KNOWN_KEYS: dict[str, list[str] | None] = {
    "train": list(TrainTable.model_fields),
    "dense": list(DenseTable.model_fields),
    "arm": list(dict.fromkeys(key for table in METHODS.values() for key in table.model_fields if key != "method")),
    "task_options": None,
}


class AxisTable(Strict):
    """One entry of `[search.space]`: a range, of integers where both ends are, or a list of choices."""

    low: Any = None
    high: Any = None
    log: bool = False
    choices: Annotated[list[Any], Field(min_length=2)] | None = None

    def check(self) -> None:
        """Refuse what is neither a range nor a list.

        Raises:
            InputError: saying what is wrong with it.
        """
        if self.choices is not None:
            if self.model_fields_set != {"choices"}:
                raise InputError("has `choices`, so `low`, `high` and `log` have no place beside them")
            texts = [json.dumps(choice, sort_keys=True) for choice in self.choices]
            if len(set(texts)) < len(texts):
                raise InputError(f"choices = {self.choices} holds a value twice")
        elif self.low is None or self.high is None:
            raise InputError("needs `low` and `high`, or `choices`")
        elif bad := [(name, end) for name, end in (("low", self.low), ("high", self.high)) if not _is_number(end)]:
            raise InputError(f"{bad[0][0]} = {bad[0][1]!r} must be a finite number")
        elif self.low >= self.high:
            raise InputError(f"low = {self.low!r} must be below high = {self.high!r}")
        elif self.log and self.low <= 0:
            raise InputError(f"low = {self.low!r} must be positive where log = true")

    def ends(self) -> list[Any]:
        """Both ends of the range, or all choices."""
        return list(self.choices) if self.choices is not None else [self.low, self.high]

    def suggest(self, trial: Any, key: str) -> Any:
        """The value that an Optuna trial has for this key, drawn if it has none yet."""
        if self.choices is not None:
            return json.loads(trial.suggest_categorical(key, [json.dumps(choice) for choice in self.choices]))
        suggest = trial.suggest_int if isinstance(self.low, int) and isinstance(self.high, int) else trial.suggest_float
        return suggest(key, self.low, self.high, log=self.log)

    def value(self, parameter: Any) -> Any:
        """What a parameter as Optuna keeps it stands for."""
        return json.loads(parameter) if self.choices is not None else parameter


class SearchTable(Strict):
    """`[search]`: number of trials, objectives, and the space, by keys such as "train.lr"."""

    trials: Annotated[int, Field(ge=1)]
    objectives: Annotated[list[Objective], Field(min_length=1)] = Field(default=["validation"])
    storage: str | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    space: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]

    def axes(self) -> dict[str, AxisTable]:
        """The space, checked.

        Raises:
            InputError: for an unknown key, naming the nearest; a range that is none; or an objective named twice.
        """
        if len(set(self.objectives)) < len(self.objectives):
            raise InputError(f"[search] objectives = {self.objectives} holds one twice")
        axes = {}
        for key, table in self.space.items():
            _check_key(key)
            where = f"[search.space] {key!r}"
            axes[key] = validated(AxisTable, table, where=where)
            try:
                axes[key].check()
            except InputError as error:
                raise InputError(f"{where} {error}") from error
        return axes

    def put(self, values: Mapping[str, Any], point: Mapping[str, Any]) -> dict[str, Any]:
        """A copy of the recipe `values` with the settings of `point` in their places.

        Raises:
            InputError: if a setting of an arm is searched and there is not exactly one `[[arm]]`.
        """
        changed = copy.deepcopy(dict(values))
        for key, value in point.items():
            table, _, name = key.partition(".")
            if table != "arm":
                changed[table] = {**changed.get(table, {}), name: value}
                continue
            arms = changed.get("arm", [])
            if len(arms) != 1:
                raise InputError(f"[search.space] {key!r} belongs to one [[arm]]; this recipe has {len(arms)}")
            arms[0][name] = value
        return changed


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_key(key: str) -> None:
    table, _, name = key.partition(".")
    known = KNOWN_KEYS.get(table, [])
    if table in KNOWN_KEYS and name and (known is None or name in known):
        return
    names = [f"{table}.{name}" for table, names in KNOWN_KEYS.items() for name in names or []]
    hint = nearest(key, names, what="keys that can be searched")
    raise InputError(f"[search.space] {key!r} is no setting of a recipe; {hint}")
