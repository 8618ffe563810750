"""The tasks that ship without data, and finding tasks by name."""

import sys
from pathlib import Path

import pytest
import torch

from paretorch.errors import InputError
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.supervised import SupervisedTask
from paretorch.training.task import Task
from paretorch.training.tasks.digits import digits
from paretorch.training.tasks.registry import BUILT_IN, make_task
from paretorch.training.tasks.regression import TEACHER_UNITS, regression
from paretorch.training.trainer import Trainer


def whole(task: Task) -> list[dict[str, torch.Tensor]]:
    sets = (task.train_set(), task.eval_set(), task.test_set())
    return [examples.batch(torch.arange(len(examples))) for examples in sets]


def test_digits_are_split_into_1197_200_and_400_disjoint_examples() -> None:
    parts = whole(digits())
    assert [len(part["inputs"]) for part in parts] == [1197, 200, 400]
    images = torch.cat([part["inputs"] for part in parts])
    assert images.shape == (1797, 64)
    assert (float(images.min()), float(images.max())) == (0.0, 1.0)
    assert len(torch.unique(images, dim=0)) == 1797, "no image is in two parts"
    assert torch.cat([part["targets"] for part in parts]).bincount().tolist() == [
        *[178, 182, 177, 183, 181],
        *[182, 181, 179, 174, 180],
    ]  # the counts in scikit-learn's description of the data


def test_digits_are_the_same_for_every_run_and_learnable() -> None:
    task = digits(hidden=(32,))
    assert all(torch.equal(a["inputs"], b["inputs"]) for a, b in zip(whole(task), whole(digits()), strict=True))
    settings = TrainSettings(batch_size=64, optimizer=OptimizerSpec(lr=0.2), device="cpu", evaluate_epochs=100)
    trainer = Trainer(task, settings)
    result = trainer.fit(trainer.model(), phase="dense", num_steps=150)
    assert result.validation["accuracy"] > 0.85


def test_digits_name_their_model() -> None:
    assert digits(hidden=(5,)).constructor() == ("paretorch.training.models.mlp:mlp", {"sizes": [64, 5, 10]})


@pytest.mark.parametrize("noise", [0.1, 0.3])
def test_best_reachable_error_of_the_regression_task_is_the_variance_of_its_noise(noise: float) -> None:
    """The teacher itself, drawn here from the same stream, leaves nothing but the noise."""
    task = regression(noise=noise, num_examples=20_000)
    stream = torch.Generator().manual_seed(0)
    torch.randn(20_000, 16, generator=stream)
    first = torch.randn(16, TEACHER_UNITS, generator=stream) / 4
    second = torch.randn(TEACHER_UNITS, 1, generator=stream) / TEACHER_UNITS**0.5
    for part in whole(task):
        errors = ((part["inputs"] @ first).tanh() @ second - part["targets"]).square()
        assert float(errors.mean()) == pytest.approx(noise**2, rel=0.08)
    assert task.metric == "mse"
    assert not task.higher_is_better


def test_regression_without_noise_is_the_teacher_exactly_and_learnable() -> None:
    task = regression(noise=0.0, num_examples=500, hidden=(32,))
    assert [len(part["inputs"]) for part in whole(task)] == [400, 50, 50]
    settings = TrainSettings(batch_size=50, optimizer=OptimizerSpec(name="adam", lr=0.01), device="cpu")
    trainer = Trainer(task, settings)
    model = trainer.model()
    before = trainer.evaluate(model)["mse"]
    assert trainer.fit(model, phase="dense", num_steps=200).validation["mse"] < before / 5


@pytest.mark.parametrize("options", [{"num_examples": 99}, {"inputs": 0}, {"noise": -0.1}])
def test_regression_out_of_range_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(InputError, match="at least 100 examples, one input and noise >= 0"):
        regression(**options)  # type: ignore[arg-type]


