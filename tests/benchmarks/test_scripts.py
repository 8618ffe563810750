"""The timing benchmarks run at toy size and write a file that the results page can show."""

import copy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from paretorch.methods.sparsity.continuous.method import ContinuousSparsification
from paretorch.training.settings import TrainSettings
from paretorch.training.tasks.digits import digits
from paretorch.training.trainer import Trainer


def run(load: Any, name: str, arguments: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The page's section of what the script measured."""
    monkeypatch.setattr(load("_harness"), "RESULTS", folder)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments, "--keep-noisy"])
    load(name).main()
    return load("_page").page(load("_result").load_all(folder))


@pytest.mark.slow
def test_mask_enforcement_writes_its_figures(load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = load("mask_enforcement")
    monkeypatch.setattr(script, "WIDTH", 64)
    page = run(load, "mask_enforcement", ["--rounds", "2", "--seconds", "0.001"], tmp_path, monkeypatch)
    assert "| Exact zeros after an AdamW step, added time | " in page
    assert "| mask_bytes | 16,384 bytes |" in page


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: reads /proc")
def test_global_selection_writes_its_figures(load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = load("global_selection")
    monkeypatch.setattr(script, "resnet50_shapes", lambda: {"a": (64, 32), "b": (10, 64)})
    monkeypatch.setattr(script, "memory_in_subprocess", lambda prepare, **given: 5000 + len(prepare(**given)()))
    page = run(
        load, "global_selection", ["--rounds", "1", "--fast-rounds", "1", "--processes", "1"], tmp_path, monkeypatch
    )
    assert "**float32 weights, time of one selection** (n = 1 each)" in page
    assert "| 1 \u2020 | minutes | cpu |" in page  # one round is few, other than one exact count
    assert "| num_weights | 2,688 |" in page
    assert "| extra_bytes_float32_50 | 2,314 bytes |  | 1 |" in page  # 5000 + 2 masks - 2688


@pytest.mark.slow
def test_optimizer_step_writes_its_figures(load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pytorch_optimizer", reason="needs the peers extra")
    page = run(load, "optimizer_step", ["--rounds", "2", "--quick", "--no-compile"], tmp_path, monkeypatch)
    assert "| AvaGrad's step over that of torch AdamW, foreach, tiny parameters | " in page
    assert "| tiny/parameters | 27,936 |" in page
    assert "AvaGrad, compiled" not in page
    packages = load("_result").load_all(tmp_path)["optimizer_step.cpu"].environment["packages"]
    assert {"torch", "pytorch_optimizer"} <= packages.keys()


def step_figures(load: Any, over: dict[str, tuple[float, float]]) -> dict[str, Any]:
    """Figures of one model, whose ratios have these intervals."""
    script = load("optimizer_step")
    ratios = {
        f"{script.OURS} over {name}": {"median": (low + high) / 2, "low": low, "high": high, "n": 9, "unit": "x"}
        for name, (low, high) in over.items()
    }
    return {"25 M": ratios | {f"{name}, seconds": 0.1 for name in (script.OURS, *over)}}


def test_the_step_that_is_faster_than_ours_comes_first_in_headlines_and_notes(load: Any) -> None:
    script = load("optimizer_step")
    over = dict.fromkeys(script.OTHERS, (0.2, 0.4)) | {script.FLOOR: (3.5, 4.5), script.COMPILED: (0.8, 1.2)}
    figures = step_figures(load, over)
    assert script.layout(figures)["headlines"][0]["figure"] == "25 M/AvaGrad over torch AdamW, fused"
    slower, alike, faster = script.conclusions(figures)
    assert slower == "AvaGrad's step takes longer than that of torch AdamW, fused (25 M: 4.00x (3.50 to 4.50x))."
    assert "not told apart from, that of AvaGrad, compiled (" in alike
    assert "shorter than that of torch AdamW, foreach (" in faster


def test_without_its_peer_the_benchmark_names_the_extra_before_it_starts(
    load: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(load("optimizer_step").BENCHMARK, "packages", ["torch", "torch_pruning_absent"])
    monkeypatch.setattr(load("_peers"), "extra_of", {"torch_pruning_absent": "peers"}.get)
    monkeypatch.setattr(sys, "argv", ["optimizer_step.py"])
    with pytest.raises(SystemExit) as stop:
        load("optimizer_step").main()
    assert stop.value.code == 2
    said = 'error: needs the package torch_pruning_absent: pip install "paretorch[peers]"'
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_sparsification_step_writes_its_figures(load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["--data", str(tmp_path), "--rounds", "2", "--quick"]
    page = run(load, "sparsification_step", arguments, tmp_path, monkeypatch)
    for words in ("as published", "with its defaults"):
        assert f"| Training step with continuous sparsification {words} over the dense step, digits | " in page


def test_the_step_is_timed_with_the_settings_of_a_user_too(load: Any) -> None:
    script = load("sparsification_step")
    published, user = script.METHODS[script.OURS](), script.METHODS[script.DEFAULTS]()
    plain = ContinuousSparsification(sparsity=script.SPARSITY)
    assert vars(user) == vars(plain)
    assert (published.strength, published.ending) == (0.0, "threshold")
    assert plain.strength > 0


def test_the_reparametrised_peer_computes_with_soft_masks_of_the_weights_that_the_method_masks(load: Any) -> None:
    script = load("sparsification_step")
    trainer = Trainer(digits(hidden=(6,)), TrainSettings(batch_size=50, device="cpu"))
    plain, ours = trainer.model(), ContinuousSparsification(sparsity=0.5)
    peer = script.reparametrised(copy.deepcopy(plain))
    trainer.rehearse(copy.deepcopy(plain), num_steps=1, methods=[ours])
    initial = torch.tensor(script.INITIAL)
    factor = torch.sigmoid(script.SoftMask.beta * initial) / torch.sigmoid(initial)
    for name in ours.masks:
        owner, _, attribute = name.rpartition(".")
        torch.testing.assert_close(getattr(peer.get_submodule(owner), attribute), factor * plain.get_parameter(name))
    assert sum("parametrizations" in name and "logits" in name for name, _ in peer.named_parameters()) == len(
        ours.masks
    )
