import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from paretorch.measurement.flops import FlopCounter, StepFlops, count_flops


def counted_with(model: nn.Module, x: Tensor, seconds: dict[str, float]) -> StepFlops:
    """One step with a clock by which an operator takes what its name says, else nothing."""
    now = 0.0

    class Slow(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal now
            now += seconds.get(func._schema.name.removeprefix("aten::"), 0.0)
            return func(*args, **(kwargs or {}))

    with Slow(), FlopCounter(model, clock=lambda: now) as counter:
        loss = model(x).sum()
        if x.requires_grad:
            loss.backward()
    return counter.result(batch=len(x))


@pytest.mark.filterwarnings("ignore:Sparse")
def test_a_product_of_two_sparse_matrices_is_listed() -> None:
    class Both(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            sparse = torch.eye(8).to_sparse_csr()
            return torch.sigmoid(x) + (sparse @ sparse).to_dense()

    (item,) = counted_with(Both(), torch.randn(8, 8), {"sigmoid": 1.0}).uncounted
    assert (item.op, item.layer, item.calls, item.why) == ("aten.mm", "", 1, "a sparse operand")


def test_tensors_in_a_format_of_their_own_are_listed_and_not_taken_for_dense() -> None:
    rows = torch.nested.nested_tensor([torch.randn(2, 4), torch.randn(3, 4)], layout=torch.jagged)

    class Nested(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.sigmoid(x) + (rows @ torch.ones(4, 4)).values().sum()

    listed = counted_with(Nested(), torch.randn(5, 4), {"sigmoid": 1.0}).uncounted
    assert {item.why for item in listed} == {"an operand whose own format hides the arithmetic"}


def test_a_loss_and_an_optimizer_step_add_nothing_but_their_own_products() -> None:
    model, x, y = nn.Sequential(nn.Linear(6, 5), nn.GELU(), nn.Linear(5, 3)), torch.randn(4, 6), torch.arange(4) % 3
    plain = count_flops(model, x)
    assert count_flops(model, x, loss=lambda out: F.cross_entropy(out, y)) == plain
    product = count_flops(model, x, loss=lambda out: (out @ out.t()).mean())
    assert product.forward - plain.forward == 2 * 4 * 4 * 3
    optimizer = torch.optim.AdamW(model.parameters())
    with FlopCounter(model) as counter:
        F.cross_entropy(model(x), y).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    assert counter.result(batch=4) == plain


class Strange(nn.Module):
    """A transform without a formula beside a product that has one."""

    def __init__(self) -> None:
        super().__init__()
        self.fft = nn.Module()
        self.fft.forward = lambda x: torch.fft.rfft(x).abs()  # type: ignore[assignment]
        self.linear = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.fft(x))


def test_uncounted_arithmetic_is_listed_with_its_share_of_the_time() -> None:
    flops = counted_with(Strange(), torch.randn(2, 8), {"_fft_r2c": 0.04, "addmm": 0.96})
    (item,) = flops.uncounted
    assert (item.op, item.layer, item.calls, item.why) == ("aten._fft_r2c", "fft", 1, "no formula")
    assert item.time_share == pytest.approx(0.04)
    assert flops.to_dict() == {
        "forward": 80,
        "backward": 0,
        "integer_ops": 0,
        "uncounted": ["aten._fft_r2c in fft, 1 call(s), 4% of the time: no formula"],
        "batch": 2,
    }


def test_above_a_twentieth_of_the_time_no_figure_is_given() -> None:
    times = {"_fft_r2c": 0.06, "addmm": 0.94}
    with pytest.raises(RuntimeError, match=r"took 6% of the time \(at most 5% is allowed\): aten._fft_r2c in fft"):
        counted_with(Strange(), torch.randn(2, 8), times)


def test_foreign_operators_are_listed_and_never_refused_because_nobody_knows_what_they_do() -> None:
    with torch.library._scoped_library("paretorch_flops", "FRAGMENT") as library:
        library.define("twice(Tensor x) -> Tensor")
        library.impl("twice", lambda x: 2 * x, "CPU")

        class Foreign(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return torch.ops.paretorch_flops.twice(x)

        flops = counted_with(Foreign(), torch.randn(1, 3), {"paretorch_flops::twice": 1.0})
    (item,) = flops.uncounted
    assert (item.op, item.time_share) == ("paretorch_flops.twice", 1.0)


def test_backward_kernels_without_a_formula_are_listed_as_such() -> None:
    class Distances(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cdist(x, x[:1].detach(), compute_mode="donot_use_mm_for_euclid_dist")

    x = torch.randn(20, 5, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"took 100% .* aten._cdist_backward in the backward pass, 1 call"):
        counted_with(Distances(), x, {"_cdist_backward": 1.0})
    listed = counted_with(Distances(), x, {"_cdist_backward": 0.04, "sum": 0.96}).uncounted
    assert [item.op for item in listed] == ["aten._cdist_backward", "aten._cdist_forward"]


class Stateful(nn.Module):
    """Modes of its own, running statistics, random numbers, gradients already there."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout()
        self.modes: list[tuple[bool, bool]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.modes.append((self.training, self.norm.training))
        return self.drop(self.norm(self.conv(x)))


def test_counting_leaves_the_model_as_found_and_runs_it_in_the_modes_it_has() -> None:
    model, x = Stateful(), torch.randn(3, 1, 4, 4, requires_grad=True)
    model.norm.eval()
    model.conv.weight.grad = torch.ones_like(model.conv.weight)
    gradient = model.conv.weight.grad
    state = copy.deepcopy(model.state_dict())
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    for broken in (False, True):
        if broken:
            with pytest.raises(ValueError, match=r"loss must return a tensor with one entry; got shape \(3, 2, 2, 2\)"):
                count_flops(model, x, loss=lambda out: out)
        else:
            count_flops(model, x)
        assert model.conv.weight.grad is gradient
        assert torch.equal(gradient, torch.ones_like(gradient))
        assert model.conv.bias.grad is None
        assert x.grad is None
        assert (model.training, model.norm.training) == (True, False)
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, state[name]), name
    assert set(model.modes) == {(True, False)}
    assert torch.equal(torch.rand(2), expected)


def test_the_counter_names_layers_after_a_forward_pass_that_checkpointing_ended_early() -> None:
    class Early(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))

        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(self.inner, x, use_reentrant=False)

    model = Early()
    with FlopCounter(model, clock=lambda: 0.0) as counter:
        model(torch.randn(2, 4)).sum().backward()
        torch.fft.rfft(torch.randn(2))
    (item,) = counter.result(batch=2).uncounted
    assert (item.op, item.layer, item.time_share) == ("aten._fft_r2c", "the step outside the model", None)


@pytest.mark.parametrize("bad", [{}, nn.LazyLinear(3)])
def test_only_modules_with_shapes_are_counted(bad: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"must be a torch.nn.Module|has no shape yet"):
        count_flops(bad, torch.randn(2, 3))
