"""Groups of small models, each with one trait, written down by hand; every cut model equals the masked one."""

import random
from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretorch.measurement.macs import count_macs
from paretorch.methods.width.extract import extract, masked
from paretorch.methods.width.groups import WidthGroups
from paretorch.methods.width.tracing import find_groups
from paretorch.methods.width.tracing.checking import profiles_to_try
from tests.methods.width.handmade import perceptron, perceptron_groups


class Model(nn.Module):
    """A model whose forward is a function of it and its inputs, so that each test shows its own."""

    def __init__(self, forward, **modules: nn.Module) -> None:
        super().__init__()
        self.function = forward
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(self, *inputs)


@dataclass
class Features:
    found: Tensor


def sizes(groups: WidthGroups) -> dict[str, int]:
    return dict(zip(groups.names, groups.full, strict=True))


def reasons(groups: WidthGroups) -> dict[str, str]:
    return {each.name: each.reason for each in groups.pinned}


def checked(model: nn.Module, *inputs: Tensor, pins: tuple[str, ...] = ()) -> WidthGroups:
    """Groups of a model of which cut models, at random profiles, equal masked ones, and costs equal a recount."""
    model.double().eval()
    inputs = tuple(each.double() if each.is_floating_point() else each for each in inputs)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.dim() == 1 and tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)  # so that no norm is the identity
    groups = find_groups(model, inputs, pins=pins)
    profiles = [groups.full] + [tuple(random.randint(1, size) for size in groups.full) for _ in range(4)]
    for profile in profiles:
        cut = extract(model, groups, profile)
        assert sum(each.numel() for each in cut.parameters()) == groups.num_params(profile)
        assert count_macs(cut, inputs).dense == groups.num_macs(profile)
        with torch.no_grad():
            torch.testing.assert_close(cut(*inputs), masked(model, groups, groups.prefix(profile))(*inputs))
    return groups


def test_the_groups_of_a_perceptron_are_those_written_by_hand() -> None:
    found, expected = find_groups(perceptron(5, 4, 3, 2), torch.zeros(7, 5)), perceptron_groups(5, 4, 3, 2)
    assert found.groups == expected.groups
    assert {(axis.tensor, axis.dim): (axis.group.tolist(), axis.unit.tolist()) for axis in found.axes} == {
        (axis.tensor, axis.dim): (axis.group.tolist(), axis.unit.tolist()) for axis in expected.axes
    }
    assert {(size.module, size.attribute) for size in found.sizes} == {
        ("0", "out_features"),
        ("2", "in_features"),
        ("2", "out_features"),
        ("4", "in_features"),
    }
    for profile in ((4, 3), (1, 1), (2, 3), (3, 1)):
        assert found.num_params(profile) == expected.num_params(profile)
        assert found.num_macs(profile) == expected.num_macs(profile)


def test_activations_are_what_each_call_writes_for_one_example_without_views() -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Unflatten(1, (2, -1)), nn.Flatten(), nn.Linear(4, 3))
    groups = find_groups(model, torch.zeros(9, 6))
    assert groups.num_activations(groups.full) == 4 + 4 + 3


def test_the_model_and_the_random_state_are_as_before() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(), nn.Linear(3, 2)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    hooks = [len(module._forward_hooks) for module in model.modules()]
    find_groups(model, torch.zeros(5, 4), pins=("3",))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [len(module._forward_hooks) for module in model.modules()] == hooks
    assert all(module.training for module in model.modules())
    assert all(p.requires_grad for p in model.parameters())


def test_a_residual_sum_couples_its_producers() -> None:
    model = Model(
        lambda m, x: m.c(m.a(x) + m.b(F.relu(m.a(x)))), a=nn.Linear(5, 4), b=nn.Linear(4, 4), c=nn.Linear(4, 2)
    )
    groups = checked(model, torch.randn(3, 5))
    assert sizes(groups) == {"a": 4}
    assert groups.groups[0].producers == ("a", "b")
    assert groups.groups[0].consumers == ("b", "c")


