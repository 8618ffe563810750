"""What a record says about each quantity, in one place; None where it says nothing.

Counted numbers (bytes, zeros, MACs) come from the cost and from the ledger's pruning lines; training costs are summed
over all phases, dense training and retraining included. The speed-up is read in one of two ways:

- measured side by side: a ledger line holds "speedups", a list of {"batch", "value", "low", "high", "n", "coverage",
  "quiet", "reason"}, the `Ratio` of an interleaved comparison with the dense model (above 1 is faster);
- else from two separate timings, dense and candidate of the same seed. Machines drift between timings by tens of per
  cent, so this one is shown and never certified.
"""

import math
from dataclasses import dataclass

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


def pruning_field(record: RunRecord, name: str) -> float | None:
    """A number of the last pruning line, e.g. "pruned" or "validation_raw"; None when unknown."""
    value = last_pruning(record).get(name)
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def sparsity(record: RunRecord) -> float | None:
    """Fraction of the prunable weights that are zero, from exact counts; 0 for the dense baseline."""
    pruned, kept = pruning_field(record, "pruned"), pruning_field(record, "kept")
    if pruned is None or kept is None:
        return 0.0 if record.is_baseline else None
    return pruned / (pruned + kept)


def training_epochs(record: RunRecord) -> float | None:
    """Passes over the data in all phases together; None when no phase says."""
    return _sum(record, "epochs")


def training_seconds(record: RunRecord) -> float | None:
    """Wall seconds of training in all phases together."""
    seconds = cost_field(record, "seconds")
    return seconds if seconds is not None else _sum(record, "seconds")


@dataclass(frozen=True, kw_only=True)
class MeasuredSpeed:
    """Measured time of the dense model over the time of this one, at one batch size; above 1 is faster.

    Args:
        batch: batch size.
        interval: over seeds when several were measured, else over the rounds of the one measurement.
        seeds: how many runs were measured.
        certified: side by side on a quiet machine; otherwise `reason` says why not.
    """

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
    """The speed-ups of an arm over the dense model, one per batch size, smallest batch first.

    Args:
        arm: any arm but the baseline.
        baseline: needed for separate timings only.

    Returns:
        Empty when no latency was measured, or no dense latency to compare with.
    """
    ratios = [entry for run in arm.finished for entry in _side_by_side(run)]
    if not ratios and baseline is not None:
        dense = {run.seed: run for run in baseline.finished}
        ratios = [entry for run in arm.finished if run.seed in dense for entry in _separate(dense[run.seed], run)]
    by_batch: dict[int, list[_Entry]] = {}
    for entry in ratios:
        by_batch.setdefault(entry.batch, []).append(entry)
    return [_combine(batch, entries) for batch, entries in sorted(by_batch.items())]


@dataclass(frozen=True, kw_only=True)
class _Entry:
    batch: int
    interval: Interval
    quiet: bool
    reason: str | None


def _combine(batch: int, entries: list[_Entry]) -> MeasuredSpeed:
    interval = entries[0].interval
    if len(entries) > 1:
        logs = mean_interval([math.log(entry.interval.mean) for entry in entries])
        assert logs.low is not None
        assert logs.high is not None
        interval = Interval(math.exp(logs.mean), math.exp(logs.low), math.exp(logs.high), logs.n)
    reasons = list(dict.fromkeys(entry.reason or "the machine was not quiet" for entry in entries if not entry.quiet))
    return MeasuredSpeed(
        batch=batch,
        interval=interval,
        seeds=len(entries),
        certified=not reasons,
        reason="; ".join(reasons).replace("not certified: ", "") or None,
    )


def _side_by_side(record: RunRecord) -> list[_Entry]:
    found = [ratio for line in record.phases for ratio in line.get("speedups", [])]
    return [
        _Entry(
            batch=ratio["batch"],
            interval=Interval(ratio["value"], ratio["low"], ratio["high"], ratio["n"], ratio["coverage"]),
            quiet=ratio["quiet"],
            reason=ratio["reason"],
        )
        for ratio in found
    ]


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
