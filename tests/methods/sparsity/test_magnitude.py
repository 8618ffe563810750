"""Magnitude masks of whole models: counts, order, nesting, composition over cycles, and bad input."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import paretorch as pt
from paretorch.errors import InputError
from paretorch.methods.sparsity.magnitude import ALLOCATIONS, magnitude_masks
from paretorch.methods.sparsity.masks import Masks
from paretorch.methods.sparsity.prunable import prunable_parameters
from paretorch.methods.sparsity.scores import lamp_scores
from paretorch.methods.sparsity.selection import cumulative_counts
from tests.methods.sparsity.shapes import small_network

MAGNITUDE_ALLOCATIONS = tuple(a for a in ALLOCATIONS if a != "random")


def pruned(masks: Mapping[str, torch.Tensor]) -> dict[str, int]:
    return {name: int((~mask).sum()) for name, mask in masks.items()}


@pytest.mark.parametrize("allocation", ALLOCATIONS)
@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.77])
def test_every_allocation_hits_the_total_exactly(allocation: str, sparsity: float) -> None:
    model = small_network()
    masks = magnitude_masks(model, sparsity=sparsity, allocation=allocation)
    assert masks.num_weights == sum(p.numel() for p in prunable_parameters(model).values())
    assert masks.num_pruned == round(sparsity * masks.num_weights)
    assert list(masks) == ["0.weight", "2.weight", "4.weight", "5.weight"]


def test_global_masks_keep_no_weight_smaller_than_a_pruned_one() -> None:
    model = small_network()
    masks = magnitude_masks(model, sparsity=0.8)
    weights = prunable_parameters(model)
    smallest_kept = min(weights[n][m].abs().min().item() for n, m in masks.items() if m.any())
    largest_pruned = max(weights[n][~m].abs().max().item() for n, m in masks.items() if not m.all())
    assert smallest_kept >= largest_pruned


@pytest.mark.parametrize("allocation", MAGNITUDE_ALLOCATIONS)
def test_within_a_layer_every_allocation_follows_the_magnitude(allocation: str) -> None:
    model = small_network()
    masks = magnitude_masks(model, sparsity=0.7, allocation=allocation)
    for name, weight in prunable_parameters(model).items():
        if masks[name].any() and not masks[name].all():
            assert weight[masks[name]].abs().min() >= weight[~masks[name]].abs().max()


def test_global_masks_equal_those_of_torch_where_there_are_no_ties() -> None:
    model, other = small_network(), small_network()
    masks = magnitude_masks(model, sparsity=0.83)
    layers = [(m, "weight") for m in other.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    prune.global_unstructured(layers, prune.L1Unstructured, amount=0.83)
    theirs = dict(other.named_buffers())
    assert all(torch.equal(mask, theirs[f"{name}_mask"].bool()) for name, mask in masks.items())


def test_global_and_uniform_agree_on_a_single_layer() -> None:
    model = nn.Linear(30, 20)
    expected = magnitude_masks(model, sparsity=0.63)
    assert magnitude_masks(model, sparsity=0.63, allocation="uniform") == expected
    assert magnitude_masks(model, sparsity=0.63, allocation="erk") == expected
    assert magnitude_masks(model, sparsity=0.63, allocation="lamp") == expected


def test_lamp_masks_are_the_global_ranking_of_lamp_scores_and_ignore_layer_scale() -> None:
    model = small_network()
    masks = magnitude_masks(model, sparsity=0.9, allocation="lamp")
    scores = {name: lamp_scores(weight) for name, weight in prunable_parameters(model).items()}
    cut = torch.cat([s.flatten() for s in scores.values()]).sort().values[masks.num_pruned]
    assert all(torch.equal(mask, scores[name] >= cut) for name, mask in masks.items())
    with torch.no_grad():
        model[0].weight.mul_(1000)
    assert magnitude_masks(model, sparsity=0.9, allocation="lamp") == masks


def test_uniform_plus_leaves_the_first_convolution_dense_and_the_last_layer_a_fifth() -> None:
    masks = magnitude_masks(small_network(), sparsity=0.85, allocation="uniform+")
    assert pruned(masks)["0.weight"] == 0
    assert pruned(masks)["5.weight"] == 256  # 80 % of 320


@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_masks_are_nested_as_sparsity_grows(allocation: str) -> None:
    model = small_network()
    previous = None
    for sparsity in (0.2, 0.201, 0.5, 0.8):
        masks = magnitude_masks(model, sparsity=sparsity, allocation=allocation, previous=previous)
        assert masks.num_pruned == round(sparsity * masks.num_weights)
        if previous is not None:
            assert masks.is_subset_of(previous)
        previous = masks


@pytest.mark.parametrize("allocation", ["global", "uniform", "erk", "lamp", "random"])
def test_cycles_without_retraining_compose_to_the_one_shot_masks(allocation: str) -> None:
    model = small_network()
    one_shot = magnitude_masks(model, sparsity=0.9, allocation=allocation)
    counts = cumulative_counts(one_shot.num_weights, 0.9, 3)
    masks = None
    for count in counts:
        masks = magnitude_masks(model, sparsity=count / one_shot.num_weights, allocation=allocation, previous=masks)
        assert masks.num_pruned == count
    assert masks is not None
    assert masks.num_pruned == one_shot.num_pruned
    if allocation != "lamp":  # LAMP ranks what is left anew in every cycle, but see below
        assert masks == one_shot


def test_pruned_weights_stay_pruned_though_they_have_grown() -> None:
    model = small_network()
    previous = magnitude_masks(model, sparsity=0.5)
    with torch.no_grad():
        for name, weight in prunable_parameters(model).items():
            weight[~previous[name]] = 100.0
    for allocation in ALLOCATIONS:
        start = magnitude_masks(small_network(), sparsity=0.5, allocation=allocation)
        assert magnitude_masks(model, sparsity=0.6, allocation=allocation, previous=start).is_subset_of(start)


def test_lamp_scores_leave_out_what_was_pruned() -> None:
    model = small_network()
    previous = magnitude_masks(model, sparsity=0.5, allocation="lamp")
    expected = magnitude_masks(model, sparsity=0.6, allocation="lamp", previous=previous)
    with torch.no_grad():
        model[2].weight[~previous["2.weight"]] = 100.0
    assert magnitude_masks(model, sparsity=0.6, allocation="lamp", previous=previous) == expected


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_reach_the_exact_count_though_thousands_tie(dtype: torch.dtype) -> None:
    model = nn.Linear(1000, 700)
    nn.init.normal_(model.weight)
    model = model.to(dtype)
    masks = magnitude_masks(model, sparsity=0.9)
    assert masks.num_pruned == 630_000
    cut = model.weight[~masks["weight"]].abs().max()
    ties = (model.weight.abs() == cut).flatten()
    kept = masks["weight"].flatten()[ties]
    assert 0 < kept.sum() < kept.numel()
    assert kept.int().diff().min() >= 0  # the earlier ties are pruned, the later ones kept


def test_random_masks_follow_the_seed_and_not_the_weights() -> None:
    masks = magnitude_masks(small_network(0), sparsity=0.5, allocation="random")
    assert magnitude_masks(small_network(1), sparsity=0.5, allocation="random") == masks
    assert magnitude_masks(small_network(0), sparsity=0.5, allocation="random", seed=1) != masks


def test_a_mapping_sets_the_sparsity_of_each_layer() -> None:
    masks = magnitude_masks(small_network(), allocation={"2": 0.5, "*": 0.25}, exclude="5")
    assert pruned(masks) == {"0.weight": 54, "2.weight": 576, "4.weight": 128}
    denser = magnitude_masks(small_network(), allocation={"2": 0.75}, exclude="5")
    assert pruned(denser) == {"0.weight": 0, "2.weight": 864, "4.weight": 0}
    with pytest.raises(InputError, match=r"more weights than the allocation gives to 0\.weight \(54, now 0\)"):
        magnitude_masks(small_network(), allocation={"2": 0.75}, exclude="5", previous=masks)


def test_patterns_and_layer_types_choose_the_parameters() -> None:
    model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 6), nn.Linear(6, 2))
    assert list(magnitude_masks(model, sparsity=0.5, include="1")) == ["1.weight"]
    assert list(magnitude_masks(model, sparsity=0.5, exclude="2")) == ["1.weight"]
    assert list(magnitude_masks(model, sparsity=0.5, layer_types=[nn.Embedding])) == ["0.weight"]


def test_tied_weights_count_once() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6))
    model[2].weight = model[0].weight
    masks = magnitude_masks(model, sparsity=0.5)
    assert (list(masks), masks.num_weights, masks.num_pruned) == (["0.weight", "1.weight"], 72, 36)


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own modules, when first imported
@pytest.mark.parametrize("allocation", ["global", "lamp", "random", "erk"])
def test_weights_sharded_over_processes_give_the_masks_of_the_whole_weights(one_process: None, allocation: str) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    model = small_network()
    expected = magnitude_masks(model, sparsity=0.8, allocation=allocation)
    mesh = init_device_mesh("cpu", (1,))
    for layer in model:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.weight = nn.Parameter(distribute_tensor(layer.weight.detach(), mesh, [Shard(0)]))
    assert magnitude_masks(model, sparsity=0.8, allocation=allocation) == expected


def test_the_model_is_not_touched() -> None:
    model = small_network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    magnitude_masks(model, sparsity=0.9, allocation="lamp")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_short_name_gives_masks_that_fit_the_model() -> None:
    model = small_network()
    masks = pt.magnitude_masks(model, sparsity=0.9, allocation="global")
    assert isinstance(masks, Masks)
    masks.apply_(model)
    assert sum(int((p == 0).sum()) for p in prunable_parameters(model).values()) == masks.num_pruned


def test_bad_requests_are_refused() -> None:
    model = small_network()
    with pytest.raises(InputError, match=r"got 90\. For 90 % removed pass 0\.9"):
        magnitude_masks(model, sparsity=90)
    with pytest.raises(InputError, match=r"'global' needs a sparsity"):
        magnitude_masks(model)
    with pytest.raises(InputError, match=r"unknown allocation 'uniform_plus'; .* global, uniform, uniform\+"):
        magnitude_masks(model, sparsity=0.5, allocation="uniform_plus")
    with pytest.raises(InputError, match=r"sparsity=0\.5 has no meaning"):
        magnitude_masks(model, sparsity=0.5, allocation={"*": 0.5})
    with pytest.raises(InputError, match=r"sparsity=0\.99 of 4 weights rounds to all of them"):
        magnitude_masks(nn.Linear(2, 2), sparsity=0.99)
    with pytest.raises(InputError, match=r"0 convolutions and 1 linear layers"):
        magnitude_masks(nn.Linear(9, 9), sparsity=0.5, allocation="uniform+")
    sparser = magnitude_masks(model, sparsity=0.6)
    with pytest.raises(InputError, match="never revived"):
        magnitude_masks(model, sparsity=0.5, previous=sparser)
    with pytest.raises(InputError, match=r"cover 5\.weight, which are not ranked now"):
        magnitude_masks(model, sparsity=0.7, previous=sparser, exclude="5")


@pytest.mark.parametrize("allocation", [*ALLOCATIONS, {"*": 0.5}])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused(allocation: str | dict[str, float], bad: float) -> None:
    model = small_network()
    with torch.no_grad():
        model[4].weight[0, :3] = bad
    sparsity = 0.5 if isinstance(allocation, str) else None
    with pytest.raises(InputError, match=r"4\.weight: 3 of 512 values are NaN or infinite"):
        magnitude_masks(model, sparsity=sparsity, allocation=allocation)
