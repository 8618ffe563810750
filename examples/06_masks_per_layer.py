"""Where the zeros go: ways to spread 80 % sparsity over the layers of one network, in exact counts."""

import torch
from torch import nn

import paretorch as pt

torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(4, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.Flatten(),
    nn.Linear(32 * 16, 64), nn.ReLU(), nn.Linear(64, 8),
)  # fmt: skip

ways = {name: pt.magnitude_masks(model, sparsity=0.8, allocation=name) for name in ("global", "uniform", "erk", "lamp")}
ways["own"] = pt.magnitude_masks(model, allocation={"0.*": 0.5, "7.*": 0.2, "*": 0.82})
ways["2:4"] = pt.nm_masks(model, n=2, m=4)
ways["keep last"] = pt.magnitude_masks(model, sparsity=0.8, exclude=["7.*"])

layers = list(ways["global"])
print(f"{'weights kept':>12}", *(f"{name:>10}" for name in layers), f"{'all':>7} {'sparsity':>9}")
for way, masks in ways.items():
    kept = [masks.counts()[name][0] if name in masks else model.get_parameter(name).numel() for name in layers]
    print(f"{way:>12}", *(f"{count:10}" for count in kept), f"{sum(kept):7} {masks.sparsity:9.4f}")
total = sum(model.get_parameter(name).numel() for name in layers)
print(f"{'all weights':>12}", *(f"{model.get_parameter(name).numel():10}" for name in layers), f"{total:7}")

same = {ways[name].num_pruned for name in ("global", "uniform", "erk", "lamp")}
print(f"global, uniform, erk and lamp prune exactly the same number of weights: {same == {round(0.8 * total)}}")
