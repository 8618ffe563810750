"""Soups: which of m finished copies are averaged, and what guards the average against being worse than its best part.

    uniform:  all of them, with the weight 1/m
    greedy:   in the order of their own validation scores, best first; one joins if the average with it scores at least
              as well as without it (`strict`: better)
    guarded:  whatever was averaged, unless the best candidate scores better

Source: Wortsman et al., ICML 2022 (Model soups), section 2 and algorithm 1, whose greedy soup wants a strictly better
score; Zimmer, Spiegel and Pokutta, ICLR 2024 (Sparse Model Soups), whose code takes an equal one, as is the default
here. Scores are of held-out training data, never of test data. The guard and the order of equal scores are ours.

What is scored is the caller's business: `score` loads a state dict into a model, re-estimates batch-norm statistics
(they are averaged like everything else, which is not what the average needs) and evaluates it.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from paretorch.errors import InputError
from paretorch.methods.averaging.candidates import Candidate, checked_names
from paretorch.methods.averaging.streaming import average_state_dicts
from paretorch.methods.card import Card, HyperParameter
from paretorch.methods.cost_model import Effect, Effects, LayerShape

Score = Callable[[dict[str, Tensor]], float]


def _cost(_layers: Sequence[LayerShape], _batch: int, settings: Mapping[str, Any]) -> Effects:
    """Training of all candidates, and one re-estimation."""
    return {
        "epochs": Effect(added=settings["copies"] * settings["epochs"]),
        "extra_forward": Effect(added=settings["batches"]),
    }


CARD = Card(
    id="model-soups",
    title="Model soups",
    summary="Averages the weights of models that were fine-tuned from one start with different seeds or settings.",
    year=2022,
    references=("Wortsman et al., ICML 2022",),
    reference_implementation="mlfoundations/model-soups",
    cells=(("parameters", "retrofit"),),
    phase=("post_train",),
    composes_with=("bn-reestimate", "masks"),
    relieves=("inference compute",),
    worsens=("compute",),
    caveat="saves against an ensemble; the trials that are averaged must be charged",
    cost="the training of every candidate; one read of every candidate per average that is tried",
    cost_model=_cost,
    charges=("retraining epochs", "extra models", "calibration passes"),
    realised_by="candidates that would be trained anyway, such as the trials of a search, from one starting point",
    hyperparams=(
        HyperParameter(name="copies", default=3, low=1, high=100, scale="integer"),
        HyperParameter(name="epochs", low=0, high=10_000),
        HyperParameter(name="batches", default=20, low=0, high=10_000, scale="integer"),
    ),
    tuning_cost=1,
    quality_risk="low",
    invariants=(
        "equal candidates average to the candidate, bitwise",
        "the average has the same bits in any order of the candidates",
        "every entry of the average lies between the smallest and the largest of the candidates",
        "a greedy soup scores no worse than its best candidate, in any order of the candidates",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Soup:
    """An average and how it came about.

    Attributes:
        state: the averaged state dict, on the CPU; batch-norm statistics are averages and want re-estimation.
        members: names of the candidates that it averages, in the order in which they joined.
        scores: every candidate's own score, by name; empty if none was measured.
        score: of the average itself, None if it was not measured.
        guarded: whether the best candidate was put in the place of an average that scored worse.
    """

    state: dict[str, Tensor]
    members: tuple[str, ...]
    scores: Mapping[str, float] = field(default_factory=dict)
    score: float | None = None
    guarded: bool = False


def uniform_soup(candidates: Sequence[Candidate]) -> Soup:
    """All candidates, each with the weight 1/m.

    Raises:
        InputError: as `average_state_dicts`.
    """
    state = average_state_dicts(candidates)
    return Soup(state=state, members=tuple(candidate.name for candidate in candidates))


def candidate_scores(candidates: Sequence[Candidate], score: Score) -> dict[str, float]:
    """Name -> the candidate's own score; one state dict is in memory at a time.

    Raises:
        InputError: naming the candidate that cannot be averaged with the others, or whose score is not finite.
    """
    checked_names(candidates)
    return {
        candidate.name: _finite(score(average_state_dicts([candidate])), f"candidate {candidate.name!r}")
        for candidate in candidates
    }


def best_candidate(candidates: Sequence[Candidate], *, scores: Mapping[str, float], higher_is_better: bool) -> Soup:
    """The candidate with the best score, alone; of equal ones the first by name.

    Raises:
        InputError: if a candidate has no score or one that is not finite; and as `average_state_dicts`.
    """
    best = _ranked(candidates, scores, higher_is_better)[0]
    return Soup(state=average_state_dicts([best]), members=(best.name,), scores=dict(scores), score=scores[best.name])


def greedy_soup(
    candidates: Sequence[Candidate],
    *,
    score: Score,
    higher_is_better: bool,
    strict: bool = False,
    scores: Mapping[str, float] | None = None,
) -> Soup:
    """The candidates that each leave the score of the average as good as it was, or better.

    The result does not depend on the order in which candidates are given, and its score is never worse than that of the
    best candidate.

    Args:
        candidates: at least one.
        score: of a state dict, on held-out training data; called once per candidate (unless `scores` holds it) and once
            per average that is tried.
        higher_is_better: of the score.
        strict: a candidate must make the score better, not just leave it.
        scores: the candidates' own scores, as `score` would give them, where they are known.

    Raises:
        InputError: as `average_state_dicts`; or for a score that is missing or not finite, by the candidate's name.
    """
    average_state_dicts(candidates)  # refuses what does not fit before anything is scored
    own = candidate_scores(candidates, score) if scores is None else dict(scores)
    first, *rest = _ranked(candidates, own, higher_is_better)
    members, best = [first], own[first.name]
    for candidate in rest:
        trial = _finite(score(average_state_dicts([*members, candidate])), f"the average with {candidate.name!r}")
        if _better(trial, best, higher_is_better) or (trial == best and not strict):
            members, best = [*members, candidate], trial
    return Soup(
        state=average_state_dicts(members),
        members=tuple(member.name for member in members),
        scores=own,
        score=best,
    )


def guarded(
    soup: Soup,
    candidates: Sequence[Candidate],
    *,
    score: Score,
    higher_is_better: bool,
    scores: Mapping[str, float] | None = None,
) -> Soup:
    """The soup, or the best candidate if that one scores better.

    Args:
        soup: made of the candidates; its own score is measured if it has none.
        candidates, score, higher_is_better, scores: as in `greedy_soup`; scores that the soup has are used.

    Raises:
        InputError: as `greedy_soup`.

    Warns:
        UserWarning: if the best candidate takes the place of the soup.
    """
    known = scores if scores is not None else soup.scores
    own = dict(known) if known else candidate_scores(candidates, score)
    reached = soup.score if soup.score is not None else _finite(score(soup.state), "the average")
    best = _ranked(candidates, own, higher_is_better)[0]
    if not _better(own[best.name], reached, higher_is_better):
        return Soup(state=soup.state, members=soup.members, scores=own, score=reached)
    warnings.warn(
        f"the average of {len(soup.members)} candidates scores {reached:g} on validation data, worse than candidate "
        f"{best.name!r} alone with {own[best.name]:g}: that candidate is used, and nothing is averaged. Longer "
        "retraining, less sparsity or candidates that differ in their seed only make better averages",
        stacklevel=2,
    )
    return Soup(state=average_state_dicts([best]), members=(best.name,), scores=own, score=own[best.name], guarded=True)


def _ranked(candidates: Sequence[Candidate], scores: Mapping[str, float], higher_is_better: bool) -> list[Candidate]:
    """Best score first; equal ones by name."""
    checked_names(candidates)
    for candidate in candidates:
        if candidate.name not in scores:
            raise InputError(f"candidate {candidate.name!r} has no score; there are scores of {sorted(scores)}")
        _finite(scores[candidate.name], f"candidate {candidate.name!r}")
    sign = -1 if higher_is_better else 1
    return sorted(candidates, key=lambda candidate: (sign * scores[candidate.name], candidate.name))


def _better(score: float, than: float, higher_is_better: bool) -> bool:
    return score > than if higher_is_better else score < than


def _finite(score: float, of: str) -> float:
    if not math.isfinite(score):
        raise InputError(f"the score of {of} is {score}; expected a finite number")
    return score
