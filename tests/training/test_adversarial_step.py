"""The GAN step: a plain loop's update, bitwise resumes, exact zeros, and the discriminator from phase to phase."""

import os
import signal
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretorch.artefacts.mask_edit import MaskEdit
from paretorch.artefacts.model import load_model, save_model
from paretorch.errors import InputError
from paretorch.methods.method import Method, Run
from paretorch.methods.schedules import DenseSchedule, Linear
from paretorch.methods.sparsity.enforcement import MaskEnforcement
from paretorch.pipelines.compression import Start
from paretorch.pipelines.dense import train_dense
from paretorch.pipelines.from_scratch import FromScratch
from paretorch.pipelines.imp import IMP, IMPResult
from paretorch.pipelines.retraining import Retraining
from paretorch.training.models.dcgan import Discriminator, Generator
from paretorch.training.run import RunDirectory
from paretorch.training.seeding import generator, seed_global, stream_seed
from paretorch.training.settings import OptimizerSpec
from paretorch.training.trainer import Trainer
from tests.training.problems import linear_task, plain
from tests.training.tiny_gan import ADAM, LATENT, SIZE, WIDTH, TinyGAN

DENSE_STEPS, RETRAIN_EPOCHS = 9, 2


class Kill(Method):
    """Interrupts the process at one step, between the two turns."""

    name = "kill"

    def __init__(self, at: int | None = None) -> None:
        self.at = at

    def before_update(self, run: Run) -> None:
        if run.step == self.at:
            os.kill(os.getpid(), signal.SIGINT)


def fit(folder: Path | None, kill: Kill) -> dict[str, Tensor]:
    """The weights of both players after nine steps."""
    directory = RunDirectory(folder, recipe="", resume=True) if folder is not None else None
    try:
        task = TinyGAN()
        trainer = Trainer(task, ADAM, seed=2, directory=directory)
        model = trainer.model()
        schedule = Linear(num_steps=DENSE_STEPS, peak=2e-3)
        trainer.fit(model, phase="dense", num_steps=DENSE_STEPS, schedule=schedule, methods=[*task.methods(), kill])
        return players(model)
    finally:
        if directory is not None:
            directory.close()


def players(model: nn.Module) -> dict[str, Tensor]:
    assert isinstance(model, Generator)
    opponent = {f"opponent.{name}": value for name, value in model.opponents[0].state_dict().items()}
    return model.state_dict() | opponent


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_three_steps_are_those_of_a_plain_loop_with_binary_cross_entropy() -> None:
    task = TinyGAN()
    trainer = Trainer(task, ADAM, seed=2)
    trained = trainer.model()
    rates = [2e-3, 1e-3, 5e-4]
    trainer.fit(trained, phase="dense", num_steps=3, schedule=rates.__getitem__, methods=task.methods())

    seed = stream_seed(2, "dense")
    made_by = trainer.model()
    seed_global(seed, "start")
    judge = Discriminator(width=WIDTH, size=SIZE)
    optimizers = [torch.optim.Adam(player.parameters(), betas=(0.5, 0.999)) for player in (judge, made_by)]
    data, ones = task.train_set(), torch.ones(16)
    order = torch.randperm(48, generator=generator(seed, "shuffle", 0))
    for step, index in enumerate(order.split(16)):
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = rates[step]
        latent = torch.randn(16, LATENT, generator=generator(seed, "prepare", step, int(index[0])))
        images = made_by(latent)  # the second time below moves the running statistics again
        real = F.binary_cross_entropy_with_logits(judge(data.batch(index)["inputs"]), ones)
        fake = F.binary_cross_entropy_with_logits(judge(images.detach()), 0 * ones)
        judge.zero_grad()
        (real + fake).backward()
        optimizers[0].step()
        made_by.zero_grad()
        F.binary_cross_entropy_with_logits(judge(made_by(latent)), ones).backward()
        optimizers[1].step()
    made_by.opponents = (judge,)
    expected, found = players(made_by), players(trained)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("at", [0, 4, DENSE_STEPS - 1])
def test_a_step_that_is_interrupted_between_the_turns_is_finished_and_resumes_bitwise(tmp_path: Path, at: int) -> None:
    expected = fit(None, Kill())
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "run", Kill(at))
    assert same(expected, fit(tmp_path / "run", Kill()))


