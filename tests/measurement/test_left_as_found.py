"""Counting and measuring leave a model, and torch's own settings, exactly as they were."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from paretorch.measurement.inputs import left_as_found
from paretorch.measurement.macs import count_macs
from paretorch.measurement.measure import measure
from paretorch.measurement.paths import latency_ratios


class Stateful(nn.Module):
    """Modes of its own, running statistics, a buffer replaced in every forward, random numbers, hooks."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.norm = nn.BatchNorm2d(2)
        self.drop = nn.Dropout()
        self.head = nn.Linear(8, 3)
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("unset", None)
        self.head.weight.requires_grad_(False)
        self.norm.eval()

    def forward(self, x: Tensor) -> Tensor:
        self.calls = self.calls + torch.rand(())
        self.norm.running_mean.add_(1.0)
        return self.head(self.drop(self.norm(self.conv(x))).flatten(1))


def count(model: nn.Module, x: Tensor) -> None:
    count_macs(model, x)


def measure_quickly(model: nn.Module, x: Tensor) -> None:
    measure(model, x, batch_sizes=(1, 2), seconds=0.0)


def ratios(model: nn.Module, x: Tensor) -> None:
    latency_ratios(model, lambda: None, x, rounds=1, min_seconds=0.0)


@pytest.mark.parametrize("look", [count, measure_quickly, ratios])
def test_nothing_about_the_model_changes(look: Callable[[nn.Module, Tensor], None]) -> None:
    model = Stateful()
    model.head.register_forward_hook(lambda module, args, output: output + 1)
    state = copy.deepcopy(model.state_dict())
    tensors = {name: id(tensor) for name, tensor in model.state_dict(keep_vars=True).items()}
    modes = [module.training for module in model.modules()]
    needs_grad = [p.requires_grad for p in model.parameters()]
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]
    threads = torch.get_num_threads()
    look(model, torch.randn(3, 1, 4, 4))
    assert modes == [module.training for module in model.modules()]
    assert modes[0]
    assert not model.norm.training
    assert needs_grad == [p.requires_grad for p in model.parameters()]
    assert hooks == [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]
    assert tensors == {name: id(tensor) for name, tensor in model.state_dict(keep_vars=True).items()}
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[name]), name
    assert all(p.grad is None for p in model.parameters())
    assert torch.is_grad_enabled()
    assert torch.get_num_threads() == threads


def test_the_random_state_continues_as_if_nothing_had_happened() -> None:
    model, x = Stateful(), torch.randn(1, 1, 4, 4)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    count_macs(model, x)
    assert torch.equal(torch.rand(2), expected)


def test_an_error_in_the_body_also_leaves_the_model_as_found() -> None:
    model = Stateful()
    mean = model.norm.running_mean.clone()
    with pytest.raises(RuntimeError, match=r"Stateful\(float32\(1, 5, 4, 4\)\) in evaluation mode on cpu"):
        count_macs(model, torch.randn(1, 5, 4, 4))
    assert model.training
    assert torch.equal(model.norm.running_mean, mean)
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules())
    assert torch.backends.mha.get_fastpath_enabled()


def test_inside_the_model_evaluates_without_gradients() -> None:
    model = Stateful()
    with left_as_found(model):
        assert not any(module.training for module in model.modules())
        assert not torch.is_grad_enabled()
