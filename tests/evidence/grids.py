"""Records of invented grids of learning rate and epsilon, with known bests."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from paretorch.evidence.arms import Arm, arms_of
from paretorch.evidence.records import RunRecord

Point = tuple[float, float | None]
RATES, EPSILONS = (0.1, 1.0, 10.0), (0.01, 1.0, 100.0)


def point(
    optimizer: str,
    rate: float,
    epsilon: float | None,
    qualities: Sequence[float | None],
    *,
    metric: str = "accuracy",
    higher_is_better: bool = True,
    factors: Mapping[str, object] | None = None,
) -> list[RunRecord]:
    """One run per quality; None is a run that diverged. Test quality is validation plus a hundredth of it."""
    label = f"{optimizer} lr {rate:g}" + ("" if epsilon is None else f" eps {epsilon:g}")
    group = {"optimizer": optimizer, "epochs in all": 2.0, "lr": rate, **(factors or {})}
    return [
        RunRecord(
            run_id=f"{label}-s{seed}",
            arm=" ".join([label, *(f"{key} {value}" for key, value in (factors or {}).items())]),
            group=group | ({} if epsilon is None else {"eps": epsilon}),
            seed=seed,
            workload="digits",
            metric=metric,
            higher_is_better=higher_is_better,
            quality=None if quality is None else 1.01 * quality,
            validation=quality,
            status="ok" if quality is not None else "diverged",
            phases=[{"phase": "train", "kind": "dense", "epochs": 2.0, "steps": 20, "lr_peak": rate}],
        )
        for seed, quality in enumerate(qualities)
    ]


def valley(optimizer: str, *, follows: bool, seeds: int = 3, **more: Any) -> list[RunRecord]:
    """A grid whose best rate is 1 at every epsilon, or follows epsilon to the ends of the rates."""
    records = []
    for rate in RATES:
        for epsilon in EPSILONS:
            best = {0.01: 0.1, 1.0: 1.0, 100.0: 10.0}[epsilon] if follows else 1.0
            away = abs(math.log10(rate / best))
            qualities = [0.9 - 0.2 * away + 0.001 * seed for seed in range(seeds)]
            records += point(optimizer, rate, epsilon, qualities, **more)
    return records


def dense(seeds: int = 3) -> list[RunRecord]:
    """The dense arm beside them."""
    return [
        RunRecord(
            run_id=f"dense-s{seed}",
            arm="dense",
            group={"method": "dense"},
            seed=seed,
            workload="digits",
            metric="accuracy",
            quality=0.85 + 0.001 * seed,
            validation=0.85,
            phases=[{"phase": "dense", "kind": "dense", "epochs": 2.0}],
        )
        for seed in range(seeds)
    ]


def arms(*records: Iterable[RunRecord]) -> list[Arm]:
    """The arms of several lists of records."""
    return arms_of([record for found in records for record in found])
