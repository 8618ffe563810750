"""Recipes with a [compare] table: which families and controls they make, and how wrong ones are refused."""

from pathlib import Path
from typing import Any

import pytest

from paretorch.errors import InputError
from paretorch.pipelines.comparison import Comparison
from paretorch.pipelines.pruned_family import PrunedFamily
from paretorch.pipelines.trained_family import TrainedFamily
from paretorch.recipes import cookbook, load_recipe

PRUNED = """
name = "pruned"
task = "digits"
seeds = [0, 1]
[task_options]
hidden = [8]
[train]
batch_size = 100
lr = 0.1
momentum = 0.9
[dense]
epochs = 2
[compare]
candidate = "A"
baseline = "B"
durations = [1, 2, 4]
smaller = { hidden = [4] }
[[arm]]
name = "A"
sparsity = 0.9
schedule = "ALLR"
allocation = "uniform"
include = ["1"]
[[arm]]
name = "B"
sparsity = 0.9
schedule = "FT"
tune_lr = [0.01, 0.1]
"""
TRAINED = """
name = "trained"
task = "digits"
seeds = [0]
[task_options]
hidden = [8]
[train]
batch_size = 100
lr = 0.1
[dense]
epochs = 2
schedule = "linear"
[compare]
candidate = "short"
baseline = "early"
durations = [1, 2]
smaller = { hidden = [4] }
[[dense_arm]]
name = "short"
schedule = "linear"
[[dense_arm]]
name = "early"
schedule = "linear"
stop_early = true
"""
OTHER = """
[[arm]]
name = "C"
sparsity = 0.5
schedule = "LLR"
"""


def made(folder: Path, text: str) -> Comparison:
    (folder / "recipe.toml").write_text(text)
    return load_recipe(str(folder / "recipe.toml")).comparison(data=None, command="test")


def by_name(comparison: Comparison) -> dict[str, Any]:
    return {family.name: family for family in comparison.families}


def test_candidate_and_baseline_come_first_then_others_then_controls(tmp_path: Path) -> None:
    swapped = PRUNED.replace('"A"\nbaseline = "B"', '"B"\nbaseline = "A"') + OTHER
    families = made(tmp_path, swapped).families
    assert [(family.name, family.role) for family in families] == [
        ("B", "candidate"),
        ("A", "baseline"),
        ("C", ""),
        ("smaller model", "control:smaller"),
        ("B, random weights", "control:random"),
    ]


def test_every_duration_has_a_schedule_of_its_own(tmp_path: Path) -> None:
    families = by_name(made(tmp_path, PRUNED))
    assert {duration: arm.compression.epochs for duration, arm in families["A"].arms.items()} == {1: 1, 2: 2, 4: 4}
    short = by_name(made(tmp_path, TRAINED))["short"]
    assert [short.curve(steps, None).trace() for steps in (4, 2)] == [
        pytest.approx((0.1, 0.075, 0.05, 0.025)),
        pytest.approx((0.1, 0.05)),
    ]
    assert short.curve(2, 0.3).trace() == pytest.approx((0.3, 0.15))


def test_the_smaller_control_is_as_long_as_dense_training_and_retraining_together(tmp_path: Path) -> None:
    smaller = by_name(made(tmp_path, PRUNED))["smaller model"]
    assert isinstance(smaller, TrainedFamily)
    assert smaller.added_epochs == 2
    assert smaller.durations == [1, 2, 4]
    shapes = [tuple(weight.shape) for weight in smaller.task.model().parameters() if weight.dim() == 2]
    assert shapes == [(4, 64), (10, 4)]


def test_the_smaller_control_of_a_model_trained_from_scratch_adds_nothing(tmp_path: Path) -> None:
    assert by_name(made(tmp_path, TRAINED))["smaller model"].added_epochs == 0


def test_the_random_control_differs_from_the_candidate_in_what_it_removes_alone(tmp_path: Path) -> None:
    families = by_name(made(tmp_path, PRUNED))
    candidate, random = families["A"], families["A, random weights"]
    for duration in (1, 2, 4):
        ours, theirs = candidate.arms[duration].compression, random.arms[duration].compression
        assert (ours.selection.allocation, theirs.selection.allocation) == ("uniform", "random")
        assert theirs.selection.include == ours.selection.include == ["1"]
        assert (theirs.sparsity, theirs.epochs, theirs.retraining) == (ours.sparsity, ours.epochs, ours.retraining)


def test_the_random_control_is_tuned_as_the_candidate_is(tmp_path: Path) -> None:
    swapped = PRUNED.replace('"A"\nbaseline = "B"', '"B"\nbaseline = "A"')
    assert by_name(made(tmp_path, swapped))["B, random weights"].arms[1].rates == (0.01, 0.1)


