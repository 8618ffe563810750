"""Judges generated Fashion-MNIST images by the features of a classifier that we trained ourselves.

The features are the inputs of the classifier's last layer (64 numbers for the `cnn` model). The usual Frechet distance
takes them from Inception v3 on ImageNet, which has never seen a grey 28x28 image; a classifier of the same images knows
what tells them apart, and anybody can train it again. Distances in the features of two classifiers cannot be compared,
so the task's description names the classifier by its hash.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from paretorch.artefacts.manifest import WEIGHTS_FILE, file_sha256
from paretorch.artefacts.model import load_model
from paretorch.errors import InputError
from paretorch.training.evaluate import evaluate
from paretorch.training.tasks.generative.frechet import Moments, moments
from paretorch.training.tasks.images.fashion_mnist import MEAN, STD, FashionMNIST

DEFAULT_CLASSIFIER = "runs/fashion-mnist-classifier/runs/dense-s0/model"
LAST_LAYER = "output"
MIN_ACCURACY = 0.91
BATCH_SIZE = 500
RECIPE = "paretorch run fashion-mnist-classifier --data <data> --out runs/fashion-mnist-classifier"


class Judge:
    """The moments of images in the features of a classifier.

    Args:
        classifier: folder of a saved classifier of Fashion-MNIST whose last layer is called `output`.
        task: gives the test images on which the classifier must reach 91 %.

    Attributes:
        sha256: of the classifier's weights file.
        accuracy: of the classifier on the test set.

    Raises:
        InputError: if there is no classifier, it has no such layer, or it is right too rarely.
        ArtefactError: if its files are damaged.
    """

    def __init__(self, classifier: Path | str, *, task: FashionMNIST) -> None:
        folder = Path(classifier)
        if not folder.is_dir():
            raise InputError(
                f"generated images are judged by a classifier, and there is no folder {folder}: run `{RECIPE}` first, "
                "from this folder, or give the saved model of such a run as the task option `classifier`"
            )
        self.model = load_model(folder).requires_grad_(False)
        self.sha256 = file_sha256(folder / WEIGHTS_FILE)
        if not isinstance(dict(self.model.named_children()).get(LAST_LAYER), nn.Linear):
            raise InputError(
                f"the classifier {folder} is a {type(self.model).__name__} without a linear layer {LAST_LAYER!r}, "
                f"whose inputs would be the features; train the one of `{RECIPE}`"
            )
        self.accuracy = evaluate(task, self.model, task.test_set())["accuracy"]
        if self.accuracy < MIN_ACCURACY:
            raise InputError(
                f"the classifier {folder} is right on {self.accuracy:.2%} of the test images, and its features are "
                f"only trusted from {MIN_ACCURACY:.0%} on; train it with `{RECIPE}`"
            )

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """The classifier's features (n, d) of images (n, 1, 28, 28) in [-1, 1], in full precision.

        Generated images are rounded to the 256 grey levels that real ones have.
        """
        found: list[Tensor] = []
        layer = self.model.to(images.device).get_submodule(LAST_LAYER)
        hook = layer.register_forward_pre_hook(lambda _layer, inputs: found.append(inputs[0]))
        try:
            with torch.autocast(images.device.type, enabled=False):
                for part in images.float().split(BATCH_SIZE):
                    levels = ((part + 1) * 127.5).round().clamp(0, 255)
                    self.model((levels / 255 - MEAN) / STD)
        finally:
            hook.remove()
        return torch.cat(found)

    def moments(self, images: Tensor) -> Moments:
        """Mean and covariance of the features of images (n, 1, 28, 28) in [-1, 1]."""
        return moments(self.features(images))
