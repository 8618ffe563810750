"""Weight decay leaves coefficients alone: a group of their own in an optimizer.

    decay on templates and everything else, 0 on coefficients and factors

A coefficient that decays pulls a layer's whole weight, and the templates decay already. The authors' instructions
stress it. `parameter_groups` is for loops of your own; the method uses the others around a phase, so that the optimizer
is afterwards that of the plain model.

Source: Savarese and Maire, ICLR 2019, the authors' code.
"""

from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.optim import Optimizer

from paretorch.methods.sharing.templates import mixing_parameters


def parameter_groups(model: nn.Module, *, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups for an optimizer: every other parameter with `weight_decay`, coefficients and factors with 0."""
    mixing = list(mixing_parameters(model).values())
    own = {id(parameter) for parameter in mixing}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in own]
    return [{"params": rest, "weight_decay": weight_decay}, {"params": mixing, "weight_decay": 0.0}]


def set_apart_(optimizer: Optimizer, parameters: Iterable[nn.Parameter]) -> None:
    """Move parameters into a group of their own without weight decay; everything else is as in the first group."""
    chosen = list(parameters)
    _take_out(optimizer, chosen)
    first = {name: value for name, value in optimizer.param_groups[0].items() if name != "params"}
    if "weight_decay" in first:
        first["weight_decay"] = 0.0
    optimizer.add_param_group({**first, "params": chosen})


def bring_together_(optimizer: Optimizer, parameters: Iterable[nn.Parameter]) -> None:
    """Undo `set_apart_`: the parameters go to the end of the first group, and their group is dissolved."""
    chosen = list(parameters)
    own = {id(parameter) for parameter in chosen}
    optimizer.param_groups[:] = [
        group for group in optimizer.param_groups if not any(id(p) in own for p in group["params"])
    ]
    optimizer.param_groups[0]["params"] += chosen


def exchange_(optimizer: Optimizer, before: Iterable[nn.Parameter], model: nn.Module) -> None:
    """Let the optimizer move what the model has now in the place of what it had.

    Args:
        optimizer: parameters that are gone lose their state; new ones join the group that held the first of these, and
            with one group alone the order becomes the model's.
        before: all parameters of the model before it was changed.
        model: as it is now.
    """
    place = {id(parameter): number for number, parameter in enumerate(model.parameters())}
    was = {id(parameter): parameter for parameter in before}
    gone = [parameter for key, parameter in was.items() if key not in place]
    stale = {id(parameter) for parameter in gone}
    groups = optimizer.param_groups
    home = next((group for group in groups if any(id(p) in stale for p in group["params"])), groups[0])
    _take_out(optimizer, gone)
    for parameter in gone:
        optimizer.state.pop(parameter, None)
    home["params"] += [parameter for parameter in model.parameters() if id(parameter) not in was]
    if len(groups) == 1:
        home["params"].sort(key=lambda parameter: place.get(id(parameter), len(place)))


def _take_out(optimizer: Optimizer, parameters: Iterable[nn.Parameter]) -> None:
    out = {id(parameter) for parameter in parameters}
    for group in optimizer.param_groups:
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in out]
