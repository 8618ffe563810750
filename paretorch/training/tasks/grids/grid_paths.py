"""Which cells of a grid with obstacles can a path from the start reach? Learned on small grids, tested on larger ones.

The algorithm is one local step over and over: what can be reached, and the free neighbours of that. A network that
learned the step answers on grids of any size, as far as it is deep; one that learned what small grids look like does
not. In no grid is a cell that can be reached farther than `reach` steps: every answer is in the network's sight.

Savarese and Maire, ICLR 2019, train on a task of this kind; their grids and sizes are not known to us, these are ours.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.training.data import ArrayExamples, Batch
from paretorch.training.models.grid_net import GridNet
from paretorch.training.task import Task
from paretorch.training.tasks.grids.drawing import draw_grids
from paretorch.training.tasks.references import majority_class

SEEDS = {"train": 0, "evaluation": 1, "test": 2}


class GridPaths(Task):
    """The grid-paths task; grids are the same for every run, and the model is a `GridNet`.

    Inputs are (2, size, size): obstacles, and the start. Targets are 1 where a path leads and 0 elsewhere. Obstacles
    and the start itself are not asked for. Metrics: `accuracy`, of the cells that are asked for, and `solved`, the
    fraction of grids without a mistake.

    Args:
        size, test_size: cells along a side of the grids to train and to choose on, and of those to test on.
        obstacles: the fraction of cells that no path may use, on the average.
        reach: no cell that can be reached is farther.
        num_examples: grids to train on; a quarter as many to choose, and to test.
        channels, layers: of the `GridNet`.

    Raises:
        InputError: for a number out of range, fewer layers than `reach`, grids of which hardly any is within reach, or
            grids without a free cell.
    """

    name = "grid-paths"

    def __init__(
        self,
        *,
        size: int = 6,
        test_size: int = 10,
        obstacles: float = 0.35,
        reach: int = 12,
        num_examples: int = 4000,
        channels: int = 8,
        layers: int = 12,
    ) -> None:
        if min(size, test_size) < 2 or num_examples < 4 or reach < 1 or not 0 < obstacles < 1:
            raise InputError(
                "grid-paths needs sides of at least 2 cells, 4 examples, a reach of at least 1, obstacles in (0, 1); "
                f"got {size}, {test_size}, {num_examples}, {reach}, {obstacles}"
            )
        if layers < reach:
            raise InputError(f"{layers} layers do not see cells {reach} steps away; give layers of at least reach")
        self._kwargs = {"inputs": 2, "channels": channels, "layers": layers}
        GridNet(**self._kwargs)  # refuses sizes before any grid is drawn
        self.size, self.test_size, self.obstacles, self.reach = size, test_size, obstacles, reach
        self._train = self.grids("train", size=size, count=num_examples)
        self._evaluation = self.grids("evaluation", size=size, count=num_examples // 4)
        self._test = self.grids("test", size=test_size, count=num_examples // 4)
        if not all(bool(part.tensors["asked"].any()) for part in (self._train, self._evaluation, self._test)):
            raise InputError(
                f"with {obstacles:g} obstacles a set of grids has no free cell beside the starts, so that nothing is "
                "asked; give fewer obstacles, larger grids or more examples"
            )

    def grids(self, part: str, *, size: int, count: int) -> ArrayExamples:
        """Examples of another size, of the stream of "train", "evaluation" or "test"."""
        generator = torch.Generator().manual_seed(SEEDS[part])
        free, start, steps = draw_grids(
            count, size=size, obstacles=self.obstacles, reach=self.reach, generator=generator
        )
        inputs = torch.stack([~free, start], dim=1).float()
        return ArrayExamples(inputs=inputs, targets=(steps >= 0).float(), asked=free & ~start, steps=steps)

    def model(self) -> nn.Module:
        return GridNet(**self._kwargs)

    def constructor(self) -> tuple[str, dict[str, Any]]:
        return "paretorch.training.models.grid_net:GridNet", self._kwargs

    def train_set(self) -> ArrayExamples:
        return self._train

    def eval_set(self) -> ArrayExamples:
        return self._evaluation

    def test_set(self) -> ArrayExamples:
        return self._test

    def loss(self, model: nn.Module, batch: Batch, reduction: str = "mean") -> Tensor:
        """Binary cross-entropy, averaged over the cells of a grid that are asked for."""
        cells = F.binary_cross_entropy_with_logits(model(batch["inputs"]).float(), batch["targets"], reduction="none")
        losses = (cells * batch["asked"]).sum((1, 2)) / batch["asked"].sum((1, 2)).clamp(min=1)
        return losses.mean() if reduction == "mean" else losses

    def metrics(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        right = (model(batch["inputs"]) > 0) == (batch["targets"] > 0)
        return {
            "accuracy": right[batch["asked"]].float(),
            "solved": (right | ~batch["asked"]).flatten(1).all(1).float(),
        }

    def references(self) -> dict[str, float]:
        """The commonest answer of the training grids, given for all cells; larger grids may have another."""
        return {"commonest answer": majority_class(_answers(self._train), _answers(self._test))}

    def example_inputs(self) -> tuple[Tensor, ...]:
        return (self._evaluation.tensors["inputs"][:1],)

    def describe(self) -> dict[str, Any]:
        grids = {"size": self.size, "test_size": self.test_size, "obstacles": self.obstacles, "reach": self.reach}
        return super().describe() | grids


def _answers(examples: ArrayExamples) -> Tensor:
    """0 or 1 for every cell that is asked for, of all grids, int64 (n,)."""
    return examples.tensors["targets"][examples.tensors["asked"]].long()
