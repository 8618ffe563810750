"""Grids of learning rates and epsilons: what tuning says follows from the points; a run at toy size."""

import itertools
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from paretorch.errors import RunError
from paretorch.methods.method import Method, Run
from paretorch.methods.optim import AvaGrad
from paretorch.training.models.dcgan import Discriminator
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.trainer import Trainer
from tests.training.tiny_gan import SIZE, WIDTH, TinyGAN

DIAGONAL = {(0.1, 0.01): 1.0, (1.0, 0.01): 2.0, (10.0, 0.01): None, (0.1, 1.0): 9.0, (1.0, 1.0): 3.0, (10.0, 1.0): 0.5}


def diagonal_figures(load: Any, values: Mapping[tuple[float, float], float | None]) -> dict[str, Any]:
    """Figures of a task on which Adam has these losses with every seed, and the untrained model a loss of 5."""
    words, quick = load("_optimizer_grids_words"), load("_optimizer_grids_problems").QUICK[0]
    problem = replace(quick, rates=(0.1, 1.0, 10.0), epsilons=(0.01, 1.0))
    lines, starts = whole_grid(load, problem, seeds=(0, 1, 2))
    for (name, epsilon, _), trials in lines.items():
        for one in trials if name == "Adam" else ():
            one["criterion"] = one["test"] = values[one["rate"], epsilon]
    starts = {seed: {"criterion": 5.0, "test": 0.1} for seed in starts}
    return words.figures_of(problem, words.studies_of(problem, lines, starts), lines, starts)


def test_what_tuning_reaches_on_a_diagonal_valley(load: Any) -> None:
    figures = diagonal_figures(load, DIAGONAL)
    assert [figures[f"Adam, best rate, eps {epsilon}"] for epsilon in ("0.01", "1")] == [0.1, 10.0]
    assert figures["Adam, moved"]["mean"] == pytest.approx(2)
    assert figures["Adam, whole grid"]["mean"] == pytest.approx(0.5)
    # From eps 0.01 the rate 0.1 is best and stays best at eps 0.01; from eps 1 the rate 10, which eps 0.01 cannot use.
    assert figures["Adam, two lines"]["mean"] == pytest.approx((1.0 + 0.5) / 2)
    assert figures["Adam, trials of two lines"] == 4
    counted = [1.0, 2.0, 5.0, 5.0, 3.0, 0.5]  # what diverged, or became worse, is the untrained model
    choices = list(itertools.combinations(counted, 4))
    assert figures["Adam, random points"]["mean"] == pytest.approx(sum(map(min, choices)) / len(choices))
    assert (figures["Adam, lr 10, eps 0.01"], figures["Adam, lr 1, eps 1"]) == ("diverged", 3.0)


def test_decades_are_left_out_where_only_one_epsilon_trains(load: Any) -> None:
    figures = diagonal_figures(load, DIAGONAL | {(1.0, 1.0): None, (10.0, 1.0): 7.0})
    assert figures["Adam, best rate, eps 1"] == "no better"
    assert "Adam, moved" not in figures
    assert "AvaGrad, moved" in figures


def gap(low: float, high: float) -> dict[str, Any]:
    return {"mean": (low + high) / 2, "low": low, "high": high, "n": 5}


def test_a_difference_is_better_in_the_direction_of_the_metric(load: Any) -> None:
    words = load("_optimizer_grids_words")
    gaps = {"accuracy": gap(1, 2), "loss": gap(1, 2), "distance": gap(-2, -1), "other": gap(-1, 1)}
    higher = {"accuracy": True, "loss": False, "distance": False, "other": True}
    said = words.preference("A against B", gaps, higher)
    assert said == "A against B: better on accuracy and distance, worse on loss, not told apart on other."


def moved(ours: float, adam: float) -> dict[str, Any]:
    return {"AvaGrad, moved": {"mean": ours}, "Adam, moved": {"mean": adam}}


