"""Soft parameter sharing: layers of one shape become combinations of fewer templates.

    W_i = sum_j alpha_i^(j) T_j        i = 1..L layers of a group, j = 1..k templates; T and alpha are learned

    dL/dT_j = sum_i alpha_i^(j) dL/dW_i        dL/dalpha_i^(j) = <dL/dW_i, T_j>

Stored are k n + L k numbers in the place of L n, n entries of a weight. Products are as many as before, and 2 k n per
layer and forward pass come on top, whatever the batch.

Templates are drawn as weights are (Kaiming normal, fan in, gain sqrt(2)), coefficients as an orthogonal L x k matrix:
with k = L its rows are orthonormal and weights begin independent; with k < L its columns are, the squares of a row's
entries add up to k / L on the average, and single rows can be tiny. A norm behind the layer absorbs that; where there
is none, ask for rows of length 1. Coefficients are drawn when the group is made: a layer never has weights of zero.

Source: Savarese and Maire, ICLR 2019, section 3, and the authors' code; groups found by shape, and rows of length 1,
are ours.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.methods.sharing.layers import SHARED, ScaledLayer, SharedLayer, TemplateBank, folded_from, make_shared_
from paretorch.methods.sparsity.binding import named_slots


@dataclass(frozen=True, kw_only=True)
class SharedGroup:
    """The layers of one bank by name, in the order of the model."""

    bank: TemplateBank
    layers: dict[str, SharedLayer]

    @property
    def coefficients(self) -> Tensor:
        """All rows alpha_i, (L, k); differentiable."""
        return torch.stack([layer.coefficients for layer in self.layers.values()])


def share_(
    model: nn.Module,
    *,
    templates: int | Mapping[str, int],
    groups: Mapping[str, Sequence[str]] | None = None,
    unit_rows: bool = False,
) -> dict[str, tuple[str, ...]]:
    """Replace the weights of groups of layers by combinations of templates, in place; before the optimizer is built.

    Weights are drawn anew, from torch's global generator: what a layer had learned is lost.

    Args:
        model: its Linear and convolutional layers keep their names, biases and hooks.
        templates: k of every group, or k by the group's name; from 1 to the number of layers.
        groups: name -> names or patterns of layers, such as {"stage1": ["layer1.[1-9]*.conv?"]}; at least two layers of
            one shape each. None makes a group of all layers of a shape wherever there are at least max(2, k) of them.
        unit_rows: scale each layer's coefficients to length 1, for models without norms behind these layers.

    Returns:
        Group -> names of its layers, in the order of the model.

    Raises:
        InputError: for no group, a name that is no layer, a layer that cannot be shared or is named twice, layers of
            different shapes in one group, or a number of templates out of range. The model is then unchanged.
    """
    found = _found(model, templates, groups)
    if not found:
        raise InputError(
            f"{type(model).__name__} has no {max(2, _number(templates))} layers of one shape that could share "
            f"{templates} templates; give fewer, or name the groups"
        )
    taken = {group.bank.group for group in shared_groups(model).values()}
    if again := sorted(taken & found.keys()):
        raise InputError(f"the model has groups {again} already; give the new ones other names")
    numbers = _numbers(found, templates)
    for name, layers in found.items():
        _share_group(name, list(layers.values()), numbers[name], unit_rows=unit_rows)
    return {name: tuple(layers) for name, layers in found.items()}


def shared_groups(model: nn.Module) -> dict[str, SharedGroup]:
    """The groups of a model by name, in the order of their first layers; {} if nothing is shared."""
    groups: dict[int, SharedGroup] = {}
    for name, module in model.named_modules():
        if isinstance(module, SharedLayer):
            groups.setdefault(id(module.bank), SharedGroup(bank=module.bank, layers={})).layers[name] = module
    named: dict[str, SharedGroup] = {}
    for group in groups.values():
        name = group.bank.group
        named[name if name not in named else f"{name} of {next(iter(group.layers))}"] = group
    return named


def settled(
    model: nn.Module, *, templates: int | Mapping[str, int], groups: Mapping[str, Sequence[str]] | None = None
) -> bool:
    """Whether an earlier phase did what `share_` with these arguments would do, and perhaps folded it since.

    Raises:
        InputError: if it did so with another number of templates; or as `share_`.
    """
    there = {name: len(group.bank.templates) for name, group in shared_groups(model).items()}
    names = there.keys() | folded_groups(model)
    left: Collection[str] = _found(model, templates, None) if groups is None else set(groups) - names
    if left or not names:
        return False
    asked = {
        name: templates.get(name) if isinstance(templates, Mapping) else templates
        for name in there
        if groups is None or name in groups
    }
    other = {name: there[name] for name, number in asked.items() if number != there[name]}
    if other and (groups is not None or len(other) == len(there)):
        raise InputError(
            f"the model shares already, with these numbers of templates: {other}; {templates} are asked for. Start "
            "from a model that does not share, or leave templates out and it is trained as it is"
        )
    return True


def folded_groups(model: nn.Module) -> set[str]:
    """The groups whose layers were folded in this process, or in that of a model that this is a copy of."""
    return {group for module in model.modules() if (group := folded_from(module)) is not None}


def holders_of(model: nn.Module) -> Counter[int]:
    """How many modules hold each parameter, by its `id`; a module with several names counts once."""
    slots = {(id(owner), attribute, id(parameter)) for _, owner, attribute, parameter in named_slots(model)}
    return Counter(parameter for _, _, parameter in slots)


def mixing_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The coefficients of shared layers and the factors of scaled ones, by name: what weight decay must leave alone."""
    own: dict[str, nn.Parameter] = {}
    for name, module in model.named_modules():
        if isinstance(module, SharedLayer):
            own[f"{name}.coefficients"] = module.coefficients
        elif isinstance(module, ScaledLayer):
            own[f"{name}.scale"] = module.scale
    return own