def test_a_candidate_that_does_not_prune_has_no_random_control(tmp_path: Path) -> None:
    assert set(by_name(made(tmp_path, TRAINED))) == {"short", "early", "smaller model"}


@pytest.mark.parametrize(
    ("left_out", "expected"),
    [
        ('{ smaller = "none exists" }', {"A", "B", "A, random weights"}),
        ('{ smaller = "none exists", random = "hopeless" }', {"A", "B"}),
    ],
)
def test_a_control_is_left_out_with_a_reason(tmp_path: Path, left_out: str, expected: set[str]) -> None:
    text = PRUNED.replace("smaller = { hidden = [4] }", f"left_out = {left_out}")
    assert set(by_name(made(tmp_path, text))) == expected


def test_a_screening_trains_no_controls(tmp_path: Path) -> None:
    screening = PRUNED.replace("[compare]", '[compare]\nmode = "screening"')
    assert set(by_name(made(tmp_path, screening))) == {"A", "B"}
    without = screening.replace("smaller = { hidden = [4] }\n", "")
    assert set(by_name(made(tmp_path, without))) == {"A", "B"}


def test_lists_in_an_arm_need_a_name_for_each_point(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the name 'A' is used by two arms"):
        made(tmp_path, PRUNED.replace('sparsity = 0.9\nschedule = "ALLR"', "sparsity = [0.8, 0.9]"))


def test_a_dense_arm_has_its_own_settings_task_and_rates(tmp_path: Path) -> None:
    changed = TRAINED.replace(
        'name = "short"',
        'name = "short"\ntrain = { optimizer = "adam", lr = 0.003, batch_size = 50 }\n'
        "tune_lr = [0.001, 0.01]\ntask_options = { hidden = [16] }",
    )
    families = by_name(made(tmp_path, changed))
    short, early = families["short"], families["early"]
    assert (short.settings.optimizer.name, short.settings.batch_size) == ("adam", 50)
    assert (early.settings.optimizer.name, early.settings.batch_size) == ("sgd", 100)
    assert short.rates == (0.001, 0.01)
    assert short.curve(2, None)(0) == 0.003
    assert short.task.model()[1].out_features == 16
    assert early.task.model()[1].out_features == 8


def test_models_are_pruned_and_judged_on_the_recipes_task_even_if_the_candidate_has_another(tmp_path: Path) -> None:
    """A dense candidate of another width against a pruned baseline: the pruned one starts from the recipe's model."""
    text = PRUNED.replace('candidate = "A"', 'candidate = "narrow"') + (
        '[[dense_arm]]\nname = "narrow"\ntask_options = { hidden = [6] }\n'
    )
    comparison = made(tmp_path, text)
    families = by_name(comparison)
    assert isinstance(families["B"], PrunedFamily)
    for task in (comparison.task, families["B"].task):
        assert task.model()[1].out_features == 8
    assert families["narrow"].task.model()[1].out_features == 6
    comparison.check()


def refused(folder: Path, text: str, *words: str) -> None:
    """Refused in one paragraph that holds `words`, before anything is built or trained."""
    with pytest.raises(InputError) as caught:
        made(folder, text).check()
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('candidate = "A"', 'candidate = "AA"', ["candidate = 'AA'", "did you mean 'A'?"]),
        ('baseline = "B"', 'baseline = "zzz"', ["baseline = 'zzz'", "known names are A, B"]),
        ('baseline = "B"', 'baseline = "A"', ["candidate and baseline are both 'A'"]),
        ('name = "B"', 'name = "A"', ["'A' is used by two arms"]),
        ('name = "B"\n', "", ["[[arm]] number 2", "needs a `name`"]),
        ('name = "B"\n', 'name = ""\n', ["[[arm]] number 2", "needs a `name`"]),
        ('name = "B"', 'name = "B"\nepochs = 3', ["[[arm]] number 2: epochs is not given here", "durations"]),
        ('name = "B"', 'name = "B"\nminutes = 3', ["[[arm]] number 2: minutes is not given here", "durations"]),
        ("smaller = { hidden = [4] }\n", "", ["smaller", "left_out"]),
        ("smaller = { hidden = [4] }", 'left_out = { random = "x" }', ["smaller", "left_out"]),
        ("smaller = { hidden = [4] }", 'left_out = { smaller = "" }', ["left_out.smaller"]),
        ("smaller = { hidden = [4] }", 'left_out = { smalle = "x" }', ["smalle"]),
        (
            "smaller = { hidden = [4] }",
            'smaller = { hidden = [4] }\nleft_out = { smaller = "x" }',
            ["smaller model", "left_out", "remove one"],
        ),
        ("smaller = { hidden = [4] }", "smaller = { hiden = [4] }", ["'hiden'", "did you mean 'hidden'"]),
        ("durations = [1, 2, 4]", "durations = [1, 4, 2]", ["durations = [1.0, 4.0, 2.0] must rise"]),
        ("durations = [1, 2, 4]", "durations = [1, 1]", ["durations", "must rise", "once"]),
        ("durations = [1, 2, 4]", "durations = []", ["compare.durations"]),
        ("durations = [1, 2, 4]", "durations = [0, 1]", ["compare.durations", "greater than 0"]),
        ("durations = [1, 2, 4]", "durations = [0.001, 1]", ["'A': 0.001 epochs", "less than one optimizer step"]),
        ("durations = [1, 2, 4]", "durations = [1, 1.01]", ["'A': 1 and 1.01 epochs are both 11 optimizer steps"]),
        ('baseline = "B"', 'baselin = "B"', ["unknown key 'compare.baselin'", "did you mean 'baseline'?"]),
        ('baseline = "B"', 'baseline = "B"\nqualitys = [0.9]', ["'compare.qualitys'", "did you mean 'qualities'?"]),
        ('baseline = "B"', 'baseline = "B"\naxis = "minutes"', ["compare.axis = 'minutes'", "'seconds'"]),
        ('baseline = "B"', 'baseline = "B"\naxis = "energy_j"', ["energy_j", "share", "seconds"]),
        ('baseline = "B"', 'baseline = "B"\nmode = "claims"', ["compare.mode = 'claims'", "'screening'"]),
        ('baseline = "B"\n', "", ["compare.baseline is missing"]),
        ("[compare]\n", "[[compare]]\n", ["compare must be one table, written as [compare]"]),
        ('allocation = "uniform"\n', 'allocaton = "uniform"\n', ["[[arm]] number 1", "did you mean 'allocation'?"]),
        ('schedule = "ALLR"', 'schedule = "ALR"', ["[[arm]] number 1", "'ALR'"]),
        ('include = ["1"]', 'include = ["nothing"]', ["arm 'A'", "nothing"]),
        ('name = "B"', 'name = "a!"\nsparsity = 0.5\n[[arm]]\nname = "B"', ["'a-1ep-s0'", "letters or digits"]),
        ("seeds = [0, 1]", "seeds = [1, 1]", ["seeds = [1, 1]", "twice"]),
        ("epochs = 2\n", "epochs = 0.001\n", ["0.001 epochs", "less than one optimizer step"]),
    ],
)
def test_a_bad_comparison_of_pruned_models_is_refused(tmp_path: Path, old: str, new: str, words: list[str]) -> None:
    assert PRUNED.count(old) == 1
    refused(tmp_path, PRUNED.replace(old, new), *words)


