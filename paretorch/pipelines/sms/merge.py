"""From the finished copies of a cycle to one model: a soup, batch-norm statistics of its own, and a ledger line.

    uniform   the average of all copies
    greedy    the average of those that each leave validation as good as it was, best first
    best      the copy that is best on validation

Copies and soups are scored alike: on the evaluation set, with batch-norm statistics from the same training batches. A
run of one copy has no soup: the copy is left as it is, statistics included.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

from torch import Tensor, nn

from paretorch.artefacts.stored_state import stored_state
from paretorch.methods.averaging.candidates import Candidate
from paretorch.methods.averaging.soup import (
    Soup,
    best_candidate,
    candidate_scores,
    greedy_soup,
    guarded,
    uniform_soup,
)
from paretorch.methods.averaging.streaming import average_state_dicts
from paretorch.methods.sparsity.masks import Masks
from paretorch.pipelines.retraining import reestimate
from paretorch.training.trainer import Trainer

SoupKind = Literal["uniform", "greedy", "best"]
SOUPS: tuple[SoupKind, ...] = ("uniform", "greedy", "best")


@dataclass(frozen=True, kw_only=True)
class Copies:
    """The finished copies of one cycle.

    Attributes:
        files: name -> file of weights.
        masks: of all of them.
    """

    files: Mapping[str, Path]
    masks: Masks

    def candidates(self) -> list[Candidate]:
        """The copies as a soup takes them, each file checked as a whole and then read in pieces."""
        return [Candidate(name, partial(stored_state, path), self.masks) for name, path in self.files.items()]


class Merge:
    """Merges copies into one model.

    Args:
        trainer: its directory keeps the ledger line.
        name: of the phase in the ledger, from which the batches are drawn.
        soup: one of `SOUPS`.
        guard: put the best copy in the place of a soup that validation finds worse.
        reestimate_batches: training batches for batch-norm statistics; 0 leaves the averaged ones.
    """

    def __init__(self, trainer: Trainer, *, name: str, soup: SoupKind, guard: bool, reestimate_batches: int) -> None:
        self.trainer, self.name, self.soup, self.guard = trainer, name, soup, guard
        self.reestimate_batches = reestimate_batches
        self._model = trainer.model().to(trainer.device)
        self._layers = 0

    def merge(self, copies: Copies, *, details: Mapping[str, Any]) -> tuple[nn.Module, dict[str, Any]]:
        """The merged model, and the ledger line; a resumed run averages the members that its ledger names.

        Args:
            copies: at least one.
            details: facts for the ledger line.

        Raises:
            InputError: naming the copy whose file is missing, or that holds a NaN, another architecture or a value
                that its mask prunes.
            MaskViolationError: if the average is not zero where the masks prune.
        """
        directory = self.trainer.directory
        candidates = copies.candidates()
        done = directory.finished(self.name) if directory is not None else None
        if done is not None:
            members = [candidate for candidate in candidates if candidate.name in done["members"]]
            self._load(average_state_dicts(members), alone=len(candidates) == 1)
            copies.masks.check(self._model)
            return self._model, done
        began = perf_counter()
        soup = self._choose(candidates)
        entry = {
            "phase": self.name,
            "kind": "soup",
            "soup": self.soup,
            "members": list(soup.members),
            "candidates": dict(soup.scores),
            "best": self._best(soup.scores),
            "mean": sum(soup.scores.values()) / len(soup.scores),
            "guarded": soup.guarded,
            "validation": self._score(soup.state, alone=len(candidates) == 1),
            "batchnorm_layers": self._layers,
            "seconds": perf_counter() - began,
            "zeros": copies.masks.num_pruned,
            "mask_hash": copies.masks.hash(),
            **details,
        }
        copies.masks.check(self._model)
        if directory is not None:
            directory.append(entry)
        return self._model, entry

    def _choose(self, candidates: list[Candidate]) -> Soup:
        alone, higher = len(candidates) == 1, self.trainer.task.higher_is_better

        def score(state: dict[str, Tensor]) -> float:
            return self._score(state, alone=alone)

        scores = candidate_scores(candidates, score)
        if self.soup == "best" or alone:
            return best_candidate(candidates, scores=scores, higher_is_better=higher)
        if self.soup == "greedy":  # never worse than the best copy
            return greedy_soup(candidates, score=score, higher_is_better=higher, scores=scores)
        soup = uniform_soup(candidates)
        if not self.guard:
            return Soup(state=soup.state, members=soup.members, scores=scores)
        return guarded(soup, candidates, score=score, higher_is_better=higher, scores=scores)

    def _score(self, state: dict[str, Tensor], *, alone: bool) -> float:
        self._load(state, alone=alone)
        return self.trainer.evaluate(self._model)[self.trainer.task.metric]

    def _load(self, state: dict[str, Tensor], *, alone: bool) -> None:
        self._model.load_state_dict(state)
        count = 0 if alone else self.reestimate_batches
        self._layers = reestimate(self.trainer, self._model, name=self.name, count=count)

    def _best(self, scores: Mapping[str, float]) -> float:
        return max(scores.values()) if self.trainer.task.higher_is_better else min(scores.values())
