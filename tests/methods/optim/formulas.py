"""The updates written down as formulas on NumPy arrays in float64, and gradients to feed them with."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.optim import Optimizer

Arrays = list[NDArray[np.float64]]
SHAPES = ((4, 3), (5,), (), (2, 3, 2))


def params(shapes: Sequence[tuple[int, ...]] = SHAPES, *, seed: int = 0) -> list[nn.Parameter]:
    stream = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=stream, dtype=torch.float64)) for shape in shapes]


def gradients(count: int, *, like: Sequence[torch.Tensor], seed: int = 1) -> list[list[torch.Tensor]]:
    """Gradients of `count` steps, of scales that differ from tensor to tensor and from step to step."""
    stream = torch.Generator().manual_seed(seed)
    return [
        [
            torch.randn(p.shape, generator=stream, dtype=torch.float64) * 10.0 ** (i - 1) * (1 + step % 3)
            for i, p in enumerate(like)
        ]
        for step in range(count)
    ]


def run(optimizer: Optimizer, steps: Sequence[Sequence[torch.Tensor | None]]) -> list[Arrays]:
    """The parameters after every step, given the gradients of each; None where a parameter has none."""
    tensors = [p for group in optimizer.param_groups for p in group["params"]]
    seen = []
    for grads in steps:
        for p, grad in zip(tensors, grads, strict=True):
            p.grad = None if grad is None else grad.clone().to(p)
        optimizer.step()
        seen.append([p.detach().double().numpy().copy() for p in tensors])
    return seen


def arrays(tensors: Sequence[torch.Tensor]) -> Arrays:
    return [tensor.detach().numpy().copy() for tensor in tensors]


def released(
    start: Arrays, steps: Sequence[Arrays], *, lr: float, betas: tuple[float, float], eps: float, decay: float = 0.0,
    decoupled: bool = False,
) -> list[Arrays]:  # fmt: skip
    """The authors' released code for one group: gamma is computed from the root before v is renewed."""
    beta1, beta2 = betas
    w = [value.copy() for value in start]
    m, v = [np.zeros_like(value) for value in w], [np.zeros_like(value) for value in w]
    gamma, seen = float("nan"), []
    for t, given in enumerate(steps, start=1):
        total, count = 0.0, 0
        for i, g in enumerate(given):
            if decay and not decoupled:
                g = g + decay * w[i]
            m[i] = beta1 * m[i] + (1 - beta1) * g
            root = np.sqrt(v[i])
            if t > 1:
                if decay and decoupled:
                    w[i] = (1 - lr * decay) * w[i]
                denominator = root / np.sqrt(1 - beta2 ** (t - 1)) + eps
                w[i] = w[i] - gamma * lr / (1 - beta1**t) * m[i] / denominator
            v[i] = beta2 * v[i] + (1 - beta2) * g**2
            x = root / np.sqrt(1 - beta2**t) + eps
            total, count = total + float((x**-2).sum()), count + x.size
        gamma = 1 / np.sqrt(total / count)
        seen.append([value.copy() for value in w])
    return seen


def published(
    start: Arrays, steps: Sequence[Arrays], *, lr: float, betas: tuple[float, float], eps: float,
    normalised: bool = True, corrected: bool = False,
) -> list[Arrays]:  # fmt: skip
    """Algorithm 2 of the paper, or algorithm 1 without the normalisation; with bias corrections if asked for."""
    beta1, beta2 = betas
    w = [value.copy() for value in start]
    m, v = [np.zeros_like(value) for value in w], [np.zeros_like(value) for value in w]
    seen = []
    for t, given in enumerate(steps, start=1):
        m = [beta1 * each + (1 - beta1) * g for each, g in zip(m, given, strict=True)]
        known = 1 - beta2 ** (t - 1) if corrected and t > 1 else 1.0
        rates = [1 / (np.sqrt(each / known) + eps) for each in v]
        d = sum(rate.size for rate in rates)
        norm = np.sqrt(sum(float((rate**2).sum()) for rate in rates) / d) if normalised else 1.0
        step = lr / (1 - beta1**t) if corrected else lr
        w = [each - step * rate / norm * mean for each, rate, mean in zip(w, rates, m, strict=True)]
        v = [beta2 * each + (1 - beta2) * g**2 for each, g in zip(v, given, strict=True)]
        seen.append(w)
    return seen


def assert_same(seen: Sequence[Arrays], expected: Sequence[Arrays], *, within: float = 1e-12) -> None:
    """Relative to the size of what is compared."""
    for step, (one, other) in enumerate(zip(seen, expected, strict=True)):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a, b, rtol=within, atol=within, err_msg=f"step {step + 1}")
