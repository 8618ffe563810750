"""The cost models of soups and of weight averaging, executed and compared with a count."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from paretorch.methods.averaging import soup, sparse_soup, swa
from paretorch.methods.averaging.batchnorm import reestimate_batchnorm
from paretorch.methods.averaging.soup import uniform_soup
from paretorch.methods.averaging.swa import SWA
from paretorch.methods.cost_model import layer_shapes
from paretorch.pipelines.retraining import reestimate
from paretorch.pipelines.sms import SMS, merge
from paretorch.training.supervised import SupervisedTask
from paretorch.training.trainer import Trainer
from tests.methods.averaging.states import candidates
from tests.pipelines import sms_problem
from tests.training.problems import plain

INPUTS = torch.randn(40, 6)


def perceptron() -> nn.Sequential:
    """Without biases, so that the layers' weights are all parameters."""
    return nn.Sequential(nn.Linear(6, 10, bias=False), nn.Tanh(), nn.Linear(10, 3, bias=False))


def trainer() -> Trainer:
    data = (INPUTS, torch.arange(40) % 3)
    return Trainer(SupervisedTask(perceptron, train=data, evaluation=data, test=data), plain(10, evaluate_epochs=1000))


class Sums(TorchDispatchMode):
    """Counts additions to float64 sums, and the bytes they read and write."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.bytes = 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.add_.Tensor and args[0].dtype == torch.float64:
            self.calls += 1
            self.bytes += 2 * args[0].nbytes + args[1].nbytes
        return func(*args, **(kwargs or {}))


def test_weight_averaging_costs_the_predicted_bytes_additions_and_passes() -> None:
    begin, every, steps, batches = 0.5, 2, 40, 3
    calls: list[bool] = []

    def reestimate(model: nn.Module) -> None:
        hook = model.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
        with torch.no_grad():
            for batch in INPUTS.split(10)[:batches]:
                model(batch)
        hook.remove()

    method = SWA(begin=begin, every=every, reestimate=reestimate)
    home = trainer()
    model = home.model()
    layers = layer_shapes(model, INPUTS)
    home.fit(model, phase="only", num_steps=steps, methods=[method])
    effects = swa.CARD.effects(layers, batch=10, begin=begin, every=every, batches=batches)
    state = method.state_dict()["mean"]
    assert sum(value.nbytes for value in state["sums"].values()) == effects["param_bytes"].added
    assert state["count"] == steps * (1 - begin) / every
    assert calls == [False] * int(effects["extra_forward"].added) == [False] * batches
    per_moment = {name: effect.added / ((1 - begin) / every) for name, effect in effects.items()}
    sums = Sums()
    with sums:
        method.mean.add(model)
    assert sums.calls == per_moment["launches"] == len(layers)
    assert sums.bytes == per_moment["bytes_moved"]


def test_a_model_soup_is_charged_the_training_of_every_candidate_and_one_re_estimation() -> None:
    copies, epochs, batches = 3, 2, 4
    home, samples, states = trainer(), 0, []
    for copy in range(copies):
        model = home.model()
        result = home.fit(model, phase=f"tune-{copy}", num_steps=home.num_steps(epochs))
        samples += result.samples
        states.append(model.state_dict())
    model = nn.Sequential(nn.BatchNorm1d(6), home.model())
    model[1].load_state_dict(uniform_soup(candidates(states)).state)
    calls: list[int] = []
    model.register_forward_hook(lambda *_: calls.append(1))
    reestimate_batchnorm(model, INPUTS.split(10)[:batches])
    effects = soup.CARD.effects(layer_shapes(home.model(), INPUTS), copies=copies, epochs=epochs, batches=batches)
    assert samples == effects["epochs"].added * len(INPUTS)
    assert len(calls) == effects["extra_forward"].added


@pytest.mark.parametrize(("copies", "cycles"), [(1, 2), (3, 1), (2, 2)])
def test_a_sparse_soup_is_charged_the_epochs_of_every_copy_and_the_statistics_of_what_is_evaluated(
    copies: int, cycles: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []

    def counted(*args: Any, count: int, **kwargs: Any) -> int:
        counts.append(count)
        return reestimate(*args, count=count, **kwargs)

    monkeypatch.setattr(merge, "reestimate", counted)
    sms = SMS(sparsity=0.7, epochs=2, copies=copies, cycles=cycles, guard=False)
    result = sms.run_from(sms_problem.trainer(), sms_problem.start())
    layers = layer_shapes(perceptron(), INPUTS)
    effects = sparse_soup.CARD.effects(layers, copies=copies, cycles=cycles, epochs=2)
    assert sum(line.get("epochs", 0) for line in result.entries) == effects["epochs"].added == 2 * copies
    assert sum(counts) == effects["extra_forward"].added
