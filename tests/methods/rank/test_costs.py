"""The cost model of Maestro against counts of a factored network."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from paretorch.measurement.macs import count_macs
from paretorch.methods.catalogue import cards
from paretorch.methods.cost_model import layer_shapes
from paretorch.methods.rank.factorize import factorise_
from tests.methods.width.handmade import perceptron


def flops(model: nn.Module, inputs: torch.Tensor) -> tuple[int, int]:
    with FlopCounterMode(display=False) as forward:
        outputs = model(inputs).sum()
    with FlopCounterMode(display=False) as backward:
        outputs.backward()
    return forward.get_total_flops(), backward.get_total_flops()


def test_factored_layers_cost_the_predicted_products_and_weights():
    model, inputs = perceptron(20, 16, 8, 4), torch.randn(5, 20, requires_grad=True)
    layers = layer_shapes(model, inputs.detach())
    before = flops(model, inputs)
    weights = sum(layer.num_weights for layer in layers)
    for share in (1.0, 0.5, 0.25):
        factored = perceptron(20, 16, 8, 4)
        names = {"0": 16, "2": 8, "4": 4}
        factorise_(factored, rank={name: round(share * full) for name, full in names.items()})
        effects = cards()["maestro"].effects(layers, rank_share=share)
        after = flops(factored, inputs)
        assert round(effects["flops_forward"].of(before[0])) == after[0]
        assert round(effects["flops_backward"].of(before[1])) == after[1]
        left = sum(p.numel() for name, p in factored.named_parameters() if name.endswith("weight"))
        assert round(effects["param_bytes"].of(weights)) == left
        assert count_macs(factored, inputs.detach()).dense * 2 * 5 == after[0]
        assert effects["launches"].added == 3
