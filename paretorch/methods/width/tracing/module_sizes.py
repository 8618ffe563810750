"""Numbers in modules that must follow the widths: in_channels, num_features, num_groups and the like.

For torch's own layers they are known. For other modules they are integer attributes that a reshape or a split reads;
`checking` finds out which.
"""

from collections.abc import Callable, Iterator

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from paretorch.methods.width.groups import Count, Size


def known_sizes(model: nn.Module, count: Callable[[str, int], Count | None]) -> Iterator[Size]:
    """Attributes of torch's layers; `count` gives the entries of one dimension of a parameter or buffer by name.

    Attributes that no width changes are left out.
    """
    for name, module in model.named_modules():
        lead = f"{name}." if name else ""

        def entries(tensor: str, dim: int, lead: str = lead) -> Count:
            return count(lead + tensor, dim) or Count()

        for attribute, found in _sizes(module, entries):
            if found.per_unit:
                yield Size(name, attribute, found)


def _sizes(module: nn.Module, entries: Callable[[str, int], Count]) -> Iterator[tuple[str, Count]]:
    if isinstance(module, nn.Linear):
        yield "out_features", entries("weight", 0)
        yield "in_features", entries("weight", 1)
    elif isinstance(module, _ConvNd):
        yield from _convolution(module, entries("weight", 0), entries("weight", 1))
    elif isinstance(module, nn.Embedding | nn.EmbeddingBag):
        yield "embedding_dim", entries("weight", 1)
    elif isinstance(module, _NormBase):
        kept = [name for name in ("weight", "running_mean") if getattr(module, name) is not None]
        if kept:
            yield "num_features", entries(kept[0], 0)
    elif isinstance(module, nn.GroupNorm) and module.weight is not None:
        yield "num_channels", entries("weight", 0)
    elif isinstance(module, nn.PReLU):
        yield "num_parameters", entries("weight", 0)


def _convolution(module: _ConvNd, first: Count, second: Count) -> Iterator[tuple[str, Count]]:
    turned = isinstance(module, _ConvTransposeNd)
    inner, outer = (first, second) if turned else (second, first)
    if module.groups > 1 and module.groups == module.in_channels:  # depthwise: groups go with the channels
        multiplier = module.out_channels // module.in_channels
        groups = first if turned else times(first, 1, multiplier)
        yield "groups", groups
        yield "in_channels", groups
        yield "out_channels", times(groups, multiplier) if turned else first
    else:
        yield "in_channels", inner if turned else times(inner, module.groups)
        yield "out_channels", times(outer, module.groups) if turned else outer


def times(count: Count, factor: int, divisor: int = 1) -> Count:
    """factor / divisor of a count."""
    return Count(
        count.constant * factor // divisor,
        {group: entries * factor // divisor for group, entries in count.per_unit.items()},
    )
