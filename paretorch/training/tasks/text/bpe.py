"""A byte-level byte-pair encoding (Sennrich et al. 2016; bytes: Radford et al. 2019, section 2.2), learned from a text.

Every text can be encoded, and decoding gives it back exactly. Trained by the library `tokenizers` (extra `hf`); the
same text gives the same tokenizer.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
import torch

from paretorch.errors import InputError
from paretorch.training.tasks.text.windows import Stream

END = "<|endoftext|>"  # token 0, between documents
SMALLEST = 257  # END and the 256 bytes


def train_bpe(documents: Sequence[str], *, vocab_size: int) -> Any:
    """A `tokenizers.Tokenizer` with at most `vocab_size` tokens, of which 0 is `END` and 256 stand for single bytes.

    Args:
        documents: training text only; what it learns from others would leak.
        vocab_size: at least 257.

    Raises:
        InputError: if `tokenizers` is missing, or for a smaller vocabulary.
    """
    if vocab_size < SMALLEST:
        raise InputError(f"vocab_size must be at least {SMALLEST}, for all bytes and {END}; got {vocab_size}")
    library = tokenizers_library()
    tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END],
        initial_alphabet=sorted(library.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    return tokenizer


def load_bpe(text: str) -> Any:
    """The tokenizer whose `to_str()` is `text`.

    Raises:
        InputError: if `tokenizers` is missing.
    """
    return tokenizers_library().Tokenizer.from_str(text)


def encode(tokenizer: Any, documents: Sequence[str]) -> Stream:
    """All documents as one stream, `END` before each and after the last, int32.

    The bytes counted are those of the documents; the predicted `END`s count as tokens that stand for none.
    """
    end = tokenizer.token_to_id(END)
    tokenizer.encode_special_tokens = True  # a document that holds the characters of `END` does not end there
    parts: list[list[int]] = []
    for encoding in tokenizer.encode_batch(list(documents), add_special_tokens=False):
        parts += [[end], encoding.ids]
    tokens = np.concatenate([np.array(part, dtype=np.int32) for part in [*parts, [end]]])
    return Stream(tokens=torch.from_numpy(tokens), num_bytes=sum(len(document.encode()) for document in documents))


def tokenizers_library() -> Any:
    """The library `tokenizers`.

    Raises:
        InputError: naming the extra, if it is missing.
    """
    try:
        return import_module("tokenizers")
    except ImportError as error:
        raise InputError(
            f"byte-pair encoding needs the library `tokenizers`, which does not import here ({error}); install it with "
            "pip install 'paretorch[hf]'"
        ) from error
