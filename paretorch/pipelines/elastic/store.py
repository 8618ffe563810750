"""Where the weights that are kept during shrinking lie: checkpoints of the run, or memory where it has no directory."""

from typing import Any

from paretorch.errors import RunError
from paretorch.training.run import RunDirectory


class WeightStore:
    """Weights by the fraction of the footprint at which they were kept."""

    def __init__(self, directory: RunDirectory | None) -> None:
        self.directory, self.held = directory, dict[float, dict[str, Any]]()

    def save(self, fraction: float, weights: dict[str, Any]) -> None:
        """Keep `weights`; a resumed run overwrites them with the same."""
        if self.directory is None:
            self.held[fraction] = weights
        else:
            self.directory.save(_checkpoint(fraction), weights)

    def load(self, fraction: float) -> dict[str, Any]:
        """The weights of `fraction`.

        Raises:
            RunError: if they are gone.
        """
        found = self.held.get(fraction) if self.directory is None else self.directory.load(_checkpoint(fraction))
        if not isinstance(found, dict):
            where = "memory" if self.directory is None else self.directory.checkpoint_path(_checkpoint(fraction))
            raise RunError(
                f"the weights that were kept at {fraction:g} of the footprint are gone from {where}; remove the run "
                "directory and run again"
            )
        return found


def _checkpoint(fraction: float) -> str:
    return f"elastic-kept-{fraction:g}"