def _share_group(name: str, layers: Sequence[nn.Module], number: int, *, unit_rows: bool) -> None:
    weight = layers[0].get_parameter("weight")
    drawn = torch.empty((number, *weight.shape), device=weight.device)
    for template in drawn:
        nn.init.kaiming_normal_(template, mode="fan_in", nonlinearity="relu")
    rows = nn.init.orthogonal_(torch.empty(len(layers), number, device=weight.device))
    if unit_rows:
        rows = nn.functional.normalize(rows, dim=1)
    learned = weight.requires_grad
    bank = TemplateBank(nn.Parameter(drawn.to(weight.dtype), requires_grad=learned), group=name)
    for layer, row in zip(layers, rows, strict=True):
        coefficients = nn.Parameter(row.to(weight.dtype, copy=True), requires_grad=learned)
        make_shared_(layer, bank, coefficients, owner=layer is layers[0])


def _found(
    model: nn.Module, templates: int | Mapping[str, int], groups: Mapping[str, Sequence[str]] | None
) -> dict[str, dict[str, nn.Module]]:
    """Group -> layers that can be shared, by name; {} if there are not enough of any shape."""
    return _by_shape(model, _number(templates)) if groups is None else _named(model, groups)


def _number(templates: object) -> int:
    """k of every group."""
    if isinstance(templates, Mapping):
        raise InputError(f"templates by group need the names of the groups: give `groups` too; got {templates!r}")
    if type(templates) is not int or templates < 1:
        raise InputError(f"templates must be a whole number of at least 1, or one for each group; got {templates!r}")
    return templates


def _by_shape(model: nn.Module, templates: int) -> dict[str, dict[str, nn.Module]]:
    """Groups of all layers of one kind; there are none of fewer than max(2, k) layers."""
    kinds: dict[object, dict[str, nn.Module]] = {}
    for name, layer in _candidates(model).items():
        if isinstance(layer, nn.Module):
            kinds.setdefault(_kind(layer), {})[name] = layer
    groups: dict[str, dict[str, nn.Module]] = {}
    for layers in kinds.values():
        if len(layers) < max(2, templates):
            continue
        first = next(iter(layers.values()))
        name = f"{type(first).__name__.lower()}-{'x'.join(map(str, first.get_parameter('weight').shape))}"
        groups[name if name not in groups else f"{name}-{next(iter(layers))}".replace(".", "-")] = layers
    return groups


