"""Batch-norm statistics of one profile, estimated without touching the model, so that an archive can hold them.

Statistics depend on all widths before a layer, so that none can be kept per width: they are re-estimated for each
profile that is judged or cut out. Forgetting this is the commonest fault in public code of elastic widths.

Source: Yu and Huang, "Universally slimmable networks", ICCV 2019, section 3.3; how statistics are averaged:
`averaging.batchnorm`.
"""

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn

from paretorch.methods.averaging.batchnorm import reestimate_batchnorm
from paretorch.methods.width.ordered import OrderedModel


def reestimate_at(
    ordered: OrderedModel,
    profile: Iterable[int],
    batches: Iterable[Any],
    *,
    forward: Callable[[nn.Module, Any], object] | None = None,
) -> dict[str, Tensor]:
    """Running statistics of the sub-network of `profile`, averaged over `batches`; the model's own stay as they are.

    Args:
        ordered: the model and its groups.
        profile: a width for each group.
        batches: training batches; none is read if the model has no batch norm.
        forward: called as `forward(model, batch)`; as for `reestimate_batchnorm`.

    Returns:
        Tensors by the names of the model's buffers, in the shapes of the profile: for `ordered.at(profile,
        statistics=...)`, and for `load_state_dict(..., strict=False)` of the cut model.

    Raises:
        InputError: as `OrderedModel.at` and `reestimate_batchnorm` do.
    """
    widths = tuple(profile)
    statistics = ordered.statistics(widths)
    with ordered.at(widths, statistics=statistics) as model:
        reestimate_batchnorm(model, batches, forward=forward)
    return statistics
