"""What a model costs to hold, to run and to train; what is not known is None, never a guess.

Theoretical and measured quantities never share a name: `macs_reduction` divides counted multiply-accumulates,
`speedup` divides measured seconds. Zeros in a dense tensor reduce the first and not the second.
"""

import difflib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from paretorch.measurement.interleaved import Ratio
from paretorch.measurement.latency import Latency

_COUNTS = (
    "params",
    "nonzeros",
    "payload_bytes",
    "metadata_bytes",
    "macs_dense",
    "macs_nonzero",
    "training_flops",
    "samples",
    "teacher_samples",
    "steps",
    "peak_bytes",
    "communication_bytes",
)
_AMOUNTS = ("seconds", "longest_path_s", "energy_j")
_SUMMED = ("training_flops", "samples", "teacher_samples", "steps", *_AMOUNTS, "communication_bytes")
_PARTS = (("nonzeros", "params"), ("macs_nonzero", "macs_dense"), ("longest_path_s", "seconds"))


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost side of a result. Every field may be None: not known.

    The model: params and nonzeros (entries of parameters, tied ones once); payload_bytes (values as stored) and
    metadata_bytes (masks, indices, scales, codebooks); macs_dense and macs_nonzero of one example's forward pass;
    uncounted, the arithmetic that those two do not contain; latency, one entry per batch size and setting.

    Its training, all phases together, with retraining, scoring and teacher passes: training_flops (2 per MAC), samples
    (examples seen), teacher_samples (examples that a teacher was run on), steps (optimizer steps), seconds (wall),
    longest_path_s, energy_j, peak_bytes (largest memory of any phase), communication_bytes (sent by all processes).

    longest_path_s are the seconds of the longest chain of phases that wait for one another: of phases that do not, such
    as the copies of a soup, only the slowest counts. A bound from each phase's own seconds, no measured parallel run.
    """

    params: int | None = None
    nonzeros: int | None = None
    payload_bytes: int | None = None
    metadata_bytes: int | None = None
    macs_dense: int | None = None
    macs_nonzero: int | None = None
    uncounted: tuple[str, ...] = ()
    latency: tuple[Latency, ...] = ()
    training_flops: int | None = None
    samples: int | None = None
    teacher_samples: int | None = None
    steps: int | None = None
    seconds: float | None = None
    longest_path_s: float | None = None
    energy_j: float | None = None
    peak_bytes: int | None = None
    communication_bytes: int | None = None

    def __post_init__(self) -> None:
        for name in _COUNTS:
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
                raise ValueError(f"Cost.{name} must be None or a whole number of at least 0; got {value!r}.")
        for name in _AMOUNTS:
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"Cost.{name} must be None or a finite number of at least 0; got {value!r}.")
        for part, whole in _PARTS:
            small, large = getattr(self, part), getattr(self, whole)
            if small is not None and large is not None and small > large:
                raise ValueError(f"Cost.{part} ({small}) cannot exceed Cost.{whole} ({large}).")

    @property
    def total_bytes(self) -> int | None:
        """Payload and metadata together; None unless both are known."""
        if self.payload_bytes is None or self.metadata_bytes is None:
            return None
        return self.payload_bytes + self.metadata_bytes

    @property
    def bits_per_param(self) -> float | None:
        """Stored bits per parameter, metadata included; None unless known."""
        return 8 * self.total_bytes / self.params if self.total_bytes is not None and self.params else None

    def plus_training(self, other: "Cost") -> "Cost":
        """This cost with another phase's training added: sums, and the larger peak; the model's own fields stay.

        The phases wait for one another, so that longest paths add up too. A sum with an unknown part is unknown.
        """
        changes: dict[str, Any] = {}
        for name in (*_SUMMED, "peak_bytes"):
            mine, its = getattr(self, name), getattr(other, name)
            known = mine is not None and its is not None
            changes[name] = (max(mine, its) if name == "peak_bytes" else mine + its) if known else None
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """JSON values only; `Cost.from_dict` gives back an equal object."""
        return {**asdict(self), "uncounted": list(self.uncounted), "latency": [asdict(entry) for entry in self.latency]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Cost":
        """Read what `to_dict` wrote; a key left out is None.

        Raises:
            ValueError: an unknown key (the nearest known one is named), a latency entry that is incomplete, or a value
                that a cost cannot have.
        """
        _refuse_unknown(cls, values)
        latency = []
        for entry in values.get("latency", ()):
            _refuse_unknown(Latency, entry)
            try:
                latency.append(Latency(**entry))
            except TypeError as error:  # a required field is missing; dataclasses name it in the message
                raise ValueError(f"latency entry is incomplete: {error}") from error
        return cls(**{**values, "uncounted": tuple(values.get("uncounted", ())), "latency": tuple(latency)})


def _refuse_unknown(kind: type[Cost] | type[Latency], values: Mapping[str, Any]) -> None:
    known = [field.name for field in fields(kind)]
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known keys are {', '.join(known)}."
            raise ValueError(f"{kind.__name__} has no field {key!r}{hint}")


def macs_reduction(baseline: Cost, candidate: Cost) -> float:
    """Counted MACs of the dense baseline over the candidate's nonzero MACs; theoretical, says nothing about time.

        macs_reduction = baseline.macs_dense / candidate.macs_nonzero

    Raises:
        ValueError: a count is missing, incomplete (uncounted arithmetic) or zero.
    """
    for name, cost in (("baseline", baseline), ("candidate", candidate)):
        if cost.uncounted:
            raise ValueError(
                f"the {name}'s MACs are incomplete, so their ratio would mislead; uncounted: "
                f"{'; '.join(cost.uncounted)}. Compare measured time instead."
            )
    if not baseline.macs_dense or not candidate.macs_nonzero:
        raise ValueError(
            f"macs_reduction needs positive counts; got baseline.macs_dense={baseline.macs_dense}, "
            f"candidate.macs_nonzero={candidate.macs_nonzero}."
        )
    return baseline.macs_dense / candidate.macs_nonzero


def speedup(baseline: Cost, candidate: Cost, *, batch: int = 1) -> Ratio:
    """Measured seconds of the baseline over the candidate's (p10 of both) at one batch size; above 1 is faster.

    For a claim use `interleaved.ratio`: two separate measurements drift apart by tens of per cent.

    Returns:
        A `Ratio` of one pair, so without an interval (coverage 0); `quiet` only when both latencies are.

    Raises:
        ValueError: no latency, or several, at this batch size; different device or threads.
    """
    entries = []
    for name, cost in (("baseline", baseline), ("candidate", candidate)):
        found = [entry for entry in cost.latency if entry.batch == batch]
        if len(found) != 1:
            raise ValueError(f"the {name} has {len(found)} latencies at batch size {batch}; expected exactly one.")
        entries.append(found[0])
    before, after = entries
    for field in ("device", "threads"):
        if getattr(before, field) != getattr(after, field):
            raise ValueError(
                f"a speedup needs equal {field}; got {getattr(before, field)!r} and {getattr(after, field)!r}."
            )
    value = before.p10_s / after.p10_s
    named = (("baseline", before), ("candidate", after))
    reasons = [f"{name}: {entry.reason}" for name, entry in named if not entry.quiet]
    return Ratio(
        value=value, low=value, high=value, n=1, coverage=0.0, quiet=not reasons, reason="; ".join(reasons) or None
    )
