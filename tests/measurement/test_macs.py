import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune
from torch.utils.flop_counter import FlopCounterMode

from paretorch.measurement.macs import count_macs


def lenet_300_100() -> nn.Sequential:
    layers = [nn.Flatten(), nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10)]
    return nn.Sequential(*layers)


def resnet_20_like() -> nn.Module:
    """ResNet-20's convolutions with option A shortcuts (subsample and pad channels, no arithmetic)."""

    class Block(nn.Module):
        def __init__(self, num_in: int, num_out: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(num_in, num_out, 3, stride=stride, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(num_out)
            self.conv2 = nn.Conv2d(num_out, num_out, 3, padding=1, bias=False)
            self.bn2 = nn.BatchNorm2d(num_out)
            self.stride, self.extra = stride, num_out - num_in

        def forward(self, x: Tensor) -> Tensor:
            short = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))
            return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + short)

    blocks = [Block(16, 16, 1) for _ in range(3)]
    blocks += [Block(16, 32, 2), Block(32, 32, 1), Block(32, 32, 1)]
    blocks += [Block(32, 64, 2), Block(64, 64, 1), Block(64, 64, 1)]
    stem = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def torch_flops(model: nn.Module, x: Tensor) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.eval()(x)
    return counter.get_total_flops()


def test_lenet_300_100_has_266200_macs_whatever_the_batch() -> None:
    for batch in (1, 7):
        count = count_macs(lenet_300_100(), torch.randn(batch, 1, 28, 28))
        assert count.dense == count.nonzero == 266_200
    assert {name: layer.dense for name, layer in count.per_layer.items()} == {"1": 235_200, "3": 30_000, "5": 1_000}
    assert count.uncounted == ()


def test_resnet_20_has_its_published_40_8_million_macs() -> None:
    x = torch.randn(1, 3, 32, 32)
    count = count_macs(resnet_20_like(), x)
    by_hand = 32 * 32 * 9 * (3 * 16 + 6 * 16 * 16)
    by_hand += 16 * 16 * 9 * (16 * 32 + 5 * 32 * 32) + 8 * 8 * 9 * (32 * 64 + 5 * 64 * 64) + 640
    assert count.dense == by_hand == 40_551_040
    assert 2 * count.dense == torch_flops(resnet_20_like(), x)
    assert len(count.per_layer) == 20


CONVOLUTIONS = [
    # layer, input (one example), MACs by hand: outputs * inputs per group * kernel
    (nn.Conv2d(6, 8, 3), (6, 10, 12), 8 * 8 * 10 * 6 * 9),
    (nn.Conv2d(6, 6, 3, padding=1, groups=6), (6, 10, 12), 6 * 10 * 12 * 1 * 9),
    (nn.Conv2d(6, 9, 3, padding=1, groups=3), (6, 10, 12), 9 * 10 * 12 * 2 * 9),
    (nn.Conv2d(6, 8, 3, stride=2, padding=1), (6, 11, 12), 8 * 6 * 6 * 6 * 9),
    (nn.Conv2d(6, 8, 3, dilation=2), (6, 10, 12), 8 * 6 * 8 * 6 * 9),
    (nn.Conv2d(6, 8, 5, padding="same"), (6, 10, 12), 8 * 10 * 12 * 6 * 25),
    (nn.Conv2d(6, 8, (1, 3), stride=(2, 1), bias=False), (6, 10, 12), 8 * 5 * 10 * 6 * 3),
    (nn.Conv2d(6, 8, 3, padding=1, padding_mode="circular"), (6, 10, 12), 8 * 10 * 12 * 6 * 9),
    (nn.Conv1d(4, 10, 5, stride=3), (4, 20), 10 * 6 * 4 * 5),
    (nn.Conv3d(2, 4, 3), (2, 5, 6, 7), 4 * 3 * 4 * 5 * 2 * 27),
    (nn.ConvTranspose1d(4, 6, 3, stride=2), (4, 9), 4 * 9 * 6 * 3),
    (nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2, output_padding=1), (4, 5, 7), 4 * 5 * 7 * 3 * 9),
    (nn.ConvTranspose3d(2, 3, 2, stride=2), (2, 3, 4, 5), 2 * 60 * 3 * 8),
]


@pytest.mark.parametrize(("layer", "shape", "macs"), CONVOLUTIONS, ids=lambda value: str(value)[:60])
def test_convolutions_match_the_closed_form_and_torch(layer: nn.Module, shape: tuple[int, ...], macs: int) -> None:
    count = count_macs(layer, torch.randn(3, *shape))
    assert count.dense == macs
    assert 2 * macs == torch_flops(layer, torch.randn(1, *shape))


