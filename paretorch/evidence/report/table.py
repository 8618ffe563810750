"""Tables of text and their cells; "not known" is a dash, never a zero."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from paretorch.evidence.arms import Arm
from paretorch.evidence.quantities import MeasuredSpeed, cost_field, pruning_field
from paretorch.evidence.records import RunRecord
from paretorch.evidence.statistics import Interval
from paretorch.evidence.words import Metric, grouped, plural, ratio

UNKNOWN = "\N{EN DASH}"


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of text.

    Args:
        key: short name, used as the id in the page.
        title: heading.
        caption: how to read it.
        head: column names.
        rows: one list of cells per row, as long as the head; the first cell names the row.
    """

    key: str
    title: str
    caption: str
    head: list[str]
    rows: list[list[str]]


def without_empty_columns(table: Table) -> Table:
    """The table without the columns that hold no value in any row; the caption names them."""
    empty = [i for i in range(len(table.head)) if all(row[i] == UNKNOWN for row in table.rows)]
    if not empty or not table.rows:
        return table
    kept = [i for i in range(len(table.head)) if i not in empty]
    return replace(
        table,
        caption=f"{table.caption} Not recorded: {'; '.join(table.head[i] for i in empty)}.",
        head=[table.head[i] for i in kept],
        rows=[[row[i] for i in kept] for row in table.rows],
    )


def stacked(tables: Mapping[str, Table]) -> Table:
    """Tables of one kind as one; the second column says where a row is from, and rows of one name are neighbours."""
    first = next(iter(tables.values()))
    head = list(dict.fromkeys(name for table in tables.values() for name in table.head))
    rows = []
    for source, table in tables.items():
        for row in table.rows:
            cells = dict(zip(table.head, row, strict=True))
            name, *rest = (cells.get(column, UNKNOWN) for column in head)
            rows.append([name, source, *rest])
    position = {name: i for i, name in enumerate(dict.fromkeys(row[0] for row in rows))}
    rows.sort(key=lambda row: position[row[0]])
    return replace(first, head=[head[0], "folder", *head[1:]], rows=rows)


def count(arm: Arm) -> str:
    """'3, low-n, 1 failed': the runs behind a mean."""
    failed = len(arm.runs) - len(arm.finished)
    return f"{len(arm.finished)}{', low-n' if len(arm.finished) < 5 else ''}" + (f", {failed} failed" if failed else "")


def mean(metric: Metric, interval: Interval | None) -> str:
    """'91.3 ± 0.4', without the unit."""
    if interval is None:
        return UNKNOWN
    text = metric.number(interval.mean)
    return text if interval.half_width is None else f"{text} ± {metric.half(interval)}"


def spread(interval: Interval | None) -> str:
    """A measured number of seconds."""
    if interval is None:
        return UNKNOWN
    return f"{interval.mean:.1f}" + ("" if interval.half_width is None else f" ± {interval.half_width:.1f}")


def exact(arm: Arm, read: Callable[[RunRecord], float | None], write: Callable[[float], str]) -> str:
    """A counted number: itself if all seeds agree, else its range over seeds."""
    found = sorted({write(value): value for value in arm.values(read).values()}.items(), key=lambda item: item[1])
    if not found:
        return UNKNOWN
    return found[0][0] if len(found) == 1 else f"{found[0][0]} to {found[-1][0]}"


def counted(arm: Arm, name: str) -> str:
    """A whole number of the cost."""
    return exact(arm, lambda run: cost_field(run, name), grouped)


def zeros(arm: Arm) -> str:
    """'900 / 1 000': exact zeros over prunable weights."""
    pruned = arm.values(lambda run: pruning_field(run, "pruned"))
    kept = arm.values(lambda run: pruning_field(run, "kept"))
    texts = sorted({f"{grouped(pruned[s])} / {grouped(pruned[s] + kept[s])}" for s in pruned.keys() & kept.keys()})
    return " or ".join(texts) if texts else UNKNOWN


def speed_cells(speed: MeasuredSpeed | None) -> list[str]:
    """The ratio with its interval, and the sample it rests on with its certificate."""
    if speed is None:
        return [UNKNOWN, UNKNOWN]
    sample = plural(speed.seeds, "seed") if speed.seeds > 1 else plural(speed.interval.n, "round")
    return [ratio(speed.interval), f"{sample}, {'certified' if speed.certified else 'not certified'}"]


def latency(runs: Sequence[RunRecord], batch: int) -> str:
    """Absolute times of the first run that was timed; they differ between runs by what the machine did meanwhile."""
    for run in runs:
        for entry in run.cost.get("latency", []):
            if entry["batch"] == batch:
                p10, p50, p90 = (1000 * entry[name] for name in ("p10_s", "p50_s", "p90_s"))
                noisy = "" if entry["quiet"] else ", not certified"
                return f"{p50:.3g} ({p10:.3g} to {p90:.3g}){noisy}"
    return UNKNOWN
