"""A small sweep with known numbers: dense, then IMP with FT and ALLR at two sparsities, three seeds."""

import pytest

from paretorch.evidence.records import RunRecord

SEEDS = (0, 1, 2)
TOTAL = 1000  # prunable weights


def _record(*, arm, group, seed, quality, validation=None, run_id=None, **more):
    fields = {
        "run_id": run_id or f"{arm}-s{seed}",
        "arm": arm,
        "group": group,
        "seed": seed,
        "workload": "digits",
        "metric": "accuracy",
        "quality": quality,
        "validation": quality if validation is None else validation,
    }
    return RunRecord(**fields | more)


def _speedups(value, *, quiet=True):
    entry = {
        "batch": 1,
        "value": value,
        "low": value - 0.01,
        "high": value + 0.01,
        "n": 7,
        "coverage": 0.98,
        "quiet": quiet,
        "reason": None if quiet else "not certified: the load average was 9.0",
    }
    return {"phase": "latency", "speedups": [entry]}


def _sweep(*, speed=1.0, quiet=True, dense=(0.970, 0.972, 0.968), seeds=SEEDS):
    cost = {
        "params": 1100,
        "nonzeros": 1100,
        "payload_bytes": 4400,
        "metadata_bytes": 0,
        "macs_dense": 80_000,
        "macs_nonzero": 80_000,
        "seconds": 40.0,
    }
    curve = [{"step": i, "lr": 0.1 - 0.01 * i, "validation": 0.1 * i, "train_loss": 1.0} for i in range(8)]
    records = [
        _record(
            arm="dense",
            group={"method": "dense"},
            seed=seed,
            quality=dense[seed],
            cost=cost,
            curves=curve,
            phases=[{"phase": "dense", "epochs": 10.0, "seconds": 40.0}],
            env={"cpu": "a processor", "threads": 1, "packages": {"torch": "2.13.0"}},
        )
        for seed in seeds
    ]
    levels = {("FT", 0.9): 0.03, ("ALLR", 0.9): 0.01, ("FT", 0.98): 0.20, ("ALLR", 0.98): 0.10}
    wiggle = (0.002, 0.0, -0.002)
    for (schedule, sparsity), loss in levels.items():
        for seed in seeds:
            pruned = round(TOTAL * sparsity)
            quality = dense[seed] - loss + (wiggle[seed] if schedule == "ALLR" else 0.0)
            phases = [
                {"phase": "dense", "epochs": 10.0, "seconds": 40.0},
                {
                    "phase": "prune-0",
                    "kept": TOTAL - pruned,
                    "pruned": pruned,
                    "validation_raw": quality - 0.4,
                    "validation_reestimated": quality - 0.2,
                    "d1": 0.3125,
                    "mask_hash": "c0ffee" * 10,
                },
                {"phase": "retrain-0", "epochs": 2.0, "seconds": 8.0, "lr_peak": 0.0625, "d2": 0.2},
                _speedups(speed + 0.001 * seed, quiet=quiet),
            ]
            records.append(
                _record(
                    arm=f"IMP {schedule} {sparsity:.0%}",
                    group={"method": "IMP", "schedule": schedule, "sparsity": sparsity, "epochs": 2.0, "cycles": 1},
                    seed=seed,
                    quality=quality,
                    cost=cost | {"nonzeros": 1100 - pruned, "macs_nonzero": 80 * (TOTAL - pruned), "seconds": 48.0},
                    curves=curve + curve[:4],
                    phases=phases,
                )
            )
    return records


@pytest.fixture(scope="session")
def record():
    """Builder of one record."""
    return _record


@pytest.fixture(scope="session")
def sweep():
    """Builder of the whole sweep."""
    return _sweep


@pytest.fixture(scope="session")
def speedups():
    """Builder of a ledger line with one measured speed-up."""
    return _speedups
