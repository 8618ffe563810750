"""The language model of a task: which decoder, and how large; the text decides the number of tokens."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any, Literal

import torch
from torch import nn

from paretorch.errors import InputError
from paretorch.training.models.gpt import GPT
from paretorch.training.models.llama import Llama

MODELS = {"gpt": GPT, "llama": Llama}


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """Kind and sizes of a language model. The default has about 0.8 million parameters beside the embedding.

    Args:
        kind: "gpt" or "llama". A Llama has as many key as query heads here, no dropout, and a SwiGLU layer 8/3 as wide
            as the model (rounded up to a multiple of 8), which gives both kinds equally many parameters.
        context: tokens read at once.
        width, depth, heads: of the model.
        dropout: of a GPT while training.

    Raises:
        InputError: for an unknown kind, or sizes that do not fit together.
    """

    kind: Literal["gpt", "llama"] = "gpt"
    context: int = 64
    width: int = 128
    depth: int = 4
    heads: int = 4
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in MODELS:
            raise InputError(f"there is no language model {self.kind!r}; choose from {sorted(MODELS)}")
        if self.kind == "llama" and self.dropout:
            raise InputError(f"a Llama has no dropout; got dropout={self.dropout}")
        with torch.device("meta"):  # the model's own checks, without memory or random numbers
            self.build(1)

    def build(self, vocab_size: int) -> nn.Module:
        """A fresh model with `vocab_size` tokens."""
        return MODELS[self.kind](**self.arguments(vocab_size))

    def constructor(self, vocab_size: int) -> tuple[str, dict[str, Any]]:
        """`("package.module:name", kwargs)` of the same model."""
        kind = MODELS[self.kind]
        return f"{kind.__module__}:{kind.__name__}", self.arguments(vocab_size)

    def arguments(self, vocab_size: int) -> dict[str, Any]:
        """Keyword arguments of the model's class."""
        sizes = {"vocab_size": vocab_size, "context": self.context, "width": self.width, "depth": self.depth}
        if self.kind == "gpt":
            return sizes | {"heads": self.heads, "dropout": self.dropout}
        return sizes | {"heads": self.heads, "kv_heads": self.heads, "hidden": -(-self.width // 3) * 8}


def as_decoder(value: Decoder | Mapping[str, Any]) -> Decoder:
    """A `Decoder`, also from a table of its arguments, as recipes give it.

    Raises:
        InputError: for what is no table, an unknown key, naming the nearest, or as `Decoder`.
    """
    if isinstance(value, Decoder):
        return value
    if not isinstance(value, Mapping):
        raise InputError(f"`model` is a table, such as {{kind = 'gpt', width = 128}}; got {value!r}")
    names = [field.name for field in fields(Decoder)]
    if unknown := [name for name in value if name not in names]:
        near = get_close_matches(unknown[0], names, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise InputError(f"`model` has no key {unknown[0]!r}; {hint}It takes {', '.join(names)}")
    return Decoder(**value)
