"""Checks of what the card of AvaGrad promises."""

import numpy as np
import torch

from paretorch.methods.optim import AvaGrad
from tests.methods.invariants import invariant
from tests.methods.optim.formulas import Arrays, arrays, gradients, params, run


def rates_of_the_last_step(optimizer: AvaGrad, moved: Arrays) -> Arrays:
    """The step divided by what it would be at rate 1, lr m / (1 - beta1^t)."""
    group = optimizer.param_groups[0]
    found = []
    for p, by in zip(group["params"], moved, strict=True):
        state = optimizer.state[p]
        full = group["lr"] * state["exp_avg"].numpy() / (1 - group["betas"][0] ** float(state["step"]))
        found.append(-by / full)
    return found


@invariant("avagrad", "the root mean square of the rates that scale a step is 1")
def the_rates_are_normalised() -> None:
    for settings in ({}, {"eps": 1e-8}, {"eps": 100.0}, {"foreach": True}, {"foreach": False}):
        tensors = params()
        optimizer = AvaGrad(tensors, 0.03, **settings)
        for grads in gradients(8, like=tensors):
            before = arrays(tensors)
            after = run(optimizer, [grads])[0]
            rates = rates_of_the_last_step(optimizer, [a - b for a, b in zip(after, before, strict=True)])
            square = np.mean(np.concatenate([rate.ravel() for rate in rates]) ** 2)
            np.testing.assert_allclose(square, 1.0, rtol=1e-8)


@invariant("avagrad", "a gradient changes its own step through the first moment alone")
def the_rate_is_older_than_the_gradient() -> None:
    steps = gradients(6, like=params())
    found = []
    for factor in (1.0, -50.0):
        tensors = params()
        optimizer = AvaGrad(tensors, 0.03)
        run(optimizer, steps[:5])
        before = arrays(tensors)
        after = run(optimizer, [[factor * g for g in steps[5]]])[0]
        found.append(rates_of_the_last_step(optimizer, [a - b for a, b in zip(after, before, strict=True)]))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)


@invariant("avagrad", "with large eps it is SGD with an averaged gradient at the same lr")
def large_eps_is_sgd() -> None:
    tensors = params()
    expected = arrays(tensors)
    steps = gradients(8, like=tensors)
    seen = run(AvaGrad(tensors, 0.03, eps=1e12, bias_correction=False), steps)
    moments = [np.zeros_like(w) for w in expected]
    for grads, found in zip(steps, seen, strict=True):
        for i, g in enumerate(arrays(grads)):
            moments[i] = 0.9 * moments[i] + 0.1 * g
            expected[i] = expected[i] - 0.03 * moments[i]
            np.testing.assert_allclose(found[i], expected[i], rtol=1e-9, atol=1e-9)


@invariant("avagrad", "gradients are left as they were")
def gradients_are_read_only() -> None:
    for settings in ({}, {"decoupled": True}, {"foreach": True}, {"foreach": False}):
        tensors = params()
        optimizer = AvaGrad(tensors, 0.03, weight_decay=0.1, **settings)
        for grads in gradients(3, like=tensors):
            run(optimizer, [grads])
            assert all(torch.equal(p.grad, g) for p, g in zip(tensors, grads, strict=True))
