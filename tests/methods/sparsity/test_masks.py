"""Masks as values: contents, counts, packing, comparison, and what they write to a model."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from paretorch.errors import ArtefactError, InputError, MaskViolationError
from paretorch.methods.sparsity.masks import Masks


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))


def random_masks(net: nn.Module, *, seed: int = 0, density: float = 0.4) -> Masks:
    generator = torch.Generator().manual_seed(seed)
    weights = {name: p for name, p in net.named_parameters() if p.dim() > 1}
    return Masks({name: torch.rand(p.shape, generator=generator) < density for name, p in weights.items()})


@st.composite
def mask_sets(draw: st.DrawFn) -> dict[str, torch.Tensor]:
    names = draw(st.lists(st.text("ab.é", min_size=1, max_size=4), min_size=1, max_size=3, unique=True))
    masks = {}
    for name in names:
        shape = draw(st.lists(st.integers(0, 5), max_size=4))
        generator = torch.Generator().manual_seed(draw(st.integers(0, 3)))
        masks[name] = torch.rand(shape, generator=generator) < draw(st.sampled_from([0.0, 0.5, 1.0]))
    return masks


@settings(max_examples=150, deadline=None)
@given(mask_sets())
def test_packing_and_unpacking_gives_the_same_masks_for_any_shapes(mapping):
    masks = Masks(mapping)
    state = masks.state_dict()
    again = Masks.from_state_dict(state)
    assert again == masks
    assert all(torch.equal(again[name], mask) and again[name].dtype == torch.bool for name, mask in mapping.items())
    assert sum(state[f"{name}.bits"].numel() for name in masks) == sum(-(-m.numel() // 8) for m in mapping.values())


@settings(max_examples=150, deadline=None)
@given(mask_sets(), mask_sets())
def test_hashes_are_equal_exactly_when_the_masks_are(first, second):
    a, b = Masks(first), Masks(second)
    same = set(first) == set(second) and all(
        first[name].shape == second[name].shape and bool((first[name] == second[name]).all()) for name in first
    )
    assert (a.hash() == b.hash()) == same == (a == b)


def test_one_flipped_entry_changes_the_hash_and_equality():
    mask = torch.ones(3, 7, dtype=torch.bool)
    flipped = mask.clone()
    flipped[2, 6] = False
    assert Masks({"w": mask}) != Masks({"w": flipped})
    assert Masks({"w": mask}).hash() != Masks({"w": flipped}).hash()


def test_hash_depends_on_the_shape_and_not_on_the_order_of_names_or_on_strides():
    mask = torch.rand(4, 6, generator=torch.Generator().manual_seed(0)) < 0.5
    a, b = Masks({"u": mask, "v": ~mask}), Masks({"v": ~mask, "u": mask.t().contiguous().t()})
    assert a == b
    assert a.hash() == b.hash()
    assert Masks({"u": mask}).hash() != Masks({"u": mask.reshape(6, 4)}).hash()


def test_hash_is_the_published_one_for_a_known_mask():
    # sha256 over len-prefixed "w", "2,2" and the byte 0b0110 (entries 1 and 2 kept), computed with hashlib by hand.
    import hashlib

    payload = b"".join(len(part).to_bytes(8, "little") + part for part in (b"w", b"2,2", bytes([0b0110])))
    assert Masks({"w": torch.tensor([[False, True], [True, False]])}).hash() == hashlib.sha256(payload).hexdigest()


def test_counts_are_exact_integers():
    masks = Masks({"a": torch.tensor([True, False, False]), "b": torch.tensor([[True, True]])})
    assert masks.counts() == {"a": (1, 3), "b": (2, 2)}
    assert (masks.num_weights, masks.num_kept, masks.num_pruned) == (5, 3, 2)
    assert masks.sparsity == 2 / 5
    assert masks.density == 3 / 5
    assert repr(masks) == "Masks(2 tensors, 2 of 5 weights pruned)"


def test_masks_of_no_entries_have_sparsity_zero():
    assert Masks({"empty": torch.ones(0, 3, dtype=torch.bool)}).sparsity == 0.0


def test_changing_the_tensor_a_mask_was_made_from_does_not_change_the_mask():
    source = torch.ones(4, dtype=torch.bool)
    masks = Masks({"w": source})
    source.zero_()
    assert masks.num_kept == 4


def test_dense_masks_keep_everything_and_count_tied_parameters_once():
    net = model()
    net.add_module("tied", nn.Linear(4, 3))
    net.tied.weight = net[2].weight
    assert Masks.dense(net).counts() == {n: (p.numel(), p.numel()) for n, p in net.named_parameters()}
    assert list(Masks.dense(net, ["tied.weight"])) == ["tied.weight"]
    with pytest.raises(InputError, match=r"no parameters named \['3.weight'\]"):
        Masks.dense(net, ["3.weight"])


def test_masks_from_nonzeros_take_over_a_pruned_model():
    net = model()
    masks = random_masks(net)
    masks.apply_(net)
    assert Masks.from_nonzeros(net, names=list(masks)) == masks


def test_subset_and_intersection_agree_with_set_algebra():
    net = model()
    a, b = random_masks(net, seed=1), random_masks(net, seed=2)
    both = a.intersection(b)
    kept = {(n, i) for n, m in a.items() for i in m.flatten().nonzero().flatten().tolist()}
    kept &= {(n, i) for n, m in b.items() for i in m.flatten().nonzero().flatten().tolist()}
    assert {(n, i) for n, m in both.items() for i in m.flatten().nonzero().flatten().tolist()} == kept
    assert both.is_subset_of(a)
    assert both.is_subset_of(b)
    assert a.is_subset_of(a)
    assert not a.is_subset_of(b)
    assert not a.is_subset_of(both)


def test_comparing_masks_of_different_parameters_is_refused():
    a = Masks({"w": torch.ones(2, dtype=torch.bool), "v": torch.ones(2, dtype=torch.bool)})
    with pytest.raises(InputError, match=r"differ in names or shapes at \['v'\]"):
        a.is_subset_of(Masks({"w": torch.ones(2, dtype=torch.bool)}))
    with pytest.raises(InputError, match=r"differ in names or shapes at \['v'\]"):
        a.intersection(Masks({"w": a["w"], "v": torch.ones(3, dtype=torch.bool)}))
    assert a != "masks"


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({}, "no masks given"),
        ({"w": torch.ones(2)}, r"mask of 'w' is torch.float32; expected a torch.bool"),
        ({"w": [True]}, r"mask of 'w' is list"),
        ({"w": torch.tensor([True]), "_orig_mod.w": torch.tensor([True])}, "two names mean the same parameter"),
    ],
)
def test_what_is_no_set_of_masks_is_refused(mapping, message):
    with pytest.raises(InputError, match=message):
        Masks(mapping)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda s: s.clear(), "not a packed set of masks"),
        (lambda s: s.pop("w.shape"), r"foreign: \['w.shape'\]"),
        (lambda s: s.update(extra=torch.ones(1)), r"foreign: \['extra'\]"),
        (lambda s: s.update({"w.bits": s["w.bits"][:-1]}), r"needs uint8 of shape \(2,\)"),
        (lambda s: s.update({"w.bits": s["w.bits"].int()}), "dtype torch.int32"),
        (lambda s: s["w.bits"].fill_(255), "bits set beyond its 10 entries"),
        (lambda s: s["w.shape"].neg_(), r"shape \(-2, -5\); sizes are whole and not negative"),
        (lambda s: s.update({"w.shape": torch.tensor([2.0, 5.0])}), r"shape \(2.0, 5.0\); sizes are whole"),
    ],
)
def test_damaged_packed_masks_are_refused(damage, message):
    state = Masks({"w": torch.ones(2, 5, dtype=torch.bool)}).state_dict()
    damage(state)
    with pytest.raises(ArtefactError, match=message):
        Masks.from_state_dict(state)


def test_apply_writes_positive_zeros_and_leaves_kept_weights_bitwise():
    net = model()
    masks = random_masks(net)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    masks.apply_(net)
    for name, parameter in net.named_parameters():
        bits, old = parameter.detach().view(torch.int32), before[name].view(torch.int32)
        mask = masks.get(name, torch.ones_like(parameter, dtype=torch.bool))
        assert torch.equal(bits[mask], old[mask])
        assert not bits[~mask].any()


def test_violations_count_revived_weights_and_check_names_them():
    net = model()
    masks = random_masks(net)
    masks.apply_(net)
    assert masks.violations(net) == {}
    masks.check(net)
    with torch.no_grad():
        pruned = (~masks["2.weight"]).nonzero()
        net[2].weight[tuple(pruned[0])] = 1e-30
        net[2].weight[tuple(pruned[1])] = float("nan")
        net[2].weight[tuple(pruned[2])] = -0.0  # a zero, whatever its sign
    assert masks.violations(net) == {"2.weight": 2}
    with pytest.raises(MaskViolationError, match=r"\{'2.weight': 2\}"):
        masks.check(net)


def test_mask_gradients_zeroes_pruned_gradients_and_skips_missing_ones():
    net = model()
    masks = random_masks(net)
    masks.mask_gradients_(net)
    net(torch.randn(6, 5)).square().sum().backward()
    before = net[0].weight.grad.clone()
    masks.mask_gradients_(net)
    assert torch.equal(net[0].weight.grad, before.where(masks["0.weight"], torch.zeros(())))
    assert before[~masks["0.weight"]].any()


def test_all_masks_that_do_not_fit_are_reported_at_once():
    net = model()
    net.register_parameter("phase", nn.Parameter(torch.ones(2, dtype=torch.complex64)))
    net.append(nn.LazyLinear(2))
    bad = Masks(
        {
            "0.weigth": torch.ones(4, 5, dtype=torch.bool),
            "2.weight": torch.ones(4, 3, dtype=torch.bool),
            "phase": torch.ones(2, dtype=torch.bool),
            "3.weight": torch.ones(2, 3, dtype=torch.bool),
        }
    )
    with pytest.raises(InputError, match="4 of 4 masks do not fit") as caught:
        bad.apply_(net)
    for part in (
        "did you mean '0.weight'?",
        "'2.weight': the mask has shape (4, 3), the parameter (3, 4)",
        "'phase' has dtype torch.complex64",
        "'3.weight' is a lazy parameter",
    ):
        assert part in str(caught.value)


def test_tied_parameters_may_have_two_equal_masks_but_not_two_different_ones():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    mask = torch.eye(3, dtype=torch.bool)
    Masks({"0.weight": mask, "1.weight": mask}).apply_(net)
    assert torch.equal(net[1].weight != 0, mask)
    with pytest.raises(InputError, match=r"'1.weight' and '0.weight' are one tied parameter but their masks differ"):
        Masks({"0.weight": mask, "1.weight": ~mask}).apply_(net)


def test_masks_on_another_device_than_the_model_follow_it():
    net = model()
    masks = random_masks(net)
    assert masks.to("cpu") == masks
    assert masks.to("meta")["0.weight"].device.type == "meta"
    net.to("meta")
    masks.apply_(net)  # would raise if mask and weight stayed apart
    assert masks["0.weight"].device.type == "cpu"


def test_masks_are_copied_unless_they_are_given_away():
    given = torch.tensor([True, False])
    copied, taken = Masks({"w": given}), Masks({"w": given}, copy=False)
    given[0] = False
    assert copied["w"].tolist() == [True, False]
    assert taken["w"].data_ptr() == given.data_ptr()
