"""What cannot be followed is refused by name: the module, the reason, what to do."""

import pytest
import torch
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.methods.width.tracing import find_groups
from tests.methods.width.test_tracing import Model, reasons, sizes

LAYERS = {"a": (3, 4), "b": (4, 2)}


def model(forward) -> nn.Module:
    return Model(forward, **{name: nn.Linear(*shape) for name, shape in LAYERS.items()})


def branching(m: Model, x: Tensor) -> Tensor:
    return m.b(m.a(x)) if x.sum() > 0 else m.b(-m.a(x))


@pytest.mark.parametrize(
    ("forward", "match"),
    [
        (branching, "the model's own forward calls 'bool' .* depend on data"),
        (lambda m, x: m.b(m.a(x)) * x.sum().item(), "calls 'item' .* depend on data"),
        (lambda m, x: m.b(m.a(x)[x.nonzero()[:, 0]]), "calls 'nonzero' .* depend on data"),
        (lambda m, x: m.b(torch.from_numpy(m.a(x).numpy())), "calls 'numpy' .* depend on data"),
        (lambda m, x: m.b(m.a(x).resize_(len(x), 4)), "calls 'resize_', which hides the axes"),
        (lambda m, x: m.b(m.a(x).as_strided((len(x), 4), (4, 1))), "calls 'as_strided', which hides the axes .* pin"),
        (lambda m, x: m.b(x), r"failed in module 'b': RuntimeError: .*reduction dim"),
        (lambda m, x: 3, "returns int without a tensor in it"),
        (lambda m, x: m.a(x), "has no width that can be cut: a .4.: it is an output of the model"),
    ],
)
def test_a_forward_pass_that_cannot_be_followed(forward, match: str) -> None:
    with pytest.raises(InputError, match=match):
        find_groups(model(forward), torch.zeros(2, 3))


def test_a_failing_submodule_is_named() -> None:
    class Deep(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if bool(x.any()) else -x

    with pytest.raises(InputError, match=r"module '1' calls 'bool'"):
        find_groups(nn.Sequential(nn.Linear(3, 4), Deep(), nn.Linear(4, 2)), torch.zeros(2, 3))


def test_lazy_modules() -> None:
    with pytest.raises(InputError, match="has no shape yet; run one forward pass"):
        find_groups(nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 2)), torch.zeros(2, 3))


@pytest.mark.parametrize("pins", [("c",), ("a", "b.weights")])
def test_pins_that_match_nothing(pins: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match=f"the pin {pins[-1]!r} matches no module and no parameter of Model"):
        find_groups(model(lambda m, x: m.b(m.a(x))), torch.zeros(2, 3), pins=pins)


def test_inputs_that_are_no_tensors() -> None:
    with pytest.raises(InputError, match="example_inputs must be a tensor"):
        find_groups(model(lambda m, x: m.b(m.a(x))), 3)


def attention(heads: object) -> nn.Module:
    """One with heads of width 2 in a view that names their number by `heads(module)`."""

    def forward(m: Model, x: Tensor) -> Tensor:
        query, key, value = m.qkv(x).view(len(x), -1, 3, heads(m), 2).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        return m.out(m.wide(mixed.transpose(1, 2).flatten(2)).relu())

    return Model(forward, qkv=nn.Linear(3, 24), wide=nn.Linear(8, 5), out=nn.Linear(5, 2))


def test_a_size_in_no_attribute_pins_the_heads_and_says_what_to_change() -> None:
    groups = find_groups(attention(lambda m: 4), torch.zeros(2, 3, 3))
    assert sizes(groups) == {"wide": 5}
    assert "or keep that size in an int attribute of its own in that module" in reasons(groups)["qkv"]


