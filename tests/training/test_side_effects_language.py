"""Losses by domain and the divergence of language models: closed forms, loops over tokens, and the trainer's figure."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from paretorch.errors import NotFiniteError
from paretorch.training.data import Examples
from paretorch.training.side_effects import language as module
from paretorch.training.side_effects import side_effects
from paretorch.training.side_effects.language import kl_divergence
from paretorch.training.tasks.text.char_lm import CharLM
from paretorch.training.tasks.text.decoder import Decoder
from paretorch.training.tasks.text.language import LanguageTask
from paretorch.training.tasks.text.text_files import other_names
from paretorch.training.tasks.text.text_lm import TextLM
from paretorch.training.tasks.text.windows import IGNORED, Stream
from paretorch.training.trainer import Trainer
from tests.training.problems import plain

VOCAB = 7
LOGITS = st.lists(st.floats(-30, 30), min_size=3, max_size=3)


class Told(nn.Module):
    """The same probabilities after every token."""

    def __init__(self, *probabilities: float) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(probabilities).log())

    def forward(self, tokens: Tensor) -> Tensor:
        return self.logits.expand(*tokens.shape, -1)


UNIFORM = Told(*[1 / VOCAB] * VOCAB)
SKEWED = Told(0.4, *[0.1] * (VOCAB - 1))


def divergence(dense: Tensor, candidate: Tensor) -> float:
    """Of two vectors of logits."""
    return float(kl_divergence(dense.double().log_softmax(-1), candidate.double().log_softmax(-1)))


def stream(tokens: Tensor) -> Stream:
    return Stream(tokens=tokens.to(torch.int32), num_bytes=len(tokens) - 1)


def make_task(test: Tensor | None = None) -> LanguageTask:
    tokens = torch.randint(0, VOCAB, (300,), generator=torch.Generator().manual_seed(1))
    return LanguageTask(
        name="tiny",
        metric="nll",
        decoder=Decoder(context=5, width=8, depth=1, heads=2),
        vocab_size=VOCAB,
        train=stream(tokens[:120]),
        evaluation=stream(tokens[120:161]),
        test=stream(tokens[161:] if test is None else test),
    )


def effects(task: LanguageTask, dense: nn.Module, candidate: nn.Module) -> dict[str, Any]:
    return side_effects(task, Trainer(task, plain(4)), dense=dense, candidate=candidate)


@given(LOGITS, LOGITS)
def test_divergence_is_the_sum_over_tokens_and_never_negative(a: list[float], b: list[float]) -> None:
    p, q = ([math.exp(x - max(xs)) for x in xs] for xs in (a, b))
    p, q = ([x / sum(xs) for x in xs] for xs in (p, q))
    expected = math.fsum(x * (math.log(x) - math.log(y)) for x, y in zip(p, q, strict=True) if x > 0)
    found = divergence(torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64))
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-13)
    assert found >= -1e-14
    assert divergence(torch.tensor(a), torch.tensor(a)) == 0.0


def test_divergence_of_two_biased_coins_is_the_closed_form_and_depends_on_the_order() -> None:
    fair, biased = torch.tensor([0.0, 0.0]), torch.tensor([0.9, 0.1]).log()
    forward = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    backward = 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)
    assert divergence(fair, biased) == pytest.approx(forward, rel=1e-6)
    assert divergence(biased, fair) == pytest.approx(backward, rel=1e-6)


def test_divergence_survives_logits_that_overflow_an_exponential_and_impossible_tokens() -> None:
    large = torch.tensor([5000.0, 0.0])
    assert divergence(large, large + 1e4) == pytest.approx(0.0, abs=1e-9)
    assert divergence(large, -large) == pytest.approx(5000.0)
    masked = torch.tensor([0.0, -torch.inf])
    assert divergence(masked, torch.tensor([0.0, 0.0])) == pytest.approx(math.log(2))


def test_constant_models_have_the_losses_and_the_divergence_of_their_probabilities() -> None:
    task = make_task()
    found = effects(task, SKEWED, UNIFORM)
    entropy = -0.4 * math.log(0.4) - 0.6 * math.log(0.1)
    assert found["kl"] == pytest.approx(math.log(VOCAB) - entropy, rel=1e-6)
    tokens = task.test_set().batch(torch.arange(len(task.test_set())))["targets"]
    chunks = torch.arange(len(tokens)).tensor_split(4)
    for entry, chunk in zip(found["domains"], chunks, strict=True):
        part = tokens[chunk][tokens[chunk] != IGNORED]
        zeros = int((part == 0).sum())
        expected = -(zeros * math.log(0.4) + (len(part) - zeros) * math.log(0.1)) / len(part)
        assert entry["dense"] == pytest.approx(expected, rel=1e-6)
        assert entry["candidate"] == pytest.approx(math.log(VOCAB), rel=1e-6)
        assert entry["tokens"] == len(part)
    assert found["domains"][1]["name"] == "test text, part 2 of 4"
    assert (found["examples"], found["warnings"]) == (len(tokens), [])
    assert not {"per_class", "disagreement", "calibration", "corruptions"} & found.keys()


def test_parts_of_the_test_text_average_to_what_the_trainer_reports() -> None:
    task = make_task()
    trainer = Trainer(task, plain(4))
    dense, candidate = trainer.model(), task.model()
    found = side_effects(task, trainer, dense=dense, candidate=candidate)
    for name, model in (("dense", dense), ("candidate", candidate)):
        total = sum(entry[name] * entry["tokens"] for entry in found["domains"])
        reported = trainer.evaluate(model, task.test_set())["nll"]
        assert total / sum(entry["tokens"] for entry in found["domains"]) == pytest.approx(reported, rel=1e-6)
    assert found["kl"] > 0


def test_model_beside_itself_has_no_divergence() -> None:
    task = make_task()
    model = task.model()
    found = effects(task, model, model)
    assert found["kl"] == 0.0
    assert all(entry["dense"] == entry["candidate"] for entry in found["domains"])


def test_result_does_not_depend_on_how_many_logits_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task()
    dense, candidate = task.model(), task.model()
    whole = effects(task, dense, candidate)
    sizes: list[int] = []

    class Counted(nn.Module):
        def forward(self, tokens: Tensor) -> Tensor:
            sizes.append(tokens.numel() * VOCAB)
            return dense(tokens)

    monkeypatch.setattr(module, "MOST_LOGITS", 2 * 5 * VOCAB)
    piecewise = effects(task, Counted(), candidate)
    assert max(sizes) <= 2 * 5 * VOCAB
    assert piecewise["kl"] == pytest.approx(whole["kl"], rel=1e-6)
    assert [entry["tokens"] for entry in piecewise["domains"]] == [entry["tokens"] for entry in whole["domains"]]


def test_text_with_fewer_windows_than_parts_has_a_part_per_window() -> None:
    found = effects(make_task(torch.arange(8) % VOCAB), UNIFORM, SKEWED)
    assert [(entry["name"], entry["tokens"]) for entry in found["domains"]] == [
        ("test text, part 1 of 2", 5),
        ("test text, part 2 of 2", 2),
    ]


def test_long_texts_are_sampled_and_the_number_of_tokens_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WINDOWS", 8)
    task = make_task(torch.arange(141) % VOCAB)  # 28 full windows
    found = effects(task, SKEWED, UNIFORM)
    assert found["examples"] == 28
    assert [entry["tokens"] for entry in found["domains"]] == [10, 10, 10, 10]
    assert found == effects(task, SKEWED, UNIFORM)


class WithLaw(LanguageTask):
    """Has another text, of nothing but token 0."""

    def domains(self) -> Mapping[str, Examples]:
        return {"law": self.windows(stream(torch.zeros(21)), name="law")}


def test_other_texts_that_the_task_names_are_read_too_and_do_not_enter_the_divergence() -> None:
    task = make_task()
    alone = effects(task, SKEWED, UNIFORM)
    task.__class__ = WithLaw
    found = effects(task, SKEWED, UNIFORM)
    assert found["domains"][:-1] == alone["domains"]
    assert found["domains"][-1] == {
        "name": "law",
        "dense": pytest.approx(-math.log(0.4), rel=1e-6),
        "candidate": pytest.approx(math.log(VOCAB), rel=1e-6),
        "tokens": 20,
    }
    assert found["kl"] == alone["kl"]
    trainer = Trainer(task, plain(4))
    chosen = side_effects(task, trainer, dense=SKEWED, candidate=UNIFORM, examples=task.eval_set())
    assert "law" not in [entry["name"] for entry in chosen["domains"]]


def test_losses_that_are_not_finite_are_refused() -> None:
    broken = Told(*[float("nan")] * VOCAB)
    with pytest.raises(NotFiniteError, match=r"on \['test text, part 1 of 4'.*are not finite"):
        effects(make_task(), UNIFORM, broken)


def test_folder_names_its_other_texts(tmp_path: Path) -> None:
    for name in ("train.txt", "valid.txt.xz", "test.txt", "shift_b.txt.xz", "shift_a.txt", "README.md"):
        (tmp_path / name).touch()
    assert other_names(tmp_path) == ["shift_a", "shift_b"]


@pytest.mark.slow
def test_byte_pair_task_names_the_other_texts_of_its_folder(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers", reason="needs the hf extra")
    folder = tmp_path / "texts"
    folder.mkdir()
    pages = {"train": "the function returns 1\n" * 200, "valid": "the function fails\n", "test": "the value fails\n"}
    for name, text in (pages | {"shift_b": "Quite another text.", "shift_a": "And one more."}).items():
        (folder / f"{name}.txt").write_text(text)
    model = {"context": 8, "width": 8, "depth": 1, "heads": 2}
    task = TextLM(data=tmp_path, folder="texts", vocab_size=300, model=model)
    dense = task.model()
    found = effects(task, dense, dense)
    assert [entry["name"] for entry in found["domains"]][-2:] == ["shift_a", "shift_b"]
    trainer = Trainer(task, plain(4))
    reported = trainer.evaluate(dense, task.other_set("shift_b"))["nll"]
    assert found["domains"][-1]["dense"] == pytest.approx(reported, rel=1e-6)


@pytest.mark.slow
def test_saved_data_set_names_its_other_splits(tmp_path: Path) -> None:
    datasets: Any = pytest.importorskip("datasets", reason="needs the hf extra")
    rows = {"train": ["a"], "validation": ["b"], "test": ["c"], "law": ["d"]}
    parts = {name: datasets.Dataset.from_dict({"text": texts}) for name, texts in rows.items()}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "saved"))
    assert other_names(tmp_path / "saved") == ["law"]


def test_char_lm_has_four_parts_of_its_real_test_text(data_folder: Callable[[str], Path]) -> None:
    task = CharLM(data=data_folder("text_tinyshakespeare").parent, model=Decoder(context=32, width=8, depth=1, heads=2))
    trainer = Trainer(task, plain(16))
    dense = trainer.model()
    found = side_effects(task, trainer, dense=dense, candidate=dense)
    total = sum(entry["dense"] * entry["tokens"] for entry in found["domains"])
    count = sum(entry["tokens"] for entry in found["domains"])
    assert (len(found["domains"]), count) == (4, 55_769)
    assert total / count == pytest.approx(trainer.evaluate(dense, task.test_set())["nll"], rel=1e-6)
