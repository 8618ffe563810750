"""The card of a method: what it changes, what it costs and what must hold, as data.

The vocabulary is that of Bartoldson, Kailkhura and Blalock (JMLR 24(122), 2023): a method acts on a component
(parameters, architecture, training data, derived data, objective, algorithm) by removing, restricting, reordering,
replacing or retrofitting.
"""

from dataclasses import dataclass
from typing import Literal

COMPONENTS = ("parameters", "architecture", "training data", "derived data", "objective", "algorithm")
ACTIONS = ("remove", "restrict", "reorder", "replace", "retrofit")
PHASES = ("data_prep", "init", "dense_train", "prune", "retrain", "finetune", "post_train", "inference")
SEMANTIC_CLASSES = ("bit_exact", "math_equivalent", "distribution_preserving", "semantic")

SemanticClass = Literal["bit_exact", "math_equivalent", "distribution_preserving", "semantic"]


@dataclass(frozen=True, kw_only=True)
class Card:
    """What is known of one method before it is run.

    Args:
        id: short name, unique in the package.
        title: the method's name in the field.
        summary: one sentence of effect.
        cells: pairs (component, action) from `COMPONENTS` and `ACTIONS`; empty only if nothing semantic changes.
        phase: when it acts, from `PHASES`.
        semantic_class: how far the result may differ from the run without the method, from `SEMANTIC_CLASSES`.
        relieves, worsens: resources that it saves and spends.
        cost_model: formula of the effect on cost, in words.
        realised_by: what must be true for the saving to become time or bytes.
        invariants: what must hold exactly; each is asserted by a test.
        reference: authors, year, section.
        evidence: names of result files of this project.

    Raises:
        ValueError: for a word outside the vocabulary, or a semantic method without a cell.
    """

    id: str
    title: str
    summary: str
    cells: tuple[tuple[str, str], ...]
    phase: tuple[str, ...]
    semantic_class: SemanticClass
    relieves: tuple[str, ...]
    worsens: tuple[str, ...]
    cost_model: str
    realised_by: str
    invariants: tuple[str, ...]
    reference: str
    evidence: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for component, action in self.cells:
            if component not in COMPONENTS or action not in ACTIONS:
                raise ValueError(
                    f"card {self.id!r}: cell {(component, action)} is outside the taxonomy; components are "
                    f"{COMPONENTS}, actions are {ACTIONS}"
                )
        if unknown := set(self.phase) - set(PHASES):
            raise ValueError(f"card {self.id!r}: unknown phase {sorted(unknown)}; choose from {PHASES}")
        if self.semantic_class not in SEMANTIC_CLASSES:
            raise ValueError(
                f"card {self.id!r}: semantic_class {self.semantic_class!r}; choose from {SEMANTIC_CLASSES}"
            )
        if self.semantic_class == "semantic" and not self.cells:
            raise ValueError(f"card {self.id!r}: a semantic method changes at least one component; name the cell")
