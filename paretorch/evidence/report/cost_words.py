"""How costs, their ratios and qualities are written: only a ratio of measured times is ever called a speed-up."""

from collections.abc import Sequence

from paretorch.evidence.claim_words import name_of_ratio
from paretorch.evidence.families import Axis, Scope
from paretorch.evidence.words import Metric, plain

LONGEST_PATH = "seconds of the longest path"
TEACHER_PASSES = "examples through a teacher, all phases"
TUNED_COST = (
    "The setting that validation chose from an optimizer's grid is charged for all trainings of the grid, seed by "
    "seed: it took these to find it."
)
MAX_DIGITS = 6  # after the point of a percentage

_COSTS: dict[Axis, str] = {
    "seconds": "training seconds (measured)",
    "steps": "optimizer steps",
    "samples": "training examples seen",
    "epochs": "training epochs",
    "flops": "operations of training (counted)",
    "energy_j": "energy of training, J (measured)",
}
_SCOPES: dict[Scope, str] = {"total": "all phases", "after_dense": "without dense training"}
_SOURCES: dict[Axis, str] = {"seconds": " (measured)", "energy_j": " (measured)", "flops": " (theoretical)"}


def axis_label(axis: Axis) -> str:
    """'training seconds (measured)', short enough for an axis on a narrow screen."""
    return _COSTS[axis]


def scope_words(scope: Scope) -> str:
    """'all phases'."""
    return _SCOPES[scope]


def cost_label(axis: Axis, scope: Scope) -> str:
    """'training seconds (measured), all phases'."""
    return f"{_COSTS[axis]}, {_SCOPES[scope]}"


def ratio_label(axis: Axis) -> str:
    """'speed-up (measured)', 'ratio of steps', 'ratio of operations (theoretical)'."""
    return name_of_ratio(axis) + _SOURCES.get(axis, "")


def level_words(metric: Metric, qualities: Sequence[float]) -> list[str]:
    """The qualities as `Metric.value` writes them, with more digits where two would read the same."""
    words = [metric.value(quality) for quality in qualities]
    digits = 1
    while len(set(words)) < len(set(qualities)) and digits < MAX_DIGITS:
        digits += 1
        words = [
            f"{100 * quality:.{digits}f} %" if metric.is_fraction else plain(quality, digits=3 + digits, zeros=True)
            for quality in qualities
        ]
    return words