def test_the_claim_about_decades_is_judged_on_the_means_of_every_task_and_first_where_it_fails(load: Any) -> None:
    words, tasks = load("_optimizer_grids_words"), load("_optimizer_grids_problems").PROBLEMS
    figures = {"digits": moved(1.0, 2.0), "char-LM": moved(1.2, 4.0), "DCGAN": moved(4 / 3, 2 / 3)}
    figures |= {"diffusion": moved(0.0, 2.3), "Fashion-MNIST": moved(0.0, 1.8)}
    assert words._decades(tasks, figures).endswith(
        "is false on char-LM (1.2 and 4.0 decades to eps 100), DCGAN (1.3 and 0.7 decades to eps 1) and Fashion-MNIST "
        "(0.0 and 1.8 decades to eps 100) and true on digits (1.0 and 2.0 decades to eps 100) and diffusion (0.0 and "
        "2.3 decades to eps 1)."
    )
    claims = [one["claim"] for one in load("optimizer_grids").headlines(list(tasks), figures)]
    assert [claim.partition(":")[0] for claim in claims[:10:2]] == [
        "char-LM", "DCGAN", "Fashion-MNIST", "digits", "diffusion",
    ]  # fmt: skip


def test_cells_of_generated_images_are_other_cells_with_another_judge(load: Any, tmp_path: Path) -> None:
    script, identities = load("optimizer_grids"), []
    for content in (b"one", b"two"):
        (tmp_path / "model.safetensors").write_bytes(content)
        cells = script.grid(False, tmp_path, tmp_path)
        identities.append(load("_grid")._identities(cells, script.VERSION))
    first, second = identities
    judged = {name for name in first if first[name] != second[name]}
    assert judged == {name for name in first if name.startswith(("DCGAN", "diffusion"))}


