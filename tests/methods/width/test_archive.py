"""The archive: no entry beats another, in whatever order they came, and queries within budgets."""

import json
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretorch.errors import InputError
from paretorch.methods.width.archive import Archive, Entry

KEYS = ("params", "macs")


def entry(params: float, macs: float, loss: float, profile: tuple[int, ...] = (1,)) -> Entry:
    return Entry(
        profile=profile,
        footprint={"params": params, "macs": macs, "activations": 7},
        loss=loss,
        source="trace",
        seed=0,
        reestimated=True,
    )


small = st.integers(0, 4)
entries = st.lists(st.builds(entry, small, small, small.map(float), st.tuples(st.integers(1, 3))), max_size=12)


def beats(first: Entry, second: Entry) -> bool:
    """Dominance written down a second time."""
    a = [first.footprint["params"], first.footprint["macs"], first.loss]
    b = [second.footprint["params"], second.footprint["macs"], second.loss]
    no_worse = all(a[i] <= b[i] for i in range(3))
    return no_worse and any(a[i] < b[i] for i in range(3))


@given(entries, st.randoms(use_true_random=False))
def test_holds_exactly_the_entries_that_no_other_beats_in_any_order_of_insertion(
    given_entries: list[Entry], shuffler: random.Random
) -> None:
    expected = [e for e in given_entries if not any(beats(other, e) for other in given_entries)]
    archive = Archive(KEYS).with_entries(given_entries)
    again = given_entries.copy()
    shuffler.shuffle(again)
    assert list(archive) == list(Archive(KEYS).with_entries(again))
    assert all(e in expected for e in archive)
    assert all(e in list(archive) for e in expected)
    assert len(archive) == len({json.dumps(e.to_dict(), sort_keys=True) for e in expected})
    assert not any(beats(a, b) for a in archive for b in archive)


@given(entries)
def test_survives_json(given_entries: list[Entry]) -> None:
    archive = Archive(KEYS).with_entries(given_entries)
    again = Archive.from_dict(json.loads(json.dumps(archive.to_dict())))
    assert list(again) == list(archive)
    assert again.keys == archive.keys


@given(entries, small, small)
def test_best_within_budgets_is_the_brute_force_choice(given_entries: list[Entry], params: int, macs: int) -> None:
    archive = Archive(KEYS).with_entries(given_entries)
    fits = [e.loss for e in given_entries if e.footprint["params"] <= params and e.footprint["macs"] <= macs]
    if fits:
        found = archive.best({"params": params, "macs": macs})
        assert found.loss == min(fits)
        assert found.footprint["params"] <= params
        assert found.footprint["macs"] <= macs
    else:
        with pytest.raises(InputError, match="Raise the budget"):
            archive.best({"params": params, "macs": macs})


def test_says_whether_an_entry_was_added_and_drops_what_it_beats() -> None:
    archive = Archive(KEYS)
    assert archive.insert(entry(4, 4, 1.0))
    assert not archive.insert(entry(4, 4, 1.0))  # there already
    assert archive.insert(entry(4, 4, 1.0, profile=(2,)))  # equally good, another profile
    assert not archive.insert(entry(4, 5, 1.0))
    assert archive.insert(entry(3, 5, 1.0))  # traded
    assert archive.insert(entry(3, 4, 1.0, profile=(3,)))  # beats all of them
    assert [e.profile for e in archive] == [(3,)]


def test_a_budget_that_nothing_meets_says_the_smallest_that_is_reachable() -> None:
    archive = Archive(KEYS).with_entries([entry(10, 90, 1.0), entry(20, 80, 0.5)])
    with pytest.raises(InputError, match=r"within \{'params': 9\}: the smallest of its 2 entries reach params 10"):
        archive.best({"params": 9})
    with pytest.raises(InputError, match="it is empty"):
        Archive(KEYS).best({"params": 9})
    assert archive.best({"macs": 85}).loss == 0.5
    assert archive.best({}).loss == 0.5


def test_predictions_decide_nothing() -> None:
    better = replace(entry(3, 3, 1.0), predicted=9.0)
    worse = replace(entry(3, 3, 2.0), predicted=0.1)
    assert list(Archive(KEYS).with_entries([worse, better])) == [better]


def test_refuses_what_cannot_be_compared() -> None:
    with pytest.raises(InputError, match="no footprint 'latency_s'"):
        Archive(["latency_s"]).insert(entry(1, 1, 1.0))
    with pytest.raises(InputError, match="measured otherwise"):
        Archive(KEYS).with_entries([entry(1, 1, 1.0), replace(entry(2, 2, 0.5), reestimated=False)])
    with pytest.raises(InputError, match="and not by 'activations'"):
        Archive(KEYS).best({"activations": 1})
    with pytest.raises(InputError, match="at least one footprint, each once"):
        Archive(["params", "params"])
    with pytest.raises(InputError, match=r"measured loss of profile \(1,\) is nan"):
        entry(1, 1, float("nan"))
    with pytest.raises(InputError, match=r"footprint 'params' of profile \(1,\) is -1"):
        entry(-1, 1, 1.0)
