"""Data folders: where they are looked for, what is said when they are missing, and those that `datasets` wrote."""

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from paretorch.errors import InputError
from paretorch.training.tasks.images.fashion_mnist import FashionMNIST
from paretorch.training.tasks.limits import limited
from paretorch.training.tasks.missing import data_folder, hub_command
from paretorch.training.tasks.saved_dataset import column, images_and_labels, saved_splits, split_named

Save = Callable[..., Path]


def pixels(count: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """`save(train={column: values}, ...)` writes a data set as `save_to_disk` does, images as PIL makes them."""
    if importlib.util.find_spec("datasets") is None:
        pytest.skip("needs the hf extra")
    import datasets

    def write(name: str = "saved", **splits: dict[str, list[Any]]) -> Path:
        made = {part: datasets.Dataset.from_dict(columns) for part, columns in splits.items()}
        datasets.DatasetDict(made).save_to_disk(str(tmp_path / name))
        return tmp_path / name

    return write


def read(folder: Path, split: str = "train") -> Any:
    splits = saved_splits(folder)
    assert splits is not None
    return split_named(splits, split, folder=folder)


def test_data_folder_is_the_named_folder_or_a_refusal_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "cifar10").mkdir()
    (tmp_path / "a_file").write_text("")
    assert data_folder(tmp_path, "cifar10", task="t", remedy="r") == tmp_path / "cifar10"
    assert data_folder(str(tmp_path), "cifar10", task="t", remedy="r") == tmp_path / "cifar10"
    none_given = "^cifar needs its data folder and none was given: fetch it; pass --data <data> or set PARETORCH_DATA$"
    with pytest.raises(InputError, match=none_given):
        data_folder(None, "cifar10", task="cifar", remedy="fetch it")
    for name in ("absent", "a_file"):
        with pytest.raises(InputError, match=rf"^there is no folder .*{name}: fetch it$"):
            data_folder(tmp_path, name, task="cifar", remedy="fetch it")


def test_hub_command_is_python_that_compiles() -> None:
    command = hub_command("uoft-cs/cifar10", "cifar10")
    start, code, end = command.split('"')
    assert (start, end) == ("python -c ", " (extra hf)")
    compile(code, "command", "exec")
    assert "load_dataset('uoft-cs/cifar10').save_to_disk('<data>/cifar10')" in code


def test_limit_keeps_the_first_examples_and_refuses_what_is_not_there() -> None:
    index = torch.tensor([4, 6, 9])
    assert limited(index, None).tolist() == [4, 6, 9]
    assert limited(index, 2).tolist() == [4, 6]
    assert limited(index, 3).tolist() == [4, 6, 9]
    for wrong in (0, 4):
        with pytest.raises(InputError, match=f"train_limit must be between 1 and 3; got {wrong}"):
            limited(index, wrong)


def test_folder_of_another_kind_is_no_saved_dataset(tmp_path: Path) -> None:
    assert saved_splits(tmp_path) is None


def test_missing_library_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dataset_dict.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"written by the library `datasets`.*pip install 'paretorch\[hf\]'"):
        saved_splits(tmp_path)


def test_single_split_is_refused(tmp_path: Path) -> None:
    for name in ("dataset_info.json", "state.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match="holds a single split; save what load_dataset"):
        saved_splits(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "order"), [((5, 4), None), ((5, 4, 3), (0, 3, 1, 2))])
def test_images_and_labels_come_back_as_they_were_saved(
    save: Save, shape: tuple[int, ...], order: tuple[int, ...] | None
) -> None:
    written = pixels(7, *shape)
    folder = save(train={"img": [Image.fromarray(one) for one in written], "label": [3, 1, 0, 2, 2, 9, 0]})
    images, labels = images_and_labels(read(folder), image="img", label="label")
    expected = written[:, None] if order is None else written.transpose(order)
    assert images.dtype == torch.uint8
    assert images.is_contiguous()
    assert np.array_equal(images.numpy(), expected)
    assert labels.dtype == torch.int64
    assert labels.tolist() == [3, 1, 0, 2, 2, 9, 0]
    assert column(read(folder), "label") == labels.tolist()


