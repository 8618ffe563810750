"""Arms as series: one series is one recipe at several sizes, and keeps its marks in every figure."""

from collections.abc import Sequence

from paretorch.evidence.arms import Arm
from paretorch.evidence.names import level, series_name
from paretorch.evidence.quantities import is_cut
from paretorch.evidence.report.style import DASHES, DENSE_MARKS, Marks, cut_marks, marks
from paretorch.evidence.words import percent


def series(arms: Sequence[Arm]) -> dict[str, list[Arm]]:
    """Arms by the name of their series, the most compressed last."""
    named: dict[str, list[Arm]] = {}
    for arm in arms:
        named.setdefault(series_name(arm), []).append(arm)
    return {name: sorted(members, key=level) for name, members in named.items()}


def marks_of(arms: Sequence[Arm]) -> dict[str, Marks]:
    """Marks of every series, by name; the symbols of cut models are none of those of masked ones."""
    found = {name: members for name, members in series(arms).items() if not members[0].is_baseline}
    cut = [name for name, members in found.items() if any(is_cut(run) for arm in members for run in arm.runs)]
    others = [name for name in found if name not in cut]
    drawn = {name: marks(index) for index, name in enumerate(others)}
    # colours go on where those of the others end, so that few series share one
    drawn |= {name: cut_marks(index, after=len(others)) for index, name in enumerate(cut)}
    return {name: drawn[name] for name in found} | {"dense": DENSE_MARKS}


def dashes_of(arms: Sequence[Arm]) -> dict[float, str]:
    """Line style by the share that was removed for the curves, the greatest first."""
    levels = sorted({level(arm) for arm in arms}, reverse=True)
    return {value: DASHES[i % len(DASHES)] for i, value in enumerate(levels)}


def dash_words(arms: Sequence[Arm]) -> str:
    """'solid 90 %, dash 0 %': which line belongs to which share that was removed, the greatest first."""
    return ", ".join(f"{dash} {percent(round(value, 4))}" for value, dash in dashes_of(arms).items())
