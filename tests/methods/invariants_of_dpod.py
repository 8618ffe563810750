"""Checks of what the card of progressive shrinking promises, on a perceptron whose groups are written by hand."""

from functools import cache

import torch
from torch import Tensor

from tests.methods.invariants import invariant
from tests.methods.width.test_dpod import GROUPS, Watched, watched


@cache
def run() -> Watched:
    """One short training with several events, watched."""
    return watched()


@invariant("dpod", "each event narrows exactly one group, and the footprint falls strictly")
def one_group_and_less() -> None:
    pairs = run().pairs
    assert len(pairs) > 3
    for before, after in pairs:
        assert sum(a != b for a, b in zip(before["centre"], after["centre"], strict=True)) == 1
        assert GROUPS.num_params(after["centre"]) < GROUPS.num_params(before["centre"])


@invariant("dpod", "the cut model computes what the centre's prefix computed before the event")
def cut_is_prefix() -> None:
    for before, after in run().pairs:
        torch.testing.assert_close(after["output"], before["prefix"], rtol=1e-12, atol=1e-12)


@invariant("dpod", "optimizer state of the units that stay is kept bit for bit")
def state_is_sliced() -> None:
    compared = 0
    for before, after in run().pairs:
        for name, state in after["state"].items():
            for key, value in state.items():
                if isinstance(value, Tensor) and value.dim():
                    region = tuple(slice(0, size) for size in value.shape)
                    assert torch.equal(value, before["state"][name][key][region])
                    compared += 1
    assert compared > 20
