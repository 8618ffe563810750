"""The benchmarks of widths run at toy size: what they compare is equal, what they charge exact, the page shows it."""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from paretorch.errors import RunError
from paretorch.training.models.mlp import mlp
from paretorch.training.models.resnet import ResNet


def page_of(load: Any, name: str, arguments: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The results page with what the script measured."""
    monkeypatch.setattr(load("_harness"), "RESULTS", folder)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments, "--keep-noisy"])
    load(name).main()
    return load("_page").page(load("_result").load_all(folder))


def test_a_cut_resnet_has_the_layers_shapes_and_operations_of_one_built_at_its_width(load: Any) -> None:
    script = load("cut_latency")
    _, cut, written, _ = script.models(width=16, side=32)
    assert script.operations(cut) == script.operations(written)
    assert len(script.operations(cut)) > 60
    shapes = [{name: tensor.shape for name, tensor in model.state_dict().items()} for model in (cut, written)]
    assert shapes[0] == shapes[1]


def test_models_that_differ_in_one_layer_are_not_timed(load: Any) -> None:
    with pytest.raises(RunError, match="the cut model has 'conv1: Conv2d"):
        load("cut_latency").check_same(ResNet(width=16), ResNet(width=8))
    with pytest.raises(RunError, match="has 'output output' where one built at that width has '3: Linear"):
        load("cut_latency").check_same(nn.Sequential(*mlp((4, 4, 4))[:3]), mlp((4, 4, 4, 4))[:5])


@pytest.mark.slow
def test_cut_latency_writes_its_figures(load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = load("cut_latency")
    monkeypatch.setattr(script, "WIDTH", 8)
    monkeypatch.setattr(script, "SIDE", 32)
    page = page_of(load, "cut_latency", ["--rounds", "2", "--seconds", "0.001", "--no-compile"], tmp_path, monkeypatch)
    assert "**Latency of one image, one thread** (n = 2 each)" in page
    assert "| channels_last |" in page


@pytest.mark.slow
def test_profile_solvers_write_their_figures(load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["--rounds", "2", "--layers", "4", "--levels", "5"]
    page = page_of(load, "profile_solvers", arguments, tmp_path, monkeypatch)
    assert "Choosing a profile, 4 layers, 5 widths each: hull, separable cost" in page
    exact = next(line for line in page.splitlines() if line.startswith("| exact, chain cost |"))
    assert "| yes | 1 |" in exact


@pytest.mark.slow
def test_width_groups_write_their_figures(load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch_pruning", reason="needs the peers extra")
    script = load("width_groups")
    small = {"tiny": (partial(mlp, (6, 5, 4, 3)), lambda: torch.zeros(1, 6))}
    monkeypatch.setattr(script, "MODELS", small)
    page = page_of(load, "width_groups", ["--rounds", "2"], tmp_path, monkeypatch)
    assert "| tiny/groups, ours | 2 |" in page
    assert "| tiny/groups, Torch-Pruning | 3 |" in page  # the output layer among them


@pytest.mark.slow
def test_elastic_width_charges_every_pass_and_writes_its_conclusions(
    load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, script, words = load("_elastic_problem"), load("elastic_width"), load("_elastic_words")
    widths = (32, 32, 32, 32)
    tiny = replace(
        problem.DIGITS, widths=widths, task=partial(problem.digits_task, widths=widths), steps=60, seeds=(0, 1)
    )
    monkeypatch.setattr(script, "problems", lambda _quick: {"digits": tiny})
    arguments = ["--data", str(tmp_path), "--work", str(tmp_path / "work"), "--no-compile"]
    page = page_of(load, "elastic_width", arguments, tmp_path, monkeypatch)
    result = load("_result").load_all(tmp_path)["elastic_width.cpu"]
    steps = (tiny.steps + tiny.finetune_steps) * tiny.batch_size
    for arm in words.SEPARATE:  # these train on labels alone: 3 x MACs x examples, nothing else
        macs = sum(result.figure(f"digits/{arm}, {words.label(budget)}, MACs")["mean"] for budget in words.BUDGETS)
        assert result.figure(f"digits/{arm}, macs")["mean"] == pytest.approx(3 * macs * steps / words.GIGA)
    order = ("single layer, searched", "plain, cut by norm", "slimmable, uniform widths")
    single, plain, slimmable = (result.figure(f"digits/{arm}, training, macs")["mean"] for arm in order)
    assert single < plain < slimmable
    said = words.conclusions({"digits": result.figures["digits"]})
    assert result.notes[: len(said)] == said
    assert "| DPOD, one run |" in page
