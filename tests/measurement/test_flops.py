import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count

from paretorch.measurement.flops import FlopCounter, count_flops
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


def test_the_batch_scales_every_part_of_the_step() -> None:
    model = nn.Sequential(nn.Conv1d(2, 4, 3, groups=2), nn.Flatten(), nn.Linear(4 * 6, 3))
    one, five = (count_flops(model, torch.randn(batch, 2, 8)) for batch in (1, 5))
    for part, whole in itertools.pairwise([one, five]):
        assert (whole.forward, whole.backward) == (5 * part.forward, 5 * part.backward)
