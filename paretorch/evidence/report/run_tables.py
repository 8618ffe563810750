"""The tables of one run: its quality, its phases, its layers, what it costs, and how fast it is."""

from collections.abc import Mapping, Sequence
from typing import Any

from paretorch.evidence.arms import Arm
from paretorch.evidence.quantities import (
    best_dense_speeds,
    have_parallel_phases,
    have_teachers,
    last_pruning,
    measured_speeds,
    total_bytes,
)
from paretorch.evidence.records import RunRecord
from paretorch.evidence.report.cost_words import LONGEST_PATH, TEACHER_PASSES
from paretorch.evidence.report.table import UNKNOWN, Table, speed_cells, without_empty_columns
from paretorch.evidence.words import Metric, grouped, minus, percent, plain

_COSTS = {
    "params": "parameters",
    "nonzeros": "non-zero parameters",
    "payload_bytes": "stored bytes, values",
    "metadata_bytes": "stored bytes, masks and other metadata",
    "macs_dense": "multiply-accumulates of one example, dense (theoretical)",
    "macs_nonzero": "multiply-accumulates of one example with non-zero weights (theoretical)",
    "training_flops": "floating-point operations of training (theoretical)",
    "samples": "training examples seen, all phases",
    "teacher_samples": TEACHER_PASSES,
    "steps": "optimizer steps, all phases",
    "seconds": "seconds of training, all phases (measured)",
    "longest_path_s": LONGEST_PATH,
    "energy_j": "energy of training, J (measured)",
    "peak_bytes": "largest memory of any phase, bytes (measured)",
    "communication_bytes": "bytes sent between processes",
}
SIDE_BY_SIDE = "side by side"
_SUMS = ("steps", "epochs", "seconds")


def quality_table(run: RunRecord, metric: Metric) -> Table:
    """The metric on each set of data, and the references, beside the test result."""
    values = {
        "training examples (a sample)": run.train_quality,
        "validation": run.validation,
        "test": run.quality,
        **{f"reference: {name}": value for name, value in run.references.items()},
    }
    unit = " (points)" if metric.is_fraction else ""
    rows = [
        [
            name,
            UNKNOWN if value is None else metric.number(value),
            UNKNOWN if name == "test" else _gap(value, run.quality, metric),
        ]
        for name, value in values.items()
    ]
    return Table(
        key="quality",
        title="Quality",
        caption=f"Of the final model; {metric.direction}. References need no model of ours and are values on the test "
        "data. One run says nothing about the spread over seeds.",
        head=["data", metric.axis, f"minus test{unit}"],
        rows=rows,
    )


def phase_table(run: RunRecord, metric: Metric) -> Table | None:
    """One row per phase that trained or pruned, and their sums; None without any."""
    lines = [line for line in run.phases if "speedups" not in line]
    if not lines:
        return None
    groups = [SIDE_BY_SIDE] if any("beside" in line for line in lines) else []
    rows = [
        [
            str(line.get("phase", UNKNOWN)),
            *[_number(line, name, whole=name == "steps") for name in _SUMS],
            *[str(line.get("beside", UNKNOWN)) for _ in groups],
            _quality(line, "validation_raw", metric),
            _quality(line, "validation" if "validation" in line else "validation_reestimated", metric),
            _number(line, "lr_peak"),
            percent(round(line["sparsity"], 6)) if isinstance(line.get("sparsity"), int | float) else UNKNOWN,
            *[_number(line, name) for name in ("d1", "d2", "factor")],
            str(line.get("mask_hash", UNKNOWN))[:12],
        ]
        for line in lines
    ]
    found = {name: [line[name] for line in lines if isinstance(line.get(name), int | float)] for name in _SUMS}
    sums = {name: sum(values) for name, values in found.items() if values}
    totals = [_number(sums, name, whole=name == "steps") for name in _SUMS]
    rows.append(["all phases", *totals, *[UNKNOWN] * (8 + len(groups))])
    table = Table(
        key="phases",
        title="Phases",
        caption="In their order; trials are learning rates that were tried and not chosen. d1: share of the norm "
        "removed by a pruning, against the most that it could. d2: retraining steps over dense steps. factor: what "
        "the learning rate is multiplied by because of both."
        + (" Phases of one group side by side need not wait for one another." if groups else ""),
        head=[
            *["phase", "steps", "epochs", "seconds", *groups],
            f"validation {metric.axis}, stale batch norm",
            f"validation {metric.axis} at the end",
            *["lr peak", "sparsity", "d1", "d2", "factor", "mask hash"],
        ],
        rows=rows,
    )
    return without_empty_columns(table)


