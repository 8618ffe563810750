"""Find the width groups of any model by one forward pass on tensors without data.

Every entry of every parameter dimension gets a label, torch functions say which labels are equal, and components of
equal labels are the units (`labels`, `trace`, `rules`, `units`). Numbers that follow the widths are found, and cut
models are run without data to see that they fit (`module_sizes`, `checking`). Parameters, MACs and written elements are
then polynomials of the profile (`costs`).

Source: coupled axes as in Fang et al., "DepGraph", CVPR 2023 (section 3), with equal entries of integer arrays in place
of a graph of modules; torch's own functions are followed, so user modules need no rule.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import is_dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass
from torch.utils._pytree import tree_leaves

from paretorch.errors import InputError
from paretorch.measurement.inputs import ExampleInputs, Inputs, as_inputs, check_model
from paretorch.measurement.operators import followed
from paretorch.methods.sparsity.binding import unwrapped
from paretorch.methods.width.groups import WidthGroups
from paretorch.methods.width.tracing.checking import settled
from paretorch.methods.width.tracing.labels import Labels, span
from paretorch.methods.width.tracing.rules import RULES
from paretorch.methods.width.tracing.trace import Trace
from paretorch.methods.width.tracing.units import TensorAxis
from paretorch.methods.width.tracing.without_data import Twin, tensors_in, twin_of


def find_groups(model: nn.Module, inputs: ExampleInputs, *, pins: Iterable[str] = ()) -> WidthGroups:
    """The width groups of a model.

    Args:
        model: left as found; nothing of it is computed, and its hooks run on a copy. Evaluation mode is assumed:
            pin what a module reads that runs in training only. DDP and compiled wrappers are seen through.
        inputs: tensor, tuple of tensors or mapping of keyword tensors, `(batch, ...)` each; only shapes and dtypes of
            the first example matter, and costs are those of one example.
        pins: names of modules or parameters, with * and ? as in a shell, whose output axis is never cut.

    Returns:
        `WidthGroups` in the order of execution; what cannot be cut is in `pinned`, with reasons. Model inputs and
        outputs never are.

    Raises:
        InputError: the model cannot be followed (control flow or shapes that depend on data, axes hidden by in-place
            functions, lazy or sharded parameters, a failing forward), a pin matches nothing, or nothing can be cut.
    """
    if not isinstance(pins, Iterable):
        raise InputError(f"pins are names of modules or parameters, as a sequence of text; got {pins!r}")
    patterns = (pins,) if isinstance(pins, str) else tuple(pins)
    _check(model)
    model = unwrapped(model)
    example = _example(inputs)
    twin = Twin(twin_of(model), example, [])
    trace = Trace(Labels(), RULES)
    axes = [
        TensorAxis(name, span(layer)[0], layer.reshape(-1))
        for name, tensor in (*twin.model.named_parameters(), *twin.model.named_buffers())
        for layer in trace.own(tensor)
    ]
    for tensor in (*example.positional, *example.keywords.values()):
        trace.set(tensor, (), static=False)
    matched = _pin(twin.model, trace, patterns)
    with followed(twin.model, twin.stack):
        output = twin.run(trace)
        trace.labels.where = ""
        outputs = list(_outputs(output))
        if not outputs:
            raise InputError(
                f"the forward pass of {type(model).__name__} returns {type(output).__name__} without a tensor in it; "
                "return tensors, or tuples, lists, mappings or dataclasses of them"
            )
        trace.pin_all(outputs, "it is an output of the model")
        for tensor, reason in matched:
            _pin_parameter(trace, tensor, reason)
        return settled(twin, trace, axes)


def _example(inputs: ExampleInputs) -> Inputs:
    try:
        return as_inputs(inputs).with_batch(1).to(torch.device("meta"))
    except (TypeError, ValueError) as error:
        raise InputError(str(error)) from error


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


def _outputs(value: Any) -> Iterator[Tensor]:
    """Tensors in what a model returns, in the fields of dataclasses too."""
    for leaf in tree_leaves(value):
        if isinstance(leaf, Tensor):
            yield leaf
        elif is_dataclass(leaf):
            yield from _outputs(list(vars(leaf).values()))


def _pin(model: nn.Module, trace: Trace, patterns: tuple[str, ...]) -> list[tuple[Tensor, str]]:
    """Let outputs of the modules that `patterns` match be pinned; returns the parameters that they match."""
    matched: list[tuple[Tensor, str]] = []
    for pattern in patterns:
        modules = [module for name, module in model.named_modules() if fnmatchcase(name, pattern)]
        parameters = [
            each for name, each in model.named_parameters(remove_duplicate=False) if fnmatchcase(name, pattern)
        ]
        if not modules and not parameters:
            raise InputError(
                f"the pin {pattern!r} matches no module and no parameter of {type(model).__name__}; give names as in "
                "model.named_modules(), with * for anything"
            )
        reason = f"pinned by {pattern!r}"
        for module in modules:
            module.register_forward_hook(_pinning(trace, reason))
        matched += [(tensor, reason) for tensor in parameters]
    return matched


def _pinning(trace: Trace, reason: str) -> Callable[[nn.Module, Any, Any], None]:
    def hook(_module: nn.Module, _args: Any, output: Any) -> None:
        trace.labels.where = ""
        trace.pin_all(list(tensors_in(output)), reason)

    return hook


def _pin_parameter(trace: Trace, tensor: Tensor, reason: str) -> None:
    """Its output axis: the one that a layer makes, else the first."""
    made = [role.layer for role in trace.record.roles if role.parameter == id(tensor) and role.producer]
    for layer in made or [layer for layer in trace.layers(tensor) if layer.shape[0] > 1]:
        trace.labels.pin(layer, reason)
