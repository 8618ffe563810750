"""What a classifier and its compressed version answer on the same examples, and what follows from it."""

from typing import Any

import torch
from torch import Tensor

from paretorch.errors import NotFiniteError
from paretorch.training.data import Examples
from paretorch.training.side_effects.calibration import expected_calibration_error
from paretorch.training.side_effects.disagreement import disagreement
from paretorch.training.side_effects.per_class import per_class
from paretorch.training.side_effects.reading import Reader

BATCH = 512


def class_effects(reader: Reader, examples: Examples) -> dict[str, Any]:
    """Change by class, disagreement and calibration of both models.

    Args:
        reader: in `evaluating`.
        examples: the test set.

    Returns:
        What `per_class` returns; "disagreement" as `disagreement` does; "calibration": the expected calibration errors
        of "dense" and "candidate".

    Raises:
        NotFiniteError: if an output is NaN or infinite.
    """
    labels, answers = [], []
    for batch in reader.batches(examples, size=BATCH):
        labels.append(reader.task.labels(batch).cpu())
        answers.append([_answers(logits) for logits in reader.logits(batch)])
    right = torch.cat(labels)
    (dense, sure_dense), (candidate, sure_candidate) = (
        [torch.cat(values) for values in zip(*one_model, strict=True)] for one_model in zip(*answers, strict=True)
    )
    for who, confidence in (("dense model", sure_dense), ("candidate", sure_candidate)):
        if bad := int((~confidence.isfinite()).sum()):
            raise NotFiniteError(
                f"the {who}'s outputs are not finite on {bad} of {len(right)} examples; they overflowed"
            )
    return {
        **per_class(right, dense=dense, candidate=candidate, names=reader.task.classes),
        "disagreement": disagreement(dense, candidate),
        "calibration": {
            "dense": expected_calibration_error(sure_dense, dense == right),
            "candidate": expected_calibration_error(sure_candidate, candidate == right),
        },
    }


def _answers(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Predicted classes (n,) and the probabilities they were given, float64 (n,), on the CPU."""
    probabilities = logits.double().softmax(1)
    return logits.argmax(1).cpu(), probabilities.amax(1).cpu()
