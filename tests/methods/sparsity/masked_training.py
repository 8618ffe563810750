"""A small model, its batches, random masks and a training loop that know nothing of enforcement."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adagrad, Adam, AdamW, NAdam, Optimizer, RMSprop

from paretorch.methods.sparsity.masks import Masks

Make = Callable[[list[Tensor]], Optimizer]

OPTIMIZERS: dict[str, Make] = {
    "sgd": lambda p: SGD(p, lr=0.1),
    "sgd-nesterov-decay": lambda p: SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-2),
    "sgd-foreach": lambda p: SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-2, foreach=True),
    "sgd-fused": lambda p: SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-2, fused=True),
    "adam": lambda p: Adam(p, lr=0.01, weight_decay=1e-2),
    "adam-amsgrad": lambda p: Adam(p, lr=0.01, amsgrad=True),
    "adamw-foreach": lambda p: AdamW(p, lr=0.01, weight_decay=1e-2, foreach=True),
    "adamw-fused": lambda p: AdamW(p, lr=0.01, weight_decay=1e-2, fused=True),
    "nadam": lambda p: NAdam(p, lr=0.01),
    "rmsprop": lambda p: RMSprop(p, lr=0.01, momentum=0.9),
    "adagrad": lambda p: Adagrad(p, lr=0.01),
}


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def random_masks(net: nn.Module, *, seed: int = 0, density: float = 0.3) -> Masks:
    """Random masks that keep each last row whole, so that every hidden unit reaches an output and gets a gradient."""
    generator = torch.Generator().manual_seed(seed)
    masks = {n: torch.rand(p.shape, generator=generator) < density for n, p in net.named_parameters() if p.dim() > 1}
    for mask in masks.values():
        mask[-1] = True
    return Masks(masks)


def batch(step: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(100 + step)
    return torch.randn(16, 6, generator=generator), torch.randint(0, 3, (16,), generator=generator)


def train(net: nn.Module, optimizer: Optimizer, steps: range, *, clip: float | None = None) -> None:
    for step in steps:
        x, y = batch(step)
        nn.functional.cross_entropy(net(x), y).backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(net.parameters(), clip)
        optimizer.step()
        optimizer.zero_grad()


def assert_exact_zeros(net: nn.Module, masks: Masks) -> None:
    for name, mask in masks.items():
        assert not net.get_parameter(name).detach().view(torch.int32)[~mask].any(), name
