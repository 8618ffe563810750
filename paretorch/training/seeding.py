"""Random streams as pure functions of (seed, labels): no generator state has to be saved to resume a run bitwise.

A stream's seed is the first eight bytes of SHA-256 over the seed and its labels, so that streams of neighbouring seeds
or steps are unrelated.
"""

import hashlib
import random

import numpy as np
import torch


def stream_seed(seed: int, *labels: int | str) -> int:
    """A 63-bit seed for the stream that `labels` name, e.g. `stream_seed(0, "shuffle", 3)`."""
    digest = hashlib.sha256(repr((seed, *labels)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, *labels: int | str) -> torch.Generator:
    """A CPU generator at the start of the named stream."""
    return torch.Generator().manual_seed(stream_seed(seed, *labels))


def seed_global(seed: int, *labels: int | str) -> None:
    """Put the global generators of torch (all devices), numpy and `random` at the start of the named stream."""
    value = stream_seed(seed, *labels)
    if torch.accelerator.is_available():
        torch.manual_seed(value)
    else:  # torch.manual_seed would record a stack trace for every absent device, at every step
        torch.default_generator.manual_seed(value)
    np.random.seed(value % 2**32)  # a user's dataset may draw from the global generator
    random.seed(value)
