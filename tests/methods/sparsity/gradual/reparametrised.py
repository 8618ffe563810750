"""The oracle: networks that compute with f(w), differentiated automatically, beside training by substitution.

Everything is in float64, and every step sees all examples, so that nothing depends on their order.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from paretorch.methods.method import Method, Run
from paretorch.methods.replacement import replace_parameters
from paretorch.methods.sparsity.gradual.base import GradualMethod
from paretorch.methods.sparsity.gradual.dnw import DNW
from paretorch.methods.sparsity.gradual.dpf import DPF
from paretorch.methods.sparsity.gradual.dst import DST
from paretorch.methods.sparsity.gradual.schedule import Interval
from paretorch.methods.sparsity.gradual.soft_threshold import SoftThreshold
from paretorch.training.data import ArrayExamples
from paretorch.training.run import RunDirectory
from paretorch.training.settings import TrainSettings
from paretorch.training.supervised import SupervisedTask
from paretorch.training.trainer import PhaseResult, Trainer

STEPS, EXAMPLES, DECAY = 30, 32, 1e-2
INITIAL, THRESHOLD_DECAY, PENALTY = -3.0, 0.02, 0.02
WEIGHTS = ("0.weight", "3.weight", "5.weight")

OPTIMIZERS: dict[str, partial[torch.optim.Optimizer]] = {
    "sgd": partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=DECAY),
    "adamw": partial(torch.optim.AdamW, lr=0.02, weight_decay=DECAY),
}
METHODS: dict[str, Callable[[], GradualMethod]] = {
    "dpf": lambda: DPF(sparsity=0.7, interval=Interval(steps=6), refresh_steps=4),
    "dnw": lambda: DNW(sparsity=0.7),
    "soft-threshold": lambda: SoftThreshold(sparsity=0.7, initial=INITIAL, threshold_decay=THRESHOLD_DECAY),
    "dst": lambda: DST(sparsity=0.7, penalty=PENALTY),
}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 3)
    ).double()  # fmt: skip


def examples() -> tuple[Tensor, Tensor]:
    stream = torch.Generator().manual_seed(1)
    inputs = torch.randn(EXAMPLES, 2, 6, 6, generator=stream, dtype=torch.float64)
    return inputs, torch.randint(0, 3, (EXAMPLES,), generator=stream)


def task() -> SupervisedTask:
    inputs, targets = examples()
    data = ArrayExamples(inputs=inputs, targets=targets)
    return SupervisedTask(network, train=data, evaluation=data, test=data)


def rate(peak: float, step: int) -> float:
    """The learning rate falls, so that the thresholds' group must follow."""
    return peak * (1 - step / (2 * STEPS))


class Watch(Method):
    """After every update, copies of all parameters and of the thresholds; stops the run before a step, if wanted."""

    name = "watch"

    def __init__(self, watched: GradualMethod, *, stop_at: int | None = None) -> None:
        self.watched, self.stop_at = watched, stop_at
        self.seen: list[dict[str, Tensor]] = []

    def before_forward(self, run: Run) -> None:
        if run.step == self.stop_at:
            raise RuntimeError("killed")

    def after_update(self, run: Run) -> None:
        thresholds = getattr(self.watched, "thresholds", {})
        state = {name: p.detach().clone() for name, p in run.model.named_parameters()}
        self.seen.append(state | {f"threshold {name}": t.detach().clone() for name, t in thresholds.items()})


class Seen(Method):
    """At every step, what the forward pass sees, and the weights that are held meanwhile; stands behind the method."""

    name = "seen"

    def __init__(self, method: GradualMethod) -> None:
        self.method = method
        self.weights: list[dict[str, Tensor]] = []
        self.dense: list[dict[str, Tensor]] = []

    def before_forward(self, run: Run) -> None:
        self.weights.append({name: run.model.get_parameter(name).detach().clone() for name in WEIGHTS})

    def before_update(self, run: Run) -> None:
        self.dense.append({name: run.model.get_parameter(name).detach().clone() for name in WEIGHTS})


class Started(Run):
    """The least a run can be: the network and an optimizer."""

    def __init__(self, make: Callable[[Any], torch.optim.Optimizer], model: nn.Module | None = None) -> None:
        self.model = self.wrapped = network() if model is None else model
        self.optimizers = {"main": make(self.model.parameters())}
        self.step, self.num_steps, self.steps_per_epoch = 0, STEPS, 1
        self.device = torch.device("cpu")

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def update(self, name: str = "main") -> None:
        raise AssertionError("these tests update by hand")

    def replace_parameters(self, mapping: Any, state: Any = None) -> None:
        replace_parameters(self.model, self.optimizers.values(), mapping, state)

    def log(self, **scalars: float) -> None:
        raise AssertionError("nothing is logged between epochs")


