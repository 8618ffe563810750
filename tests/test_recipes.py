"""Recipes: what validates, what expands into a grid, and how wrong recipes are refused."""

from pathlib import Path

import pytest

from paretorch.errors import InputError
from paretorch.recipes import Recipe, cookbook, load_recipe

MINIMAL = """
name = "mine"
task = "digits"
seeds = [0]
[dense]
epochs = 1
[[arm]]
sparsity = [0.5, 0.9]
epochs = 1
schedule = ["LLR", "ALLR"]
"""


def written(folder: Path, text: str) -> str:
    path = folder / "recipe.toml"
    path.write_text(text)
    return str(path)


def load(folder: Path, text: str) -> Recipe:
    return load_recipe(written(folder, text))


def test_lists_in_an_arm_expand_into_every_combination(tmp_path: Path) -> None:
    arms = load(tmp_path, MINIMAL).arms()
    assert [(arm.compression.sparsity, arm.compression.retraining.schedule) for arm in arms] == [
        (0.5, "LLR"),
        (0.5, "ALLR"),
        (0.9, "LLR"),
        (0.9, "ALLR"),
    ]
    assert len({arm.id for arm in arms}) == len({arm.label for arm in arms}) == 4


def test_the_rates_to_tune_over_are_one_arm(tmp_path: Path) -> None:
    text = MINIMAL.replace('schedule = ["LLR", "ALLR"]', 'schedule = "FT"\ntune_lr = [0.1, 0.01]')
    assert [arm.rates for arm in load(tmp_path, text).arms()] == [(0.1, 0.01)] * 2
    assert all(arm.factors["tuned"] for arm in load(tmp_path, text).arms())


def test_sparsities_per_layer_reach_the_selection(tmp_path: Path) -> None:
    text = MINIMAL.replace("sparsity = [0.5, 0.9]", 'layer_sparsity = { "1" = 0.8 }')
    assert load(tmp_path, text).arms()[0].compression.selection.allocation == {"1": 0.8}


def test_every_setting_of_the_train_table_reaches_the_trainer(tmp_path: Path) -> None:
    text = MINIMAL + (
        '[train]\nbatch_size = 7\noptimizer = "sgd"\nlr = 0.2\nmomentum = 0.5\nnesterov = true\nweight_decay = 0.01\n'
        'clip_norm = 2\naccumulate = 7\nprecision = "bf16"\ndevice = "cpu"\n'
        "checkpoint_seconds = 3\n"
    )
    settings = load(tmp_path, text).train.settings()
    assert settings.describe() == {
        "batch_size": 7,
        "optimizer": {"name": "sgd", "lr": 0.2, "momentum": 0.5, "nesterov": True, "weight_decay": 0.01},
        "clip_norm": 2.0,
        "accumulate": 7,
        "precision": "bf16",
    }
    assert settings.device == "cpu"
    assert settings.checkpoint_seconds == 3


@pytest.mark.parametrize(
    ("schedule", "first", "last"),
    [("constant", 0.1, 0.1), ("linear", 0.1, 0.001), ("multistep", 0.1, 0.001), ("cosine", 0.1, 0.0)],
)
def test_the_dense_curve_starts_at_the_train_rate(tmp_path: Path, schedule: str, first: float, last: float) -> None:
    recipe = load(tmp_path, MINIMAL.replace("[dense]", f'[dense]\nschedule = "{schedule}"'))
    curve = recipe.dense.curve(0.1)(100)
    assert curve(0) == pytest.approx(first)
    assert curve(99) == pytest.approx(last, abs=1e-4)


TRAINS_ONLY = {"fashion-mnist-classifier"}  # judges generated images and is not compressed


