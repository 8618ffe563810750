"""What is learned: a model, three sets of examples, a loss and a metric.

Training reads `train_set`, every choice is made on `eval_set`, and `test_set` is read once at the end of an arm.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from paretorch.methods.method import Method
from paretorch.training.data import Batch, Examples
from paretorch.training.picture import Picture


@dataclass(frozen=True, kw_only=True)
class TaskSource:
    """What `make_task` builds a task from, so that another process can build the same one; all values have a JSON form.

    Attributes:
        reference: a built-in name, `path/to/file.py:factory` or `package.module:factory`.
        options: keyword arguments of the factory.
        data: the data folder; None if none was given.
    """

    reference: str
    options: Mapping[str, Any] = field(default_factory=dict)
    data: str | None = None


class Task(ABC):
    """The contract between the trainer and what is learned.

    Class attributes:
        name: short, for records and file names.
        metric: the entry of `metrics` by which models are judged.
        higher_is_better: its direction.
        train_sample: on so many training examples the metric is read at the end of an arm, for the gap between
            training and test; 0: on none.
        classes: names of the classes by their number, for reports; empty: the numbers themselves.
        betas: of adaptive optimizers by name, where the settings give none; None: the default of the optimizer.
        picture: how model inputs are read as pictures, where they are some.
        source: where another process finds the same task; None for one that was built by hand.
    """

    name: str = "task"
    metric: str = "accuracy"
    higher_is_better: bool = True
    train_sample: int = 2000
    classes: Sequence[str] = ()
    betas: tuple[float, float] | None = None
    picture: Picture | None = None
    source: TaskSource | None = None

    @abstractmethod
    def model(self) -> nn.Module:
        """A freshly initialised model; the trainer seeds the global generators before it calls this."""

    @abstractmethod
    def train_set(self) -> Examples:
        """Examples to learn from."""

    @abstractmethod
    def eval_set(self) -> Examples:
        """Held-out training examples, on which every choice is made."""

    @abstractmethod
    def test_set(self) -> Examples:
        """Examples that choose nothing."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch, reduction: str = "mean") -> Tensor:
        """The loss: 0-d for `reduction="mean"`, per example (n,) for `"none"`."""

    @abstractmethod
    def metrics(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Metrics by name, as tensors of per-example (or per-token) values; their overall mean is reported."""

    @abstractmethod
    def example_inputs(self) -> tuple[Tensor, ...]:
        """Positional inputs of the model's forward for one example, with a batch dimension of 1."""

    def prepare(self, batch: Batch, *, training: bool, generator: torch.Generator) -> Batch:
        """Turn stored examples into model inputs (scaling, augmentation); the default changes nothing.

        Args:
            batch: tensors already on the model's device.
            training: augment only if True.
            generator: a CPU generator that depends on (seed, step) alone.
        """
        return batch

    def set_metrics(self, model: nn.Module, examples: Examples, *, device: torch.device) -> dict[str, float]:
        """Metrics of a whole set that are no means over its examples, such as a Frechet distance; none by default.

        Args:
            model: in evaluation mode, on `device`.
            examples: the set that is evaluated.
            device: where to compute.
        """
        return {}

    def logits(self, model: nn.Module, batch: Batch) -> Tensor | None:
        """Unnormalised log-probabilities, (n, classes) or for sequences (n, positions, tokens); None: there are none.

        What compression broke (`side_effects`) is read from them and from `labels`.
        """
        return None

    def labels(self, batch: Batch) -> Tensor:
        """The right classes for `logits`: int64 (n,), or (n, positions) with -100 where there is nothing to predict."""
        return batch["targets"]

    def domains(self) -> Mapping[str, Examples]:
        """Test sets of other kinds by name, such as texts of other sources; none by default."""
        return {}

    def methods(self) -> Sequence[Method]:
        """Methods that every training phase of this task needs, before those of a pipeline; none by default."""
        return ()

    def references(self) -> dict[str, float]:
        """Values of the metric on the test set that need no model of ours, as a floor or a baseline; default none."""
        return {}

    def constructor(self) -> tuple[str, dict[str, Any]] | None:
        """`("package.module:name", kwargs)` that builds the model, for saved artefacts; None if it cannot be named."""
        return None

    def better(self, first: float, second: float) -> bool:
        """Whether metric value `first` is strictly better than `second`."""
        return first > second if self.higher_is_better else first < second

    def describe(self) -> dict[str, Any]:
        """What identifies the task in a record."""
        return {"task": self.name, "metric": self.metric, "higher_is_better": self.higher_is_better}
