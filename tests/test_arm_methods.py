"""The methods that an arm can name: their own keys, their names in reports, and how wrong ones are refused."""

from pathlib import Path
from typing import Any

import pytest

from paretorch.errors import InputError
from paretorch.pipelines.cutting import CutAndRetrain
from paretorch.pipelines.imp import IMP
from paretorch.recipes import Recipe, load_recipe
from paretorch.recipes.arm_methods import METHODS, arm_at, expand, table_of
from paretorch.training.trainer import Trainer

CUT: dict[str, Any] = {"method": "cut", "macs": 0.5, "epochs": 1}
HEAD = 'name = "mine"\ntask = "digits"\nseeds = [0]\n[dense]\nepochs = 1\n'


def load(folder: Path, text: str) -> Recipe:
    (folder / "recipe.toml").write_text(HEAD + text)
    return load_recipe(str(folder / "recipe.toml"))


def test_an_arm_that_names_no_method_is_magnitude_pruning() -> None:
    (arm,) = expand([{"sparsity": 0.5, "epochs": 1}])
    (named,) = expand([{"method": "imp", "sparsity": 0.5, "epochs": 1}])
    assert isinstance(arm.compression, IMP)
    assert arm == named


def test_the_folder_of_a_pruned_arm_is_what_it_was_before_there_were_methods() -> None:
    """So that a sweep that was begun with an earlier version is resumed and not run twice."""
    (arm,) = expand([{"sparsity": 0.9, "epochs": 2, "schedule": "LLR"}])
    assert arm.id == "imp-llr-0b0d37ae"


def test_a_cut_expands_like_any_arm_and_pins_stay_a_list() -> None:
    arms = expand(
        [{"method": "cut", "params": [0.5, 0.25], "epochs": 1, "pins": ["0", "2"], "importance": ["l1", "l2"]}]
    )
    assert [(arm.compression.units.params, arm.compression.units.importance) for arm in arms] == [
        (0.5, "l1"),
        (0.5, "l2"),
        (0.25, "l1"),
        (0.25, "l2"),
    ]
    assert {arm.compression.units.pins for arm in arms} == {("0", "2")}
    assert len({arm.label for arm in arms}) == len({arm.id for arm in arms}) == 4
    assert all(arm.factors["method"] == "cut" for arm in arms)


def test_a_cut_is_named_by_what_stays() -> None:
    (arm,) = expand([CUT | {"epochs": 3, "schedule": "LLR"}])
    assert arm.label == "cut LLR 50 % macs 3 epochs"
    assert arm.factors == {"method": "cut", "schedule": "LLR", "epochs": 3, "macs": 0.5}


@pytest.mark.parametrize(
    "setting",
    [
        {"spread": ["uniform", "global"]},
        {"importance": ["l2", "taylor"]},
        {"round_to": [1, 8]},
        {"norm_scope": ["prunable", "all"]},
        {"reestimate_batches": [20, 0]},
        {"lr": [0.1, 0.05], "schedule": "LLR"},
        {"width": [1.0, 0.5]},
    ],
)
def test_cuts_that_differ_in_one_setting_have_names_and_factors_of_their_own(setting: dict[str, Any]) -> None:
    first, second = expand([CUT | setting])
    assert first.label != second.label
    assert first.factors != second.factors


def test_cuts_with_other_pins_have_names_of_their_own() -> None:
    first, second = expand([CUT, CUT | {"pins": ["1"]}])
    assert first.label != second.label


def test_arms_that_would_share_a_folder_are_refused() -> None:
    orders = ({"1": 0.5, "*": 0.9}, {"*": 0.9, "1": 0.5})  # the first pattern that fits a layer counts
    tables = [{"epochs": 1, "layer_sparsity": order} for order in orders]
    with pytest.raises(InputError, match=r"differ only in the order of a table's keys and would share a folder"):
        expand(tables)
    first, second = expand([tables[0], tables[1] | {"name": "other"}])
    assert first.id != second.id


def test_points_with_equal_settings_are_refused_by_their_places() -> None:
    point = {"method": "train", "optimizer": "adam", "epochs": 1, "lr": 0.1}
    with pytest.raises(InputError, match=r"^\[\[arm\]\] number 1: the arm 'Adam 1 epochs lr 0.1' appears twice"):
        expand([point | {"lr": [0.1, 0.10]}])
    with pytest.raises(InputError, match=r"^\[\[arm\]\] number 1 and \[\[arm\]\] number 3: the arm .* appears twice"):
        expand([point, point | {"eps": 1.0}, point | {"epochs": 1.0}])