@pytest.mark.parametrize(
    ("new", "words"),
    [
        ("scedule = 1", ["[[dense_arm]] number 1", "unknown key 'scedule'", "did you mean 'schedule'?"]),
        ("train = { batchsize = 3 }", ["[[dense_arm]] 'short' train", "did you mean 'batch_size'?"]),
        ("task_options = { hiden = [3] }", ["'hiden'", "did you mean 'hidden'"]),
        ("factor = 0.5", ["[[dense_arm]] 'short'", "factor belong to multistep", "'linear'"]),
        ('train = { optimizer = "adam", lr = 0.01, momentum = 0.5 }', ["[[dense_arm]] 'short'", "momentum", "'adam'"]),
        ('train = { optimizer = "adam" }', ["[[dense_arm]] 'short'", "lr = 0.1 is that of sgd", "adam", "tune_lr"]),
        ("tune_lr = [0.1, 0.2, 0.1]", ["[[dense_arm]] 'short'", "holds a rate twice"]),
        ("tune_lr = [-1.0]", ["tune_lr", "greater than 0"]),
        ("warmup = 1.5", ["warmup", "[0, 1)"]),
    ],
)
def test_a_bad_arm_of_a_model_trained_from_scratch_is_refused(tmp_path: Path, new: str, words: list[str]) -> None:
    refused(tmp_path, TRAINED.replace('name = "short"\n', f'name = "short"\n{new}\n'), *words)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('name = "early"', 'name = ""', ["[[dense_arm]] number 2", "name"]),
        ("durations = [1, 2]", "durations = [0.001, 1]", ["'short': 0.001 epochs", "less than one optimizer step"]),
        ('[[dense_arm]]\nname = "short"', '[dense_arm]\nname = "short"', ["TOML"]),
        ('name = "early"', 'name = "smaller model"', ["smaller-model-1ep-s0"]),
    ],
)
def test_a_bad_comparison_of_dense_models_is_refused(tmp_path: Path, old: str, new: str, words: list[str]) -> None:
    text = TRAINED.replace(old, new)
    refused(tmp_path, text.replace('"early"', '"smaller model"') if "smaller model" in new else text, *words)


