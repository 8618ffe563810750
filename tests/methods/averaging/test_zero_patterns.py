"""Candidates that were pruned differently are refused by name; those that were pruned alike keep their sparsity."""

import pytest
import torch
from torch import Tensor

from paretorch.errors import InputError
from paretorch.methods.averaging.candidates import Candidate
from paretorch.methods.averaging.streaming import average_state_dicts
from paretorch.methods.averaging.zero_patterns import common_masks
from paretorch.methods.sparsity.magnitude import magnitude_masks
from paretorch.methods.sparsity.masks import Masks
from tests.methods.averaging.states import candidates, network


def pruned(seed: int, masks: Masks | None) -> dict[str, Tensor]:
    model = network(seed)
    if masks is not None:
        masks.apply_(model)
    return model.state_dict()


def masks_of(seed: int, sparsity: float = 0.5) -> Masks:
    return magnitude_masks(network(seed), sparsity=sparsity)


def candidate(name: str, seed: int, masks: Masks | None) -> Candidate:
    return Candidate(name, lambda: pruned(seed, masks), masks)


def test_the_average_of_copies_with_one_mask_has_that_mask() -> None:
    masks = masks_of(0)
    average = average_state_dicts([candidate(f"{seed}", seed, masks) for seed in range(3)])
    for name, mask in masks.items():
        assert torch.equal(average[name] != 0, mask)
    bare = average_state_dicts(candidates([pruned(seed, masks) for seed in range(3)]))
    assert all(torch.equal(bare[name], average[name]) for name in average)


def test_differing_masks_are_refused_by_the_name_of_the_candidate_and_the_number_of_entries() -> None:
    masks, other = masks_of(0), masks_of(1)
    entries = sum(int((masks[name] != other[name]).sum()) for name in masks)
    with pytest.raises(InputError, match=rf"candidate 'c' has other masks than 'a' \({entries} entries, first in"):
        average_state_dicts([candidate("a", 0, masks), candidate("b", 1, masks), candidate("c", 2, other)])


def test_masks_of_other_parameters_are_refused_by_the_name_of_the_candidate() -> None:
    masks = masks_of(0)
    fewer = Masks({"3.weight": masks["3.weight"]})
    with pytest.raises(InputError, match=r"candidate 'b' has other masks .*one side only: \['0\.weight'\]"):
        average_state_dicts([candidate("a", 0, masks), candidate("b", 0, fewer)])


def test_a_candidate_without_masks_among_candidates_with_masks_is_named() -> None:
    for first, second in ((masks_of(0), None), (None, masks_of(0))):
        bare = "b" if second is None else "a"
        with pytest.raises(InputError, match=f"candidate '{bare}' comes without masks"):
            average_state_dicts([candidate("a", 0, first), candidate("b", 1, second)])


def test_a_revived_weight_is_counted_and_its_candidate_named() -> None:
    masks = masks_of(0)
    revived = pruned(1, masks)
    place = (~masks["3.weight"]).nonzero()[:2]
    for row, col in place.tolist():
        revived["3.weight"][row, col] = 1e-30
    with pytest.raises(InputError, match=r"candidate 'b' is not zero in 2 entries of '3\.weight' that its masks prune"):
        average_state_dicts([candidate("a", 0, masks), Candidate("b", lambda: revived, masks)])


def test_masks_that_do_not_fit_the_weights_are_refused() -> None:
    for masks in (
        Masks({"gone.weight": torch.ones(2, 2, dtype=torch.bool)}),
        Masks({"3.weight": torch.ones(2, 2, dtype=torch.bool)}),
        Masks({"1.num_batches_tracked": torch.ones((), dtype=torch.bool)}),
    ):
        with pytest.raises(InputError, match="the masks of candidate 'a' do not fit its weights"):
            average_state_dicts([Candidate("a", lambda: pruned(0, None), masks)])


def test_files_without_masks_are_judged_by_their_zeros() -> None:
    states = [pruned(0, masks_of(0, 0.9)), pruned(1, masks_of(0, 0.9)), pruned(2, masks_of(2, 0.9))]
    average_state_dicts(candidates(states[:2]))
    differing = sum(int((masks_of(0, 0.9)[name] != masks_of(2, 0.9)[name]).sum()) for name in masks_of(0))
    words = rf"candidate 'copy-2' has its zeros elsewhere than 'copy-0', in {differing} of 102 matrix entries"
    with pytest.raises(InputError, match=words):
        average_state_dicts(candidates(states))


def test_a_pruned_and_a_dense_candidate_are_refused() -> None:
    states = [pruned(0, None), pruned(1, masks_of(1))]
    with pytest.raises(InputError, match="candidate 'copy-1' has its zeros elsewhere than 'copy-0', in 51 of 102"):
        average_state_dicts(candidates(states))


def test_one_zero_by_chance_and_zero_biases_are_no_pruning() -> None:
    states = [{"w": torch.randn(20, 10), "b": torch.zeros(10)}, {"w": torch.randn(20, 10), "b": torch.randn(10)}]
    states[0]["w"][3, 4] = states[1]["w"][5, 6] = 0.0
    average = average_state_dicts(candidates(states))
    assert average["w"][3, 4] == states[1]["w"][3, 4] / 2
    states[1]["w"][8, 8] = 0.0  # three of 200 are more than one per cent
    with pytest.raises(InputError, match=r"candidate 'copy-1' has its zeros elsewhere .* 3 of 200"):
        average_state_dicts(candidates(states))


def test_dense_masks_say_that_zeros_mean_nothing() -> None:
    states = [pruned(0, None), pruned(1, masks_of(1))]
    average = average_state_dicts(candidates(states, masks=Masks.dense(network(0))))
    assert average["3.weight"].ne(0).all()


def test_common_masks_are_those_of_every_candidate() -> None:
    masks = masks_of(0)
    assert common_masks([candidate("a", 0, masks), candidate("b", 1, masks)]) == masks
    assert common_masks([candidate("a", 0, None)]) is None
