"""The cost model of every method that ships, executed and compared with a count on a small network."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from paretorch.measurement.macs import count_macs
from paretorch.methods.averaging.batchnorm import reestimate_batchnorm
from paretorch.methods.catalogue import cards
from paretorch.methods.cost_model import COST_KINDS, layer_shapes
from paretorch.methods.schedules import DenseSchedule, Linear, as_scheduler, retraining_schedule
from paretorch.methods.sparsity.magnitude import magnitude_masks
from paretorch.methods.sparsity.masks import Masks
from paretorch.methods.sparsity.packing import pack
from paretorch.methods.sparsity.patterns import filter_masks, nm_masks
from paretorch.methods.width.allocation.costs import cost_of
from paretorch.methods.width.cutting import plan_cut
from paretorch.methods.width.dpod import DPOD
from paretorch.methods.width.dpod_events import ShrinkPlan
from paretorch.methods.width.importance import unit_importance
from paretorch.methods.width.keeping import keep_within
from paretorch.methods.width.profile import allocate
from paretorch.methods.width.tables import sensitivity
from paretorch.methods.width.tracing import find_groups
from paretorch.training.settings import TrainSettings
from paretorch.training.trainer import Trainer
from tests.methods.width.handmade import perceptron_groups
from tests.methods.width.test_dpod import GROUPS, calibration
from tests.methods.width.test_dpod import task as regression

CARDS = cards()
SCHEDULES = ("ft", "lrw", "slr", "clr", "llr", "allr")
ELASTIC = {"ordered-dropout", "universally-slimmable"}  # compared in width/test_elastic_costs.py
TRAINED = {"structured-cs", "maestro"}  # in width/test_structured_continuous.py and rank/test_costs.py
FROM_SCRATCH = {"gmp", "bimp"}  # in sparsity/gradual/test_costs.py
ENTRY_BY_ENTRY = {"gsm", "lc", "rigl"}  # in sparsity/gradual/test_gradient_costs.py
SUBSTITUTED = {"dpf", "dnw", "soft-threshold", "dst"}  # in sparsity/gradual/test_substitution_costs.py
SOFT_MASKS = {"continuous-sparsification"}  # in sparsity/continuous/test_continuous.py
SHARED = {"soft-sharing"}  # in sharing/test_costs.py
SOUPS = {"model-soups", "sms", "swa"}  # in averaging/test_costs.py
COMPARED = {
    "magnitude",
    "masks",
    "nm-pattern",
    "filter-norm",
    "group-importance",
    "bn-reestimate",
    "distillation",  # in distillation/test_costs.py
    "avagrad",  # in optim/test_costs.py
    "dpod",
    "profile-search",
    *ELASTIC,
    *TRAINED,
    *FROM_SCRATCH,
    *ENTRY_BY_ENTRY,
    *SUBSTITUTED,
    *SOFT_MASKS,
    *SHARED,
    *SOUPS,
    *SCHEDULES,
}
MLP_INPUT, CNN_INPUT = torch.randn(5, 20), torch.randn(5, 3, 8, 8)
INPUTS = torch.randn(5, 6, dtype=torch.float64)  # of the network that shrinks


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4))


def cnn() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(256, 4))


NETWORKS = {"mlp": (mlp, MLP_INPUT), "cnn": (cnn, CNN_INPUT)}


def stored_bytes(model: nn.Module, masks: Masks) -> int:
    """Bytes of the kept float32 weights and of the masks as packed bits."""
    return sum(4 * int(mask.sum()) + pack(mask).numel() for mask in masks.values())


def test_a_count_stands_behind_the_cost_model_of_every_method_that_ships() -> None:
    assert set(CARDS) == COMPARED, "add a comparison to this file"


@pytest.mark.parametrize("name", sorted(COMPARED))
def test_a_cost_model_speaks_of_known_kinds_and_charges_what_its_card_says(name: str) -> None:
    card = CARDS[name]
    settings = {setting.name: 0.5 for setting in card.hyperparams if setting.default is None}
    effects = card.effects(layer_shapes(mlp(), MLP_INPUT), batch=8, **settings)
    assert effects
    assert set(effects) <= set(COST_KINDS)
    assert ("epochs" in effects) == ("retraining epochs" in card.charges)
    assert ("extra_forward" in effects) == bool(set(card.charges) & {"calibration passes", "scoring passes"})
    if card.cost_scope == "inference":
        assert not set(effects) - {"flops_forward", "param_bytes", "activation_bytes", "launches"}
        assert any(resource.startswith("inference ") for resource in (*card.relieves, *card.worsens))


@pytest.mark.parametrize("network", NETWORKS)
def test_layer_shapes_are_those_of_the_network_in_the_order_of_the_forward_pass(network: str) -> None:
    make, inputs = NETWORKS[network]
    model = make()
    layers = layer_shapes(model, inputs)
    named = {name: module for name, module in model.named_modules() if hasattr(module, "weight")}
    assert [layer.name for layer in layers] == list(named)
    assert [layer.weight for layer in layers] == [tuple(module.weight.shape) for module in named.values()]
    assert [layer.num_weights for layer in layers] == [module.weight.numel() for module in named.values()]
    assert sum(layer.macs for layer in layers) == count_macs(model, inputs).dense


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("allocation", ["global", "uniform", "erk", "lamp", "random"])
def test_pruned_macs_and_stored_bytes_are_predicted_from_the_sparsity_of_the_layers(
    network: str, allocation: str
) -> None:
    make, inputs = NETWORKS[network]
    model = make()
    masks = magnitude_masks(model, sparsity=0.7, allocation=allocation)
    layers, dense = layer_shapes(model, inputs), count_macs(model, inputs).dense
    sparsity = {name.removesuffix(".weight"): 1 - float(mask.double().mean()) for name, mask in masks.items()}
    predicted = CARDS["magnitude"].effects(layers, sparsity=sparsity)
    masks.apply_(model)
    assert round(predicted["flops_forward"].of(2 * dense)) == 2 * count_macs(model, inputs).nonzero
    weights_bytes = 4 * sum(layer.num_weights for layer in layers)
    assert predicted["param_bytes"].of(weights_bytes) == pytest.approx(stored_bytes(model, masks), rel=1e-12)


def test_one_sparsity_for_all_layers_is_the_uniform_allocation() -> None:
    model = mlp()
    layers, dense = layer_shapes(model, MLP_INPUT), count_macs(model, MLP_INPUT).dense
    magnitude_masks(model, sparsity=0.75, allocation="uniform").apply_(model)
    predicted = CARDS["magnitude"].effects(layers, sparsity=0.75)["flops_forward"]
    assert predicted.factor == 0.25
    assert predicted.of(dense) == count_macs(model, MLP_INPUT).nonzero


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (4, 8), (4, 4)])
def test_an_nm_pattern_leaves_exactly_the_predicted_nonzeros_and_payload(n: int, m: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 8))
    inputs = torch.randn(3, 16)
    layers, dense = layer_shapes(model, inputs), count_macs(model, inputs).dense
    masks = nm_masks(model, n=n, m=m)
    masks.apply_(model)
    effects = CARDS["nm-pattern"].effects(layers, n=n, m=m)
    assert effects["flops_forward"].of(dense) == count_macs(model, inputs).nonzero == dense * n / m
    weights = sum(layer.num_weights for layer in layers)
    index_bits = {4: 2, 8: 3}[m]  # a position in a group of 4 takes two bits, as in the payload of 2:4
    assert effects["param_bytes"].of(32 * weights) == masks.num_kept * (32 + index_bits)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_network_whose_filters_were_cut_out_has_the_predicted_macs_and_weights(network: str) -> None:
    make, inputs = NETWORKS[network]
    model = make()
    layers, dense = layer_shapes(model, inputs), count_macs(model, inputs).dense
    effects = CARDS["filter-norm"].effects(layers, sparsity=0.5)
    masks = filter_masks(model, sparsity=0.5, exclude=[f"{layers[-1].name}.weight"])
    groups = find_groups(model, inputs)
    assert groups.names == tuple(layer.name for layer in layers[:-1])
    keep = [masks[f"{name}.weight"].flatten(1).any(dim=1).nonzero().flatten() for name in groups.names]
    plan_cut(groups, keep).apply_(model)
    assert round(effects["flops_forward"].of(dense), 6) == count_macs(model, inputs).dense < dense / 2
    weights = sum(layer.num_weights for layer in layers)
    left = sum(parameter.numel() for parameter in model.parameters() if parameter.dim() > 1)
    assert round(effects["param_bytes"].of(weights), 6) == left


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("ratio", [0.25, 0.5, 1.0])
def test_the_network_that_was_cut_by_importance_has_the_predicted_macs_and_weights(network: str, ratio: float) -> None:
    make, inputs = NETWORKS[network]
    model = make()
    layers, dense = layer_shapes(model, inputs), count_macs(model, inputs).dense
    effects = CARDS["group-importance"].effects(layers, ratio=ratio)
    groups = find_groups(model, inputs)
    plan_cut(groups, keep_within(groups, unit_importance(model, groups), ratio=ratio)).apply_(model)
    assert round(effects["flops_forward"].of(dense), 6) == count_macs(model, inputs).dense
    weights = sum(layer.num_weights for layer in layers)
    left = sum(parameter.numel() for parameter in model.parameters() if parameter.dim() > 1)
    assert round(effects["param_bytes"].of(weights), 6) == left


def test_sparsity_by_layer_reaches_the_filters_of_those_layers_alone() -> None:
    layers = layer_shapes(mlp(), MLP_INPUT)
    effects = CARDS["filter-norm"].effects(layers, sparsity={"0": 0.25, "4": 0.5})
    weights = 12 * 20 + 8 * 12 + 4 * 8  # the last layer's outputs are classes: what is asked of it has no effect
    assert effects["param_bytes"].of(sum(layer.num_weights for layer in layers)) == weights


class Products(TorchDispatchMode):
    """Counts the in-place products on integers, which is how masks act, and the bytes they read and write."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.bytes = 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.mul_.Tensor and not args[0].is_floating_point():
            self.calls += 1
            self.bytes += 2 * args[0].nbytes + args[1].nbytes
        return func(*args, **(kwargs or {}))


