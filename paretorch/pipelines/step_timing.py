"""Seconds of a training step of several recipes, timed in turns so that all of them see the same machine.

Whole training steps run, with data, loss, backward pass, methods and optimizer. In every round each recipe makes
`STEPS` of them, and half of the rounds go in reverse order; the first round only warms up. On one machine identical
loops that are timed one after the other may differ severalfold.

Every seed of a comparison gets rounds of its own. What is uncertain about the times then differs from seed to seed, as
the number of steps does, and the interval over seeds holds both.
"""

import copy
from collections.abc import Mapping, Sequence

from torch import nn

from paretorch.methods.method import Method
from paretorch.training.trainer import Trainer

ROUNDS_PER_SEED = 4
STEPS = 10

Rehearsed = tuple[Trainer, nn.Module, Sequence[Method]]


def time_in_turns(
    recipes: Mapping[str, Rehearsed], *, seeds: Sequence[int], rounds: int = ROUNDS_PER_SEED, steps: int = STEPS
) -> dict[str, dict[str, list[float]]]:
    """Time the training steps of each recipe.

    Args:
        recipes: name -> trainer, model and methods; the models are left as they are.
        seeds: whose turns are taken.
        rounds: timed rounds of each seed.
        steps: training steps of one recipe in one round.

    Returns:
        name -> seed, as text -> seconds per step, one number per round; the same places are pairs across recipes.
    """
    found: dict[str, dict[str, list[float]]] = {name: {str(seed): [] for seed in seeds} for name in recipes}
    forth, back = list(recipes), list(recipes)[::-1]
    turns: list[tuple[str | None, list[str]]] = [(None, back)]
    for number in range(rounds):  # in reverse for every other seed, and for a seed in every other of its rounds
        turns += [(str(seed), back if (number + i) % 2 else forth) for i, seed in enumerate(seeds)]
    for seed, order in turns:
        for name in order:
            trainer, model, methods = recipes[name]
            acting = [*trainer.task.methods(), *methods]
            seconds = trainer.rehearse(copy.deepcopy(model), num_steps=steps, methods=acting)
            if seed is not None:
                found[name][seed].append(seconds)
    return found