def test_without_a_judge_finished_cells_cannot_be_told_apart(
    load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data", str(tmp_path), "--write-only", "--classifier", str(tmp_path / "none")]
    monkeypatch.setattr(sys, "argv", ["optimizer_grids.py", *arguments])
    with pytest.raises(SystemExit) as stop:
        load("optimizer_grids").main()
    assert stop.value.code == 2
    assert "none holds no saved classifier (model.safetensors)" in capsys.readouterr().err


def test_seeds_that_contradict_each_other_are_refused(load: Any) -> None:
    words, problem = load("_optimizer_grids_words"), load("_optimizer_grids_problems").QUICK[0]
    lines, starts = whole_grid(load, problem, seeds=(0, 1, 2))
    studies = words.studies_of(problem, lines, starts)
    lines["Adam", 1.0, 2][0]["samples"] += 64
    with pytest.raises(RunError, match="training samples of a trial: 448 with seed 2, and 384 elsewhere"):
        words.figures_of(problem, studies, lines, starts)
    lines["Adam", 1.0, 2][0]["samples"] -= 64
    judged = {seed: one | {"floor": 3.0 + seed} for seed, one in starts.items()}
    with pytest.raises(RunError, match=r"real against real: 4\.0 with seed 1, and 3\.0 elsewhere"):
        words.figures_of(replace(problem, judged=True), studies, lines, judged)


def whole_grid(load: Any, problem: Any, *, seeds: tuple[int, ...]) -> tuple[dict[Any, Any], dict[int, Any]]:
    """The trials of all optimizers, equally good, and what the untrained model measures."""
    samples = problem.steps * problem.batch_size
    names = load("_optimizer_grids_words").NAMES
    lines = {
        (name, epsilon, seed): [
            {"rate": rate, "criterion": 1.0, "test": 0.5, "samples": samples} for rate in problem.rates
        ]
        for name in names
        for epsilon in problem.epsilons_of(name)
        for seed in seeds
    }
    return lines, {seed: {"criterion": 2.0, "test": 0.1} for seed in (0, 1, 2)}


def test_a_seed_whose_grid_is_not_whole_is_left_out(load: Any) -> None:
    words, problem = load("_optimizer_grids_words"), load("_optimizer_grids_problems").QUICK[0]
    lines, starts = whole_grid(load, problem, seeds=(0, 1))
    del lines["AdamW", 1.0, 1]
    studies = words.studies_of(problem, lines, starts)
    assert {seed: list(study.test) for seed, study in studies.items()} == {
        0: [*words.NAMES],
        1: ["AvaGrad", "Adam", "SGD"],
    }
    figures = {"digits": words.figures_of(problem, studies, lines, starts)}
    assert not [name for name in figures["digits"] if "AdamW" in name]  # it is whole for one seed of two
    assert [row[:2] for row in words.tables([problem], figures)[1]["rows"]] == [
        ["digits", "AvaGrad"],
        ["digits", "Adam"],
        ["digits", "SGD"],
    ]
    del lines["Adam", 1.0, 1]
    assert list(words.studies_of(problem, lines, starts)) == [0]


class Looks(Method):
    """Remembers the optimizers and the discriminator's rate after every step."""

    name = "looks"

    def __init__(self) -> None:
        self.rates: list[float] = []

    def after_update(self, run: Run) -> None:
        self.optimizers: Mapping[str, Any] = run.optimizers
        self.rates.append(run.optimizers["discriminator"].param_groups[0]["lr"])


def test_the_discriminator_learns_with_the_optimizer_of_the_generator(load: Any) -> None:
    spec = OptimizerSpec(name="avagrad", lr=0.05, eps=0.3, betas=(0.5, 0.99))
    trainer = Trainer(TinyGAN(), TrainSettings(batch_size=16, optimizer=spec, device="cpu"))
    same = load("_optimizer_grids_problems").SameOptimizer(partial(Discriminator, width=WIDTH, size=SIZE), spec)
    looks, model = Looks(), trainer.model()
    trainer.fit(model, phase="p", num_steps=3, schedule=lambda step: 0.05 / (1 + step), methods=[same, looks])
    for optimizer in looks.optimizers.values():
        group = optimizer.param_groups[0]
        assert (type(optimizer), group["eps"], group["betas"]) == (AvaGrad, 0.3, (0.5, 0.99))
    assert sorted(set(looks.rates), reverse=True) == [0.05 / (1 + step) for step in range(3)]
    owned = {id(param) for param in looks.optimizers["discriminator"].param_groups[0]["params"]}
    assert owned == {id(param) for param in model.opponents[0].parameters()}


@pytest.mark.slow
def test_the_benchmark_writes_grids_and_what_tuning_them_reaches(
    load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load("_harness"), "RESULTS", tmp_path)

    def page(*options: str) -> str:
        arguments = ["--data", str(tmp_path), "--work", str(tmp_path / "work"), "--quick", *options]
        monkeypatch.setattr(sys, "argv", ["optimizer_grids.py", *arguments])
        load("optimizer_grids").main()
        return load("_page").page(load("_result").load_all(tmp_path))

    shown = page()
    figures = load("_result").load_all(tmp_path)["optimizer_grids.cpu"].figures["digits"]
    assert figures["SGD, lr 1e+12"] == "diverged"
    assert figures["AvaGrad, trials"] == 6
    assert figures["AvaGrad, trials of two lines"] == 4
    assert figures["AvaGrad, moved"]["n"] == 3
    files = (tmp_path / "work").glob("digits-SGD-s*.json")
    finite = [
        [one["criterion"] for one in json.loads(file.read_text())["result"] if one["criterion"] is not None]
        for file in files
    ]
    assert figures["SGD, whole grid"]["mean"] == pytest.approx(sum(map(min, finite)) / 3)
    assert figures["SGD, two lines"] == figures["SGD, whole grid"]
    assert "**digits, training loss by learning rate, lower is better**" in shown
    assert "| AvaGrad | 0.01 | " in shown
    assert page("--write-only") == shown


def test_with_no_whole_seeds_there_is_nothing_to_write_and_it_says_so(load: Any) -> None:
    with pytest.raises(RunError, match="no task has three whole seeds yet"):
        load("optimizer_grids").headlines([], {})
