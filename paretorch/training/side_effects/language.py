"""What compression does to a language model: its loss on each part of the test text and on other texts, and its drift.

    loss on a text = mean over its tokens of -ln q(token | tokens before it)
    KL = mean over the tokens of the test text of sum_v p(v) (ln p(v) - ln q(v)),   p dense, q candidate

in nats per token, from log-softmax in float64. The divergence is 0 only where both give every token the same
probability; the loss can stay the same while probabilities move. Tokens of one text depend on each other, so there is
no interval.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from paretorch.errors import NotFiniteError
from paretorch.training.data import Examples, Selected, sampled
from paretorch.training.side_effects.reading import Reader

PARTS = 4
MOST_WINDOWS = 10_000  # of the test text; a quarter of them of any other text
MOST_LOGITS = 2**20  # of one model at once: 8 MiB in float64
IGNORED = -100


def kl_divergence(dense: Tensor, candidate: Tensor) -> Tensor:
    """KL(dense || candidate) in nats, (...).

    Args:
        dense, candidate: log-probabilities (..., tokens). A token that `dense` holds impossible contributes 0.
    """
    terms = (dense - candidate).mul_(dense.exp())
    return terms.masked_fill_(dense == -torch.inf, 0.0).sum(-1)


def language_effects(
    reader: Reader, examples: Examples, others: Mapping[str, Examples], *, logits_per_example: int
) -> dict[str, Any]:
    """Losses by domain and the divergence from the dense model.

    Args:
        reader: in `evaluating`.
        examples: the windows of the test text, in the order of the text.
        others: windows of other texts, by name.
        logits_per_example: positions x tokens.

    Returns:
        "domains": for equal consecutive parts of the test text, then for `others`: "name", "dense" and "candidate"
            (nats per token), "tokens" (how many were predicted). Of a long text only some windows are read, drawn at
            random with a fixed seed.
        "kl": on the test text.

    Raises:
        NotFiniteError: if a loss or divergence is NaN or infinite.
    """
    size = max(1, MOST_LOGITS // logits_per_example)
    parts = _parts(examples)
    texts = {name: sampled(text, MOST_WINDOWS // PARTS) for name, text in (parts | dict(others)).items()}
    sums = {name: _sums(reader, text, size=size) for name, text in texts.items()}
    if bad := [name for name, total in sums.items() if not total.isfinite().all()]:
        raise NotFiniteError(f"the losses of the dense model or of the candidate on {bad} are not finite")
    tokens, _, _, divergence = torch.stack([sums[name] for name in parts]).sum(0).tolist()
    return {
        "domains": [
            {"name": name, "dense": dense / count, "candidate": candidate / count, "tokens": int(count)}
            for name, (count, dense, candidate, _) in ((name, total.tolist()) for name, total in sums.items())
        ],
        "kl": divergence / tokens,
    }


def _parts(examples: Examples) -> dict[str, Examples]:
    """Equal consecutive parts, as many as there are windows at most."""
    chunks = torch.arange(len(examples)).tensor_split(min(PARTS, len(examples)))
    return {
        f"test text, part {number} of {len(chunks)}": Selected(examples, chunk)
        for number, chunk in enumerate(chunks, start=1)
    }


def _sums(reader: Reader, examples: Examples, *, size: int) -> Tensor:
    """Predicted tokens, both sums of losses, and the sum of divergences, float64 (4,) on the CPU."""
    total = torch.zeros(4, dtype=torch.float64)
    for batch in reader.batches(examples, size=size):
        labels = reader.task.labels(batch)
        predicted = labels != IGNORED
        dense, candidate = (logits.double().log_softmax(-1) for logits in reader.logits(batch))
        right = labels.clamp_min(0)[..., None]
        values = [
            -dense.gather(-1, right)[..., 0],
            -candidate.gather(-1, right)[..., 0],
            kl_divergence(dense, candidate),
        ]
        total += torch.stack([predicted.sum().double(), *(value[predicted].sum() for value in values)]).cpu()
    return total
