"""What training through f(w) costs in a step, counted operation by operation, against the cards."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from paretorch.methods.catalogue import cards
from paretorch.methods.cost_model import layer_shapes
from paretorch.methods.sparsity.gradual.dnw import DNW
from paretorch.methods.sparsity.gradual.dpf import DPF
from paretorch.methods.sparsity.gradual.dst import DST
from paretorch.methods.sparsity.gradual.schedule import Interval
from paretorch.methods.sparsity.gradual.soft_threshold import SoftThreshold
from paretorch.methods.sparsity.gradual.substitution import SubstitutedWeights
from tests.methods.sparsity.gradual.reparametrised import Started

INPUT = torch.randn(5, 20)
METHODS: dict[str, Callable[[], SubstitutedWeights]] = {
    "dpf": lambda: DPF(sparsity=0.5, interval=Interval(steps=10)),
    "dnw": lambda: DNW(sparsity=0.5, refresh_steps=10),
    "soft-threshold": lambda: SoftThreshold(sparsity=0.5),
    "dst": lambda: DST(sparsity=0.5),
}


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4))


class Moved(TorchDispatchMode):
    """Counts operations on tensors of the size of a weight, and the bytes of those tensors that they read and write."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.sizes = {p.numel() for p in model.parameters() if p.dim() > 1}
        self.launches = self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        read = [t for t in tree_leaves(args) if isinstance(t, Tensor) and t.numel() in self.sizes]
        written = [t for t in tree_leaves(made) if isinstance(t, Tensor) and t.numel() in self.sizes]
        if func is torch.ops.aten.copy_.default:
            read = read[1:]
        views = (torch.ops.aten.detach.default, torch.ops.aten.view.default, torch.ops.aten.view.dtype)
        if read and func not in views:
            self.launches += 1
            self.bytes += sum(t.nbytes for t in (*read, *written))
        return made


@pytest.mark.parametrize("name", METHODS)
def test_operations_bytes_and_memory_of_a_step_are_those_predicted(name: str) -> None:
    model, method = mlp(), METHODS[name]()
    run = Started(partial(torch.optim.SGD, lr=0.1), model)
    method.start(run)
    for run.step in (0, 1):  # the second step finds mask and copies
        model(INPUT).square().sum().backward()
        with Moved(model) as moved:
            method.before_forward(run)
            method.before_update(run)
    settings = {setting.name: 0.5 for setting in cards()[name].hyperparams if setting.default is None}
    effects = cards()[name].effects(layer_shapes(mlp(), INPUT), **settings)
    assert (moved.launches, moved.bytes) == (effects["launches"].added, effects["bytes_moved"].added)
    held = [*method._held.values(), *getattr(method, "in_force", {}).values()]
    held += getattr(method, "thresholds", {}).values()
    assert sum(t.nbytes for t in held) == effects["param_bytes"].added
