"""Fashion-MNIST: reading IDX files, refusing damaged ones, preparing images; and the real data where they are."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from paretorch.errors import InputError
from paretorch.training.tasks.images.fashion_mnist import MEAN, STD, FashionMNIST

IMAGES = {"train": 50, "t10k": 12}


def pixels(part: str) -> np.ndarray:
    stream = np.random.default_rng(0 if part == "train" else 1)
    return stream.integers(0, 256, (IMAGES[part], 28, 28), dtype=np.uint8)


def labels(part: str) -> np.ndarray:
    return (np.arange(IMAGES[part]) % 10).astype(np.uint8)


def idx(array: np.ndarray, magic: int) -> bytes:
    return struct.pack(f">{1 + array.ndim}i", magic, *array.shape) + array.tobytes()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with 50 training and 12 test images of noise."""
    folder = tmp_path / "data" / "fashion_mnist"
    folder.mkdir(parents=True)
    for part in IMAGES:
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(pixels(part), 2051)))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels(part), 2049)))
    return folder.parent


def everything(examples: object) -> dict[str, Tensor]:
    return examples.batch(torch.arange(len(examples)))  # type: ignore[attr-defined, arg-type]


def test_images_and_labels_come_back_as_they_were_written(data: Path) -> None:
    task = FashionMNIST(data=data)
    test = everything(task.test_set())
    assert torch.equal(test["inputs"], torch.from_numpy(pixels("t10k"))[:, None])
    assert test["inputs"].dtype == torch.uint8
    assert test["targets"].tolist() == labels("t10k").tolist()
    assert test["targets"].dtype == torch.int64
    train, held = everything(task.train_set()), everything(task.eval_set())
    assert (len(train["inputs"]), len(held["inputs"])) == (45, 5)
    found = {bytes(image.numpy()) for image in torch.cat([train["inputs"], held["inputs"]])}
    assert found == {image.tobytes() for image in pixels("train")}


def test_images_are_scaled_batch_by_batch(data: Path) -> None:
    task = FashionMNIST(data=data)
    batch = task.test_set().batch(torch.arange(3))
    prepared = task.prepare(batch, training=True, generator=torch.Generator())
    torch.testing.assert_close(prepared["inputs"], (batch["inputs"] / 255 - MEAN) / STD)
    assert batch["inputs"].dtype == torch.uint8, "the stored images are left alone"
    assert task.model()(prepared["inputs"]).shape == (3, 10)


def test_shift_moves_each_image_by_its_own_whole_number_of_pixels(data: Path) -> None:
    task = FashionMNIST(data=data, shift=2)
    batch = task.test_set().batch(torch.arange(12))
    plain = task.prepare(batch, training=False, generator=torch.Generator())["inputs"]
    moved = task.prepare(batch, training=True, generator=torch.Generator().manual_seed(3))["inputs"]
    again = task.prepare(batch, training=True, generator=torch.Generator().manual_seed(3))["inputs"]
    assert torch.equal(moved, again)
    found = []
    for image, result in zip(plain, moved, strict=True):
        padded = torch.nn.functional.pad(image, (2, 2, 2, 2), mode="replicate")
        windows = {(i, j): padded[:, i : i + 28, j : j + 28] for i in range(5) for j in range(5)}
        (offset,) = [place for place, window in windows.items() if torch.equal(window, result)]
        found.append(offset)
    assert len(set(found)) > 3, "images of one batch move differently"


def test_models_can_be_chosen_and_training_can_be_limited(data: Path) -> None:
    assert sum(p.numel() for p in FashionMNIST(data=data).model().parameters()) == 266_610
    small = FashionMNIST(data=data, model="cnn", train_limit=7)
    assert len(small.train_set()) == 7
    assert len(small.eval_set()) == 5
    assert small.model()(small.example_inputs()[0]).shape == (1, 10)


