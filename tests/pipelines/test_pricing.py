"""What training costs in all, and the longest chain of phases that wait for one another, from ledgers made by hand."""

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from paretorch.measurement.cost import Cost
from paretorch.pipelines.pricing import longest_path_s, price
from paretorch.pipelines.sms import SMS
from tests.pipelines.sms_problem import start
from tests.pipelines.sms_problem import trainer as small_trainer


def trained(phase, seconds, *, samples=100, **others):
    return {"phase": phase, "steps": 10, "epochs": 1.0, "samples": samples, "seconds": seconds, **others}


def soup():
    """Dense training, two cycles of three copies, a merge each, one tuning trial and a line that took no time."""
    copies = {0: (4.0, 6.0, 5.0), 1: (8.0, 7.0, 2.0)}
    ledger = [trained("dense", 20.0), trained("trial-lr-0.1", 3.0, kind="trial", teacher_samples=7)]
    for cycle, times in copies.items():
        ledger.append({"phase": f"prune-{cycle}", "kind": "prune", "seconds": 0.5})
        for position, seconds in enumerate(times):
            name = f"retrain-{cycle}-copy-{position}"
            ledger.append(trained(name, seconds, copy=position, beside=f"cycle-{cycle}", teacher_samples=100))
        ledger.append({"phase": f"soup-{cycle}", "kind": "soup", "seconds": 0.25, "wall_s": 99.0, "workers": 3})
    return [*ledger, {"phase": "measure", "kind": "measure", "speedups": []}]


def test_a_soup_waits_for_the_slowest_copy_of_each_cycle_and_for_everything_else():
    assert longest_path_s(soup()) == 20 + 3 + (0.5 + 6 + 0.25) + (0.5 + 8 + 0.25)


def test_the_price_charges_every_copy_every_trial_and_every_pass_through_a_teacher():
    cost = price(nn.Linear(3, 2), soup(), (torch.randn(1, 3),), latency=False)
    assert cost.seconds == 20 + 3 + 15 + 17 + 2 * 0.75
    assert cost.longest_path_s == 38.5
    assert cost.samples == 800
    assert cost.steps == 80
    assert cost.teacher_samples == 607
    assert Cost.from_dict(cost.to_dict()) == cost


def test_without_copies_the_longest_path_is_all_of_the_training_to_the_bit():
    ledger = [trained(f"phase-{i}", 0.1 * i) for i in range(12)]
    cost = price(nn.Linear(3, 2), ledger, (torch.randn(1, 3),), latency=False)
    assert cost.longest_path_s == cost.seconds
    assert cost.teacher_samples == 0
    alone = [line | {"beside": f"cycle-{i}"} for i, line in enumerate(ledger)]
    assert longest_path_s(alone) == cost.seconds  # a soup of one copy is a chain


def test_whole_runs_side_by_side_wait_for_the_slowest_only():
    runs = [trained(f"run-{i}", seconds, beside="runs") for i, seconds in enumerate((9.0, 12.0, 10.0))]
    assert longest_path_s([trained("dense", 20.0), *runs, {"phase": "average", "seconds": 1.0}]) == 33.0


def test_the_ledger_of_a_real_soup_lacks_all_but_the_slowest_copy_of_each_cycle():
    entries = SMS(sparsity=0.7, epochs=1, cycles=2, copies=3, guard=False).run_from(small_trainer(), start()).entries
    copies = [[e["seconds"] for e in entries if e["phase"].startswith(f"retrain-{j}-copy")] for j in (0, 1)]
    whole = sum(entry.get("seconds", 0.0) for entry in entries)
    assert [len(found) for found in copies] == [3, 3]
    saved = sum(sum(found) - max(found) for found in copies)
    assert saved > 0
    assert longest_path_s(entries) == pytest.approx(whole - saved, rel=1e-12)


groups = st.none() | st.sampled_from(["cycle-0", "cycle-1", "runs"])
ledgers = st.lists(st.tuples(st.floats(0, 1e6), groups), max_size=12)


@given(ledgers, st.randoms(use_true_random=False))
def test_the_longest_path_lies_between_the_longest_phase_and_the_sum_in_whatever_order(
    lines: list[tuple[float, str | None]], stream: random.Random
):
    ledger = [{"seconds": seconds} | ({} if group is None else {"beside": group}) for seconds, group in lines]
    path = longest_path_s(ledger)
    cost = price(nn.Linear(1, 1), ledger, (torch.randn(1, 1),), latency=False)
    assert max((seconds for seconds, _ in lines), default=0.0) <= path <= cost.seconds
    stream.shuffle(ledger)
    assert longest_path_s(ledger) == path
