"""The `[search]` table: what a space may say, and where its values are put."""

import json
from typing import Any

import pytest

from paretorch.errors import InputError
from paretorch.recipes.search_table import SearchTable
from paretorch.recipes.strict import validated

SPACE: dict[str, Any] = {"train.lr": {"low": 0.01, "high": 0.3}}


def table(**values: Any) -> SearchTable:
    return validated(SearchTable, {"trials": 3, "space": SPACE} | values, where="[search]")


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"train.lrr": {"low": 0.1, "high": 1.0}}, r"'train.lrr' is no setting of a recipe; did you mean 'train.lr'\?"),
        ({"arms.sparsity": {"low": 0.1, "high": 0.2}}, r"did you mean 'arm.sparsity'\?"),
        ({"seeds": {"choices": [1, 2]}}, "'seeds' is no setting of a recipe"),
        ({"task_options": {"choices": [1, 2]}}, "'task_options' is no setting of a recipe"),
        ({"qqqq": {"choices": [1, 2]}}, "keys that can be searched are train.optimizer, train.lr"),
        ({"train.lr": {"lo": 0.1, "high": 1.0}}, r"\[search.space\] 'train.lr': unknown key 'lo'; did you mean 'low'"),
        ({"train.lr": {"low": 0.1}}, "'train.lr' needs `low` and `high`, or `choices`"),
        ({"train.lr": {"low": 1.0, "high": 0.1}}, "low = 1.0 must be below high = 0.1"),
        ({"train.lr": {"low": 1, "high": 1}}, "low = 1 must be below high = 1"),
        ({"train.lr": {"low": 0.0, "high": 1.0, "log": True}}, "low = 0.0 must be positive where log = true"),
        ({"train.lr": {"low": float("nan"), "high": 1.0}}, "low = nan must be a finite number"),
        ({"train.lr": {"low": "0.1", "high": 1.0}}, "low = '0.1' must be a finite number"),
        ({"train.lr": {"choices": [0.1, 0.2], "low": 0.1}}, "`low`, `high` and `log` have no place beside them"),
        ({"train.lr": {"choices": [0.1, 0.1]}}, r"choices = \[0.1, 0.1\] holds a value twice"),
        ({"train.lr": {"choices": [0.1]}}, "choices = "),
    ],
)
def test_space_that_is_none_is_refused(space: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        table(space=space).axes()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"trials": 0}, "trials = 0"),
        ({"space": {}}, "space = {}"),
        ({"objectives": []}, "objectives = "),
        ({"objectives": ["quality"]}, "objectives.0 = 'quality'"),
        ({"objectives": ["seconds", "seconds"]}, "holds one twice"),
        ({"seed": -1}, "seed = -1"),
        ({"trails": 3}, "unknown key 'trails'; did you mean 'trials'"),
    ],
)
def test_table_that_is_wrong_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        table(**values).axes()


def test_range_of_integers_is_one_of_integers_and_choices_may_be_lists() -> None:
    asked: list[Any] = []

    class Draws:
        def suggest_int(self, key: str, low: int, high: int, *, log: bool) -> int:
            asked.append(("int", key, low, high, log))
            return high

        def suggest_float(self, key: str, low: float, high: float, *, log: bool) -> float:
            asked.append(("float", key, low, high, log))
            return low

        def suggest_categorical(self, key: str, choices: list[str]) -> str:
            asked.append(("choices", key, choices))
            return choices[1]

    axes = table(
        space={
            "train.batch_size": {"low": 16, "high": 64, "log": True},
            "train.lr": {"low": 1, "high": 1.5},
            "dense.milestones": {"choices": [[0.5, 0.75], [0.9]]},
        }
    ).axes()
    assert [axis.suggest(Draws(), key) for key, axis in axes.items()] == [64, 1, [0.9]]
    assert asked == [
        ("int", "train.batch_size", 16, 64, True),
        ("float", "train.lr", 1, 1.5, False),
        ("choices", "dense.milestones", ["[0.5, 0.75]", "[0.9]"]),
    ]
    assert axes["dense.milestones"].value("[0.9]") == [0.9]
    assert axes["train.lr"].value(0.25) == 0.25


def test_values_are_put_in_their_places_and_the_recipe_is_left_alone() -> None:
    recipe = {"name": "a", "train": {"lr": 0.1, "momentum": 0.5}, "arm": [{"sparsity": 0.5, "epochs": 1}]}
    before = json.dumps(recipe)
    point = {"train.lr": 0.2, "arm.sparsity": 0.9, "dense.epochs": 3.0, "task_options.hidden": [4]}
    assert table().put(recipe, point) == {
        "name": "a",
        "train": {"lr": 0.2, "momentum": 0.5},
        "arm": [{"sparsity": 0.9, "epochs": 1}],
        "dense": {"epochs": 3.0},
        "task_options": {"hidden": [4]},
    }
    assert json.dumps(recipe) == before


@pytest.mark.parametrize("count", [0, 2])
def test_key_of_an_arm_needs_exactly_one_arm(count: int) -> None:
    with pytest.raises(InputError, match=rf"'arm.sparsity' belongs to one \[\[arm\]\]; this recipe has {count}"):
        table().put({"arm": [{"sparsity": 0.5}] * count}, {"arm.sparsity": 0.9})
