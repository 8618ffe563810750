"""Documents from text files: separators across chunks, endings, amounts; and refusals that name the file."""

import lzma
from pathlib import Path
from typing import Any

import pytest

from paretorch.errors import InputError
from paretorch.training.tasks.text import text_files
from paretorch.training.tasks.text.text_files import documents

DOCUMENTS = [
    "First page.\nTwo lines.",
    "Zweite Seite: größer\r\nals die erste.",
    "\fthird, with a form feed inside a line",
]
TEXT = "\n\f\n".join(DOCUMENTS)


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 2**20])
@pytest.mark.parametrize("ending", [".txt", ".txt.xz"])
def test_documents_come_back_whatever_the_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, ending: str
) -> None:
    content = TEXT.encode()
    (tmp_path / f"train{ending}").write_bytes(lzma.compress(content) if ending.endswith("xz") else content)
    monkeypatch.setattr(text_files, "CHUNK", chunk)
    assert documents(tmp_path, "train") == DOCUMENTS


def test_empty_documents_are_left_out_and_a_file_without_form_feeds_is_one(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("\n\f\n \n\f\na\n\f\n\n\f\nb\n\f\n", encoding="utf-8")
    assert documents(tmp_path, "train") == ["a", "b"]
    (tmp_path / "test.txt").write_text("one\n\ntwo\n", encoding="utf-8")
    assert documents(tmp_path, "test") == ["one\n\ntwo\n"]


def test_amount_is_reached_by_whole_documents_and_the_rest_is_not_read(tmp_path: Path) -> None:
    whole = lzma.compress("\n\f\n".join(f"{number:03} ü{'x' * 995}" for number in range(3000)).encode())
    (tmp_path / "train.txt.xz").write_bytes(whole[: len(whole) // 2] + bytes(len(whole) // 2))  # the end is damaged
    found = documents(tmp_path, "train", megabytes=0.0025)
    assert [document[:3] for document in found] == ["000", "001", "002"]  # 1,001 bytes each
    with pytest.raises(InputError, match=r"train\.txt\.xz is damaged"):
        documents(tmp_path, "train")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"there is neither .*train\.txt nor train\.txt\.xz; the folder holds \[\]"),
        ({"test.txt": b"a"}, r"the folder holds \['test.txt'\]"),
        ({"train.txt": b"a", "train.txt.xz": lzma.compress(b"a")}, r"holds both train\.txt and train\.txt\.xz"),
        ({"train.txt": b" \n\f\n "}, "train in .* holds no text"),
        ({"train.txt": b"caf\xe9"}, r"train\.txt is damaged \(UnicodeDecodeError"),
        ({"train.txt.xz": lzma.compress(b"caf\xe9")}, r"train\.txt\.xz is damaged \(UnicodeDecodeError"),
        ({"train.txt.xz": b"no xz file"}, r"train\.txt\.xz is damaged \(LZMAError"),
        ({"train.txt.xz": lzma.compress(b"a" * 10_000)[:-20]}, r"train\.txt\.xz is damaged"),
    ],
)
def test_missing_or_damaged_file_is_refused_by_name(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        documents(tmp_path, "train")


@pytest.mark.slow
def test_folder_saved_by_datasets_gives_one_document_per_row(tmp_path: Path) -> None:
    datasets: Any = pytest.importorskip("datasets", reason="needs the hf extra")
    rows = {"train": ["a", "", "b\n"], "validation": ["c"], "test": ["d"]}
    parts = {name: datasets.Dataset.from_dict({"text": texts}) for name, texts in rows.items()}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "saved"))
    assert documents(tmp_path / "saved", "train") == ["a", "b\n"]
    assert documents(tmp_path / "saved", "valid") == ["c"]
    assert documents(tmp_path / "saved", "test") == ["d"]
