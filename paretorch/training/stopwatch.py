"""Seconds of a phase by what they were spent on: training steps one by one, evaluations, checkpoints.

On an accelerator a step's time is that of its launch, except where the loss is read; the sum over many steps is right,
single ones are not.
"""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


class Stopwatch:
    """What a phase took.

    Attributes:
        seconds: of training, summed over resumptions; evaluation and checkpoints are not in it.
        overhead: "evaluation_s" and "checkpoint_s" between steps, summed over resumptions.
        steps: seconds of each of the last steps, 1,000 of them.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.overhead = {"evaluation_s": 0.0, "checkpoint_s": 0.0}
        self.steps: deque[float] = deque(maxlen=1000)

    @contextmanager
    def step(self) -> Iterator[None]:
        """Times one training step."""
        began = time.perf_counter()
        yield
        self.steps.append(time.perf_counter() - began)
        self.seconds += self.steps[-1]

    @contextmanager
    def aside(self, what: str) -> Iterator[None]:
        """Times something that is not training: "evaluation_s" or "checkpoint_s"."""
        began = time.perf_counter()
        yield
        self.overhead[what] += time.perf_counter() - began

    def step_time(self) -> dict[str, Any]:
        """ "p10_s", "p50_s", "p90_s" and "n" of `steps`, those before a resumption included; {} if there are none."""
        if not self.steps:
            return {}
        p10, p50, p90 = map(float, np.quantile(self.steps, (0.1, 0.5, 0.9)))  # linear between steps, as in `Timing`
        return {"p10_s": p10, "p50_s": p50, "p90_s": p90, "n": len(self.steps)}

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"seconds": self.seconds, "overhead": dict(self.overhead), "steps": list(self.steps)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what a checkpoint kept."""
        self.seconds, self.overhead = state["seconds"], dict(state["overhead"])
        self.steps.extend(state["steps"])
