"""The oracle: a network that computes with c w sigmoid(beta s), differentiated automatically, beside the method."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from paretorch.methods.method import Method, Run
from paretorch.methods.sparsity.continuous.method import ContinuousSparsification
from paretorch.methods.sparsity.continuous.soft_masks import SoftMasks
from paretorch.training.trainer import PhaseResult
from tests.methods.sparsity.gradual.reparametrised import OPTIMIZERS, STEPS, WEIGHTS, examples, fit, network, rate

SETTINGS: dict[str, Any] = {
    "sparsity": 0.7,
    "initial": -0.3,
    "final_beta": 60.0,
    "strength": 2.0,
    "penalty": 0.4,
    "scaled": True,
    "mask_lr": 0.3,
}


def method(**changes: Any) -> ContinuousSparsification:
    """Every setting away from its default."""
    return ContinuousSparsification(**{**SETTINGS, **changes})


@contextmanager
def whatever_is_undecided() -> Iterator[None]:
    """A context that says nothing of gates that are undecided in the end."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*of the mask logits ended")
        yield


def fit_whatever_is_undecided(own: SoftMasks, *others: Method, **settings: Any) -> tuple[nn.Module, PhaseResult]:
    """Train the network, by our trainer."""
    with whatever_is_undecided():
        return fit(own, *others, **settings)


class Watch(Method):
    """After every update, copies of all parameters and of s; stops the run before a step, if wanted."""

    name = "watch"

    def __init__(self, watched: SoftMasks, *, stop_at: int | None = None) -> None:
        self.watched, self.stop_at = watched, stop_at
        self.seen: list[dict[str, Tensor]] = []
        self.forward: list[dict[str, Tensor]] = []

    def before_forward(self, run: Run) -> None:
        if run.step == self.stop_at:
            raise RuntimeError("killed")
        self.forward.append({name: p.detach().clone() for name, p in run.model.named_parameters()})

    def after_update(self, run: Run) -> None:
        state = {name: p.detach().clone() for name, p in run.model.named_parameters()}
        logits = {f"s {name}": s.detach().clone() for name, s in self.watched.logits.items()}
        self.seen.append(state | logits)


class Oracle:
    """The reparametrised network and its two optimizers."""

    def __init__(self, *, kind: str = "sgd", num_steps: int = STEPS, **changes: Any) -> None:
        given = {**SETTINGS, **changes}
        self.num_steps, self.given, make = num_steps, given, OPTIMIZERS[kind]
        self.peak = make.keywords["lr"]
        self.model = network()
        self.weights = {key: self.model.get_parameter(key) for key in WEIGHTS}
        self.logits = {key: nn.Parameter(torch.full_like(w, given["initial"])) for key, w in self.weights.items()}
        self.main = make(self.model.parameters())
        self.masks = torch.optim.SGD(self.logits.values(), lr=given["mask_lr"], momentum=0.9, nesterov=True)
        self.c = 1 / torch.sigmoid(torch.tensor(given["initial"], dtype=torch.float64)) if given["scaled"] else 1.0

    def loss(self, step: int) -> Tensor:
        """Of one step, with both penalties."""
        given, inputs = self.given, examples()
        beta = given["final_beta"] ** (step / (self.num_steps - 1))
        gates = {key: torch.sigmoid(beta * s) for key, s in self.logits.items()}
        seen = {key: self.c * self.weights[key] * gate for key, gate in gates.items()}
        loss = nn.functional.cross_entropy(functional_call(self.model, seen, (inputs[0],)), inputs[1])
        every = torch.cat([gate.flatten() for gate in gates.values()])
        opened = sum(int((s > 0).sum()) for s in self.logits.values()) / len(every)
        density = 1 - given["sparsity"]
        gap = min(1.0, max(-1.0, (opened - density) / min(density, 1 - density)))
        pull = 4 * given["strength"] / (self.num_steps * beta) * gap * every.sum()
        return loss + given["penalty"] * (self.c * every).mean() + pull

    def train(self, *, clip: float | None = None) -> list[dict[str, Tensor]]:
        """The states after every step."""
        states = []
        for step in range(self.num_steps):
            self.loss(step).backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(self.model.parameters(), clip)
            for group in self.main.param_groups:
                group["lr"] = rate(self.peak, step)
            for group in self.masks.param_groups:
                group["lr"] = self.given["mask_lr"] * rate(1.0, step)
            for optimizer in (self.main, self.masks):
                optimizer.step()
                optimizer.zero_grad()
            state = {name: p.detach().clone() for name, p in self.model.named_parameters()}
            states.append(state | {f"s {key}": s.detach().clone() for key, s in self.logits.items()})
        return states
