"""The vision transformer (Dosovitskiy et al. 2021, section 3.1): an encoder over patches of the image.

    z_0 = [class; patches] + positions;   z = z + attention(norm(z));   z = z + mlp(norm(z))
    scores = head(norm(z)[0])

Defaults are ViT-B/16. Queries, keys and values come from one linear layer, not from nn.MultiheadAttention, whose packed
weight is no Linear and would escape pruning. Weights start truncated normal with deviation 0.02 (Touvron et al. 2021).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretorch.errors import InputError

NORM_EPS = 1e-6


class ViT(nn.Module):
    """A vision transformer.

    Args:
        image_side: height and width of the images; a multiple of `patch_side`.
        patch_side: of the patches; 4 suits 32x32 images.
        width: of the tokens; a multiple of `heads`.
        depth: blocks.
        heads: per block.
        hidden: width of the perceptrons; None is 4 `width`.
        dropout: probability behind the positions and at the end of each branch.
        num_classes: outputs.

    Raises:
        InputError: for sizes below 1 or that do not divide, or a dropout outside [0, 1).
    """

    def __init__(
        self,
        *,
        image_side: int = 224,
        patch_side: int = 16,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        hidden: int | None = None,
        dropout: float = 0.0,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        hidden = 4 * width if hidden is None else hidden
        if min(image_side, patch_side, width, depth, heads, hidden, num_classes) < 1:
            raise InputError(
                f"a ViT needs sizes of at least 1; got image_side={image_side}, patch_side={patch_side}, "
                f"width={width}, depth={depth}, heads={heads}, hidden={hidden}, num_classes={num_classes}"
            )
        if image_side % patch_side:
            raise InputError(f"image_side={image_side} of a ViT must be a multiple of patch_side={patch_side}")
        if width % heads:
            raise InputError(f"width={width} of a ViT must be a multiple of heads={heads}")
        if not 0 <= dropout < 1:
            raise InputError(f"dropout is a probability in [0, 1); got {dropout}")
        self.image_side = image_side
        self.patches = nn.Conv2d(3, width, patch_side, stride=patch_side)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.empty(1, 1 + (image_side // patch_side) ** 2, width))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(EncoderBlock(width, hidden, heads=heads, dropout=dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.head = nn.Linear(width, num_classes)
        nn.init.trunc_normal_(self.positions, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores (batch, num_classes) of images (batch, 3, image_side, image_side).

        Raises:
            InputError: for images of another size.
        """
        if images.shape[2:] != (self.image_side, self.image_side):
            raise InputError(f"this ViT reads images of side {self.image_side}; got shape {tuple(images.shape)}")
        patches = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat((self.class_token.expand(len(images), -1, -1), patches), dim=1)
        tokens = self.dropout(tokens + self.positions)
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(self.norm(tokens)[:, 0])


class EncoderBlock(nn.Module):
    """Self-attention, then a perceptron; each reads normalised tokens and adds to them."""

    def __init__(self, width: int, hidden: int, *, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=NORM_EPS)
        self.attention = SelfAttention(width, heads=heads)
        self.norm2 = nn.LayerNorm(width, eps=NORM_EPS)
        self.widen = nn.Linear(width, hidden)
        self.narrow = nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.dropout(self.attention(self.norm1(tokens)))
        return tokens + self.dropout(self.narrow(F.gelu(self.widen(self.norm2(tokens)))))


class SelfAttention(nn.Module):
    """Multi-head self-attention in which every token sees all."""

    def __init__(self, width: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Mixed tokens (batch, count, width)."""
        query, key, value = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.project(mixed.transpose(1, 2).flatten(2))
