"""A linear layer as a product of two, with the rank as an ordinary number of channels between them.

    Linear      y = U (V^T x) + b                  V^T (r, m): `down`, U (n, r): `up`
    Conv2d      y = U * (V^T * x) + b              V^T: k x k with stride, padding and dilation, U: 1 x 1

Nothing stands between the two, so that a rank is a unit like any channel: it can be sampled, searched and cut by
everything that works on width groups. The rank is read off the tensors and stored nowhere else.

Source: Maestro, Horvath et al., ICML 2024, section 3.
"""

from typing import cast

import torch
from torch import Tensor, nn

Linear = nn.Linear | nn.Conv2d


class Factored(nn.Module):
    """`up(down(inputs))`: two Linear or two Conv2d layers, the bias in the second.

    Args:
        down: makes the r ranks, without a bias.
        up: reads them.
    """

    def __init__(self, down: Linear, up: Linear) -> None:
        super().__init__()
        self.down, self.up = down, up

    def forward(self, inputs: Tensor) -> Tensor:
        """What the layer computes."""
        return cast(Tensor, self.up(self.down(inputs)))

    @property
    def rank(self) -> int:
        """r, the number of channels between the two layers."""
        return self.down.weight.shape[0]

    @property
    def weight(self) -> Tensor:
        """The weight of the one layer that this one stands for: (n, m), or (n, c, k, k); differentiable."""
        narrow, wide = self.down.weight, self.up.weight
        return (wide.flatten(1) @ narrow.flatten(1)).reshape(wide.shape[0], *narrow.shape[1:])

    @property
    def bias(self) -> Tensor | None:
        """The bias (n,), if there is one."""
        return self.up.bias


def factored_layers(model: nn.Module) -> dict[str, Factored]:
    """The factored layers of a model by name, in the order of registration; each once."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Factored)}


def two_layers(layer: Linear, rank: int) -> Factored:
    """The factored layer of that rank in the place of `layer`, its weights not yet set and its bias taken over."""
    weight = layer.weight
    place = {"device": weight.device, "dtype": weight.dtype}
    biased = layer.bias is not None
    if isinstance(layer, nn.Linear):
        down: Linear = torch.nn.utils.skip_init(nn.Linear, layer.in_features, rank, bias=False, **place)
        up: Linear = torch.nn.utils.skip_init(nn.Linear, rank, layer.out_features, bias=biased, **place)
    else:
        down = torch.nn.utils.skip_init(
            nn.Conv2d, layer.in_channels, rank, layer.kernel_size, bias=False, stride=layer.stride,
            padding=layer.padding, dilation=layer.dilation, padding_mode=layer.padding_mode, **place,
        )  # fmt: skip
        up = torch.nn.utils.skip_init(nn.Conv2d, rank, layer.out_channels, 1, bias=biased, **place)
    return _finished(Factored(down, up), layer)


def one_layer(factored: Factored) -> Linear:
    """The dense layer that computes the same."""
    down, up = factored.down, factored.up
    weight = factored.weight.detach()
    place = {"device": weight.device, "dtype": weight.dtype}
    biased = up.bias is not None
    if isinstance(down, nn.Linear):
        layer: Linear = torch.nn.utils.skip_init(nn.Linear, weight.shape[1], weight.shape[0], bias=biased, **place)
    else:
        layer = torch.nn.utils.skip_init(
            nn.Conv2d, weight.shape[1], weight.shape[0], down.kernel_size, bias=biased, stride=down.stride,
            padding=down.padding, dilation=down.dilation, padding_mode=down.padding_mode, **place,
        )  # fmt: skip
    with torch.no_grad():
        layer.weight.copy_(weight)
    layer.weight.requires_grad_(down.weight.requires_grad or up.weight.requires_grad)
    layer.bias = up.bias
    return layer.train(factored.training)


def _finished(factored: Factored, layer: Linear) -> Factored:
    factored.up.bias = layer.bias
    for part in (factored.down, factored.up):
        part.weight.requires_grad_(layer.weight.requires_grad)
    return factored.train(layer.training)