def test_concatenated_channels_are_groups_of_their_own() -> None:
    model = Model(
        lambda m, x: m.c(torch.cat((m.a(x), m.b(x), x), 1)), a=nn.Linear(5, 4), b=nn.Linear(5, 3), c=nn.Linear(12, 2)
    )
    groups = checked(model, torch.randn(3, 5))
    assert sizes(groups) == {"a": 4, "b": 3}
    (axis,) = [axis for axis in groups.axes if axis.tensor == "c.weight"]
    assert axis.group.tolist() == [0] * 4 + [1] * 3 + [-1] * 5


def test_an_empty_cache_in_a_concatenation_adds_nothing() -> None:
    model = Model(lambda m, x: m.b(torch.cat((torch.empty(0), m.a(x)), 1)), a=nn.Linear(4, 6), b=nn.Linear(6, 2))
    assert sizes(checked(model, torch.randn(3, 4))) == {"a": 6}


def test_a_flattened_channel_is_as_many_entries_as_its_map_has_pixels() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 4 * 4, 2))
    groups = checked(model, torch.randn(2, 2, 6, 6))
    (axis,) = [axis for axis in groups.axes if axis.tensor == "3.weight"]
    assert axis.unit.tolist() == [0] * 16 + [1] * 16 + [2] * 16


def test_a_depthwise_convolution_loses_a_group_with_each_channel_also_with_a_multiplier() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 1), nn.Conv2d(4, 8, 3, groups=4), nn.Conv2d(8, 2, 1))
    groups = checked(model, torch.randn(2, 2, 5, 5))
    assert sizes(groups) == {"0": 4}
    cut = extract(model, groups, (3,))
    assert (cut[1].groups, cut[1].in_channels, cut[1].out_channels) == (3, 3, 6)


def test_a_grouped_convolution_keeps_its_groups_and_loses_one_channel_of_each() -> None:
    model = nn.Sequential(nn.Conv2d(2, 12, 1), nn.Conv2d(12, 6, 3, groups=3), nn.Conv2d(6, 2, 1))
    groups = checked(model, torch.randn(2, 2, 5, 5))
    assert sizes(groups) == {"0": 4, "1": 2}
    (axis,) = [axis for axis in groups.axes if axis.tensor == "0.weight"]
    assert axis.unit.tolist() == [0, 1, 2, 3] * 3
    assert extract(model, groups, (2, 1))[1].groups == 3


@pytest.mark.parametrize("convolution", [{}, {"groups": 2}, {"groups": 4}])
def test_transposed_convolutions(convolution: dict[str, int]) -> None:
    middle = nn.ConvTranspose2d(4, 4, 2, stride=2, **convolution)
    model = nn.Sequential(nn.Conv2d(2, 4, 1), middle, nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    found = sizes(checked(model, torch.randn(2, 2, 3, 3)))
    assert found == (
        {"0": 4, "1": 4} if not convolution else {"0": 2, "1": 2} if convolution["groups"] == 2 else {"0": 4}
    )


def test_channels_of_one_group_of_a_group_norm_are_one_unit_and_the_number_of_groups_follows() -> None:
    model = nn.Sequential(nn.Conv2d(2, 8, 1), nn.GroupNorm(4, 8), nn.ReLU(), nn.Conv2d(8, 2, 1))
    groups = checked(model, torch.randn(2, 2, 3, 3))
    assert sizes(groups) == {"0": 4}
    cut = extract(model, groups, (3,))
    assert (cut[1].num_groups, cut[1].num_channels) == (3, 6)


def test_what_a_layer_norm_averages_over_is_pinned_and_says_so() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    groups = checked(model, torch.randn(2, 3))
    assert sizes(groups) == {"2": 5}
    assert "a norm averages over it" in reasons(groups)["0"]
    assert "layer_norm in module '1'" in reasons(groups)["0"]


def test_an_rms_norm_with_a_weight_can_be_cut_and_is_listed() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.RMSNorm(4), nn.Linear(4, 2))
    groups = checked(model, torch.randn(2, 3))
    assert sizes(groups) == {"0": 4}
    assert [each.module for each in groups.rms] == ["1"]
    assert groups.rms[0].count.at((3,)) == 3


