"""A small network in float64, a loop whose single steps can be watched, and SGD written out by hand."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paretorch.integrations.host import HostRun
from paretorch.methods.sparsity.gradual.base import GradualMethod
from paretorch.training.settings import OptimizerSpec

Arrays = dict[str, NDArray[np.float64]]
LR, MOMENTUM, DECAY = 0.1, 0.9, 1e-2
NESTEROV = OptimizerSpec(lr=LR, momentum=MOMENTUM, nesterov=True, weight_decay=DECAY)
ADAMW = OptimizerSpec(name="adamw", lr=0.01, weight_decay=0.05)
SPECS = {"nesterov": NESTEROV, "adamw": ADAMW}


def network() -> nn.Sequential:
    """Three layers with a norm, 149 parameters, of which 117 are prunable weights."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 9), nn.LayerNorm(9), nn.Tanh(), nn.Linear(9, 4, bias=False), nn.Tanh(), nn.Linear(4, 3)
    ).double()


def loss(model: nn.Module, step: int) -> Tensor:
    generator = torch.Generator().manual_seed(100 + step)
    inputs = torch.randn(16, 6, generator=generator, dtype=torch.float64)
    return nn.functional.cross_entropy(model(inputs), torch.randint(0, 3, (16,), generator=generator))


def started(
    method: GradualMethod, *, spec: OptimizerSpec = NESTEROV, num_steps: int = 20, clip_norm: float | None = None
) -> HostRun:
    """The network in a loop whose steps are taken by `step`."""
    model = network()
    run = HostRun(model, spec(model.parameters()), methods=[method], num_steps=num_steps, clip_norm=clip_norm)
    run.start()
    return run


def gradients(run: HostRun, step: int | None = None) -> Arrays:
    """Backward of one step; the gradients as they are before any method sees them."""
    run.before_forward()
    run.backward(loss(run.model, run.step if step is None else step))
    return arrays({name: p.grad for name, p in run.model.named_parameters() if p.grad is not None})


def weights(model: nn.Module) -> Arrays:
    return arrays(dict(model.named_parameters()))


def arrays(tensors: dict[str, Tensor]) -> Arrays:
    return {name: tensor.detach().numpy().copy() for name, tensor in tensors.items()}


def top(values: Arrays, count: int) -> dict[str, NDArray[np.bool_]]:
    """True for the `count` largest absolute values of all arrays together."""
    flat = np.abs(np.concatenate([value.ravel() for value in values.values()]))
    chosen = np.zeros(flat.size, dtype=bool)
    chosen[np.argsort(flat, kind="stable")[flat.size - count :]] = True
    parts = np.split(chosen, np.cumsum([value.size for value in values.values()])[:-1])
    return {name: part.reshape(values[name].shape) for name, part in zip(values, parts, strict=True)}


class Nesterov:
    """SGD with Nesterov momentum and a decay of its own for every entry, written out."""

    def __init__(self, start: Arrays) -> None:
        self.weights = {name: value.copy() for name, value in start.items()}
        self.velocity = {name: np.zeros_like(value) for name, value in start.items()}

    def step(self, gradient: Arrays, decay: Arrays | float) -> None:
        for name, weight in self.weights.items():
            each = decay if isinstance(decay, float) else decay[name]
            g = gradient[name] + each * weight
            self.velocity[name] = MOMENTUM * self.velocity[name] + g
            self.weights[name] = weight - LR * (g + MOMENTUM * self.velocity[name])


def assert_close(model: nn.Module, expected: Arrays) -> None:
    for name, weight in weights(model).items():
        np.testing.assert_allclose(weight, expected[name], rtol=1e-11, atol=1e-13, err_msg=name)