def test_every_recipe_that_ships_validates_and_has_arms() -> None:
    assert {"digits", "fashion-mnist", "regression", *TRAINS_ONLY} <= set(cookbook())
    recipes = {name: load_recipe(name) for name in cookbook()}
    sweeps = {name: recipe for name, recipe in recipes.items() if recipe.compare is None}
    assert recipes.keys() - sweeps.keys() == {name for name in cookbook() if name.startswith("compare-")}
    assert {name for name, recipe in sweeps.items() if not recipe.arms()} == TRAINS_ONLY


def test_replacing_the_task_is_recorded_in_the_kept_recipe(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, MINIMAL), overrides={"task": "regression"})
    sweep = recipe.sweep(data=None, command="x")
    assert sweep.task.name == "regression"
    assert "# replaced on the command line: task = 'regression'" in sweep.recipe
    assert sweep.recipe_hash != load(tmp_path, MINIMAL).sweep(data=None, command="x").recipe_hash


def test_a_run_is_tied_to_what_its_task_says_of_itself(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from paretorch.training.tasks.digits import digits\n"
        "def task(judge):\n"
        "    made = digits()\n"
        "    made.describe = lambda: {'task': 'mine', 'classifier': {'sha256': judge}}\n"
        "    return made\n"
    )
    texts = []
    for judge in ("a", "b"):
        recipe = load_recipe("digits", overrides={"task": f"{tmp_path / 'mine.py'}:task", "task_options": {}})
        recipe.task_options["judge"] = judge
        texts.append(recipe.sweep(data=None, command="").recipe)
    for judge, text in zip("ab", texts, strict=True):
        assert f'# task: {{"classifier": {{"sha256": "{judge}"}}, "examples": [1197, 200, 400]}}' in text
    assert texts[0] != texts[1]
    assert '# task: {"examples": [1197, 200, 400]}' in load_recipe("digits").sweep(data=None, command="").recipe


@pytest.mark.parametrize(
    "setting",
    [
        "lr = [0.1, 0.05]",
        'norm_scope = ["prunable", "all"]',
        "keep_optimizer = [true, false]",
        "reestimate_batches = [20, 5]",
        'layer_sparsity = [{ "1" = 0.8 }, { "1" = 0.5 }]',
        'allocation = ["global", "erk"]',
    ],
)
def test_arms_that_differ_in_one_setting_have_names_and_factors_of_their_own(tmp_path: Path, setting: str) -> None:
    """Records are grouped by name, and a sweep whose arms share one could not be reported after all its training."""
    text = MINIMAL.replace('schedule = ["LLR", "ALLR"]', f'schedule = "LLR"\n{setting}')
    text = text.replace("sparsity = [0.5, 0.9]", "" if "layer_sparsity" in setting else "sparsity = 0.5")
    first, second = load(tmp_path, text).arms()
    assert first.label != second.label
    assert first.factors != second.factors


def test_arms_with_other_patterns_have_names_of_their_own(tmp_path: Path) -> None:
    arm = "[[arm]]\nsparsity = 0.5\nepochs = 1\n"
    head = MINIMAL.split("[[arm]]")[0]
    arms = load(tmp_path, f'{head}{arm}{arm}exclude = ["1"]\n{arm}include = ["1"]\n').arms()
    assert len({arm.label for arm in arms}) == 3


def test_an_arm_without_special_settings_keeps_its_short_name(tmp_path: Path) -> None:
    assert load(tmp_path, MINIMAL).arms()[0].label == "IMP LLR 50 % 1 epochs"


