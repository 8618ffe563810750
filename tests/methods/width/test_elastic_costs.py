"""The cost models of ordered dropout and the sandwich, against counted FLOPs of every profile that can be drawn."""

from itertools import product

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from paretorch.methods.catalogue import cards
from paretorch.methods.cost_model import Effect, layer_shapes
from paretorch.methods.width.grid import Grids, grids
from paretorch.methods.width.groups import Profile
from paretorch.methods.width.ordered import OrderedModel
from paretorch.methods.width.statistics import reestimate_at
from tests.methods.width.handmade import perceptron, perceptron_groups
from tests.methods.width.mixed import INPUTS, mixed, mixed_groups

SIZES, INPUT = (20, 16, 8, 12, 4), torch.randn(5, 20)
LEVELS, MIN_RATIO = 4, 0.5
CARDS = cards()


def ordered() -> OrderedModel:
    return OrderedModel(perceptron(*SIZES), perceptron_groups(*SIZES))


def widths() -> Grids:
    """Four levels per group, of which those below a half are left out."""
    groups = perceptron_groups(*SIZES)
    return grids(groups, quantum={g.name: g.size // LEVELS for g in groups.groups}, min_ratio=MIN_RATIO)


def flops(model: OrderedModel, profile: Profile) -> tuple[int, int]:
    """Counted FLOPs of a forward and of a backward pass."""
    with model.at(profile):
        with FlopCounterMode(display=False) as forward:
            loss = model.model(INPUT).square().sum()
        with FlopCounterMode(display=False) as backward:
            loss.backward()
    return forward.get_total_flops(), backward.get_total_flops()


def all_draws(kind: str) -> list[Profile]:
    """Every profile that the sampler can draw, as often as it is likely."""
    grid, full = widths(), SIZES[1:-1]
    if kind == "uniform":
        return list(zip(*grid, strict=True))
    if kind == "independent":
        return list(product(*grid))
    return [(*full[:g], v, *full[g + 1 :]) for g, options in enumerate(grid) for v in options]


@pytest.mark.parametrize("kind", ["uniform", "independent", "single layer"])
@pytest.mark.parametrize("full_pass", ["off", "on"])
def test_a_step_of_ordered_dropout_costs_the_mean_of_all_its_draws(kind: str, full_pass: str) -> None:
    model = ordered()
    full = flops(model, model.groups.full)
    counts = [flops(model, profile) for profile in all_draws(kind)]
    settings = {"sampler": kind, "levels": LEVELS, "min_ratio": MIN_RATIO, "full_pass": full_pass}
    effects = CARDS["ordered-dropout"].effects(layer_shapes(model.model, INPUT), batch=5, **settings)
    for number, which in enumerate(("flops_forward", "flops_backward")):
        mean = sum(count[number] for count in counts) / len(counts) + (full_pass == "on") * full[number]
        assert effects[which].of(full[number]) == pytest.approx(mean, rel=1e-12)


@pytest.mark.parametrize("samples", [2, 4])
def test_a_sandwich_costs_both_ends_and_the_mean_of_what_lies_between(samples: int) -> None:
    model, grid = ordered(), widths()
    full, narrowest = flops(model, model.groups.full), flops(model, tuple(w[0] for w in grid))
    between = [flops(model, profile) for profile in all_draws("uniform")]
    effects = CARDS["universally-slimmable"].effects(
        layer_shapes(model.model, INPUT), batch=5, samples=samples, levels=LEVELS, min_ratio=MIN_RATIO, batches=3
    )
    for number, which in enumerate(("flops_forward", "flops_backward")):
        mean = sum(count[number] for count in between) / len(between)
        expected = full[number] + narrowest[number] + (samples - 2) * mean
        assert effects[which].of(full[number]) == pytest.approx(expected, rel=1e-12)
    assert effects["extra_forward"] == Effect(added=3)


def test_calibration_of_a_width_is_one_forward_pass_per_batch() -> None:
    model, calls = mixed(), []
    model.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    batches = [torch.randn(INPUTS, dtype=torch.float64) for _ in range(3)]
    reestimate_at(OrderedModel(model, mixed_groups()), (3, 1, 1, 2), batches)
    assert calls == [False] * 3


def test_one_of_ten_layers_at_a_time_saves_less_than_a_twentieth_of_a_step() -> None:
    """The reason why sampling itself is no speed-up."""
    sizes = (64,) * 12
    layers = layer_shapes(perceptron(*sizes), torch.randn(1, 64))
    effects = CARDS["ordered-dropout"].effects(layers, levels=2, min_ratio=0.5)
    assert effects["flops_forward"].factor == pytest.approx(1 - 0.25 * 20 / 10 / 11, rel=1e-12)
