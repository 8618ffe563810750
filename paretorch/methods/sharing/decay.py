"""Weight decay leaves coefficients alone: a group of their own in an optimizer.

    decay on templates and everything else, 0 on coefficients and factors

A coefficient that decays pulls a layer's whole weight, and the templates decay already. The authors' instructions
stress it. `parameter_groups` is for loops of your own; the method uses the others around a phase, so that the optimizer
is afterwards that of the plain model, in which coefficients and factors decay: every phase needs the method.

Source: Savarese and Maire, ICLR 2019, the authors' code.
"""

from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.optim import Optimizer

from paretorch.methods.sharing.templates import mixing_parameters

APART = "without_decay_of"  # key of a group that was set apart: the number of the group it comes from


def parameter_groups(model: nn.Module, *, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups for an optimizer: every other parameter with `weight_decay`, coefficients and factors with 0."""
    mixing = list(mixing_parameters(model).values())
    own = {id(parameter) for parameter in mixing}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in own]
    return [{"params": rest, "weight_decay": weight_decay}, {"params": mixing, "weight_decay": 0.0}]


def set_apart_(optimizer: Optimizer, parameters: Iterable[nn.Parameter]) -> None:
    """Move parameters, from each group that holds some, into one without weight decay; all else is as in that group.

    Parameters that the optimizer does not hold stay outside.
    """
    chosen = {id(parameter) for parameter in parameters}
    for number, group in enumerate(list(optimizer.param_groups)):
        if not (own := [parameter for parameter in group["params"] if id(parameter) in chosen]):
            continue
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in chosen]
        settings = {name: value for name, value in group.items() if name != "params"}
        if "weight_decay" in settings:
            settings["weight_decay"] = 0.0
        optimizer.add_param_group({**settings, "params": own, APART: number})


def bring_together_(optimizer: Optimizer) -> None:
    """Undo `set_apart_`: parameters go to the end of the groups that they came from."""
    for group in optimizer.param_groups:
        if APART in group:
            optimizer.param_groups[group[APART]]["params"] += group["params"]
    optimizer.param_groups[:] = [group for group in optimizer.param_groups if APART not in group]


def exchange_(optimizer: Optimizer, before: Iterable[nn.Parameter], model: nn.Module) -> None:
    """Let the optimizer move what the model has now in the place of what it had.

    Args:
        optimizer: parameters that are gone lose their state; new ones join the group that held the first of these, and
            the order in every group becomes the model's, as in an optimizer that is built of the model anew.
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
    for group in groups:
        group["params"].sort(key=lambda parameter: place.get(id(parameter), len(place)))


def _take_out(optimizer: Optimizer, parameters: Iterable[nn.Parameter]) -> None:
    out = {id(parameter) for parameter in parameters}
    for group in optimizer.param_groups:
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in out]
