"""stories260K: the tokenizer against closed forms, damaged files, and the published behaviour where the weights are."""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from paretorch.errors import InputError
from paretorch.methods.sparsity.magnitude import magnitude_masks
from paretorch.methods.sparsity.prunable import prunable_parameters
from paretorch.training.published.stories260k import (
    FOLDER,
    SAMPLE,
    STORIES260K,
    TOKENIZER,
    build,
    greedy,
    sample_nll,
    stories,
)
from paretorch.training.published.stories_tokenizer import FIRST_PIECE, StoriesTokenizer

PIECES = {b" ": -9.0, b"a": -8.0, b"b": -7.0, b"ab": -2.0, b" a": -1.0, b"ba": -3.0, b" ab": -4.0}
PUBLISHED_START = (
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. "
    "One day, she saw a big, red ball."
)


@pytest.fixture
def tokenizer_file(tmp_path: Path) -> Path:
    special = [b"<unk>", b"\n<s>\n", b"\n</s>\n", *(b"<0x%02X>" % byte for byte in range(256))]
    tokens = dict.fromkeys(special, 0.0) | PIECES
    content = struct.pack("<i", 8)
    content += b"".join(struct.pack("<fi", score, len(piece)) + piece for piece, score in tokens.items())
    path = tmp_path / "tok.bin"
    path.write_bytes(content)
    return path


def test_neighbours_of_the_highest_score_are_merged_first(tokenizer_file: Path) -> None:
    tokenizer = StoriesTokenizer(tokenizer_file, vocab_size=FIRST_PIECE + len(PIECES))
    place = {piece: FIRST_PIECE + number for number, piece in enumerate(PIECES)}
    # " a" wins over "ab"; then " a" + "b" is a piece too; of the rest, "ab" wins over "ba"
    assert tokenizer.encode("ab") == [place[b" ab"]]
    assert tokenizer.encode("bab") == [place[b" "], place[b"b"], place[b"ab"]]
    assert tokenizer.encode("baa") == [place[b" "], place[b"ba"], place[b"a"]]


def test_a_character_that_is_no_piece_is_written_as_its_bytes(tokenizer_file: Path) -> None:
    tokenizer = StoriesTokenizer(tokenizer_file, vocab_size=FIRST_PIECE + len(PIECES))
    assert tokenizer.encode("é")[1:] == [0xC3 + 3, 0xA9 + 3]
    for text in ("ab ba", "é\n<s>“", "", "  a"):
        assert tokenizer.decode([1, *tokenizer.encode(text)]) == text


def test_damaged_tokenizer_is_refused(tokenizer_file: Path) -> None:
    size = FIRST_PIECE + len(PIECES)
    with pytest.raises(InputError, match=f"tok.bin ends within its {size + 1}th token of {size + 1}"):
        StoriesTokenizer(tokenizer_file, vocab_size=size + 1)
    with pytest.raises(InputError, match=r"tok\.bin has \d+ bytes; its 300 tokens end after|its 200 tokens end after"):
        StoriesTokenizer(tokenizer_file, vocab_size=200)
    with pytest.raises(InputError, match=r"there is no tokenizer file .*none\.bin"):
        StoriesTokenizer(tokenizer_file.with_name("none.bin"), vocab_size=size)


def test_weights_whose_size_contradicts_their_header_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(struct.pack("<7i", 8, 12, 1, 2, 1, 20, 16) + bytes(4 * 100))
    with pytest.raises(InputError, match=r"model\.bin holds 100 numbers, not those of a llama2\.c model"):
        build(path)
    path.write_bytes(b"short")
    with pytest.raises(InputError, match=r"model\.bin has 5 bytes, too few for the header"):
        build(path)


@pytest.fixture
def real(data_folder: Callable[[str], Path]) -> Path:
    return data_folder(FOLDER)


def test_real_tokenizer_gives_every_story_back_in_1804_tokens(real: Path) -> None:
    texts = [text.strip() for text in (real / SAMPLE).read_text(encoding="utf-8").split("<|endoftext|>")][:5]
    tokenizer = StoriesTokenizer(real / TOKENIZER, vocab_size=512)
    found = stories(real)
    assert [tokenizer.decode(tokens.tolist()) for tokens in found] == texts
    assert sum(len(tokens) - 1 for tokens in found) == 1804


def test_real_weights_have_the_published_size_loss_and_text(real: Path) -> None:
    model = build(real / STORIES260K.file).eval()
    assert sum(p.numel() for p in model.parameters()) == 260_032
    assert sample_nll(model, real.parent) == pytest.approx(1.266, abs=5e-4)
    tokenizer = StoriesTokenizer(real / TOKENIZER, vocab_size=512)
    assert tokenizer.decode(greedy(model, num_tokens=60)).startswith(PUBLISHED_START)


def test_swapped_layers_of_equal_shape_are_noticed_by_the_loss(real: Path) -> None:
    model = build(real / STORIES260K.file).eval()
    with torch.no_grad():
        block = model.blocks[2]
        block.gate.weight, block.up.weight = block.up.weight, block.gate.weight
    assert not abs(sample_nll(model, real.parent) - STORIES260K.expected) <= STORIES260K.tolerance


@pytest.mark.slow
def test_pruning_nothing_changes_nothing_and_pruning_more_costs_more(real: Path) -> None:
    dense = build(real / STORIES260K.file).eval()
    found = {}
    for sparsity in (0.0, 0.3, 0.6):
        model = build(real / STORIES260K.file).eval()
        masks = magnitude_masks(model, sparsity=sparsity)
        masks.apply_(model)
        assert masks.num_pruned == round(sparsity * masks.num_weights)
        assert torch.equal(model.tokens.weight, dense.tokens.weight), "the tied embedding is not pruned"
        found[sparsity] = sample_nll(model, real.parent)
    assert found[0.0] == sample_nll(dense, real.parent)
    assert found[0.0] < found[0.3] < found[0.6] < 20
    assert "output.weight" not in prunable_parameters(dense)
