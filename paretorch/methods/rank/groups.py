"""The ranks of factored layers as width groups, without tracing: everything else stays as it is.

    params(r) = rest + sum_i (n_i + m_i) r_i        MACs(r) = rest + sum_i (MACs of layer i) r_i / R_i

Costs are separable here, unlike those of channels. `tracing.find_groups` finds the same groups beside the channels, in
models that it can follow; this needs no more than the factored layers' names.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import nn

from paretorch.errors import InputError
from paretorch.measurement.inputs import ExampleInputs
from paretorch.measurement.macs import count_macs
from paretorch.methods.rank.factored import Factored, factored_layers
from paretorch.methods.width.groups import Axis, Count, Size, Term, WidthGroup, WidthGroups


def rank_groups(model: nn.Module, inputs: ExampleInputs) -> WidthGroups:
    """One group per `Factored` layer of the model, named after its `down` layer, with costs.

    Args:
        model: left as found.
        inputs: of one call, to count the MACs of the layers.

    Returns:
        Groups whose profile is the ranks. Activations are not counted.

    Raises:
        InputError: if no layer is factored.
    """
    layers = factored_layers(model)
    if not layers:
        raise InputError("no layer of the model is factored; call factorise_ first")
    counted = count_macs(model, inputs)
    weights, products = [], []
    for number, (name, layer) in enumerate(layers.items()):
        parts = [counted.per_layer[part].dense for part in (f"{name}.down", f"{name}.up") if part in counted.per_layer]
        ranks = Count(0, {number: 1})
        weights.append(Term((layer.down.weight.numel() + layer.up.weight.numel()) // layer.rank, (ranks,)))
        products.append(Term(sum(parts) // layer.rank, (ranks,)))
    groups = axes_of_ranks(layers)
    rest = sum(parameter.numel() for parameter in model.parameters()) - sum(term.at(groups.full) for term in weights)
    others = counted.dense - sum(term.at(groups.full) for term in products)
    return replace(groups, params=(*weights, Term(rest, ())), macs=(*products, Term(others, ())))


def axes_of_ranks(layers: Mapping[str, Factored]) -> WidthGroups:
    """The same groups without costs, for factored layers by name: enough to run and to cut them."""
    groups, axes, sizes = [], [], []
    for number, (name, layer) in enumerate(layers.items()):
        down, up, ranks = f"{name}.down", f"{name}.up", Count(0, {number: 1})
        groups.append(WidthGroup(name=down, size=layer.rank, producers=(down,), consumers=(up,)))
        every, each = torch.full((layer.rank,), number), torch.arange(layer.rank)
        axes += [Axis(f"{down}.weight", 0, every, each), Axis(f"{up}.weight", 1, every, each)]
        kind = "features" if isinstance(layer.down, nn.Linear) else "channels"
        sizes += [Size(down, f"out_{kind}", ranks), Size(up, f"in_{kind}", ranks)]
    return WidthGroups(tuple(groups), tuple(axes), tuple(sizes))
