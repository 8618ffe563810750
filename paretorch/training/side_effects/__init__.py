"""What did compression break? A dense model and a candidate side by side, beyond the one figure of the metric.

Everything here is read from test data after training has ended, and nothing is chosen by it.
"""

from typing import Any

from torch import nn

from paretorch.errors import InputError
from paretorch.evidence.side_effect_words import collapse_warning
from paretorch.training.data import Examples
from paretorch.training.side_effects.classification import class_effects
from paretorch.training.side_effects.corruptions import corruption_effects
from paretorch.training.side_effects.language import language_effects
from paretorch.training.side_effects.reading import Reader
from paretorch.training.task import Task
from paretorch.training.trainer import Trainer

__all__ = ["side_effects"]

CORRUPTED = 2000  # pictures: 18 evaluations, in which an accuracy has a standard error of at most 1.1 points


def side_effects(
    task: Task,
    trainer: Trainer,
    *,
    dense: nn.Module,
    candidate: nn.Module,
    examples: Examples | None = None,
    corrupted: int = CORRUPTED,
) -> dict[str, Any]:
    """What changed between two models of a task, as plain numbers and strings for a record.

    Args:
        task: which of the measures apply follows from its `logits`: two-dimensional ones are of classes, those with
            three dimensions of a language model; without any nothing applies.
        trainer: both models are read on its device, in its precision and in evaluation mode, and left as they were.
        dense, candidate: of the same task; the shapes of their weights may differ.
        examples: on which; None takes the test set and, for a language model, the task's `domains`.
        corrupted: pictures are corrupted on at most so many examples.

    Returns:
        {} if nothing applies, else "examples" (how many), "warnings" (sentences), and

        - for classes: "per_class", "worst_class", "mean_change", "disagreement", "calibration" (`class_effects`),
          and "corruptions" where inputs are pictures;
        - for a language model: "domains" and "kl" (`language_effects`).

        Fractions lie in [0, 1], changes are candidate minus dense, losses are nats per token.

    Raises:
        InputError: if the logits of the models have different or other shapes, or `corrupted` is below 1.
        NotFiniteError: if an output is NaN or infinite.
    """
    if corrupted < 1:
        raise InputError(f"corrupted is a number of examples, 1 or more; got {corrupted}")
    chosen = task.test_set() if examples is None else examples
    reader = Reader(task, trainer, dense=dense, candidate=candidate)
    with reader.evaluating():
        shape = reader.shape(chosen)
        if shape is None:
            return {}
        if len(shape) not in (1, 2):
            raise InputError(
                f"the logits of task {task.name!r} have shape {tuple(shape)} per example; expected (classes,), or "
                "(positions, tokens) for a sequence"
            )
        found: dict[str, Any] = {"examples": len(chosen)}
        if len(shape) == 1:
            found |= class_effects(reader, chosen)
            if task.picture is not None:
                found["corruptions"] = corruption_effects(reader, chosen, task.picture, limit=corrupted)
        else:
            others = task.domains() if examples is None else {}
            found |= language_effects(reader, chosen, others, logits_per_example=shape.numel())
    warning = collapse_warning(found)
    return found | {"warnings": [] if warning is None else [warning]}
