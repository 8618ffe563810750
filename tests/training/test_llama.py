"""The Llama decoder: size, causality, rotations, sharing of heads; and equality with transformers' LlamaForCausalLM."""

import pytest
import torch
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.methods.sparsity.prunable import prunable_parameters
from paretorch.training.models.llama import GroupedAttention, Llama, _rotated, _rotation

SMALL = {"vocab_size": 19, "context": 12, "width": 32, "hidden": 24, "depth": 2, "heads": 4, "kv_heads": 2}


def test_stories260k_has_the_published_number_of_parameters() -> None:
    model = Llama(vocab_size=512, context=512, width=64, hidden=172, depth=5, heads=8, kv_heads=4)
    assert sum(p.numel() for p in model.parameters()) == 260_032


def test_an_output_layer_of_its_own_is_one_more_matrix_and_prunable() -> None:
    tied, own = Llama(**SMALL), Llama(**SMALL, tied=False)
    assert tied.output.weight is tied.tokens.weight
    sizes = [sum(p.numel() for p in model.parameters()) for model in (tied, own)]
    assert sizes[1] - sizes[0] == 19 * 32
    assert set(prunable_parameters(own)) - set(prunable_parameters(tied)) == {"output.weight"}
    assert "tokens.weight" not in prunable_parameters(own)


def test_a_later_token_changes_no_earlier_score_and_every_later_one() -> None:
    model = Llama(**SMALL).eval()
    tokens = torch.randint(0, 19, (3, 12))
    changed = tokens.clone()
    changed[:, 5] = (tokens[:, 5] + 1) % 19
    with torch.no_grad():
        before, after = model(tokens), model(changed)
    assert before.shape == (3, 12, 19)
    assert torch.equal(before[:, :5], after[:, :5])
    assert (before[:, 5:] != after[:, 5:]).any(-1).all()


def test_a_pair_is_turned_by_its_position_times_its_frequency() -> None:
    x = torch.zeros(1, 1, 3, 4)
    x[..., 0] = 1.0  # the first pair is (1, 0), the second (0, 2)
    x[..., 3] = 2.0
    turned = _rotated(x, _rotation(3, 4, device=torch.device("cpu")))[0, 0]
    for t in range(3):
        slow = torch.tensor(t * 10000 ** (-2 / 4))
        expected = [torch.tensor(float(t)).cos(), torch.tensor(float(t)).sin(), -2 * slow.sin(), 2 * slow.cos()]
        torch.testing.assert_close(turned[t], torch.stack(expected))


def test_products_of_rotated_vectors_depend_on_the_distance_of_their_positions_alone() -> None:
    query, key = torch.randn(8).double(), torch.randn(8).double()
    rotation = _rotation(10, 8, device=torch.device("cpu"))
    queries, keys = (_rotated(vector.expand(1, 1, 10, 8), rotation)[0, 0] for vector in (query, key))
    products = queries @ keys.T
    for distance in range(-4, 5):
        diagonal = products.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-5, rtol=1e-5)
    assert (products[0, 1] - products[0, 0]).abs() > 1e-3


def test_shared_heads_equal_full_attention_with_repeated_keys_and_values() -> None:
    grouped, full = GroupedAttention(width=32, heads=4, kv_heads=2), GroupedAttention(width=32, heads=4, kv_heads=4)

    def repeated(weight: Tensor) -> Tensor:
        return weight.view(2, 8, 32).repeat_interleave(2, dim=0).reshape(32, 32)

    full.load_state_dict(
        {
            "query.weight": grouped.query.weight,
            "key.weight": repeated(grouped.key.weight),
            "value.weight": repeated(grouped.value.weight),
            "output.weight": grouped.output.weight,
        }
    )
    x, rotation = torch.randn(2, 6, 32), _rotation(6, 8, device=torch.device("cpu"))
    torch.testing.assert_close(grouped(x, rotation), full(x, rotation))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": 0}, r"sizes of at least 1; got \{'hidden': 0\}"),
        ({"heads": 32, "kv_heads": 32}, "width=32 of a Llama must be an even multiple of heads=32"),
        ({"kv_heads": 3}, "heads=4 of a Llama must be a multiple of kv_heads=3"),
    ],
)
def test_sizes_out_of_range_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Llama(**SMALL | change)  # type: ignore[arg-type]


def test_more_tokens_than_the_context_are_refused() -> None:
    with pytest.raises(InputError, match="at most 12 tokens at once; got 13"):
        Llama(**SMALL)(torch.zeros(1, 13, dtype=torch.long))


@pytest.mark.slow
def test_scores_are_those_of_transformers_with_the_same_weights() -> None:
    transformers = pytest.importorskip("transformers", reason="needs the hf extra")
    ours = Llama(**SMALL, tied=False).eval()
    for parameter in ours.parameters():
        nn.init.normal_(parameter, std=0.3)  # norms too, so that a lost one shows
    config = transformers.LlamaConfig(
        vocab_size=19,
        hidden_size=32,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=12,
        rms_norm_eps=1e-5,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=0,
    )
    theirs = transformers.LlamaForCausalLM(config).eval()
    weights = dict(ours.named_parameters())
    names = {
        "norm1": "input_layernorm",
        "norm2": "post_attention_layernorm",
        "attention.value": "self_attn.v_proj",
        "attention.output": "self_attn.o_proj",
        "gate": "mlp.gate_proj",
        "up": "mlp.up_proj",
        "down": "mlp.down_proj",
    }

    def halves(weight: Tensor) -> Tensor:
        """Rows of each head with the first entries of all pairs before the second ones."""
        return weight.view(-1, 4, 2, 32).transpose(1, 2).reshape(weight.shape)

    copied = {
        "model.embed_tokens.weight": weights["tokens.weight"],
        "model.norm.weight": weights["norm.weight"],
        "lm_head.weight": weights["output.weight"],
    }
    for block in range(2):
        here, there = f"blocks.{block}", f"model.layers.{block}"
        copied |= {f"{there}.{other}.weight": weights[f"{here}.{mine}.weight"] for mine, other in names.items()}
        copied[f"{there}.self_attn.q_proj.weight"] = halves(weights[f"{here}.attention.query.weight"])
        copied[f"{there}.self_attn.k_proj.weight"] = halves(weights[f"{here}.attention.key.weight"])
    theirs.load_state_dict(copied)
    tokens = torch.randint(0, 19, (3, 12))
    with torch.no_grad():
        expected = theirs(tokens).logits
        assert expected.std() > 0.1
        torch.testing.assert_close(ours(tokens), expected, rtol=1e-5, atol=1e-5)
