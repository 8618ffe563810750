"""DCGAN and U-Net: parameter counts, published and by hand, shapes, and what they refuse."""

import copy
from itertools import pairwise

import pytest
import torch
from torch import nn

from paretorch.errors import InputError
from paretorch.methods.sparsity.prunable import prunable_parameters
from paretorch.training.models.dcgan import Discriminator, Generator
from paretorch.training.models.unet import TimeEmbedding, UNet


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_dcgan_for_64x64_has_the_parameters_of_pytorch_s_example() -> None:
    assert count(Generator(latent=100, width=64, channels=3, size=64)) == 3_576_704
    assert count(Discriminator(width=64, channels=3, size=64)) == 2_765_568


@pytest.mark.parametrize("width", [4, 32])
def test_dcgan_for_28x28_has_the_parameters_of_its_layers(width: int) -> None:
    first = 100 * 2 * width * 7 * 7 + 2 * 2 * width
    second = 2 * width * width * 4 * 4 + 2 * width
    assert count(Generator(latent=100, width=width)) == first + second + width * 4 * 4
    mirrored = width * 4 * 4 + width * 2 * width * 4 * 4 + 2 * 2 * width + 2 * width * 7 * 7
    assert count(Discriminator(width=width)) == mirrored


@pytest.mark.parametrize(("size", "channels"), [(28, 1), (32, 1), (64, 3), (12, 2)])
def test_generator_makes_images_that_the_discriminator_reads(size: int, channels: int) -> None:
    images = Generator(latent=5, width=4, channels=channels, size=size)(torch.randn(3, 5))
    assert images.shape == (3, channels, size, size)
    assert images.abs().max() <= 1
    assert Discriminator(width=4, channels=channels, size=size)(images).shape == (3,)


def test_dcgan_normalises_where_the_paper_says() -> None:
    def kinds(model: Generator | Discriminator) -> list[str]:
        return [type(layer).__name__ for layer in model.layers]

    up = ["ConvTranspose2d", "BatchNorm2d", "ReLU"]
    assert kinds(Generator(size=64)) == [*up * 4, "ConvTranspose2d", "Tanh"]
    down = ["Conv2d", "BatchNorm2d", "LeakyReLU"]
    assert kinds(Discriminator(size=64)) == ["Conv2d", "LeakyReLU", *down * 3, "Conv2d"]


def test_dcgan_weights_are_drawn_as_the_paper_says() -> None:
    model = Generator(width=64)
    assert float(model.layers[0].weight.detach().std()) == pytest.approx(0.02, rel=0.02)
    scales = torch.cat([layer.weight.detach() for layer in model.layers if isinstance(layer, nn.BatchNorm2d)])
    assert float(scales.mean()) == pytest.approx(1, abs=0.01)
    assert float(scales.std()) == pytest.approx(0.02, rel=0.3)


def test_opponents_are_copied_with_the_generator_and_are_no_part_of_it() -> None:
    model = Generator(width=4)
    before = (count(model), set(model.state_dict()), list(prunable_parameters(model)))
    model.opponents = (Discriminator(width=4),)
    assert (count(model), set(model.state_dict()), list(prunable_parameters(model))) == before
    twin = copy.deepcopy(model)
    assert twin.opponents[0] is not model.opponents[0]
    assert torch.equal(twin.opponents[0].layers[0].weight, model.opponents[0].layers[0].weight)


@pytest.mark.parametrize("size", [0, 2, 7, 22, 36, 100])
def test_other_image_sizes_are_refused(size: int) -> None:
    with pytest.raises(InputError, match=rf"3 to 7 times a power of two, as 28, 32 or 64; got {size}"):
        Generator(size=size)


def test_numbers_below_one_are_refused() -> None:
    with pytest.raises(InputError, match=r"at least 1; got \{'latent': 0\}"):
        Generator(latent=0)
    with pytest.raises(InputError, match=r"at least 1; got \{'width': -1\}"):
        Discriminator(width=-1)


def unet_parameters(width: int, multipliers: tuple[int, ...], patch: int) -> int:
    """By hand: every convolution, linear layer and normalisation of the U-Net."""
    time = 4 * width

    def block(i: int, o: int) -> int:
        shortcut = i * o + o if i != o else 0
        return 2 * i + (9 * i * o + o) + (time * o + o) + 2 * o + (9 * o * o + o) + shortcut

    widths = [width * multiplier for multiplier in multipliers]
    total = (width * time + time) + (time * time + time)
    total += 9 * patch**2 * width + width
    for i, o in zip([width, *widths], widths, strict=False):
        total += block(i, o)
    total += sum(9 * w * w + w for w in widths[:-1])
    total += block(widths[-1], widths[-1])
    total += sum(block(2 * w, w) for w in widths)
    total += sum(9 * low * high + high for high, low in pairwise(widths))
    return total + 2 * widths[0] + 9 * widths[0] * patch**2 + patch**2


@pytest.mark.parametrize(
    ("width", "multipliers", "patch"), [(16, (1, 2, 4), 1), (16, (1, 2), 2), (8, (2,), 1), (24, (1, 1, 3), 1)]
)
def test_unet_has_the_parameters_of_its_layers_and_gives_noise_of_the_image_s_shape(
    width: int, multipliers: tuple[int, ...], patch: int
) -> None:
    model = UNet(width=width, multipliers=multipliers, patch=patch)
    assert count(model) == unet_parameters(width, multipliers, patch)
    assert model(torch.randn(2, 1, 28, 28), torch.tensor([0, 999])).shape == (2, 1, 28, 28)


def test_unet_starts_by_predicting_no_noise() -> None:
    assert not UNet()(torch.randn(2, 1, 28, 28), torch.tensor([3, 500])).any()


def test_every_parameter_of_the_unet_and_the_time_change_its_output() -> None:
    model = UNet(width=8, multipliers=(1, 2, 2))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    images = torch.randn(2, 1, 28, 28)
    model(images, torch.tensor([10, 700])).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in model.parameters())
    with torch.no_grad():
        assert not torch.allclose(model(images, torch.tensor([10, 700])), model(images, torch.tensor([10, 701])))


def test_time_embedding_reads_sines_and_cosines_from_frequency_1_to_1_in_10000() -> None:
    layer = TimeEmbedding(width=4, outputs=4)
    layer.linear1 = layer.linear2 = nn.Identity()
    angles = torch.tensor([[0.0, 0.0], [50.0, 50.0 / 10_000]])
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)
    torch.testing.assert_close(layer(torch.tensor([0, 50])), nn.functional.silu(waves))


def test_unet_refuses_images_and_widths_that_do_not_divide() -> None:
    with pytest.raises(InputError, match=r"multiples of 4; got \(30, 28\)"):
        UNet()(torch.zeros(1, 1, 30, 28), torch.zeros(1))
    with pytest.raises(InputError, match="even multiple of its 8 groups; got 12"):
        UNet(width=12)
    with pytest.raises(InputError, match=r"needs a multiplier.*multipliers=\[\]"):
        UNet(multipliers=())
    with pytest.raises(InputError, match=r"at least 1; got width=16, channels=1, patch=0"):
        UNet(patch=0)
