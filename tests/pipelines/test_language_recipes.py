"""The recipes of the language models: they fit their tasks, and a small run leaves records and a model that reloads."""

from pathlib import Path

import pytest
import torch

from paretorch.artefacts.model import load_model
from paretorch.recipes import load_recipe
from paretorch.training.tasks.text.char_lm import CharLM

SMALL = {"context": 16, "width": 32, "depth": 1, "heads": 2}
TEXT = "".join(f"Line {number}: the quick brown fox jumps {number % 9} times.\n" for number in range(700))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "text_tinyshakespeare"
    folder.mkdir(parents=True)
    (folder / "input.txt").write_text(TEXT, encoding="utf-8")
    return folder.parent


def test_char_lm_recipe_fits_its_task(data: Path) -> None:
    recipe = load_recipe("char-lm")
    lines = recipe.sweep(data=data, command="test").plan()
    assert lines[0] == f"{len(recipe.seeds)} seeds x (1 dense model + {len(recipe.arms())} arms), task char-lm"


@pytest.mark.slow
def test_text_lm_recipe_fits_its_task(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers", reason="needs the hf extra")
    folder = tmp_path / "text_techdocs"
    folder.mkdir()
    for name in ("train", "valid", "test"):
        (folder / f"{name}.txt").write_text(TEXT * 20, encoding="utf-8")
    recipe = load_recipe("text-lm")
    lines = recipe.sweep(data=tmp_path, command="test").plan()
    assert lines[0] == f"{len(recipe.seeds)} seeds x (1 dense model + {len(recipe.arms())} arms), task text-lm"


@pytest.mark.slow
def test_small_run_leaves_references_the_gap_and_a_pruned_model_with_its_tie(data: Path, tmp_path: Path) -> None:
    recipe = load_recipe("char-lm", overrides={"task_options": {"model": SMALL, "train_limit": 96}, "seeds": [0]})
    dense, *pruned = recipe.sweep(data=data, command="test").run(tmp_path / "out")
    task = CharLM(data=data, model=SMALL, train_limit=96)
    assert dense.references == task.references()
    assert dense.train_quality is not None
    assert not dense.higher_is_better
    assert not dense.notes, "the artefact was written"
    batch = task.test_set().batch(torch.arange(20))
    for record, sparsity in zip(pruned, (0.5, 0.8), strict=True):
        model = load_model(tmp_path / "out" / "runs" / record.run_id / "model").eval()
        assert model.output.weight is model.tokens.weight
        weights = [parameter for name, parameter in model.blocks.named_parameters() if parameter.dim() == 2]
        zeros = sum(int((weight == 0).sum()) for weight in weights)
        assert zeros == round(sparsity * sum(weight.numel() for weight in weights))
        assert bool(model.tokens.weight.ne(0).all()), "the tied embedding is not pruned"
        with torch.no_grad():
            assert torch.isfinite(task.loss(model, batch))
