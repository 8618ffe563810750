"""Tiny Shakespeare (Karpathy 2015): 1.1 MB of plays, predicted character by character.

Reads `text_tinyshakespeare/input.txt` of the data folder, any UTF-8 text. The first 90 % of the characters are for
training, as usual; the rest, usually called validation, is halved: its first half chooses, its second half is the test
text. So a test figure here is not on the same characters as a published "validation loss", and is close to it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from paretorch.errors import InputError
from paretorch.training.tasks.missing import data_folder
from paretorch.training.tasks.text.decoder import Decoder, as_decoder
from paretorch.training.tasks.text.language import LanguageTask
from paretorch.training.tasks.text.windows import Stream

FOLDER, FILE = "text_tinyshakespeare", "input.txt"
REMEDY = (
    f"download data/tinyshakespeare/input.txt of the repository karpathy/char-rnn (1.1 MB) to <data>/{FOLDER}/{FILE}"
)


class CharLM(LanguageTask):
    """Character-level language modelling; the metric is `nll`, nats per character.

    An epoch is as many training windows as the training text holds side by side; each begins at a random offset
    (`windows.py`). Evaluation predicts every character but the first of its text once.

    Args:
        data: the data folder, which holds `text_tinyshakespeare/`.
        model: the language model, or a table of `Decoder`'s arguments.
        train_limit: use only the first so many training windows.

    Attributes:
        alphabet: the different characters of the whole file in code point order; their places are the tokens.

    Raises:
        InputError: for a missing or unreadable file, one that is too short, or options out of range.
    """

    def __init__(
        self,
        *,
        data: Path | str | None,
        model: Decoder | Mapping[str, Any] = Decoder(),
        train_limit: int | None = None,
    ) -> None:
        decoder = as_decoder(model)
        text = _read(data_folder(data, FOLDER, task="char-lm", remedy=REMEDY) / FILE)
        self.alphabet = "".join(sorted(set(text)))
        cuts = (len(text) * 9 // 10, len(text) * 95 // 100)
        train, evaluation, test = (
            self.stream(part) for part in (text[: cuts[0]], text[cuts[0] : cuts[1]], text[cuts[1] :])
        )
        super().__init__(
            name="char-lm",
            metric="nll",
            decoder=decoder,
            vocab_size=len(self.alphabet),
            train=train,
            evaluation=evaluation,
            test=test,
            train_limit=train_limit,
            orders=(1, 2, 3, 5),
        )

    def stream(self, text: str) -> Stream:
        """The text as tokens.

        Raises:
            InputError: for a character outside the alphabet.
        """
        number = {character: place for place, character in enumerate(self.alphabet)}
        if foreign := sorted(set(text) - set(number)):
            raise InputError(f"the characters {foreign[:5]} do not occur in {FILE}; its alphabet is {self.alphabet!r}")
        tokens = torch.tensor([number[character] for character in text], dtype=torch.int32)
        return Stream(tokens=tokens, num_bytes=len(text[1:].encode()))

    def text(self, tokens: torch.Tensor) -> str:
        """The characters of `tokens` (n,)."""
        return "".join(self.alphabet[place] for place in tokens.tolist())


def _read(path: Path) -> str:
    if not path.is_file():
        raise InputError(f"there is no file {path}: {REMEDY}")
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error}); download it again") from error
    if len(text) < 1000:
        raise InputError(f"{path} holds {len(text)} characters; three texts are cut from it, so it needs at least 1000")
    return text
