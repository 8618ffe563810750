"""What a compressed model costs: exact counts, training summed over phases, latency measured beside the dense model.

Phases run one after the other in the ledger, except those whose lines have the same "beside": they need not wait for
one another, as the copies of a soup. The longest path of a run is

    T = sum of seconds of all other phases + sum over groups of the most seconds of a phase in the group

which is what it would take with as many processes as copies, if they did not slow one another down. It comes from each
phase's own seconds. Tuning trials are taken one after the other.

Latency is timed for the first seed of every arm, interleaved with the dense model in one process, because two separate
timings on one machine drift apart by more than most effects.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from paretorch.measurement.cost import Cost
from paretorch.measurement.inputs import as_inputs, call
from paretorch.measurement.measure import measure
from paretorch.measurement.paths import latency_ratios

BATCH_SIZES = (1, 64)
ROUNDS = 9
SECONDS_PER_ROUND = 0.02


def price(model: nn.Module, entries: Sequence[Mapping[str, Any]], inputs: tuple[Tensor, ...], *, latency: bool) -> Cost:
    """Size and MACs of `model`, with the samples, teacher passes, steps and seconds that all `entries` together took.

    Args:
        model: on the CPU.
        entries: ledger lines of all phases, dense training and discarded trials included.
        inputs: of one example.
        latency: also time the model.
    """
    cost = measure(model, inputs, batch_sizes=BATCH_SIZES, seconds=0.1, latency=latency)
    trained = [entry for entry in entries if "samples" in entry]
    return replace(
        cost,
        samples=sum(entry["samples"] for entry in trained),
        teacher_samples=sum(entry.get("teacher_samples", 0) for entry in trained),
        steps=sum(entry["steps"] for entry in trained),
        seconds=math.fsum(entry["seconds"] for entry in entries if "seconds" in entry),
        longest_path_s=longest_path_s(entries),
    )


def longest_path_s(entries: Sequence[Mapping[str, Any]]) -> float:
    """Seconds of the longest chain of phases that wait for one another; see `longest_chain`."""
    return math.fsum(entry.get("seconds", 0.0) for entry in longest_chain(entries, "seconds"))


def longest_chain(entries: Sequence[Mapping[str, Any]], amount: str) -> list[Mapping[str, Any]]:
    """The phases that wait for one another, and of each group that does not the one with the largest amount.

    Args:
        entries: ledger lines of all phases; those with the same "beside" are a group.
        amount: key of the lines; one that lacks it has 0.
    """
    chain = [entry for entry in entries if entry.get("beside") is None]
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for entry in entries:
        if (group := entry.get("beside")) is not None:
            groups.setdefault(group, []).append(entry)
    return chain + [max(group, key=lambda entry: float(entry.get(amount, 0))) for group in groups.values()]


def compare_latency(dense: nn.Module, model: nn.Module, inputs: tuple[Tensor, ...]) -> dict[str, Any]:
    """A ledger line with the measured speed-ups of `model`, eager and on one thread, per batch size.

    Each is given over eager fp32 and, under `best_dense`, over the machine's best dense fp32 path, which it names.
    """
    found = []
    for batch in BATCH_SIZES:
        repeated = as_inputs(inputs).with_batch(batch)
        with torch.inference_mode():
            ratios = latency_ratios(
                dense,
                partial(call, model, repeated),
                repeated.positional,
                rounds=ROUNDS,
                min_seconds=SECONDS_PER_ROUND,
                threads=1,
            )
        best = {"path": ratios.best_dense, **asdict(ratios.vs_best_dense)}
        found.append({"batch": batch, **asdict(ratios.vs_eager), "best_dense": best})
    return {"phase": "measure", "kind": "measure", "speedups": found}
