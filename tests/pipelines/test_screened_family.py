"""A screening: one cyclic run per seed, read where the learning rate comes down."""

from pathlib import Path

import pytest

from paretorch.comparisons import judge
from paretorch.errors import InputError
from paretorch.evidence.families import charge
from paretorch.evidence.records import RunRecord
from paretorch.pipelines.comparison import Comparison
from paretorch.recipes import Recipe
from paretorch.recipes.compare_table import CompareTable
from paretorch.recipes.strict import validated

TABLE = {"candidate": "fast", "baseline": "slow", "durations": [1.0, 3.0, 7.0], "mode": "screening"}
RECIPE = {
    "name": "screen",
    "task": "digits",
    "task_options": {"hidden": [8]},
    "seeds": [0, 1],
    "train": {"batch_size": 100, "lr": 0.1},
    "dense": {"epochs": 1.0},
    "dense_arm": [{"name": "fast", "train": {"lr": 0.2}}, {"name": "slow", "train": {"lr": 0.05}}],
    "compare": TABLE,
}


def recipe(**changes: object) -> Recipe:
    return validated(Recipe, RECIPE | changes, where="the test's recipe")


def comparison(**changes: object) -> Comparison:
    return recipe(**changes).comparison(data=None, command="test")


def run(out: Path, *, backwards: bool = False) -> list[RunRecord]:
    whole = comparison()
    whole.check()
    out.mkdir(exist_ok=True)
    whole.time_steps(out)
    units = whole.units()
    for unit in reversed(units) if backwards else units:
        whole.run_unit(unit, out)
    return whole.records(out)


def test_every_point_is_the_model_at_the_end_of_a_cycle_of_one_run(tmp_path: Path) -> None:
    records = [one for one in run(tmp_path) if one.family == "fast" and one.seed == 0]
    per_epoch = 1197 // 100  # the rest of an epoch is left out
    assert [charge(one, "steps") for one in records] == [per_epoch * epochs for epochs in (1, 3, 7)]
    assert [len(one.phases) for one in records] == [1, 2, 3]
    for one in records:
        assert one.phases == records[-1].phases[: len(one.phases)], "the points of a seed are one run that goes on"
        last = [point for point in one.curves if point["phase"] == one.phases[-1]["phase"]]
        assert last[-1]["lr"] == min(point["lr"] for point in last), "a point is read where the rate is lowest"
        assert last[-1]["validation"] == one.validation
    assert len({one.quality for one in records}) > 1, "the models of the points are not one model"


def test_the_order_of_the_units_does_not_matter(tmp_path: Path) -> None:
    forth, back = run(tmp_path / "forth"), run(tmp_path / "back", backwards=True)
    assert [one.run_id for one in forth] == [one.run_id for one in back]
    assert [one.quality for one in forth] == [one.quality for one in back]


def test_nothing_is_claimed_from_a_screening(tmp_path: Path) -> None:
    found = judge(run(tmp_path), validated(CompareTable, TABLE, where="table"))
    assert not found.verdict.claimed
    assert any("screening" in sentence for sentence in found.verdict.refusals)


def test_a_screening_that_diverges_is_recorded_as_such(tmp_path: Path) -> None:
    whole = comparison(dense_arm=[{"name": "fast", "train": {"lr": 1e30}}, {"name": "slow"}])
    whole.time_steps(tmp_path)
    for unit in whole.units():
        whole.run_unit(unit, tmp_path)
    status = {(one.family, one.status) for one in whole.records(tmp_path)}
    assert status == {("fast", "diverged"), ("slow", "ok")}
    failed = [one for one in whole.records(tmp_path) if one.status == "diverged" and one.seed == 0]
    assert [charge(one, "epochs") for one in failed] == [1.0, 3.0, 7.0], (
        "a run that fails is charged what it was granted"
    )


def test_durations_that_do_not_double_their_cycles_are_refused_with_those_that_do() -> None:
    with pytest.raises(InputError, match=r"durations \[1\.0, 2\.0, 4\.0\] must be 1, 3, 7"):
        comparison(compare=TABLE | {"durations": [1.0, 2.0, 4.0]}).check()


@pytest.mark.parametrize("key", [{"stop_early": True}, {"tune_lr": [0.1, 0.2]}, {"schedule": "linear"}])
def test_what_one_cyclic_run_cannot_show_is_refused(key: dict[str, object]) -> None:
    arms = [{"name": "fast", **key}, {"name": "slow"}]
    with pytest.raises(InputError, match=rf"{next(iter(key))} cannot be screened"):
        comparison(dense_arm=arms)
