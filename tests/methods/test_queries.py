"""What the grid answers: on a handful of made-up cards by enumeration, on the real catalogue by what is known of it."""

from collections import Counter
from itertools import combinations

import pytest

from paretorch.errors import InputError
from paretorch.methods import queries
from paretorch.methods.card import Card
from paretorch.methods.catalogue import all_cards, cards
from paretorch.methods.taxonomy import CELLS, RESOURCES


def made(name: str, cells, *, phase=("dense_train",), relieves=(), worsens=(), ships=False, conflicts=()) -> Card:
    return Card(
        id=name, title=name, summary="s.", year=2000, references=("A, 2000",), cells=tuple(cells), phase=phase,
        relieves=relieves, worsens=worsens, implemented=ships, conflicts=conflicts,
        invariants=("i",) if ships else (), cost_model=(lambda *_: {}) if ships else None,
        semantic_class="semantic" if cells else "math_equivalent",
    )  # fmt: skip


PRUNE, SHRINK, AUGMENT = ("parameters", "remove"), ("architecture", "remove"), ("training data", "retrofit")
SMALL = (
    made("a", [PRUNE], phase=("prune",), relieves=("inference size",), ships=True),
    made("b", [PRUNE, SHRINK], phase=("prune", "init"), relieves=("compute",), worsens=("memory capacity",)),
    made("c", [PRUNE], phase=("init",), relieves=("compute",)),
    made("d", [AUGMENT], relieves=("steps to target",), worsens=("compute", "data loading")),
    made("e", [], relieves=("memory capacity",), conflicts=("a",)),
    made("f", [("objective", "retrofit")]),
)


def test_the_grid_puts_every_card_into_each_of_its_cells_and_only_there():
    grid = queries.grid(reversed(SMALL))
    assert list(grid) == list(CELLS)
    for cell, found in grid.items():
        assert [card.id for card in found] == [card.id for card in SMALL if cell in card.cells]
    assert [card.id for card in queries.in_cell(SMALL, PRUNE)] == ["a", "b", "c"]
    with pytest.raises(KeyError):
        queries.in_cell(SMALL, ("parameters", "shrink"))


def test_a_gap_of_the_field_is_no_gap_of_the_package():
    gaps, missing = queries.field_gaps(SMALL), queries.not_built(SMALL)
    assert set(missing) == {SHRINK, AUGMENT, ("objective", "retrofit")}
    assert set(gaps) == set(CELLS) - set(missing) - {PRUNE}
    assert queries.field_gaps([]) == CELLS
    assert queries.not_built([]) == ()


def test_what_relieves_a_resource_may_be_asked_not_to_spend_another():
    assert [card.id for card in queries.relieving(SMALL, "compute")] == ["b", "c"]
    assert [card.id for card in queries.relieving(SMALL, "compute", without_worsening=["memory capacity"])] == ["c"]
    assert queries.relieving(SMALL, "communication") == ()


def test_pairs_of_one_cell_and_one_phase_are_likely_redundant():
    assert queries.redundant_pairs(SMALL) == (("a", "b"), ("b", "c"))


def test_pairs_that_relieve_different_resources_elsewhere_likely_multiply():
    """a, b and c share a cell, e excludes a, and f relieves nothing."""
    assert queries.multiplicative_pairs(SMALL) == (
        ("a", "d"), ("b", "d"), ("b", "e"), ("c", "d"), ("c", "e"), ("d", "e"),
    )  # fmt: skip
    same = (made("x", [PRUNE], relieves=("compute",)), made("y", [SHRINK], relieves=("compute", "inference size")))
    assert queries.multiplicative_pairs(same) == ()
    assert queries.multiplicative_pairs(reversed(SMALL)) == queries.multiplicative_pairs(SMALL)


def test_tried_counts_each_record_once_per_method_and_lays_it_on_the_grid():
    known = {card.id: card for card in SMALL}
    found = queries.tried([["a", "a", "b"], ["b"], [], ["e"]], known)
    assert found[PRUNE] == Counter(a=1, b=2)
    assert found[SHRINK] == Counter(b=2)
    assert sum(count for cell in found.values() for count in cell.values()) == 5
    assert list(found) == list(CELLS)
    with pytest.raises(InputError, match="unknown method 'z'"):
        queries.tried([["z"]], known)


def test_tried_names_the_nearest_method_of_the_real_catalogue():
    found = queries.tried([["magnitude", "masks", "allr"], ["magnitude", "llr"]], all_cards())
    assert found["parameters", "remove"] == Counter(magnitude=2)
    assert found["algorithm", "replace"] == Counter(allr=1, llr=1)
    with pytest.raises(InputError, match="unknown method 'magnitudes'; did you mean 'magnitude'"):
        queries.tried([["magnitudes"]], cards())


def test_the_field_has_no_empty_cell_and_the_package_has():
    everything = all_cards().values()
    assert queries.field_gaps(everything) == ()
    assert ("training data", "remove") in queries.not_built(everything)
    assert ("parameters", "remove") not in queries.not_built(everything)
    assert queries.not_built(cards().values()) == ()


def test_every_resource_is_relieved_by_a_method_and_every_bottleneck_of_compute_and_memory_worsened_by_one():
    everything = all_cards().values()
    for resource in RESOURCES:
        assert queries.relieving(everything, resource), resource
    for resource in ("compute", "memory capacity", "memory bandwidth", "communication", "data loading"):
        assert any(resource in card.worsens for card in everything), resource


def test_data_loading_is_relieved_by_data_filtering_and_not_by_augmentation_on_the_host():
    found = {card.id for card in queries.relieving(all_cards().values(), "data loading")}
    assert {"infobatch", "deduplication", "data-echoing"} <= found
    assert not found & {"randaugment", "mixup", "magnitude"}
    spending = {card.id for card in queries.relieving(all_cards().values(), "steps to target")}
    sparing = {
        card.id
        for card in queries.relieving(all_cards().values(), "steps to target", without_worsening=["data loading"])
    }
    assert spending - sparing == {"augmix", "randaugment"}


def test_the_measured_interactions_are_on_the_right_side():
    """In public curves blurpool and channels-last multiply (log-interaction -.01); label smoothing and mixup do not."""
    likely = set(queries.multiplicative_pairs(all_cards().values()))
    assert ("blurpool", "channels-last") in likely
    assert ("label-smoothing", "mixup") not in likely


def test_the_six_retraining_schedules_are_pairwise_redundant_and_none_multiplies_another():
    names = ("allr", "clr", "ft", "llr", "lrw", "slr")
    everything = cards().values()
    assert set(combinations(names, 2)) <= set(queries.redundant_pairs(everything))
    assert not set(combinations(names, 2)) & set(queries.multiplicative_pairs(everything))
    assert ("allr", "magnitude") in queries.multiplicative_pairs(everything)
