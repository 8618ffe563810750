"""Class scores of a task, from which soft targets are made, and outputs that are known already.

What has no label (`IGNORED`) teaches nothing: everything here is a mean over labelled positions.
"""

from typing import Any

from torch import Tensor, nn

from paretorch.errors import InputError

IGNORED = -100  # the label where there is nothing to predict


class Given(nn.Module):
    """Stands for a model whose output is known already, so that a task reads it without a second forward pass."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output

    def forward(self, *inputs: Any, **keywords: Any) -> Any:
        return self.output


def check_distillable(task: Any, *, remedy: str) -> None:
    """Raise InputError for a task without `logits` and `labels`, from which soft targets are made.

    Args:
        task: what is learned.
        remedy: how to do without distillation, as a clause.
    """
    if not (callable(getattr(task, "logits", None)) and callable(getattr(task, "labels", None))):
        raise InputError(
            f"distillation needs class scores, and {type(task).__name__} has no `logits` and `labels`; {remedy}, or "
            "give the task both"
        )


def logits_of(task: Any, model: nn.Module, batch: Any, *, remedy: str) -> Tensor:
    """The logits of one forward pass, with gradients.

    Args:
        task: what is learned.
        model: whose logits; a `Given` for an output that is there.
        batch: of the task.
        remedy: how to do without distillation, as a clause.

    Raises:
        InputError: if the task has none for this batch.
    """
    logits = task.logits(model, batch)
    if logits is None:
        raise InputError(
            f"distillation needs class scores, and the `logits` of {type(task).__name__} are None; {remedy}"
        )
    found: Tensor = logits
    return found
