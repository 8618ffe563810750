"""Corrupted pictures against scipy, numpy and closed forms, and in the units of each task's inputs."""

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.training.data import ArrayExamples
from paretorch.training.picture import Picture
from paretorch.training.side_effects import side_effects
from paretorch.training.side_effects.corruptions import STRENGTHS, corrupt
from paretorch.training.supervised import SupervisedTask
from paretorch.training.task import Task
from paretorch.training.tasks.digits import digits
from paretorch.training.tasks.images.cifar10 import CIFAR10
from paretorch.training.tasks.images.fashion_mnist import FashionMNIST
from paretorch.training.trainer import Trainer
from tests.training.problems import plain


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=stream(1))


@pytest.mark.parametrize("severity", [1, 2, 3])
@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (3, 3, 32, 32), (1, 2, 5, 9)])
def test_blur_is_that_of_scipy(severity: int, shape: tuple[int, ...]) -> None:
    pixels = pictures(*shape)
    found = corrupt(pixels, name="blur", severity=severity, stream=stream())
    deviation = STRENGTHS["blur"][severity - 1]
    for picture, blurred in zip(pixels.flatten(0, 1), found.flatten(0, 1), strict=True):
        expected = gaussian_filter(picture.double().numpy(), deviation, mode="nearest", truncate=4.0)
        np.testing.assert_allclose(blurred.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("severity", [1, 2, 3])
def test_contrast_shrinks_the_deviation_of_each_channel_about_its_mean(severity: int) -> None:
    pixels = pictures(2, 3, 6, 6)
    found = corrupt(pixels, name="contrast", severity=severity, stream=stream())
    torch.testing.assert_close(found.mean((2, 3)), pixels.mean((2, 3)))
    strength = STRENGTHS["contrast"][severity - 1]
    torch.testing.assert_close(found.std((2, 3)), strength * pixels.std((2, 3)))


@pytest.mark.parametrize("severity", [1, 2, 3])
def test_noise_has_the_given_deviation_and_depends_on_the_stream_alone(severity: int) -> None:
    grey = torch.full((4, 1, 50, 50), 0.5)
    found = corrupt(grey, name="noise", severity=severity, stream=stream(3))
    assert float((found - 0.5).std()) == pytest.approx(STRENGTHS["noise"][severity - 1], rel=0.02)
    assert torch.equal(found, corrupt(grey, name="noise", severity=severity, stream=stream(3)))
    assert not torch.equal(found, corrupt(grey, name="noise", severity=severity, stream=stream(4)))


@given(st.sampled_from(sorted(STRENGTHS)), st.integers(1, 3), st.integers(0, 99))
def test_corrupted_pixels_stay_between_black_and_white(name: str, severity: int, seed: int) -> None:
    pixels = torch.rand(2, 1, 4, 4, generator=stream(seed)).round()
    found = corrupt(pixels, name=name, severity=severity, stream=stream(seed))
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    assert found.shape == pixels.shape


@pytest.mark.parametrize("name", sorted(STRENGTHS))
def test_higher_severity_moves_pictures_farther(name: str) -> None:
    pixels = 0.3 + 0.4 * pictures(5, 3, 16, 16)
    moved = [float((corrupt(pixels, name=name, severity=s, stream=stream()) - pixels).norm()) for s in (1, 2, 3)]
    assert 0 < moved[0] < moved[1] < moved[2]


def test_normalised_inputs_become_pixels_and_back_in_their_own_shape() -> None:
    picture = Picture(shape=(3, 4, 5), mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))
    pixels = pictures(2, 3, 4, 5)
    inputs = (pixels - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)) / torch.tensor([0.5, 0.25, 2.0]).view(3, 1, 1)
    flat = inputs.flatten(1).double()
    torch.testing.assert_close(picture.pixels(flat), pixels)
    back = picture.inputs(pixels, like=flat)
    assert (back.shape, back.dtype) == (flat.shape, torch.float64)
    torch.testing.assert_close(back.float(), flat.float())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (8, 8)}, r"\(channels, height, width\), each 1 or more; got \(8, 8\)"),
        ({"shape": (0, 8, 8)}, r"each 1 or more; got \(0, 8, 8\)"),
        ({"shape": (3, 8, 8), "mean": (0.0, 1.0)}, "one for each of 3 channels"),
        ({"shape": (3, 8, 8), "std": (1.0, 1.0, 0.0)}, "std is positive"),
    ],
)
def test_pictures_that_cannot_be_are_refused(options: dict[str, tuple[int, int, int]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Picture(**options)


def test_inputs_of_another_size_are_no_pictures() -> None:
    with pytest.raises(InputError, match=r"inputs of shape \(63,\) are no pictures of shape \(1, 8, 8\)"):
        Picture(shape=(1, 8, 8)).pixels(torch.zeros(2, 63))


def prepared(task: Task, count: int = 20) -> tuple[Tensor, Tensor]:
    """The first test examples as they are stored, and as the model sees them."""
    batch = task.test_set().batch(torch.arange(count))
    return batch["inputs"], task.prepare(batch, training=False, generator=stream())["inputs"]


def test_pixels_of_the_digits_are_those_stored() -> None:
    task = digits()
    assert task.picture is not None
    stored, inputs = prepared(task)
    assert torch.equal(task.picture.pixels(inputs), stored.view(-1, 1, 8, 8))


@pytest.mark.slow
def test_pixels_of_cifar10_are_those_stored_whatever_the_normalisation(data_folder: Callable[[str], Path]) -> None:
    task = CIFAR10(data=data_folder("cifar10").parent, normalisation="half")
    assert task.picture == Picture(shape=(3, 32, 32), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    stored, inputs = prepared(task)
    torch.testing.assert_close(task.picture.pixels(inputs), stored.float() / 255, atol=1e-6, rtol=0)
    other = CIFAR10(data=data_folder("cifar10").parent)
    assert other.picture is not None
    torch.testing.assert_close(other.picture.pixels(prepared(other)[1]), stored.float() / 255, atol=1e-6, rtol=0)


def test_pixels_of_fashion_mnist_are_those_stored(data_folder: Callable[[str], Path]) -> None:
    task = FashionMNIST(data=data_folder("fashion_mnist").parent)
    assert task.picture is not None
    stored, inputs = prepared(task)
    torch.testing.assert_close(task.picture.pixels(inputs), stored.float() / 255, atol=1e-6, rtol=0)


class Bright(nn.Module):
    """Says 1 where the mean of a normalised grey picture, taken back to pixels, is above a threshold."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.register_buffer("threshold", torch.tensor(threshold))

    def forward(self, inputs: Tensor) -> Tensor:
        brightness = (inputs * 0.5 + 0.2).flatten(1).mean(1) - self.threshold
        return torch.stack([-brightness, brightness], 1)


def bright_task(count: int = 40) -> SupervisedTask:
    pixels = pictures(count, 1, 6, 6)
    targets = (torch.arange(count) >= count // 2).long()  # sorted by class, as files often are
    pixels[targets == 1] = 0.5 + 0.5 * pixels[targets == 1]
    pixels[targets == 0] *= 0.5
    examples = ArrayExamples(inputs=(pixels - 0.2) / 0.5, targets=targets)
    return SupervisedTask(
        partial(Bright, 0.5),
        train=examples,
        evaluation=examples,
        test=examples,
        picture=Picture(shape=(1, 6, 6), mean=(0.2,), std=(0.5,)),
    )


def test_less_contrast_does_not_fool_a_model_that_sees_the_mean_alone() -> None:
    """The mean survives less contrast; a threshold below all pictures is wrong on every dark one, half of them."""
    task = bright_task()
    found = side_effects(task, Trainer(task, plain(8)), dense=Bright(0.5), candidate=Bright(-1.0))["corruptions"]
    assert [(entry["name"], entry["severity"]) for entry in found] == [(n, s) for n in STRENGTHS for s in (1, 2, 3)]
    contrast = [entry for entry in found if entry["name"] == "contrast"]
    assert all((entry["dense"], entry["candidate"], entry["examples"]) == (1.0, 0.5, 40) for entry in contrast)


def test_limit_draws_examples_at_random_and_is_stated() -> None:
    task = bright_task()
    trainer = Trainer(task, plain(8))
    found = side_effects(task, trainer, dense=Bright(0.5), candidate=Bright(-1.0), corrupted=20)["corruptions"]
    assert {entry["examples"] for entry in found} == {20}
    shares = {entry["candidate"] for entry in found}
    assert len(shares) == 1
    assert 0 < shares.pop() < 1, "the first 20 would all be of one class"
    assert found == side_effects(task, trainer, dense=Bright(0.5), candidate=Bright(-1.0), corrupted=20)["corruptions"]


def test_both_models_see_the_same_corrupted_digits_and_blur_costs_accuracy() -> None:
    task = digits()
    trainer = Trainer(task, plain(64, lr=0.2))
    model = trainer.model()
    trainer.fit(model, phase="dense", num_steps=150)
    found = side_effects(task, trainer, dense=model, candidate=copy.deepcopy(model))
    assert all(entry["dense"] == entry["candidate"] for entry in found["corruptions"])
    batch = task.test_set().batch(torch.arange(400))
    blurred = corrupt(batch["inputs"].view(-1, 1, 8, 8), name="blur", severity=3, stream=stream())
    with torch.no_grad():
        right = model(blurred.flatten(1)).argmax(1) == batch["targets"]
    accuracy = next(e["dense"] for e in found["corruptions"] if (e["name"], e["severity"]) == ("blur", 3))
    assert accuracy == pytest.approx(float(right.double().mean()))
    assert accuracy < trainer.evaluate(model, task.test_set())["accuracy"]


def test_no_picture_no_corruptions() -> None:
    task = bright_task()
    task.picture = None
    assert "corruptions" not in side_effects(task, Trainer(task, plain(8)), dense=Bright(0.5), candidate=Bright(0.4))


def test_number_of_corrupted_examples_must_be_positive() -> None:
    task = bright_task()
    with pytest.raises(InputError, match="corrupted is a number of examples, 1 or more; got 0"):
        side_effects(task, Trainer(task, plain(8)), dense=Bright(0.5), candidate=Bright(0.4), corrupted=0)
