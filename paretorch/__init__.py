"""Paretorch: make a PyTorch model cheaper to train and cheaper to run, and prove it.

Public names are loaded on first use, so that `import paretorch` stays light.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "Cost": "paretorch.measurement.cost",
    "Front": "paretorch.evidence.front",
    "IMP": "paretorch.pipelines.imp",
    "MaskEnforcement": "paretorch.methods.sparsity.enforcement",
    "Masks": "paretorch.methods.sparsity.masks",
    "Method": "paretorch.methods.method",
    "SupervisedTask": "paretorch.training.supervised",
    "Task": "paretorch.training.task",
    "Trainer": "paretorch.training.trainer",
    "as_scheduler": "paretorch.methods.schedules",
    "load_model": "paretorch.artefacts.model",
    "magnitude_masks": "paretorch.methods.sparsity.magnitude",
    "measure": "paretorch.measurement.measure",
    "save_model": "paretorch.artefacts.model",
    "write_report": "paretorch.evidence.report",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        value = getattr(import_module(_PUBLIC[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'paretorch' has no attribute {name!r}; public names are {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
