"""What a search found and what it cost, as plain values and in words."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CHARGES = ("steps", "samples", "seconds")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One point of the space that was tried.

    Attributes:
        number: from 0; its sweep is in `trials/<number>`.
        values: by key of the space.
        state: "complete"; "diverged"; or "refused", if these values do not go together.
        objectives: mean over the seeds; {} unless it is complete.
        charge: "steps", "samples" and "seconds" of all its training, all seeds, tuning and its own dense models
            included; None for what is not known. One that diverged is charged the steps that it was granted, and the
            time that the process it ended in had spent on it.
        note: why it is not complete.
    """

    number: int
    values: dict[str, Any]
    state: str
    objectives: dict[str, float]
    charge: dict[str, float | None]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """What a search found, and what it cost.

    Attributes:
        name: of the recipe.
        directions: "maximize" or "minimize", by objective.
        trials: all that ended, in order.
        dense: charge of the dense models that all trials share; zeros where each trial has its own.
        total: the charges of all trials and of `dense` together; None where one is not known.
        front: numbers of the trials that no other one dominates; with one objective, the best ones.
    """

    name: str
    directions: dict[str, str]
    trials: tuple[Trial, ...]
    dense: dict[str, float | None]
    total: dict[str, float | None]
    front: tuple[int, ...]

    def lines(self) -> list[str]:
        """The result in words, for a terminal."""
        states = Counter(trial.state for trial in self.trials)
        counts = ", ".join(f"{count} {state}" for state, count in states.items())
        charges = ", ".join(
            f"{name} {'not known' if value is None else f'{round(value, 1):,}'}" for name, value in self.total.items()
        )
        wanted = ", ".join(f"{direction} {name}" for name, direction in self.directions.items())
        chosen = [trial for trial in self.trials if trial.number in self.front]
        return [
            f"{len(self.trials)} trials ({counts}); all training together: {charges}",
            f"Not beaten by any other trial ({wanted}):" if chosen else "No trial is complete.",
            *(f"  trial {t.number}: {in_words(t.values)}: {in_words(t.objectives)}" for t in chosen),
            *(["The best of many trials looks better than it is: repeat it with other seeds."] if chosen else []),
        ]


def in_words(values: Mapping[str, Any]) -> str:
    """'train.lr = 0.1, arm.schedule = LLR'."""
    return ", ".join(
        f"{key} = {value:.6g}" if isinstance(value, float) else f"{key} = {value}" for key, value in values.items()
    )
