"""The tokenizer file of llama2.c (`tok512.bin`): pieces with scores, merged greedily.

The file holds an int32, the longest piece in bytes, then for each token a float32 score, an int32 length and the bytes
(little endian). Encoding puts one space in front and starts from single characters (a character that is no piece as
its UTF-8 bytes, byte b being token b + 3); then the neighbours whose concatenation is the piece of highest score are
merged, the first ones among equals, until none is left. This is the greedy form of SentencePiece's BPE (Kudo and
Richardson 2018), as llama2.c has it.
"""

import struct
from collections.abc import Sequence
from pathlib import Path

from paretorch.errors import InputError

BOS = 1
FIRST_BYTE, FIRST_PIECE = 3, 259  # tokens 0 to 2 are <unk>, <s> and </s>, then come the 256 bytes


class StoriesTokenizer:
    """Text to tokens and back.

    Args:
        path: of the file.
        vocab_size: tokens in it.

    Raises:
        InputError: if the file is missing or is none of this kind.
    """

    def __init__(self, path: Path, *, vocab_size: int) -> None:
        if not path.is_file():
            raise InputError(f"there is no tokenizer file {path}; it belongs beside the weights")
        content, place = path.read_bytes(), 4
        self.pieces: list[bytes] = []
        self.scores: list[float] = []
        try:
            for _ in range(vocab_size):
                score, length = struct.unpack_from("<fi", content, place)
                place += 8 + length
                self.pieces.append(content[place - length : place])
                self.scores.append(score)
        except struct.error as error:
            raise InputError(f"{path} ends within its {len(self.pieces) + 1}th token of {vocab_size}") from error
        if place != len(content):
            raise InputError(f"{path} has {len(content)} bytes; its {vocab_size} tokens end after {place}")
        self._tokens = {piece: token for token, piece in enumerate(self.pieces) if token >= FIRST_PIECE}

    def encode(self, text: str) -> list[int]:
        """Tokens of `text`, without `BOS`."""
        tokens: list[int] = []
        for character in " " + text:
            content = character.encode()
            piece = self._tokens.get(content)
            tokens += [piece] if piece is not None else [byte + FIRST_BYTE for byte in content]
        while best := self._best_merge(tokens):
            start, merged = best
            tokens[start : start + 2] = [merged]
        return tokens

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of `tokens`; special tokens are left out, and so is the space that encoding puts in front."""
        content = b"".join(self._content(token) for token in tokens)
        return content.decode("utf-8", errors="replace").removeprefix(" ")

    def _content(self, token: int) -> bytes:
        if token >= FIRST_PIECE:
            return self.pieces[token]
        return bytes([token - FIRST_BYTE]) if token >= FIRST_BYTE else b""

    def _best_merge(self, tokens: Sequence[int]) -> tuple[int, int] | None:
        """Where to merge two neighbours, and into which token."""
        best: tuple[int, int] | None = None
        for start in range(len(tokens) - 1):
            merged = self._tokens.get(self.pieces[tokens[start]] + self.pieces[tokens[start + 1]])
            if merged is not None and (best is None or self.scores[merged] > self.scores[best[1]]):
                best = start, merged
        return best
