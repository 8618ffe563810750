"""Checks of what the cards of training at many widths promise."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretorch.methods.width.elastic import ElasticTraining
from paretorch.methods.width.ordered import OrderedModel
from paretorch.methods.width.samplers import Sandwich, SingleLayer
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.supervised import SupervisedTask
from paretorch.training.trainer import Trainer
from tests.methods.invariants import invariant
from tests.methods.width.handmade import perceptron, perceptron_groups
from tests.methods.width.mixed import INPUTS, mixed, mixed_groups

SIZES, PROFILE = (4, 6, 5, 3), (2, 3)


def _unread(model: nn.Sequential, x: Tensor) -> Tensor:
    """The perceptron whose units beyond `PROFILE` are multiplied by zero after the activation."""
    x = model[0](x).relu() * (torch.arange(6) < PROFILE[0])
    x = model[2](x).relu() * (torch.arange(5) < PROFILE[1])
    return model[4](x)


@invariant("ordered-dropout", "at a profile the model computes what it computes when nobody reads the removed units")
def a_profile_is_the_model_without_its_removed_units() -> None:
    model, x = perceptron(*SIZES).double(), torch.randn(7, 4, dtype=torch.float64)
    expected = _unread(model, x)
    with OrderedModel(model, perceptron_groups(*SIZES)).at(PROFILE):
        torch.testing.assert_close(model(x), expected, rtol=1e-12, atol=1e-12)


@invariant("ordered-dropout", "gradients of removed units are exactly zero")
def removed_units_have_no_gradient() -> None:
    model = perceptron(*SIZES)
    ordered = OrderedModel(model, perceptron_groups(*SIZES))
    with ordered.at(PROFILE):
        model(torch.randn(7, 4)).square().sum().backward()
    for name, parameter in model.named_parameters():
        if name != "4.bias":
            assert not parameter.grad[~ordered.used(name, PROFILE)].any()
    assert model[0].weight.grad[: PROFILE[0]].any()


@invariant("ordered-dropout", "one cycle of the default sampler holds every pair of group and width once")
def a_cycle_is_complete() -> None:
    grids = ((2, 4, 6), (1, 5))
    sampler = SingleLayer().bind(grids, seed=1)
    drawn = sorted(sampler.draw()[0] for _ in range(sampler.cycle_length))
    assert drawn == sorted([(2, 5), (4, 5), (6, 5), (6, 1), (6, 5)])
    method = ElasticTraining()
    assert type(method.sampler) is SingleLayer
    assert not method.sampler.layer_uniform


@invariant(
    "ordered-dropout",
    "parameters, sizes and running statistics are as before after a pass at another profile than the full one",
)
def a_pass_leaves_no_trace() -> None:
    model = mixed()
    before = {name: (id(tensor), tensor.clone()) for name, tensor in model.state_dict(keep_vars=True).items()}
    described = repr(model)
    with OrderedModel(model, mixed_groups()).at((3, 1, 2, 4)):
        model(torch.randn(INPUTS, dtype=torch.float64)).sum().backward()
        assert repr(model) != described
    assert repr(model) == described
    for name, tensor in model.state_dict(keep_vars=True).items():
        assert before[name][0] == id(tensor)
        assert torch.equal(before[name][1], tensor)


def _sandwich_step() -> tuple[list[tuple[int, ...]], nn.Module, nn.Module, Tensor, Tensor]:
    """One step of a sandwich without random profiles: the profiles run, the model after and before, and the batch."""
    x, y = torch.randn(8, 4), torch.arange(8) % 3
    task = SupervisedTask(partial(perceptron, *SIZES), train=(x, y), evaluation=(x, y), test=(x, y))
    settings = TrainSettings(batch_size=8, optimizer=OptimizerSpec(lr=0.5), device="cpu")
    trainer = Trainer(task, settings, seed=0)
    model, start = trainer.model(), trainer.model()
    seen: list[tuple[int, ...]] = []
    model.register_forward_hook(
        lambda net, *_: seen.append((len(net[0].weight), len(net[2].weight))) if net.training else None
    )
    method = ElasticTraining(Sandwich(samples=2), groups=perceptron_groups(*SIZES), quantum=2, full_pass=True)
    trainer.fit(model, phase="only", num_steps=1, methods=[method])
    return seen, model, start, x, y


@invariant("universally-slimmable", "every step trains the widest and the narrowest profile")
def a_sandwich_has_both_ends() -> None:
    assert _sandwich_step()[0] == [(6, 5), (2, 2)]


@invariant("universally-slimmable", "only the widest profile learns from labels, the others from its softmax")
def only_the_widest_sees_labels() -> None:
    _, model, start, x, y = _sandwich_step()
    whole = start(x)
    loss = F.cross_entropy(whole, y)
    with OrderedModel(start, perceptron_groups(*SIZES)).at((2, 2)):
        loss = loss + F.cross_entropy(start(x), whole.detach().softmax(1))
    gradients = torch.autograd.grad(loss, list(start.parameters()))
    for now, before, gradient in zip(model.parameters(), start.parameters(), gradients, strict=True):
        torch.testing.assert_close(now.detach(), before.detach() - 0.5 * gradient)