def pruned(folder: Path, *, kill_at: int | None = None) -> IMPResult:
    """Dense training, then two cycles of pruning and retraining, each in a directory of its own."""
    task = TinyGAN()
    task.methods = lambda: (*TinyGAN().methods(), KillInRetraining(kill_at))  # type: ignore[method-assign]
    with RunDirectory(folder / "dense", recipe="", resume=True) as home:
        trainer = Trainer(task, ADAM, seed=2, directory=home)
        dense = train_dense(trainer, Linear(num_steps=DENSE_STEPS, peak=2e-3))
    with RunDirectory(folder / "arm", recipe="", resume=True) as home:
        trainer = Trainer(task, ADAM, seed=2, directory=home)
        imp = IMP(sparsity=0.8, epochs=RETRAIN_EPOCHS, cycles=2, retraining=Retraining(schedule="LLR"))
        return imp.run(trainer, dense.model, dense=dense.schedule)


class KillInRetraining(Kill):
    """Interrupts the second retraining phase, which has three steps."""

    def start(self, run: Run) -> None:
        self.retraining = run.seed == stream_seed(2, "retrain-1")

    def before_update(self, run: Run) -> None:
        if self.retraining:
            super().before_update(run)


def test_a_pruned_generator_resumes_bitwise_with_its_discriminator_of_earlier_phases(tmp_path: Path) -> None:
    whole = pruned(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        pruned(tmp_path / "killed", kill_at=1)
    resumed = pruned(tmp_path / "killed")
    assert same(players(whole.model), players(resumed.model))
    assert [e["mask_hash"] for e in whole.entries if "mask_hash" in e] == [
        e["mask_hash"] for e in resumed.entries if "mask_hash" in e
    ]


def test_pruned_weights_are_zero_after_each_turn_and_the_discriminator_stays_dense(tmp_path: Path) -> None:
    result = pruned(tmp_path)
    weights = {name: p for name, p in result.model.named_parameters() if p.dim() == 4}
    assert sum(int((p == 0).sum()) for p in weights.values()) == round(0.8 * sum(p.numel() for p in weights.values()))
    discriminator = result.model.opponents[0]  # type: ignore[union-attr, index]
    assert all(bool((p != 0).any()) for p in discriminator.parameters())
    result.masks.check(result.model)

    turns: list[int] = []

    class Looks(Method):
        name = "looks"

        def after_update(self, run: Run) -> None:
            result.masks.check(run.model)
            turns.append(run.step)

    task = TinyGAN()
    methods = [*task.methods(), MaskEnforcement(result.masks), Looks()]
    Trainer(task, ADAM, seed=2).fit(result.model, phase="more", num_steps=3, methods=methods)
    assert turns == [0, 0, 1, 1, 2, 2]


def test_the_discriminator_goes_from_phase_to_phase_and_its_copy_leaves_the_dense_one_alone(tmp_path: Path) -> None:
    task, seen = TinyGAN(), []

    class Looks(Method):
        name = "looks"

        def start(self, run: Run) -> None:
            seen.append({name: value.clone() for name, value in players(run.model).items() if "opponent" in name})

    trainer = Trainer(task, ADAM, seed=2)
    dense = train_dense(trainer, Linear(num_steps=DENSE_STEPS, peak=2e-3))
    after_dense = {name: value.clone() for name, value in players(dense.model).items()}
    task.methods = lambda: (*TinyGAN().methods(), Looks())  # type: ignore[method-assign]
    IMP(sparsity=0.5, epochs=1, retraining=Retraining(schedule="LLR")).run(trainer, dense.model, dense=dense.schedule)
    assert same(seen[0], {name: value for name, value in after_dense.items() if "opponent" in name})
    assert same(players(dense.model), after_dense)


def test_the_artefact_holds_the_generator_alone(tmp_path: Path) -> None:
    result = pruned(tmp_path / "runs")
    reference, kwargs = TinyGAN().constructor()
    save_model(tmp_path / "model", result.model, constructor=reference, kwargs=kwargs, edits=[MaskEdit(result.masks)])
    loaded = load_model(tmp_path / "model")
    assert isinstance(loaded, Generator)
    assert loaded.opponents == ()
    latent = torch.randn(3, LATENT)
    assert torch.equal(loaded(latent), result.model.eval()(latent))


def test_each_turn_changes_its_own_player_with_the_rate_of_the_schedule() -> None:
    snapshots: list[tuple[dict[str, Tensor], float]] = []

    class Looks(Method):
        name = "looks"

        def after_update(self, run: Run) -> None:
            weights = {name: value.clone() for name, value in players(run.model).items() if "weight" in name}
            snapshots.append((weights, run.optimizers["discriminator"].param_groups[0]["lr"]))

    task = TinyGAN()
    trainer = Trainer(task, ADAM, seed=2)
    rates = [2e-3, 5e-4]
    trainer.fit(trainer.model(), phase="p", num_steps=2, schedule=rates.__getitem__, methods=[*task.methods(), Looks()])
    assert [rate for _, rate in snapshots] == [2e-3, 2e-3, 5e-4, 5e-4]
    for turn, ((before, _), (after, _)) in enumerate(pairwise(snapshots)):
        changed = {name.startswith("opponent") for name in before if not torch.equal(before[name], after[name])}
        assert changed == {turn % 2 == 1}, "after the first update it is the generator's turn, and so on"


def test_the_loss_of_the_discriminator_is_in_the_curve() -> None:
    task = TinyGAN()
    trainer = Trainer(task, ADAM, seed=2)
    result = trainer.fit(trainer.model(), phase="p", num_steps=6, methods=task.methods())
    assert all(point["discriminator_loss"] > 0 for point in result.curve)
    assert len(result.curve) == 6


class Settings(Method):
    """The settings of both optimizers, the generator's first."""

    name = "settings"

    def __init__(self) -> None:
        self.found: list[tuple[str, dict[str, Any]]] = []

    def after_update(self, run: Run) -> None:
        self.found = [
            (type(one).__name__, {key: value for key, value in one.param_groups[0].items() if key != "params"})
            for one in run.optimizers.values()
        ]


@pytest.mark.parametrize(
    ("spec", "betas"),
    [
        (OptimizerSpec(name="adam", lr=1e-3), (0.5, 0.999)),
        (OptimizerSpec(name="adam", lr=1e-3, betas=(0.9, 0.999)), (0.9, 0.999)),
        (OptimizerSpec(name="adamw", lr=1e-3, weight_decay=0.1), (0.5, 0.999)),
        (OptimizerSpec(name="avagradw", lr=0.1, eps=0.3, weight_decay=0.1), (0.5, 0.999)),
        (OptimizerSpec(name="delayed-adam", lr=1e-3, eps=0.3, betas=(0.1, 0.2)), (0.1, 0.2)),
        (OptimizerSpec(lr=1e-3, momentum=0.7, weight_decay=0.1), None),
    ],
    ids=lambda value: value.name if isinstance(value, OptimizerSpec) else "",
)
def test_an_arm_with_an_optimizer_of_its_own_gives_it_to_both_players(
    spec: OptimizerSpec, betas: tuple[float, float] | None
) -> None:
    task, settings = TinyGAN(), Settings()
    task.methods = lambda: (*TinyGAN().methods(), settings)  # type: ignore[method-assign]
    schedule = DenseSchedule.of(Linear(num_steps=DENSE_STEPS, peak=2e-3))
    arm = FromScratch(epochs=1, optimizer=spec)
    arm.run_from(Trainer(task, ADAM, seed=2), Start(model=task.model(), schedule=schedule))
    (kind, mine), (other, theirs) = settings.found
    assert kind == other == type(spec([torch.nn.Parameter(torch.zeros(1))])).__name__
    gammas = [group.pop("gamma", None) for group in (mine, theirs)]
    assert mine == theirs
    assert mine.get("betas") == betas
    for name in ("eps", "momentum", "weight_decay"):
        if name in mine and getattr(spec, name) is not None:
            assert mine[name] == getattr(spec, name)
    if gammas[0] is not None:
        assert gammas[0] is not gammas[1]
        assert float(gammas[0]) != float(gammas[1]), "each of its own rates"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda weights: torch.optim.Adam([{"params": [weight]} for weight in weights]), "has [0-9]+ groups of them"),
        (lambda weights: Needy(weights, 0.1), "cannot be given a Needy like the generator's: .*'lr'"),
    ],
)
def test_an_optimizer_that_cannot_be_given_to_both_is_refused(make: Any, message: str) -> None:
    task = TinyGAN()
    trainer = Trainer(task, replace(ADAM, optimizer=make), seed=2)
    with pytest.raises(InputError, match=message):
        trainer.fit(trainer.model(), phase="p", num_steps=1, methods=task.methods())


class Needy(torch.optim.SGD):
    """An optimizer that is not made of parameters alone."""

    def __init__(self, params: Any, rate: float) -> None:
        super().__init__(params, lr=rate)


def test_a_model_that_is_no_generator_is_refused() -> None:
    trainer = Trainer(linear_task(), plain(8))
    with pytest.raises(InputError, match="trains a Generator; this model is a DoubleLinear"):
        trainer.fit(trainer.model(), phase="p", num_steps=1, methods=TinyGAN().methods())


def test_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    step = TinyGAN().methods()[0]
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    with pytest.raises(InputError, match="trains in one process; this run has 2"):
        step.start(None)  # type: ignore[arg-type]
