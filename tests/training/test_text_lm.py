"""Byte-pair language modelling: exact decoding, conservation of tokens and bytes, the cache; and the real corpus."""

import lzma
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from paretorch.errors import InputError
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.tasks.text import bpe, token_cache
from paretorch.training.tasks.text.text_files import documents
from paretorch.training.tasks.text.text_lm import TextLM
from paretorch.training.tasks.text.windows import IGNORED
from paretorch.training.trainer import Trainer

SMALL = {"context": 16, "width": 32, "depth": 1, "heads": 2}
OPTIONS: dict[str, Any] = {"folder": "texts", "vocab_size": 300, "model": SMALL}
PAGES = {
    "train": [
        f"Page {number}: the function returns {number % 7}, or fails with an error ✗.\n" for number in range(200)
    ],
    "valid": [f"Sheet {number}: the function fails.\n" for number in range(20)],
    "test": ["The value 1 returns an error 🙂", "  two\t\r\nspaces\n", "Ünïcode <|endoftext|> in a page"],
    "shift_other": ["Quite another text, of other words."],
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "texts"
    folder.mkdir(parents=True)
    for name, pages in PAGES.items():
        (folder / f"{name}.txt.xz").write_bytes(lzma.compress("\n\f\n".join(pages).encode()))
    return folder.parent


@pytest.fixture
def library() -> None:
    pytest.importorskip("tokenizers", reason="needs the hf extra")


def test_missing_library_is_named_with_its_extra(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(InputError, match=r"needs the library `tokenizers`.*pip install 'paretorch\[hf\]'"):
        TextLM(data=data, **OPTIONS)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"megabytes": 0}, "megabytes is an amount of text, more than 0; got 0"), ({"valid_megabytes": -1.0}, "got -1.0")],
)
def test_amounts_out_of_range_are_refused(data: Path, options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TextLM(data=data, **OPTIONS | options)


@pytest.mark.slow
@pytest.mark.usefixtures("library")
class TestWithTokenizers:
    """Everything that needs the extra."""

    def test_decoding_gives_every_document_back(self, data: Path) -> None:
        tokenizer = TextLM(data=data, **OPTIONS).tokenizer
        for text in [*PAGES["train"], *PAGES["test"], *PAGES["shift_other"], "\x00\x7f\u2028中文"]:
            assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text

    def test_evaluation_predicts_every_token_of_every_document_once(self, data: Path) -> None:
        task = TextLM(data=data, **OPTIONS)
        targets = task.test_set().batch(torch.arange(len(task.test_set())))["targets"]
        expected: list[int] = []
        for page in PAGES["test"]:
            expected += [*task.tokenizer.encode(page).ids, task.tokenizer.token_to_id(bpe.END)]
        assert targets[targets != IGNORED].tolist() == expected
        assert int(task.test_set().batch(torch.zeros(1, dtype=torch.long))["inputs"][0, 0]) == 0, "END comes first"

    @torch.no_grad()
    def test_bits_per_byte_count_the_bytes_of_the_documents(self, data: Path) -> None:
        task = TextLM(data=data, **OPTIONS)
        assert task._test_stream.num_bytes == sum(len(page.encode()) for page in PAGES["test"])
        examples = task.test_set()
        found = task.metrics(task.model(), examples.batch(torch.arange(len(examples))))
        total = float(found["nll"].double().sum())
        bits = total / task._test_stream.num_bytes / torch.tensor(2.0).log().item()
        assert float(found["bits_per_byte"].double().mean()) == pytest.approx(bits, rel=1e-6)

    def test_tokenizer_learns_from_training_text_alone(self, data: Path) -> None:
        before = TextLM(data=data, **OPTIONS).tokenizer.to_str()
        folder = data / "texts"
        for name in ("valid", "test"):
            (folder / f"{name}.txt.xz").write_bytes(lzma.compress(b"zzyzx " * 500))
        assert TextLM(data=data, **OPTIONS).tokenizer.to_str() == before
        (folder / "train.txt.xz").write_bytes(lzma.compress(b"zzyzx " * 500))
        assert TextLM(data=data, **OPTIONS).tokenizer.to_str() != before

    def test_vocabulary_is_as_large_as_asked_for_and_not_below_the_bytes(self, data: Path) -> None:
        assert TextLM(data=data, **OPTIONS).vocab_size == 300
        assert TextLM(data=data, **OPTIONS | {"vocab_size": 257}).vocab_size == 257
        with pytest.raises(InputError, match=r"vocab_size must be at least 257, .*; got 256"):
            TextLM(data=data, **OPTIONS | {"vocab_size": 256})

    def test_training_text_can_be_limited(self, data: Path) -> None:
        whole, part = TextLM(data=data, **OPTIONS), TextLM(data=data, **OPTIONS, megabytes=0.005)
        assert len(part.train_set()) < len(whole.train_set()) / 2
        assert len(TextLM(data=data, **OPTIONS, train_limit=5).train_set()) == 5
        assert len(TextLM(data=data, **OPTIONS, valid_megabytes=0.0001).eval_set()) < len(whole.eval_set())

    def test_other_texts_of_the_folder_can_be_evaluated(self, data: Path) -> None:
        task = TextLM(data=data, **OPTIONS)
        examples = task.other_set("shift_other")
        targets = examples.batch(torch.arange(len(examples)))["targets"]
        text = task.tokenizer.decode(targets[targets != IGNORED].tolist())
        assert text == PAGES["shift_other"][0]
        with pytest.raises(InputError, match=r"neither .*shift_no\.txt"):
            task.other_set("shift_no")

    def test_cache_is_read_again_and_never_for_other_text(self, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        cache = data / "made" / "here"
        plain, first = TextLM(data=data, **OPTIONS), TextLM(data=data, **OPTIONS, cache=cache)
        files = {path: path.read_bytes() for path in cache.iterdir()}
        assert sorted(path.suffix for path in files) == [".json", ".safetensors", ".safetensors", ".safetensors"]

        def refuse(*args: object, **kwargs: object) -> None:
            raise AssertionError("made again")

        with monkeypatch.context() as patched:
            patched.setattr(token_cache, "train_bpe", refuse)
            patched.setattr(token_cache, "encode", refuse)
            second = TextLM(data=data, **OPTIONS, cache=cache)
            with pytest.raises(AssertionError, match="made again"):
                TextLM(data=data, **OPTIONS | {"vocab_size": 310}, cache=cache)
        for task in (first, second):
            assert torch.equal(task.train_set().tokens, plain.train_set().tokens)
            assert task._test_stream.num_bytes == plain._test_stream.num_bytes
            assert task.tokenizer.to_str() == plain.tokenizer.to_str()
        (data / "texts" / "test.txt.xz").write_bytes(lzma.compress(b"other"))
        assert TextLM(data=data, **OPTIONS, cache=cache)._test_stream.num_bytes == 5
        assert {path: path.read_bytes() for path in files} == files

    @pytest.mark.parametrize("pattern", ["*.json", "*.safetensors"])
    def test_damaged_cache_is_refused_by_name(self, data: Path, pattern: str) -> None:
        cache = data / "cache"
        TextLM(data=data, **OPTIONS, cache=cache)
        for path in cache.glob(pattern):
            path.write_bytes(path.read_bytes()[:-30])
        with pytest.raises(InputError, match=r"cache.* is damaged .*delete it, and it is made again"):
            TextLM(data=data, **OPTIONS, cache=cache)

    def test_cache_that_cannot_be_made_is_refused(self, data: Path) -> None:
        (data / "file").write_text("", encoding="utf-8")
        with pytest.raises(InputError, match=r"cache=.*file.* cannot be made a folder"):
            TextLM(data=data, **OPTIONS, cache=data / "file")

    def test_a_short_training_beats_counting_single_tokens(self, data: Path) -> None:
        pages = "\n\f\n".join(PAGES["train"][::7]).replace("fails", "succeeds")
        (data / "texts" / "test.txt.xz").write_bytes(lzma.compress(pages.encode()))
        task = TextLM(data=data, **OPTIONS)
        trainer = Trainer(task, TrainSettings(batch_size=20, optimizer=OptimizerSpec(name="adamw", lr=1e-2)))
        model = trainer.model()
        before = trainer.evaluate(model)["bits_per_byte"]
        trainer.fit(model, phase="dense", num_steps=60)
        after = trainer.evaluate(model, task.test_set())["bits_per_byte"]
        assert after < task.references()["unigram"] < before

    def test_real_corpus_shares_no_document_between_its_parts(self, data_folder: Callable[[str], Path]) -> None:
        folder = data_folder("text_techdocs")
        parts = {name: documents(folder, name) for name in ("train", "valid", "test", "shift_cpp", "shift_powershell")}
        assert [len(part) for part in parts.values()] == [21_518, 506, 461, 318, 167]
        together = [page for part in parts.values() for page in part]
        assert len(set(together)) == len(together)

    def test_real_corpus_is_encoded_without_a_loss(self, data_folder: Callable[[str], Path]) -> None:
        task = TextLM(data=data_folder("text_techdocs").parent, megabytes=1.0)
        assert task.vocab_size == 4096
        assert task._test_stream.num_bytes == 1_992_761 - 3 * 460, "the text without its separators"
        pages = documents(task.folder, "test")
        ids = task._test_stream.tokens.tolist()
        assert task.tokenizer.decode(ids, skip_special_tokens=False) == bpe.END + "".join(p + bpe.END for p in pages)
        found = task.references()
        assert found["unigram"] > found["bigram"] > found["trigram"] > 1.0
