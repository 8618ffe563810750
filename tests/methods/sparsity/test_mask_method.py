"""Mask enforcement as a Method: the same weights as an attachment, its state, and what it refuses."""

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from paretorch.errors import MaskViolationError
from paretorch.methods.method import Run
from paretorch.methods.sparsity.enforcement import CARD, MaskEnforcement
from paretorch.methods.sparsity.masks import Masks
from tests.methods.sparsity.masked_training import assert_exact_zeros, batch, model, random_masks, train


class LoopRun(Run):
    """The least a run can be: one model, named optimizers, clipping."""

    def __init__(self, net: nn.Module, optimizer: Optimizer, method: MaskEnforcement, clip: float | None) -> None:
        self.model, self.wrapped, self.optimizers, self.method, self.clip = net, net, {"main": optimizer}, method, clip

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def update(self, name: str = "main") -> None:
        self.method.before_update(self)
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizers[name].step()
        self.method.after_update(self)
        self.optimizers[name].zero_grad()

    def replace_parameters(self, mapping, state=None) -> None:
        for name, parameter in mapping.items():
            owner, _, attribute = name.rpartition(".")
            setattr(self.model.get_submodule(owner), attribute, parameter)
        self.optimizers["main"] = type(self.optimizer)(self.model.parameters(), lr=0.1)

    def log(self, **scalars: float) -> None:
        raise AssertionError("masks log nothing")

    def steps(self, steps: range) -> None:
        for step in steps:
            x, y = batch(step)
            self.backward(nn.functional.cross_entropy(self.model(x), y))
            self.update()


def method_run(masks: Masks | None = None, *, clip: float | None = None) -> LoopRun:
    net = model()
    optimizer = SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-2)
    train(net, optimizer, range(3))
    run = LoopRun(net, optimizer, MaskEnforcement(masks or random_masks(net)), clip)
    run.method.start(run)
    return run


@pytest.mark.parametrize("clip", [None, 0.3])
def test_the_method_trains_bitwise_the_same_weights_as_an_attachment(clip):
    run = method_run(clip=clip)
    run.steps(range(3, 20))
    run.method.finish(run)
    net = model()
    optimizer = SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-2)
    train(net, optimizer, range(3))
    run.method.masks.attach(net, optimizer)
    train(net, optimizer, range(3, 20), clip=clip)
    assert all(torch.equal(a, b) for a, b in zip(run.model.parameters(), net.parameters(), strict=True))
    assert_exact_zeros(run.model, run.method.masks)


def test_the_method_clears_state_at_start_and_at_every_swap_of_masks():
    run = method_run()
    weight = run.model[0].weight
    assert not run.optimizer.state[weight]["momentum_buffer"][~run.method.masks["0.weight"]].any()
    run.steps(range(3, 6))
    tighter = run.method.masks.intersection(random_masks(run.model, seed=7, density=0.5))
    run.method.update(run, tighter)
    assert not run.optimizer.state[weight]["momentum_buffer"][~tighter["0.weight"]].any()
    assert_exact_zeros(run.model, tighter)
    run.steps(range(6, 8))
    assert_exact_zeros(run.model, tighter)


def test_the_method_state_carries_the_masks_to_a_resumed_run():
    first = method_run()
    tighter = first.method.masks.intersection(random_masks(first.model, seed=7, density=0.5))
    first.method.update(first, tighter)
    resumed = method_run(random_masks(first.model, seed=9))
    resumed.method.load_state_dict(resumed, first.method.state_dict())
    assert resumed.method.masks == tighter
    resumed.steps(range(3, 5))
    assert_exact_zeros(resumed.model, tighter)


def test_the_method_follows_parameters_that_were_replaced():
    run = method_run()
    run.replace_parameters({"2.weight": nn.Parameter(torch.ones(3, 8))})
    run.steps(range(3, 5))
    assert_exact_zeros(run.model, run.method.masks)


def test_the_method_refuses_to_finish_with_revived_weights():
    run = method_run()
    with torch.no_grad():
        run.model[0].weight.fill_(1.0)
    with pytest.raises(MaskViolationError, match=r"'0.weight': \d+"):
        run.method.finish(run)


def test_the_card_names_what_these_tests_assert():
    assert CARD.id == "masks"
    assert any("bitwise" in invariant for invariant in CARD.invariants)
