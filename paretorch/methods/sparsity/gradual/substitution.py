"""The forward pass sees f(w) while the optimizer moves w: what DPF, DNW, STR and DST have in common.

    before the forward pass    f(w) is written where w stood; w is held aside
    backward                   g = dL/df(w), accumulated over micro-batches, averaged over processes
    before the update          w is put back;  gradient of w := g df/dw, or g itself where f is passed straight through
    clip, optimizer step       of w, with its momentum and decay, as if f were a part of the network

So the model has no other tensors and no other forward pass, checkpoints hold w, and validation between steps sees f(w).
The gradient is the one that automatic differentiation of the reparametrised network gives; the tests compare the two.
Costs a copy of the weights, and per step reading and writing them a few times.

Source: Lin et al., ICLR 2020 (DPF); Wortsman, Farhadi and Rastegari, NeurIPS 2019 (DNW); Kusupati et al., ICML 2020
(STR); Liu et al., ICLR 2020 (DST). Doing it beside the network instead of inside is ours.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.methods.method import Run
from paretorch.methods.sparsity.gradual.base import GradualMethod
from paretorch.methods.sparsity.prunable import find_prunable


class SubstitutedWeights(GradualMethod, ABC):
    """Base of the methods that train w through f(w). A subclass writes `write`, and what it needs of the rest.

    Hooks: before_forward (f(w) in), before_update (w back, gradient of w), evaluation_weights, finish (f(w) stays).
    Not for loops outside this package, which have no hook around an evaluation; they refuse it by name.
    """

    def start(self, run: Run) -> None:
        super().start(run)
        self._found = find_prunable(run.model, include=self.include, exclude=self.exclude)
        self._held: dict[str, Tensor] = {}
        self._inside = False

    def prepare(self, run: Run) -> None:
        """Bring up to date what f depends on, with w in its place; a second call before the update changes nothing."""

    @abstractmethod
    def write(self, name: str, weight: Tensor) -> None:
        """Turn w into f(w), in place. Zeros are +0.0.

        Args:
            name: of the parameter.
            weight: its values, outside autograd.
        """

    def chain(self, name: str, weight: Tensor, gradient: Tensor) -> None:
        """Turn dL/df(w) into dL/dw, in place; by default f is passed straight through, and nothing changes.

        Args:
            name: of the parameter.
            weight: w, outside autograd.
            gradient: of the same shape.
        """

    @torch.no_grad()
    def before_forward(self, run: Run) -> None:
        self._enter(run)

    @torch.no_grad()
    def before_update(self, run: Run) -> None:
        if not self._inside:
            raise InputError(
                f"{self.name!r} gives the forward pass other weights once per step, and this step updates twice; it "
                "cannot be used together with a method that makes several updates in one step"
            )
        if all(weight.grad is None for _, weight in self._weights()):
            return  # an update of something else, such as the opponent of an adversarial pair
        self._leave()
        for name, weight in self._weights():
            if weight.grad is not None:
                self.chain(name, weight.detach(), weight.grad)

    @contextmanager
    def evaluation_weights(self, run: Run) -> Iterator[None]:
        """Validation during training sees f(w), as the next forward pass will."""
        with torch.no_grad():
            self._enter(run)
        try:
            yield
        finally:
            with torch.no_grad():
                self._leave()

    def present_sparsity(self, run: Run) -> float:
        with self.evaluation_weights(run):
            return self.zeros(run.model).sparsity

    @torch.no_grad()
    def finish(self, run: Run) -> None:
        """Leave f(w) in the model."""
        self._enter(run)
        self._inside, self._held = False, {}
        self.leave(run.model)

    def state_dict(self) -> dict[str, Any]:
        """Nothing of its own; puts w back first where a loss that is not finite stopped the run in mid-step."""
        if self._inside:
            with torch.no_grad():
                self._leave()
        return {}

    def _enter(self, run: Run) -> None:
        """f(w) where w stood."""
        if self._inside:  # the step before did not update the weights
            self._leave()
        self.prepare(run)
        for name, weight in self._weights():
            values = weight.detach()
            if (held := self._held.get(name)) is None:
                self._held[name] = values.clone()
            else:
                held.copy_(values)
            self.write(name, values)
        self._inside = True

    def _leave(self) -> None:
        """w where f(w) stood."""
        for name, weight in self._weights():
            weight.copy_(self._held[name])
        self._inside = False

    def _weights(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Name and parameter of what was found at the start."""
        for item in self._found:
            if item.module._parameters.get("weight") is not item.weight:
                raise InputError(
                    f"another method replaced the parameter {item.name!r} during the phase; {self.name!r} holds on to "
                    "the weights that it found at the start, so use the two in different phases"
                )
            yield item.name, item.weight
