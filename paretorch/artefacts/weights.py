"""The tensors of a model by name: taken out, compared with another model's, and put into one, strictly.

Strictly means: the same names, shapes, ties between names, and constant buffers; nothing is skipped, cast or filled up.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from paretorch.artefacts.tree import identity
from paretorch.errors import InputError


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """The state dict, detached and sharing memory with the model.

    Raises:
        InputError: it holds something that is no tensor (a module's extra state).
    """
    state = dict(model.state_dict())
    foreign = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if foreign:
        raise InputError(f"the state dict holds values that are no tensors and cannot be stored: {foreign}.")
    return state


def differences(weights: Mapping[str, Tensor], model: nn.Module) -> str | None:
    """Why the weights cannot be those of `model`, by names, shapes and ties, or None. Values are not compared."""
    expected = weights_of(model)
    problems = []
    if missing := sorted(expected.keys() - weights.keys()):
        problems.append(f"missing {_listed(missing)}")
    if extra := sorted(weights.keys() - expected.keys()):
        problems.append(f"not in the model: {_listed(extra)}")
    for name in sorted(weights.keys() & expected.keys()):
        if weights[name].shape != expected[name].shape:
            problems.append(f"{name} is {tuple(weights[name].shape)}, the model's {tuple(expected[name].shape)}")
    if not problems and (untied := ties(weights) ^ ties(expected)):
        problems.append(f"tied on one side only: {_listed(sorted(' = '.join(sorted(group)) for group in untied))}")
    return "; ".join(problems) or None


def ties(weights: Mapping[str, Tensor]) -> set[frozenset[str]]:
    """The groups of two or more names that stand for one tensor."""
    groups: dict[tuple[Any, ...], set[str]] = {}
    for name, tensor in weights.items():
        groups.setdefault(identity(tensor), set()).add(name)
    return {frozenset(names) for names in groups.values() if len(names) > 1}


def differing_constants(model: nn.Module, other: nn.Module) -> list[str]:
    """Names of the buffers outside the state dict (masks, frequencies, ...) that the two models do not have in common.

    These are not stored: the constructor makes them, so they must already be what it makes.
    """
    mine, theirs = _constants(model), _constants(other)
    common = mine.keys() & theirs.keys()
    return sorted(
        (mine.keys() ^ theirs.keys()) | {name for name in common if not same_tensor(mine[name], theirs[name])}
    )


def same_tensor(a: Tensor, b: Tensor) -> bool:
    """Equal dtype, shape and values, a NaN being equal to a NaN."""
    if (a.dtype, a.shape) != (b.dtype, b.shape):
        return False
    b = b.to(a.device)
    return bool(((a == b) | ((a != a) & (b != b))).all())  # only NaN differs from itself


def load_weights_(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy the weights into the model, which takes over their dtypes; names and shapes must fit (see `differences`)."""
    for name, slot in model.state_dict(keep_vars=True).items():
        if slot.dtype != weights[name].dtype:
            slot.data = slot.data.to(weights[name].dtype)  # in place, so that tied names stay tied
    model.load_state_dict(dict(weights), strict=True)


def _constants(model: nn.Module) -> dict[str, Tensor]:
    stored = model.state_dict().keys()
    return {name: buffer for name, buffer in model.named_buffers(remove_duplicate=False) if name not in stored}


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
