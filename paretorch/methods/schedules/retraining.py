"""Learning-rate schedules for retraining a pruned model: FT, LRW, SLR, CLR, LLR and ALLR.

They trade accuracy after pruning against retraining steps; none costs anything per step. With N steps in the phase,
W = floor(0.1 N) of them a cosine ramp from 0 (none for FT and LRW), R = N - W, u = t - W, and L the recorded sequence
of the dense run with largest value max and lowest value min after its own warm-up:

    FT    lr(t) = min                                              Han et al. 2015
    LRW   lr(t) = L[|L| - N + t]                                   Renda et al. 2020
    SLR   lr(t) = L'[floor(u |L| / R)], L' = L, its warm-up = max  Le and Hua 2021, generalised
    CLR   lr(t) = min + (max - min) (1 + cos(pi u / R)) / 2        Le and Hua 2021
    LLR   lr(t) = max (1 - u / R)                                  Zimmer, Spiegel and Pokutta 2023
    ALLR  lr(t) = d max (1 - u / R),  d = min(1, max(d1, d2))      Zimmer, Spiegel and Pokutta 2023, equation (1)

Deviations from the authors' scheduler: the peak is used once and the last value of LLR is peak / R (theirs is one step
late), CLR does not overshoot its peak, and a later phase does not inherit `initial_lr` from an earlier one.
"""

import warnings
from dataclasses import dataclass, field

from paretorch.errors import InputError, NoEffectWarning
from paretorch.methods.schedules.base import Cosine, Linear, Ramped, Schedule, WarmupShape, require_lr
from paretorch.methods.schedules.dense import DenseSchedule
from paretorch.methods.schedules.norms import adaptive_factor

RETRAINING_SCHEDULES = ("FT", "LRW", "SLR", "CLR", "LLR", "ALLR")
WARMUP = 0.1


@dataclass(frozen=True, kw_only=True)
class FT(Schedule):
    """Fine-tune at one low learning rate `lr`, by definition the lowest of the dense run after its warm-up."""

    lr: float

    def __post_init__(self) -> None:
        super().__post_init__()
        require_lr(self.lr, name="lr")

    def lr_at(self, step: int) -> float:
        """The same at every step."""
        return self.lr


@dataclass(frozen=True, kw_only=True)
class LRW(Schedule):
    """Rewind the learning rate: replay the last `num_steps` entries of `dense.trace`.

    Raises:
        InputError: if the dense run was not recorded or is shorter than the phase.
    """

    dense: DenseSchedule

    def __post_init__(self) -> None:
        super().__post_init__()
        trace = _trace("LRW", self.dense)
        if self.num_steps > len(trace):
            raise InputError(
                f"LRW replays the last {self.num_steps} steps of the dense run, which had only {len(trace)}; retrain "
                f"for at most {len(trace)} steps, or take SLR, which rescales the sequence"
            )

    def lr_at(self, step: int) -> float:
        """L[|L| - N + t]."""
        trace = _trace("LRW", self.dense)
        return trace[len(trace) - self.num_steps + step]


@dataclass(frozen=True, kw_only=True)
class SLR(Ramped):
    """The whole dense schedule squeezed (or stretched) into the phase, and scaled so that its peak is `peak`.

    Raises:
        InputError: if the dense run was not recorded.
    """

    dense: DenseSchedule
    warmup: float = WARMUP
    warmup_shape: WarmupShape = "cosine"

    def __post_init__(self) -> None:
        super().__post_init__()
        _trace("SLR", self.dense)
        if self.dense.peak == 0:
            raise InputError("SLR scales the dense schedule, whose learning rate was 0 throughout")

    def after_warmup(self, step: int) -> float:
        """L'[floor(u |L| / R)], where the dense run's own warm-up is replaced by its peak."""
        trace = _trace("SLR", self.dense)
        position = step * len(trace) // self.decay_steps
        if position < self.dense.warmup_steps:
            return self.peak
        # A product by exactly 1.0 leaves the recorded values bitwise as they were.
        return trace[position] * (self.peak / self.dense.peak)


@dataclass(frozen=True, kw_only=True)
class CLR(Cosine):
    """A cosine from the dense run's peak to its lowest learning rate `floor`."""

    floor: float
    warmup: float = WARMUP
    warmup_shape: WarmupShape = "cosine"


@dataclass(frozen=True, kw_only=True)
class LLR(Linear):
    """A straight line from the dense run's peak to 0."""

    warmup: float = WARMUP
    warmup_shape: WarmupShape = "cosine"


@dataclass(frozen=True, kw_only=True)
class ALLR(Linear):
    """LLR whose peak shrinks with the damage and the budget: peak = factor * dense_peak.

    Args:
        dense_peak: highest learning rate of the dense run.
        norm_drop: d1, how hard this pruning step hit (see `norms.norm_drop`).
        budget_ratio: d2, epochs of this phase over epochs of the dense run.
    """

    peak: float = field(init=False)
    dense_peak: float
    norm_drop: float
    budget_ratio: float
    warmup: float = WARMUP
    warmup_shape: WarmupShape = "cosine"

    def __post_init__(self) -> None:
        require_lr(self.dense_peak, name="dense_peak")
        object.__setattr__(self, "peak", self.factor * self.dense_peak)
        super().__post_init__()

    @property
    def factor(self) -> float:
        """d = min(1, max(norm_drop, budget_ratio))."""
        return adaptive_factor(norm_drop=self.norm_drop, budget_ratio=self.budget_ratio)