def test_gated_units_in_one_chunked_layer_are_cut_in_both_halves() -> None:
    def gated(m: Model, x: Tensor) -> Tensor:
        gate, up = m.both(x).chunk(2, dim=-1)
        return m.down(F.silu(gate) * up)

    groups = checked(Model(gated, both=nn.Linear(5, 6), down=nn.Linear(3, 2)), torch.randn(4, 5))
    assert sizes(groups) == {"both": 3}
    (axis,) = [axis for axis in groups.axes if axis.tensor == "both.weight"]
    assert axis.unit.tolist() == [0, 1, 2, 0, 1, 2]
    assert sizes(checked(nn.Sequential(nn.Linear(5, 6), nn.GLU(), nn.Linear(3, 2)), torch.randn(4, 5))) == {"0": 3}


def test_squeeze_and_excitation_couples_the_scale_with_its_channels() -> None:
    def excited(m: Model, x: Tensor) -> Tensor:
        h = m.conv(x)
        scale = torch.sigmoid(m.up(F.relu(m.down(h.mean((2, 3))))))
        return m.last(h * scale[:, :, None, None])

    modules = {"conv": nn.Conv2d(2, 6, 1), "down": nn.Linear(6, 3), "up": nn.Linear(3, 6), "last": nn.Conv2d(6, 2, 1)}
    groups = checked(Model(excited, **modules), torch.randn(2, 2, 4, 4))
    assert sizes(groups) == {"conv": 6, "down": 3}
    assert groups.groups[0].producers == ("conv", "up")


class Heads(nn.Module):
    """Attention that names its heads in views; keys are shared if `kv_heads` is less than `heads`."""

    def __init__(self, heads: int = 4, kv_heads: int = 2, width: int = 12) -> None:
        super().__init__()
        self.heads, self.kv_heads = heads, kv_heads
        self.query, self.output = nn.Linear(5, heads * 3), nn.Linear(heads * 3, 2)
        self.key, self.value = nn.Linear(5, kv_heads * 3), nn.Linear(5, kv_heads * 3)

    def forward(self, x: Tensor) -> Tensor:
        batch, time, _ = x.shape
        query = self.query(x).view(batch, time, self.heads, -1).transpose(1, 2)
        key = self.key(x).view(batch, time, self.kv_heads, -1).transpose(1, 2)
        value = self.value(x).view(batch, time, self.kv_heads, -1).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(query, key, value, enable_gqa=self.heads != self.kv_heads)
        return self.output(mixed.transpose(1, 2).flatten(2))


def test_query_heads_go_with_their_key_head_and_both_numbers_in_the_module_follow() -> None:
    groups = checked(Heads(), torch.randn(2, 4, 5))
    assert sizes(groups) == {"query": 2}
    follows = {size.attribute: size.count.at((1,)) for size in groups.sizes if size.module == ""}
    assert follows == {"heads": 2, "kv_heads": 1}


def test_attention_written_with_products_and_softmax_has_whole_heads() -> None:
    def attention(m: Model, x: Tensor) -> Tensor:
        query, key, value = m.qkv(x).unflatten(-1, (3, -1, 4)).permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(-2, -1) * 0.5).softmax(-1)
        return m.out((weights @ value).transpose(1, 2).flatten(2))

    groups = checked(Model(attention, qkv=nn.Linear(6, 24), out=nn.Linear(8, 3)), torch.randn(2, 5, 6))
    assert sizes(groups) == {"qkv": 2}
    (axis,) = [axis for axis in groups.axes if axis.tensor == "qkv.weight"]
    assert axis.unit.tolist() == ([0] * 4 + [1] * 4) * 3


