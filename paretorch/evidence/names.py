"""What an arm is called in sentences and figures, and the order in which arms are listed."""

from collections.abc import Iterable, Sequence

from paretorch.evidence.arms import Arm
from paretorch.evidence.quantities import removed_share
from paretorch.evidence.words import setting

TUNED = "tuned"  # True when a rate was chosen among trials
LEVELS = ("sparsity", "params", "macs", "activations", "width")  # how far an arm compresses
SWEPT = (*LEVELS, "epochs", "cycles")  # what describes a setting rather than a competitor


def name_of(arm: Arm, *, without: Sequence[str] = ()) -> str:
    """An arm in words from its factors, 'IMP with ALLR at 90 % sparsity and 2 retraining epochs'; else its label."""
    group = {key: value for key, value in arm.group.items() if key not in without}
    method, schedule = group.pop("method", None), group.pop("schedule", None)
    if group.pop(TUNED, False) and schedule is not None:
        schedule = f"tuned {schedule}"
    if method is None:
        return arm.label
    name = str(method) if schedule is None else f"{method} with {schedule}"
    where = {key: group.pop(key) for key in SWEPT if key in group and (key != "cycles" or group[key] != 1)}
    group.pop("cycles", None)
    rest = f" ({setting(group)})" if group else ""
    return f"{name}{rest} at {setting(where)}" if where else f"{name}{rest}"


def series_name(arm: Arm) -> str:
    """The name without what is swept: one series is one recipe at several sizes. The dense model is "dense"."""
    return "dense" if arm.is_baseline else name_of(arm, without=LEVELS)


def level(arm: Arm) -> float:
    """The sparsity an arm was asked for, else the share that it removed; 0 when neither is known."""
    wanted = arm.group.get("sparsity")
    if isinstance(wanted, int | float):
        return float(wanted)
    measured = arm.interval(removed_share)
    return 0.0 if measured is None else round(measured.mean, 6)


def ordered(arms: Iterable[Arm]) -> list[Arm]:
    """Dense first, then by what was removed, whole models last; at equal shares as the series first appear."""
    arms = list(arms)
    position = {name: i for i, name in enumerate(dict.fromkeys(map(series_name, arms)))}
    return sorted(arms, key=lambda arm: (not arm.is_baseline, arm.is_whole, level(arm), position[series_name(arm)]))
