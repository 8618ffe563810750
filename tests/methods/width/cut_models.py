"""Models of one kind of layer each, with their width groups written down by hand, independent of the tracer."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretorch.methods.width.groups import Axis, Count, RmsScale, Size, WidthGroup, WidthGroups
from tests.methods.width.handmade import perceptron, perceptron_groups


@dataclass
class Case:
    model: nn.Module
    groups: WidthGroups
    inputs: Tensor


def along(tensor: str, dim: int, unit: Tensor, group: int = 0) -> Axis:
    """An axis whose entries all belong to one group."""
    return Axis(tensor, dim, torch.full_like(unit, group), unit)


def each(count: int, times: int = 1) -> Tensor:
    """Units 0, 0, ..., 1, 1, ...: each owns `times` neighbouring entries."""
    return torch.arange(count).repeat_interleave(times)


def per(entries: int, group: int = 0) -> Count:
    return Count(0, {group: entries})


def linear_chain() -> Case:
    return Case(perceptron(5, 8, 6, 3), perceptron_groups(5, 8, 6, 3), torch.randn(4, 5))


def convolutions() -> Case:
    """Convolution, batch norm, ReLU, convolution, sigmoid, flatten, linear."""
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 4, 3, bias=False),
        nn.Sigmoid(), nn.Flatten(), nn.Linear(4 * 2 * 1, 5),
    )  # fmt: skip
    axes = [along(f"{name}", 0, each(8)) for name in ("0.weight", "0.bias", "1.weight", "1.bias")]
    axes += [along(f"1.{name}", 0, each(8)) for name in ("running_mean", "running_var")]
    axes += [along("4.weight", 1, each(8)), along("4.weight", 0, each(4), 1), along("7.weight", 1, each(4, 2), 1)]
    sizes = [Size("0", "out_channels", per(1)), Size("1", "num_features", per(1)), Size("4", "in_channels", per(1))]
    sizes += [Size("4", "out_channels", per(1, 1)), Size("7", "in_features", per(2, 1))]
    units = (WidthGroup("0", 8, ("0",), ("4",)), WidthGroup("4", 4, ("4",), ("7",)))
    return Case(model, WidthGroups(units, tuple(axes), tuple(sizes)), torch.randn(2, 3, 8, 6))


def depthwise() -> Case:
    """Pointwise, depthwise, pointwise convolution."""
    model = nn.Sequential(
        nn.Conv2d(3, 6, 1), nn.BatchNorm2d(6), nn.ReLU6(), nn.Conv2d(6, 12, 3, groups=6), nn.ReLU(), nn.Conv2d(12, 4, 1)
    )
    axes = [along(name, 0, each(6)) for name in ("0.weight", "0.bias", "1.weight", "1.bias")]
    axes += [along(f"1.{name}", 0, each(6)) for name in ("running_mean", "running_var")]
    axes += [along("3.weight", 0, each(6, 2)), along("3.bias", 0, each(6, 2)), along("5.weight", 1, each(6, 2))]
    sizes = [Size("0", "out_channels", per(1)), Size("1", "num_features", per(1)), Size("3", "in_channels", per(1))]
    sizes += [Size("3", "out_channels", per(2)), Size("3", "groups", per(1)), Size("5", "in_channels", per(2))]
    groups = WidthGroups((WidthGroup("0", 6, ("0", "3"), ("5",)),), tuple(axes), tuple(sizes))
    return Case(model, groups, torch.randn(2, 3, 5, 5))


def group_norm() -> Case:
    """A unit is a group of three channels: its mean and variance are its own."""
    model = nn.Sequential(nn.Conv2d(2, 12, 3), nn.GroupNorm(4, 12), nn.SiLU(), nn.Conv2d(12, 3, 1))
    axes = [along(name, 0, each(4, 3)) for name in ("0.weight", "0.bias", "1.weight", "1.bias")]
    axes.append(along("3.weight", 1, each(4, 3)))
    sizes = [Size("0", "out_channels", per(3)), Size("1", "num_channels", per(3)), Size("1", "num_groups", per(1))]
    sizes.append(Size("3", "in_channels", per(3)))
    groups = WidthGroups((WidthGroup("0", 4, ("0",), ("3",)),), tuple(axes), tuple(sizes))
    return Case(model, groups, torch.randn(2, 2, 5, 4))


class Residual(nn.Module):
    """Tied embedding, a gated perceptron on the residual stream, RMS norms of three kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.head = nn.Embedding(7, 8), nn.Linear(8, 7, bias=False)
        self.head.weight = self.tokens.weight
        self.norm, self.last = nn.RMSNorm(8, eps=1e-3), nn.RMSNorm(8)
        self.gate, self.up, self.down = nn.Linear(8, 6), nn.Linear(8, 6), nn.Linear(6, 8)

    def forward(self, tokens: Tensor) -> Tensor:
        stream = self.tokens(tokens)
        normed = self.norm(stream)
        stream = stream + self.down(F.silu(self.gate(normed)) * self.up(normed))
        return self.head(self.last(stream))


