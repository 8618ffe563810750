"""Learning-rate schedules as pure functions of the step, for dense training and for retraining after pruning."""

from paretorch.methods.schedules.adapter import as_scheduler
from paretorch.methods.schedules.base import Constant, Cosine, Linear, MultiStep, Ramped, Schedule, WarmupShape
from paretorch.methods.schedules.dense import DenseSchedule, check_finetune_baseline
from paretorch.methods.schedules.norms import (
    NormScope,
    adaptive_factor,
    norm_drop,
    norm_drop_of,
    removed_square,
    total_square,
)
from paretorch.methods.schedules.retraining import (
    ALLR,
    CLR,
    FT,
    LLR,
    LRW,
    RETRAINING_SCHEDULES,
    SLR,
    retraining_schedule,
)

__all__ = [
    "ALLR",
    "CLR",
    "FT",
    "LLR",
    "LRW",
    "RETRAINING_SCHEDULES",
    "SLR",
    "Constant",
    "Cosine",
    "DenseSchedule",
    "Linear",
    "MultiStep",
    "NormScope",
    "Ramped",
    "Schedule",
    "WarmupShape",
    "adaptive_factor",
    "as_scheduler",
    "check_finetune_baseline",
    "norm_drop",
    "norm_drop_of",
    "removed_square",
    "retraining_schedule",
    "total_square",
]
