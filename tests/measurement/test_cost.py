import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretorch.measurement.cost import Cost, macs_reduction, speedup
from paretorch.measurement.latency import Latency

LATENCY = Latency(
    batch=1,
    p10_s=0.01,
    p50_s=0.011,
    p90_s=0.012,
    mean_s=0.011,
    n=50,
    threads=1,
    cpu_per_wall=0.99,
    quiet=True,
    reason=None,
    kernel_path="eager",
    precision="float32",
)
counts = st.none() | st.integers(0, 10**15)
amounts = st.none() | st.floats(0, 1e12)


@st.composite
def costs(draw: st.DrawFn) -> Cost:
    values: dict[str, Any] = {field.name: draw(counts) for field in fields(Cost) if field.type == int | None}
    for part, whole in (("nonzeros", "params"), ("macs_nonzero", "macs_dense")):
        if values[part] is not None and values[whole] is not None:
            values[part] = min(values[part], values[whole])
    seconds, path = draw(amounts), draw(amounts)
    if seconds is not None and path is not None:
        path = min(path, seconds)
    latency = draw(st.lists(st.builds(replace, st.just(LATENCY), batch=st.integers(1, 64)), max_size=3))
    uncounted = draw(st.lists(st.text(), max_size=2))
    return Cost(
        **values,
        seconds=seconds,
        longest_path_s=path,
        energy_j=draw(amounts),
        latency=tuple(latency),
        uncounted=tuple(uncounted),
    )


def test_everything_unknown_is_none_and_never_zero() -> None:
    cost = Cost()
    assert all(getattr(cost, field.name) in (None, ()) for field in fields(cost))
    assert cost.total_bytes is None
    assert cost.bits_per_param is None


@given(costs())
def test_a_cost_survives_json_unchanged(cost: Cost) -> None:
    assert Cost.from_dict(json.loads(json.dumps(cost.to_dict(), allow_nan=False))) == cost


def test_a_misspelt_key_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(ValueError, match=r"Cost has no field 'macs_dens'; did you mean 'macs_dense'\?"):
        Cost.from_dict({"macs_dens": 3})
    with pytest.raises(ValueError, match=r"Latency has no field 'p95_s'; did you mean 'p9?1?0_s'"):
        Cost.from_dict({"latency": [{**LATENCY.__dict__, "p95_s": 1.0}]})
    with pytest.raises(ValueError, match="Cost has no field 'zzz'; known keys are params, nonzeros"):
        Cost.from_dict({"zzz": 1})


def test_an_incomplete_latency_is_refused() -> None:
    with pytest.raises(ValueError, match=r"latency entry is incomplete: .*'p10_s'"):
        Cost.from_dict({"latency": [{"batch": 1}]})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"params": -1}, r"Cost\.params must be None or a whole number of at least 0; got -1"),
        ({"steps": 1.5}, r"Cost\.steps must be None or a whole number of at least 0; got 1\.5"),
        ({"samples": True}, r"Cost\.samples .* got True"),
        ({"seconds": float("nan")}, r"Cost\.seconds must be None or a finite number of at least 0; got nan"),
        ({"energy_j": -2.0}, r"Cost\.energy_j .* got -2\.0"),
        ({"params": 3, "nonzeros": 4}, r"Cost\.nonzeros \(4\) cannot exceed Cost\.params \(3\)"),
        ({"macs_dense": 3, "macs_nonzero": 4}, r"Cost\.macs_nonzero \(4\) cannot exceed"),
        ({"teacher_samples": -1}, r"Cost\.teacher_samples must be None or a whole number"),
        ({"longest_path_s": float("inf")}, r"Cost\.longest_path_s must be None or a finite number"),
        (
            {"seconds": 2.0, "longest_path_s": 2.5},
            r"Cost\.longest_path_s \(2\.5\) cannot exceed Cost\.seconds \(2\.0\)",
        ),
    ],
)
def test_impossible_costs_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Cost(**values)


def test_bytes_are_payload_and_metadata_together() -> None:
    cost = Cost(params=16, payload_bytes=4, metadata_bytes=2)
    assert cost.total_bytes == 6
    assert cost.bits_per_param == 3.0
    assert Cost(payload_bytes=4).total_bytes is None


def test_training_of_two_phases_adds_up_and_the_model_stays() -> None:
    first = Cost(params=9, training_flops=5, samples=1, steps=2, seconds=1.5, energy_j=1.0, peak_bytes=7)
    second = Cost(params=3, training_flops=7, samples=10, steps=20, seconds=2.0, peak_bytes=4, communication_bytes=1)
    total = second.plus_training(first)
    assert (total.training_flops, total.samples, total.steps, total.seconds) == (12, 11, 22, 3.5)
    assert total.peak_bytes == 7
    assert total.params == 3
    assert total.energy_j is None  # unknown plus known is unknown
    assert total.communication_bytes is None


