"""One round of the search for a ticket by continuous sparsification, and the point that the ticket is rewound to.

    round r:    w and s are trained together, beta from 1 to beta_T anew
    between:    s := min(beta_T s, s_0);  w and the momentum of w and s go on
    point:      weights and buffers at the beginning of one step of the first round

A round leaves hard masks in force, so that what is validated is hard; what the next round goes on with is in `left`.

Source: Savarese, Silva and Maire, NeurIPS 2020, algorithm 2, and the authors' code for what is carried over.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from paretorch.errors import InputError
from paretorch.methods.method import Method, Run
from paretorch.methods.sparsity.continuous.method import ContinuousSparsification


@dataclass(frozen=True)
class RoundState:
    """What a round leaves to the next.

    Attributes:
        weights: w by name.
        logits: s by name.
        optimizer: the state of the optimizer of s.
    """

    weights: Mapping[str, Tensor]
    logits: Mapping[str, Tensor]
    optimizer: dict[str, Any]


class SearchRound(ContinuousSparsification):
    """A round of a ticket search; says nothing of undecided gates, which a later round decides.

    Args:
        previous: what the round before left; None is the first round.
        legacy_reset: begin with s := min(s, s_0), as the authors' code does by an order of assignments.
        settings: as `SoftMasks`.

    Attributes:
        left: for the next round; after `finish`.
    """

    left: RoundState

    def __init__(self, *, previous: RoundState | None = None, legacy_reset: bool = False, **settings: Any) -> None:
        super().__init__(**settings)
        self.previous, self.legacy_reset = previous, legacy_reset

    @torch.no_grad()
    def start(self, run: Run) -> None:
        super().start(run)
        if self.previous is None:
            return
        if set(self.previous.weights) != set(self.logits):
            raise InputError(
                f"the round before masked {sorted(self.previous.weights)}, and this one masks {sorted(self.logits)}; "
                "give all rounds the same include and exclude"
            )
        for name, weight in self._weights():
            weight.copy_(self.previous.weights[name])
        self.logits.load_state_dict(self.previous.logits)
        self.logits.reset_(initial=self.initial, final_beta=self.final_beta, legacy=self.legacy_reset)
        run.optimizers["masks"].load_state_dict(copy.deepcopy(self.previous.optimizer))

    def finish(self, run: Run) -> None:
        """Keep what the next round needs, and leave c w under the hard masks."""
        self.logits.check()
        self.left = RoundState(
            weights={name: weight.detach().clone() for name, weight in self._weights()},
            logits={name: s.detach().clone() for name, s in self.logits.items()},
            optimizer=run.optimizers["masks"].state_dict(),
        )
        self.harden(run)


class RewindPoint(Method):
    """Copies the model, running statistics included, at the beginning of a step; stands before what changes weights.

    Args:
        step: of the phase, from 0.

    Attributes:
        state: the model's `state_dict` then; None before.
    """

    name = "rewind-point"

    def __init__(self, step: int) -> None:
        self.step = step
        self.state: dict[str, Tensor] | None = None

    def before_forward(self, run: Run) -> None:
        if run.step == self.step:
            run.share_buffers()
            self.state = {name: value.detach().clone() for name, value in run.model.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        return {"state": self.state}

    def load_state_dict(self, run: Run, state: dict[str, Any]) -> None:
        self.state = state["state"]
