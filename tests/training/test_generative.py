"""The generative task: the classifier that judges, the distance it gives, both kinds of model, and what is refused."""

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretorch.artefacts.model import load_model, save_model
from paretorch.errors import ArtefactError, InputError, NotFiniteError
from paretorch.methods.schedules import Linear
from paretorch.pipelines.dense import train_dense
from paretorch.pipelines.imp import IMP
from paretorch.pipelines.retraining import Retraining
from paretorch.training.evaluate import evaluate
from paretorch.training.models.cnn import SmallCNN
from paretorch.training.models.mlp import lenet_300_100
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.tasks.generative import judge
from paretorch.training.tasks.generative.factory import generative
from paretorch.training.tasks.generative.generated_images import GeneratedImages
from paretorch.training.tasks.images.fashion_mnist import MEAN, STD, FashionMNIST
from paretorch.training.trainer import Trainer
from tests.training.test_fashion_mnist import idx

IMAGES = {"train": 200, "t10k": 40}
SMALL = {"num_samples": 20}
CPU = torch.device("cpu")


def images_of(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Noise with one brighter band of rows per class."""
    labels = (np.arange(IMAGES[part]) % 10).astype(np.uint8)
    pixels = np.random.default_rng(len(part)).integers(0, 100, (IMAGES[part], 28, 28))
    for image, label in zip(pixels, labels, strict=True):
        image[2 * label : 2 * label + 8] += 100
    return pixels.astype(np.uint8), labels


def saved_classifier(model: nn.Module, folder: Path, **kwargs: int) -> Path:
    return save_model(folder, model, constructor=type(model), kwargs=kwargs)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with 180 training, 20 held-out and 40 test images."""
    folder = tmp_path_factory.mktemp("data") / "fashion_mnist"
    folder.mkdir()
    for part in IMAGES:
        pixels, labels = images_of(part)
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(pixels, 2051)))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels, 2049)))
    return folder.parent


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved classifier that tells the bands apart."""
    torch.manual_seed(0)
    model = SmallCNN(width=4)
    pixels, labels = images_of("train")
    inputs, targets = (torch.from_numpy(pixels).float()[:, None] / 255 - MEAN) / STD, torch.from_numpy(labels).long()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(15):
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    return saved_classifier(model, tmp_path_factory.mktemp("judge") / "model", width=4)


def small_task(model: str, data: Path, classifier: Path) -> GeneratedImages:
    options = {"sampling_steps": 4} if model == "unet" else {}
    return generative(data=data, classifier=classifier, model=model, width=8, **SMALL, **options)  # type: ignore[arg-type]


def test_the_description_names_the_classifier_by_hash(data: Path, classifier: Path) -> None:
    task = generative(data=data, classifier=classifier, **SMALL)
    described = task.describe()
    digest = hashlib.sha256((classifier / "model.safetensors").read_bytes()).hexdigest()
    assert described["classifier"]["sha256"] == digest
    model, test = load_model(classifier), FashionMNIST(data=data)
    assert task.judge.accuracy == evaluate(test, model, test.test_set())["accuracy"] >= 0.91
    assert (described["metric"], described["higher_is_better"]) == ("frechet_distance", False)
    assert described["num_samples"] == 20


def test_features_are_the_inputs_of_the_last_layer_for_images_in_whole_grey_levels(
    data: Path, classifier: Path
) -> None:
    task = generative(data=data, classifier=classifier, **SMALL)
    levels = torch.randint(0, 256, (3, 1, 28, 28))
    model = load_model(classifier)
    assert isinstance(model, SmallCNN)
    standard = (levels / 255 - MEAN) / STD
    hidden = model.pool(model.norm2(model.conv2(model.pool(model.norm1(model.conv1(standard)).relu()))).relu())
    expected = model.hidden(hidden.flatten(1)).relu()
    for offset in (-0.4, 0.0, 0.4):
        found = task.judge.features((levels + offset) / 127.5 - 1)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(task.judge.features(levels / 127.5 - 1), expected, rtol=1e-4, atol=1e-5)


def test_real_images_as_samples_are_at_zero_from_themselves_and_at_the_floor_from_other_real_ones(
    data: Path, classifier: Path
) -> None:
    task = generative(data=data, classifier=classifier, **SMALL)
    task.samples = lambda model, **how: real(task.eval_set())  # type: ignore[method-assign]

    def real(examples) -> Tensor:
        return examples.batch(torch.arange(20))["inputs"] / 127.5 - 1

    (floor,) = task.references().values()
    assert task.set_metrics(nn.Identity(), task.eval_set(), device=CPU)["frechet_distance"] < 1e-9
    assert task.set_metrics(nn.Identity(), task.test_set(), device=CPU)["frechet_distance"] == pytest.approx(floor)
    task.samples = lambda model, **how: torch.rand(20, 1, 28, 28) * 2 - 1  # type: ignore[method-assign]
    assert task.set_metrics(nn.Identity(), task.test_set(), device=CPU)["frechet_distance"] > 2 * floor > 0


@pytest.mark.parametrize("model", ["dcgan", "unet"])
def test_samples_are_the_same_for_every_evaluation_and_others_for_the_test_set(
    data: Path, classifier: Path, model: str
) -> None:
    task = small_task(model, data, classifier)
    made: list[Tensor] = []
    moments = task.judge.moments
    task.judge.moments = lambda images: made.append(images) or moments(images)  # type: ignore[method-assign, func-returns-value]
    net = task.model()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1)
    found = [evaluate(task, net, part) for part in (task.eval_set(), task.eval_set(), task.test_set())]
    assert found[0] == found[1] != found[2]
    samples = made[::2]
    assert torch.equal(samples[0], samples[1])
    assert not torch.equal(samples[0], samples[2])
    assert samples[0].shape == (20, 1, 28, 28)
    assert samples[0].abs().max() <= 1


@pytest.mark.parametrize("model", ["dcgan", "unet"])
def test_every_random_number_of_a_batch_comes_from_the_given_generator(
    data: Path, classifier: Path, model: str
) -> None:
    task = generative(data=data, classifier=classifier, model=model, **SMALL)  # type: ignore[arg-type]

    def prepared(seed: int) -> dict[str, Tensor]:
        batch = task.train_set().batch(torch.arange(30))
        return task.prepare(batch, training=True, generator=torch.Generator().manual_seed(seed))

    first, other = prepared(1), prepared(2)
    torch.manual_seed(99)
    again = prepared(1)
    random = {"dcgan": {"latent"}, "unet": {"times", "noise", "noisy"}}[model]
    assert {name for name in first if not torch.equal(first[name], other[name])} == random
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert first["inputs"].min() >= -1
    assert first["inputs"].max() <= 1


def test_diffusion_noises_each_image_to_its_time_and_its_loss_is_the_error_of_the_predicted_noise(
    data: Path, classifier: Path
) -> None:
    task = generative(data=data, classifier=classifier, model="unet", noise_schedule="linear", **SMALL)
    batch = task.train_set().batch(torch.arange(100))
    batch = task.prepare(batch, training=True, generator=torch.Generator().manual_seed(0))
    left = (1 - torch.linspace(1e-4, 0.02, 1000)).cumprod(0)[batch["times"]][:, None, None, None]
    expected = left.sqrt() * batch["inputs"] + (1 - left).sqrt() * batch["noise"]
    torch.testing.assert_close(batch["noisy"], expected, rtol=1e-3, atol=1e-3)
    assert batch["times"].min() < 100
    assert batch["times"].max() > 900

    class Predicts(nn.Module):
        def forward(self, noisy: Tensor, times: Tensor) -> Tensor:
            assert noisy is batch["noisy"]
            assert times is batch["times"]
            return batch["noise"] + 0.5

    assert float(task.loss(Predicts(), batch)) == pytest.approx(0.25)
    losses = task.loss(task.model(), batch, "none")
    assert losses.shape == (100,)
    torch.testing.assert_close(losses, batch["noise"].square().mean((1, 2, 3)), msg="it starts by predicting none")
    torch.testing.assert_close(task.loss(task.model(), batch), losses.mean())


@pytest.mark.parametrize("model", ["dcgan", "unet"])
def test_pruned_and_retrained_models_keep_exact_zeros_and_can_be_saved(
    data: Path, classifier: Path, tmp_path: Path, model: str
) -> None:
    task = small_task(model, data, classifier)
    settings = TrainSettings(batch_size=60, optimizer=OptimizerSpec(name="adam", lr=1e-3), device="cpu")
    trainer = Trainer(task, settings, seed=0)
    dense = train_dense(trainer, Linear(num_steps=2, peak=1e-3))
    imp = IMP(sparsity=0.6, epochs=1, retraining=Retraining(schedule="LLR"))
    result = imp.run(trainer, dense.model, dense=dense.schedule)
    result.masks.check(result.model)
    assert result.masks.num_pruned == round(0.6 * result.masks.num_weights)
    reference, kwargs = task.constructor()  # type: ignore[misc]
    inputs = task.example_inputs()
    save_model(tmp_path / "model", result.model, constructor=reference, kwargs=kwargs, example_inputs=inputs)
    assert torch.equal(load_model(tmp_path / "model")(*inputs), result.model.eval()(*inputs))


@pytest.mark.parametrize("model", ["dcgan", "unet"])
def test_weights_that_are_not_finite_are_named_by_the_metric(data: Path, classifier: Path, model: str) -> None:
    task = small_task(model, data, classifier)
    net = task.model()
    for parameter in net.parameters():
        nn.init.constant_(parameter, torch.nan)
    with pytest.raises(NotFiniteError, match=r"metric \[.*'frechet_distance'\] of task 'generative-"):
        evaluate(task, net, task.eval_set())


def test_the_loss_of_a_generator_without_a_discriminator_is_refused(data: Path, classifier: Path) -> None:
    task = generative(data=data, classifier=classifier, **SMALL)
    with pytest.raises(InputError, match="has no discriminator yet; train it with the methods of its task"):
        task.loss(task.model(), {"latent": torch.zeros(2, 100)})


def test_a_missing_classifier_is_refused_with_the_command_that_makes_it(data: Path) -> None:
    with pytest.raises(
        InputError, match=r"no folder .*runs/dense-s0/model: run `paretorch run fashion-mnist-classifier --data <data> "
    ):
        generative(data=data, **SMALL)


def test_a_poor_classifier_is_refused_with_its_accuracy(data: Path, tmp_path: Path) -> None:
    poor = saved_classifier(SmallCNN(), tmp_path / "model")
    with pytest.raises(InputError, match=r"is right on \d?\d\.\d\d% of the test images.*trusted from 91%"):
        generative(data=data, classifier=poor, **SMALL)


def test_a_classifier_without_the_layer_is_refused(data: Path, tmp_path: Path) -> None:
    other = save_model(tmp_path / "model", lenet_300_100(), constructor=lenet_300_100, kwargs={})
    with pytest.raises(InputError, match="is a Sequential without a linear layer 'output'"):
        generative(data=data, classifier=other, **SMALL)


def test_a_damaged_classifier_is_refused(data: Path, classifier: Path, tmp_path: Path) -> None:
    folder = saved_classifier(load_model(classifier), tmp_path / "model", width=4)
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ArtefactError, match=r"model\.safetensors is not the file"):
        generative(data=data, classifier=folder, **SMALL)


def test_missing_data_are_refused_before_the_classifier_is_looked_for() -> None:
    with pytest.raises(InputError, match="needs its data folder and none was given"):
        generative(data=None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "vae"}, "generative has no model 'vae'; choose dcgan or unet"),
        ({"sampling_steps": 5, "noise_schedule": "linear"}, "noise_schedule and sampling_steps belong to diffusion"),
        ({"model": "unet", "noise_schedule": "flat"}, r"'flat' is unknown; choose from \['cosine', 'linear'\]"),
        ({"model": "unet", "sampling_steps": 0}, "sampling_steps must be between 1 and 1000"),
        ({"model": "unet", "width": 12}, "even multiple of its 8 groups; got 12"),
        ({"width": 0}, r"at least 1; got \{'width': 0\}"),
        ({"num_samples": 21}, "num_samples must be between 2 and 20, as many as are held out; got 21"),
        ({"num_samples": 1}, "num_samples must be between 2 and 20"),
        ({"train_limit": 0}, "train_limit must be between 1 and 180"),
    ],
)
def test_options_out_of_range_are_refused(
    data: Path, classifier: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        generative(data=data, classifier=classifier, **(SMALL | options))  # type: ignore[arg-type]


def test_options_reach_the_models_and_the_training_set(data: Path, classifier: Path) -> None:
    gan = generative(data=data, classifier=classifier, width=4, train_limit=50, **SMALL)
    assert len(gan.train_set()) == 50
    assert gan.train_sample == 20, "the distance to training images is read on as many as every other"
    assert generative(data=data, classifier=classifier, train_limit=19, **SMALL).train_sample == 0
    assert gan.constructor() == ("paretorch.training.models.dcgan:Generator", {"latent": 100, "width": 4})
    assert gan.methods()[0] is not gan.methods()[0], "each phase has a step of its own"
    unet = generative(data=data, classifier=classifier, model="unet", width=8, sampling_steps=3, **SMALL)
    assert (unet.describe()["sampling_steps"], unet.describe()["noise_schedule"]) == (3, "cosine")
    calls: list[int] = []

    class Counts(nn.Module):
        def forward(self, noisy: Tensor, times: Tensor) -> Tensor:
            calls.append(int(times[0]))
            return noisy

    unet.samples(Counts(), count=2, generator=torch.Generator(), device=CPU)
    assert calls == [999, 500, 0] or calls == [999, 499, 0]
    assert not unet.methods()


@pytest.mark.slow
def test_on_real_images_the_floor_is_below_slight_noise_which_is_below_blur_which_is_below_noise_alone(
    data_folder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "MIN_ACCURACY", 0.75)  # what one short epoch reaches
    folder = data_folder("fashion_mnist").parent
    settings = TrainSettings(batch_size=64, optimizer=OptimizerSpec(lr=0.02), device="cpu")
    trainer = Trainer(FashionMNIST(data=folder, model="cnn", train_limit=6400), settings)
    model = trainer.model()
    trainer.fit(model, phase="dense", num_steps=100)
    task = generative(data=folder, classifier=saved_classifier(model, tmp_path / "model"))
    real = task.test_set().batch(torch.arange(1000))["inputs"] / 127.5 - 1
    distances = [next(iter(task.references().values()))]
    noisy = (real + 0.15 * torch.randn_like(real)).clamp(-1, 1)
    for images in (noisy, F.avg_pool2d(real, 5, stride=1, padding=2), torch.rand_like(real) * 2 - 1):
        task.samples = lambda model, images=images, **how: images  # type: ignore[method-assign]
        distances.append(task.set_metrics(model, task.test_set(), device=CPU)["frechet_distance"])
    assert distances == sorted(distances)
    assert distances[-1] > 20 * distances[0] > 0