def test_phases_that_follow_one_another_add_up_their_longest_paths_and_teacher_passes() -> None:
    soup = Cost(seconds=12.0, longest_path_s=4.0, teacher_samples=30)
    dense = Cost(seconds=5.0, longest_path_s=5.0, teacher_samples=0)
    total = dense.plus_training(soup)
    assert (total.seconds, total.longest_path_s, total.teacher_samples) == (17.0, 9.0, 30)
    before = Cost(seconds=5.0)  # as written before there were these fields
    assert before.plus_training(soup).longest_path_s is None
    assert before.plus_training(soup).teacher_samples is None


def test_a_cost_of_an_older_file_is_read_and_what_it_does_not_say_is_unknown() -> None:
    older = {"params": 3, "samples": 10, "steps": 2, "seconds": 1.5, "latency": [], "uncounted": []}
    read = Cost.from_dict(older)
    assert (read.seconds, read.longest_path_s, read.teacher_samples) == (1.5, None, None)


@given(costs(), costs())
def test_the_order_of_phases_does_not_change_the_training_total(a: Cost, b: Cost) -> None:
    one, other = a.plus_training(b), b.plus_training(a)
    summed = ("training_flops", "samples", "teacher_samples", "steps", "seconds", "longest_path_s", "energy_j")
    for name in (*summed, "peak_bytes", "communication_bytes"):
        assert getattr(one, name) == getattr(other, name)


def test_zeros_reduce_macs_and_say_nothing_about_time() -> None:
    dense = Cost(macs_dense=1000, macs_nonzero=1000, latency=(LATENCY,))
    masked = Cost(macs_dense=1000, macs_nonzero=100, latency=(LATENCY,))
    assert macs_reduction(dense, masked) == 10.0
    assert speedup(dense, masked).value == 1.0


def test_a_cut_model_is_compared_with_the_dense_macs_of_the_baseline() -> None:
    assert macs_reduction(Cost(macs_dense=1000, macs_nonzero=700), Cost(macs_dense=250, macs_nonzero=200)) == 5.0


def test_incomplete_counts_are_not_divided() -> None:
    full = Cost(macs_dense=10, macs_nonzero=10)
    with pytest.raises(ValueError, match=r"the candidate's MACs are incomplete.*aten\._cdist_forward"):
        macs_reduction(full, replace(full, uncounted=("aten._cdist_forward in head, 1 call(s): no formula",)))
    with pytest.raises(ValueError, match=r"candidate\.macs_nonzero=0"):
        macs_reduction(full, Cost(macs_dense=10, macs_nonzero=0))
    with pytest.raises(ValueError, match=r"baseline\.macs_dense=None"):
        macs_reduction(Cost(), full)


def test_speedup_is_baseline_over_candidate_at_the_batch_size_asked_for() -> None:
    slow = Cost(latency=(LATENCY, replace(LATENCY, batch=8, p10_s=0.09)))
    fast = Cost(latency=(replace(LATENCY, p10_s=0.005), replace(LATENCY, batch=8, p10_s=0.03)))
    assert speedup(slow, fast).value == 2.0
    assert speedup(slow, fast, batch=8).value == pytest.approx(3.0)
    assert speedup(slow, fast).coverage == 0.0


def test_a_speedup_from_a_noisy_timing_is_given_but_not_certified() -> None:
    noisy = Cost(latency=(replace(LATENCY, quiet=False, reason="not certified: the mean call took ..."),))
    result = speedup(Cost(latency=(LATENCY,)), noisy)
    assert result.value == 1.0
    assert not result.quiet
    assert result.reason == "candidate: not certified: the mean call took ..."


def test_latencies_that_differ_in_more_than_the_model_are_not_divided() -> None:
    one = Cost(latency=(LATENCY,))
    with pytest.raises(ValueError, match="equal threads; got 1 and 2"):
        speedup(one, Cost(latency=(replace(LATENCY, threads=2),)))
    with pytest.raises(ValueError, match="equal device; got 'cpu' and 'gpu'"):
        speedup(one, Cost(latency=(replace(LATENCY, device="gpu"),)))
    with pytest.raises(ValueError, match="the candidate has 0 latencies at batch size 1"):
        speedup(one, Cost())
    with pytest.raises(ValueError, match="the baseline has 2 latencies at batch size 1"):
        speedup(Cost(latency=(LATENCY, LATENCY)), one)