def test_einsum_with_weights_passes_its_letters() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Parameter(torch.randn(5, 2, 3)), nn.Parameter(torch.randn(2, 3, 4))

        def forward(self, x: Tensor) -> Tensor:
            return torch.einsum("bhd,hdo->bo", torch.einsum("bi,ihd->bhd", x, self.first).relu(), self.second)

    model = Mixed()
    groups = find_groups(model, torch.randn(3, 5))
    assert sorted(groups.full) == [2, 3]
    assert groups.num_macs(groups.full) == 5 * 6 + 6 * 4
    cut = extract(model, groups, tuple(size - 1 for size in groups.full))
    assert cut.first.shape == (5, 1, 2)
    assert cut.second.shape == (1, 2, 4)


def test_a_layer_that_is_called_twice_couples_its_output_with_its_input() -> None:
    model = Model(lambda m, x: m.c(m.b(m.b(m.a(x)).relu())), a=nn.Linear(3, 4), b=nn.Linear(4, 4), c=nn.Linear(4, 2))
    groups = checked(model, torch.randn(2, 3))
    assert sizes(groups) == {"a": 4}
    assert groups.num_macs((2,)) == 3 * 2 + 2 * (2 * 2) + 2 * 2


def test_a_tied_embedding_is_cut_and_counted_once() -> None:
    model = Model(lambda m, x: m.head(m.inner(m.table(x))), table=nn.Embedding(7, 4), inner=nn.Linear(4, 4))
    model.head = nn.Linear(4, 7, bias=False)
    model.head.weight = model.table.weight
    model.inner.bias = None
    groups = checked(model, torch.randint(0, 7, (2, 3)))
    assert sizes(groups) == {"table": 4, "inner": 4} or sizes(groups) == {"table": 4}
    assert groups.num_params(groups.full) == 7 * 4 + 16


def test_pixel_shuffle_needs_whole_blocks_of_channels() -> None:
    model = nn.Sequential(nn.Conv2d(2, 12, 1), nn.PixelShuffle(2), nn.Conv2d(3, 2, 1))
    assert sizes(checked(model, torch.randn(2, 2, 3, 3))) == {"0": 3}
    model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.PixelUnshuffle(2), nn.Conv2d(12, 2, 1))
    assert sizes(checked(model, torch.randn(2, 2, 4, 4))) == {"0": 3}


def test_a_channel_shuffle_by_hand_keeps_its_groups() -> None:
    def shuffled(m: Model, x: Tensor) -> Tensor:
        h = m.a(x)
        batch, count, height, width = h.shape
        return m.b(h.view(batch, 2, count // 2, height, width).transpose(1, 2).reshape(batch, count, height, width))

    groups = checked(Model(shuffled, a=nn.Conv2d(2, 6, 1), b=nn.Conv2d(6, 2, 1)), torch.randn(2, 2, 3, 3))
    assert sizes(groups) == {"a": 3}


def test_padded_channels_stay_and_the_others_can_be_cut() -> None:
    def padded(m: Model, x: Tensor) -> Tensor:
        h = m.a(x)
        return m.c(F.pad(h, (0, 0, 0, 0, 1, 1)) + m.b(h))

    model = Model(padded, a=nn.Conv2d(2, 4, 1), b=nn.Conv2d(4, 6, 1), c=nn.Conv2d(6, 2, 1))
    groups = checked(model, torch.randn(2, 2, 3, 3))
    (axis,) = [axis for axis in groups.axes if axis.tensor == "b.weight" and axis.dim == 0]
    assert axis.group.tolist() == [-1, 0, 0, 0, 0, -1]


def test_pins_keep_outputs_of_modules_and_of_parameters_whole() -> None:
    model = perceptron(5, 4, 3, 2)
    assert find_groups(model, torch.zeros(1, 5), pins=("0",)).names == ("2",)
    pinned = find_groups(model, torch.zeros(1, 5), pins=("2.wei*",))
    assert pinned.names == ("0",)
    assert reasons(pinned)["2"] == "pinned by '2.wei*'"


def test_a_function_without_a_rule_pins_what_it_reads_and_is_named() -> None:
    model = Model(
        lambda m, x: m.c(m.b(torch.fft.fft(m.a(x)).real).relu()),
        a=nn.Linear(3, 4),
        b=nn.Linear(4, 5),
        c=nn.Linear(5, 2),
    )
    groups = find_groups(model, torch.randn(2, 3))
    assert sizes(groups) == {"b": 5}
    assert "'fft_fft'" in reasons(groups)["a"]


def test_a_softmax_over_channels_pins_them() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Softmax(-1), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    groups = checked(model, torch.randn(2, 3))
    assert sizes(groups) == {"2": 5}
    assert "'softmax' is taken over it" in reasons(groups)["0"]


def test_torchs_own_encoder_layer_has_cuttable_perceptrons_and_says_why_heads_are_not() -> None:
    model = nn.TransformerEncoderLayer(8, 2, dim_feedforward=6, batch_first=True)
    groups = find_groups(model, torch.randn(2, 3, 8))
    assert sizes(groups) == {"linear1": 6}


def test_arithmetic_of_functions_that_are_never_cut_counts_as_it_is_measured() -> None:
    groups = checked(
        nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 12, batch_first=True), 1), torch.randn(2, 3, 8)
    )
    attention = 3 * 4 * 8 * 8 + 2 * 3 * 3 * 8
    assert groups.num_macs((5,)) == attention + 2 * 3 * 8 * 5
    checked(
        Model(lambda m, x: m.b(m.a(m.r(x)[0])), r=nn.GRU(4, 5), a=nn.Linear(5, 6), b=nn.Linear(6, 2)), torch.randn(2, 4)
    )


