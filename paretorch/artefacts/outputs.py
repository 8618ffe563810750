"""Whether two models give the same outputs on example inputs."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from paretorch.artefacts.weights import same_tensor
from paretorch.errors import InputError
from paretorch.measurement.inputs import ExampleInputs, as_inputs, call, device_of, left_as_found


def require_same_outputs(model: nn.Module, rebuilt: nn.Module, example_inputs: ExampleInputs) -> None:
    """Run both models in evaluation mode, from the same random state, on the first one's device; both are left there.

    Raises:
        InputError: a forward pass fails, or the outputs differ: in any bit on the CPU, beyond the default tolerance of
            `torch.testing.assert_close` elsewhere, where kernels may sum in another order.
    """
    device = device_of(model)
    inputs = as_inputs(example_inputs).to(device)
    rebuilt.to(device)
    outputs = []
    for each, role in ((model, "saved"), (rebuilt, "rebuilt")):
        with left_as_found(each):
            torch.manual_seed(0)
            try:
                outputs.append(call(each, inputs))
            except RuntimeError as error:
                raise InputError(f"the {role} model cannot be called on the example inputs: {error}") from error
    if place := _difference(*outputs, exact=device.type == "cpu", place="output"):
        raise InputError(
            "the model rebuilt from constructor, edits and weights gives other outputs than the saved one, at "
            f"{place}. Something was changed that neither shows in the state dict nor is an edit (an activation, an "
            "epsilon, a stride, a hook?)."
        )


def _difference(a: Any, b: Any, *, exact: bool, place: str) -> str | None:
    """Where two nested outputs differ first, or None."""
    if type(a) is not type(b):
        return f"{place} ({type(a).__name__} against {type(b).__name__})"
    if isinstance(a, Tensor):
        return None if _same(a, b, exact=exact) else place
    if isinstance(a, Mapping):
        a, b = dict(a), dict(b)
        if a.keys() != b.keys():
            return f"{place} (keys {sorted(map(str, a.keys() ^ b.keys()))})"
        pairs = [(f"{place}.{key}", a[key], b[key]) for key in a]
    elif isinstance(a, list | tuple):
        if len(a) != len(b):
            return f"{place} (lengths {len(a)} and {len(b)})"
        pairs = [(f"{place}.{i}", x, y) for i, (x, y) in enumerate(zip(a, b, strict=True))]
    elif a is None or isinstance(a, bool | int | float | str):
        return None if a == b else place
    else:
        raise InputError(
            f"{place} is a {type(a).__name__}, which cannot be compared; leave example_inputs out, or let the model "
            "return tensors, lists, tuples or mappings."
        )
    return next((found for p, x, y in pairs if (found := _difference(x, y, exact=exact, place=p))), None)


def _same(a: Tensor, b: Tensor, *, exact: bool) -> bool:
    if exact or a.shape != b.shape or a.dtype != b.dtype:
        return same_tensor(a, b)
    try:
        torch.testing.assert_close(a, b, equal_nan=True)
    except AssertionError:
        return False
    return True
