"""The cost model of soft sharing against counts of a network with and without templates."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from paretorch.methods.catalogue import cards
from paretorch.methods.cost_model import layer_shapes
from paretorch.methods.sharing.templates import share_


def perceptron() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(),
        nn.Linear(8, 3),
    )  # fmt: skip


class Products(TorchDispatchMode):
    """Counts matrix products without a bias, which is how weights are made."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += func is torch.ops.aten.mm.default
        return func(*args, **(kwargs or {}))


def flops(model: nn.Module, inputs: Tensor) -> tuple[int, int]:
    with FlopCounterMode(display=False) as forward:
        outputs = model(inputs).sum()
    with FlopCounterMode(display=False) as backward:
        outputs.backward()
    return forward.get_total_flops(), backward.get_total_flops()


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("batch", [5, 11])
def test_parameters_operations_and_launches_are_the_predicted_ones(number: int, batch: int) -> None:
    plain, shared, inputs = perceptron(), perceptron(), torch.randn(batch, 6)
    share_(shared, templates=number)
    layers = layer_shapes(plain, inputs)
    effects = cards()["soft-sharing"].effects(layers, batch=batch, templates=number)
    weights = sum(layer.num_weights for layer in layers)
    left = sum(p.numel() for name, p in shared.named_parameters() if not name.endswith("bias"))
    assert round(effects["param_bytes"].of(weights)) == left == 6 * 8 + 8 * 3 + number * 64 + 3 * number
    before, after = flops(plain, inputs), flops(shared, inputs)
    assert effects["flops_forward"].of(before[0]) == after[0]
    assert effects["flops_backward"].of(before[1]) == after[1]
    with Products() as products:
        shared(inputs)
    assert products.calls == effects["launches"].added == 3


def test_where_no_shape_has_enough_layers_nothing_changes() -> None:
    effects = cards()["soft-sharing"].effects(layer_shapes(perceptron(), torch.randn(2, 6)), templates=4)
    assert {(effect.factor, effect.added) for effect in effects.values()} == {(1.0, 0)}
