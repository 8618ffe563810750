"""The GAN step: a plain loop's update, bitwise resumes, exact zeros, and the discriminator from phase to phase."""

import os
import signal
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretorch.artefacts.mask_edit import MaskEdit
from paretorch.artefacts.model import load_model, save_model
from paretorch.errors import InputError
from paretorch.methods.method import Method, Run
from paretorch.methods.schedules import Linear
from paretorch.methods.sparsity.enforcement import MaskEnforcement
from paretorch.pipelines.dense import train_dense
from paretorch.pipelines.imp import IMP, IMPResult
from paretorch.pipelines.retraining import Retraining
from paretorch.training.models.dcgan import Discriminator, Generator
from paretorch.training.run import RunDirectory
from paretorch.training.seeding import generator, seed_global, stream_seed
from paretorch.training.settings import OptimizerSpec
from paretorch.training.tasks.generative.adversarial_step import AdversarialStep
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


def test_beta1_reaches_both_optimizers_and_sgd_is_left_alone() -> None:
    seen: list[list[float]] = []

    class Looks(Method):
        name = "looks"

        def start(self, run: Run) -> None:
            groups = [optimizer.param_groups[0] for optimizer in run.optimizers.values()]
            seen.append([group["betas"][0] for group in groups if "betas" in group])

    for optimizer in (OptimizerSpec(name="adam", lr=1e-3), OptimizerSpec(name="sgd", lr=1e-3)):
        trainer = Trainer(TinyGAN(), plain(16), seed=2)
        trainer.settings = type(trainer.settings)(batch_size=16, optimizer=optimizer, device="cpu")
        step = AdversarialStep(partial(Discriminator, width=WIDTH, size=SIZE), beta1=0.3)
        trainer.fit(trainer.model(), phase="p", num_steps=1, methods=[step, Looks()])
    assert seen == [[0.3, 0.3], [0.3]]


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
