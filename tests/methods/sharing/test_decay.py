"""Coefficients and factors never decay where the method acts, and the optimizer is the plain model's afterwards."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from paretorch.methods.method import Method, Run
from paretorch.methods.sharing.decay import bring_together_, parameter_groups, set_apart_
from paretorch.methods.sharing.fold import fold_
from paretorch.methods.sharing.soft_sharing import SoftSharing
from paretorch.methods.sharing.templates import mixing_parameters, share_
from paretorch.training.run import RunDirectory
from paretorch.training.settings import TrainSettings
from paretorch.training.trainer import Trainer
from tests.methods.sharing.networks import network
from tests.methods.sharing.test_soft_sharing import task, trainer

DECAY, RATE = 20.0, 1e-3


def shared() -> nn.Module:
    model = network()
    share_(model, templates=2)
    return model


def folded() -> nn.Module:
    """With a factor in front of the weight of two layers."""
    model = network()
    share_(model, templates=1)
    fold_(model)
    return model


def pulls(make: Callable[[], nn.Module], *methods: Method, before: int = 0) -> dict[str, tuple[Tensor, Tensor]]:
    """Parameter -> where it was, and how far decay alone moves it in one step after a first phase of `before` steps."""
    moved: list[dict[str, Tensor]] = []
    began: dict[str, Tensor] = {}
    for decay in (0.0, DECAY):
        own = trainer(make=make)
        model, state = own.model(), None
        if before:
            state = own.fit(model, phase="first", num_steps=before, methods=methods).optimizer_state
            state["param_groups"][0]["weight_decay"] = decay
        own = trainer(make=make, decay=decay)
        began = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        own.fit(
            model,
            phase="second",
            num_steps=1,
            schedule=lambda _step: RATE,
            methods=methods,
            optimizer_state=state,
        )
        moved.append({name: parameter.detach() - began[name] for name, parameter in model.named_parameters()})
    return {name: (was, moved[1][name] - moved[0][name]) for name, was in began.items()}


@pytest.mark.parametrize(
    ("make", "methods", "before", "mixing"),
    [
        (shared, [SoftSharing()], 0, 3),
        (shared, [SoftSharing()], 4, 3),
        (network, [SoftSharing(templates=2)], 4, 3),
        (folded, [SoftSharing()], 0, 2),
        (folded, [SoftSharing()], 4, 2),
    ],
)
def test_in_every_phase_that_has_the_method_all_but_coefficients_and_factors_decay(
    make: Callable[[], nn.Module], methods: list[Method], before: int, mixing: int
) -> None:
    found = pulls(make, *methods, before=before)
    names = [name for name in found if name.rpartition(".")[2] in ("coefficients", "scale")]
    assert len(names) == mixing
    for name, (was, pull) in found.items():
        expected = torch.zeros_like(was) if name in names else -RATE * DECAY * was
        torch.testing.assert_close(pull, expected, rtol=1e-6, atol=1e-12)


def test_a_later_phase_that_is_resumed_decays_no_factor_either(tmp_path: Path) -> None:
    ends = []
    for stops in ([6], [2, 6]):
        for stop in stops:
            with RunDirectory(tmp_path / str(len(stops)), recipe="x", resume=True) as home:
                own = trainer(decay=0.1, make=folded, directory=home)
                model = own.model()
                own.fit(model, phase="first", num_steps=2, methods=[SoftSharing()])
                method = Halting(stop=stop)
                try:
                    own.fit(model, phase="second", num_steps=6, methods=[method])
                except KeyboardInterrupt:
                    assert stop == 2
                assert {decay for held, decay in method.seen if scales(model) & held} == {0.0}
        ends.append(model.state_dict())
    first, second = ends
    assert all(torch.equal(value, second[name]) for name, value in first.items())


class Halting(SoftSharing):
    """Stops before a step, and keeps the groups of the optimizer as they were then."""

    def __init__(self, *, stop: int) -> None:
        super().__init__()
        self.stop = stop

    def before_forward(self, run: Run) -> None:
        self.seen = [(ids(group), group["weight_decay"]) for group in run.optimizer.param_groups]
        if run.step == self.stop < 6:
            raise KeyboardInterrupt


def ids(group: dict[str, Any]) -> set[int]:
    return {id(parameter) for parameter in group["params"]}


def scales(model: nn.Module) -> set[int]:
    return {id(parameter) for parameter in mixing_parameters(model).values()}


def by_axes(parameters: Iterable[nn.Parameter]) -> Optimizer:
    """As many do: what has one axis does not decay, and learns at another rate."""
    held = list(parameters)
    return SGD(
        [
            {"params": [p for p in held if p.ndim > 1], "weight_decay": 0.1},
            {"params": [p for p in held if p.ndim <= 1], "lr_scale": 3.0},
        ],
        lr=0.05,
        momentum=0.9,
    )


def test_each_group_gives_and_takes_back_its_own_and_keeps_its_settings() -> None:
    model = shared()
    optimizer = by_axes(model.parameters())
    before = [list(map(id, group["params"])) for group in optimizer.param_groups]
    set_apart_(optimizer, mixing_parameters(model).values())
    weights, vectors, apart = optimizer.param_groups
    assert ids(apart) == scales(model)
    assert not ids(vectors) & ids(apart)
    assert (weights["weight_decay"], apart["weight_decay"], apart["lr_scale"]) == (0.1, 0.0, 3.0)
    optimizer.load_state_dict(optimizer.state_dict())
    bring_together_(optimizer)
    assert [set(map(id, group["params"])) for group in optimizer.param_groups] == [set(one) for one in before]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]


def test_parameters_that_the_optimizer_does_not_hold_stay_outside() -> None:
    model = shared()
    model.get_parameter("5.coefficients").requires_grad_(False)
    optimizer = SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
    count = len(optimizer.param_groups[0]["params"])
    set_apart_(optimizer, mixing_parameters(model).values())
    assert len(optimizer.param_groups[1]["params"]) == 2
    bring_together_(optimizer)
    assert [len(group["params"]) for group in optimizer.param_groups] == [count]


class Thresholds(Method):
    """Adds a group to the optimizer and removes it at the end, as methods with parameters of their own do."""

    name = "thresholds"

    def start(self, run: Run) -> None:
        self.own = nn.Parameter(torch.zeros(3, dtype=torch.float64))
        run.optimizer.add_param_group({"params": [self.own], "weight_decay": 0.5})

    def finish(self, run: Run) -> None:
        run.optimizer.param_groups[:] = [g for g in run.optimizer.param_groups if id(self.own) not in ids(g)]


class Exchanged(Method):
    """Puts new coefficients in the place of old ones, as methods do that change shapes."""

    name = "exchanged"

    def after_update(self, run: Run) -> None:
        if run.step == 1:
            names = [name for name, _ in run.model.named_parameters() if name.endswith("coefficients")]
            run.replace_parameters({name: nn.Parameter(run.model.get_parameter(name).detach()) for name in names})


@pytest.mark.parametrize("others", [[], [Thresholds], [Exchanged]])
@pytest.mark.parametrize("factory", [None, by_axes])
def test_after_the_phase_the_optimizer_is_one_that_is_built_of_the_model(
    others: list[type[Method]], factory: Callable[[Iterable[nn.Parameter]], Optimizer] | None
) -> None:
    settings = (
        trainer(decay=0.1).settings if factory is None else TrainSettings(batch_size=8, optimizer=factory, device="cpu")
    )
    own = Trainer(task(shared), settings, seed=1)
    model, kept = own.model(), Kept()
    own.fit(model, phase="train", num_steps=3, methods=[SoftSharing(), *[other() for other in others], kept])
    fresh = own.settings.optimizer(model.parameters())
    expected = [list(map(id, group["params"])) for group in fresh.param_groups]
    assert [list(map(id, group["params"])) for group in kept.optimizer.param_groups] == expected


class Kept(Method):
    """Hands the optimizer out."""

    name = "kept"

    def finish(self, run: Run) -> None:
        self.optimizer = run.optimizer


@pytest.mark.parametrize("make", [shared, folded, network])
def test_groups_for_a_loop_of_ones_own_hold_every_parameter_once(make: Callable[[], nn.Module]) -> None:
    model = make()
    rest, apart = parameter_groups(model, weight_decay=0.1)
    assert (rest["weight_decay"], apart["weight_decay"]) == (0.1, 0.0)
    assert ids(apart) == scales(model)
    assert sorted(map(id, [*rest["params"], *apart["params"]])) == sorted(map(id, model.parameters()))
    SGD([rest, apart], lr=0.1).step()
