"""stories260K: a language model of 260,032 parameters for children's stories, by A. Karpathy (llama2.c, tinyllamas).

A Llama trained on TinyStories (Eldan and Li 2023) with a vocabulary of 512. Upstream reports a validation loss of
1.2968 nats per token; here the check is the mean on five stories of that data set: 1.266 over 1,804 tokens, each story
read from BOS on, stripped of the line ends around it.

Format of the weights (llama2.c's first export, little endian): seven int32 (width, hidden, depth, heads, kv_heads,
vocab_size, context), then float32 tensors, each stacked over the blocks, then two tables of rotations, not used here.
"""

import struct
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.training.models.llama import Llama
from paretorch.training.published import Published
from paretorch.training.published.stories_tokenizer import BOS, StoriesTokenizer

FOLDER, WEIGHTS = "weights_stories260k", "stories260K.bin"
TOKENIZER, SAMPLE = "tok512.bin", "tinystories_sample.txt"
VOCAB_SIZE = 512
STORY_END = "<|endoftext|>"
HEADER = struct.Struct("<7i")


def build(path: Path) -> Llama:
    """The model with the weights of the file at `path`.

    Raises:
        InputError: if the file's size is not the one that its header leads to.
    """
    content = path.read_bytes()
    if len(content) < HEADER.size:
        raise InputError(f"{path} has {len(content)} bytes, too few for the header of a llama2.c model")
    width, hidden, depth, heads, kv_heads, vocab_size, context = HEADER.unpack_from(content)
    model = Llama(
        vocab_size=vocab_size,
        context=context,
        width=width,
        hidden=hidden,
        depth=depth,
        heads=heads,
        kv_heads=kv_heads,
    )
    values = np.frombuffer(content, dtype="<f4", offset=HEADER.size)
    rotations = context * (width // heads)
    if len(values) != sum(p.numel() for p in model.parameters()) + rotations:
        raise InputError(f"{path} holds {len(values)} numbers, not those of a llama2.c model with tied output")
    rest = torch.from_numpy(values.astype(np.float32))
    with torch.no_grad():
        for group in _groups(model):
            for parameter in group:
                parameter.copy_(rest[: parameter.numel()].view_as(parameter))
                rest = rest[parameter.numel() :]
    return model


def _groups(model: Llama) -> list[list[nn.Parameter]]:
    """The parameters in the order of the file; one group per stacked tensor."""
    layers = (
        "norm1",
        "attention.query",
        "attention.key",
        "attention.value",
        "attention.output",
        "norm2",
        "gate",
        "down",
        "up",
    )
    stacked = [[block.get_parameter(f"{layer}.weight") for block in model.blocks] for layer in layers]
    return [[model.get_parameter("tokens.weight")], *stacked, [model.get_parameter("norm.weight")]]


def stories(folder: Path) -> list[Tensor]:
    """The sample stories as tokens (n,) int64, each with BOS in front.

    Args:
        folder: holds the tokenizer and the sample text.

    Raises:
        InputError: if one of them is missing.
    """
    tokenizer = StoriesTokenizer(folder / TOKENIZER, vocab_size=VOCAB_SIZE)
    if not (folder / SAMPLE).is_file():
        raise InputError(f"there is no sample text {folder / SAMPLE}; it belongs beside the weights")
    texts = (folder / SAMPLE).read_text(encoding="utf-8").split(STORY_END)
    return [torch.tensor([BOS, *tokenizer.encode(text.strip())]) for text in texts if text.strip()]


@torch.no_grad()
def sample_nll(model: nn.Module, data: Path) -> float:
    """Mean nats per token over the sample stories, BOS not predicted; the model is called as it is.

    Args:
        model: of tokens (batch, time), in evaluation mode.
        data: the data folder.
    """
    total, count = 0.0, 0
    for tokens in stories(data / FOLDER):
        logits = model(tokens[None, :-1])[0].float()
        total += float(F.cross_entropy(logits, tokens[1:], reduction="sum"))
        count += len(tokens) - 1
    return total / count


@torch.no_grad()
def greedy(model: nn.Module, *, num_tokens: int) -> list[int]:
    """BOS and the `num_tokens` tokens of highest score that follow, one after the other."""
    tokens = [BOS]
    for _ in range(num_tokens):
        tokens.append(int(model(torch.tensor([tokens]))[0, -1].argmax()))
    return tokens


STORIES260K = Published(
    name="stories260k",
    folder=FOLDER,
    file=WEIGHTS,
    sha256="b0a507e7ad0f626624f17112325e66691f9076d622e1d3274d103d00299f2696",
    source="stories260K of karpathy/tinyllamas, from DaveBben/esp32-llm at 934dab4d242d, which states no licence",
    build=build,
    metric="nats per token on five stories",
    check=sample_nll,
    expected=1.266,
    tolerance=0.001,
)
