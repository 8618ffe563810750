"""The relative norm drop against closed forms, and its two scopes on ResNet-56."""

import math

import pytest
import torch
from scipy.stats import norm
from torch import nn

from paretorch.errors import InputError, NoEffectWarning
from paretorch.methods.schedules import norm_drop, norm_drop_of, removed_square, total_square

GAUSSIAN = {0.5: 0.3777, 0.7: 0.5564, 0.8: 0.6616, 0.9: 0.7893, 0.95: 0.8711, 0.98: 0.9346}
LAPLACE = {0.5: 0.258, 0.7: 0.417, 0.8: 0.524, 0.9: 0.671, 0.95: 0.780, 0.98: 0.876}


def smallest_removed(weight, fraction):
    """Bool mask, False at the round(fraction * n) smallest magnitudes."""
    mask = torch.ones(weight.numel(), dtype=torch.bool)
    mask[weight.abs().flatten().argsort(stable=True)[: round(fraction * weight.numel())]] = False
    return mask.view_as(weight)


def drop_of(weight, fraction):
    removed = removed_square({"w": weight}, kept_before=None, kept_after={"w": smallest_removed(weight, fraction)})
    return norm_drop(total_square=float(weight.double().square().sum()), removed_square=removed, fraction=fraction)


def samples(seed=0, n=400_000):
    return torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("fraction", "expected"), GAUSSIAN.items())
def test_gaussian_weights_lose_the_closed_form(fraction, expected):
    q = norm.ppf((1 + fraction) / 2)
    closed = math.sqrt((fraction - 2 * q * norm.pdf(q)) / fraction)
    assert closed == pytest.approx(expected, abs=5e-5)
    weight = torch.randn(400_000, generator=torch.Generator().manual_seed(1))
    assert drop_of(weight, fraction) == pytest.approx(closed, abs=1.5e-3)


@pytest.mark.parametrize(("fraction", "expected"), LAPLACE.items())
def test_laplace_weights_lose_the_known_values(fraction, expected):
    # Magnitudes are exponential: the share below q is s, with q = -log(1 - s), of second moment 2.
    q = -math.log(1 - fraction)
    below = 2 - math.exp(-q) * (q * q + 2 * q + 2)
    assert math.sqrt(below / (2 * fraction)) == pytest.approx(expected, abs=2e-3)
    assert drop_of(-torch.log(samples()), fraction) == pytest.approx(math.sqrt(below / (2 * fraction)), abs=3e-3)


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_uniform_weights_lose_the_fraction_and_constant_ones_lose_everything(fraction):
    assert drop_of(samples() * 3, fraction) == pytest.approx(fraction, abs=2e-3)
    assert drop_of(torch.full((1000,), -0.3, dtype=torch.float64), fraction) == pytest.approx(1.0, rel=1e-12)


def test_the_drop_ignores_scale_and_order():
    weight = torch.randn(5000, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    order = torch.randperm(5000, generator=torch.Generator().manual_seed(3))
    reference = drop_of(weight, 0.7)
    assert drop_of(weight * 1024, 0.7) == reference
    assert drop_of(weight[order], 0.7) == pytest.approx(reference, rel=1e-12)


def test_more_equal_magnitudes_lose_more():
    weight = torch.randn(5000, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    drops = [drop_of(weight.abs() ** power, 0.7) for power in (2.0, 1.0, 0.5, 0.1)]
    assert drops == sorted(drops)
    assert drops[0] < drops[-1] <= 1


def test_a_phase_counts_only_what_it_removed_itself():
    weight = torch.tensor([3.0, 4.0, 5.0, 6.0])
    before, after = torch.tensor([False, True, True, True]), torch.tensor([False, False, True, True])
    assert removed_square({"w": weight}, kept_before={"w": before}, kept_after={"w": after}) == 16.0
    assert removed_square({"w": weight}, kept_before=None, kept_after={"w": after}) == 25.0
    assert removed_square({"w": weight}, kept_before={}, kept_after={"w": after}) == 25.0
    # s is one of the three that were left.
    assert norm_drop(total_square=77.0, removed_square=16.0, fraction=1 / 3) == pytest.approx(math.sqrt(48 / 77))


def test_squares_of_half_precision_weights_are_summed_in_float64():
    weight = torch.full((70_000,), 300.0, dtype=torch.float16)
    mask = torch.zeros_like(weight, dtype=torch.bool)
    assert removed_square({"w": weight}, kept_before=None, kept_after={"w": mask}) == 70_000 * 90_000.0


def test_nothing_removed_and_an_all_zero_model_drop_nothing():
    assert norm_drop(total_square=0.0, removed_square=0.0, fraction=0.5) == 0.0
    assert norm_drop(total_square=4.0, removed_square=0.0, fraction=0.0) == 0.0
    assert norm_drop(total_square=4.0, removed_square=4.0, fraction=1.0) == 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"total_square": -1.0}, r"total_square .* got -1\.0"),
        ({"removed_square": math.nan}, "removed_square .* got nan"),
        ({"fraction": 90}, r"fraction .* in \[0, 1\]; got 90"),
        ({"removed_square": 5.0}, r"removed_square 5\.0 exceeds total_square 4\.0"),
        ({"fraction": 0.0}, "although fraction is 0"),
    ],
)
def test_a_drop_from_bad_numbers_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        norm_drop(**{"total_square": 4.0, "removed_square": 1.0, "fraction": 0.5, **arguments})


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (None, {"v": torch.ones(2, dtype=torch.bool)}, "mask for 'v' and no parameter"),
        (None, {"w": torch.ones(3, dtype=torch.bool)}, r"shape \(3,\); expected torch.bool of shape \(2,\)"),
        (None, {"w": torch.ones(2)}, r"'w' is torch\.float32"),
        ({"w": torch.ones(2, dtype=torch.bool)}, {}, "a mask cannot disappear"),
        (None, {"w": torch.zeros(2, dtype=torch.bool)}, "'w' holds NaN or infinite"),
    ],
)
def test_masks_and_weights_that_do_not_fit_are_refused(before, after, message):
    with pytest.raises(InputError, match=message):
        removed_square({"w": torch.tensor([1.0, math.nan])}, kept_before=before, kept_after=after)


