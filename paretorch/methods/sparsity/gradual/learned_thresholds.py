"""What methods share that learn thresholds and see the weights through them.

The thresholds move with the weights and are taken out of the optimizer at the end; their sparsity is a result.
"""

from typing import Any

from paretorch.methods.method import Run
from paretorch.methods.sparsity.gradual.substitution import SubstitutedWeights
from paretorch.methods.sparsity.gradual.thresholds import Thresholds


class LearnedThresholds(SubstitutedWeights):
    """Base of STR and DST; a subclass makes `thresholds` in `start` and adds them to the optimizer.

    Attributes:
        thresholds: by the name of the weight, of the shape that the method gives them; after `start`.
    """

    exact = False
    even_steps = True

    thresholds: Thresholds

    def finish(self, run: Run) -> None:
        """Leave what the thresholds let through, and an optimizer without them."""
        self.thresholds.check()
        super().finish(run)
        self.thresholds.remove_from(run.optimizer)

    def state_dict(self) -> dict[str, Any]:
        """All thresholds.

        Raises:
            NotFiniteError: naming those that became NaN or infinite.
        """
        self.thresholds.check()
        return super().state_dict() | {"thresholds": self.thresholds.state_dict()}

    def load_state_dict(self, run: Run, state: dict[str, Any]) -> None:
        self.thresholds.load_state_dict(state["thresholds"])
