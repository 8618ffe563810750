import copy
import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count

from paretorch.measurement.flops import FlopCounter, StepFlops, count_flops
from paretorch.measurement.macs import count_macs
from paretorch.measurement.operators import FORMULAS
from paretorch.measurement.training_formulas import BACKWARD_FORMULAS


def wanted(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(tensor.requires_grad_() for tensor in tensors)


def torch_flops(model: nn.Module, *inputs: Tensor) -> int:
    """Torch's own counter, forward and backward."""
    with FlopCounterMode(display=False) as counter:
        model(*inputs).sum().backward()
    return counter.get_total_flops()


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


def test_a_linear_layer_costs_twice_or_three_times_its_forward_pass() -> None:
    layer, x = nn.Linear(32, 16), torch.randn(8, 32)
    first = count_flops(layer, x)
    assert (first.forward, first.total, first.batch, first.uncounted) == (8_192, 16_384, 8, ())
    inner = count_flops(layer, x.requires_grad_())
    assert (inner.forward, inner.total) == (8_192, 24_576)
    layer.weight.requires_grad_(False)
    assert count_flops(layer, x).total == 16_384  # frozen: only the input's gradient
    assert count_flops(layer.requires_grad_(False), x.detach()).total == 8_192


@pytest.mark.parametrize("groups", [1, 2, 4, 8])
@pytest.mark.parametrize("transposed", [False, True])
def test_a_grouped_convolutions_backward_pass_costs_twice_its_forward_pass(groups: int, transposed: bool) -> None:
    kind: Any = nn.ConvTranspose2d if transposed else nn.Conv2d
    layer, x = kind(8, 8, 3, groups=groups), torch.randn(2, 8, 6, 5)
    flops = count_flops(layer, x.clone().requires_grad_())
    places = 6 * 5 if transposed else 4 * 3
    assert flops.forward == 2 * 2 * places * 8 * (8 // groups) * 9
    assert flops.backward == 2 * flops.forward
    assert count_flops(layer, x).backward == flops.forward
    assert flops.uncounted == ()


def test_the_convolution_rule_does_not_depend_on_torchs_own_error() -> None:
    layer = nn.Conv2d(8, 8, 3, groups=8)
    with FlopCounterMode(display=False) as counter:
        output = layer(torch.randn(2, 8, 6, 5, requires_grad=True))
        forward = counter.get_total_flops()
        output.sum().backward()
    theirs = (counter.get_total_flops() - forward) / forward
    assert theirs in (9, 2)  # 1 + groups, or 2 once it is corrected there
    assert count_flops(layer, *wanted(torch.randn(2, 8, 6, 5))).backward == 2 * forward


class Attention(nn.Module):
    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(query, key, value)


def test_fused_attention_on_the_cpu_is_counted_forward_and_backward() -> None:
    batch, heads, length, width = 2, 3, 7, 8
    q, k, v = wanted(*(torch.randn(batch, heads, length, width) for _ in range(3)))
    flops = count_flops(Attention(), (q, k, v))
    assert flops.forward == 2 * 2 * batch * heads * length**2 * width
    assert flops.backward == 5 * 2 * batch * heads * length**2 * width  # the fused kernel computes the scores again
    assert torch_flops(Attention(), q, k, v) == 0  # why this is not left to torch's counter
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        unfused = count_flops(Attention(), (q, k, v))
    assert unfused.forward == flops.forward
    assert unfused.backward == 2 * flops.forward


@pytest.mark.parametrize("heads", [2, 4])
def test_the_backward_formula_of_attention_is_that_of_torchs_counter(heads: int) -> None:
    q, k, v, gradient = (torch.empty(3, *shape) for shape in [(4, 5, 8), (heads, 7, 8), (heads, 7, 6), (4, 5, 6)])
    theirs = sdpa_backward_flop_count(gradient.shape, q.shape, k.shape, v.shape)
    for name in ("_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_efficient_attention"):
        assert 2 * BACKWARD_FORMULAS[f"{name}_backward"]((gradient, q, k, v)) == theirs


def test_cross_attention_with_wider_values_follows_the_shapes() -> None:
    q, k, v = wanted(torch.randn(1, 2, 3, 8), torch.randn(1, 2, 5, 8), torch.randn(1, 2, 5, 8))
    assert count_flops(Attention(), (q, k, v)).forward == 2 * 2 * 3 * 5 * (8 + 8)
    wide = torch.randn(1, 2, 5, 4, requires_grad=True)  # no fused kernel takes it: the parts are counted
    flops = count_flops(Attention(), (q, k, wide))
    assert flops.forward == 2 * 2 * 3 * 5 * (8 + 4)
    assert flops.backward == 2 * flops.forward


class Recurrent(nn.Module):
    def __init__(self, kind: Any, **settings: Any) -> None:
        super().__init__()
        self.layer = kind(16, 16, **settings)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0]


@pytest.mark.parametrize(("kind", "forward"), [(nn.LSTM, 40_960), (nn.GRU, 30_720), (nn.RNN, 10_240)])
def test_recurrent_layers_cost_the_same_fused_or_not(kind: Any, forward: int) -> None:
    flops = count_flops(Recurrent(kind), torch.randn(5, 2, 16, requires_grad=True))
    assert (flops.forward, flops.uncounted) == (forward, ())
    # the first hidden state is a constant, but the fused kernel computes a gradient for it all the same
    unneeded = 0 if kind is nn.LSTM else forward // 2 // 5
    assert flops.backward == 2 * forward - unneeded


def test_a_fused_lstm_costs_in_every_layer_and_direction() -> None:
    flops = count_flops(Recurrent(nn.LSTM, num_layers=2, bidirectional=True), torch.randn(5, 2, 16))
    assert flops.forward == 2 * 10 * 2 * 4 * 16 * ((16 + 16) + (32 + 16))
    assert flops.backward == 2 * flops.forward


@pytest.mark.parametrize(("weights_wanted", "factor"), [(True, 2), (False, 1)])
def test_a_fused_recurrent_layer_of_a_gpu_costs_its_forward_pass_per_kind_of_gradient(
    weights_wanted: bool, factor: int
) -> None:
    layer, x = nn.LSTM(16, 8), torch.randn(5, 2, 16)
    forward = FORMULAS["_cudnn_rnn"](x, (x, list(layer.parameters())))[0]
    assert forward == 10 * 4 * 8 * (16 + 8)
    wanted_gradients = [True, True, True, weights_wanted]
    backward = BACKWARD_FORMULAS["_cudnn_rnn_backward"]((x, list(layer.parameters()), 4, wanted_gradients))
    assert backward == factor * forward


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr, torch.sparse_csc])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_sparse_matrix_costs_its_stored_entries(layout: torch.layout, side: str) -> None:
    dense = torch.zeros(16, 32)
    dense.view(-1)[torch.randperm(512)[:73]] = 1.0
    sparse = dense.to_sparse(layout=layout)

    class Product(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return sparse @ x if side == "left" else x @ sparse

    x = torch.randn(32, 4) if side == "left" else torch.randn(4, 16)
    assert count_flops(Product(), x).total == 584
    flops = count_flops(Product(), x.clone().requires_grad_())
    assert (flops.forward, flops.backward, flops.uncounted) == (584, 584, ())
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        Product()(x)
    assert counter.get_total_flops() == 4_096  # torch's counter takes it for dense


@pytest.mark.filterwarnings("ignore:Sparse")
def test_sparse_products_with_vectors_blocks_and_sampled_outputs() -> None:
    eye = torch.eye(8)

    class Products(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            rows = torch.sparse.sampled_addmm(eye.to_sparse_csr(), x, x.t()).values()  # 8 of 64 outputs
            return rows + eye.to_sparse_csr() @ x[:, 0] + (eye.to_sparse_bsr((4, 4)) @ x)[:, 0]

    with torch.no_grad():
        flops = count_flops(Products(), torch.randn(8, 3))
    assert flops.forward == 2 * (8 * 3 + 8 + 2 * 16 * 3)
    assert flops.uncounted == ()


@pytest.mark.filterwarnings("ignore:Sparse")
def test_a_product_of_two_sparse_matrices_is_listed() -> None:
    class Both(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            sparse = torch.eye(8).to_sparse_csr()
            return torch.sigmoid(x) + (sparse @ sparse).to_dense()

    (item,) = counted_with(Both(), torch.randn(8, 8), {"sigmoid": 1.0}).uncounted
    assert (item.op, item.layer, item.calls, item.why) == ("aten.mm", "", 1, "a sparse operand")


@pytest.mark.filterwarnings("ignore")  # torch announces that quantised tensors will go
def test_quantised_linear_layers_count_as_integer_operations() -> None:
    weight = torch.quantize_per_tensor(torch.randn(16, 32), 0.1, 0, torch.qint8)
    packed = torch.ops.quantized.linear_prepack(weight, None)

    class Quantised(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.ops.quantized.linear_dynamic(x, packed, False)

    flops = count_flops(Quantised(), torch.randn(8, 32))
    assert (flops.total, flops.integer_ops, flops.uncounted) == (0, 8_192, ())

    class Integers(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch._int_mm(x, x.t())

    flops = count_flops(Integers(), torch.ones(32, 8, dtype=torch.int8))
    assert (flops.total, flops.integer_ops) == (0, 2 * 32 * 32 * 8)


def test_a_transformer_layer_costs_the_same_in_evaluation_mode_where_it_would_fuse() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    forward = 2 * (4 * 5 * 64 + 2 * 25 * 8 + 2 * 5 * 8 * 16)
    x = torch.randn(1, 5, 8)
    trained = count_flops(layer, x)
    assert (trained.forward, trained.uncounted) == (forward, ())
    frozen = count_flops(layer.eval().requires_grad_(False), x)
    assert (frozen.forward, frozen.backward, frozen.uncounted) == (forward, 0, ())
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize("reentrant", [False, True])
def test_recomputed_activations_count_in_the_backward_pass(reentrant: bool) -> None:
    class Stack(nn.Module):
        def __init__(self, recompute: bool) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 32))
            self.recompute = recompute

        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(self.layers, x, use_reentrant=reentrant) if self.recompute else self.layers(x)

    x = torch.randn(8, 32, requires_grad=True)
    kept, recomputed = count_flops(Stack(False), x), count_flops(Stack(True), x)
    assert (kept.forward, kept.total) == (32_768, 98_304)
    assert recomputed.forward == 32_768
    # the last layer's product need not be done again, and only the newer implementation stops before it
    assert recomputed.total == (98_304 + 32_768 if reentrant else 114_688)


def test_what_only_torchs_counter_knows_is_counted_by_it() -> None:
    left, right = (torch.randn(16, 32).to(torch.float8_e4m3fn) for _ in range(2))
    one = torch.tensor(1.0)
    with FlopCounter(nn.Identity()) as counter:
        torch._scaled_mm(left, right.t(), one, one, out_dtype=torch.float32)
    assert counter.result(batch=16).total == 2 * 16 * 16 * 32


def test_tensors_in_a_format_of_their_own_are_listed_and_not_taken_for_dense() -> None:
    rows = torch.nested.nested_tensor([torch.randn(2, 4), torch.randn(3, 4)], layout=torch.jagged)

    class Nested(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.sigmoid(x) + (rows @ torch.ones(4, 4)).values().sum()

    listed = counted_with(Nested(), torch.randn(5, 4), {"sigmoid": 1.0}).uncounted
    assert {item.why for item in listed} == {"an operand whose own format hides the arithmetic"}


def test_zeros_in_a_dense_weight_save_nothing() -> None:
    layer, x = nn.Linear(32, 16), torch.randn(8, 32)
    dense = count_flops(layer, x)
    with torch.no_grad():
        layer.weight[:12] = 0
    assert count_flops(layer, x) == dense


@pytest.mark.slow
def test_a_compiled_layer_costs_what_the_layer_costs() -> None:
    layer, x = nn.Linear(32, 16), torch.randn(8, 32)
    compiled = torch.compile(layer, backend="aot_eager")
    compiled(x).sum().backward()
    assert count_flops(compiled, x) == count_flops(layer, x)  # type: ignore[arg-type]


def test_products_with_vectors_are_counted() -> None:
    class Vectors(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x @ x[0]).sum() + torch.dot(x[0], x[1])

    assert count_flops(Vectors(), torch.randn(4, 4)).forward == 2 * (16 + 4)


@settings(max_examples=15, deadline=None)
@given(st.tuples(*[st.integers(1, 6)] * 4), st.integers(1, 3), st.sampled_from([1, 2]))
def test_networks_without_groups_agree_with_torchs_counter(
    sizes: tuple[int, int, int, int], kernel: int, stride: int
) -> None:
    batch, num_in, num_out, hidden = sizes
    model = nn.Sequential(
        nn.Conv2d(num_in, num_out, kernel, stride=stride),
        nn.BatchNorm2d(num_out),
        nn.ReLU(),
        nn.ConvTranspose2d(num_out, 2, kernel),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(8, hidden),
        nn.Tanh(),
        nn.Linear(hidden, 3),
    )
    x = torch.randn(batch + 1, num_in, 7, 6)
    flops = count_flops(model, x)
    assert flops.total == torch_flops(model, x)
    assert flops.forward == 2 * (batch + 1) * count_macs(model, x).dense
    assert flops.uncounted == ()


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


def test_the_batch_scales_every_part_of_the_step() -> None:
    model = nn.Sequential(nn.Conv1d(2, 4, 3, groups=2), nn.Flatten(), nn.Linear(4 * 6, 3))
    one, five = (count_flops(model, torch.randn(batch, 2, 8)) for batch in (1, 5))
    for part, whole in itertools.pairwise([one, five]):
        assert (whole.forward, whole.backward) == (5 * part.forward, 5 * part.backward)
