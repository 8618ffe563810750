"""Records of models that were cut, beside those of the small sweep."""

from collections.abc import Sequence
from typing import Any

from paretorch.evidence.records import RunRecord

FULL = {"conv1": 16, "conv2": 32, "<fc>": 64}
WHOLE = {"params": 1100, "macs": 80_000}


def cut_records(
    *,
    part: float = 0.5,
    seeds: Sequence[int] = (0, 1, 2),
    quality: float = 0.95,
    speed: tuple[float, float, float] | None = (1.30, 1.25, 1.36),
    quiet: bool = True,
    widths: Sequence[Sequence[int]] | None = None,
) -> list[RunRecord]:
    """One arm, cut to `part` of everything; `widths` by seed where they differ."""
    found = []
    for position, seed in enumerate(seeds):
        profile = [round(part * size) for size in FULL.values()] if widths is None else widths[position]
        phases: list[dict[str, Any]] = [
            {"phase": "dense", "epochs": 10.0, "seconds": 40.0},
            {
                "phase": "cut",
                "kind": "cut",
                "widths": [
                    {"group": name, "width": width, "full": full}
                    for (name, full), width in zip(FULL.items(), profile, strict=True)
                ],
                "params": round(part * WHOLE["params"]),
                "params_full": WHOLE["params"],
                "validation_raw": quality - 0.3,
                "d1": 0.5,
            },
            {"phase": "retrain", "epochs": 2.0, "seconds": 8.0, "lr_peak": 0.05, "d2": 0.2},
        ]
        if speed is not None:
            value, low, high = speed
            entry = {"batch": 1, "value": value, "low": low, "high": high, "n": 7, "coverage": 0.98}
            noisy = {"quiet": quiet, "reason": None if quiet else "not certified: the load average was 9.0"}
            phases.append({"phase": "measure", "speedups": [entry | noisy]})
        counts = {
            "params": round(part * WHOLE["params"]),
            "nonzeros": round(part * WHOLE["params"]),
            "payload_bytes": 4 * round(part * WHOLE["params"]),
            "metadata_bytes": 0,
            "macs_dense": round(part * WHOLE["macs"]),
            "macs_nonzero": round(part * WHOLE["macs"]),
            "seconds": 48.0,
        }
        found.append(
            RunRecord(
                run_id=f"cut-{part}-s{seed}",
                arm=f"cut ALLR {part:.0%} params",
                group={"method": "cut", "schedule": "ALLR", "epochs": 2.0, "params": part},
                seed=seed,
                workload="digits",
                metric="accuracy",
                quality=quality,
                validation=quality,
                cost=counts,
                phases=phases,
            )
        )
    return found