def test_one_dense_arm_with_single_brackets_is_refused_with_the_remedy(tmp_path: Path) -> None:
    text = TRAINED.partition("[[dense_arm]]")[0] + '[dense_arm]\nname = "short"\n'
    refused(tmp_path, text, "[[dense_arm]]", "double brackets")


def test_momentum_of_the_train_table_is_refused_for_adam_and_the_table_is_named(tmp_path: Path) -> None:
    text = TRAINED.replace("lr = 0.1\n", "lr = 0.1\nmomentum = 0.9\n", 1)
    text = text.replace('name = "short"\n', 'name = "short"\ntrain = { optimizer = "adam", lr = 0.01 }\n')
    refused(tmp_path, text, "[[dense_arm]] 'short'", "momentum", "'adam'", "[train]")


def test_layer_sparsities_have_no_random_version(tmp_path: Path) -> None:
    given = 'sparsity = 0.9\nschedule = "ALLR"\nallocation = "uniform"\ninclude = ["1"]\n'
    text = PRUNED.replace(given, 'layer_sparsity = { "1" = 0.8 }\n')
    refused(tmp_path, text, "layer_sparsity", "left_out = { random")
    left_out = text.replace("[compare]", '[compare]\nleft_out = { random = "layers are given" }')
    assert "A, random weights" not in by_name(made(tmp_path, left_out))


def test_a_dense_arm_without_a_comparison_is_refused(tmp_path: Path) -> None:
    text = TRAINED.partition("[compare]")[0] + '[[dense_arm]]\nname = "short"\n'
    refused(tmp_path, text, "[[dense_arm]] belongs to a comparison", "[compare]")


def test_recipes_for_one_command_are_refused_by_the_other(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(PRUNED)
    with pytest.raises(InputError, match="recipe 'pruned' describes a comparison; run it with `paretorch compare`"):
        load_recipe(str(tmp_path / "c.toml")).sweep(data=None, command="test")
    sweep = PRUNED.partition("[compare]")[0] + "[[arm]]\nsparsity = 0.9\nepochs = 1\n"
    refused(tmp_path, sweep, "recipe 'pruned' has no [compare] table", "`paretorch run`")


@pytest.mark.parametrize("name", [name for name in cookbook() if name.startswith("compare-")])
def test_comparisons_that_ship_could_make_a_claim(name: str) -> None:
    """Enough seeds, durations and span, and as many trials for the baseline as for the candidate."""
    recipe = load_recipe(name)
    assert recipe.compare is not None
    assert recipe.compare.mode == "claim"
    assert len(recipe.seeds) >= 5
    assert len(recipe.compare.durations) >= 5
    assert recipe.compare.durations[-1] >= 8 * recipe.compare.durations[0]
    rates = {arm["name"]: arm.get("tune_lr", [0]) for arm in [*recipe.arm, *recipe.dense_arm]}
    assert len(rates[recipe.compare.baseline]) >= len(rates[recipe.compare.candidate])


def test_names_in_any_script_have_folders_of_their_own(tmp_path: Path) -> None:
    text = TRAINED.replace('"short"', '"größer, länger"').replace('"early"', '"короче"')
    comparison = made(tmp_path, text)
    comparison.check()
    ids = [unit.id for unit in comparison.units()]
    assert ids[:2] == ["größer-länger-1ep-s0", "короче-1ep-s0"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("durations = [1, 2]", "durations = [1, 2]\nqualities = [0.8, nan]", ["compare.qualities.1", "finite number"]),
        ("{ hidden = [4] }", "{ hidden = [-4] }", ["widths of layers are at least 1, got [64, -4, 10]"]),
        ('"early"', f'"{"e" * 300}"', ["a name of 307 bytes", "200 are the most"]),
    ],
)
def test_what_would_stop_a_comparison_after_work_has_begun_is_refused_before(
    tmp_path: Path, old: str, new: str, words: list[str]
) -> None:
    (tmp_path / "c.toml").write_text(TRAINED.replace(old, new))
    with pytest.raises(InputError) as caught:
        load_recipe(str(tmp_path / "c.toml")).comparison(data=None, command="test").check()
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("hidden = [4]", "hidden = [8]", r"model of 610 parameters, and that of the task has 610"),
        ("durations = [1, 2]", "durations = [1, 2]\nqualities = [92.0]", "for 92 % write 0.92"),
        ('name = "early"', 'name = "ear\\nly"', "holds a character that cannot be printed"),
    ],
)
def test_what_could_only_be_judged_wrongly_is_refused_before_any_work(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    text = TRAINED.replace(old, new, 1)
    if "ear" in new:
        text = text.replace('baseline = "early"', 'baseline = "ear\\nly"')
    with pytest.raises(InputError, match=message):
        made(tmp_path, text).check()
