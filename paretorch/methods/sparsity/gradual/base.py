"""What all methods share that make a model sparse while it trains: the wanted sparsity, over which weights, the zeros.

    N = weights that `parameters(model)` names,   target = round(sparsity * N)

A subclass sets `name` (the id of its card and of its method in a recipe) and, if `finish` does not leave exactly the
target, `exact = False`. It writes the hooks it needs and keeps these promises:

- `finish` leaves a plain model, and ends with `self.leave(run.model, masks)`, or without masks with
  `self.leave(run.model)`, which takes what is zero then; from then on `masks` holds the zeros;
- what it holds between steps is in `state_dict`, so that a resumed run is bitwise the uninterrupted one;
- `check` and `check_optimizer` refuse what `start` would refuse, so that a recipe fails before anything is trained;
- `present_sparsity` is what the run stands at; it is put on the curve as "sparsity" after every epoch. A subclass that
  overrides `epoch_end` calls it from there: `super().epoch_end(run)`.

A pipeline (`pipelines/gradual.py`) trains with one such method and, where it is not exact, prunes the smallest weights
that are left once more, down to the target, and never revives one.
"""

from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from paretorch.errors import InputError, RunError
from paretorch.methods.method import Method, Run
from paretorch.methods.sparsity.magnitude import magnitude_masks
from paretorch.methods.sparsity.masks import Masks
from paretorch.methods.sparsity.prunable import Patterns, prunable_parameters
from paretorch.methods.sparsity.selection import check_sparsity, target_count


class GradualMethod(Method):
    """Base of the methods that make a model sparse while it trains.

    Args:
        sparsity: fraction of the prunable weights that are zero in the end, in [0, 1).
        include, exclude: name patterns of prunable parameters, as in `prunable_parameters`.

    Attributes:
        exact: whether `finish` leaves exactly `num_pruned(model)` zeros.
        even_steps: whether all steps of a phase do the same work, so that a few of them can be timed for all.

    Raises:
        InputError: for a sparsity out of range.
    """

    exact: bool = True
    even_steps: bool = False

    def __init__(self, *, sparsity: float, include: Patterns = None, exclude: Patterns = None) -> None:
        check_sparsity(sparsity)
        self.sparsity, self.include, self.exclude = sparsity, include, exclude
        self.step_key = f"{self.name}, include {include}, exclude {exclude}"
        self._left: Masks | None = None

    @property
    def masks(self) -> Masks:
        """The zeros of the final model, True = kept; over all prunable parameters.

        Raises:
            RunError: before `finish`.
        """
        if self._left is None:
            raise RunError(f"{self.name!r} knows the zeros it leaves after `finish`, at the end of the phase")
        return self._left

    def parameters(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """What is made sparse: prunable parameters by name, in the order of the model.

        Raises:
            InputError: as `prunable_parameters`.
        """
        return prunable_parameters(model, include=self.include, exclude=self.exclude)

    def num_weights(self, model: nn.Module) -> int:
        """N, the prunable weights."""
        return sum(parameter.numel() for parameter in self.parameters(model).values())

    def num_pruned(self, model: nn.Module) -> int:
        """The target, round(sparsity * N)."""
        return target_count(self.num_weights(model), self.sparsity)

    def check(self, model: nn.Module, *, num_steps: int, steps_per_epoch: int) -> None:
        """Refuse, before anything is trained, a model or a length of the run that the method cannot work with.

        Args:
            model: fresh, or to be trained; left as it is.
            num_steps: optimizer steps of the phase.
            steps_per_epoch: of one pass.

        Raises:
            InputError: if nothing is prunable, or no weight would be left; subclasses add their own.
        """
        if (size := self.num_weights(model)) == self.num_pruned(model):
            raise InputError(
                f"sparsity={self.sparsity} of {size} weights rounds to all of them; keep at least one with a sparsity "
                f"below {1 - 0.5 / size:.6g}"
            )

    def check_optimizer(self, optimizer: Optimizer) -> None:
        """Refuse, before anything is trained, an optimizer that the method cannot work with; by default any will do.

        Raises:
            InputError: saying what does not fit.
        """

    def start(self, run: Run) -> None:
        self.check_optimizer(run.optimizer)
        self.check(run.model, num_steps=run.num_steps, steps_per_epoch=run.steps_per_epoch)
        self._left = None

    def present_sparsity(self, run: Run) -> float:
        """The fraction of prunable weights that the forward pass now sees as zero; by default what is zero."""
        return self.zeros(run.model).sparsity

    def epoch_end(self, run: Run) -> None:
        run.log(sparsity=self.present_sparsity(run))

    def zeros(self, model: nn.Module) -> Masks:
        """Masks of what is zero now, True = not zero."""
        return Masks.from_nonzeros(model, names=self.parameters(model))

    def smallest(self, model: nn.Module) -> Masks:
        """Masks that prune the smallest weights of all layers together, exactly the target."""
        return magnitude_masks(model, sparsity=self.sparsity, include=self.include, exclude=self.exclude)

    @torch.no_grad()
    def leave(self, model: nn.Module, masks: Masks | None = None) -> None:
        """Write the final zeros and remember them; the last line of `finish`.

        Args:
            model: plain.
            masks: what is kept, over all of `parameters`; None takes what is zero already.
        """
        if masks is not None:
            masks.apply_(model)
        self._left = self.zeros(model) if masks is None else masks

    def details(self) -> dict[str, Any]:
        """Facts for the ledger line of the phase: plain numbers, strings, lists and dicts."""
        return {}
