"""Supervised tasks from arrays or datasets: the shortest way to bring one's own model.

Cross-entropy with accuracy, or squared error with its mean.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.training.data import ArrayExamples, Batch, Examples, as_examples, split
from paretorch.training.picture import Picture
from paretorch.training.task import Task

TASK_FILE_PREFIX = "paretorch_task_"  # of the names under which users' task files are imported
_METRIC = {"cross_entropy": ("accuracy", True), "mse": ("mse", False)}


class SupervisedTask(Task):
    """A model, examples with inputs and targets, and a standard loss.

    Args:
        model: a function without arguments that builds the model (a factory, so that every seed starts afresh). A
            module-level class or function, or `functools.partial` of one, can be saved as an artefact.
        train: `(inputs, targets)` arrays, or a map-style dataset of such pairs. For cross-entropy, targets are int64
            class numbers; for squared error they have the shape of the model's output.
        test: the same, for the final figure only.
        evaluation: the same, for every choice; None holds out a tenth of `train` (arrays only, fixed seed 42).
        loss: "cross_entropy" (metric: accuracy) or "mse" (metric: mse).
        name: for records.
        classes: names of the classes by their number, for reports.
        picture: how the model's inputs are read as pictures, if they are some.

    Raises:
        InputError: for an unknown loss, a model that is not a factory, or missing evaluation data.
    """

    def __init__(
        self,
        model: Callable[[], nn.Module],
        *,
        train: Any,
        test: Any,
        evaluation: Any = None,
        loss: Literal["cross_entropy", "mse"] = "cross_entropy",
        name: str = "supervised",
        classes: Sequence[str] = (),
        picture: Picture | None = None,
    ) -> None:
        if loss not in _METRIC:
            raise InputError(f"loss {loss!r} is unknown; choose from {sorted(_METRIC)} or subclass Task")
        if isinstance(model, nn.Module) or not callable(model):
            raise InputError(
                "`model` must be a function that builds a fresh model (pass `lambda: MyNet()`, or the class itself), "
                f"so that every seed starts from its own initialisation; got {type(model).__name__}"
            )
        self.name, self._factory, self._loss = name, model, loss
        self.classes, self.picture = tuple(classes), picture
        self.metric, self.higher_is_better = _METRIC[loss]
        self._train, self._test = as_examples(train), as_examples(test)
        self._evaluation = self._held_out() if evaluation is None else as_examples(evaluation)

    def _held_out(self) -> Examples:
        if not isinstance(self._train, ArrayExamples):
            raise InputError("`evaluation` is needed with a dataset; only arrays can be split here")
        rest, held = split(len(self._train), 0.1)
        whole = self._train
        self._train = whole.subset(rest)
        return whole.subset(held)

    def model(self) -> nn.Module:
        return self._factory()

    def constructor(self) -> tuple[str, dict[str, Any]] | None:
        return constructor_of(self._factory)

    def train_set(self) -> Examples:
        return self._train

    def eval_set(self) -> Examples:
        return self._evaluation

    def test_set(self) -> Examples:
        return self._test

    def loss(self, model: nn.Module, batch: Batch, reduction: str = "mean") -> Tensor:
        output = model(batch["inputs"])
        if self._loss == "cross_entropy":
            return F.cross_entropy(output, batch["targets"], reduction=reduction)
        errors = _squared_errors(output, batch["targets"])
        return errors.mean() if reduction == "mean" else errors

    def metrics(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        output = model(batch["inputs"])
        if self._loss == "cross_entropy":
            return {"accuracy": (output.argmax(1) == batch["targets"]).float()}
        return {"mse": _squared_errors(output, batch["targets"])}

    def logits(self, model: nn.Module, batch: Batch) -> Tensor | None:
        if self._loss != "cross_entropy":
            return None
        output: Tensor = model(batch["inputs"])
        return output if output.dim() == 2 else None  # classes of pixels and the like are no classes of examples

    def example_inputs(self) -> tuple[Tensor, ...]:
        batch = self._evaluation.batch(torch.zeros(1, dtype=torch.long))
        return (self.prepare(batch, training=False, generator=torch.Generator())["inputs"],)


def constructor_of(factory: Callable[..., nn.Module]) -> tuple[str, dict[str, Any]] | None:
    """`("module:name", kwargs)` of a module-level class or function, or of `functools.partial` of one with keywords.

    None for lambdas, nested functions, methods of an object, and functions of a script run as `__main__` or of a task
    file: another process could not find them.
    """
    kwargs: dict[str, Any] = {}
    if isinstance(factory, partial):
        if factory.args:
            return None
        kwargs = dict(factory.keywords)
        factory = factory.func
    module, name = getattr(factory, "__module__", "__main__"), getattr(factory, "__qualname__", "<unnamed>")
    if module == "__main__" or module.startswith(TASK_FILE_PREFIX):
        return None
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return (f"{module}:{name}", kwargs) if found == factory else None


def _squared_errors(output: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error of each example, (n,)."""
    if output.shape != targets.shape:
        raise InputError(
            f"the model's output has shape {tuple(output.shape)}, its targets {tuple(targets.shape)}; squared error "
            "needs equal shapes (broadcasting would train on the wrong pairs)"
        )
    return (output - targets).square().flatten(1).mean(1) if output.dim() > 1 else (output - targets).square()
