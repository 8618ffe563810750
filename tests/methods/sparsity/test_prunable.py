"""Which parameters are prunable: allow-list, patterns, ties, wrappers, and the errors that say what was found."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from paretorch.errors import InputError
from paretorch.methods.sparsity.prunable import LAYER_TYPES, prunable_aliases, prunable_parameters


class Everything(nn.Module):
    """One layer of every kind that could be taken by mistake."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        self.conv = nn.Conv1d(4, 4, 3)
        self.up = nn.ConvTranspose2d(4, 4, 3)
        self.norms = nn.ModuleList([nn.LayerNorm(4), nn.GroupNorm(2, 4), nn.BatchNorm1d(4), nn.PReLU()])
        self.blocks = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.head = nn.Linear(4, 10)


ALL = ["conv.weight", "up.weight", "blocks.0.weight", "blocks.1.weight", "head.weight"]


def test_only_weights_of_convolutions_and_linear_layers_are_prunable() -> None:
    model = Everything()
    found = prunable_parameters(model)
    assert list(found) == ALL
    named = dict(model.named_parameters())
    assert all(found[name] is named[name] for name in found)


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        ("blocks", None, ["blocks.0.weight", "blocks.1.weight"]),
        ("blocks.1.weight", None, ["blocks.1.weight"]),
        (["conv", "*.weight"], ["head", "up.*"], ["conv.weight", "blocks.0.weight", "blocks.1.weight"]),
        (None, "norms", ALL),  # excluding what is not prunable anyway is no mistake
        (None, "blocks.?", ["conv.weight", "up.weight", "head.weight"]),
    ],
)
def test_patterns_match_names_and_module_paths(
    include: str | list[str] | None, exclude: str | list[str] | None, expected: list[str]
) -> None:
    assert list(prunable_parameters(Everything(), include=include, exclude=exclude)) == expected


def test_a_pattern_that_matches_nothing_names_the_nearest_names() -> None:
    with pytest.raises(InputError, match=r"include: .*'block\.0' \(nearest: .*blocks\.0"):
        prunable_parameters(Everything(), include=["head", "block.0"])
    with pytest.raises(InputError, match=r"exclude: .*'heads' \(nearest: head"):
        prunable_parameters(Everything(), exclude="heads")
    with pytest.raises(InputError, match=r"include: .*'norms'"):  # exists, but is never prunable
        prunable_parameters(Everything(), include="norms")
    with pytest.raises(InputError, match="leave none of the 5 prunable parameters"):
        prunable_parameters(Everything(), include="head", exclude="head")


def test_embeddings_are_taken_only_on_request() -> None:
    found = prunable_parameters(Everything(), layer_types=[*LAYER_TYPES, nn.Embedding])
    assert list(found) == ["embed.weight", *ALL]


def test_a_model_without_prunable_layers_is_told_what_it_has() -> None:
    model = nn.Sequential(nn.Embedding(5, 4), nn.LayerNorm(4), nn.LayerNorm(4))
    with pytest.raises(InputError, match=r"1 Embedding, 2 LayerNorm, and the layer types allowed are Conv1d.*Linear"):
        prunable_parameters(model)
    with pytest.raises(InputError, match="no parameters at all"):
        prunable_parameters(nn.Sequential(nn.ReLU()))


def test_a_model_of_conv1d_layers_is_told_how_to_take_them() -> None:
    class Conv1D(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4, 8))

    with pytest.raises(InputError, match=r"layer_types=\(torch\.nn\.Linear, transformers\.pytorch_utils\.Conv1D\)"):
        prunable_parameters(nn.Sequential(Conv1D()))
    assert list(prunable_parameters(nn.Sequential(Conv1D()), layer_types=[Conv1D])) == ["0.weight"]


def test_tied_weights_count_once_and_are_reported() -> None:
    model = Everything()
    model.blocks[1].weight = model.blocks[0].weight
    assert "blocks.1.weight" not in prunable_parameters(model)
    assert prunable_aliases(model) == {"blocks.0.weight": ("blocks.1.weight",)}
    assert list(prunable_parameters(model, include="blocks.1")) == ["blocks.0.weight"]
    assert "blocks.0.weight" not in prunable_parameters(model, exclude="blocks.1")
    shared = nn.Linear(3, 3)
    assert prunable_aliases(nn.Sequential(shared, shared)) == {"0.weight": ("1.weight",)}


def test_a_head_tied_to_an_embedding_is_left_out_with_it() -> None:
    model = Everything()
    model.head.weight = model.embed.weight
    assert "head.weight" not in prunable_parameters(model)
    assert "embed.weight" not in prunable_parameters(model)
    found = prunable_parameters(model, layer_types=[*LAYER_TYPES, nn.Embedding])
    assert next(iter(found)) == "embed.weight"


def test_wrappers_leave_no_trace_in_the_names() -> None:
    class Compiled(nn.Module):  # what torch.compile returns looks like this from outside
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self._orig_mod = inner

    plain = nn.Sequential(nn.Linear(2, 2))
    assert list(prunable_parameters(nn.DataParallel(plain))) == ["0.weight"]
    assert list(prunable_parameters(Compiled(nn.DataParallel(plain)))) == ["0.weight"]
    assert list(prunable_parameters(nn.Sequential(Compiled(plain)), include="0.0")) == ["0.0.weight"]


def test_weights_that_are_computed_are_refused_unless_excluded() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    prune.l1_unstructured(model[0], "weight", 0.5)
    with pytest.raises(InputError, match=r"0\.weight is computed from other parameters .*prune\.remove"):
        prunable_parameters(model)
    assert list(prunable_parameters(model, exclude="0")) == ["1.weight"]
    prune.remove(model[0], "weight")
    parametrizations.weight_norm(model[1])
    with pytest.raises(InputError, match=r"1\.weight is computed"):
        prunable_parameters(model)


def test_lazy_layers_ask_for_a_batch_first() -> None:
    model = nn.Sequential(nn.LazyLinear(4))
    with pytest.raises(InputError, match=r"0\.weight has no shape yet; run one batch"):
        prunable_parameters(model)
