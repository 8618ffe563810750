"""Find the width groups of any model by one forward pass on tensors without data.

Every entry of every parameter dimension gets a label, torch functions say which labels are equal, and components of
equal labels are the units (`labels`, `trace`, `rules`, `units`). Numbers that follow the widths are found, and cut models
are run without data to see that they fit (`module_sizes`, `checking`). Parameters, MACs and written elements are then
polynomials of the profile (`costs`).

Source: coupled axes as in Fang et al., "DepGraph", CVPR 2023 (section 3), with equal entries of integer arrays in place
of a graph of modules; torch's own functions are followed, so user modules need no rule.
"""

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from paretorch.errors import InputError
from paretorch.measurement.inputs import ExampleInputs, as_inputs, check_model
from paretorch.methods.width.checking import settled
from paretorch.methods.width.groups import WidthGroups
from paretorch.methods.width.labels import Labels
from paretorch.methods.width.rules import RULES
from paretorch.methods.width.trace import Trace
from paretorch.methods.width.units import TensorAxis
from paretorch.methods.width.without_data import forward, tensors_in, twin_of


def find_groups(model: nn.Module, inputs: ExampleInputs, *, pins: Iterable[str] = ()) -> WidthGroups:
    """The width groups of a model.

    Args:
        model: left as found; nothing of it is computed. Evaluation mode is assumed.
        inputs: tensor, tuple of tensors or mapping of keyword tensors, `(batch, ...)` each; only shapes and dtypes of
            the first example matter, and costs are those of one example.
        pins: names of modules or parameters, with * and ? as in a shell, whose output axis is never cut.

    Returns:
        `WidthGroups` in the order of execution; what cannot be cut is in `pinned`, with reasons. Model inputs and
        outputs never are.

    Raises:
        InputError: the model cannot be followed (control flow or shapes that depend on data, axes hidden by in-place
            functions, lazy or sharded parameters, a failing forward pass), a pin matches nothing, or nothing can be cut.
    """
    patterns = tuple(pins)
    _check(model)
    example = as_inputs(inputs).with_batch(1).to(torch.device("meta"))
    twin = twin_of(model)
    labels = Labels()
    trace = Trace(labels, RULES)
    axes = []
    for name, tensor in (*twin.named_parameters(), *twin.named_buffers()):
        axes += [
            TensorAxis(name, dim, layer.reshape(-1))
            for layer in trace.own(tensor)
            for dim in [next(d for d, size in enumerate(layer.shape) if size > 1)]
        ]
    for tensor in (*example.positional, *example.keywords.values()):
        trace.set(tensor, (), static=False)
    _pin(twin, trace, patterns)
    output = forward(twin, example, trace)
    outputs = list(tensors_in(list(torch.utils._pytree.tree_leaves(output))))
    if not outputs:
        raise InputError(
            f"the forward pass of {type(model).__name__} returns {type(output).__name__} without a tensor in it; return "
            "tensors, or tuples, lists or mappings of them"
        )
    labels.where = ""
    trace.pin_all(outputs, "it is an output of the model")
    return settled(twin, example, trace, axes)


def _check(model: nn.Module) -> None:
    try:
        check_model(model)
    except (TypeError, ValueError) as error:
        raise InputError(str(error)) from error
    for name, parameter in model.named_parameters():
        if is_traceable_wrapper_subclass(parameter) or type(parameter).__name__ == "FlatParameter":
            raise InputError(
                f"parameter {name!r} is a {type(parameter).__name__}, sharded or packed; groups are found in the plain "
                "model, before it is wrapped"
            )


def _pin(twin: nn.Module, trace: Trace, patterns: tuple[str, ...]) -> None:
    """Let outputs of the modules and the parameters that `patterns` match be pinned."""
    for pattern in patterns:
        modules = [module for name, module in twin.named_modules() if fnmatchcase(name, pattern)]
        parameters = [tensor for name, tensor in twin.named_parameters() if fnmatchcase(name, pattern)]
        if not modules and not parameters:
            raise InputError(
                f"the pin {pattern!r} matches no module and no parameter of {type(twin).__name__}; give names as in "
                "model.named_modules(), with * for anything"
            )
        reason = f"pinned by {pattern!r}"
        for module in modules:
            module.register_forward_hook(_pinning(trace, reason))
        for tensor in parameters:
            for layer in trace.layers(tensor):
                if layer.shape[0] > 1:
                    trace.labels.pin(layer, reason)


def _pinning(trace: Trace, reason: str) -> Callable[[nn.Module, Any, Any], None]:
    def hook(_module: nn.Module, _args: Any, output: Any) -> None:
        trace.labels.where = ""
        trace.pin_all(list(tensors_in(output)), reason)

    return hook
