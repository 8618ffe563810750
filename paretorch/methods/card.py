"""The card of a method: what it changes, what it costs, what must hold, and who published it, as data.

The words are those of `taxonomy`. A method that ships (`implemented`) has invariants, each asserted by one test, and a
cost model that a test compares with a count; a published method that does not ship has a reference and what is known.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from paretorch.errors import InputError
from paretorch.methods.cost_model import CostModel, Effects, LayerShape
from paretorch.methods.taxonomy import (
    CELLS,
    VOCABULARY,
    Cell,
    Charge,
    Exclusion,
    Hook,
    Phase,
    Resource,
    Risk,
    Scale,
    Scope,
    SemanticClass,
    Status,
    Tag,
    unknown,
)


@dataclass(frozen=True, kw_only=True)
class HyperParameter:
    """A setting of a method.

    Args:
        name: as in the code, or the paper's symbol in words.
        default: a number for numeric scales, one of `choices` else; None: there is none, the user must decide.
        low, high: range that makes sense, ends included; None for choices.
        scale: how to search it: "linear", "log", "integer" or "choice".
        choices: of the scale "choice".

    Raises:
        ValueError: for a range that is empty, not positive on a log scale, or does not hold the default.
    """

    name: str
    default: float | str | None = None
    low: float | None = None
    high: float | None = None
    scale: Scale = "linear"
    choices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.scale not in get_args(Scale):
            raise ValueError(f"hyper-parameter {self.name!r}: {unknown('scale', self.scale, get_args(Scale))}")
        if self.scale == "choice":
            if self.default is not None and self.default not in self.choices:
                raise ValueError(f"hyper-parameter {self.name!r}: {self.default!r} is not among {self.choices}")
            return
        if self.low is None or self.high is None or not self.low <= self.high:
            raise ValueError(f"hyper-parameter {self.name!r}: range {self.low} to {self.high} is empty")
        if self.scale == "log" and self.low <= 0:
            raise ValueError(f"hyper-parameter {self.name!r}: a log scale begins above 0, not at {self.low}")
        if self.default is not None and not (
            isinstance(self.default, int | float) and self.low <= self.default <= self.high
        ):
            raise ValueError(
                f"hyper-parameter {self.name!r}: default {self.default!r} is outside {self.low} to {self.high}"
            )


@dataclass(frozen=True, kw_only=True)
class Reported:
    """A figure that others reported. tag: "R" read in the source, "C" computed again from published data.

    interval: as given, None unknown. seeds: number of runs, None unknown.
    """

    workload: str
    environment: str
    metric: str
    value: float
    tag: Tag
    interval: tuple[float, float] | None = None
    seeds: int | None = None

    def __post_init__(self) -> None:
        if self.tag not in get_args(Tag):
            raise ValueError(f"a reported figure is tagged R (read) or C (computed); got {self.tag!r}")
        if not math.isfinite(self.value):
            raise ValueError(f"a reported figure is a finite number; got {self.value}")


@dataclass(frozen=True, kw_only=True)
class Card:
    """What is known of one method before it is run.

    Args:
        id: short name, unique in the package, lower case.
        title: the method's name in the field.
        summary: one sentence of effect.
        year: of the publication.
        references: authors, venue, year, section; the first is the origin.
        reference_implementation: owner/name of the authors' code, "" if none is known.
        licence: of that code, "" if unknown.
        status: "stable", or "experimental" while its evidence is thin.
        implemented: whether it ships here.
        cells: what it changes and how, the main one first; empty only if nothing semantic changes.
        phase: when it acts.
        semantic_class: how far the result may differ from the run without the method.
        needs_total_duration: whether it must know how long the run will be.
        schedule_params: its own moments (name, fraction of the duration in [0, 1]), so that it rescales with the run.
        stochastic: whether it draws random numbers.
        stateful: whether it has state that checkpoints must hold.
        hooks: where in the loop it acts.
        before, after: ids that it must precede or follow.
        conflicts, composes_with: ids that exclude it, and that it is known to work with.
        relieves, worsens: resources that it saves and spends.
        caveat: what these words leave out.
        cost: its effect on cost in words.
        cost_model: the same as a function.
        charges: work outside ordinary training steps that an honest comparison must count.
        realised_by: what must be true for the saving to become time or bytes.
        hyperparams: its settings.
        tuning_cost: how many of them are sensitive.
        excludes: parameters it leaves alone by default.
        cost_scope: whether the cost model speaks of training, inference or both.
        quality_risk: how much quality is at stake.
        invariants: what must hold exactly; each is asserted by a test.
        evidence: names of result files of this project.
        reported: figures of others.

    Raises:
        ValueError: for a word outside the vocabulary or a rule that is broken; the message names both.
    """

    id: str
    title: str
    summary: str
    year: int
    references: tuple[str, ...]
    reference_implementation: str = ""
    licence: str = ""
    status: Status = "stable"
    implemented: bool = True
    cells: tuple[Cell, ...]
    phase: tuple[Phase, ...]
    semantic_class: SemanticClass = "semantic"
    needs_total_duration: bool = False
    schedule_params: tuple[tuple[str, float], ...] = ()
    stochastic: bool = False
    stateful: bool = False
    hooks: tuple[Hook, ...] = ()
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    composes_with: tuple[str, ...] = ()
    relieves: tuple[Resource, ...] = ()
    worsens: tuple[Resource, ...] = ()
    caveat: str = ""
    cost: str = ""
    cost_model: CostModel | None = None
    charges: tuple[Charge, ...] = ()
    realised_by: str = ""
    hyperparams: tuple[HyperParameter, ...] = ()
    tuning_cost: int = 0
    excludes: tuple[Exclusion, ...] = ()
    cost_scope: Scope = "training"
    quality_risk: Risk = "medium"
    invariants: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    reported: tuple[Reported, ...] = ()

    def __post_init__(self) -> None:
        self._check_words()
        self._require(bool(self.phase), "it acts in at least one phase")
        self._require(bool(self.references) and all(self.references), "it names at least one reference")
        self._require(
            bool(self.cells) or self.semantic_class != "semantic",
            "a semantic method changes at least one component; name the cell",
        )
        self._require(
            bool(self.schedule_params) or not self.needs_total_duration,
            "a method that needs the total duration lists its moments in schedule_params",
        )
        for name, fraction in self.schedule_params:
            self._require(
                0 <= fraction <= 1, f"schedule_params are fractions of the duration in [0, 1]; {name}={fraction}"
            )
        self._require(
            "retrain" not in self.phase or "retraining epochs" in self.charges,
            "a method that acts in retraining charges the retraining epochs",
        )
        self._require(self.id not in self.related, "it names itself among the methods it relates to")
        both = sorted(set(self.relieves) & set(self.worsens))
        self._require(not both, f"it both relieves and worsens {', '.join(both)}; say the rest in caveat")
        self._require(
            0 <= self.tuning_cost <= len(self.hyperparams) or not self.implemented,
            f"tuning_cost={self.tuning_cost} of {len(self.hyperparams)} hyperparams",
        )
        if self.implemented:
            self._require(bool(self.invariants), "a method that ships has invariants")
            self._require(callable(self.cost_model), "a method that ships has a callable cost_model")

    @property
    def related(self) -> tuple[str, ...]:
        """Every other id that the card names."""
        return (*self.before, *self.after, *self.conflicts, *self.composes_with)

    def effects(self, layers: Sequence[LayerShape], *, batch: int = 1, **settings: Any) -> Effects:
        """The cost model's prediction.

        Args:
            layers: of the model, as `layer_shapes` finds them; at least one.
            batch: examples per step.
            settings: by the names of `hyperparams`; what is left out takes its default.

        Returns:
            Effects by kind of cost; a kind that is absent does not change.

        Raises:
            InputError: if there is no cost model or no layer, or for a setting that is unknown or missing.
        """
        if self.cost_model is None:
            raise InputError(f"{self.id} does not ship and has no cost model; it says: {self.cost or 'nothing'}")
        if not layers or batch < 1:
            raise InputError(f"a cost model needs at least one layer and one example; got {len(layers)} and {batch}")
        names = [setting.name for setting in self.hyperparams]
        for name in settings:
            if name not in names:
                raise InputError(f"{self.id}: {unknown('setting', name, names)}")
        filled = {setting.name: setting.default for setting in self.hyperparams} | settings
        if missing := [name for name, value in filled.items() if value is None]:
            raise InputError(f"{self.id}: no value for {', '.join(missing)}, which have no default")
        return self.cost_model(layers, batch, filled)

    def _check_words(self) -> None:
        if self.id != self.id.lower() or not self.id.strip():
            raise ValueError(f"card {self.id!r}: an id is lower case and not empty")
        for cell in self.cells:
            if cell not in CELLS:
                raise ValueError(
                    f"card {self.id!r}: cell {cell} is outside the taxonomy; expected a pair of component and action"
                )
        fields: Mapping[str, Any] = {name: getattr(self, name) for name in VOCABULARY}
        for field, known in VOCABULARY.items():
            given = fields[field] if isinstance(fields[field], tuple) else (fields[field],)
            for word in given:
                if word not in known:
                    raise ValueError(f"card {self.id!r}: {field}: {unknown('word', word, known)}")

    def _require(self, holds: bool, rule: str) -> None:
        if not holds:
            raise ValueError(f"card {self.id!r}: {rule}")
