"""A ResNet-20 for CIFAR-10 that was trained until whole channels were unused (IntelLabs/distiller, Apache-2.0).

A group lasso (Wen et al. 2016, section 3.1) on the input channels of convolutions made 69 of them exactly zero: in 7 of
the 9 blocks, the second convolution reads some channels of the first with weight 0. Nothing else reads these, so they
can be removed with their batch norm, and the network computes the same with less:

    per removed channel: 9 * inputs of conv1 + 2 (batch norm) + 9 * outputs of conv2 parameters

Published (examples/ssl/ssl_channels-removal_training.yaml): test accuracy 90.81 %, 246,848 of 270,896 weights nonzero.
Its shortcuts are 1x1 convolutions (option B); images are scaled to [-1, 1].
"""

from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from paretorch.methods.width.cutting import Cut, plan_cut
from paretorch.methods.width.importance import unit_importance
from paretorch.methods.width.tracing import find_groups
from paretorch.training.models.resnet_cifar import CifarResNet
from paretorch.training.published import Published
from paretorch.training.published.cifar_resnets import HALF_AN_IMAGE, accuracy


def build(path: Path) -> nn.Module:
    """The model with the weights of the file at `path`, in which the linear layer is called `fc`."""
    model = CifarResNet(depth=20, shortcut="B")
    weights = load_file(path)
    model.load_state_dict({name.replace("fc.", "linear."): value for name, value in weights.items()})
    return model


def unread_channels(model: CifarResNet) -> Cut:
    """The cut that removes the channels that no weight reads; the outputs stay what they are.

    Args:
        model: a CIFAR ResNet; it is not changed.

    Raises:
        InputError: a layer reads none of its channels, so that cutting would leave none.
    """
    groups = find_groups(model, torch.zeros(1, 3, 32, 32))
    magnitudes = unit_importance(model, groups, kind="consumer-l1")
    return plan_cut(groups, [of_group.nonzero().flatten() for of_group in magnitudes])


RESNET20_CHANNEL_SPARSE = Published(
    name="resnet20-channel-sparse",
    folder="weights_cifar_resnet",
    file="distiller_resnet20_channel_ssl.safetensors",
    sha256="e9c151e76f4bf8a2d2e4cc2dcafcda4d6b6807a9bdba89a5a2363ef5c89b06a6",
    source=(
        "IntelLabs/distiller at d859fc85a3c9, examples/ssl/checkpoints/checkpoint_trained_ch_regularized_dense.pth.tar "
        "converted to safetensors, Apache-2.0"
    ),
    build=build,
    metric="test accuracy",
    check=partial(accuracy, normalisation="half"),
    expected=0.9081,
    tolerance=3 * HALF_AN_IMAGE,
    normalisation="half",
)
