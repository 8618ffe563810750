"""CIFAR-10: reading its three formats, refusing damaged files, crops and flips, and the real files where they are."""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from paretorch.errors import InputError
from paretorch.training.data import Examples
from paretorch.training.supervised import constructor_of
from paretorch.training.tasks.images.cifar10 import (
    CIFAR10,
    MODELS,
    NORMALISATIONS,
    PADDING,
    cropped_and_flipped,
    scaled,
)
from paretorch.training.tasks.images.cifar10_files import BINARY_TRAIN, read_test, read_train


def noise(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (count, 32, 32, 3) and labels, each image with a pixel of its own."""
    stream = np.random.default_rng(seed)
    return stream.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8), stream.integers(0, 10, count, dtype=np.uint8)


def write_mosaics(path: Path, images: np.ndarray, labels: np.ndarray, *, sha256: str | None = None) -> None:
    """The mosaic format, written pixel by pixel, independently of how it is read."""
    files = []
    for start in range(0, len(images), 100):
        canvas = np.zeros((320, 320, 3), dtype=np.uint8)
        for place, image in enumerate(images[start : start + 100]):
            row, column = divmod(place, 10)
            canvas[32 * row : 32 * row + 32, 32 * column : 32 * column + 32] = image
        buffer = io.BytesIO()
        Image.fromarray(canvas).save(buffer, "WEBP", lossless=True)
        files.append(np.frombuffer(buffer.getvalue(), dtype=np.uint8))
    offset = np.cumsum([0, *map(len, files)])
    digest = sha256 or hashlib.sha256(images.tobytes()).hexdigest()
    np.savez(path, webp=np.concatenate(files), offset=offset, label=labels, sha256=digest)


def write_binary(path: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """The official format: one label byte, then all red, all green and all blue pixels of the image."""
    records = [bytes([label]) + image.transpose(2, 0, 1).tobytes() for image, label in zip(images, labels, strict=True)]
    path.write_bytes(b"".join(records))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with 300 training images in two parts and 100 test images of noise."""
    folder = tmp_path / "data" / "cifar10"
    folder.mkdir(parents=True)
    for name, count, seed in (("train20k", 100, 0), ("train30k", 200, 1), ("test", 100, 2)):
        write_mosaics(folder / f"{name}.npz", *noise(count, seed))
    return folder.parent


def test_mosaics_come_back_as_the_images_that_went_in(data: Path) -> None:
    images, labels = read_train(data / "cifar10")
    first, second = noise(100, 0), noise(200, 1)
    assert images.permute(0, 2, 3, 1).numpy().tobytes() == np.concatenate([first[0], second[0]]).tobytes()
    assert labels.tolist() == [*first[1], *second[1]]
    assert labels.dtype == torch.int64
    assert read_test(data / "cifar10")[1].tolist() == list(noise(100, 2)[1])


def test_the_binary_archive_and_the_mosaics_of_the_same_images_agree(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "binary"
    folder.mkdir()
    images, labels = np.concatenate([noise(100, 0)[0], noise(200, 1)[0]]), [*noise(100, 0)[1], *noise(200, 1)[1]]
    for number, name in enumerate(BINARY_TRAIN):
        write_binary(folder / name, images[60 * number : 60 * number + 60], labels[60 * number : 60 * number + 60])
    write_binary(folder / "test_batch.bin", *noise(100, 2))
    for read in (read_train, read_test):
        for ours, theirs in zip(read(folder), read(data / "cifar10"), strict=True):
            assert torch.equal(ours, theirs)


def indices(examples: Examples) -> set[bytes]:
    return {bytes(image.numpy()) for image in examples.batch(torch.arange(len(examples)))["inputs"]}


def test_training_evaluation_and_test_images_are_disjoint_and_complete(data: Path) -> None:
    task = CIFAR10(data=data)
    train, held, test = (indices(part) for part in (task.train_set(), task.eval_set(), task.test_set()))
    assert (len(train), len(held), len(test)) == (270, 30, 100)
    assert not train & held
    assert not (train | held) & test


def test_a_result_on_part_of_the_training_set_carries_that_in_its_name(data: Path) -> None:
    (data / "cifar10" / "train30k.npz").unlink()
    assert CIFAR10(data=data).name == "cifar10-0k"  # 100 images, and not the 50,000
    limited = CIFAR10(data=data, train_limit=7, eval_limit=3)
    assert limited.name == "cifar10-0k-first7"
    assert (len(limited.train_set()), len(limited.eval_set())) == (7, 3)


@pytest.mark.parametrize("name", NORMALISATIONS)
def test_scaling_takes_the_mean_away_and_divides_the_deviation_out(name: str) -> None:
    mean, std = NORMALISATIONS[name]
    pixels = (255 * torch.tensor(mean)).round().to(torch.uint8).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    at_mean = scaled(pixels, name)
    for channel in range(3):
        expected = (float(pixels[0, channel, 0, 0]) / 255 - mean[channel]) / std[channel]
        assert at_mean[0, channel].flatten().tolist() == pytest.approx([expected] * 4, abs=1e-6)


def test_every_augmented_image_is_a_shifted_original_or_its_mirror_image() -> None:
    """Brute force over all 81 offsets and both orientations, with torch's own padding and flipping."""
    images = torch.from_numpy(noise(40, 3)[0]).permute(0, 3, 1, 2)
    moved = cropped_and_flipped(images, torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(images, (PADDING,) * 4)
    seen = set()
    for image, surroundings in zip(moved, padded, strict=True):
        matches = [
            (row, column, mirrored)
            for row in range(9)
            for column in range(9)
            for mirrored in (False, True)
            if torch.equal(image.flip(2) if mirrored else image, surroundings[:, row : row + 32, column : column + 32])
        ]
        assert len(matches) == 1
        seen |= set(matches)
    assert len(seen) > 30
    assert {mirrored for _, _, mirrored in seen} == {False, True}


def test_only_training_images_are_augmented_and_the_same_generator_gives_the_same_images(data: Path) -> None:
    task = CIFAR10(data=data)
    batch = task.train_set().batch(torch.arange(20))

    def prepared(*, training: bool, seed: int) -> torch.Tensor:
        return task.prepare(batch, training=training, generator=torch.Generator().manual_seed(seed))["inputs"]

    assert torch.equal(prepared(training=True, seed=1), prepared(training=True, seed=1))
    assert not torch.equal(prepared(training=True, seed=1), prepared(training=True, seed=2))
    assert torch.equal(prepared(training=False, seed=1), scaled(batch["inputs"], "cifar10"))
    assert torch.equal(CIFAR10(data=data, augment=False).prepare(batch, training=True, generator=torch.Generator())
                       ["inputs"], prepared(training=False, seed=1))  # fmt: skip


def test_pixels_that_do_not_match_their_checksum_are_refused(data: Path) -> None:
    write_mosaics(data / "cifar10" / "test.npz", *noise(100, 2), sha256="0" * 64)
    with pytest.raises(InputError, match=r"test\.npz: the decoded pixels have sha256"):
        CIFAR10(data=data)


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04broken"])
def test_a_damaged_mosaic_file_is_refused_by_name(data: Path, content: bytes) -> None:
    (data / "cifar10" / "train20k.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"train20k\.npz is not a readable file of image mosaics"):
        CIFAR10(data=data)


def test_a_mosaic_file_whose_compressed_bytes_are_damaged_is_refused(data: Path) -> None:
    path = data / "cifar10" / "train20k.npz"
    np.savez_compressed(path, webp=np.zeros(100_000, np.uint8), offset=[0, 1], label=[0], sha256="")
    content = bytearray(path.read_bytes())
    content[60:90] = bytes([255] * 30)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"train20k\.npz is not a readable file of image mosaics \(Error -3"):
        CIFAR10(data=data)


def test_a_label_of_another_data_set_is_refused_before_training(data: Path) -> None:
    images, labels = noise(100, 0)
    write_mosaics(data / "cifar10" / "train20k.npz", images, labels + 5)
    with pytest.raises(InputError, match=r"with labels up to 14, not \(3, 32, 32\) with labels 0 to 9"):
        CIFAR10(data=data)


def test_a_cut_off_binary_file_and_one_of_cifar_100_are_refused(data: Path) -> None:
    folder = data / "cifar10"
    for name in ("train20k.npz", "train30k.npz"):
        (folder / name).unlink()
    with pytest.raises(InputError, match=r"data_batch_1\.bin is missing"):
        CIFAR10(data=data)
    write_binary(folder / "data_batch_1.bin", *noise(3, 0))
    whole = (folder / "data_batch_1.bin").read_bytes()
    (folder / "data_batch_1.bin").write_bytes(whole[:-1])
    with pytest.raises(InputError, match=r"9218 bytes, which is no multiple of a record's 3073"):
        CIFAR10(data=data)
    (folder / "data_batch_1.bin").write_bytes(bytes([77]) + whole[1:])
    with pytest.raises(InputError, match="the label 77"):
        CIFAR10(data=data)


def test_a_missing_folder_is_refused_with_both_ways_to_get_the_data(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cifar-10-binary.*uoft-cs/cifar10.*--data"):
        CIFAR10(data=None)
    with pytest.raises(InputError, match="there is no folder"):
        CIFAR10(data=tmp_path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": "resnet19"}, "no model 'resnet19'; choose from"),
        ({"normalisation": "none"}, "normalisation 'none' is unknown"),
        ({"train_limit": 0}, "train_limit must be between 1 and 270; got 0"),
        ({"eval_limit": 31}, "eval_limit must be between 1 and 30; got 31"),
    ],
)
def test_bad_options_are_refused(data: Path, options: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        CIFAR10(data=data, **options)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_takes_the_images_and_can_be_named_in_an_artefact(name: str) -> None:
    model = MODELS[name]().eval()
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
    assert constructor_of(MODELS[name]) is not None


@pytest.mark.slow
def test_the_real_files_are_the_published_images(data_folder: Callable[[str], Path]) -> None:
    folder = data_folder("cifar10")
    images, labels = read_train(folder)
    assert labels.bincount().tolist() == [5000] * 10
    means = [float(images[:, channel].double().mean()) / 255 for channel in range(3)]
    assert means == pytest.approx(NORMALISATIONS["cifar10"][0], abs=1e-4)
    test_images, test_labels = read_test(folder)
    assert test_labels[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]
    assert test_images.shape == (10_000, 3, 32, 32)
    task = CIFAR10(data=folder.parent)
    assert task.name == "cifar10"
    assert (len(task.train_set()), len(task.eval_set())) == (45_000, 5_000)
