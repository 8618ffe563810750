"""Small instances of every kind of network that a structural feature must cope with, and inputs for them.

Each brings something that the others lack: shortcuts with and without parameters, grouped and depthwise convolutions,
concatenated channels, skips over many layers, norms over groups, flattened maps, attention with and without biases,
shared key and value heads, a weight that is tied to an embedding.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from paretorch.training.models.dcgan import Generator
from paretorch.training.models.densenet import DenseNet
from paretorch.training.models.gpt import GPT
from paretorch.training.models.group_norm_cnn import GroupNormCNN
from paretorch.training.models.llama import Llama
from paretorch.training.models.mlp import mlp
from paretorch.training.models.mobilenet_v2 import MobileNetV2
from paretorch.training.models.resnet import ResNet
from paretorch.training.models.resnet_cifar import CifarResNet
from paretorch.training.models.unet import UNet
from paretorch.training.models.vgg import VGG
from paretorch.training.models.vit import ViT
from paretorch.training.models.wide_resnet import WideResNet


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A constructor with its arguments, inputs for a batch of two, and the shape of one example's output."""

    constructor: Callable[..., nn.Module]
    kwargs: dict[str, Any] = field(default_factory=dict)
    inputs: Callable[[], tuple[Tensor, ...]]
    output: tuple[int, ...] = (10,)

    def build(self) -> nn.Module:
        return self.constructor(**self.kwargs)


def images(side: int = 32, channels: int = 3) -> Callable[[], tuple[Tensor, ...]]:
    return lambda: (torch.randn(2, channels, side, side),)


def tokens() -> tuple[Tensor, ...]:
    return (torch.randint(0, 11, (2, 6)),)


def noisy_images() -> tuple[Tensor, ...]:
    return torch.randn(2, 1, 8, 8), torch.tensor([3, 40])


SMALL_STAGES = {"blocks": (1, 1, 1, 1), "width": 8, "num_classes": 10}
DECODER = {"vocab_size": 11, "context": 8, "width": 16, "depth": 2, "heads": 4}

ARCHITECTURES = {
    "mlp": Architecture(
        constructor=mlp,
        kwargs={"sizes": (12, 9, 10)},
        inputs=lambda: (torch.randn(2, 12),),
    ),
    "cifar-resnet-a": Architecture(constructor=CifarResNet, kwargs={"depth": 8}, inputs=images(16)),
    "cifar-resnet-b": Architecture(constructor=CifarResNet, kwargs={"depth": 8, "shortcut": "B"}, inputs=images(16)),
    "resnet-imagenet-stem": Architecture(constructor=ResNet, kwargs=SMALL_STAGES, inputs=images(64)),
    "resnet-cifar-stem": Architecture(constructor=ResNet, kwargs={**SMALL_STAGES, "stem": "cifar"}, inputs=images(16)),
    "bottleneck-resnet": Architecture(
        constructor=ResNet,
        kwargs={**SMALL_STAGES, "bottleneck": True, "stem": "cifar"},
        inputs=images(16),
    ),
    "resnext": Architecture(
        constructor=ResNet,
        kwargs={**SMALL_STAGES, "bottleneck": True, "groups": 4, "width_per_group": 16, "stem": "cifar"},
        inputs=images(16),
    ),
    "wide-resnet": Architecture(
        constructor=WideResNet,
        kwargs={"depth": 10, "widen": 1},
        inputs=images(16),
    ),
    "vgg": Architecture(
        constructor=VGG,
        kwargs={"depth": 11, "width": 4},
        inputs=images(),
    ),
    "vgg-flattened": Architecture(
        constructor=VGG,
        kwargs={"depth": 11, "width": 4, "side": 2, "hidden": (16,)},
        inputs=images(64),
    ),
    "mobilenet-v2": Architecture(
        constructor=MobileNetV2,
        kwargs={"width": 0.25, "stem": "cifar", "num_classes": 10},
        inputs=images(),
    ),
    "densenet": Architecture(
        constructor=DenseNet,
        kwargs={"blocks": (2, 2), "growth": 4, "stem": "cifar", "num_classes": 10},
        inputs=images(16),
    ),
    "group-norm-cnn": Architecture(
        constructor=GroupNormCNN,
        kwargs={"width": 8, "groups": 4},
        inputs=images(16),
    ),
    "vit": Architecture(
        constructor=ViT,
        kwargs={"image_side": 16, "patch_side": 4, "width": 16, "depth": 2, "heads": 4, "num_classes": 10},
        inputs=images(16),
    ),
    "unet": Architecture(
        constructor=UNet,
        kwargs={"width": 8, "multipliers": (1, 2), "groups": 4},
        inputs=noisy_images,
        output=(1, 8, 8),
    ),
    "dcgan-generator": Architecture(
        constructor=Generator,
        kwargs={"latent": 6, "width": 4},
        inputs=lambda: (torch.randn(2, 6),),
        output=(1, 28, 28),
    ),
    "gpt": Architecture(constructor=GPT, kwargs=DECODER, inputs=tokens, output=(6, 11)),
    "llama": Architecture(
        constructor=Llama, kwargs={**DECODER, "hidden": 24, "kv_heads": 2}, inputs=tokens, output=(6, 11)
    ),
}