def test_pooled_images_are_rounded_means_of_squares_and_the_name_and_picture_say_so(data: Path) -> None:
    task = FashionMNIST(data=data, model="wrn-28-1", pool=4)
    found = everything(task.test_set())["inputs"]
    means = pixels("t10k").astype(np.float64).reshape(12, 7, 4, 7, 4).mean((2, 4))
    assert found.dtype == torch.uint8
    assert found.shape == (12, 1, 7, 7)
    assert np.abs(found[:, 0].numpy() - means).max() <= 0.5
    assert task.name == "fashion-mnist-7px"
    assert task.picture is not None
    assert task.picture.shape == (1, 7, 7)
    assert task.model()(task.example_inputs()[0]).shape == (1, 10)
    whole = FashionMNIST(data=data, model="wrn-28-1")
    assert (whole.name, whole.example_inputs()[0].shape) == ("fashion-mnist", (1, 1, 28, 28))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": ()}, r"hidden are one or more widths of lenet-300-100; got \(\)"),
        ({"hidden": (8,), "model": "cnn"}, r"got \(8,\) for 'cnn'"),
        ({"model": "vit"}, r"no model 'vit'; choose from \['cnn', 'lenet-300-100', 'wrn-28-1', 'wrn-28-2'\]"),
        ({"shift": -1}, "shift is a number of pixels, 0 or more; got -1"),
        ({"pool": 0, "model": "wrn-28-1"}, "pool is a divisor of 28.* got 0 for 'wrn-28-1'"),
        ({"pool": 3, "model": "wrn-28-1"}, "got 3 for 'wrn-28-1'"),
        ({"pool": 2}, "above 1 only for the models .*; got 2 for 'lenet-300-100'"),
        ({"train_limit": 0}, "train_limit must be between 1 and 45; got 0"),
        ({"train_limit": 46}, "train_limit must be between 1 and 45; got 46"),
    ],
)
def test_options_out_of_range_are_refused(data: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        FashionMNIST(data=data, **options)  # type: ignore[arg-type]


def test_missing_data_folder_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"needs its data folder and none was given: download .*PARETORCH_DATA"):
        FashionMNIST(data=None)
    with pytest.raises(InputError, match=r"there is no folder .*fashion_mnist: download"):
        FashionMNIST(data=tmp_path)


def swapped_magic(content: bytes) -> bytes:
    return gzip.compress(struct.pack(">i", 2052) + gzip.decompress(content)[4:])


def too_few_pixels(content: bytes) -> bytes:
    return gzip.compress(gzip.decompress(content)[:-1])


def spoiled_stream(content: bytes) -> bytes:
    return content[:40] + bytes(255 - byte for byte in content[40:80]) + content[80:]


def impossible_block(content: bytes) -> bytes:
    return content[:10] + b"\x07" + content[11:]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (swapped_magic, r"not the right IDX file \(magic 2052, expected 2051\)"),
        (too_few_pixels, "not the right IDX file"),
        (lambda content: gzip.compress(b"short"), r"not the right IDX file \(magic None"),
        (lambda content: content[: len(content) // 2], "not a readable gzip file"),
        (lambda content: gzip.decompress(content), "not a readable gzip file"),
        (spoiled_stream, "not a readable gzip file"),
        (impossible_block, "not a readable gzip file"),
        (lambda content: b"", "not the right IDX file|not a readable gzip file"),
    ],
)
def test_damaged_file_is_refused_by_name(data: Path, damage: Callable[[bytes], bytes], message: str) -> None:
    path = data / "fashion_mnist" / "train-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=message) as refused:
        FashionMNIST(data=data)
    assert str(refused.value).startswith(f"{path} is ")


def test_missing_file_is_refused_by_name(data: Path) -> None:
    (data / "fashion_mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(InputError, match=r"t10k-labels-idx1-ubyte\.gz is missing"):
        FashionMNIST(data=data)


def test_other_number_of_labels_is_refused(data: Path) -> None:
    path = data / "fashion_mnist" / "train-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(idx(labels("train")[:-1], 2049)))
    with pytest.raises(InputError, match="50 train images but 49 labels"):
        FashionMNIST(data=data)


def test_real_data_have_the_published_counts_mean_and_spread(data_folder: Callable[[str], Path]) -> None:
    task = FashionMNIST(data=data_folder("fashion_mnist").parent)
    train, held, test = (everything(part) for part in (task.train_set(), task.eval_set(), task.test_set()))
    assert [len(part["inputs"]) for part in (train, held, test)] == [54_000, 6_000, 10_000]
    together = torch.cat([train["inputs"], held["inputs"]]).float() / 255
    assert float(together.mean()) == pytest.approx(MEAN, abs=5e-5)
    assert float(together.std()) == pytest.approx(STD, abs=5e-5)
    assert torch.cat([train["targets"], held["targets"]]).bincount().tolist() == [6_000] * 10
    assert test["targets"].bincount().tolist() == [1_000] * 10
    again = everything(FashionMNIST(data=data_folder("fashion_mnist").parent).eval_set())
    assert torch.equal(held["inputs"], again["inputs"]), "the same images are held out in every run"
    assert task.references() == {"majority class": 0.1}
