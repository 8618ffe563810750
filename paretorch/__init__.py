"""Paretorch: make a PyTorch model cheaper to train and cheaper to run, and prove it.

Public names are loaded on first use, so that `import paretorch` stays light.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "ALLR": "paretorch.methods.schedules",
    "Cost": "paretorch.measurement.cost",
    "DenseSchedule": "paretorch.methods.schedules",
    "Front": "paretorch.evidence.front",
    "HostRun": "paretorch.integrations.host",
    "IMP": "paretorch.pipelines.imp",
    "LLR": "paretorch.methods.schedules",
    "MaskEdit": "paretorch.artefacts.mask_edit",
    "MaskEnforcement": "paretorch.methods.sparsity.enforcement",
    "Masks": "paretorch.methods.sparsity.masks",
    "Method": "paretorch.methods.method",
    "MultiStep": "paretorch.methods.schedules",
    "OptimizerSpec": "paretorch.training.settings",
    "Retraining": "paretorch.pipelines.imp",
    "Run": "paretorch.methods.method",
    "Selection": "paretorch.pipelines.pruning_step",
    "SupervisedTask": "paretorch.training.supervised",
    "Task": "paretorch.training.task",
    "TrainSettings": "paretorch.training.settings",
    "Trainer": "paretorch.training.trainer",
    "as_scheduler": "paretorch.methods.schedules",
    "load_model": "paretorch.artefacts.model",
    "magnitude_masks": "paretorch.methods.sparsity.magnitude",
    "measure": "paretorch.measurement.measure",
    "nm_masks": "paretorch.methods.sparsity.patterns",
    "norm_drop_of": "paretorch.methods.schedules",
    "retraining_schedule": "paretorch.methods.schedules",
    "save_model": "paretorch.artefacts.model",
    "train_dense": "paretorch.pipelines.dense",
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
