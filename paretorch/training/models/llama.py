"""The Llama decoder (Touvron et al. 2023, section 2.2): RMSNorm, rotary positions, SwiGLU, grouped-query attention.

    RMSNorm(x) = g * x / sqrt(mean(x^2) + 1e-5)                        (Zhang and Sennrich 2019)
    rotation of the pair (x[2i], x[2i+1]) at position t by the angle t * 10000^(-2i / head width)   (Su et al. 2021)
    SwiGLU(x) = down(silu(gate(x)) * up(x))                            (Shazeer 2020)

Each of `kv_heads` keys and values serves heads / kv_heads neighbouring queries (Ainslie et al. 2023). Biases: none.
Neighbouring entries are rotated, as in the paper and in llama2.c; transformers rotates entry i with i + half, so its
query and key rows stand in another order. Initialised as GPT-2: normal 0.02, what writes to the residual stream divided
by sqrt(2 * depth).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretorch.errors import InputError

NORM_EPS = 1e-5
ROTARY_BASE = 10000.0
Rotation = tuple[Tensor, Tensor]


class Llama(nn.Module):
    """A Llama language model.

    Args:
        vocab_size: number of tokens.
        context: the most tokens it can read at once.
        width: of the residual stream; a multiple of `heads` with an even quotient.
        hidden: width of the SwiGLU layer.
        depth: blocks.
        heads: query heads per block; a multiple of `kv_heads`.
        kv_heads: key and value heads per block.
        tied: the output layer is the embedding.

    Raises:
        InputError: for numbers out of range.
    """

    def __init__(
        self,
        *,
        vocab_size: int,
        context: int,
        width: int,
        hidden: int,
        depth: int,
        heads: int,
        kv_heads: int,
        tied: bool = True,
    ) -> None:
        super().__init__()
        sizes = {"vocab_size": vocab_size, "context": context, "width": width, "hidden": hidden}
        sizes |= {"depth": depth, "heads": heads, "kv_heads": kv_heads}
        if bad := {name: size for name, size in sizes.items() if size < 1}:
            raise InputError(f"a Llama needs sizes of at least 1; got {bad}")
        if width % (2 * heads):
            raise InputError(f"width={width} of a Llama must be an even multiple of heads={heads}: pairs are rotated")
        if heads % kv_heads:
            raise InputError(f"heads={heads} of a Llama must be a multiple of kv_heads={kv_heads}")
        self.context, self.head_width = context, width // heads
        self.tokens = nn.Embedding(vocab_size, width)
        self.blocks = nn.ModuleList(
            LlamaBlock(width=width, hidden=hidden, heads=heads, kv_heads=kv_heads) for _ in range(depth)
        )
        self.norm = nn.RMSNorm(width, eps=NORM_EPS)
        self.output = nn.Linear(width, vocab_size, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                writes = name.endswith(("attention.output.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.02 / (2 * depth) ** 0.5 if writes else 0.02)
        if tied:
            self.output.weight = self.tokens.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Scores (batch, time, vocab_size) of the token after each of `tokens` (batch, time), int64.

        Raises:
            InputError: for more than `context` tokens.
        """
        time = tokens.shape[1]
        if time > self.context:
            raise InputError(f"this Llama reads at most {self.context} tokens at once; got {time}")
        rotation = _rotation(time, self.head_width, device=tokens.device)
        x = self.tokens(tokens)
        for block in self.blocks:
            x = block(x, rotation)
        return self.output(self.norm(x))


class LlamaBlock(nn.Module):
    """Causal grouped-query attention, then SwiGLU; each reads a normalised x and adds to it."""

    def __init__(self, *, width: int, hidden: int, heads: int, kv_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.RMSNorm(width, eps=NORM_EPS)
        self.attention = GroupedAttention(width=width, heads=heads, kv_heads=kv_heads)
        self.norm2 = nn.RMSNorm(width, eps=NORM_EPS)
        self.gate = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor, rotation: Rotation) -> Tensor:
        x = x + self.attention(self.norm1(x), rotation)
        seen = self.norm2(x)
        return x + self.down(F.silu(self.gate(seen)) * self.up(seen))


class GroupedAttention(nn.Module):
    """Causal self-attention with rotated queries and keys, in which query heads share key and value heads."""

    def __init__(self, *, width: int, heads: int, kv_heads: int) -> None:
        super().__init__()
        self.sharing, self.head_width = heads // kv_heads, width // heads
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, kv_heads * self.head_width, bias=False)
        self.value = nn.Linear(width, kv_heads * self.head_width, bias=False)
        self.output = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, rotation: Rotation) -> Tensor:
        query = _rotated(self._heads(self.query(x)), rotation)
        key = _rotated(self._heads(self.key(x)), rotation).repeat_interleave(self.sharing, dim=1)
        value = self._heads(self.value(x)).repeat_interleave(self.sharing, dim=1)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.output(mixed.transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor) -> Tensor:
        """(batch, time, heads * head_width) as (batch, heads, time, head_width)."""
        return x.unflatten(-1, (-1, self.head_width)).transpose(1, 2)


def _rotation(time: int, head_width: int, *, device: torch.device) -> Rotation:
    """Cosines and sines (time, head_width / 2) of the angles, in float32 also where the weights are not."""
    pairs = torch.arange(0, head_width, 2, device=device, dtype=torch.float32)
    angles = torch.outer(torch.arange(time, device=device, dtype=torch.float32), ROTARY_BASE ** (-pairs / head_width))
    return angles.cos(), angles.sin()


def _rotated(x: Tensor, rotation: Rotation) -> Tensor:
    """Each pair (x[..., 2i], x[..., 2i + 1]) turned by its position's angle; x is (batch, heads, time, head_width)."""
    cos, sin = (part.to(x.dtype) for part in rotation)
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)