@pytest.mark.slow
def test_columns_that_do_not_fit_are_refused_with_those_found(save: Save) -> None:
    one = Image.fromarray(pixels(1, 5, 4)[0])
    split = read(save(train={"img": [one, one], "label": [0, 1], "text": ["a", "b"], "none": [0, -1]}))
    listed = r"img \(Image\), label \(Value\), text \(Value\), none \(Value\)"
    with pytest.raises(InputError, match=f"no column 'image'; its columns are {listed}"):
        images_and_labels(split, image="image", label="label")
    with pytest.raises(InputError, match=f"no column 'fine'; its columns are {listed}"):
        images_and_labels(split, image="img", label="fine")
    with pytest.raises(InputError, match=f"column 'text' holds Value, not images; the columns are {listed}"):
        images_and_labels(split, image="text", label="label")
    with pytest.raises(InputError, match="column 'text' does not hold class numbers"):
        images_and_labels(split, image="img", label="text")
    with pytest.raises(InputError, match=r"column 'none' has rows without a label \(-1\)"):
        images_and_labels(split, image="img", label="none")
    with pytest.raises(InputError, match=f"no column 'body'; its columns are {listed}"):
        column(split, "body")


@pytest.mark.slow
def test_images_that_make_no_array_are_refused(save: Save) -> None:
    small, large, coloured = (Image.fromarray(pixels(1, *shape)[0]) for shape in ((5, 4), (6, 4), (5, 4, 3)))
    for name, other in (("sizes", large), ("modes", coloured)):
        split = read(save(name, train={"img": [small, other], "label": [0, 1]}))
        with pytest.raises(InputError, match=r"image 1 of column 'img' is .* image 0 is \(4, 5\) L; one array needs"):
            images_and_labels(split, image="img", label="label")
    split = read(save("palette", train={"img": [small.convert("P")], "label": [0]}))
    with pytest.raises(InputError, match="images of mode 'P'; convert them"):
        images_and_labels(split, image="img", label="label")


@pytest.mark.slow
def test_missing_or_empty_split_and_damaged_files_are_refused(save: Save) -> None:
    folder = save("empty", train={"text": []}, test={"text": ["a"]})
    with pytest.raises(InputError, match=r"empty is not readable as a saved data set \(IndexError"):
        saved_splits(folder)
    folder = save(train={"text": ["a"]}, other={"text": ["b"]})
    with pytest.raises(InputError, match=r"has no split 'test'; it has \['other', 'train'\]"):
        read(folder, "test")
    (arrow,) = (folder / "train").glob("*.arrow")
    arrow.write_bytes(arrow.read_bytes()[:20])
    with pytest.raises(InputError, match=r"saved is not readable as a saved data set .* save it again"):
        saved_splits(folder)
    (folder / "dataset_dict.json").write_text("{")
    with pytest.raises(InputError, match="saved is not readable as a saved data set"):
        saved_splits(folder)
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "gone"]}))
    with pytest.raises(InputError, match="saved is not readable as a saved data set"):
        saved_splits(folder)


@pytest.mark.slow
def test_fashion_mnist_reads_what_datasets_saved(save: Save, tmp_path: Path) -> None:
    parts = {"train": pixels(20, 28, 28), "test": pixels(4, 28, 28, seed=1)}
    columns = {
        name: {"image": [Image.fromarray(one) for one in images], "label": [i % 10 for i in range(len(images))]}
        for name, images in parts.items()
    }
    save("fashion_mnist", **columns)
    task = FashionMNIST(data=tmp_path, train_limit=5)
    assert (len(task.train_set()), len(task.eval_set()), len(task.test_set())) == (5, 2, 4)
    test = task.test_set().batch(torch.arange(4))
    assert np.array_equal(test["inputs"][:, 0].numpy(), parts["test"])
    assert test["targets"].tolist() == [0, 1, 2, 3]
    train = task.train_set().batch(torch.arange(5))
    for image, label in zip(train["inputs"][:, 0].numpy(), train["targets"], strict=True):
        (position,) = (i for i, one in enumerate(parts["train"]) if np.array_equal(one, image))
        assert label == position % 10


@pytest.mark.slow
def test_fashion_mnist_refuses_saved_images_of_another_size(save: Save, tmp_path: Path) -> None:
    one = {"image": [Image.fromarray(pixels(1, 32, 32)[0])] * 10, "label": [0] * 10}
    save("fashion_mnist", train=one, test=one)
    with pytest.raises(InputError, match=r"holds images of shape \(1, 32, 32\), not \(1, 28, 28\)"):
        FashionMNIST(data=tmp_path)
