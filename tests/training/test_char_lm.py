"""Character-level language modelling: the split, the alphabet, learning on a slice; and the real text where it is."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from paretorch.errors import InputError
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.tasks.registry import make_task
from paretorch.training.tasks.text.char_lm import CharLM
from paretorch.training.tasks.text.windows import IGNORED
from paretorch.training.trainer import Trainer

TEXT = "".join(f"Line {number}: the quick brown fox, naïve.\n" for number in range(60))
TINY = {"context": 16, "width": 32, "depth": 1, "heads": 2}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "text_tinyshakespeare"
    folder.mkdir(parents=True)
    (folder / "input.txt").write_bytes(TEXT.encode())
    return folder.parent


def predicted(task: CharLM, part: str) -> str:
    examples = task.eval_set() if part == "eval" else task.test_set()
    targets = examples.batch(torch.arange(len(examples)))["targets"]
    return task.text(targets[targets != IGNORED])


def test_text_is_cut_at_nine_tenths_and_the_rest_in_halves(data: Path) -> None:
    task = CharLM(data=data, model=TINY)
    first, second = len(TEXT) * 9 // 10, len(TEXT) * 95 // 100
    known = task.text(task.train_set().tokens)
    assert TEXT[:first].startswith(known)
    assert first - len(known) < 16, "all of the training text but an incomplete window is read"
    assert predicted(task, "eval") == TEXT[first + 1 : second]
    assert predicted(task, "test") == TEXT[second + 1 :]


def test_alphabet_is_that_of_the_whole_file_and_other_characters_are_refused(data: Path) -> None:
    task = CharLM(data=data, model=TINY)
    assert task.alphabet == "".join(sorted(set(TEXT)))
    assert task.vocab_size == len(task.alphabet)
    found = task.stream("naïve fox")
    assert task.text(found.tokens) == "naïve fox"
    assert found.num_bytes == 9, "the ï has two bytes, and the first n is not predicted"
    with pytest.raises(InputError, match=r"characters \['@'\] do not occur"):
        task.stream("@")


def test_a_short_training_beats_counting_single_characters(data: Path) -> None:
    task = make_task("char-lm", options={"model": TINY, "train_limit": 100}, data=data)
    trainer = Trainer(task, TrainSettings(batch_size=20, optimizer=OptimizerSpec(name="adamw", lr=1e-2)))
    model = trainer.model()
    before = trainer.evaluate(model)["nll"]
    result = trainer.fit(model, phase="dense", num_steps=60)
    assert before == pytest.approx(torch.tensor(float(task.vocab_size)).log().item(), rel=0.05)  # type: ignore[attr-defined]
    assert result.validation["nll"] < task.references()["unigram"] < before


def test_missing_or_damaged_text_is_refused_with_what_to_do(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"char-lm needs its data folder .*karpathy/char-rnn.*PARETORCH_DATA"):
        CharLM(data=None)
    with pytest.raises(InputError, match=r"there is no folder .*text_tinyshakespeare: download"):
        CharLM(data=tmp_path)
    path = data / "text_tinyshakespeare" / "input.txt"
    path.write_bytes(TEXT.encode("latin-1"))
    with pytest.raises(InputError, match=r"input\.txt is not UTF-8 text"):
        CharLM(data=data)
    path.write_text("short", encoding="utf-8")
    with pytest.raises(InputError, match=r"holds 5 characters; .*at least 1000"):
        CharLM(data=data)
    path.unlink()
    with pytest.raises(InputError, match=r"there is no file .*input\.txt: download"):
        CharLM(data=data)


def test_context_that_the_text_cannot_fill_is_refused(data: Path) -> None:
    with pytest.raises(InputError, match=r"windows of 5000 at random offsets need at least 10000"):
        CharLM(data=data, model=TINY | {"context": 5000})


def test_real_text_has_the_published_counts(data_folder: Callable[[str], Path]) -> None:
    task = CharLM(data=data_folder("text_tinyshakespeare").parent)
    assert task.vocab_size == 65
    assert len(task.train_set().tokens) == 1_003_854 // 64 * 64
    assert len(predicted(task, "eval")) + len(predicted(task, "test")) == 1_115_394 - 1_003_854 - 2
    assert predicted(task, "test")[-10:] == (data_folder("text_tinyshakespeare") / "input.txt").read_text()[-10:]
    found = task.references()
    assert found["unigram"] > found["bigram"] > found["trigram"] > found["5-gram"] > 1.5
