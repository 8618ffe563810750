"""Remove channels between two layers for good: smaller tensors and fewer products, in a plain module.

    producer  (C, ...) -> norms (C) -> elementwise, pooling, flatten -> consumer (..., C * m)
    producer.weight := producer.weight[keep]                  bias and norms likewise
    consumer.weight := consumer.weight[:, keep_m]             keep_m = {c * m + j : c in keep, 0 <= j < m}

m is 1 but for a Linear behind a flattened feature map, where each channel owns m = in_features / C neighbouring inputs.
The result computes what the uncut model computes with the removed channels set to zero (weight, bias and the norms'
affine parameters), provided that what stands between the two layers maps 0 to 0 (ReLU, GELU, SiLU, tanh and pooling do,
sigmoid does not) and that nothing else reads the producer's outputs: a residual connection would, and its two ends must
be cut together. Group and layer norms do not qualify: they mix channels, so a removed channel changes the others.

A trainer replaces parameters by itself, to take optimizer state along::

    cut = plan_cut(run.model, producer="fc1", consumer="fc2", keep=(0, 2))
    moved = {name: part.slice_state(run.optimizer.state[part.old]) for name, part in cut.parameters.items()}
    run.replace_parameters({name: part.new for name, part in cut.parameters.items()}, moved)
    cut.resize_()
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from paretorch.errors import InputError
from paretorch.methods.sparsity.binding import named_slots, unwrapped
from paretorch.methods.sparsity.zeroing import is_sharded

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TENSORS = frozenset({"weight", "bias", "running_mean", "running_var", "num_batches_tracked"})
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


@dataclass(frozen=True)
class CutParameter:
    """A parameter before and after the cut: `new = old[index]` along dimension `dim` (index int64, increasing)."""

    old: nn.Parameter
    new: nn.Parameter
    dim: int
    index: Tensor

    def slice_state(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Optimizer state of the old parameter, cut like it: momentum and moments sliced, counters as they are.

        Args:
            state: `optimizer.state[part.old]`; may be empty.

        Raises:
            InputError: a tensor has neither the parameter's shape nor 0 dimensions, so that it is unknown which of its
                entries belong to the kept channels.
        """
        return {key: self._sliced(key, value) for key, value in state.items()}

    def _sliced(self, key: str, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if value.shape == self.old.shape:
            return value.index_select(self.dim, self.index.to(value.device))
        if value.dim() == 0:
            return value.clone()
        raise InputError(
            f"optimizer state {key!r} has shape {tuple(value.shape)}, its parameter {tuple(self.old.shape)}; it is not "
            "known how to cut it. Leave the parameter out of the state, and it starts with an empty one."
        )


@dataclass(frozen=True)
class Cut:
    """A cut that is worked out and not yet made.

    Attributes:
        parameters: full parameter name -> before and after.
        buffers: (module, name, new buffer) of the norms' running statistics.
        sizes: (module, attribute, new value) of in_features, out_channels and the like.
    """

    parameters: dict[str, CutParameter]
    buffers: list[tuple[nn.Module, str, Tensor]]
    sizes: list[tuple[nn.Module, str, int]]
    owners: dict[str, nn.Module]

    def replace_parameters_(self) -> None:
        """Put the new parameters in the place of the old ones. Gradients are not carried over."""
        for name, part in self.parameters.items():
            setattr(self.owners[name], name.rpartition(".")[2], part.new)

    def resize_(self) -> None:
        """Put the new buffers and sizes in place: the half of the cut that no optimizer knows of."""
        for module, name, buffer in self.buffers:
            setattr(module, name, buffer)
        for module, attribute, value in self.sizes:
            setattr(module, attribute, value)

    def apply_(self) -> None:
        """Make the whole cut."""
        self.replace_parameters_()
        self.resize_()


def plan_cut(model: nn.Module, *, producer: str, consumer: str, keep: Sequence[int], norms: Sequence[str] = ()) -> Cut:
    """Work out how to cut the channels between two layers; the model is not changed.

    Args:
        model: holds the layers; DDP and compiled wrappers are seen through.
        producer: name of a Linear or Conv1-3d whose outputs are cut.
        consumer: name of the layer that reads them: Linear after Linear, Conv or Linear after Conv.
        keep: the channels that stay, increasing, from 0.
        norms: names of the BatchNorm layers between the two, all of them.

    Raises:
        InputError: a name is no module, a layer is of a kind or shape that cannot be cut so, a parameter is shared with
            another layer, or `keep` does not fit.
    """
    inner = unwrapped(model)
    source, target = _module(inner, producer, "producer"), _module(inner, consumer, "consumer")
    channels = _channels(source, producer)
    per_channel = _inputs_per_channel(source, target, channels=channels, names=(producer, consumer))
    kept = channel_numbers(keep)
    if kept[-1] >= channels:
        raise InputError(f"keep has channel {kept[-1]}, but {producer!r} makes {channels} (counted from 0).")
    index = torch.tensor(kept, dtype=torch.int64)
    spread = (index[:, None] * per_channel + torch.arange(per_channel)).flatten()

    plan = _Planner(inner)
    plan.slice(producer, source, dim=0, index=index)
    for name in norms:
        norm = _module(inner, name, "norm")
        _check_norm(norm, name, channels, producer)
        plan.slice(name, norm, dim=0, index=index)
        plan.cut.sizes.append((norm, "num_features", len(index)))
    plan.slice(consumer, target, dim=1, index=spread, only=("weight",))
    plan.cut.sizes.append((source, "out_features" if isinstance(source, nn.Linear) else "out_channels", len(index)))
    plan.cut.sizes.append((target, "in_features" if isinstance(target, nn.Linear) else "in_channels", len(spread)))
    return plan.cut


class _Planner:
    """Collects the slices of one cut."""

    def __init__(self, model: nn.Module) -> None:
        self.cut = Cut({}, [], [], {})
        self._uses = Counter(id(parameter) for _, _, _, parameter in named_slots(model))

    def slice(
        self, name: str, module: nn.Module, *, dim: int, index: Tensor, only: tuple[str, ...] = ("weight", "bias")
    ) -> None:
        """Slice the module's parameters, and a norm's running statistics."""
        foreign = {*module._parameters, *module._buffers} - TENSORS
        if foreign:
            raise InputError(
                f"{name!r} holds {sorted(foreign)} beside the tensors of a {type(module).__name__} (weight norm or "
                "pruning by torch.nn.utils, say); how to cut those is not known. Remove them first."
            )
        for attribute in only:
            full = f"{name}.{attribute}"
            if attribute not in module._parameters:
                raise InputError(
                    f"{full} is not a plain parameter; remove what computes it from others first (weight norm or "
                    "another parametrization)."
                )
            old = module._parameters[attribute]
            if old is not None:
                self._check_parameter(full, old)
                where = index.to(old.device)
                new = nn.Parameter(old.detach().index_select(dim, where), requires_grad=old.requires_grad)
                self.cut.parameters[full] = CutParameter(old, new, dim, where)
                self.cut.owners[full] = module
        for attribute, buffer in module._buffers.items():
            if buffer is not None and buffer.dim():  # num_batches_tracked is 0-d
                self.cut.buffers.append((module, attribute, buffer.index_select(0, index.to(buffer.device))))

    def _check_parameter(self, full: str, parameter: nn.Parameter) -> None:
        if full in self.cut.parameters:
            raise InputError(f"{full} would be cut twice; producer, norms and consumer must be different layers.")
        if self._uses[id(parameter)] > 1:
            raise InputError(f"{full} is shared with another layer, which the cut would break; untie them first.")
        if is_sharded(parameter):
            raise InputError(f"{full} is sharded over several processes; cut the model before it is sharded.")


def _module(model: nn.Module, name: str, role: str) -> nn.Module:
    modules = dict(model.named_modules(remove_duplicate=False))
    if name not in modules or not name:
        close = get_close_matches(name, modules, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise InputError(f"the {role} {name!r} is no module of {type(model).__name__}{hint}")
    module = modules[name]
    if any(is_lazy(parameter) for parameter in module.parameters(recurse=False)):
        raise InputError(f"the {role} {name!r} has no shapes yet; run one forward pass first")
    return module


def _channels(producer: Any, name: str) -> int:
    """How many channels the producer makes."""
    # Exact types: a subclass may hold more tensors of the same size, or use them in another way.
    if type(producer) is nn.Linear:
        return producer.out_features
    if type(producer) in CONVOLUTIONS:
        _check_groups(producer, name, "producer")
        return int(producer.out_channels)
    raise InputError(
        f"the producer {name!r} is a {type(producer).__name__}; only Linear, Conv1d, Conv2d and Conv3d can be cut."
    )


def _inputs_per_channel(producer: Any, consumer: Any, *, channels: int, names: tuple[str, str]) -> int:
    """How many neighbouring inputs of the consumer one channel of the producer feeds."""
    source, target = names
    if type(consumer) in CONVOLUTIONS and type(producer) in CONVOLUTIONS:
        _check_groups(consumer, target, "consumer")
        inputs = int(consumer.in_channels)
    elif type(consumer) is nn.Linear:
        inputs = consumer.in_features
    else:
        raise InputError(
            f"the consumer {target!r} is a {type(consumer).__name__} behind the {type(producer).__name__} {source!r}; "
            "possible pairs are Linear to Linear, convolution to convolution and convolution to Linear."
        )
    flattened = type(producer) in CONVOLUTIONS and type(consumer) is nn.Linear
    if inputs % channels or (inputs != channels and not flattened):
        raise InputError(
            f"{source!r} makes {channels} channels and {target!r} reads {inputs}: one cannot feed the other"
            + (" through a flatten." if flattened else ".")
        )
    return inputs // channels


def _check_groups(convolution: Any, name: str, role: str) -> None:
    if convolution.groups != 1:
        raise InputError(
            f"the {role} {name!r} has groups={convolution.groups}: removing a channel would make its groups unequal. "
            "Grouped and depthwise convolutions are not cut; choose a pair without one between or at its ends."
        )


def _check_norm(norm: Any, name: str, channels: int, producer: str) -> None:
    if isinstance(norm, nn.GroupNorm | nn.LayerNorm | nn.LocalResponseNorm):
        raise InputError(
            f"the norm {name!r} is a {type(norm).__name__}: its mean and variance run over several channels, so "
            "removing one changes all others, and the cut model is no longer the pruned one. Cut elsewhere, or use "
            "BatchNorm."
        )
    if type(norm) not in NORMS:
        raise InputError(f"the norm {name!r} is a {type(norm).__name__}; expected a BatchNorm1d, 2d or 3d.")
    if norm.num_features != channels:
        raise InputError(
            f"the norm {name!r} has {norm.num_features} features and {producer!r} makes {channels} channels; it does "
            "not stand behind it."
        )


def channel_numbers(keep: Sequence[int]) -> tuple[int, ...]:
    """`keep` as a tuple, if it is one or more channel numbers in increasing order; InputError if not."""
    numbers = tuple(keep) if isinstance(keep, Sequence) else (keep,)
    shown = f"({', '.join(map(repr, numbers[:8]))}{', ...' if len(numbers) > 8 else ''})"
    if not numbers:
        raise InputError("keep is empty; a layer needs at least one channel. To remove a layer, build the model anew.")
    if not isinstance(keep, Sequence) or not all(type(channel) is int and channel >= 0 for channel in numbers):
        raise InputError(f"keep must be a sequence of channel numbers from 0, as Python integers; got {shown}.")
    if any(later <= earlier for earlier, later in pairwise(numbers)):
        raise InputError(f"keep must increase without repeats; got {shown}. Sort it.")
    return numbers
