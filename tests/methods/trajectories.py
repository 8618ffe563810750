"""Five float64 steps of a small network, with and without a method, and how far apart two such runs end."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from paretorch.methods.sparsity.masks import Masks

STEPS, PEAK = 5, 0.1
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
