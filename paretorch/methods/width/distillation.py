"""Sub-networks that learn from the whole network: cross-entropy with its detached softmax as targets, temperature 1.

    L = CE(f(x; C), y) + sum over w of CE(f(x; w), sg softmax f(x; C))

The term of a profile that is the centre itself is left out. With one sampled profile this is the self-distillation of
FjORD (Horvath et al., NeurIPS 2021; weights 1 : 1 and no label term for the sampled profile, as in the authors'
baseline) and the full pass of Maestro; with a sandwich it is the in-place distillation of universally slimmable
networks (Yu and Huang, ICCV 2019, section 3.2).
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from paretorch.methods.distillation.captured import Captured
from paretorch.methods.distillation.logits import IGNORED, Given, logits_of
from paretorch.methods.method import Run

REMEDY = "train with full_pass=False"


def loss_and_logits(run: Run, batch: Any) -> tuple[Tensor, Tensor]:
    """The task's loss on labels, and the logits of the same single forward pass, detached.

    Raises:
        InputError: if the task has no logits for this batch, or its loss calls the model more than once.
    """
    watched = Captured(run.model)
    try:
        loss: Tensor = run.task.loss(run.wrapped, batch)
        output, _ = watched.take(f"the loss of {type(run.task).__name__}", remedy=REMEDY)
    finally:
        watched.close()
    return loss, logits_of(run.task, Given(output), batch, remedy=REMEDY).detach()


def distillation_loss(run: Run, batch: Any, teacher: Tensor) -> Tensor:
    """Mean cross-entropy of the model as it is now against the softmax of `teacher`, over what has a label.

    Args:
        run: at the profile that learns.
        batch: of the step.
        teacher: logits, (n, classes) or (n, positions, classes), detached.
    """
    logits = logits_of(run.task, run.wrapped, batch, remedy=REMEDY)
    labelled = run.task.labels(batch) != IGNORED
    return F.cross_entropy(logits[labelled].float(), teacher[labelled].float().softmax(-1))