def test_a_size_in_an_attribute_follows_and_two_equal_ones_are_told_apart_by_trying() -> None:
    module = attention(lambda m: m.heads)
    module.heads, module.layers = 4, 4
    groups = find_groups(module, torch.zeros(2, 3, 3))
    assert sizes(groups) == {"qkv": 4, "wide": 5}
    assert [size.attribute for size in groups.sizes if size.module == ""] == ["heads"]


def test_group_norms_of_one_group_and_single_units_are_pinned() -> None:
    module = nn.Sequential(nn.Conv2d(2, 4, 1), nn.GroupNorm(1, 4), nn.Conv2d(4, 3, 1), nn.ReLU(), nn.Conv2d(3, 2, 1))
    assert "a norm averages over it" in reasons(find_groups(module, torch.zeros(1, 2, 3, 3)))["0"]
    module[1] = nn.Conv2d(4, 4, 1, groups=2)
    assert sizes(find_groups(module, torch.zeros(1, 2, 3, 3))) == {"0": 2, "1": 2, "2": 3}
    module[0], module[1] = nn.Conv2d(2, 3, 1), nn.Conv2d(3, 4, 1)
    module.insert(1, nn.GroupNorm(3, 3))
    module.insert(1, nn.Conv2d(3, 3, 1, groups=1))
    assert sizes(find_groups(module, torch.zeros(1, 2, 3, 3)))["1"] == 3


def test_multihead_attention_says_how_to_write_it() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.read, self.attention = nn.Linear(3, 8), nn.MultiheadAttention(8, 2, batch_first=True)
            self.wide, self.out = nn.Linear(8, 5), nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            h = self.read(x)
            return self.out(self.wide(self.attention(h, h, h)[0]).relu())

    groups = find_groups(Block(), torch.zeros(2, 4, 3))
    assert sizes(groups) == {"wide": 5}
    assert "nn.MultiheadAttention fixes its heads" in reasons(groups)["read"]


@pytest.mark.parametrize(
    ("forward", "match"),
    [
        (lambda m, x: m.b(m.a(x) / m.a(x).shape[-1] ** 0.5), r"'div' .* computes with 1\.41\d+ in place of 2\.0"),
        (lambda m, x: m.b(m.a(x) * torch.tensor(m.a(x).size(1))), "'tensor' .* computes with 2 in place of 4"),
        (lambda m, x: m.b(m.a(x).roll(1, 1)), "it is rolled"),
        (lambda m, x: m.b(torch.cat((m.a(x)[:, ::2], m.a(x)[..., 1::2]), 1)), "every so many entries of it are picked"),
        (lambda m, x: m.b(nn.functional.linear(x, m.a.weight.tril())), "no width that can be cut"),
    ],
)
def test_functions_of_places_and_factors_made_from_widths_pin_what_they_read(forward, match: str) -> None:
    with pytest.raises(InputError, match=match):
        find_groups(model(forward), torch.zeros(2, 3))


def test_rolled_pixels_leave_channels_free() -> None:
    shifted = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1))
    made = Model(lambda m, x: m.layers[1](m.layers[0](x).roll((1, 1), (2, 3))), layers=shifted)
    assert sizes(find_groups(made, torch.zeros(1, 3, 5, 5))) == {"layers.0": 4}


def test_a_function_that_hides_axes_is_followed_when_the_layer_in_front_of_it_is_pinned() -> None:
    def rotated(m: Model, x: Tensor) -> Tensor:
        pairs = torch.view_as_complex(m.a(x).reshape(len(x), -1, 2))
        return m.c(m.b(torch.view_as_real(pairs).flatten(1)))

    layers = {"a": nn.Linear(3, 4), "b": nn.Linear(4, 5), "c": nn.Linear(5, 2)}
    with pytest.raises(InputError, match=r"calls 'view_as_complex'.* or pin the modules that make it"):
        find_groups(Model(rotated, **layers), torch.zeros(2, 3))
    assert sizes(find_groups(Model(rotated, **layers), torch.zeros(2, 3), pins="a")) == {"b": 5}
