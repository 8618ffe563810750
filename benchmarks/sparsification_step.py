"""Time of a training step with continuous sparsification over the dense step: ResNet-20, CIFAR-10, batch 128.

    python benchmarks/sparsification_step.py --data DATA [--rounds 6] [--quick]

Side by side in one process, in turns, each a few steps of the whole training loop (batches, augmentation, forward and
backward pass, clipping off, optimizer): dense training; training with `ContinuousSparsification` as published, and with
its defaults, which pull to a density and keep an exact count; and the same network reparametrised as
c w sigmoid(beta s) with torch.nn.utils.parametrize, which leaves the gradients of w and s to automatic differentiation,
as implementations do that replace layers by masked ones: it computes what the published method does. The share of the
step that does not depend on the batch falls as the batch grows; a perceptron, whose products are few, shows the other
end.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _harness import figure, table, write_result
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from paretorch.measurement.interleaved import interleaved, ratio
from paretorch.methods.sparsity.continuous.method import ContinuousSparsification
from paretorch.methods.sparsity.prunable import prunable_parameters
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.task import Task
from paretorch.training.tasks.digits import digits
from paretorch.training.tasks.images.cifar10 import CIFAR10
from paretorch.training.tasks.images.fashion_mnist import FashionMNIST
from paretorch.training.trainer import Trainer

BENCHMARK = {"tier": "minutes", "minutes": 10, "data": ["cifar10", "fashion_mnist"], "arguments": ["--data", "{data}"]}
SPARSITY, INITIAL, SEED = 0.9, -0.1, 0
DENSE, OURS, REPARAMETRISED = "dense", "continuous sparsification", "reparametrised, automatic differentiation"
DEFAULTS = "continuous sparsification with its defaults"
METHODS: Mapping[str, Callable[[], ContinuousSparsification]] = {
    OURS: partial(ContinuousSparsification, sparsity=SPARSITY, initial=INITIAL, strength=0.0, ending="threshold"),
    DEFAULTS: partial(ContinuousSparsification, sparsity=SPARSITY),
}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A task, the batch size of its steps, and the steps of one measurement."""

    task: Callable[[Path], Task]
    batch_size: int
    steps: int


PROBLEMS: Mapping[str, Problem] = {
    "ResNet-20, CIFAR-10": Problem(task=lambda data: CIFAR10(data=data, model="resnet20"), batch_size=128, steps=6),
    "LeNet-300-100, Fashion-MNIST": Problem(task=lambda data: FashionMNIST(data=data), batch_size=128, steps=400),
}
QUICK: Mapping[str, Problem] = {"digits": Problem(task=lambda _data: digits(hidden=(16,)), batch_size=50, steps=4)}


class SoftMask(nn.Module):
    """w -> c w sigmoid(beta s) with s of w's shape."""

    beta = 14.0  # the middle of its way from 1 to 200

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.full_like(weight, INITIAL))
        self.scale = 1 / torch.tensor(INITIAL).sigmoid().item()

    def forward(self, weight: Tensor) -> Tensor:
        return self.scale * weight * torch.sigmoid(self.beta * self.logits)


def reparametrised(model: nn.Module) -> nn.Module:
    """The model with a soft mask on every weight that the method would mask."""
    for name, param in prunable_parameters(model).items():
        owner, _, attribute = name.rpartition(".")
        register_parametrization(model.get_submodule(owner), attribute, SoftMask(param.detach()))
    return model


def sparsified(trainer: Trainer, make: Callable[[], ContinuousSparsification], steps: int) -> float:
    """Seconds per step with a method of its own."""
    return trainer.rehearse(trainer.model(), num_steps=steps, methods=[make()])


def measured(problem: Problem, *, data: Path, rounds: int) -> dict[str, Any]:
    """Seconds of a step, and ratios."""
    settings = TrainSettings(
        batch_size=problem.batch_size,
        optimizer=OptimizerSpec(lr=0.1, nesterov=True, weight_decay=1e-4),
        device="cpu",
        checkpoint_seconds=1e6,
    )
    trainer = Trainer(problem.task(data), settings, seed=SEED)
    steps = problem.steps
    calls: dict[str, Callable[[], Any]] = {
        DENSE: lambda: trainer.rehearse(trainer.model(), num_steps=steps),
        **{name: partial(sparsified, trainer, make, steps) for name, make in METHODS.items()},
        REPARAMETRISED: lambda: trainer.rehearse(reparametrised(trainer.model()), num_steps=steps),
    }
    timings = interleaved(calls, rounds=rounds, min_seconds=0.0, warmup=1, min_calls=1)
    names = (*METHODS, REPARAMETRISED)
    return {
        "dense step, seconds": figure(timings[DENSE].round_p10_s / steps, unit="s"),
        **{f"{name} over dense": figure(ratio(timings[name], timings[DENSE])) for name in names},
        f"{OURS} over {REPARAMETRISED}": figure(ratio(timings[OURS], timings[REPARAMETRISED])),
    }


def layout(problems: Mapping[str, Problem]) -> dict[str, Any]:
    """How the results page shows the figures."""
    return {
        "headlines": [
            {
                "claim": f"Training step with {words} over the dense step, {name}",
                "figure": f"{name}/{arm} over dense",
                "format": "full",
            }
            for name in problems
            for arm, words in ((DEFAULTS, DEFAULTS), (OURS, f"{OURS} as published"))
        ],
        "tables": [
            table(
                "Time of a training step over that of the dense one",
                factors={"model": "{}"},
                rows=[(name,) for name in problems],
                columns={
                    "dense step, s": "{0}/dense step, seconds",
                    DEFAULTS: f"{{0}}/{DEFAULTS} over dense",
                    f"{OURS} as published": f"{{0}}/{OURS} over dense",
                    "reparametrised": f"{{0}}/{REPARAMETRISED} over dense",
                },
            )
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--quick", action="store_true", help="digits, few steps")
    parser.add_argument("--keep-noisy", action="store_true", help="write times of a machine that was not quiet")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    problems = QUICK if arguments.quick else PROBLEMS
    figures = {
        name: measured(problem, data=arguments.data, rounds=arguments.rounds) for name, problem in problems.items()
    }
    write_result(
        "sparsification_step",
        figures,
        tier=str(BENCHMARK["tier"]),
        seeds=[SEED],
        layout=layout(problems),
        keep_noisy=arguments.keep_noisy,
        notes=[
            "One thread; the same batches for all, in turns in one process; ratios are medians of paired rounds.",
            "As published: the density follows from where the mask logits begin, and the end keeps what is above 0. "
            "With its defaults the method counts open gates in every step and pulls them to a density.",
            "Dense products throughout: continuous sparsification saves nothing in training. Its own work is per "
            "weight and step, whatever the batch.",
        ],
    )


if __name__ == "__main__":
    main()
