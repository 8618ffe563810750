"""How far results differ: five float64 steps with and without a method tell a change of meaning from one of rounding.

The difference is max |a - b| / max |b| over parameters and running statistics. What is math-equivalent stays below
1e-9; what is semantic does not.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint_sequential

from paretorch.methods.averaging.batchnorm import reestimate_batchnorm
from paretorch.methods.averaging.candidates import Candidate
from paretorch.methods.averaging.running_mean import RunningMean
from paretorch.methods.averaging.soup import uniform_soup
from paretorch.methods.catalogue import all_cards, cards
from paretorch.methods.distillation.objective import divergence
from paretorch.methods.method import Method
from paretorch.methods.optim import AvaGrad
from paretorch.methods.rank.factorize import factorise_
from paretorch.methods.schedules import Constant, DenseSchedule, Linear, retraining_schedule
from paretorch.methods.sparsity.continuous.method import ContinuousSparsification
from paretorch.methods.sparsity.gradual.dnw import DNW
from paretorch.methods.sparsity.gradual.dpf import DPF
from paretorch.methods.sparsity.gradual.dst import DST
from paretorch.methods.sparsity.gradual.gmp import GMP
from paretorch.methods.sparsity.gradual.gsm import GSM
from paretorch.methods.sparsity.gradual.lc import LC
from paretorch.methods.sparsity.gradual.rigl import RigL
from paretorch.methods.sparsity.gradual.schedule import Interval
from paretorch.methods.sparsity.gradual.soft_threshold import SoftThreshold
from paretorch.methods.sparsity.magnitude import magnitude_masks
from paretorch.methods.sparsity.masks import Masks
from paretorch.methods.sparsity.patterns import filter_masks, nm_masks
from paretorch.methods.width.allocation.costs import cost_of
from paretorch.methods.width.calibration import Calibration
from paretorch.methods.width.cutting import plan_cut
from paretorch.methods.width.dpod import DPOD
from paretorch.methods.width.dpod_events import ShrinkPlan
from paretorch.methods.width.extract import extract
from paretorch.methods.width.importance import unit_importance
from paretorch.methods.width.keeping import keep_within
from paretorch.methods.width.ordered import OrderedModel
from paretorch.methods.width.profile import allocate
from paretorch.methods.width.structured_continuous import StructuredContinuous
from paretorch.methods.width.tables import Table
from paretorch.methods.width.tracing import find_groups
from paretorch.pipelines.bimp import BIMP
from paretorch.pipelines.compression import Start
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.supervised import SupervisedTask
from paretorch.training.trainer import Trainer
from tests.methods.trajectories import PEAK, STEPS, batches, difference, network, trained

BOUND = 1e-9


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


def distilled() -> dict[str, Tensor]:
    """With the softened outputs of another network beside the labels."""
    model, teacher = network(), nn.Sequential(nn.Flatten(), nn.Linear(64, 4)).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=PEAK, momentum=0.9)
    for inputs, targets in batches():
        logits = model(inputs)
        soft = divergence(logits, teacher(inputs).detach(), temperature=4.0)
        (0.5 * nn.functional.cross_entropy(logits, targets) + 0.5 * 16 * soft).backward()
        optimizer.step()
        optimizer.zero_grad()
    return {name: value.detach() for name, value in model.state_dict().items() if value.is_floating_point()}


def normalised() -> dict[str, Tensor]:
    """With the rates of AvaGrad in the place of SGD's one rate."""
    model = network()
    optimizer = AvaGrad(model.parameters(), PEAK)
    for inputs, targets in batches():
        nn.functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
        optimizer.zero_grad()
    return {name: value.detach() for name, value in model.state_dict().items() if value.is_floating_point()}


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


