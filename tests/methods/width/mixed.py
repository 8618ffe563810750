"""A model in which width groups meet everything that ordered execution must follow, with its groups written by hand.

Convolution with batch norm, a depthwise convolution, two branches that are concatenated (so that kept entries are no
neighbours), a group norm with two channels per unit, flattening, an RMS norm, and a matrix used twice.
"""

import torch
from torch import Tensor, nn

from paretorch.methods.width.groups import Axis, Count, RmsScale, Size, WidthGroup, WidthGroups
from tests.methods.width.handmade import axis

STEM, LEFT, RIGHT, HIDDEN, PIXELS = 6, 4, 8, 5, 4
INPUTS = (7, 3, 2, 2)


class Mixed(nn.Module):
    """(n, 3, 2, 2) -> (n, 4)"""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(3, STEM, 1), nn.BatchNorm2d(STEM)
        self.depthwise, self.depthwise_norm = nn.Conv2d(STEM, STEM, 3, padding=1, groups=STEM), nn.BatchNorm2d(STEM)
        self.left, self.right = nn.Conv2d(STEM, LEFT, 1), nn.Conv2d(STEM, RIGHT, 1)
        self.norm = nn.GroupNorm((LEFT + RIGHT) // 2, LEFT + RIGHT)
        self.hidden = nn.Linear((LEFT + RIGHT) * PIXELS, HIDDEN)
        self.rms = nn.RMSNorm(HIDDEN, eps=0.1)
        self.again = nn.Linear(HIDDEN, HIDDEN)
        self.twice = nn.Linear(HIDDEN, HIDDEN)
        self.twice.weight = self.again.weight
        self.output = nn.Linear(HIDDEN, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem_norm(self.stem(x)).relu()
        x = self.depthwise_norm(self.depthwise(x)).relu()
        x = self.norm(torch.cat([self.left(x), self.right(x)], 1)).relu().flatten(1)
        x = self.rms(self.hidden(x))
        return self.output(self.twice(self.again(x).relu()).relu())


def mixed(seed: int = 0, dtype: torch.dtype = torch.float64) -> Mixed:
    """The model with random norms and statistics, so that nothing is the identity by chance."""
    torch.manual_seed(seed)
    model = Mixed().to(dtype)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if "norm" in name and tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
        model.rms.weight.uniform_(0.5, 1.5)
    return model


def mixed_groups() -> WidthGroups:
    """Groups: 0 stem, 1 left (pairs of channels), 2 right (pairs), 3 hidden."""
    axes = [axis(f"{layer}.{kind}", 0, STEM, 0) for layer in ("stem", "depthwise") for kind in ("weight", "bias")]
    axes += [
        axis(f"{norm}.{kind}", 0, STEM, 0)
        for norm in ("stem_norm", "depthwise_norm")
        for kind in ("weight", "bias", "running_mean", "running_var")
    ]
    axes += [axis(f"{branch}.weight", 1, STEM, 0) for branch in ("left", "right")]
    axes += [pairs(f"left.{kind}", 0, (1, LEFT)) for kind in ("weight", "bias")]
    axes += [pairs(f"right.{kind}", 0, (2, RIGHT)) for kind in ("weight", "bias")]
    axes += [pairs(f"norm.{kind}", 0, (1, LEFT), (2, RIGHT)) for kind in ("weight", "bias")]
    axes.append(pairs("hidden.weight", 1, (1, LEFT), (2, RIGHT), each=PIXELS))
    axes += [axis(name, 0, HIDDEN, 3) for name in ("hidden.weight", "hidden.bias", "rms.weight")]
    axes += [axis("again.weight", dim, HIDDEN, 3) for dim in (0, 1)]
    axes += [axis("again.bias", 0, HIDDEN, 3), axis("twice.bias", 0, HIDDEN, 3), axis("output.weight", 1, HIDDEN, 3)]
    stem, hidden, joint = Count(0, {0: 1}), Count(0, {3: 1}), Count(0, {1: 2, 2: 2})
    sizes = [Size("stem", "out_channels", stem), Size("depthwise", "groups", stem), Size("left", "in_channels", stem)]
    sizes += [Size("norm", "num_groups", Count(0, {1: 1, 2: 1})), Size("norm", "num_channels", joint)]
    sizes += [Size("hidden", "in_features", Count(0, {1: 2 * PIXELS, 2: 2 * PIXELS}))]
    sizes += [Size("rms", "normalized_shape", hidden)]
    named = [("stem", STEM), ("left", LEFT // 2), ("right", RIGHT // 2), ("hidden", HIDDEN)]
    groups = tuple(WidthGroup(name, size) for name, size in named)
    return WidthGroups(groups, tuple(axes), tuple(sizes), rms=(RmsScale("rms", hidden),))


def pairs(tensor: str, dim: int, *parts: tuple[int, int], each: int = 1) -> Axis:
    """Concatenated parts (group, channels) with two channels per unit and `each` entries per channel."""
    group = torch.cat([torch.full((channels * each,), number) for number, channels in parts])
    unit = torch.cat([torch.arange(channels).div(2, rounding_mode="floor") for _, channels in parts])
    return Axis(tensor, dim, group, unit.repeat_interleave(each))
