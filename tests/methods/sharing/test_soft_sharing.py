"""The method in our trainer: decay, ramp, optimizer, folding at the end, resuming, and what it refuses."""

from pathlib import Path

import pytest
import torch
from torch import nn

from paretorch.errors import InputError
from paretorch.methods.schedules import Linear
from paretorch.methods.sharing.regulariser import recurrence_penalty
from paretorch.methods.sharing.similarity import layer_similarity
from paretorch.methods.sharing.soft_sharing import SoftSharing
from paretorch.methods.sharing.templates import mixing_parameters, share_, shared_groups
from paretorch.pipelines.dense import train_dense
from paretorch.training.run import RunDirectory
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.supervised import SupervisedTask
from paretorch.training.trainer import Trainer
from tests.methods.sharing.networks import CONVS, images, network


def task(make=network) -> SupervisedTask:
    data = (images(24), torch.arange(24) % 3)
    return SupervisedTask(make, train=data, evaluation=data, test=data)


def trainer(*, decay: float = 0.0, make=network, directory: RunDirectory | None = None, name: str = "sgd") -> Trainer:
    optimizer = OptimizerSpec(name=name, lr=0.05, weight_decay=decay)
    settings = TrainSettings(batch_size=8, optimizer=optimizer, device="cpu", checkpoint_seconds=0)
    return Trainer(task(make), settings, seed=1, directory=directory)


def shared_network() -> nn.Module:
    model = network()
    share_(model, templates=2)
    return model


def test_a_model_is_shared_at_the_start_and_keeps_its_templates() -> None:
    own = trainer()
    model = own.model()
    method = SoftSharing(templates=2)
    result = own.fit(model, phase="train", num_steps=6, methods=[method])
    assert list(shared_groups(model)["conv2d-4x4x3x3"].layers) == list(CONVS)
    assert method.folding is None
    (found,) = method.details()["similarity"].values()
    assert found == layer_similarity(model)["conv2d-4x4x3x3"].to_dict()
    assert result.curve[-1]["similarity"] == pytest.approx(layer_similarity(model)["conv2d-4x4x3x3"].mean)
    assert len(result.optimizer_state["param_groups"]) == 1
    assert len(result.optimizer_state["state"]) == len(list(model.parameters()))


def test_sharing_at_the_start_is_training_a_model_that_shares_already() -> None:
    early, late = trainer(make=shared_network), trainer()
    first, second = early.model(), late.model()
    early.fit(first, phase="train", num_steps=5, methods=[SoftSharing()])
    start = shared_network().state_dict()

    class Same(SoftSharing):
        def start(self, run):
            super().start(run)
            run.model.load_state_dict(start)

    late.fit(second, phase="train", num_steps=5, methods=[Same(templates=2)])
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_coefficients_do_not_decay_and_everything_else_does(name: str) -> None:
    sizes = {}
    for decay in (0.0, 20.0):
        own = trainer(decay=decay, make=shared_network, name=name)
        model = own.model()
        began = {key: p.detach().clone() for key, p in model.named_parameters()}
        own.fit(model, phase="train", num_steps=1, schedule=lambda _step: 1e-3, methods=[SoftSharing()])
        sizes[decay] = {key: p.detach() - began[key] for key, p in model.named_parameters()}
    for key, moved in sizes[20.0].items():
        pulled = moved - sizes[0.0][key]
        if key.endswith("coefficients"):
            assert not pulled.any()
        else:
            torch.testing.assert_close(pulled, -0.02 * began[key], rtol=1e-6, atol=1e-12)


def test_the_penalty_of_a_step_is_the_ramp_times_the_regulariser() -> None:
    own = trainer(make=shared_network)
    model = own.model()
    seen = []

    class Watched(SoftSharing):
        def penalty(self, run):
            term = super().penalty(run)
            seen.append(0.0 if term is None else float((term / recurrence_penalty(run.model)).detach()))
            return term

    own.fit(model, phase="train", num_steps=5, methods=[Watched(recurrence=0.01, ramp=(0.25, 0.75))])
    assert seen == [pytest.approx(0.01 * share) for share in (0, 0, 0.5, 1, 1)]