def averaged(*, sparsity: float = 0.0) -> dict[str, Tensor]:
    """The soup of two copies of one start under one mask, trained at different rates."""
    copies = []
    for rate in (PEAK, PEAK / 2):
        model = network()
        masks = magnitude_masks(model, sparsity=sparsity)
        copies.append((trained(model, rates=(rate,) * STEPS, masks=masks), masks))
    candidates = [Candidate(f"{i}", lambda state=state: state, masks) for i, (state, masks) in enumerate(copies)]
    return uniform_soup(candidates).state


def averaged_along() -> dict[str, Tensor]:
    """The mean of the weights before each of the steps."""
    model, mean = network(), RunningMean()
    model.register_forward_pre_hook(lambda *_: mean.add(model))
    trained(model)
    mean.apply_(model)
    return {name: value.detach() for name, value in model.state_dict().items() if value.is_floating_point()}


SEMANTIC: dict[str, Callable[[], dict[str, Tensor]]] = {
    "magnitude": lambda: pruned(lambda model: magnitude_masks(model, sparsity=0.5)),
    "nm-pattern": lambda: pruned(lambda model: nm_masks(model, n=2, m=4)),
    "filter-norm": lambda: pruned(lambda model: filter_masks(model, sparsity=0.5)),
    "bn-reestimate": reestimated,
    "model-soups": averaged,
    "sms": lambda: averaged(sparsity=0.5),
    "swa": averaged_along,
    "distillation": distilled,
    "avagrad": normalised,
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


def elastic(*draws: tuple[float, ...]) -> dict[str, Tensor]:
    """Trained with the profiles of each draw in turn, gradients added."""
    model = network()
    groups = find_groups(model, torch.zeros(1, 4, 4, 4, dtype=torch.float64))
    ordered = OrderedModel(model, groups)
    optimizer = torch.optim.SGD(model.parameters(), lr=PEAK, momentum=0.9)
    for step, (x, y) in enumerate(batches()):
        for share in draws[step % len(draws)]:
            with ordered.at(max(1, round(share * size)) for size in groups.full):
                nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()
    return {name: value.detach() for name, value in model.state_dict().items() if value.is_floating_point()}


SEMANTIC |= {
    "ordered-dropout": lambda: elastic((0.5,), (1.0,)),
    "universally-slimmable": lambda: elastic((1.0, 0.5)),
}


def cut() -> nn.Module:
    """Half of every layer's units, the least important, cut out."""
    model = network()
    groups = find_groups(model, torch.zeros(1, 4, 4, 4, dtype=torch.float64))
    keep = keep_within(groups, unit_importance(model, groups), ratio=0.5)
    plan_cut(groups, keep).apply_(model)
    return model


def searched() -> nn.Module:
    """Extracted at the profile of least predicted error within half of the parameters."""
    model = network()
    groups = find_groups(model, torch.zeros(1, 4, 4, 4, dtype=torch.float64))
    tables = [Table(g.name, (g.size // 4, g.size // 2, g.size), (2.0, 1.0, 0.0)) for g in groups.groups]
    cost = cost_of(groups, "params")
    return extract(model, groups, allocate(tables, cost, groups.num_params(groups.full) // 2).profile)


def factored() -> nn.Module:
    model = network()
    factorise_(model, rank=2)
    return model


def fitted(make: Callable[[SupervisedTask], Method]) -> nn.Module:
    """A perceptron trained with a method that cuts while it trains."""
    inputs, targets = torch.randn(60, 8), torch.randint(0, 3, (60,))
    data = (inputs, targets)
    task = SupervisedTask(
        lambda: nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3)), train=data, evaluation=data, test=data
    )
    trainer = Trainer(task, TrainSettings(batch_size=20, device="cpu"))
    model = trainer.model()
    trainer.fit(model, phase="train", num_steps=60, methods=[make(task)])
    return model


def shrinking(task: SupervisedTask) -> Method:
    halves = [[task.train_set().batch(index)] for index in torch.arange(60).split(30)]
    calibration = Calibration(losses=lambda model, batch: task.loss(model, batch, "none"), splits=halves)
    return DPOD(ShrinkPlan(target=0.5), calibration=calibration, quantum=8)


# These leave tensors of other shapes, which no rounding explains.
RESHAPING: dict[str, Callable[[], nn.Module]] = {
    "group-importance": cut,
    "profile-search": searched,
    "maestro": factored,
    "structured-cs": lambda: fitted(lambda task: StructuredContinuous(target=0.5, window=5)),
    "dpod": lambda: fitted(shrinking),
}


@pytest.mark.parametrize("name", RESHAPING)
def test_reshaping_method_leaves_a_smaller_or_another_set_of_tensors(name: str) -> None:
    made = RESHAPING[name]()
    whole = (
        network()
        if name not in ("structured-cs", "dpod")
        else nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))
    )
    assert sum(p.numel() for p in made.parameters()) < sum(p.numel() for p in whole.parameters())


def fitting(*methods: Method) -> Callable[[Trainer], nn.Module]:
    """Trains the network with the methods."""

    def fit(trainer: Trainer) -> nn.Module:
        model = trainer.model()
        trainer.fit(model, phase="dense", num_steps=STEPS, schedule=lambda _step: PEAK, methods=methods)
        return model

    return fit


def budgeted(trainer: Trainer) -> nn.Module:
    start = Start(model=network(), schedule=DenseSchedule.of(Constant(num_steps=STEPS, peak=PEAK)))
    return BIMP(sparsity=0.5, epochs=STEPS, dense_epochs=3).run_from(trainer, start).model


def decaying(trainer: Trainer) -> nn.Module:
    """LC acts by weight decay, which the other runs here have not."""
    settings = TrainSettings(batch_size=12, optimizer=OptimizerSpec(lr=PEAK, weight_decay=1e-3), device="cpu")
    return fitting(LC(sparsity=0.5))(Trainer(trainer.task, settings))


# These need a run of ours: methods that train from scratch, made sparse on the way.
FROM_SCRATCH: dict[str, Callable[[], Callable[[Trainer], nn.Module]]] = {
    "gmp": lambda: fitting(GMP(sparsity=0.5, interval=Interval(steps=1))),
    "dpf": lambda: fitting(DPF(sparsity=0.5, interval=Interval(steps=1))),
    "dnw": lambda: fitting(DNW(sparsity=0.5)),
    "soft-threshold": lambda: fitting(SoftThreshold(sparsity=0.5, initial=-2.0)),
    "dst": lambda: fitting(DST(sparsity=0.5, penalty=0.1)),
    "continuous-sparsification": lambda: fitting(ContinuousSparsification(sparsity=0.5, initial=-0.3)),
    "gsm": lambda: fitting(GSM(sparsity=0.5)),
    "lc": lambda: decaying,
    "rigl": lambda: fitting(RigL(sparsity=0.5, interval=2)),
    "bimp": lambda: budgeted,
}


def from_scratch(train: Callable[[Trainer], nn.Module]) -> dict[str, Tensor]:
    """Parameters and buffers of a network after an epoch a step, all on one batch."""
    ((inputs, targets),) = batches(1)
    data = (inputs, targets)
    task = SupervisedTask(network, train=data, evaluation=data, test=data)
    model = train(Trainer(task, TrainSettings(batch_size=12, optimizer=OptimizerSpec(lr=PEAK), device="cpu")))
    return {name: value.detach() for name, value in model.state_dict().items() if value.is_floating_point()}


@pytest.mark.parametrize("name", sorted(FROM_SCRATCH))
def test_a_method_that_trains_from_scratch_leaves_the_trajectory(name: str) -> None:
    assert difference(from_scratch(fitting()), from_scratch(fitting())) == 0.0
    assert difference(from_scratch(FROM_SCRATCH[name]()), from_scratch(fitting())) > 1e-3


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
    assert {name for name, kind in shipped.items() if kind == "semantic"} == {
        *SEMANTIC,
        *RESHAPING,
        *FROM_SCRATCH,
        "masks",
        "soft-sharing",  # in sharing/test_trajectory.py
    }
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
