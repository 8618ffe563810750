"""Which parameters GSM and LC rank, and the models that they and RigL refuse."""

import pytest
import torch
from torch import nn

from paretorch.errors import InputError
from paretorch.integrations.host import HostRun
from paretorch.methods.sparsity.gradual import trained
from paretorch.methods.sparsity.gradual.base import GradualMethod
from paretorch.methods.sparsity.gradual.gsm import GSM
from paretorch.methods.sparsity.gradual.lc import LC
from paretorch.methods.sparsity.gradual.rigl import RigL
from tests.methods.sparsity.gradual.loops import NESTEROV, gradients, network, started


def test_a_tied_parameter_is_ranked_once_and_one_of_another_optimizer_not_at_all() -> None:
    model = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3), "other": nn.Linear(3, 3)})
    model["b"].weight = model["a"].weight
    main = torch.optim.SGD([*model["a"].parameters(), model["b"].bias], lr=0.1)
    second = torch.optim.SGD(model["other"].parameters(), lr=0.1)
    run = HostRun(model, {"main": main, "second": second}, methods=[GSM(sparsity=0.5)], num_steps=2)
    run.start()
    sum(layer(torch.ones(1, 3)).sum() for layer in model.values()).backward()
    assert list(trained.moved_parameters(run)) == ["a.weight", "a.bias", "b.bias"]


def test_only_parameters_with_a_gradient_are_ranked() -> None:
    run = started(GSM(sparsity=0.5))
    assert trained.moved_parameters(run) == {}
    run.model[1].requires_grad_(False)
    gradients(run)
    assert list(trained.moved_parameters(run)) == ["0.weight", "0.bias", "3.weight", "5.weight", "5.bias"]


@pytest.mark.parametrize("method", [GSM(sparsity=0.5), LC(sparsity=0.5), RigL(sparsity=0.5)], ids=["gsm", "lc", "rigl"])
def test_a_model_that_is_sharded_over_processes_is_refused(
    method: GradualMethod, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trained, "is_sharded", lambda parameter: parameter.dim() == 2)
    model = network()
    run = HostRun(model, NESTEROV(model.parameters()), methods=[method], num_steps=3)
    with pytest.raises(InputError, match=rf"'{method.name}' ranks whole tensors, and '0\.weight' is sharded"):
        run.start()
