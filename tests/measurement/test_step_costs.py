import pytest
import torch
from torch import nn
from torch.nn import functional as F

from paretorch.measurement.flops import count_flops
from paretorch.measurement.step_costs import StepCounter, step_costs
from paretorch.measurement.traffic import TrafficCounter


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 8))


def test_all_costs_of_one_step_are_those_of_the_single_counters() -> None:
    model, x = mlp(), torch.randn(16, 32)
    costs = step_costs(model, x)
    assert costs.flops == count_flops(model, x)
    assert costs.flops.forward == 2 * 16 * (32 * 64 + 64 * 8)
    assert costs.flops.backward == 2 * 16 * (32 * 64 + 2 * 64 * 8)
    assert costs.saved_bytes == 6_144
    with TrafficCounter() as traffic:
        model(x).sum().float().backward()
    # the sum of one output is stacked and summed once more, there and back: some single entries
    assert 0 <= costs.bytes_accessed - traffic.bytes_accessed <= 64
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_real_step_is_counted_with_its_optimizer_and_computes_the_same() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(16, 32), torch.arange(16) % 8
    weights, costs = [], []
    for counted in (False, True):
        torch.manual_seed(1)
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

        def step(model: nn.Module = model, optimizer: torch.optim.Optimizer = optimizer) -> None:
            F.cross_entropy(model(x), y).backward()
            optimizer.step()

        if counted:
            with StepCounter(model) as counter:
                step()
            costs.append(counter.result(batch=16))
        else:
            step()
        weights.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    assert torch.equal(*weights)
    without = step_costs(mlp(), x, loss=lambda out: F.cross_entropy(out, y))
    assert costs[0].flops == without.flops
    assert costs[0].saved_bytes == without.saved_bytes
    assert costs[0].bytes_accessed - without.bytes_accessed == 12 * weights[0].numel()


def test_arithmetic_without_a_formula_gives_no_costs_at_all() -> None:
    class Transform(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for _ in range(20):
                x = torch.fft.fft(x).real
            return x

    with pytest.raises(RuntimeError, match="no FLOPs are given"):
        step_costs(Transform(), torch.randn(64, 1024))
