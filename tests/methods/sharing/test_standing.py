"""The method in several phases of one run: what was shared stays shared, and what was folded is not drawn anew."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.methods.method import Method, Run
from paretorch.methods.sharing.layers import SharedLayer
from paretorch.methods.sharing.soft_sharing import SoftSharing
from paretorch.methods.sharing.templates import share_, shared_groups
from paretorch.pipelines.phases import Phase, train_phase
from paretorch.training.run import RunDirectory
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.supervised import SupervisedTask
from paretorch.training.trainer import Trainer
from tests.methods.sharing.networks import CONVS, images, network
from tests.methods.sharing.test_soft_sharing import trainer


class Standing(SupervisedTask):
    """A task that gives the method to every training phase."""

    settings: dict[str, Any]

    def methods(self) -> Sequence[Method]:
        return [SoftSharing(**self.settings)]


class Before(Method):
    """Remembers the weights at the start of a phase, after the methods before it."""

    name = "before"

    def start(self, run: Run) -> None:
        self.weights = {name: value.detach().clone() for name, value in run.model.state_dict().items()}


def standing(directory: RunDirectory | None = None, **settings: Any) -> Trainer:
    data = (images(24), torch.arange(24) % 3)
    task = Standing(network, train=data, evaluation=data, test=data)
    task.settings = settings
    optimizer = OptimizerSpec(lr=0.05, weight_decay=1e-3)
    return Trainer(
        task,
        TrainSettings(batch_size=8, optimizer=optimizer, device="cpu", checkpoint_seconds=0),
        seed=1,
        directory=directory,
    )


def two_phases(own: Trainer) -> tuple[nn.Module, list[dict[str, Any]], dict[str, Tensor], dict[str, Tensor]]:
    """The model after two phases, their ledger lines, the weights after the first, and those the second began with."""
    model, seen, entries, state = own.model(), Before(), [], None
    weights: dict[str, Tensor] = {}
    for name in ("first", "second"):
        weights = {key: value.detach().clone() for key, value in model.state_dict().items()}
        phase = Phase(name=name, num_steps=6, schedule=lambda _step: 0.05, methods=[seen])
        entry, state = train_phase(own, model, phase, details={}, optimizer_state=state)
        entries.append(entry)
    return model, entries, weights, seen.weights


STANDING: dict[str, dict[str, Any]] = {
    "by shape": {"templates": 2},
    "by name": {"templates": {"a": 1}, "groups": {"a": ["[25]"]}},
    "folded": {"templates": 1, "fold": 0.9},
    "nothing alike": {"templates": 3, "fold": 1.0},
    "some alike": {"templates": 2, "recurrence": 0.1, "fold": 0.3},
    "folded by name": {"templates": 2, "groups": {"a": ["2", "5", "8"]}, "fold": 0.5},
}


@pytest.mark.filterwarnings("ignore:the folded model has")
@pytest.mark.parametrize("kind", STANDING)
def test_the_second_phase_goes_on_with_the_weights_of_the_first(kind: str) -> None:
    settings = STANDING[kind]
    model, entries, left, found = two_phases(standing(**settings))
    assert left.keys() == found.keys()
    assert all(torch.equal(value, found[name]) for name, value in left.items())
    assert "similarity" in entries[0]
    assert any(isinstance(module, SharedLayer) for module in model.modules()) == ("fold" not in settings)
    assert ("folding" in entries[0]) == ("fold" in settings)
    assert ("similarity" in entries[1]) == ("fold" not in settings)
    assert "folding" not in entries[1]


@pytest.mark.filterwarnings("ignore:the folded model has")
@pytest.mark.parametrize("kind", ["by shape", "some alike"])
@pytest.mark.parametrize("fatal", [3, 9])
def test_a_run_of_two_phases_that_dies_is_resumed_to_the_same_bits(tmp_path: Path, kind: str, fatal: int) -> None:
    expected, entries, *_ = two_phases(standing(**STANDING[kind]))
    steps = 0

    class Dying(RunDirectory):
        def save(self, name: str, tree: Any) -> None:
            nonlocal steps
            steps += 1
            super().save(name, tree)
            if steps == fatal:
                raise ConnectionError("stands for a process that dies")

    with pytest.raises(ConnectionError), Dying(tmp_path / "run", recipe="x") as directory:
        two_phases(standing(directory, **STANDING[kind]))
    with RunDirectory(tmp_path / "run", recipe="x", resume=True) as directory:
        model, again, *_ = two_phases(standing(directory, **STANDING[kind]))
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in expected.state_dict().items())
    for name in ("similarity", "folding", "validation"):
        assert [entry.get(name) for entry in again] == [entry.get(name) for entry in entries]


def test_what_a_builder_left_unshared_is_shared_once() -> None:
    model = nn.Sequential(network(), nn.Linear(3, 3), nn.Linear(3, 3)).double()
    share_(model, templates=1, groups={"builder": ["0.2", "0.5"]})
    own = trainer()
    for phase in ("first", "second"):
        own.fit(model, phase=phase, num_steps=1, methods=[SoftSharing(templates=2)])
        layers = [list(group.layers) for group in shared_groups(model).values()]
        assert layers == [["0.2", "0.5"], ["1", "2"]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"templates": 3}, r"numbers of templates: {'conv2d-4x4x3x3': 2}; 3 are asked for"),
        ({"templates": 2, "groups": {"a": ["2", "5"]}}, "'2' has a shared weight already"),
        ({"templates": {"conv2d-4x4x3x3": 1}, "groups": {"conv2d-4x4x3x3": list(CONVS)}}, "numbers of templates"),
    ],
)
def test_a_phase_that_asks_for_other_sharing_than_there_is_is_refused(settings: dict[str, Any], message: str) -> None:
    own = trainer()
    model = own.model()
    own.fit(model, phase="first", num_steps=1, methods=[SoftSharing(templates=2)])
    with pytest.raises(InputError, match=message):
        own.fit(model, phase="second", num_steps=1, methods=[SoftSharing(**settings)])


def test_a_folded_layer_is_not_shared_again_with_a_weight_that_is_drawn_anew() -> None:
    own = trainer()
    model = own.model()
    own.fit(model, phase="first", num_steps=1, methods=[SoftSharing(templates=3, fold=1.0)])
    with pytest.raises(InputError, match="no 2 layers of one shape"):
        share_(model, templates=2)
    with pytest.raises(InputError, match="'2' was folded, and its weight would be lost"):
        share_(model, templates=2, groups={"a": ["2", "5"]})
