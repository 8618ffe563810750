"""GPT-2 (Radford et al. 2019, section 2.3): a decoder of pre-normalised blocks with learned positions.

    x = tokens + positions;   each block: x += attention(norm(x)), x += mlp(norm(x));   logits = embedding @ norm(x)

The output layer is the embedding (one tied parameter). GPT-2's initialisation: normal, 0.02 for weights and embedding,
0.01 for positions (as in the released code), zero biases, and the two projections of each block that write to the
residual stream divided by sqrt(2 * depth). GELU in its tanh form, as in GPT-2. With vocab_size=50257, context=1024,
width=768, depth=12 and heads=12 this is GPT-2 small: 124,439,808 parameters.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretorch.errors import InputError


class GPT(nn.Module):
    """A GPT-2 language model.

    Args:
        vocab_size: number of tokens.
        context: the most tokens it can read at once.
        width: of the residual stream; a multiple of `heads`.
        depth: blocks.
        heads: attention heads per block.
        dropout: on the embeddings, the attention weights and what the blocks add, while training.

    Raises:
        InputError: for numbers out of range.
    """

    def __init__(
        self, *, vocab_size: int, context: int, width: int, depth: int, heads: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        sizes = {"vocab_size": vocab_size, "context": context, "width": width, "depth": depth, "heads": heads}
        if bad := {name: size for name, size in sizes.items() if size < 1}:
            raise InputError(f"a GPT needs sizes of at least 1; got {bad}")
        if width % heads:
            raise InputError(f"width={width} of a GPT must be a multiple of heads={heads}")
        if not 0 <= dropout < 1:
            raise InputError(f"dropout is a probability in [0, 1); got {dropout}")
        self.context = context
        self.tokens = nn.Embedding(vocab_size, width)
        self.positions = nn.Embedding(context, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width=width, heads=heads, dropout=dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, vocab_size, bias=False)
        self._initialise(depth)
        self.output.weight = self.tokens.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Scores (batch, time, vocab_size) of the token after each of `tokens` (batch, time), int64.

        Raises:
            InputError: for more than `context` tokens.
        """
        time = tokens.shape[1]
        if time > self.context:
            raise InputError(f"this GPT reads at most {self.context} tokens at once; got {time}")
        x = self.dropout(self.tokens(tokens) + self.positions(torch.arange(time, device=tokens.device)))
        for block in self.blocks:
            x = block(x)
        return self.output(self.norm(x))

    def _initialise(self, depth: int) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.positions.weight, std=0.01)
        for block in self.blocks:
            for layer in cast(Block, block).writers():
                nn.init.normal_(layer.weight, std=0.02 / (2 * depth) ** 0.5)


class Block(nn.Module):
    """Causal self-attention, then a perceptron four times as wide; each reads a normalised x and adds to it."""

    def __init__(self, *, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width=width, heads=heads, dropout=dropout)
        self.norm2 = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.attention(self.norm1(x)))
        hidden = F.gelu(self.widen(self.norm2(x)), approximate="tanh")
        return x + self.dropout(self.narrow(hidden))

    def writers(self) -> tuple[nn.Linear, nn.Linear]:
        """The layers whose output is added to the residual stream."""
        return self.attention.project, self.narrow


class Attention(nn.Module):
    """Multi-head self-attention in which each position sees itself and the earlier ones; biases as in GPT-2."""

    def __init__(self, *, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True, dropout_p=dropout)
        return self.project(mixed.transpose(1, 2).flatten(2))