MINE = """
import torch
from dataclasses import dataclass
from paretorch.training.models.mlp import mlp
from paretorch.training.supervised import SupervisedTask

@dataclass
class Sizes:  # a dataclass looks up its module while it is made
    hidden: "int" = 4

def task(*, width=4, layers=(1, 2), data=None):
    inputs = torch.randn(30, 3)
    labels = inputs[:, 0].long().abs() % 2
    made = SupervisedTask(lambda: mlp((3, width, 2)), train=(inputs, labels), test=(inputs, labels))
    made.seen = (width, layers, data)
    return made

def wrong():
    return 3

def broken(width=3):
    return len(5)

number = 4
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "my_task.py"
    path.write_text(MINE)
    return path


def test_built_in_tasks_are_found_by_name_with_options() -> None:
    assert {"digits", "fashion-mnist", "regression"} <= set(BUILT_IN)
    task = make_task("regression", options={"noise": 0.0, "hidden": [8]})
    assert task.name == "regression"
    assert task.constructor() == ("paretorch.training.models.mlp:mlp", {"sizes": [16, 8, 1]})


def test_task_of_a_user_s_file_gets_options_lists_as_tuples_and_the_data_folder(mine: Path, tmp_path: Path) -> None:
    task = make_task(f"{mine}:task", options={"width": 7, "layers": [3, 4]}, data=tmp_path)
    assert isinstance(task, SupervisedTask)
    assert task.seen == (7, (3, 4), tmp_path)
    assert make_task(f"{mine}:task", options={"data": "elsewhere"}, data=tmp_path).seen[2] == "elsewhere"


def test_two_task_files_of_one_name_are_two_modules(mine: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / mine.name
    other.parent.mkdir()
    other.write_text(MINE.replace("width=4", "width=9"))
    first, second = make_task(f"{mine}:task"), make_task(f"{other}:task")
    assert (first.seen[0], second.seen[0]) == (4, 9)
    assert type(first._factory).__module__ == type(second._factory).__module__
    assert first._factory.__module__ != second._factory.__module__


def test_task_of_an_importable_module_is_found() -> None:
    assert make_task("tests.training.hook_methods:small_task").name == "supervised"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("fashon-mnist", "task 'fashon-mnist' is unknown; did you mean 'fashion-mnist'"),
        ("quite-other", "task 'quite-other' is unknown; Built-in tasks are adult, char-lm, "),
        ("{folder}/none.py:task", r"there is no task file .*none\.py"),
        ("{folder}:task", "does not import: ModuleNotFoundError"),
        ("no_such_package.tasks:task", "no_such_package.tasks does not import: ModuleNotFoundError"),
        ("{mine}:absent", r"my_task\.py has no function or class 'absent'"),
        ("{mine}:number", r"my_task\.py has no function or class 'number'"),
        ("{mine}:wrong", "returned int; a task factory returns a paretorch.Task"),
        ("{mine}:broken", r"refused its options \{\}: object of type 'int' has no len"),
    ],
)
def test_task_that_cannot_be_made_is_refused(mine: Path, reference: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_task(reference.format(mine=mine, folder=mine.parent))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("1 / 0", "does not import: ZeroDivisionError: division by zero"),
        ("def task(:", "does not import: SyntaxError"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("import sys; sys.exit(0)", "does not import: SystemExit: 0"),
    ],
)
def test_task_file_that_fails_while_it_is_imported_is_refused(tmp_path: Path, source: str, message: str) -> None:
    (tmp_path / "bad.py").write_text(source)
    with pytest.raises(InputError, match=message):
        make_task(f"{tmp_path / 'bad.py'}:task")


def test_unknown_option_names_the_nearest_one(mine: Path) -> None:
    with pytest.raises(InputError, match=r"has no option 'widht' \(did you mean 'width'\?\); it takes width, layers"):
        make_task(f"{mine}:task", options={"widht": 3})
    with pytest.raises(InputError, match="task 'digits' has no option 'zzz'; it takes hidden"):
        make_task("digits", options={"zzz": 3})


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("adult", {"hidden": [128.5]}, r"hidden = \[128.5\] is of another kind than expected, tuple\[int, ...\]"),
        ("spoken-digits", {"width": 16.5}, "width = 16.5 is of another kind than expected, int"),
        ("spoken-digits", {"width": True}, "width = True is of another kind"),
        ("fashion-mnist", {"shift": 1.5}, "shift = 1.5 is of another kind"),
        ("cifar10", {"augment": "no"}, "augment = 'no' is of another kind than expected, bool"),
        ("generative", {"num_samples": 1000.0}, "num_samples = 1000.0 is of another kind"),
    ],
)
def test_an_option_of_another_kind_is_refused_before_data_are_read(
    task: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=f"task '{task}': {message}"):
        make_task(task, options=options)


def test_a_language_model_that_is_no_table_is_refused() -> None:
    with pytest.raises(InputError, match=r"`model` is a table, such as \{kind = 'gpt', width = 128\}; got 'gpt'"):
        make_task("char-lm", options={"model": "gpt"})


def test_options_of_every_annotated_kind_pass(tmp_path: Path) -> None:
    (tmp_path / "kinds.py").write_text(
        "from collections.abc import Mapping\nfrom pathlib import Path\nfrom paretorch.errors import InputError\n"
        "def task(a: float, b: int | None, c: Path, d: Mapping[str, int], e: tuple[int, ...], f, g: 'Unknown' = 0):\n"
        "    raise InputError('reached')\n"
        "def known(a: float, b: int | None, c: Path, d: Mapping[str, int], e: tuple[int, ...], f):\n"
        "    raise InputError('reached')\n"
    )
    options = {"a": 1, "b": None, "c": "x", "d": {"y": 1}, "e": [1, 2], "f": object()}
    for name in ("task", "known"):
        with pytest.raises(InputError, match=r"^reached$"):
            make_task(f"{tmp_path / 'kinds.py'}:{name}", options=options)


def test_data_folder_is_not_passed_to_a_factory_without_a_parameter_for_it(tmp_path: Path) -> None:
    assert make_task("digits", data=tmp_path).name == "digits"


def test_modules_beside_a_task_file_are_found_after_those_that_are_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.path", list(sys.path))
    (tmp_path / "beside_the_task.py").write_text("SIZE = 3\n")
    (tmp_path / "json.py").write_text("raise RuntimeError('shadows the installed one')\n")
    (tmp_path / "own.py").write_text(
        "import json\n"
        "from beside_the_task import SIZE\n"
        "from paretorch.training.tasks.regression import regression\n"
        "def make():\n"
        "    return regression(inputs=SIZE)\n"
    )
    assert make_task(f"{tmp_path / 'own.py'}:make").example_inputs()[0].shape == (1, 3)
