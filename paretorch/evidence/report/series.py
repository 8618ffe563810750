"""Arms as series: one series is one recipe swept over sparsity, and keeps its marks in every figure."""

from collections.abc import Sequence

from paretorch.evidence.arms import Arm
from paretorch.evidence.names import level, series_name
from paretorch.evidence.report.style import DASHES, DENSE_MARKS, Marks, marks
from paretorch.evidence.words import percent


def series(arms: Sequence[Arm]) -> dict[str, list[Arm]]:
    """Arms by the name of their series, sparsest last."""
    named: dict[str, list[Arm]] = {}
    for arm in arms:
        named.setdefault(series_name(arm), []).append(arm)
    return {name: sorted(members, key=level) for name, members in named.items()}


def marks_of(arms: Sequence[Arm]) -> dict[str, Marks]:
    """Marks of every series, by name."""
    names = [name for name, members in series(arms).items() if not members[0].is_baseline]
    return {name: marks(index) for index, name in enumerate(names)} | {"dense": DENSE_MARKS}


def dashes_of(arms: Sequence[Arm]) -> dict[float, str]:
    """Line style by sparsity for the curves, the sparsest first."""
    levels = sorted({level(arm) for arm in arms}, reverse=True)
    return {value: DASHES[i % len(DASHES)] for i, value in enumerate(levels)}


def dash_words(arms: Sequence[Arm]) -> str:
    """'solid 90 %, dash 0 %': which line belongs to which sparsity, the sparsest first."""
    return ", ".join(f"{dash} {percent(round(value, 4))}" for value, dash in dashes_of(arms).items())
