"""Runs with known side effects, shared by the tests of their words and tables."""

from typing import Any

from paretorch.evidence.records import RunRecord


def of_classes(
    cat: float = 0.8, dog: float = 0.9, *, rate: float = 0.1, warnings: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Two classes, 0.9 right of each before; 200 examples each."""
    return {
        "examples": 400,
        "per_class": {
            "labels": ["cat", "dog"],
            "dense": [0.9, 0.9],
            "candidate": [cat, dog],
            "counts": [200, 200],
            "lost": [round(200 * (0.9 - cat)), 0],
            "gained": [0, round(200 * (dog - 0.9))],
        },
        "worst_class": {"label": "cat", "change": cat - 0.9},
        "mean_change": (cat + dog) / 2 - 0.9,
        "disagreement": {"rate": rate, "low": rate - 0.02, "high": rate + 0.03},
        "calibration": {"dense": 0.021, "candidate": 0.043},
        "corruptions": [
            {"name": "noise", "severity": 1, "dense": 0.8, "candidate": 0.7, "examples": 400},
            {"name": "blur", "severity": 3, "dense": 0.8, "candidate": 0.5, "examples": 400},
        ],
        "warnings": list(warnings),
    }


def of_texts(law: float = 3.0) -> dict[str, Any]:
    return {
        "examples": 50,
        "domains": [
            {"name": "test text, part 1 of 1", "dense": 2.0, "candidate": 2.25, "tokens": 1000},
            {"name": "law", "dense": 2.5, "candidate": law, "tokens": 300},
        ],
        "kl": 0.125,
        "warnings": [],
    }


def run(effects: dict[str, Any], *, seed: int = 0, status: str = "ok") -> RunRecord:
    return RunRecord(
        run_id=f"r{seed}",
        arm="a",
        group={},
        seed=seed,
        workload="w",
        metric="accuracy",
        status=status,
        side_effects=effects,
    )
