"""Seconds of a training step of several recipes, timed in turns so that all of them see the same machine.

Whole training steps run, with data, loss, backward pass, methods and optimizer. In every round each recipe makes
`STEPS` of them, and every second round goes in reverse order; the first round only warms up. On one machine identical
loops that are timed one after the other may differ severalfold.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from paretorch.methods.method import Method
from paretorch.training.trainer import Trainer

ROUNDS = 12
STEPS = 10

Rehearsed = tuple[Trainer, nn.Module, Sequence[Method]]


def time_in_turns(recipes: Mapping[str, Rehearsed], *, rounds: int = ROUNDS, steps: int = STEPS) -> dict[str, Any]:
    """Time the training steps of each recipe.

    Args:
        recipes: name -> trainer, model and methods; the models are trained and of no further use.
        rounds: timed rounds, after one that is not.
        steps: training steps of one recipe in one round.

    Returns:
        name -> {"p10_s", "p50_s", "p90_s": seconds per step over the rounds, "n": rounds, "steps": in each,
        "rounds_s": of every round, which are pairs across recipes}.
    """
    found: dict[str, list[float]] = {name: [] for name in recipes}
    for number in range(rounds + 1):
        for name in list(recipes) if number % 2 else reversed(list(recipes)):
            trainer, model, methods = recipes[name]
            seconds = trainer.rehearse(model, num_steps=steps, methods=[*trainer.task.methods(), *methods])
            if number > 0:
                found[name].append(seconds)
    return {name: _summary(values) | {"steps": steps} for name, values in found.items()}


def _summary(values: Sequence[float]) -> dict[str, Any]:
    ordered = sorted(values)
    at = {name: ordered[round(share * (len(ordered) - 1))] for name, share in _PERCENTILES.items()}
    return {**at, "n": len(ordered), "rounds_s": list(values)}


_PERCENTILES = {"p10_s": 0.1, "p50_s": 0.5, "p90_s": 0.9}