def test_a_recipe_that_is_no_utf8_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_bytes(b'name = "\xff"')
    with pytest.raises(InputError, match="UTF-8"):
        load_recipe(str(tmp_path / "recipe.toml"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("epochs = 1\n[[arm]]", "epoch = 1\n[[arm]]"), r"unknown key 'dense.epoch'; did you mean 'epochs'"),
        (("seeds", "seds"), r"unknown key 'seds'; did you mean 'seeds'"),
        (
            ('schedule = ["LLR", "ALLR"]', "shedule = 1"),
            r"\[\[arm\]\] number 1: unknown key 'shedule'; did you mean 's",
        ),
        (("sparsity = [0.5, 0.9]", "sparsity = 1.0"), r"sparsity = 1.0"),
        (("sparsity = [0.5, 0.9]", "sparsity = -0.5"), r"sparsity = -0.5"),
        (("sparsity = [0.5, 0.9]", 'sparsity = "most"'), r"sparsity = 'most'"),
        (("sparsity = [0.5, 0.9]", "sparsity = [0.5, 0.5]"), r"appears twice"),
        (("seeds = [0]", "seeds = []"), r"seeds = \[\]"),
        (("seeds = [0]", 'seeds = ["a"]'), r"seeds.0 = 'a'"),
        (("[dense]\nepochs = 1", "[dense]\nepochs = 0"), r"dense.epochs = 0"),
        (("[dense]", "[dense"), r"not valid TOML"),
        (("epochs = 1\nschedule", "epochs = 1\nminutes = 1\nschedule"), r"number 1: .*epochs or as minutes; got both"),
        (("epochs = 1\nschedule", "schedule"), r"\[\[arm\]\] number 1: .*got neither"),
        (("epochs = 1\nschedule", "epochs = inf\nschedule"), r"epochs = inf"),
        (("epochs = 1\nschedule", "epochs = true\nschedule"), r"epochs = True"),
        (("[dense]\nepochs = 1", "[dense]\nepochs = inf"), r"dense.epochs = inf"),
        (("[dense]\nepochs = 1", ""), r"^[^{]*dense is missing$"),
        (("[dense]", "[[dense]]"), r"dense must be one table, written as \[dense\]"),
        (("[[arm]]", "[arm]"), r"\[\[arm\]\] with double brackets"),
        (("sparsity = [0.5, 0.9]", 'sparsity = "0.5"'), r"sparsity = '0.5'"),
        (("sparsity = [0.5, 0.9]", "sparsity = []"), r"number 1: sparsity = \[\] leaves no arm"),
        (("sparsity = [0.5, 0.9]", 'sparsity = 0.5\nlayer_sparsity = { "1" = 0.8 }'), r"number 1: .*`layer_sparsity`"),
        (("sparsity = [0.5, 0.9]", 'allocation = "erk"\nlayer_sparsity = { "1" = 0.8 }'), r"leave `allocation` out"),
        (('schedule = ["LLR", "ALLR"]', 'schedule = "FT"\ntune_lr = [0.1, 0.1]'), r"holds a rate twice"),
        (('schedule = ["LLR", "ALLR"]', 'schedule = "FT"\ntune_lr = [[0.1], [0.2]]'), r"tune_lr"),
        (('name = "mine"', 'name = "../mine"'), r"name = '../mine'"),
        (("[dense]", '[dense]\nschedule = "linear"\nfactor = 0.5'), r"factor belong to multistep; 'linear' has none"),
        (("[dense]", '[train]\noptimizer = "adam"\nmomentum = 0.5\n[dense]'), r"momentum belongs to sgd"),
        (('schedule = ["LLR", "ALLR"]', 'schedule = "LRL"'), r"'LRL' is no retraining schedule"),
        (("[dense]", '[train]\noptimizer = "lion"\n[dense]'), r"train.optimizer = 'lion'"),
        (("[dense]", "[train]\nbatch_size = 1.5\n[dense]"), r"train.batch_size = 1.5"),
        (('schedule = ["LLR", "ALLR"]', 'schedule = "FT"\nlr = 0.1\ntune_lr = [0.1]'), r"`lr` or `tune_lr`"),
    ],
)
def test_a_wrong_recipe_is_refused_by_key_and_value(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    assert change[0] in MINIMAL
    with pytest.raises(InputError, match=message):
        load(tmp_path, MINIMAL.replace(*change))


def test_a_recipe_that_does_not_exist_names_those_that_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'digits'"):
        load_recipe("digit")
    with pytest.raises(InputError, match="no recipe file"):
        load_recipe(str(tmp_path / "none.toml"))