def test_with_a_threshold_the_phase_ends_with_plain_tied_layers_and_an_optimizer_of_them() -> None:
    own = trainer(make=lambda: shared_like(1))
    model = own.model()
    method = SoftSharing(fold=0.95)
    result = own.fit(model, phase="train", num_steps=6, methods=[method])
    assert list(method.folding.clusters.values()) == [CONVS]
    assert set(method.folding.absorbed) == {"5", "8"}
    assert {type(model.get_submodule(name)) for name in CONVS} == {nn.Conv2d}
    assert not mixing_parameters(model)
    assert method.details()["folding"]["max_change"] < 1e-7
    plain = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    plain.load_state_dict(result.optimizer_state)  # an optimizer of the plain model takes it
    kept = {id(p) for p, state in plain.state.items() if state}
    fresh = id(model[2].weight)
    assert kept == {id(p) for p in model.parameters()} - {fresh}
    own.fit(model, phase="again", num_steps=3, optimizer_state=result.optimizer_state)


def shared_like(number: int) -> nn.Module:
    model = network()
    share_(model, templates=number)
    return model


def test_a_run_that_was_stopped_and_goes_on_ends_with_the_same_bits(tmp_path: Path) -> None:
    ends = []
    for stops in ([6], [2, 6]):
        folder = tmp_path / f"run{len(stops)}"
        for stop in stops:
            with RunDirectory(folder, recipe="share", resume=True) as home:
                own = trainer(decay=1e-3, directory=home)
                model = own.model()

                class Halting(SoftSharing):
                    def before_forward(self, run, stop=stop):
                        if run.step == stop < 6:
                            raise KeyboardInterrupt

                method = Halting(templates=2, recurrence=0.01, fold=0.5)
                try:
                    own.fit(model, phase="train", num_steps=6, methods=[method])
                except KeyboardInterrupt:
                    assert stop == 2
        ends.append((model.state_dict(), method.details()))
    (first, facts), (second, again) = ends
    assert facts == again
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_micro_batches_add_the_penalty_once() -> None:
    losses = []
    for parts in (1, 2):
        settings = TrainSettings(batch_size=8, accumulate=parts, optimizer=OptimizerSpec(lr=0.05), device="cpu")
        own = Trainer(task(without_norms), settings, seed=1)
        model = own.model()
        own.fit(model, phase="train", num_steps=4, methods=[SoftSharing(recurrence=0.1)])
        losses.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-9, atol=1e-12)


def without_norms() -> nn.Module:
    model = network()
    for norm in ("3", "6", "9"):
        model[int(norm)] = nn.Identity()
    share_(model, templates=2, unit_rows=True)
    return model


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"unit_rows": True}, "give templates too"),
        ({"groups": {"a": ["2", "5"]}}, "give templates too"),
        ({"recurrence": -1.0}, "at least 0; got -1.0"),
        ({"recurrence": float("nan")}, "got nan"),
        ({"recurrence": 0.1, "power": 3}, "1 or 2; got 3"),
        ({"ramp": (0.6, 0.4)}, r"got \(0.6, 0.4\)"),
        ({"fold": 0.0}, "got 0.0"),
    ],
)
def test_settings_out_of_range_are_refused(arguments, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SoftSharing(**arguments)


def test_a_model_that_shares_nothing_is_refused_before_training() -> None:
    own = trainer()
    with pytest.raises(InputError, match="Sequential shares nothing: give templates"):
        own.fit(own.model(), phase="train", num_steps=1, methods=[SoftSharing()])


class SharedTask(SupervisedTask):
    """A task whose model shares, so that every training phase of it has the method."""

    def methods(self):
        return [SoftSharing()]


def test_the_ledger_line_of_a_phase_of_such_a_task_holds_the_matrices() -> None:
    data = (images(24), torch.arange(24) % 3)
    own = Trainer(
        SharedTask(shared_network, train=data, evaluation=data, test=data), TrainSettings(batch_size=8, device="cpu")
    )
    dense = train_dense(own, Linear(num_steps=4, peak=0.05))
    (found,) = dense.entry["similarity"].values()
    assert found == layer_similarity(dense.model)["conv2d-4x4x3x3"].to_dict()
    assert dense.entry["kind"] == "dense"