def layer_table(run: RunRecord) -> Table | None:
    """Weights kept per layer by the last pruning; None when nothing was pruned."""
    layers = last_pruning(run).get("layers")
    if not isinstance(layers, Mapping) or not layers:
        return None
    rows = [
        [name, grouped(line["kept"]), grouped(line["total"]), percent(round(1 - line["kept"] / line["total"], 4))]
        for name, line in layers.items()
        if line["total"]
    ]
    return Table(
        key="layers",
        title="Sparsity by layer",
        caption="After the last pruning.",
        head=["layer", "weights kept", "weights", "sparsity"],
        rows=rows,
    )


def cost_table(run: RunRecord) -> Table:
    """Every cost that is known; the caption names the others. What says nothing of this run is in neither."""
    silent = {
        *([] if have_parallel_phases([run]) else ["longest_path_s"]),
        *([] if have_teachers([run]) else ["teacher_samples"]),
    }
    costs = {name: words for name, words in _COSTS.items() if name not in silent}
    known = {words: run.cost[name] for name, words in costs.items() if run.cost.get(name) is not None}
    if (stored := total_bytes(run)) is not None:
        known["stored bytes in all"] = stored
    missing = [words for words in costs.values() if words not in known]
    caption = "Multiply-accumulates are counted: dense kernels do not skip zeros, so no time follows from them."
    if missing:
        caption += f" Not recorded: {'; '.join(missing)}."
    if uncounted := run.cost.get("uncounted"):
        caption += f" The counts leave out: {'; '.join(map(str, uncounted))}."
    return Table(
        key="cost",
        title="Cost",
        caption=caption,
        head=["cost", "value"],
        rows=[[words, grouped(value) if isinstance(value, int) else plain(value)] for words, value in known.items()],
    )


def speed_table(run: RunRecord) -> Table | None:
    """Latency by batch size, and the ratios to the dense model where they were measured; None without either."""
    arm = Arm(label=run.arm, runs=(run,))
    eager = {speed.batch: speed for speed in measured_speeds(arm, None)}
    best = {speed.batch: speed for speed in best_dense_speeds(arm)}
    latency = {entry["batch"]: entry for entry in run.cost.get("latency", [])}
    rows = []
    for batch in sorted({*eager, *latency}):
        entry: Mapping[str, Any] = latency.get(batch, {})
        other = best.get(batch)
        rows.append(
            [
                str(batch),
                *[f"{1000 * entry[name]:.3g}" if name in entry else UNKNOWN for name in ("p10_s", "p50_s", "p90_s")],
                *[str(entry.get(name, UNKNOWN)) for name in ("device", "threads", "kernel_path", "precision")],
                *_quiet(entry),
                *speed_cells(eager.get(batch)),
                speed_cells(other)[0],
                UNKNOWN if other is None else other.path,
            ]
        )
    if not rows:
        return None
    table = Table(
        key="speed",
        title="Measured time",
        caption="Milliseconds of one forward pass: 10th percentile, median, 90th percentile. Speed-up: dense time over "
        "this time, timed side by side; above 1 is faster.",
        head=[
            *["batch", "p10, ms", "median, ms", "p90, ms", "device", "threads", "kernels", "precision", "machine"],
            *["speed-up over eager dense (measured)", "sample"],
            *["speed-up over the best dense path (measured)", "best dense path"],
        ],
        rows=rows,
    )
    return without_empty_columns(table)


def _quiet(entry: Mapping[str, Any]) -> Sequence[str]:
    if "quiet" not in entry:
        return [UNKNOWN]
    return ["quiet" if entry["quiet"] else "not certified"]


def _gap(value: float | None, test: float | None, metric: Metric) -> str:
    if value is None or test is None:
        return UNKNOWN
    gap = (value - test) * metric.factor
    return minus(f"{gap:+.1f}" if metric.is_fraction else f"{gap:+.3g}")


def _quality(line: Mapping[str, Any], name: str, metric: Metric) -> str:
    value = line.get(name)
    return metric.number(value) if isinstance(value, int | float) else UNKNOWN


def _number(line: Mapping[str, Any], name: str, *, whole: bool = False) -> str:
    value = line.get(name)
    if not isinstance(value, int | float):
        return UNKNOWN
    return grouped(value) if whole else f"{value:.2f}" if name == "seconds" else f"{value:.4g}"
