"""What the cards of gradual methods say of the finished model and of its training, against a count."""

import pytest
from torch import nn

from paretorch.measurement.macs import count_macs
from paretorch.methods.catalogue import cards
from paretorch.methods.cost_model import layer_shapes
from paretorch.methods.method import Method
from paretorch.methods.schedules import DenseSchedule, Linear
from paretorch.methods.sparsity.gradual.gmp import GMP
from paretorch.methods.sparsity.gradual.schedule import Interval
from paretorch.pipelines.bimp import BIMP
from paretorch.pipelines.compression import Start
from tests.methods.sparsity.gradual.problems import NUM_WEIGHTS, STEPS_PER_EPOCH, Small, task, trained, trainer

# Methods that end at exactly the sparsity asked for, the same in every layer, so that one number says what is left.
EXACT: dict[str, Method] = {"gmp": GMP(sparsity=0.75, interval=Interval(steps=5), allocation="uniform")}


def assert_as_predicted(name: str, model: nn.Module, sparsity: float, **settings: float) -> None:
    inputs = task().example_inputs()
    effects = cards()[name].effects(layer_shapes(Small(), inputs), sparsity=sparsity, **settings)
    dense = count_macs(Small(), inputs).dense
    assert effects["flops_forward"].of(dense) == pytest.approx(count_macs(model.eval(), inputs).nonzero)
    kept = sum(int((layer.weight != 0).sum()) for layer in (model.hidden, model.output))
    assert effects["param_bytes"].of(32 * NUM_WEIGHTS) == pytest.approx(32 * kept + NUM_WEIGHTS)  # in bits, with masks


@pytest.mark.parametrize("name", sorted(EXACT))
def test_the_finished_model_has_the_predicted_multiplications_and_bits(name: str) -> None:
    model = trained(EXACT[name], steps=20)
    assert_as_predicted(name, model, 0.75)


def test_budgeted_pruning_costs_the_predicted_epochs_and_leaves_the_predicted_model() -> None:
    bimp = BIMP(sparsity=0.5, epochs=4, dense_epochs=3)
    start = Start(model=Small(), schedule=DenseSchedule.of(Linear(num_steps=120, peak=0.1)))
    result = bimp.run_from(trainer(), start)
    masks = result.edits[0].masks
    layers = {name.removesuffix(".weight"): 1 - kept / total for name, (kept, total) in masks.counts().items()}
    assert_as_predicted("bimp", result.model, layers, epochs=4, dense_epochs=3)
    inputs = task().example_inputs()
    effects = cards()["bimp"].effects(layer_shapes(Small(), inputs), sparsity=0.5, epochs=4, dense_epochs=3)
    steps = [entry["steps"] for entry in result.entries if "steps" in entry]
    assert steps[0] + effects["epochs"].added * STEPS_PER_EPOCH == effects["epochs"].of(3) * STEPS_PER_EPOCH
    assert sum(steps) == effects["epochs"].of(3) * STEPS_PER_EPOCH == 48
