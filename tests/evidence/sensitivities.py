"""Sensitivities with known numbers: three layers, of which one loses much, one a little, and one gains."""

from typing import Any

from paretorch.evidence.sensitivity import PrunedLayer, SensitivityRecord

LEVELS = (0.5, 0.9, 0.98)


def sensitivities(*names: str, **changes: object) -> SensitivityRecord:
    """Accuracies of a dense model at 0.9; `names` add layers that lose nothing."""
    layers = (
        PrunedLayer(
            name="stem.weight",
            weights=100,
            macs=5000,
            pruned=(50, 90, 98),
            quality=(0.9, 0.8, 0.4),
            aliases=("b.weight",),
        ),
        PrunedLayer(name="body.weight", weights=1900, macs=None, pruned=(950, 1710, 1862), quality=(0.89, 0.89, 0.85)),
        PrunedLayer(name="head.weight", weights=20, macs=20, pruned=(10, 18, 20), quality=(0.91, 0.9, 0.9)),
        *(PrunedLayer(name=name, weights=10, macs=10, pruned=(5, 9, 10), quality=(0.9, 0.9, 0.9)) for name in names),
    )
    values: dict[str, Any] = {
        "task": "digits",
        "metric": "accuracy",
        "higher_is_better": True,
        "dense": 0.9,
        "sparsities": LEVELS,
        "layers": layers,
        "examples": 200,
        "reestimate_batches": 2,
        "seed": 3,
        "env": {"cpu": "a processor", "threads": 1, "packages": {"torch": "2.13.0"}},
    }
    return SensitivityRecord(**values | changes)