def test_scope_prunable_sums_the_named_parameters_and_all_counts_every_weight_and_bias():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2, bias=False))
    for value, parameter in enumerate(model.parameters(), start=1):
        nn.init.constant_(parameter, value)
    # 4 weights of 1, 2 biases of 2, scale 3 and shift 4 twice each, 4 weights of 5.
    assert total_square(model, names=["0.weight", "2.weight"]) == 4 + 100
    assert total_square(model, names=["0.weight"]) == 4
    assert total_square(model, scope="all") == 4 + 8 + 18 + 32 + 100


def test_scope_all_counts_a_tensor_shared_by_two_modules_twice():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    nn.init.constant_(model[0].weight, 1.0)
    assert total_square(model, scope="all") == 8
    assert total_square(model, names=["0.weight"]) == 4
    assert total_square(model, names=["1.weight"]) == 4


def test_a_norm_of_unknown_scope_or_parameter_is_refused():
    model = nn.Linear(2, 2)
    with pytest.raises(InputError, match="scope 'everything' is unknown"):
        total_square(model, names=["weight"], scope="everything")
    with pytest.raises(InputError, match="no parameter named 'weigth'"):
        total_square(model, names=["weigth"])
    with pytest.raises(InputError, match="got none"):
        total_square(model)
    nn.init.constant_(model.weight, math.inf)
    with pytest.raises(InputError, match="'weight' holds NaN or infinite"):
        total_square(model, scope="all")


def resnet56():
    """The layers of ResNet-56 for CIFAR (option-A shortcuts have none), in PyTorch's default initialisation."""
    modules, width = [nn.Conv2d(3, 16, 3, bias=False), nn.BatchNorm2d(16)], 16
    for out in (16, 32, 64):
        for _ in range(9):
            modules += [nn.Conv2d(width, out, 3, bias=False), nn.BatchNorm2d(out)]
            modules += [nn.Conv2d(out, out, 3, bias=False), nn.BatchNorm2d(out)]
            width = out
    return nn.Sequential(*modules, nn.Linear(64, 10))


@pytest.mark.parametrize(("sparsity", "prunable", "everything"), [(0.9, 0.839, 0.420), (0.5, 0.466, 0.234)])
def test_the_scope_halves_the_drop_of_resnet56_at_initialisation(sparsity, prunable, everything):
    torch.manual_seed(0)
    model = resnet56()
    weights = {name: p.detach() for name, p in model.named_parameters() if p.ndim > 1}
    flat = torch.cat([weight.flatten() for weight in weights.values()])
    masks = smallest_removed(flat, sparsity).split([weight.numel() for weight in weights.values()])
    after = {name: mask.view_as(weights[name]) for name, mask in zip(weights, masks, strict=True)}
    removed = removed_square(weights, kept_before=None, kept_after=after)
    of_prunable, of_all = total_square(model, names=weights), total_square(model, scope="all")
    assert norm_drop(total_square=of_prunable, removed_square=removed, fraction=sparsity) == pytest.approx(
        prunable, abs=0.01
    )
    assert norm_drop(total_square=of_all, removed_square=removed, fraction=sparsity) == pytest.approx(
        everything, abs=0.01
    )


def test_norm_drop_of_a_model_is_that_of_its_parts_in_the_first_and_in_a_later_step():
    model = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4))
    weights = {"0.weight": model[0].weight.detach().clone(), "1.weight": model[1].weight.detach().clone()}
    first = {name: smallest_removed(weight, 0.5) for name, weight in weights.items()}
    total = sum(float(w.double().square().sum()) for w in weights.values())
    removed = sum(float(w[~first[name]].double().square().sum()) for name, w in weights.items())
    assert norm_drop_of(model, masks=first) == pytest.approx(math.sqrt(removed / total / 0.5), rel=1e-12)

    with torch.no_grad():
        for name, mask in first.items():
            model.get_parameter(name).mul_(mask)
    second = {name: smallest_removed(model.get_parameter(name).detach(), 0.8) for name in first}
    kept_total = total - removed
    now = sum(float(w[first[name] & ~second[name]].double().square().sum()) for name, w in weights.items())
    num_removed, remaining = 15 - 6 + 10 - 4, 15 + 10
    expected = math.sqrt(now / kept_total / (num_removed / remaining))
    assert norm_drop_of(model, masks=second, previous=first) == pytest.approx(expected, rel=1e-12)


def test_norm_drop_after_the_masks_were_applied_warns():
    model = nn.Sequential(nn.Linear(6, 5))
    masks = {"0.weight": smallest_removed(model[0].weight.detach(), 0.5)}
    with torch.no_grad():
        model[0].weight.mul_(masks["0.weight"])
    with pytest.warns(NoEffectWarning, match="15 weights that this step removes are zero already"):
        assert norm_drop_of(model, masks=masks) == 0
    assert norm_drop_of(model, masks=masks, previous=masks) == 0  # nothing is removed, so nothing is wrong
