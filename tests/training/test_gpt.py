"""The GPT-2 decoder: size, causality, initialisation, ties; and equality with transformers' GPT2LMHeadModel."""

import copy

import pytest
import torch
from torch import nn

from paretorch.errors import InputError
from paretorch.methods.sparsity.prunable import prunable_parameters
from paretorch.training.models.gpt import GPT

SMALL = {"vocab_size": 19, "context": 12, "width": 16, "depth": 2, "heads": 4}


def test_gpt2_small_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        model = GPT(vocab_size=50257, context=1024, width=768, depth=12, heads=12)
    assert sum(p.numel() for p in model.parameters()) == 124_439_808


def test_a_later_token_changes_no_earlier_score_and_every_later_one() -> None:
    model = GPT(**SMALL).eval()
    tokens = torch.randint(0, 19, (3, 12))
    changed = tokens.clone()
    changed[:, 5] = (tokens[:, 5] + 1) % 19
    with torch.no_grad():
        before, after = model(tokens), model(changed)
    assert before.shape == (3, 12, 19)
    assert torch.equal(before[:, :5], after[:, :5])
    assert (before[:, 5:] != after[:, 5:]).any(-1).all()


def test_order_of_earlier_tokens_matters() -> None:
    model = GPT(**SMALL).eval()
    forward, swapped = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[2, 1, 3, 4]])
    with torch.no_grad():
        assert not torch.allclose(model(forward)[:, -1], model(swapped)[:, -1], atol=1e-6)


def test_output_layer_is_the_embedding_and_stays_so_in_copies() -> None:
    model = copy.deepcopy(GPT(**SMALL))
    assert model.output.weight is model.tokens.weight
    names = [name for name, _ in model.named_parameters()]
    assert "tokens.weight" in names
    assert "output.weight" not in names


def test_only_the_linear_layers_of_the_blocks_are_prunable() -> None:
    found = prunable_parameters(GPT(**SMALL))
    assert list(found) == [
        f"blocks.{block}.{layer}.weight"
        for block in range(2)
        for layer in ("attention.qkv", "attention.project", "widen", "narrow")
    ]


def test_initial_spreads_are_those_of_gpt2() -> None:
    model = GPT(vocab_size=500, context=200, width=128, depth=8, heads=4)
    spreads = {name: float(weight.detach().std()) for name, weight in model.named_parameters()}
    assert spreads["tokens.weight"] == pytest.approx(0.02, rel=0.05)
    assert spreads["positions.weight"] == pytest.approx(0.01, rel=0.05)
    assert spreads["blocks.3.attention.qkv.weight"] == pytest.approx(0.02, rel=0.05)
    assert spreads["blocks.3.widen.weight"] == pytest.approx(0.02, rel=0.05)
    for writer in ("attention.project", "narrow"):
        assert spreads[f"blocks.3.{writer}.weight"] == pytest.approx(0.02 / 16**0.5, rel=0.05)
    biases = [p for name, p in model.named_parameters() if name.endswith("bias")]
    assert all(not bias.any() for bias in biases)


def test_dropout_acts_while_training_only() -> None:
    model = GPT(**SMALL, dropout=0.5)
    tokens = torch.randint(0, 19, (2, 12))
    assert not torch.equal(model(tokens), model(tokens))
    model.eval()
    assert torch.equal(model(tokens), model(tokens))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 0}, r"sizes of at least 1; got \{'depth': 0\}"),
        ({"heads": 3}, "width=16 of a GPT must be a multiple of heads=3"),
        ({"dropout": 1.0}, r"dropout is a probability in \[0, 1\); got 1.0"),
    ],
)
def test_sizes_out_of_range_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        GPT(**SMALL | change)  # type: ignore[arg-type]


def test_more_tokens_than_the_context_are_refused() -> None:
    with pytest.raises(InputError, match="at most 12 tokens at once; got 13"):
        GPT(**SMALL)(torch.zeros(1, 13, dtype=torch.long))


@pytest.mark.slow
def test_scores_are_those_of_transformers_with_the_same_weights() -> None:
    transformers = pytest.importorskip("transformers", reason="needs the hf extra")
    ours = GPT(**SMALL).eval()
    for parameter in ours.parameters():
        nn.init.normal_(parameter, std=0.2)  # biases and norms too, so that a lost one shows
    config = transformers.GPT2Config(
        vocab_size=19, n_positions=12, n_embd=16, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0
    )
    theirs = transformers.GPT2LMHeadModel(config).eval()
    weights = dict(ours.named_parameters())
    names = {
        "attention.qkv": "attn.c_attn",
        "attention.project": "attn.c_proj",
        "widen": "mlp.c_fc",
        "narrow": "mlp.c_proj",
        "norm1": "ln_1",
        "norm2": "ln_2",
    }
    copied = {"transformer.wte.weight": weights["tokens.weight"], "transformer.wpe.weight": weights["positions.weight"]}
    for part in ("weight", "bias"):
        copied[f"transformer.ln_f.{part}"] = weights[f"norm.{part}"]
        for block in range(2):
            for mine, other in names.items():
                value = weights[f"blocks.{block}.{mine}.{part}"]
                copied[f"transformer.h.{block}.{other}.{part}"] = value.T if value.dim() == 2 else value
    copied["lm_head.weight"] = weights["tokens.weight"]
    theirs.load_state_dict(copied)
    tokens = torch.randint(0, 19, (3, 12))
    with torch.no_grad():
        expected = theirs(tokens).logits
        assert expected.std() > 0.1
        torch.testing.assert_close(ours(tokens), expected, rtol=1e-5, atol=1e-5)