@settings(max_examples=60)
@given(
    dims=st.integers(1, 3),
    groups=st.integers(1, 3),
    per_group=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    size=st.integers(5, 7),
    transposed=st.booleans(),
)
def test_any_convolution_costs_what_torch_says(
    dims: int,
    groups: int,
    per_group: tuple[int, int],
    kernel: int,
    stride: int,
    dilation: int,
    size: int,
    transposed: bool,
) -> None:
    kind = getattr(nn, f"Conv{'Transpose' if transposed else ''}{dims}d")
    num_in, num_out = groups * per_group[0], groups * per_group[1]
    layer = kind(num_in, num_out, kernel, stride=stride, dilation=dilation, groups=groups)
    x = torch.randn(1, num_in, *[size] * dims)
    assert 2 * count_macs(layer, x).dense == torch_flops(layer, x)


@given(st.lists(st.integers(1, 4), min_size=0, max_size=3), st.integers(1, 5), st.integers(1, 5), st.booleans())
def test_linear_counts_all_leading_dimensions_but_the_batch(lead: list[int], k: int, n: int, bias: bool) -> None:
    assert count_macs(nn.Linear(k, n, bias=bias), torch.randn(2, *lead, k)).dense == math.prod(lead) * k * n


def test_a_layer_called_twice_counts_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(5, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(self.layer(x))

    count = count_macs(Twice(), torch.randn(1, 5))
    assert count.dense == 50
    assert count.per_layer["layer"].calls == 2


def test_functional_products_count_for_the_module_that_computes_them() -> None:
    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4, 6))

        def forward(self, x: Tensor) -> Tensor:
            y = F.linear(x, self.weight)  # 3 * 6 * 4
            return torch.einsum("bij,bkj->bik", y, y) @ y  # 3 * 3 * 4 twice

    count = count_macs(nn.Sequential(nn.Identity(), Head()), torch.randn(2, 3, 6))
    assert count.per_layer.keys() == {"1"}
    assert count.dense == 72 + 36 + 36
    with torch.no_grad():
        model = nn.Sequential(nn.Identity(), Head())
        model[1].weight[0] = 0
    assert count_macs(model, torch.randn(2, 3, 6)).nonzero == 72 * 3 // 4 + 72  # activations count in full


def test_products_with_vectors_are_counted() -> None:
    class Vectors(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            v = x[0]
            return (x.t() @ x) @ v + torch.dot(v, v) + torch.addmv(v, x.t() @ x, v)

    assert count_macs(Vectors(), torch.randn(1, 4)).dense == 2 * 16 + 16 + 4 + 16


def test_nonzero_macs_are_weighted_by_each_layers_density() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 4, 5))
    with torch.no_grad():
        model[0].weight[:3] = 0  # a quarter left
        model[2].weight[:, ::2] = 0  # half left
    count = count_macs(model, torch.randn(1, 1, 4, 4))
    assert count.per_layer["0"].dense == 4 * 4 * 9
    assert count.per_layer["0"].nonzero == 4 * 9
    assert count.per_layer["2"].nonzero == 40
    assert (count.dense, count.nonzero) == (144 + 80, 36 + 40)


@pytest.mark.parametrize("transposed", [False, True])
def test_nonzero_macs_of_a_grouped_convolution_match_counting_products_one_by_one(transposed: bool) -> None:
    layer = (nn.ConvTranspose1d if transposed else nn.Conv1d)(4, 6, 3, groups=2, stride=2, bias=False)
    with torch.no_grad():
        layer.weight.mul_(torch.rand_like(layer.weight) < 0.5)
        ones = layer.weight.ne(0).float()
        same = type(layer)(4, 6, 3, groups=2, stride=2, bias=False)
        same.weight.copy_(ones)
        products = same(torch.ones(1, 4, 9)).sum()  # every nonzero weight adds one per product
    assert count_macs(layer, torch.randn(1, 4, 9)).nonzero == int(products)


def test_weights_masked_by_torchs_own_pruning_count_as_zeros() -> None:
    layer = nn.Linear(8, 4)
    prune.random_unstructured(layer, "weight", amount=24)
    assert count_macs(nn.Sequential(layer), torch.randn(1, 8)).nonzero == 8


def test_tied_weights_count_at_every_use() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(11, 4)
            self.head = nn.Linear(4, 11, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, tokens: Tensor) -> Tensor:
            return self.head(self.embed(tokens))

    assert count_macs(Tied(), torch.randint(11, (2, 5))).dense == 5 * 4 * 11  # a look-up is no product


@pytest.mark.parametrize("need_weights", [True, False])
def test_attention_counts_projections_scores_and_sums(need_weights: bool) -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mha = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.mha(x, x, x, need_weights=need_weights)[0]

    length, width = 5, 8
    projections = 4 * length * width * width
    assert count_macs(Attention(), torch.randn(2, length, width)).dense == projections + 2 * length**2 * width


