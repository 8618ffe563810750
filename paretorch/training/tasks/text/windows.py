"""Windows of a stream of tokens: for evaluation side by side, for training at random offsets.

A window of `context` tokens is read, and after each of them the next one is predicted. Evaluation windows touch and do
not overlap, so every token but the stream's first is predicted exactly once (the early ones of each window with little
to go by). Training window i begins at a random offset of 0 to context - 1 tokens behind i * context, drawn afresh in
every step, so that one epoch reads about as many tokens as the text has, and no cut is learnt by heart.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from paretorch.errors import InputError
from paretorch.training.data import ArrayExamples, Batch

IGNORED = -100  # the target where there is nothing to predict; torch's default `ignore_index`


@dataclass(frozen=True, kw_only=True)
class Stream:
    """A text as tokens.

    Attributes:
        tokens: (n,), integers.
        num_bytes: of the UTF-8 text that `tokens[1:]` stand for.
    """

    tokens: Tensor
    num_bytes: int

    @property
    def bits_per_byte(self) -> float:
        """What a mean in nats per token is multiplied by to get bits per byte: tokens / (bytes ln 2)."""
        return (len(self.tokens) - 1) / (self.num_bytes * math.log(2))


def evaluation_windows(stream: Stream, *, context: int, name: str) -> ArrayExamples:
    """Windows side by side: `inputs` and `targets` (n, context) int64, the last one filled up with `IGNORED`.

    Args:
        stream: at least two tokens.
        context: tokens read per window.
        name: of the text, for the message.

    Raises:
        InputError: if there is nothing to predict.
    """
    tokens = stream.tokens.long()
    if len(tokens) < 2:
        raise InputError(f"{name} has {len(tokens)} tokens; a token is predicted from the one before it")
    missing = -(len(tokens) - 1) % context
    inputs = torch.cat([tokens[:-1], tokens.new_zeros(missing)]).view(-1, context)
    targets = torch.cat([tokens[1:], tokens.new_full((missing,), IGNORED)]).view(-1, context)
    return ArrayExamples(inputs=inputs, targets=targets, bits_per_byte=_factor(stream, len(inputs)))


class TrainingWindows:
    """Training windows: a batch holds `tokens` (n, 2 context), from which `cut` takes the windows.

    Args:
        stream: at least `2 * context` tokens.
        context: tokens read per window.
        limit: use only the first so many windows.

    Raises:
        InputError: for a text that is too short, or a limit out of range.
    """

    def __init__(self, stream: Stream, *, context: int, limit: int | None = None) -> None:
        most = len(stream.tokens) // context - 1
        if most < 1:
            raise InputError(
                f"the training text has {len(stream.tokens)} tokens; windows of {context} at random offsets need at "
                f"least {2 * context}. Use a smaller context or more text"
            )
        if limit is not None and not 1 <= limit <= most:
            raise InputError(f"train_limit must be between 1 and {most} windows of {context} tokens; got {limit}")
        self.context = context
        self.tokens = stream.tokens[: (most if limit is None else limit) * context + context]
        self._spans = self.tokens.unfold(0, 2 * context, context)
        self._stream = stream

    def __len__(self) -> int:
        return len(self._spans)

    def batch(self, index: Tensor) -> Batch:
        return {
            "tokens": self._spans[index].long(),
            "bits_per_byte": _factor(self._stream, len(index)),
            "index": index,
        }


def cut(batch: Batch, *, training: bool, generator: torch.Generator) -> Batch:
    """`inputs` and `targets` of a batch of `TrainingWindows`; any other batch as it is.

    Args:
        batch: on any device.
        training: at random offsets if True, else at offset 0.
        generator: a CPU generator.
    """
    if "tokens" not in batch:
        return batch
    spans = batch["tokens"]
    context = spans.shape[1] // 2
    start = torch.zeros(len(spans), dtype=torch.long)
    if training:
        start = torch.randint(0, context, (len(spans),), generator=generator)
    places = start[:, None].to(spans.device) + torch.arange(context + 1, device=spans.device)
    window = spans.gather(1, places)
    rest = {name: tensor for name, tensor in batch.items() if name != "tokens"}
    return rest | {"inputs": window[:, :-1], "targets": window[:, 1:]}


def _factor(stream: Stream, count: int) -> Tensor:
    return torch.full((count,), stream.bits_per_byte)
