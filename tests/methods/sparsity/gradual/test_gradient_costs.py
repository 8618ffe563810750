"""What the cards of GSM, LC and RigL say of the finished model, against a count of its multiplications and bits."""

from typing import Literal

import pytest
from torch import nn

from paretorch.measurement.macs import count_macs
from paretorch.methods.catalogue import cards
from paretorch.methods.cost_model import Effects, layer_shapes
from paretorch.methods.sparsity.gradual.base import GradualMethod
from paretorch.methods.sparsity.gradual.gsm import GSM
from paretorch.methods.sparsity.gradual.lc import LC
from paretorch.methods.sparsity.gradual.rigl import RigL
from tests.methods.sparsity.gradual.problems import NUM_WEIGHTS, Small, task, trained

INPUTS = task().example_inputs()
LAYERS = layer_shapes(Small(), INPUTS)


def assert_counted(model: nn.Module, effects: Effects) -> None:
    macs = count_macs(model.eval(), INPUTS)
    assert effects["flops_forward"].of(macs.dense) == pytest.approx(macs.nonzero, rel=1e-12)
    kept = sum(int((layer.weight != 0).sum()) for layer in (model.hidden, model.output))
    assert effects["param_bytes"].of(32 * NUM_WEIGHTS) == pytest.approx(32 * kept + NUM_WEIGHTS, rel=1e-12)  # in bits


@pytest.mark.parametrize("method", [GSM(sparsity=0.75), LC(sparsity=0.75)], ids=["gsm", "lc"])
def test_the_pruned_model_is_predicted_from_the_sparsity_of_its_layers(method: GradualMethod) -> None:
    model = trained(method, steps=10)
    layers = {name.removesuffix(".weight"): 1 - kept / total for name, (kept, total) in method.masks.counts().items()}
    assert_counted(model, cards()[method.name].effects(LAYERS, sparsity=layers))


@pytest.mark.parametrize("allocation", ["erk", "uniform"])
@pytest.mark.parametrize("sparsity", [0.3, 0.75, 0.9])
def test_a_rigl_model_is_predicted_from_sparsity_and_allocation_alone(
    sparsity: float, allocation: Literal["erk", "uniform"]
) -> None:
    method = RigL(sparsity=sparsity, allocation=allocation, interval=4)
    model = trained(method, steps=20)
    for name, mask in method.masks.items():  # what exists counts, also where it is zero and its gradient always was
        model.get_parameter(name).data.copy_(mask)
    assert_counted(model, cards()["rigl"].effects(LAYERS, sparsity=sparsity, allocation=allocation))
