"""Tokenizers and token streams kept in a folder that the user named, under the hashes of what they were made from.

The key covers the text, the size of the vocabulary and the version of `tokenizers`, so nothing stale is ever read, and
any number of tasks can share a folder. Files are written whole or not at all.
"""

import hashlib
import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from paretorch.artefacts.files import write_bytes, write_text
from paretorch.errors import InputError
from paretorch.training.tasks.text.bpe import encode, load_bpe, train_bpe
from paretorch.training.tasks.text.windows import Stream

FORMAT = 1  # raised when the same documents would be tokenized in another way


class TokenCache:
    """Makes tokenizers and streams, or reads them from `folder`; None keeps nothing on disk.

    Raises:
        InputError: if the folder cannot be made.
    """

    def __init__(self, folder: Path | str | None) -> None:
        self.folder = None if folder is None else Path(folder)
        if self.folder is not None:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(f"cache={str(folder)!r} cannot be made a folder: {error}") from error

    def tokenizer(self, documents: Sequence[str], *, vocab_size: int) -> Any:
        """The tokenizer that `train_bpe` learns from `documents`.

        Raises:
            InputError: as `train_bpe`, or for a damaged file.
        """
        if self.folder is None:
            return train_bpe(documents, vocab_size=vocab_size)
        path = self.folder / f"bpe-{_digest(documents, {'vocab_size': vocab_size})}.json"
        if not path.is_file():
            write_text(path, train_bpe(documents, vocab_size=vocab_size).to_str())
        try:
            return load_bpe(path.read_text(encoding="utf-8"))
        except InputError:
            raise
        except Exception as error:  # what tokenizers raises for a file it cannot read is a bare Exception
            raise InputError(f"{path} is damaged ({error}); delete it, and it is made again") from error

    def stream(self, tokenizer: Any, documents: Sequence[str]) -> Stream:
        """The tokens of `documents`.

        Raises:
            InputError: for a damaged file.
        """
        if self.folder is None:
            return encode(tokenizer, documents)
        path = self.folder / f"tokens-{_digest(documents, {'tokenizer': tokenizer.to_str()})}.safetensors"
        if not path.is_file():
            made = encode(tokenizer, documents)
            write_bytes(path, save({"tokens": made.tokens}, metadata={"num_bytes": str(made.num_bytes)}))
        try:
            with safe_open(path, framework="pt") as file:
                return Stream(tokens=file.get_tensor("tokens"), num_bytes=int(file.metadata()["num_bytes"]))
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} is damaged ({error}); delete it, and it is made again") from error


def _digest(documents: Sequence[str], settings: dict[str, Any]) -> str:
    made_by = {"format": FORMAT, "tokenizers": version("tokenizers"), **settings}
    digest = hashlib.sha256(json.dumps(made_by, sort_keys=True).encode())
    for document in documents:
        content = document.encode()
        digest.update(f"{len(content)}:".encode() + content)
    return digest.hexdigest()[:16]
