"""Measure what a model costs to hold and to run: size, MACs of one example, latency per batch size.

The model is left exactly as found. What training cost is not in it; the training loop adds that with
`Cost.plus_training`.
"""

import copy
from collections.abc import Sequence
from functools import partial

import torch
from torch import nn

from paretorch.measurement.cost import Cost
from paretorch.measurement.inputs import ExampleInputs, as_inputs, call, check_model, device_of, left_as_found
from paretorch.measurement.latency import Latency, kernel_path_of, latency_of, precision_of
from paretorch.measurement.macs import count_macs
from paretorch.measurement.memory import model_size
from paretorch.measurement.timing import SYSTEM_CLOCK, Clock


def measure(
    model: nn.Module,
    example_inputs: ExampleInputs,
    *,
    batch_sizes: Sequence[int] = (1,),
    threads: int = 1,
    seconds: float = 0.5,
    latency: bool = True,
    device: torch.device | str | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> Cost:
    """Size, MACs and latency of a model, in evaluation mode and without gradients.

    Args:
        model: any module; modes, buffers, random state and torch's thread count are as before afterwards.
        example_inputs: tensor, tuple of tensors or mapping of keyword tensors, `(batch, ...)` each; repeated cyclically
            to every batch size.
        batch_sizes: one latency is measured at each. threads: intra-operator threads. seconds: timed per batch size.
        latency: False counts only, which is exact and takes one forward pass.
        device: where to measure; another device than the model's is reached with a copy. None: the model's own.
        clock: where time is read.

    Returns:
        A `Cost` with params, nonzeros, payload_bytes, metadata_bytes (indices of sparse tensors), MACs, uncounted
        and latency; the training fields are None.

    Raises:
        TypeError: not a module, or inputs of the wrong kind. ValueError: a batch size, thread count or input shape that
        cannot be. RuntimeError: the forward pass failed; the message says how it was called.
    """
    check_model(model)
    inputs = as_inputs(example_inputs)
    for size in batch_sizes:
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ValueError(f"batch_sizes holds whole numbers of at least 1; got {size!r}.")
    place = device_of(model) if device is None else torch.device(device)
    if place.type != device_of(model).type:
        model = copy.deepcopy(model).to(place)
    held = model_size(model)
    macs = count_macs(model, example_inputs)
    entries: list[Latency] = []
    if latency:
        with left_as_found(model):
            for batch in batch_sizes:
                entries.append(
                    latency_of(
                        partial(call, model, inputs.with_batch(batch).to(place)),
                        batch=batch,
                        kernel_path=kernel_path_of(model),
                        precision=precision_of(model, place),
                        seconds=seconds,
                        threads=threads,
                        device=place,
                        clock=clock,
                    )
                )
    return Cost(
        params=held.params,
        nonzeros=held.nonzeros,
        payload_bytes=held.payload_bytes,
        metadata_bytes=held.metadata_bytes,
        macs_dense=macs.dense,
        macs_nonzero=macs.nonzero,
        uncounted=tuple(map(str, macs.uncounted)),
        latency=tuple(entries),
    )
