"""Plain modules out of a model and a profile: the cut one, and the masked one that it must equal.

    extract(model, groups, w)      only the units 0 ... w_g - 1 of every group, in tensors of that size
    masked(model, groups, keep)    all tensors as they were, every entry of a removed unit zero

In the masked model nobody reads a removed unit, and it makes zeros: the norms behind it, where they act on each unit
alone, give zero as well, and an RMS norm finds nothing to add to its sum. Zeroing only the weights of a convolution in
front of a batch norm is not enough: beta - gamma * mean / sigma would go on.

Both agree up to rounding wherever a removed unit that is zero stays zero until an RMS norm adds it up.
"""

import copy
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from paretorch.methods.sparsity.binding import unwrapped
from paretorch.methods.width.cutting import checked_units, plan_cut
from paretorch.methods.width.groups import FIXED, WidthGroups


def extract(model: nn.Module, groups: WidthGroups, profile: Iterable[int]) -> nn.Module:
    """The sub-network of these widths as a plain dense module of its own; the model is not changed.

    Args:
        model: as it was when its groups were found; DDP and compiled wrappers are seen through.
        groups: of the model.
        profile: the width of each group, in their order; the units 0 ... width - 1 stay.

    Raises:
        InputError: the profile does not fit the groups, or the groups do not fit the model.
    """
    small = copy.deepcopy(unwrapped(model))
    plan_cut(groups, groups.prefix(profile)).apply_(small)
    return small


def masked(model: nn.Module, groups: WidthGroups, keep: Sequence[Tensor]) -> nn.Module:
    """A copy of the model in which every parameter entry of a removed unit is zero; shapes are as they were.

    Args:
        model: as it was when its groups were found; DDP and compiled wrappers are seen through.
        groups: of the model.
        keep: as in `plan_cut`.

    Raises:
        InputError: `keep` does not fit the groups, or the groups do not fit the model.
    """
    units = checked_units(groups, keep)
    twin = copy.deepcopy(unwrapped(model))
    plan_cut(groups, units).parameters(twin)  # refuses a model of other names or shapes
    parameters = dict(twin.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for axis in groups.axes:
            if axis.tensor in parameters:
                removed = axis.group != FIXED
                removed[axis.kept(units)] = False
                values = parameters[axis.tensor]
                values.index_fill_(axis.dim, removed.nonzero().flatten().to(values.device), 0)
    return twin