def _named(model: nn.Module, groups: Mapping[str, Sequence[str]]) -> dict[str, dict[str, nn.Module]]:
    if not isinstance(groups, Mapping) or not groups:
        raise InputError(
            f"groups maps the name of a group to names of layers, for one group at least; got {groups!r}. Leave it out "
            "to make groups of all layers of one shape"
        )
    candidates = _candidates(model)
    chosen: dict[str, dict[str, nn.Module]] = {}
    owner: dict[str, str] = {}
    for group, patterns in groups.items():
        if isinstance(patterns, str) or not all(isinstance(name, str) for name in patterns):
            raise InputError(f"group {group!r}: give a list of names; got {patterns!r}")
        names: set[str] = set()
        for pattern in patterns:
            matched = [pattern] if pattern in candidates else [n for n in candidates if fnmatchcase(n, pattern)]
            if not matched:
                raise InputError(
                    f"group {group!r}: no Linear or convolution of the model is called {pattern!r}; "
                    f"{_hint(pattern, list(candidates))}"
                )
            names.update(matched)
        layers: dict[str, nn.Module] = {}
        for name, layer in candidates.items():
            if name not in names:
                continue
            if isinstance(layer, str):
                raise InputError(f"group {group!r}: {layer}")
            if (other := owner.setdefault(name, group)) != group:
                raise InputError(f"layer {name!r} is in the groups {other!r} and {group!r}; a layer has one bank")
            layers[name] = layer
        if len(layers) < 2:
            raise InputError(f"group {group!r} has the layers {list(layers)}; at least two can share something")
        if len({_kind(layer) for layer in layers.values()}) > 1:
            shapes = {name: tuple(layer.get_parameter("weight").shape) for name, layer in layers.items()}
            raise InputError(
                f"the layers of group {group!r} must agree in class, shape, dtype, device and requires_grad; got "
                f"{shapes}"
            )
        chosen[group] = layers
    return chosen


def _hint(pattern: str, names: list[str]) -> str:
    """What could have been meant."""
    if close := get_close_matches(pattern, names, n=1):
        return f"did you mean {close[0]!r}?"
    return f"it has {', '.join(names[:5]) or 'none'}{', ...' if len(names) > 5 else ''}"


def _kind(layer: nn.Module) -> object:
    """What layers of one bank have in common."""
    weight = layer.get_parameter("weight")
    return type(layer), weight.shape, weight.dtype, weight.device, weight.requires_grad


def _candidates(model: nn.Module) -> dict[str, nn.Module | str]:
    """All layers with weights that a bank could make, by name: the layer, or why it cannot be shared."""
    holders = holders_of(model)
    found: dict[str, nn.Module | str] = {}
    for name, module in model.named_modules():
        if isinstance(module, SharedLayer | ScaledLayer):
            found[name] = f"{name!r} has a shared weight already"
        elif folded_from(module) is not None:
            found[name] = f"{name!r} was folded, and its weight would be lost; share the layers of a fresh model"
        # Exact types: a subclass may use its weight in another way, as MultiheadAttention does with its out_proj.
        elif type(module) in SHARED:
            weight = module._parameters.get("weight")
            if weight is None:
                found[name] = f"{name!r} computes its weight from other tensors (weight norm, say); remove that first"
            elif holders[id(weight)] > 1:
                found[name] = f"the weight of {name!r} is shared with another module; untie them first"
            else:
                found[name] = module
    return found


def _numbers(found: Mapping[str, Mapping[str, nn.Module]], templates: int | Mapping[str, int]) -> dict[str, int]:
    if isinstance(templates, Mapping) and set(templates) != set(found):
        raise InputError(f"templates by group must name exactly the groups {list(found)}; got {list(templates)}")
    numbers = {name: templates[name] if isinstance(templates, Mapping) else templates for name in found}
    for name, number in numbers.items():
        if type(number) is not int or not 1 <= number <= len(found[name]):
            raise InputError(
                f"group {name!r} of {len(found[name])} layers has from 1 to {len(found[name])} templates; got "
                f"{number!r}. More would be more parameters than without sharing"
            )
    return numbers
