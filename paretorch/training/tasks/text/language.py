"""Language modelling: predict each token of a text from those before it; cross-entropy in nats and in bits.

    nll = mean over tokens of -ln p(token | tokens before it in its window)          nats per token, perplexity exp(nll)
    bits_per_byte = sum over tokens of -ln p / (bytes of the text * ln 2)

Bits per byte are comparable between tokenizers, nats per token are not.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretorch.training.data import ArrayExamples, Batch
from paretorch.training.task import Task
from paretorch.training.tasks.text.decoder import Decoder
from paretorch.training.tasks.text.ngram import ngram_nll
from paretorch.training.tasks.text.windows import IGNORED, Stream, TrainingWindows, cut, evaluation_windows

MOST_LOGITS = 2**25  # computed at once during evaluation: 128 MiB in float32
NGRAM_NAMES = ("unigram", "bigram", "trigram")


class LanguageTask(Task):
    """Language modelling on three streams of tokens.

    Args:
        name: of the task.
        metric: "nll" or "bits_per_byte"; both are reported.
        decoder: the model.
        vocab_size: number of tokens.
        train, evaluation, test: the texts.
        train_limit: use only the first so many training windows.
        orders: lengths of the n-grams that `references` counts in the training text.

    Raises:
        InputError: for a text that is too short, or a limit out of range.
    """

    higher_is_better = False

    def __init__(
        self,
        *,
        name: str,
        metric: str,
        decoder: Decoder,
        vocab_size: int,
        train: Stream,
        evaluation: Stream,
        test: Stream,
        train_limit: int | None = None,
        orders: Sequence[int] = (1, 2, 3),
    ) -> None:
        self.name, self.metric = name, metric
        self.decoder, self.vocab_size, self.orders = decoder, vocab_size, tuple(orders)
        self._train = TrainingWindows(train, context=decoder.context, limit=train_limit)
        self._evaluation = self.windows(evaluation, name="the evaluation text")
        self._test = self.windows(test, name="the test text")
        self._test_stream = test

    def model(self) -> nn.Module:
        return self.decoder.build(self.vocab_size)

    def constructor(self) -> tuple[str, dict[str, Any]] | None:
        return self.decoder.constructor(self.vocab_size)

    def train_set(self) -> TrainingWindows:
        return self._train

    def eval_set(self) -> ArrayExamples:
        return self._evaluation

    def test_set(self) -> ArrayExamples:
        return self._test

    def windows(self, stream: Stream, *, name: str) -> ArrayExamples:
        """Another text as examples to evaluate on."""
        return evaluation_windows(stream, context=self.decoder.context, name=name)

    def prepare(self, batch: Batch, *, training: bool, generator: torch.Generator) -> Batch:
        return cut(batch, training=training, generator=generator)

    def loss(self, model: nn.Module, batch: Batch, reduction: str = "mean") -> Tensor:
        """Nats per token: the mean over the batch, or of each example (n,)."""
        logits, targets = model(batch["inputs"]).float(), batch["targets"]
        if reduction == "mean":
            return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
        return _losses(logits, targets).sum(1) / (targets != IGNORED).sum(1)

    def metrics(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Per predicted token: nats, and its share in the bits per byte of its text."""
        inputs, targets = batch["inputs"], batch["targets"]
        size = max(1, MOST_LOGITS // (inputs.shape[1] * self.vocab_size))
        parts = zip(inputs.split(size), targets.split(size), strict=True)
        nll = torch.cat([_losses(model(some).float(), goal) for some, goal in parts])
        predicted = targets != IGNORED
        return {"nll": nll[predicted], "bits_per_byte": (nll * batch["bits_per_byte"][:, None])[predicted]}

    def logits(self, model: nn.Module, batch: Batch) -> Tensor:
        output: Tensor = model(batch["inputs"])
        return output

    def references(self) -> dict[str, float]:
        """The metric of n-gram models that were counted on the training text, on the test text."""
        scale = self._test_stream.bits_per_byte if self.metric == "bits_per_byte" else 1.0
        found = ngram_nll(
            self._train.tokens, self._test_stream.tokens, vocab_size=self.vocab_size, order=max(self.orders)
        )
        return {_ngram_name(order): found[order - 1] * scale for order in self.orders}

    def example_inputs(self) -> tuple[Tensor, ...]:
        return (self._evaluation.batch(torch.zeros(1, dtype=torch.long))["inputs"],)


def _losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Nats (n, time) of each target, 0 where there is none; logits (n, time, vocab_size)."""
    flat = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none")
    return flat.view_as(targets)


def _ngram_name(order: int) -> str:
    return NGRAM_NAMES[order - 1] if order <= len(NGRAM_NAMES) else f"{order}-gram"
