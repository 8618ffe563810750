"""Puts new parameters where old ones stood, in a model and in its optimizers, after a cut or a change of form."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from paretorch.errors import InputError


def replace_parameters(
    model: nn.Module,
    optimizers: Iterable[Optimizer],
    mapping: Mapping[str, nn.Parameter],
    state: Mapping[str, Any] | None = None,
) -> None:
    """Replace parameters under all their names, in every group and every state that holds them; in place.

    Args:
        model: the module, not wrapped.
        optimizers: all optimizers that may hold one of the parameters.
        mapping: full parameter name -> new parameter, whose shape may differ.
        state: full parameter name -> optimizer state of the new parameter; a name left out starts with an empty state.

    Raises:
        InputError: if a name is no parameter of the model, or state is given for one that is not replaced.
    """
    present = dict(model.named_parameters(remove_duplicate=False))
    if unknown := set(mapping) - set(present):
        raise InputError(f"cannot replace {sorted(unknown)}: the model has no such parameter")
    if foreign := set(state or {}) - set(mapping):
        raise InputError(f"optimizer state was given for {sorted(foreign)}, which are not being replaced")
    new_of = {present[name]: (name, new) for name, new in mapping.items()}
    for full_name, old in present.items():
        if old in new_of:
            owner, _, attribute = full_name.rpartition(".")
            setattr(model.get_submodule(owner), attribute, new_of[old][1])
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["params"] = [new_of[p][1] if p in new_of else p for p in group["params"]]
        for old, (name, new) in new_of.items():
            if optimizer.state.pop(old, None) is not None and state is not None and name in state:
                optimizer.state[new] = dict(state[name])
