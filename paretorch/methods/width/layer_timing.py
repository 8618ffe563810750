"""Measure a latency table: every layer alone at every size that the grids allow, and the whole model once.

Timed are linear layers, convolutions and batch norms, as modules of the same kind with random weights, on inputs of the
shape that the layer sees in the model. Equal calls are measured once.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.measurement.environment import cpu_model
from paretorch.measurement.inputs import ExampleInputs, as_inputs, call, check_model, device_of, left_as_found
from paretorch.measurement.latency import device_name, precision_of, synchronizer
from paretorch.measurement.timing import SYSTEM_CLOCK, Clock, time_calls
from paretorch.methods.width.groups import Count, WidthGroups
from paretorch.methods.width.latency import Dims, LatencyTable, TimedLayer, grid_of_dims
from paretorch.methods.width.latency_cells import Cell, cell_of

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
TIMED = (nn.Linear, *CONVOLUTIONS, *BATCH_NORMS)
MIN_RUNS = 30


def measure_latency_table(
    model: nn.Module,
    groups: WidthGroups,
    inputs: ExampleInputs,
    *,
    grids: Mapping[str, Sequence[int]],
    threads: int = 1,
    runs: int = MIN_RUNS,
    clock: Clock = SYSTEM_CLOCK,
) -> LatencyTable:
    """Time the layers of a model at the widths of the grids.

    Args:
        model: uncut; left as found.
        groups: its width groups.
        inputs: tensor, tuple of tensors or mapping of keyword tensors, `(batch, ...)`, at the batch size to time.
        grids: group name -> widths to measure; the full width is always measured, a group left out is not narrowed. A
            layer between two groups is timed at all pairs of their widths.
        threads: intra-operator threads; with more than one on a shared machine times are seldom to be trusted.
        runs: of each size, at least 30.
        clock: where time is read.

    Returns:
        The table; `certified` says whether the machine was quiet enough, `warnings` why not.

    Raises:
        InputError: for fewer runs, an unknown group, or a width out of range; or if no layer can be timed.
        TypeError, ValueError, RuntimeError: as `paretorch.measurement.measure` for model and inputs.
    """
    if runs < MIN_RUNS:
        raise InputError(f"a minimum over fewer than {MIN_RUNS} runs says little; got runs={runs}")
    widths = _checked(groups, grids)
    check_model(model)
    batch = as_inputs(inputs).to(device_of(model))
    time = partial(_cell, threads=threads, runs=runs, clock=clock, synchronize=synchronizer(device_of(model)))
    with left_as_found(model):
        calls = _calls(model, lambda: call(model, batch))
        if not calls:
            raise InputError("the model calls no linear layer, convolution or batch norm; there is nothing to time")
        layers, cells = [], dict[str, dict[Dims, Cell]]()
        sizes = {(size.module, size.attribute): size.count for size in groups.sizes}
        for name, module, shape in calls:
            layer = _timed_layer(name, module, shape, sizes)
            layers.append(layer)
            known = cells.setdefault(layer.kind, {})
            for dims in grid_of_dims(layer, widths):
                if dims not in known:
                    known[dims] = time(_call_at(module, shape, dims))
        whole = time(partial(call, model, batch))
    return LatencyTable(
        machine={
            "cpu": cpu_model(),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "device": device_name(device_of(model)),
            "torch": str(torch.__version__),
            "threads": threads,
            "precision": precision_of(model),
        },
        names=groups.names,
        full=groups.full,
        layers=tuple(layers),
        cells=cells,
        model=whole,
        left_out=tuple(
            name
            for name, module in model.named_modules()
            if next(module.parameters(recurse=False), None) is not None and type(module) not in TIMED
        ),
    )


def _checked(groups: WidthGroups, grids: Mapping[str, Sequence[int]]) -> list[tuple[int, ...]]:
    """The widths to measure of every group, the full one among them."""
    for name, grid in grids.items():
        for width in grid:
            groups.profile({name: width})
    return [tuple(sorted({*grids.get(g.name, ()), g.size})) for g in groups.groups]


def _calls(model: nn.Module, run: Any) -> list[tuple[str, nn.Module, tuple[int, ...]]]:
    """Module name, module and input shape of every call of a timed layer in one forward pass."""
    calls: list[tuple[str, nn.Module, tuple[int, ...]]] = []

    def note(name: str, module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
        seen = args[0] if args else next(iter(kwargs.values()))
        calls.append((name, module, tuple(seen.shape)))

    handles = [
        module.register_forward_pre_hook(
            lambda module, args, kwargs, name=name: note(name, module, args, kwargs), with_kwargs=True
        )
        for name, module in model.named_modules()
        if type(module) in TIMED
    ]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _timed_layer(
    name: str, module: nn.Module, shape: tuple[int, ...], sizes: Mapping[tuple[str, str], Count]
) -> TimedLayer:
    """The layer with its sizes as functions of the profile."""

    def count(attribute: str) -> Count:
        return sizes.get((name, attribute), Count(int(getattr(module, attribute))))

    dtype = str(next((p.dtype for p in module.parameters()), torch.float32)).removeprefix("torch.")
    rest = "x".join(str(n) for i, n in enumerate(shape) if i != _channel_dim(module, shape))
    kind = f"{type(module).__name__} {dtype} {rest}"
    if isinstance(module, nn.Linear):
        kind += "" if module.bias is not None else " no bias"
        return TimedLayer(name, kind, count("in_features"), count("out_features"), Count(1))
    if isinstance(module, CONVOLUTIONS):
        shown = {"kernel": module.kernel_size, "stride": module.stride, "padding": module.padding}
        shown |= {"dilation": module.dilation, "mode": module.padding_mode}
        kind += "".join(f" {k} {v if isinstance(v, str) else 'x'.join(map(str, v))}" for k, v in shown.items())
        kind += "" if module.bias is not None else " no bias"
        return TimedLayer(name, kind, count("in_channels"), count("out_channels"), count("groups"))
    channels = count("num_features")
    kind += "" if module.affine else " no affine"
    return TimedLayer(name, kind, channels, channels, Count(1))


def _channel_dim(module: nn.Module, shape: tuple[int, ...]) -> int:
    return len(shape) - 1 if isinstance(module, nn.Linear) else 1


def _call_at(module: nn.Module, shape: tuple[int, ...], dims: Dims) -> Any:
    """A call of a module of the same kind at other sizes."""
    inputs, outputs, groups = dims
    like = next(iter((*module.parameters(), *module.buffers())), torch.empty(0))
    where: dict[str, Any] = {"device": like.device, "dtype": like.dtype if like.is_floating_point() else None}
    made: Any
    if isinstance(module, nn.Linear):
        made = nn.Linear(inputs, outputs, bias=module.bias is not None, **where)
    elif isinstance(module, CONVOLUTIONS):
        settings: dict[str, Any] = {
            key: getattr(module, key) for key in ("kernel_size", "stride", "padding", "dilation", "padding_mode")
        }
        build: Any = type(module)
        made = build(inputs, outputs, groups=groups, bias=module.bias is not None, **settings, **where)
    else:
        build = type(module)
        settings = {key: getattr(module, key) for key in ("eps", "momentum", "affine", "track_running_stats")}
        made = build(inputs, **settings, **where)
    channel = _channel_dim(module, shape)
    given = torch.randn([inputs if i == channel else n for i, n in enumerate(shape)], **where)
    return partial(made.eval(), given)


def _cell(run: Any, *, threads: int, runs: int, clock: Clock, synchronize: Any) -> Cell:
    timing = time_calls(run, seconds=0.0, min_calls=runs, threads=threads, synchronize=synchronize, clock=clock)
    return cell_of(timing.samples_s)
