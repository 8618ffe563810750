"""A convex problem on which Adam ends at the worst point, and the rates that a change of eps leaves where they were."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from paretorch.methods.optim import AvaGrad, DelayedAdam

RARE, LARGE = 2 / 11, 10.0  # g = 10 with this probability, else -1: the mean is 1, so that the best point is -1
RUNS, STEPS = 64, 800
BETAS = (0.0, 0.5)


def ends(make: type[Optimizer], **settings: object) -> Tensor:
    """Projected stochastic descent on f(x) = E[g] x over [-1, 1]; the end points of independent runs from x = 0."""
    point = nn.Parameter(torch.zeros(RUNS, dtype=torch.float64))
    optimizer = make([point], betas=BETAS, eps=1e-3, **settings)
    stream = torch.Generator().manual_seed(0)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = settings["lr"] / (1 + step) ** 0.5
        rare = torch.rand(RUNS, generator=stream, dtype=torch.float64) < RARE
        point.grad = torch.where(rare, LARGE, -1.0).double()
        optimizer.step()
        with torch.no_grad():
            point.clamp_(-1, 1)
    return point.detach()


def test_adam_ends_at_the_worst_point_of_a_convex_problem_and_delayed_rates_at_the_best() -> None:
    # The construction of Reddi, Kale and Kumar (ICLR 2018, section 3): rare large gradients against many small ones.
    assert float(ends(Adam, lr=0.2).mean()) > 0.9
    assert float(ends(DelayedAdam, lr=0.2).mean()) < -0.9
    assert float(ends(AvaGrad, lr=0.2).mean()) < -0.9


@pytest.mark.slow
def test_the_best_rate_of_avagrad_stays_within_a_decade_over_four_decades_of_eps_and_that_of_adam_does_not() -> None:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    inputs = torch.from_numpy(bunch.data / 16).float()
    targets = torch.from_numpy(bunch.target)
    grid = [10.0**k for k in range(-2, 4)]

    def loss_of(make: type[Optimizer], lr: float, eps: float) -> float:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        optimizer = make(model.parameters(), lr=lr, eps=eps)
        order = torch.Generator().manual_seed(1)
        for _ in range(5):
            for rows in torch.randperm(len(inputs), generator=order).split(64):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(inputs[rows]), targets[rows]).backward()
                optimizer.step()
        with torch.no_grad():
            loss = float(nn.functional.cross_entropy(model(inputs), targets))
        return loss if np.isfinite(loss) else float("inf")

    def decades(make: type[Optimizer]) -> float:
        best = [min(grid, key=lambda lr, eps=eps: loss_of(make, lr, eps)) for eps in (1e-2, 1.0, 100.0)]
        return float(np.log10(max(best) / min(best)))

    assert decades(AvaGrad) <= 1 + 1e-9
    assert decades(Adam) >= 2 - 1e-9
