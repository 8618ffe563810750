"""Language modelling on technical English (Microsoft's documentation of Windows, CC BY 4.0), or on any folder of texts.

Reads `train`, `valid` and `test` (`text_files.py`: .txt or .txt.xz, documents between form feeds) from the folder
`text_techdocs` of the data folder. A byte-level BPE is learned from the training documents alone (extra `hf`). The
metric is `bits_per_byte`, so that vocabularies can be compared. Tables and parameter lists make the training text
repeat itself: read the n-gram figures of `references` beside the model's, and its figure on training text beside that
on test text.
"""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from paretorch.errors import InputError
from paretorch.training.data import ArrayExamples
from paretorch.training.tasks.missing import data_folder
from paretorch.training.tasks.text.bpe import tokenizers_library
from paretorch.training.tasks.text.decoder import Decoder, as_decoder
from paretorch.training.tasks.text.language import LanguageTask
from paretorch.training.tasks.text.text_files import documents, other_names
from paretorch.training.tasks.text.token_cache import TokenCache

REMEDY = (
    "put train.txt, valid.txt and test.txt (or .txt.xz) there, UTF-8, documents separated by a line with a form feed "
    "(text_techdocs was made of desktop-src/**/*.md of the repository MicrosoftDocs/win32), or save a data set of the "
    "hub that has a column `text`, with the extra hf, and name its folder in the option `folder`: "
    "python -c \"from datasets import load_dataset; load_dataset('Salesforce/wikitext', 'wikitext-2-raw-v1')"
    ".save_to_disk('<data>/wikitext2')\""
)
DOMAIN_MEGABYTES = 0.5


class TextLM(LanguageTask):
    """Language modelling with byte-pair tokens; the metrics are `bits_per_byte` and `nll` per token.

    An epoch is as many training windows as the training tokens fill side by side; each begins at a random offset
    (`windows.py`). Evaluation predicts every token but the first once. Windows run across the ends of documents.

    Args:
        data: the data folder.
        folder: the folder of the texts within it.
        megabytes: million bytes of training text, whole documents from the first on; None for all.
        valid_megabytes: the same for the evaluation text, which is read often. The test text is always read whole.
        vocab_size: tokens of the byte-pair encoding, at least 257.
        model: the language model, or a table of `Decoder`'s arguments.
        cache: a folder for tokenizer and tokens, made if missing; None makes them anew every time, in a time that grows
            with `megabytes`.
        train_limit: use only the first so many training windows.

    Attributes:
        tokenizer: the `tokenizers.Tokenizer`.

    Raises:
        InputError: if `tokenizers` is missing, for a missing or damaged file, or options out of range.
    """

    def __init__(
        self,
        *,
        data: Path | str | None,
        folder: str = "text_techdocs",
        megabytes: float | None = 8.0,
        valid_megabytes: float | None = 0.5,
        vocab_size: int = 4096,
        model: Decoder | Mapping[str, Any] = Decoder(context=128),
        cache: Path | str | None = None,
        train_limit: int | None = None,
    ) -> None:
        for name, value in {"megabytes": megabytes, "valid_megabytes": valid_megabytes}.items():
            if value is not None and value <= 0:
                raise InputError(f"{name} is an amount of text, more than 0; got {value}")
        tokenizers_library()
        decoder = as_decoder(model)
        self.folder = data_folder(data, folder, task="text-lm", remedy=REMEDY)
        train = documents(self.folder, "train", megabytes=megabytes)
        self._cache = TokenCache(cache)
        self.tokenizer = self._cache.tokenizer(train, vocab_size=vocab_size)
        super().__init__(
            name="text-lm",
            metric="bits_per_byte",
            decoder=decoder,
            vocab_size=self.tokenizer.get_vocab_size(),
            train=self._cache.stream(self.tokenizer, train),
            evaluation=self._cache.stream(self.tokenizer, documents(self.folder, "valid", megabytes=valid_megabytes)),
            test=self._cache.stream(self.tokenizer, documents(self.folder, "test")),
            train_limit=train_limit,
        )

    def domains(self) -> Mapping[str, ArrayExamples]:
        """The first half million bytes of every text of the folder beside the three of the task."""
        return self._other_sets

    @cached_property
    def _other_sets(self) -> dict[str, ArrayExamples]:
        return {name: self.other_set(name, megabytes=DOMAIN_MEGABYTES) for name in other_names(self.folder)}

    def other_set(self, name: str, *, megabytes: float | None = None) -> ArrayExamples:
        """Any other text of the folder as examples to evaluate on, such as "shift_cpp" and "shift_powershell".

        Args:
            name: of the file, without its ending.
            megabytes: only its first documents.

        Raises:
            InputError: for a missing or damaged file.
        """
        found = documents(self.folder, name, megabytes=megabytes)
        return self.windows(self._cache.stream(self.tokenizer, found), name=name)