def test_arguments_by_name_are_followed_like_those_by_position() -> None:
    def named(m: Model, x: Tensor) -> Tensor:
        x = F.pixel_shuffle(input=m.a(x), upscale_factor=2)
        return m.b(torch.flatten(input=torch.transpose(input=x, dim0=2, dim1=3), start_dim=2).mean(-1))

    assert checked(Model(named, a=nn.Conv2d(3, 16, 1), b=nn.Linear(4, 2)), torch.randn(2, 3, 3, 3)).full == (4,)


def test_norms_without_parameters_follow_the_channels_and_an_empty_parameter_costs_nothing() -> None:
    norms = (nn.InstanceNorm2d(6), nn.BatchNorm2d(6, affine=False, track_running_stats=False))
    model = nn.Sequential(nn.Conv2d(3, 6, 1), *norms, nn.Conv2d(6, 2, 1))
    model.register_parameter("empty", nn.Parameter(torch.zeros(0)))
    groups = checked(model, torch.randn(2, 3, 4, 4))
    cut = extract(model, groups, (4,))
    assert [cut[1].num_features, cut[2].num_features] == [4, 4]


def test_tensors_in_a_dataclass_that_is_returned_are_outputs() -> None:
    model = Model(
        lambda m, x: (m.b(F.relu(m.c(m.a(x)))), Features(m.a(x))),
        a=nn.Linear(3, 4),
        c=nn.Linear(4, 6),
        b=nn.Linear(6, 2),
    )
    groups = find_groups(model, torch.zeros(1, 3))
    assert (sizes(groups), reasons(groups)["a"]) == ({"c": 6}, "it is an output of the model")


def test_wrappers_are_seen_through() -> None:
    plain = perceptron(5, 4, 2)
    for wrapper in (torch.compile(plain, backend="eager"), nn.DataParallel(plain)):
        groups = find_groups(wrapper, torch.zeros(1, 5))
        assert groups.groups == find_groups(plain, torch.zeros(1, 5)).groups
        assert extract(wrapper, groups, (3,))[0].out_features == 3


@pytest.mark.parametrize("full", [(7, 7, 7), (8, 8), (4, 4, 4, 4), (14, 7, 21)])
def test_groups_of_like_sizes_are_tried_at_unlike_widths(full: tuple[int, ...]) -> None:
    unlike, _ = profiles_to_try(full)
    shares = [width / size for width, size in zip(unlike, full, strict=True)]
    assert all(1 <= width <= size for width, size in zip(unlike, full, strict=True))
    assert all(abs(a - b) > 0.2 for a, b in pairwise(shares))
