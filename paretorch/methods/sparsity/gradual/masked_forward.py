"""The forward pass sees w * m, the update moves all of w: m prunes the smallest weights, and is renewed now and then.

    f(w) = w * m,    m = the K(t) smallest |w| of all layers together,    gradient of w := g, straight through

Weights that are pruned go on moving, and return when they have become large enough. The selection is exact and breaks
ties by position, so that K is met to the weight; it reads all weights about three times, which is most of the cost.
"""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from paretorch.methods.method import Run
from paretorch.methods.sparsity.gradual.substitution import SubstitutedWeights
from paretorch.methods.sparsity.masks import Masks
from paretorch.methods.sparsity.selection import select
from paretorch.methods.sparsity.zeroing import zero_pruned_


class MaskedForward(SubstitutedWeights):
    """Base of DPF and DNW, which differ in when the mask is renewed and how much it prunes then."""

    exact = True

    @abstractmethod
    def is_due(self, run: Run) -> bool:
        """Whether the mask is renewed before the forward pass of `run.step`."""

    @abstractmethod
    def num_pruned_at(self, run: Run) -> int:
        """K(t), the weights that a mask made before the forward pass of `run.step` prunes."""

    def start(self, run: Run) -> None:
        super().start(run)
        self.in_force: Masks | None = None

    def prepare(self, run: Run) -> None:
        if self.in_force is None or self.is_due(run):
            weights = {name: weight.detach() for name, weight in self._weights()}
            self.in_force = Masks(select(weights, self.num_pruned_at(run), absolute=True), copy=False)

    def write(self, name: str, weight: Tensor) -> None:
        assert self.in_force is not None  # made by `prepare`
        zero_pruned_(weight, self.in_force[name])

    @torch.no_grad()
    def finish(self, run: Run) -> None:
        """Prune the smallest of the final weights, exactly the target."""
        if self._inside:
            self._leave()
        self._held = {}
        self.leave(run.model, self.smallest(run.model))

    def state_dict(self) -> dict[str, Any]:
        """The mask in force, packed; None before the first step."""
        super().state_dict()
        return {"masks": None if self.in_force is None else self.in_force.state_dict()}

    def load_state_dict(self, run: Run, state: dict[str, Any]) -> None:
        saved = state["masks"]
        self.in_force = None if saved is None else Masks.from_state_dict(saved).to(run.device)