def test_a_transformer_layer_is_not_hidden_by_its_fused_kernel() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    count = count_macs(layer, torch.randn(2, 5, 8))
    assert count.dense == 4 * 5 * 64 + 2 * 25 * 8 + 2 * 5 * 8 * 16
    assert count.uncounted == ()
    assert torch.backends.mha.get_fastpath_enabled()


def test_cross_attention_with_grouped_heads() -> None:
    class Cross(nn.Module):
        def forward(self, q: Tensor, kv: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(q, kv, kv, enable_gqa=True)

    count = count_macs(Cross(), (torch.randn(1, 4, 3, 8), torch.randn(1, 2, 7, 8)))
    assert count.dense == 4 * 3 * 7 * (8 + 8)


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_recurrent_layers_count_every_step_direction_and_gate(kind: Any, gates: int) -> None:
    count = count_macs(kind(10, 6, num_layers=2, bidirectional=True, batch_first=True), torch.randn(2, 7, 10))
    assert count.dense == 7 * 2 * gates * 6 * ((10 + 6) + (12 + 6))
    assert count.uncounted == ()


def test_arithmetic_without_a_formula_is_listed_and_never_taken_for_zero() -> None:
    class Strange(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bilinear = nn.Bilinear(3, 3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.bilinear(x, x).sum() + torch.cdist(x, x).sum() + torch.fft.rfft(x).abs().sum()

    count = count_macs(Strange(), torch.randn(1, 3))
    assert {(item.op, item.layer) for item in count.uncounted} == {
        ("aten._trilinear", "bilinear"),
        ("aten._cdist_forward", ""),
        ("aten._fft_r2c", ""),
    }
    assert "aten._trilinear in bilinear, 1 call(s): no formula" in map(str, count.uncounted)


def test_foreign_operators_are_listed() -> None:
    with torch.library._scoped_library("paretorch_test", "FRAGMENT") as library:
        library.define("twice(Tensor x) -> Tensor")
        library.impl("twice", lambda x: 2 * x, "CPU")

        class Foreign(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return torch.ops.paretorch_test.twice(x)

        (item,) = count_macs(Foreign(), torch.randn(1, 3)).uncounted
    assert (item.op, item.why) == ("paretorch_test.twice", "an operator foreign to torch's own set")


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
def test_a_sparse_weight_is_listed_instead_of_counted_as_dense() -> None:
    class Sparse(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("weight", torch.eye(4).to_sparse_csr())

        def forward(self, x: Tensor) -> Tensor:
            return (self.weight @ x.t()).t()

    count = count_macs(Sparse(), torch.randn(1, 4))
    assert count.dense == 0
    assert [item.why for item in count.uncounted] == ["a sparse operand"]


def test_what_is_no_mac_is_neither_counted_nor_listed() -> None:
    layers = [nn.BatchNorm2d(3), nn.ReLU(), nn.Upsample(scale_factor=2, mode="bilinear"), nn.MaxPool2d(2), nn.Dropout()]
    count = count_macs(nn.Sequential(*layers, nn.Flatten(), nn.LayerNorm(48)), torch.randn(1, 3, 4, 4))
    assert (count.dense, count.per_layer, count.uncounted) == (0, {}, ())


def test_inference_mode_inside_the_forward_hides_nothing() -> None:
    class Frozen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            with torch.inference_mode():
                return self.layer(x)

    assert count_macs(Frozen(), torch.randn(1, 4)).dense == 12


def test_autocast_and_bfloat16_count_like_float32() -> None:
    model = lenet_300_100()
    with torch.no_grad():
        model[1].weight[::2] = 0
    x = torch.randn(1, 1, 28, 28)
    expected = count_macs(model, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert count_macs(model, x) == expected
    assert count_macs(model.bfloat16(), x.bfloat16()) == expected


def test_a_compiled_model_counts_like_the_model_it_was_made_from() -> None:
    model = lenet_300_100()
    x = torch.randn(1, 1, 28, 28)
    expected = count_macs(model, x)
    assert count_macs(torch.compile(model, backend="eager"), x) == expected  # type: ignore[arg-type]
    model.compile(backend="eager")
    assert count_macs(model, x) == expected


def test_counting_before_the_first_call_does_not_keep_a_model_from_being_compiled() -> None:
    compiled: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        compiled.append(1)
        return graph.forward

    class Fresh(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x @ x.t()

    model = torch.compile(Fresh(), backend=backend)
    assert count_macs(model, torch.ones(1, 3)).dense == 3  # type: ignore[arg-type]
    assert compiled == []
    model(torch.ones(1, 3))
    assert compiled == [1]


def test_keyword_inputs_are_passed_by_name() -> None:
    class Keywords(nn.Module):
        def forward(self, *, left: Tensor, right: Tensor) -> Tensor:
            return left @ right.transpose(-1, -2)

    assert count_macs(Keywords(), {"right": torch.randn(2, 5, 3), "left": torch.randn(2, 4, 3)}).dense == 4 * 5 * 3