def retraining_schedule(
    name: str,
    *,
    num_steps: int,
    dense: DenseSchedule | None = None,
    lr: float | None = None,
    warmup: float | None = None,
    norm_drop: float | None = None,
    budget_ratio: float | None = None,
) -> Schedule:
    """A retraining schedule by name, from what is known of the dense run and of the pruning step.

    Args:
        name: one of `RETRAINING_SCHEDULES`, in any case.
        num_steps: optimizer steps of this retraining phase.
        dense: the learning rate of the run that produced the model. LRW and SLR need its trace, CLR and FT its floor,
            all others its peak; LLR and FT with a given `lr` do without it.
        lr: a tuned learning rate: the constant of FT, the peak of SLR, CLR and LLR. LRW and ALLR take none.
        warmup: fraction of the steps spent on the cosine ramp; None is 0.1, and no ramp for FT and LRW, which take
            none.
        norm_drop: d1 of this pruning step; needed by ALLR, and left unused by the others.
        budget_ratio: d2 = epochs of this phase / epochs of the dense run; used by ALLR alone. None: the ratio of the
            steps, if `dense` knows its own, which is the same where both runs have equally many steps per epoch.

    Returns:
        A frozen schedule of `num_steps` steps.

    Raises:
        InputError: if something the schedule needs is missing, or an option is given that it does not have.

    Warns:
        NoEffectWarning: if FT's learning rate is near zero against the dense peak, or ALLR's factor is 0.
        UserWarning: if ALLR does not know the dense run's length, and d2 is taken as 0.
    """
    kind = name.upper()
    if kind not in RETRAINING_SCHEDULES:
        raise InputError(f"{name!r} is not a retraining schedule; choose from {', '.join(RETRAINING_SCHEDULES)}")
    if warmup is not None and kind in ("FT", "LRW"):
        raise InputError(f"{kind} has no warm-up; got warmup={warmup}. Leave it out.")
    if lr is not None and kind in ("LRW", "ALLR"):
        raise InputError(
            f"{kind} takes its learning rate from the dense run; got lr={lr}. For a tuned peak take LLR, or give "
            f"another dense.peak."
        )
    if kind == "FT":
        return _finetune(num_steps, dense, lr)
    ramp = WARMUP if warmup is None else warmup
    if kind == "LLR" and lr is not None:
        return LLR(num_steps=num_steps, peak=lr, warmup=ramp)
    if dense is None:
        raise InputError(f"{kind} is defined relative to the dense run; give dense=DenseSchedule...")
    peak = dense.peak if lr is None else lr
    if kind == "LRW":
        return LRW(num_steps=num_steps, dense=dense)
    if kind == "SLR":
        return SLR(num_steps=num_steps, peak=peak, dense=dense, warmup=ramp)
    if kind == "CLR":
        floor = _floor("CLR", dense)
        if floor > peak:
            raise InputError(
                f"CLR falls to the lowest learning rate of the dense run, {floor:.3g}, which is above its own peak "
                f"{peak:.3g}; give a higher lr, or choose LLR, which falls to 0"
            )
        return CLR(num_steps=num_steps, peak=peak, floor=floor, warmup=ramp)
    if kind == "LLR":
        return LLR(num_steps=num_steps, peak=peak, warmup=ramp)
    return _adaptive(num_steps, dense, ramp, norm_drop, budget_ratio)


def _finetune(num_steps: int, dense: DenseSchedule | None, lr: float | None) -> FT:
    if lr is not None:
        return FT(num_steps=num_steps, lr=lr)
    if dense is None:
        raise InputError("FT retrains at the dense run's lowest learning rate; give dense=DenseSchedule... or lr=...")
    floor = _floor("FT", dense)
    if dense.ended_near_zero:
        warnings.warn(
            f"FT at {floor:.3g}, the lowest learning rate of the dense run, hardly moves the weights (its peak was "
            f"{dense.peak:.3g}); give lr=... for a baseline worth comparing with",
            NoEffectWarning,
            stacklevel=3,
        )
    return FT(num_steps=num_steps, lr=floor)


def _adaptive(
    num_steps: int, dense: DenseSchedule, warmup: float, norm_drop: float | None, budget_ratio: float | None
) -> ALLR:
    if norm_drop is None:
        raise InputError("ALLR needs the norm drop of this pruning step; give norm_drop=norm_drop(...)")
    if budget_ratio is None and dense.num_steps is not None:
        budget_ratio = num_steps / dense.num_steps
    if budget_ratio is None:
        warnings.warn(
            "ALLR does not know how long the dense run was, so the budget ratio is taken as 0 and the peak follows the "
            "norm drop alone, which is too low for a long retraining after light pruning; give budget_ratio=... or the "
            "dense run's num_steps",
            UserWarning,
            stacklevel=3,
        )
        budget_ratio = 0.0
    schedule = ALLR(
        num_steps=num_steps, dense_peak=dense.peak, norm_drop=norm_drop, budget_ratio=budget_ratio, warmup=warmup
    )
    if num_steps and schedule.factor == 0:
        warnings.warn(
            "ALLR's factor is 0 (norm drop 0, budget ratio 0), so its learning rate is 0 throughout and retraining "
            "changes no weight",
            NoEffectWarning,
            stacklevel=3,
        )
    return schedule


def _trace(name: str, dense: DenseSchedule) -> tuple[float, ...]:
    if dense.trace is None:
        raise InputError(
            f"{name} needs the dense run's learning rate at every step, and only its ends are known; give "
            f"DenseSchedule.recorded(trace, warmup_steps=...), or take LLR or ALLR"
        )
    return dense.trace


def _floor(name: str, dense: DenseSchedule) -> float:
    if dense.floor is None:
        raise InputError(
            f"{name} needs the dense run's lowest learning rate after warm-up, which is unknown; give floor= to "
            f"DenseSchedule.summary, or a recorded trace"
        )
    return dense.floor