def test_masks_cost_the_predicted_products_bytes_and_memory_per_step() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    masks = magnitude_masks(model, sparsity=0.5)
    effects = CARDS["masks"].effects(layer_shapes(model, MLP_INPUT), batch=5, epochs=3)
    with masks.attach(model, optimizer), Products() as products:
        model(MLP_INPUT).sum().backward()
        optimizer.step()
    assert products.calls == effects["launches"].added
    assert products.bytes == effects["bytes_moved"].added
    assert sum(mask.nbytes for mask in masks.values()) == effects["param_bytes"].added
    assert effects["epochs"].added == 3
    assert {effect.factor for effect in effects.values()} == {1.0}


@pytest.mark.parametrize("batches", [1, 7])
def test_batch_norm_reestimation_costs_one_forward_pass_per_batch(batches: int) -> None:
    model = nn.Sequential(nn.Linear(20, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    layers = layer_shapes(model, MLP_INPUT)
    calls = []
    model.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    reestimate_batchnorm(model, [torch.randn(6, 20) for _ in range(batches)])
    assert len(calls) == CARDS["bn-reestimate"].effects(layers, batches=batches)["extra_forward"].added == batches
    assert not any(calls)  # no graph: no backward pass
    assert CARDS["bn-reestimate"].effects(layers)["extra_forward"].added == 20  # as `pt.IMP` does by default


def flops_of_a_step(model: nn.Module, optimizer: torch.optim.Optimizer, inputs: Tensor) -> int:
    with FlopCounterMode(display=False) as counter:
        model(inputs).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return counter.get_total_flops()


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_retraining_schedule_costs_nothing_per_step_and_its_epochs_as_a_whole(name: str) -> None:
    steps_per_epoch, epochs = 4, 5
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = flops_of_a_step(model, optimizer, MLP_INPUT)
    dense = DenseSchedule.of(Linear(num_steps=100, peak=0.1))
    schedule = retraining_schedule(
        name, num_steps=steps_per_epoch * epochs, dense=dense, norm_drop=0.5, lr=0.05 if name == "ft" else None
    )
    scheduler = as_scheduler(schedule, optimizer)
    effects = CARDS[name].effects(layer_shapes(model, MLP_INPUT), batch=5, epochs=epochs)
    assert set(effects) == {"epochs"}
    steps = 0
    for _ in range(schedule.num_steps):
        assert flops_of_a_step(model, optimizer, MLP_INPUT) == before
        scheduler.step()
        steps += 1
    assert steps == effects["epochs"].added * steps_per_epoch
    assert effects["epochs"].of(20) == 20 + epochs


@pytest.mark.parametrize("splits", [1, 2])
def test_a_profile_search_costs_the_passes_of_its_tables(splits: int) -> None:
    groups, passes = perceptron_groups(20, 16, 8, 4), []

    def losses_at(profile: tuple[int, ...]) -> list[float]:
        passes.extend(profile for _ in range(splits))
        return [1.0] * splits

    tables = sensitivity(groups, groups.full, grids=[(4, 8, 16), (2, 8)], losses_at=losses_at)
    narrower = sum(len(table.widths) - 1 for table in tables)
    effects = CARDS["profile-search"].effects(layer_shapes(mlp(), MLP_INPUT), widths=narrower, batches=splits)
    assert effects["extra_forward"].added == len(passes) == splits * 4
    allocate(tables, cost_of(groups, "params"), 300)
    assert len(passes) == splits * 4  # the search itself runs no model


def test_the_mlp_of_these_tests_has_the_macs_of_its_shapes() -> None:
    layers = layer_shapes(mlp(), MLP_INPUT)
    assert [layer.macs for layer in layers] == [math.prod(layer.weight) for layer in layers] == [320, 128, 32]


def test_shrinking_costs_the_predicted_forward_passes_and_leaves_the_centres_share_of_the_step() -> None:
    task = regression()
    plan = ShrinkPlan(target=0.8, window=(0.0, 1.0))
    measuring = calibration(task)
    method = DPOD(plan, calibration=measuring, groups=GROUPS, quantum=4, min_ratio=0.25)
    batches = sum(map(len, measuring.splits))
    calls: list[bool] = []
    trainer = Trainer(task, TrainSettings(batch_size=16, device="cpu", evaluate_epochs=1000))
    model = trainer.model()
    before = flops_of_a_step(model, torch.optim.SGD(model.parameters(), lr=0.1), INPUTS.requires_grad_())
    layers = layer_shapes(model, INPUTS)
    model.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    trainer.fit(model, phase="elastic", num_steps=10, methods=[method])
    share = method.groups.num_macs(method.groups.full) / GROUPS.num_macs(GROUPS.full)
    effects = CARDS["dpod"].effects(
        layers,
        target=0.8,
        events=len(method.events),
        candidates=3,
        batches=batches,
        centre_share=share,
    )
    evaluation = 1  # at the end of the phase
    assert calls.count(False) - evaluation == effects["extra_forward"].added == len(method.events) * 4 * batches > 0
    assert calls.count(True) == 10  # one pass per step, as in plain training
    after = flops_of_a_step(model, torch.optim.SGD(model.parameters(), lr=0.1), INPUTS)
    assert round(effects["flops_forward"].of(before)) == after < before
    assert effects["flops_backward"] == effects["flops_forward"]
