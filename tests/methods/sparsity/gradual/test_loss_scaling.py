"""GSM, LC and RigL under a loss scaler, as half precision needs it: a skipped step leaves no trace."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from paretorch.methods.sparsity.gradual.base import GradualMethod
from paretorch.methods.sparsity.gradual.gsm import GSM
from paretorch.methods.sparsity.gradual.lc import LC
from paretorch.methods.sparsity.gradual.rigl import RigL
from tests.methods.sparsity.gradual.loops import DECAY, SPECS, Arrays, gradients, loss, started, weights

METHODS: dict[str, Callable[[], GradualMethod]] = {
    "gsm": lambda: GSM(sparsity=0.6),
    "lc": lambda: LC(sparsity=0.6),
    "rigl": lambda: RigL(sparsity=0.6, interval=2, alpha=0.5),
}
OVERFLOW = 4  # the step of the scaled run whose gradients are infinite; RigL would exchange weights in it


def unscaled(name: str, spec: str) -> Arrays:
    """After eight steps without a scaler."""
    run = started(METHODS[name](), spec=SPECS[spec])
    for _ in range(8):
        gradients(run)
        run.update()
    run.finish()
    return weights(run.model)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("name", METHODS)
def test_a_step_whose_gradients_overflow_is_as_if_it_had_not_been(name: str, spec: str) -> None:
    run = started(METHODS[name](), spec=SPECS[spec])
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    for attempt in range(9):
        before = weights(run.model)
        run.before_forward()
        value = scaler.scale(loss(run.model, run.step))
        (value * torch.inf if attempt == OVERFLOW else value).backward()
        scaler.unscale_(run.optimizer)
        run.before_update()
        scaler.step(run.optimizer)
        scaler.update()
        run.optimizer.zero_grad()
        if attempt == OVERFLOW:
            assert run.step == OVERFLOW, "nobody took a step"
            assert all(np.array_equal(after, before[key]) for key, after in weights(run.model).items())
            assert spec == "adamw" or run.optimizer.param_groups[0]["weight_decay"] == DECAY
    run.finish()
    expected = unscaled(name, spec)
    assert run.step == 8
    for key, after in weights(run.model).items():
        np.testing.assert_array_equal(after, expected[key], err_msg=key)
