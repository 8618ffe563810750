"""Which widths the groups of a model may take in an elastic training, for the recipe's keys."""

from dataclasses import dataclass

from torch import nn

from paretorch.methods.width.grid import Grids, grids
from paretorch.methods.width.groups import WidthGroups
from paretorch.methods.width.tracing import find_groups
from paretorch.training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class Widths:
    """Which widths the groups of a model may take.

    Args:
        quantum: widths are multiples of it; None: the default of `grid`.
        min_ratio: no group is narrowed below this fraction of its size.
        pins: name patterns of layers that are left as they are.
    """

    quantum: int | None = None
    min_ratio: float = 0.125
    pins: tuple[str, ...] = ()

    def groups(self, trainer: Trainer, model: nn.Module) -> WidthGroups:
        """The width groups of `model`.

        Raises:
            InputError: as `find_groups`.
        """
        return find_groups(model, trainer.task.example_inputs(), pins=self.pins)

    def grids(self, groups: WidthGroups) -> Grids:
        """The widths of each group."""
        return grids(groups, quantum=self.quantum, min_ratio=self.min_ratio)
