"""How far results differ: five float64 steps with and without a method tell a change of meaning from one of rounding.

The difference is max |a - b| / max |b| over parameters and running statistics. What is math-equivalent stays below
1e-9; what is semantic does not.
"""

from collections.abc import Callable, Iterable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint_sequential

from paretorch.methods.averaging.batchnorm import reestimate_batchnorm
from paretorch.methods.catalogue import all_cards, cards
from paretorch.methods.schedules import DenseSchedule, Linear, retraining_schedule
from paretorch.methods.sparsity.magnitude import magnitude_masks
from paretorch.methods.sparsity.masks import Masks
from paretorch.methods.sparsity.patterns import filter_masks, nm_masks

STEPS, PEAK, BOUND = 5, 0.1, 1e-9
Forward = Callable[[nn.Sequential, Tensor], Tensor]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(4, 8, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(128, 8), nn.BatchNorm1d(8), nn.Tanh(),
        nn.Linear(8, 4),
    ).double()  # fmt: skip


def batches(count: int = STEPS) -> Iterable[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        inputs = torch.randn(12, 4, 4, 4, generator=generator, dtype=torch.float64)
        yield inputs, torch.randint(0, 4, (12,), generator=generator)


def trained(
    model: nn.Sequential,
    *,
    rates: Iterable[float] = (PEAK,) * STEPS,
    forward: Forward = nn.Sequential.__call__,
    parts: int = 1,
    masks: Masks | None = None,
) -> dict[str, Tensor]:
    """Parameters and buffers after the steps, each in `parts` micro-batches."""
    optimizer = torch.optim.SGD(model.parameters(), lr=PEAK, momentum=0.9)
    if masks is not None:
        masks.attach(model, optimizer)
    for rate, (inputs, targets) in zip(rates, batches(), strict=True):
        optimizer.param_groups[0]["lr"] = rate
        for x, y in zip(inputs.chunk(parts), targets.chunk(parts), strict=True):
            (nn.functional.cross_entropy(forward(model, x), y) / parts).backward()
        optimizer.step()
        optimizer.zero_grad()
    return {name: value.detach() for name, value in model.state_dict().items() if value.is_floating_point()}


def difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return max(float((one[name] - other[name]).abs().max() / other[name].abs().max()) for name in other)


def pruned(find_masks: Callable[[nn.Module], Masks]) -> dict[str, Tensor]:
    model = network()
    find_masks(model).apply_(model)
    return trained(model)


def masked() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """From the same pruned weights, with the masks in force and without them."""
    held, free = network(), network()
    masks = magnitude_masks(held, sparsity=0.5)
    masks.apply_(free)
    return trained(held, masks=masks), trained(free)


def reestimated() -> dict[str, Tensor]:
    model = network()
    reestimate_batchnorm(model, [x for x, _ in batches(2)])
    return trained(model)


def scheduled(name: str) -> dict[str, Tensor]:
    """Against the dense run's peak at every step; FT goes on at the dense run's lowest rate instead."""
    dense = DenseSchedule.of(Linear(num_steps=20, peak=PEAK))
    lr = 0.01 if name == "ft" else None
    return trained(
        network(), rates=retraining_schedule(name, num_steps=STEPS, dense=dense, norm_drop=0.5, lr=lr).trace()
    )


SEMANTIC: dict[str, Callable[[], dict[str, Tensor]]] = {
    "magnitude": lambda: pruned(lambda model: magnitude_masks(model, sparsity=0.5)),
    "nm-pattern": lambda: pruned(lambda model: nm_masks(model, n=2, m=4)),
    "filter-norm": lambda: pruned(lambda model: filter_masks(model, sparsity=0.5)),
    "bn-reestimate": reestimated,
    **{name: (lambda name=name: scheduled(name)) for name in ("ft", "lrw", "slr", "clr", "llr", "allr")},
}


def without_norm(model: nn.Sequential) -> nn.Sequential:
    """Micro-batches change batch norm, as the cards say."""
    model[4] = nn.Identity()
    return model


class Attention(nn.Module):
    """Attention over four tokens of width 16, fused or written out."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.fused, self.mix = fused, nn.Linear(16, 48)

    def forward(self, images: Tensor) -> Tensor:
        query, key, value = self.mix(images.flatten(2)).chunk(3, dim=-1)
        if self.fused:
            mixed: Tensor = nn.functional.scaled_dot_product_attention(query, key, value)
        else:
            mixed = torch.softmax(query @ key.mT / 4, dim=-1) @ value
        return mixed.flatten(1)


def attending(*, fused: bool) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return trained(nn.Sequential(Attention(fused), nn.Linear(64, 4)).double())


EQUIVALENT: dict[str, Callable[[], tuple[dict[str, Tensor], dict[str, Tensor]]]] = {
    "channels-last": lambda: (
        trained(network(), forward=lambda model, x: model.to(memory_format=torch.channels_last)(x)),
        trained(network()),
    ),
    "activation-checkpointing": lambda: (
        trained(
            without_norm(network()), forward=lambda model, x: checkpoint_sequential(model, 3, x, use_reentrant=False)
        ),
        trained(without_norm(network())),
    ),
    "flash-attention": lambda: (attending(fused=True), attending(fused=False)),
    "gpipe": lambda: (trained(without_norm(network()), parts=3), trained(without_norm(network()))),
}


def test_every_method_that_ships_is_on_one_of_the_two_sides() -> None:
    shipped = {name: card.semantic_class for name, card in cards().items()}
    assert {name for name, kind in shipped.items() if kind == "semantic"} == {*SEMANTIC, "masks"}
    assert {name for name, kind in shipped.items() if kind == "math_equivalent"} <= EQUIVALENT.keys()
    assert {all_cards()[name].semantic_class for name in EQUIVALENT} == {"math_equivalent"}


def test_two_runs_without_any_method_are_the_same_bits() -> None:
    assert difference(trained(network()), trained(network())) == 0.0


@pytest.mark.parametrize("name", sorted(SEMANTIC))
def test_a_semantic_method_leaves_the_trajectory(name: str) -> None:
    assert difference(SEMANTIC[name](), trained(network())) > 1e-3


def test_masks_in_force_leave_the_trajectory_of_the_same_weights_without_them() -> None:
    assert difference(*masked()) > 1e-3


@pytest.mark.parametrize("name", sorted(EQUIVALENT))
def test_an_equivalent_method_stays_on_the_trajectory_within_rounding(name: str) -> None:
    with_it, without = EQUIVALENT[name]()
    assert difference(with_it, without) < BOUND


def test_micro_batches_are_not_equivalent_where_batch_norm_sees_them() -> None:
    assert difference(trained(network(), parts=3), trained(network())) > 1e-3