def residual() -> Case:
    width, hidden = each(8), each(6)
    axes = [along("tokens.weight", 1, width), along("norm.weight", 0, width), along("last.weight", 0, width)]
    axes += [along(f"{name}.weight", 1, width) for name in ("gate", "up")]
    axes += [along("down.weight", 0, width), along("down.bias", 0, width), along("down.weight", 1, hidden, 1)]
    axes += [along(f"{name}.{tensor}", 0, hidden, 1) for name in ("gate", "up") for tensor in ("weight", "bias")]
    sizes = [Size("tokens", "embedding_dim", per(1)), Size("down", "out_features", per(1))]
    sizes += [Size(name, "in_features", per(1)) for name in ("head", "gate", "up")]
    sizes += [Size(name, "out_features", per(1, 1)) for name in ("gate", "up")]
    sizes += [Size("down", "in_features", per(1, 1))]
    sizes += [Size(name, "normalized_shape", per(1)) for name in ("norm", "last")]
    units = (
        WidthGroup("tokens", 8, ("tokens", "down"), ("gate", "up", "head")),
        WidthGroup("gate", 6, ("gate", "up"), ("down",)),
    )
    rms = (RmsScale("norm", per(1)), RmsScale("last", per(1)))
    return Case(Residual(), WidthGroups(units, tuple(axes), tuple(sizes), rms=rms), torch.randint(0, 7, (2, 4)))


class GroupedQueries(nn.Module):
    """Attention of six query heads over two key and value heads, three queries each."""

    def __init__(self, *, width: int = 5, heads: int = 6, kv_heads: int = 2, head_width: int = 4) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_width = heads, kv_heads, head_width
        self.query = nn.Linear(width, heads * head_width)
        self.key, self.value = nn.Linear(width, kv_heads * head_width), nn.Linear(width, kv_heads * head_width)
        self.output = nn.Linear(heads * head_width, width)

    def forward(self, stream: Tensor) -> Tensor:
        query = self.query(stream).unflatten(-1, (self.heads, self.head_width)).transpose(1, 2)
        key = self.key(stream).unflatten(-1, (self.kv_heads, self.head_width)).transpose(1, 2)
        value = self.value(stream).unflatten(-1, (self.kv_heads, self.head_width)).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(query, key, value, enable_gqa=True)
        return self.output(mixed.transpose(1, 2).flatten(2))


def key_value_heads() -> Case:
    """A unit is a key and value head with its three queries."""
    axes = [along(f"query.{name}", 0, each(2, 12)) for name in ("weight", "bias")]
    axes += [along(f"{layer}.{name}", 0, each(2, 4)) for layer in ("key", "value") for name in ("weight", "bias")]
    axes.append(along("output.weight", 1, each(2, 12)))
    sizes = [Size("", "heads", per(3)), Size("", "kv_heads", per(1)), Size("query", "out_features", per(12))]
    sizes += [Size("key", "out_features", per(4)), Size("value", "out_features", per(4))]
    sizes.append(Size("output", "in_features", per(12)))
    group = WidthGroup("key", 2, ("query", "key", "value"), ("output",))
    return Case(GroupedQueries(), WidthGroups((group,), tuple(axes), tuple(sizes)), torch.randn(2, 3, 5))


def queries() -> Case:
    """A unit is the query head of one place inside every group; keys and values stay."""
    unit = each(3, 4).repeat(2)  # places 0, 1, 2 of the first key, then of the second
    axes = [along("query.weight", 0, unit), along("query.bias", 0, unit), along("output.weight", 1, unit)]
    sizes = [Size("", "heads", per(2)), Size("query", "out_features", per(8)), Size("output", "in_features", per(8))]
    group = WidthGroup("query", 3, ("query",), ("output",))
    return Case(GroupedQueries(), WidthGroups((group,), tuple(axes), tuple(sizes)), torch.randn(2, 3, 5))


CASES = {
    case.__name__: case
    for case in (linear_chain, convolutions, depthwise, group_norm, residual, key_value_heads, queries)
}


def settled(case: Case, dtype: torch.dtype = torch.float64) -> Case:
    """In evaluation mode, with noise on every parameter and statistics that were moved."""
    case.model.to(dtype)
    if case.inputs.is_floating_point():
        case.inputs = case.inputs.to(dtype)
    with torch.no_grad():
        for parameter in case.model.parameters():
            parameter.add_(torch.randn_like(parameter) / 2)
        for _ in range(3):
            case.model.train()(case.inputs)
    case.model.eval()
    return case
