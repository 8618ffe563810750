"""Groups of models that others wrote: key heads with their queries, and perceptrons, of Hugging Face's transformers."""

import pytest
import torch

from paretorch.methods.width.extract import extract, masked
from paretorch.methods.width.tracing import find_groups

transformers = pytest.importorskip("transformers", reason="needs the hf extra")


@pytest.mark.slow
@pytest.mark.parametrize("use_cache", [False, True])
def test_a_llama_of_transformers_loses_whole_key_heads_and_hidden_units(use_cache: bool) -> None:
    config = transformers.LlamaConfig(
        vocab_size=50,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        use_cache=use_cache,
    )
    model = transformers.LlamaForCausalLM(config).eval()
    inputs = {"input_ids": torch.randint(0, 50, (2, 6))}
    groups = find_groups(model, inputs)
    expected = {"model.layers.0.self_attn.q_proj": 2, "model.layers.0.mlp.gate_proj": 24}
    assert dict(zip(groups.names, groups.full, strict=True)) == expected
    cut, whole = extract(model, groups, (1, 7)), masked(model, groups, groups.prefix((1, 7)))
    with torch.no_grad():
        torch.testing.assert_close(cut(**inputs)[0], whole(**inputs)[0])