def test_every_setting_of_a_cut_reaches_the_pipeline() -> None:
    point = {
        "method": "cut",
        "name": "mine",
        "params": 0.9,
        "macs": 0.8,
        "width": 0.7,
        "spread": "global",
        "importance": "activation",
        "round_to": 8,
        "pins": ["3"],
        "minutes": 2,
        "schedule": "slr",
        "tune_lr": [0.1, 0.2],
        "norm_scope": "all",
        "reestimate_batches": 3,
    }
    arm = arm_at(point, "[[arm]]")
    cut = arm.compression
    assert isinstance(cut, CutAndRetrain)
    units = cut.units
    assert (units.params, units.macs, units.width, units.spread) == (0.9, 0.8, 0.7, "global")
    assert (units.importance, units.round_to, units.pins) == ("activation", 8, ("3",))
    assert (cut.epochs, cut.minutes) == (None, 2)
    retraining = cut.retraining
    assert (retraining.schedule, retraining.norm_scope, retraining.reestimate_batches) == ("SLR", "all", 3)
    assert (arm.label, arm.rates) == ("mine", (0.1, 0.2))
    assert cut.at_rate(0.3).retraining.lr == 0.3


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"method": "cutt"}, r"number 1: method = 'cutt' is unknown; did you mean 'cut'\?"),
        ({"method": "magic"}, r"number 1: method = 'magic' is unknown; methods are imp, cut"),
        ({"method": ["imp", "cut"]}, r"method = \['imp', 'cut'\] must be one name; give each method an \[\[arm\]\] of"),
        ({"method": 3}, "method = 3 must be one name"),
        (CUT | {"sparsity": 0.5}, r"number 1: unknown key 'sparsity'; known keys are .*macs"),
        (CUT | {"pin": ["1"]}, r"unknown key 'pin'; did you mean 'pins'"),
        ({"sparsity": 0.5, "epochs": 1, "pins": ["1"]}, "unknown key 'pins'"),
        (CUT | {"macs": 0.0}, r"macs = 0.0"),
        (CUT | {"macs": 1.5}, r"macs = 1.5"),
        (CUT | {"macs": "half"}, r"macs = 'half'"),
        ({"method": "cut", "epochs": 1}, r"number 1: say what stays: params, macs or width"),
        ({"method": "cut", "params": 0.5}, r"number 1: .*epochs or as minutes; got neither"),
        (CUT | {"minutes": 1}, r"got both"),
        (CUT | {"spread": "even"}, r"spread = 'even'"),
        (CUT | {"importance": "l3"}, r"importance = 'l3'"),
        (CUT | {"round_to": 0}, r"round_to = 0"),
        (CUT | {"schedule": "LRL"}, r"'LRL' is no retraining schedule"),
        (CUT | {"lr": 0.1, "tune_lr": [0.1]}, r"`lr` or `tune_lr`"),
        (CUT | {"keep_optimizer": True}, r"unknown key 'keep_optimizer'"),
        (CUT | {"macs": []}, r"macs = \[\] leaves no arm"),
        (CUT | {"name": " "}, r"number 1: name = ' ': a name needs a letter or a digit"),
        (CUT | {"name": "a\nb"}, r"name = 'a\\nb': a name holds a character that cannot be printed"),
    ],
)
def test_a_wrong_arm_is_refused_by_key_and_value(table: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        expand([table])


def test_every_method_of_the_registry_names_itself() -> None:
    for name, table in METHODS.items():
        assert name in str(table.model_fields["method"].annotation)
        assert table_of({"method": name}, "") is table


def test_a_cut_that_the_model_cannot_reach_is_refused_before_training(tmp_path: Path) -> None:
    recipe = load(tmp_path, '[[arm]]\nmethod = "cut"\nparams = 0.001\nepochs = 1\n')
    with pytest.raises(InputError, match=r"arm 'cut ALLR 0.1 % params 1 epochs': params=.* cannot be reached"):
        recipe.sweep(data=None, command="x").check()


def test_pins_that_match_nothing_are_refused_before_training(tmp_path: Path) -> None:
    recipe = load(tmp_path, '[[arm]]\nmethod = "cut"\nparams = 0.5\nepochs = 1\npins = ["features"]\n')
    with pytest.raises(InputError, match=r"arm 'cut .*'features'"):
        recipe.sweep(data=None, command="x").check()


def test_the_plan_says_what_a_cut_does(tmp_path: Path) -> None:
    recipe = load(tmp_path, '[[arm]]\nmethod = "cut"\nmacs = 0.5\nepochs = 1\n')
    plan = recipe.sweep(data=None, command="x").plan()
    assert "cut ALLR 50 % macs 1 epochs: cut to 50 % of the MACs, retrain, 9 steps" in plan


COMPARED = """
[[arm]]
method = "cut"
name = "ours"
macs = 0.5
SETTING
schedule = "ALLR"
[[arm]]
method = "cut"
name = "theirs"
macs = 0.5
schedule = "LLR"
[compare]
candidate = "ours"
baseline = "theirs"
durations = [1, 2]
smaller = { hidden = [8] }
"""


def test_two_cuts_can_be_compared_if_the_random_control_is_left_out(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"of method 'cut' there is no random version of the candidate .* left_out"):
        load(tmp_path, COMPARED.replace("SETTING", "")).comparison(data=None, command="x")
    text = COMPARED.replace("SETTING", "") + 'left_out = { random = "no such control" }\n'
    comparison = load(tmp_path, text).comparison(data=None, command="x")
    comparison.check()
    family = comparison.families[0]
    rehearsed = family.rehearsed(Trainer(comparison.task, comparison.settings, seed=0))
    assert rehearsed["dense"].same != rehearsed["retrain"].same  # a cut model takes another time per step


def test_a_cut_whose_steps_cannot_be_timed_beforehand_is_refused_in_a_comparison(tmp_path: Path) -> None:
    text = COMPARED.replace("SETTING", 'spread = "global"') + 'left_out = { random = "no such control" }\n'
    with pytest.raises(InputError, match='use spread = "uniform"'):
        load(tmp_path, text).comparison(data=None, command="x").check()