def fit(
    method: GradualMethod,
    *others: Method,
    kind: str = "sgd",
    num_steps: int = STEPS,
    directory: RunDirectory | None = None,
    **settings: Any,
) -> tuple[nn.Module, PhaseResult]:
    """Train the network with the method, by our trainer."""
    make = OPTIMIZERS[kind]
    chosen = TrainSettings(**{"batch_size": EXAMPLES, "optimizer": make, "device": "cpu", **settings})
    trainer = Trainer(task(), chosen, directory=directory)
    model = trainer.model()
    result = trainer.fit(
        model,
        phase="train",
        num_steps=num_steps,
        schedule=partial(rate, make.keywords["lr"]),
        methods=[method, *others],
    )
    return model, result


class Step(torch.autograd.Function):
    """The step function with the derivative that the paper puts in its place, written case by case."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        slope = torch.zeros_like(x)
        size = x.abs()
        slope[size <= 1] = 0.4
        slope[size <= 0.4] = 2 - 4 * size[size <= 0.4]
        return gradient * slope


class Oracle:
    """One reparametrised network: parameters, thresholds, and what the forward pass computes with."""

    def __init__(self, name: str) -> None:
        self.name, self.model = name, network()
        self.weights = {key: self.model.get_parameter(key) for key in WEIGHTS}
        start: dict[str, Callable[[Tensor], Tensor]] = {
            "soft-threshold": lambda w: w.new_tensor(INITIAL),
            "dst": lambda w: w.new_zeros(len(w)),
        }
        self.thresholds = {
            key: nn.Parameter(start[name](w.detach())) for key, w in self.weights.items() if name in start
        }
        self.masks: dict[str, Tensor] = {}
        self.penalty = PENALTY

    def groups(self) -> list[dict[str, Any]]:
        decay = THRESHOLD_DECAY if self.name == "soft-threshold" else 0.0
        own = [{"params": list(self.thresholds.values()), "weight_decay": decay}] if self.thresholds else []
        return [{"params": list(self.model.parameters())}, *own]

    def pruned(self, step: int) -> int:
        """How many weights the masks of the step prune."""
        total = sum(w.numel() for w in self.weights.values())
        if self.name == "dnw":
            return round(0.7 * total)
        risen = min(step // 6, STEPS // 6 - 1)  # four times, the last one six steps before the end
        return round(0.7 * (1 - (1 - risen / (STEPS // 6 - 1)) ** 3) * total)

    def renew(self, step: int) -> None:
        """Masks by sorting all magnitudes; also after the last step."""
        if self.name == "dnw" or step % 4 == 0 or step % 6 == 0 or step == STEPS:
            flat = torch.cat([w.detach().abs().flatten() for w in self.weights.values()])
            kept = torch.ones(len(flat), dtype=torch.bool)
            kept[flat.argsort(stable=True)[: self.pruned(step)]] = False
            parts = kept.split([w.numel() for w in self.weights.values()])
            self.masks = {key: part.view_as(self.weights[key]) for key, part in zip(self.weights, parts, strict=True)}

    def seen(self) -> dict[str, Tensor]:
        """f(w), differentiable."""
        if self.name in ("dpf", "dnw"):
            return {key: w + (w * self.masks[key] - w).detach() for key, w in self.weights.items()}
        if self.name == "soft-threshold":
            return {
                key: w.sign() * (w.abs() - self.thresholds[key].sigmoid()).relu() for key, w in self.weights.items()
            }
        found = {}
        for key, w in self.weights.items():
            t = self.thresholds[key].view(-1, *[1] * (w.dim() - 1))
            found[key] = w * Step.apply(w.abs() - t)
        return found

    def state(self) -> dict[str, Tensor]:
        state = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        return state | {f"threshold {name}": t.detach().clone() for name, t in self.thresholds.items()}

    def train(self, kind: str, *, clip: float | None, num_steps: int = STEPS) -> list[dict[str, Tensor]]:
        """The states after every step."""
        make = OPTIMIZERS[kind]
        optimizer = make(self.groups())
        inputs, targets = examples()
        states = []
        for step in range(num_steps):
            for group in optimizer.param_groups:
                group["lr"] = rate(make.keywords["lr"], step)
            if self.name in ("dpf", "dnw"):
                self.renew(step)
            loss = nn.functional.cross_entropy(functional_call(self.model, self.seen(), (inputs,)), targets)
            if self.name == "dst":
                loss = loss + self.penalty * sum(torch.exp(-t).sum() for t in self.thresholds.values())
            loss.backward()
            if clip is not None:
                nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], clip)
            optimizer.step()
            optimizer.zero_grad()
            states.append(self.state())
        return states


def largest_difference(ours: Sequence[dict[str, Tensor]], theirs: Sequence[dict[str, Tensor]]) -> float:
    assert len(ours) == len(theirs)
    assert all(set(a) == set(b) for a, b in zip(ours, theirs, strict=True))
    return max(float((a[name] - b[name]).abs().max()) for a, b in zip(ours, theirs, strict=True) for name in a)
