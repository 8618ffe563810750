"""How much each unit of each width group matters: scores by which units are kept or put in order.

    l1, l2         s_T(u) = sum over the entries of unit u in tensor T of |w|^p, p = 1 or 2
                   I(u) = mean over the tensors T of the group of s_T(u); biases do not count
    consumer-l1    the same with p = 1, over the weights alone that read the units
    taylor         s_T(u) = mean over batches of |sum over the entries of unit u in T of w * dloss/dw|, I as above
    activation     a(b, c) = mean over positions of |x(b, c)| at the input of a consumer
                   I(u) = sum over consumers of sqrt(sum over examples b and channels c of unit u of a(b, c)^2)

All scores of a group are then divided by their mean, so that groups can be compared. They are float64, whatever the
model is.

Sources: l1 and l2 are the group magnitude of Torch-Pruning (Fang et al., "DepGraph", CVPR 2023, section 3.3; Li et al.,
ICLR 2017, for one layer); consumer-l1 sorts channels in Cai et al., "Once for all", ICLR 2020; taylor is Molchanov et
al., CVPR 2019, section 3.1, with the absolute value in the place of the square; activation is Muralidharan et al.,
"Minitron", NeurIPS 2024, section 2.2: what is a unit of attention there stays inside its group of queries here, too.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.methods.card import Card, HyperParameter
from paretorch.methods.cost_model import Effects, LayerShape
from paretorch.methods.sparsity.binding import named_slots
from paretorch.methods.sparsity.costs import filter_cost
from paretorch.methods.width.groups import Axis, WidthGroups
from paretorch.methods.width.observed import activation_scores, taylor_scores
from paretorch.methods.width.unit_entries import by_unit, reading_axes, weight_axes

Kind = Literal["l1", "l2", "consumer-l1", "taylor", "activation"]
Importance = tuple[Tensor, ...]


def unit_importance(
    model: nn.Module,
    groups: WidthGroups,
    *,
    kind: Kind = "l2",
    batches: Iterable[Any] | None = None,
    loss: Callable[[nn.Module, Any], Tensor] | None = None,
    forward: Callable[[nn.Module, Any], object] | None = None,
) -> Importance:
    """The importance of every unit; the model is not changed.

    Args:
        model: as it was when its groups were found.
        groups: of the model.
        kind: the formula, as above.
        batches: for "taylor" and "activation", at least one; training examples, prepared as for evaluation. The model
            sees them in evaluation mode.
        loss: for "taylor", called as `loss(model, batch)`; a scalar.
        forward: for "activation", called as `forward(model, batch)`; by default a batch is the input tensor.

    Returns:
        For each group, float64 (size,), at least 0, with mean 1 unless all are 0.

    Raises:
        InputError: for an unknown kind, data that the kind needs or does not use, weights or gradients that are NaN or
            infinite, and a group without weights or layers to look at.
    """
    _check(kind, batches=batches, loss=loss, forward=forward)
    parameters = {name: parameter for name, _, _, parameter in named_slots(model)}
    if kind == "activation":
        scores = activation_scores(model, groups, batches or (), forward=forward)
    elif kind == "consumer-l1":
        axes = [axis for g in range(len(groups.groups)) for _, axis in reading_axes(model, groups, g)]
        scores = _mean_scores(groups, axes, parameters, power=1)
    elif kind == "taylor":
        assert loss is not None  # checked above
        scores = taylor_scores(model, groups, batches or (), weight_axes(groups, parameters), loss=loss)
    else:
        scores = _mean_scores(groups, weight_axes(groups, parameters), parameters, power=1 if kind == "l1" else 2)
    return tuple(_normalised(score, group.name) for score, group in zip(scores, groups.groups, strict=True))


def _mean_scores(
    groups: WidthGroups, axes: Iterable[Axis], parameters: Mapping[str, nn.Parameter], *, power: int
) -> list[Tensor]:
    """Mean over tensors of the sums of |w|^power by unit."""
    found: list[list[Tensor]] = [[] for _ in groups.groups]
    for axis in axes:
        weight = parameters[axis.tensor].detach().unsqueeze(-1)  # so that there is a dimension to sum over
        others = [dim for dim in range(weight.dim()) if dim != axis.dim]
        along = torch.linalg.vector_norm(weight, ord=power, dim=others, dtype=torch.float64).pow(power).cpu()
        for g in axis.count.per_unit:
            found[g].append(by_unit(along, axis, g, size=groups.groups[g].size))
    if empty := [group.name for group, scores in zip(groups.groups, found, strict=True) if not scores]:
        raise InputError(f"no weight tells how much the units of {empty[0]!r} matter; use another kind of importance")
    return [torch.stack(scores).mean(0) for scores in found]


def _normalised(scores: Tensor, name: str) -> Tensor:
    if not bool(scores.isfinite().all()):
        raise InputError(f"the importance of the units of {name!r} is NaN or infinite, as some weight or gradient is")
    mean = scores.mean()
    return scores / mean if mean > 0 else scores


def _check(kind: str, *, batches: object, loss: object, forward: object) -> None:
    if kind not in get_args(Kind):
        raise InputError(f"kind must be one of {', '.join(map(repr, get_args(Kind)))}; got {kind!r}")
    wanted = {"taylor": {"batches", "loss"}, "activation": {"batches"}}.get(kind, set())
    allowed = wanted | ({"forward"} if kind == "activation" else set())
    given = {name for name, value in (("batches", batches), ("loss", loss), ("forward", forward)) if value is not None}
    if lacking := sorted(wanted - given):
        raise InputError(f"importance of kind {kind!r} needs {' and '.join(lacking)}")
    if unused := sorted(given - allowed):
        raise InputError(f"importance of kind {kind!r} has no use for {' and '.join(unused)}; leave it out")


def _cost(layers: Sequence[LayerShape], batch: int, settings: Mapping[str, Any]) -> Effects:
    """A layer keeps `settings["ratio"]` of its outputs, in a chain of layers whose last one keeps all."""
    return filter_cost(layers, batch, {"sparsity": 1 - settings["ratio"]})


CARD = Card(
    id="group-importance",
    title="Cutting units by group importance",
    summary="Cuts the least important channels, heads and hidden units out of all layers that share them.",
    year=2023,
    references=(
        "Fang, Ma, Song, Mi and Wang, CVPR 2023, section 3.3",
        "filters of one layer: Li, Kadav, Durdanovic, Samet and Graf, ICLR 2017, section 3.1",
        "by gradients: Molchanov, Mallya, Tyree, Frosio and Kautz, CVPR 2019, section 3.1",
        "by activations: Muralidharan et al., NeurIPS 2024, section 2.2",
    ),
    cells=(("parameters", "remove"),),
    phase=("prune",),
    hooks=("model_surgery",),
    before=("masks",),
    composes_with=("masks", "bn-reestimate"),
    relieves=("inference size", "inference compute", "inference latency"),
    caveat="quality falls until the model is retrained; a few units fewer need not be faster",
    cost="One sum over the weights; with kind taylor one backward pass per batch, with activation one forward pass.",
    cost_model=_cost,
    realised_by="The cut itself: the model is an ordinary smaller one. Widths that suit the machine's vectors.",
    hyperparams=(
        HyperParameter(name="ratio", low=0.0, high=1.0),
        HyperParameter(name="kind", default="l2", scale="choice", choices=get_args(Kind)),
        HyperParameter(name="spread", default="uniform", scale="choice", choices=("uniform", "global")),
    ),
    tuning_cost=1,
    excludes=("last layer",),
    cost_scope="inference",
    quality_risk="high",
    invariants=(
        "the cut model computes what the model computes whose removed units are zero",
        "no cap on parameters or MACs is exceeded, by an exact recount",
        "no unit that stays in a group is less important than one that goes",
        "putting units in order of importance does not change what the model computes",
    ),
    evidence=("elastic_width",),
)
