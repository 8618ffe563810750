"""What a record says about each quantity, in one place; None where it says nothing.

Counted numbers (bytes, zeros, widths, MACs) come from the cost and from the ledger's lines of pruning and cutting;
training costs are summed over all phases, dense training and retraining included. The speed-up is read in one of two
ways:

- measured side by side: a ledger line holds "speedups", a list of {"batch", "value", "low", "high", "n", "coverage",
  "quiet", "reason"}, the `Ratio` of an interleaved comparison with the dense model (above 1 is faster);
  The entry may hold the same under "best_dense", with "path", against the machine's best way to run the dense model;
- else from two separate timings, dense and candidate of the same seed. Machines drift between timings by tens of per
  cent, so this one is shown and never certified.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paretorch.evidence.arms import Arm
from paretorch.evidence.records import RunRecord
from paretorch.evidence.statistics import Interval, mean_interval

RESOLUTION = 0.02  # code placement and caches alone move a time by a per cent or two
SEPARATE = "the dense and the pruned model were timed separately, not side by side"


def cost_field(record: RunRecord, name: str) -> float | None:
    """A number of the cost, e.g. "macs_nonzero"; None when unknown."""
    value = record.cost.get(name)
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def total_bytes(record: RunRecord) -> float | None:
    """Payload and metadata bytes together; None unless both are known."""
    payload, metadata = cost_field(record, "payload_bytes"), cost_field(record, "metadata_bytes")
    return None if payload is None or metadata is None else payload + metadata


def last_pruning(record: RunRecord) -> dict[str, object]:
    """The last ledger line that pruned; {} when nothing was pruned."""
    return next((line for line in reversed(record.phases) if "pruned" in line and "kept" in line), {})


def last_compression(record: RunRecord) -> dict[str, object]:
    """The last ledger line that pruned or cut; {} when nothing did."""
    return next((line for line in reversed(record.phases) if "pruned" in line or line.get("widths")), {})


def pruning_field(record: RunRecord, name: str) -> float | None:
    """A number of the last line that pruned or cut, e.g. "pruned" or "validation_raw"; None when unknown."""
    value = last_compression(record).get(name)
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def sparsity(record: RunRecord) -> float | None:
    """Fraction of the prunable weights that are zero, from exact counts; 0 for the dense baseline."""
    pruned, kept = pruning_field(record, "pruned"), pruning_field(record, "kept")
    if pruned is None or kept is None:
        return 0.0 if record.is_baseline else None
    return pruned / (pruned + kept)


def widths_of(record: RunRecord) -> list[dict[str, Any]]:
    """{"group", "width", "full"} of every width group, in the order of execution; [] for a model that was not cut."""
    return next((list(line["widths"]) for line in reversed(record.phases) if line.get("widths")), [])


def similarities_of(record: RunRecord) -> dict[str, dict[str, Any]]:
    """Group -> "layers" and "matrix" of their similarities, for layers that share templates; {} if there are none."""
    return next((dict(line["similarity"]) for line in reversed(record.phases) if line.get("similarity")), {})


def is_cut(record: RunRecord) -> bool:
    """Whether shapes of the model became smaller, as the ledger says."""
    return bool(widths_of(record))


def is_shared(record: RunRecord) -> bool:
    """Whether layers share templates, or one weight since they were folded, as the ledger says."""
    return any("params_unshared" in line for line in record.phases)


def removed_share(record: RunRecord) -> float | None:
    """How much was removed: zeros of the prunable weights; of a cut model parameters, or units where they are unknown.

    Of a model that shares, the parameters that it has fewer than without sharing; below 0 if it has more.
    None when nothing was removed that the record knows of; 0 for the dense baseline.
    """
    if is_shared(record):
        line = next(line for line in reversed(record.phases) if "params_unshared" in line)
        return float(1 - line["params"] / line["params_unshared"])
    if not (widths := widths_of(record)):
        return sparsity(record)
    line = next(line for line in reversed(record.phases) if line.get("widths"))
    if line.get("params") and line.get("params_full"):
        return float(1 - line["params"] / line["params_full"])
    return 1 - math.fsum(one["width"] for one in widths) / math.fsum(one["full"] for one in widths)


def training_epochs(record: RunRecord) -> float | None:
    """Passes over the data in all phases together; None when no phase says."""
    return _sum(record, "epochs")


def training_seconds(record: RunRecord) -> float | None:
    """Wall seconds of training in all phases together."""
    seconds = cost_field(record, "seconds")
    return seconds if seconds is not None else _sum(record, "seconds")


def longest_path(record: RunRecord) -> float | None:
    """Seconds of the longest chain of phases that wait for one another; None where the record does not say."""
    return cost_field(record, "longest_path_s")


def have_parallel_phases(records: Iterable[RunRecord]) -> bool:
    """Whether the longest path of some run is shorter than all its training."""
    pairs = ((longest_path(run), training_seconds(run)) for run in records)
    return any(path is not None and whole is not None and path < whole for path, whole in pairs)


def have_teachers(records: Iterable[RunRecord]) -> bool:
    """Whether some run was charged for passes through a teacher."""
    return any(cost_field(run, "teacher_samples") for run in records)


def train_minus_test(record: RunRecord) -> float | None:
    """The metric on training examples minus that on test data; None unless both are known."""
    if record.train_quality is None or record.quality is None:
        return None
    return record.train_quality - record.quality


@dataclass(frozen=True, kw_only=True)
class MeasuredSpeed:
    """Measured time of the dense model over the time of this one, at one batch size; above 1 is faster.

    Args:
        path: how the dense model was run, e.g. "eager" or "channels_last"; several where seeds differ.
        batch: batch size.
        interval: over seeds when several were measured, else over the rounds of the one measurement.
        seeds: how many runs were measured.
        certified: side by side on a quiet machine; otherwise `reason` says why not.
    """

    path: str
    batch: int
    interval: Interval
    seeds: int
    certified: bool
    reason: str | None

    @property
    def changed(self) -> bool:
        """Whether the whole interval lies outside 1 ± RESOLUTION; one value without an interval never does."""
        low, high = self.interval.low, self.interval.high
        return low is not None and high is not None and (low > 1 + RESOLUTION or high < 1 - RESOLUTION)


def measured_speeds(arm: Arm, baseline: Arm | None) -> list[MeasuredSpeed]:
    """The speed-ups of an arm over the dense model in eager fp32, one per batch size, smallest batch first.

    Args:
        arm: any arm but the baseline.
        baseline: needed for separate timings only.

    Returns:
        Empty when no latency was measured, or no dense latency to compare with.
    """
    ratios = [_Entry.of(ratio) for run in arm.finished for ratio in _ratios(run)]
    if not ratios and baseline is not None:
        dense = {run.seed: run for run in baseline.finished}
        ratios = [entry for run in arm.finished if run.seed in dense for entry in _separate(dense[run.seed], run)]
    return _by_batch(ratios)


def best_dense_speeds(arm: Arm) -> list[MeasuredSpeed]:
    """As `measured_speeds`, over the best dense fp32 path of the machine; empty when that was not measured."""
    ratios = [ratio for run in arm.finished for ratio in _ratios(run) if "best_dense" in ratio]
    return _by_batch([_Entry.of({"batch": ratio["batch"]} | ratio["best_dense"]) for ratio in ratios])


@dataclass(frozen=True, kw_only=True)
class _Entry:
    path: str = "eager"
    batch: int
    interval: Interval
    quiet: bool
    reason: str | None

    @classmethod
    def of(cls, ratio: Mapping[str, Any]) -> "_Entry":
        return cls(
            path=ratio.get("path", "eager"),
            batch=ratio["batch"],
            interval=Interval(ratio["value"], ratio["low"], ratio["high"], ratio["n"], ratio["coverage"]),
            quiet=ratio["quiet"],
            reason=ratio["reason"],
        )


def _by_batch(entries: Sequence[_Entry]) -> list[MeasuredSpeed]:
    by_batch: dict[int, list[_Entry]] = {}
    for entry in entries:
        by_batch.setdefault(entry.batch, []).append(entry)
    return [_combine(batch, found) for batch, found in sorted(by_batch.items())]


def _combine(batch: int, entries: list[_Entry]) -> MeasuredSpeed:
    interval = entries[0].interval
    if len(entries) > 1:
        logs = mean_interval([math.log(entry.interval.mean) for entry in entries])
        assert logs.low is not None
        assert logs.high is not None
        interval = Interval(math.exp(logs.mean), math.exp(logs.low), math.exp(logs.high), logs.n)
    reasons = list(dict.fromkeys(entry.reason or "the machine was not quiet" for entry in entries if not entry.quiet))
    return MeasuredSpeed(
        path=" or ".join(dict.fromkeys(entry.path for entry in entries)),
        batch=batch,
        interval=interval,
        seeds=len(entries),
        certified=not reasons,
        reason="; ".join(reasons).replace("not certified: ", "") or None,
    )


def _ratios(record: RunRecord) -> list[dict[str, Any]]:
    return [ratio for line in record.phases for ratio in line.get("speedups", [])]


def _separate(dense: RunRecord, record: RunRecord) -> list[_Entry]:
    def key(entry: dict[str, object]) -> tuple[object, ...]:
        return tuple(entry.get(name) for name in ("batch", "threads", "device", "kernel_path", "precision"))

    before = {key(entry): entry for entry in dense.cost.get("latency", [])}
    return [
        _Entry(
            batch=after["batch"],
            interval=Interval(before[key(after)]["p10_s"] / after["p10_s"], None, None, 1),
            quiet=False,
            reason=SEPARATE,
        )
        for after in record.cost.get("latency", [])
        if key(after) in before
    ]


def _sum(record: RunRecord, name: str) -> float | None:
    values = [line[name] for line in record.phases if isinstance(line.get(name), int | float)]
    return math.fsum(values) if values else None
