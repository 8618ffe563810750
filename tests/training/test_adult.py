"""Census income: reading rows, refusing damaged ones, and an encoding that knows the training rows alone."""

import gzip
import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from paretorch.errors import InputError
from paretorch.training.tasks.references import logistic_regression
from paretorch.training.tasks.registry import make_task
from paretorch.training.tasks.tabular.adult import Adult
from paretorch.training.tasks.tabular.adult_table import COLUMNS, read_adult
from paretorch.training.tasks.tabular.table_encoding import TableEncoding


def row(number: int) -> list[str]:
    """A row whose age is its number."""
    stream = np.random.default_rng(number)
    work = ("Private", "State-gov", "?")[number % 3]
    numbers = stream.integers(1, 90, 5).astype(str).tolist()
    return [
        *(str(number), work, str(1000 + number), "Bachelors", numbers[0], "Divorced", "Sales", "Wife", "White"),
        *(
            ("Male", "Female")[number % 2],
            numbers[1],
            numbers[2],
            numbers[3],
            "Cuba",
            ("<=50K", ">50K")[number % 5 == 0],
        ),
    ]


ROWS = [row(number) for number in range(100, 200)]
TEXT = "\n".join(", ".join(values) for values in ROWS) + "\n\n"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with 100 rows."""
    folder = tmp_path / "data" / "tabular_adult"
    folder.mkdir(parents=True)
    (folder / "adult.data").write_text(TEXT)
    return folder.parent


def ages_of(task: Adult) -> list[list[int]]:
    """Which rows are in the three parts, by their age, from the standardised column."""
    parts = [
        part.batch(torch.arange(len(part)))["inputs"] for part in (task.train_set(), task.eval_set(), task.test_set())
    ]
    encoded = torch.cat(parts)[:, 0].double()
    whole = torch.arange(100, 200).double()
    scale = (encoded.max() - encoded.min()) / 99
    found = ((encoded - encoded.min()) / scale + whole[0]).round().long().tolist()
    first, second = len(parts[0]), len(parts[0]) + len(parts[1])
    return [found[:first], found[first:second], found[second:]]


def test_parts_are_72_8_and_20_percent_and_share_no_row(data: Path) -> None:
    parts = ages_of(Adult(data=data))
    assert [len(part) for part in parts] == [72, 8, 20]
    assert sorted(age for part in parts for age in part) == list(range(100, 200))
    assert parts[0] != sorted(parts[0]), "training rows come in random order, so that the first few are a sample"


def test_source_and_order_of_the_rows_do_not_change_the_parts(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "other" / "tabular_adult"
    folder.mkdir(parents=True)
    shuffled = [", ".join(ROWS[i]) for i in np.random.default_rng(3).permutation(100)]
    (folder / "adult.data.gz").write_bytes(gzip.compress("\n".join(shuffled).encode()))
    assert ages_of(Adult(data=data)) == ages_of(Adult(data=folder.parent))
    assert read_adult(folder, remedy="") == [tuple(one) for one in ROWS]


def test_statistics_and_categories_are_those_of_the_training_rows(data: Path) -> None:
    train, _, test = ages_of(Adult(data=data))
    inputs = Adult(data=data).test_set().batch(torch.arange(20))["inputs"]
    columns = [
        COLUMNS.index(name) for name in ("age", "education-num", "capital-gain", "capital-loss", "hours-per-week")
    ]
    numbers = np.array([[float(one[column]) for column in columns] for one in ROWS])
    of_training, of_test = numbers[np.array(train) - 100], numbers[np.array(test) - 100]
    expected = (of_test - of_training.mean(0)) / of_training.std(0)
    np.testing.assert_allclose(inputs[:, :5].numpy(), expected, rtol=1e-5, atol=1e-6)
    assert abs(inputs[:, 0].mean()) > 1e-3, "the test rows have another mean than the training rows"


def test_encoding_of_a_small_table_is_the_one_done_by_hand() -> None:
    rows = [("1", "a", "x"), ("3", "?", "x"), ("5", "a", "x")]
    encoding = TableEncoding.fit(rows, numeric=(0,), categorical=(1, 2))
    assert encoding.categories == {1: ("?", "a"), 2: ("x",)}
    assert encoding.width == 4
    std = (8 / 3) ** 0.5
    expected = torch.tensor([[-2 / std, 0, 1, 1], [0, 1, 0, 1], [2 / std, 0, 1, 1]])
    torch.testing.assert_close(encoding(rows), expected)
    torch.testing.assert_close(encoding([("7", "b", "x")]), torch.tensor([[4 / std, 0, 0, 1]]))
    constant = TableEncoding.fit([("4",), ("4",)], numeric=(0,), categorical=())
    assert constant([("4",), ("6",)]).tolist() == [[0.0], [2.0]]


def test_sampling_weight_is_left_out_and_unknown_is_a_category(data: Path) -> None:
    before = Adult(data=data)
    path = data / "tabular_adult" / "adult.data"
    width = 5 + 3 + 5 * 1 + 2 + 1  # numbers, workclass with '?', five constant columns, sex, country
    assert before.constructor() == ("paretorch.training.models.mlp:mlp", {"sizes": [width, 128, 64, 2]})
    weights = [", ".join([*one[:2], str(9 * int(one[2])), *one[3:]]) for one in ROWS]
    path.write_text("\n".join(weights))
    after = Adult(data=data)
    for name in ("train_set", "eval_set", "test_set"):
        first, second = (getattr(task, name)() for task in (before, after))
        index = torch.arange(len(first))
        assert torch.equal(first.batch(index)["inputs"], second.batch(index)["inputs"])


def test_targets_say_who_earns_more(data: Path) -> None:
    task = Adult(data=data)
    for part, ages in zip((task.train_set(), task.eval_set(), task.test_set()), ages_of(task), strict=True):
        assert part.batch(torch.arange(len(part)))["targets"].tolist() == [int(age % 5 == 0) for age in ages]


def test_options_choose_the_model_and_limit_training(data: Path) -> None:
    task = make_task("adult", options={"hidden": [7], "train_limit": 9}, data=data)
    assert len(task.train_set()) == 9
    assert task.model()(task.example_inputs()[0]).shape == (1, 2)
    assert [p.shape[0] for p in task.model().parameters()] == [7, 7, 2, 2]
    assert isinstance(task, Adult)
    assert task.references() == Adult(data=data).references(), "what is fitted for comparison sees all training rows"


def test_references_are_the_commonest_answer_and_a_logistic_regression(data: Path) -> None:
    task = Adult(data=data)
    found = task.references()
    labels = task.test_set().batch(torch.arange(20))["targets"]
    assert found["majority class"] == float((labels == 0).double().mean())
    x = torch.tensor([[-2.0], [-1.0], [1.0], [2.0]])
    y = torch.tensor([0, 0, 1, 1])
    assert (
        logistic_regression((x, y), (torch.tensor([[-3.0], [3.0], [4.0], [5.0]]), torch.tensor([0, 1, 1, 0]))) == 0.75
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": ()}, r"hidden must be one or more widths of at least 1; got \(\)"),
        ({"hidden": (4, 0)}, r"got \(4, 0\)"),
        ({"train_limit": 73}, "train_limit must be between 1 and 72; got 73"),
    ],
)
def test_options_out_of_range_are_refused(data: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Adult(data=data, **options)  # type: ignore[arg-type]


def test_missing_data_are_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"adult needs its data folder .*adult\.data of https://archive\.ics\.uci\.edu"
    ):
        Adult(data=None)
    (tmp_path / "tabular_adult").mkdir()
    with pytest.raises(
        InputError, match=r"neither adult\.data nor .*load_dataset\('scikit-learn/adult-census-income'\)"
    ):
        Adult(data=tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace(", Cuba", "", 1), r"adult\.data, line 1 has 14 values, expected 15"),
        (lambda text: text.replace(", Cuba", ", Cuba, Cuba", 1), "line 1 has 16 values"),
        (lambda text: text.replace("\n101,", "\nold,"), "line 2: age is 'old', not a whole number"),
        (lambda text: text.replace("\n101,", "\n-1,"), "line 2: age is '-1'"),
        (lambda text: text.replace("50K", "50K."), r"line 1: income is '>50K\.', expected one of"),
        (lambda text: "|1x3 Cross validator\n" + text, "line 1 has 1 values"),
        (lambda text: "\n".join(text.splitlines()[:19]), "lines: there are 19, too few"),
        (lambda text: "", "lines: there are 0, too few"),
    ],
)
def test_row_that_does_not_fit_is_refused_by_line(data: Path, change: Callable[[str], str], message: str) -> None:
    (data / "tabular_adult" / "adult.data").write_text(change(TEXT))
    with pytest.raises(InputError, match=message):
        Adult(data=data)


def test_damaged_file_is_refused_by_name(data: Path) -> None:
    path = data / "tabular_adult" / "adult.data.gz"
    whole = gzip.compress(TEXT.encode())
    for content in (whole[: len(whole) // 2], TEXT.encode(), gzip.compress(b"\xff\xfe")):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"adult\.data\.gz is not readable \(.*download it again"):
            Adult(data=data)


@pytest.mark.slow
def test_copy_of_the_hub_gives_the_same_parts(data: Path, tmp_path: Path) -> None:
    """Its columns have dots in their names and numbers as numbers; its rows are in another order."""
    if importlib.util.find_spec("datasets") is None:
        pytest.skip("needs the hf extra")
    import datasets

    columns = {
        name.replace("-", "."): [int(one[i]) if one[i].isdecimal() else one[i] for one in reversed(ROWS)]
        for i, name in enumerate(COLUMNS)
    }
    datasets.DatasetDict({"train": datasets.Dataset.from_dict(columns)}).save_to_disk(
        tmp_path / "hub" / "tabular_adult"
    )
    assert ages_of(Adult(data=tmp_path / "hub")) == ages_of(Adult(data=data))
    del columns["education.num"]
    other = tmp_path / "less" / "tabular_adult"
    datasets.DatasetDict({"train": datasets.Dataset.from_dict(columns)}).save_to_disk(other)
    with pytest.raises(InputError, match=r"has no column 'education-num'; its columns are age \(Value\), workclass"):
        Adult(data=other.parent)


def test_real_data_have_the_published_counts_and_references(data_folder: Callable[[str], Path]) -> None:
    task = Adult(data=data_folder("tabular_adult").parent)
    parts = [part.batch(torch.arange(len(part))) for part in (task.train_set(), task.eval_set(), task.test_set())]
    assert [len(part["inputs"]) for part in parts] == [23_444, 2_605, 6_512]
    targets = torch.cat([part["targets"] for part in parts])
    assert float(targets.double().mean()) == pytest.approx(0.2408, abs=5e-5)
    found = task.references()
    assert found["majority class"] == pytest.approx(0.759, abs=0.015)
    assert found["logistic regression"] == pytest.approx(0.848, abs=0.01)
