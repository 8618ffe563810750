"""Checks of what the card of continuous sparsification promises."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from paretorch.methods.method import Method, Run
from paretorch.methods.sparsity.continuous.method import ContinuousSparsification
from tests.methods.invariants import invariant
from tests.methods.sparsity.continuous.soft_problem import (
    Oracle,
    Watch,
    fit_whatever_is_undecided,
    method,
    whatever_is_undecided,
)
from tests.methods.sparsity.gradual.problems import NAMES, NUM_WEIGHTS, Small, trained, trainer
from tests.methods.sparsity.gradual.reparametrised import (
    OPTIMIZERS,
    STEPS,
    WEIGHTS,
    Started,
    examples,
    largest_difference,
    network,
)

ID = "continuous-sparsification"


@invariant(ID, "with c the first forward pass is that of the network without masks")
def begins_as_the_plain_network() -> None:
    model = network()
    inputs, _ = examples()
    plain = model(inputs).detach()
    own = method()
    run = Started(OPTIMIZERS["sgd"], model)
    own.start(run)
    own.before_forward(run)
    torch.testing.assert_close(model(inputs).detach(), plain, rtol=1e-13, atol=1e-14)


@invariant(ID, "weights, mask logits and their gradients are those of c w sigmoid(beta s) by automatic differentiation")
def agrees_with_automatic_differentiation() -> None:
    watch = Watch(method())
    fit_whatever_is_undecided(watch.watched, watch)
    assert largest_difference(watch.seen, Oracle().train()) < 1e-12


@invariant(ID, "beta is 1 at the first step and beta_T at the last, and grows by the same factor between")
def beta_has_exact_ends() -> None:
    own, course = method(), []

    class Look(Method):
        name = "look"

        def before_forward(self, run: Run) -> None:
            course.append(own._beta)

    fit_whatever_is_undecided(own, Look())
    assert (len(course), course[0], course[-1]) == (STEPS, 1.0, 60.0)
    for before, after in pairwise(course):
        assert after / before == pytest.approx(60.0 ** (1 / (STEPS - 1)), rel=1e-12)


@invariant(ID, "where min |beta s| is large, soft and hard masks give the same network")
def decided_gates_are_hard() -> None:
    run, own = Started(OPTIMIZERS["sgd"]), method(ending="threshold")
    run.step = STEPS - 1
    own.start(run)
    stream = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for s in own.logits.values():
            s.copy_(torch.where(torch.rand(s.shape, generator=stream) < 0.5, 0.5, -0.5))  # beta s is 30
    outputs: list[Tensor] = []
    own.before_forward(run)
    outputs.append(run.model(examples()[0]).detach())
    own.state_dict()  # puts w back
    with own.evaluation_weights(run):
        outputs.append(run.model(examples()[0]).detach())
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-6, atol=0)


@invariant(ID, "exactly round(sparsity * N) weights are zero in the end, unless the threshold decides")
def the_end_is_exact() -> None:
    for sparsity in (0.0, 1 / 3, 0.9, 0.99):
        own = ContinuousSparsification(sparsity=sparsity)
        with whatever_is_undecided():
            model = trained(own, steps=24)
        zeros = sum(int((model.get_parameter(name) == 0).sum()) for name in NAMES)
        assert zeros == own.masks.num_pruned == round(sparsity * NUM_WEIGHTS)


@invariant(ID, "model and optimizers are left plain, with c in the weights and without logits")
def everything_is_left_plain() -> None:
    own, held = ContinuousSparsification(sparsity=0.5), {}

    class Last(Method):
        name = "last"

        def after_update(self, run: Run) -> None:
            held.update({name: run.model.get_parameter(name).detach().clone() for name in NAMES})

        def finish(self, run: Run) -> None:
            assert list(run.optimizers) == ["main"]

    whole = trainer()
    model = whole.model()
    with whatever_is_undecided():
        whole.fit(model, phase="gradual", num_steps=24, methods=[own, Last()])
    assert list(model.state_dict()) == list(Small().state_dict())
    for name in NAMES:
        kept = own.masks[name]
        assert torch.equal(model.get_parameter(name).detach()[kept], (held[name] * own.scale)[kept])
    assert own.scale > 1
    assert set(WEIGHTS).isdisjoint(own.logits)
