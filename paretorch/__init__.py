"""Paretorch: make a PyTorch model cheaper to train and cheaper to run, and prove it.

Public names are loaded on first use, so that `import paretorch` stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what type checkers and editors see of the names below
    from paretorch.artefacts.mask_edit import MaskEdit as MaskEdit
    from paretorch.artefacts.model import load_model as load_model
    from paretorch.artefacts.model import save_model as save_model
    from paretorch.evidence.front import Front as Front
    from paretorch.evidence.report import write_report as write_report
    from paretorch.evidence.sources import load_sources as load_sources
    from paretorch.integrations.host import HostRun as HostRun
    from paretorch.measurement.cost import Cost as Cost
    from paretorch.measurement.measure import measure as measure
    from paretorch.methods.method import Method as Method
    from paretorch.methods.method import Run as Run
    from paretorch.methods.schedules import ALLR as ALLR
    from paretorch.methods.schedules import LLR as LLR
    from paretorch.methods.schedules import DenseSchedule as DenseSchedule
    from paretorch.methods.schedules import MultiStep as MultiStep
    from paretorch.methods.schedules import as_scheduler as as_scheduler
    from paretorch.methods.schedules import norm_drop_of as norm_drop_of
    from paretorch.methods.schedules import retraining_schedule as retraining_schedule
    from paretorch.methods.sparsity.enforcement import MaskEnforcement as MaskEnforcement
    from paretorch.methods.sparsity.magnitude import magnitude_masks as magnitude_masks
    from paretorch.methods.sparsity.masks import Masks as Masks
    from paretorch.methods.sparsity.patterns import nm_masks as nm_masks
    from paretorch.pipelines.dense import train_dense as train_dense
    from paretorch.pipelines.imp import IMP as IMP
    from paretorch.pipelines.imp import Retraining as Retraining
    from paretorch.pipelines.pruning_step import Selection as Selection
    from paretorch.training.published import load_published as load_published
    from paretorch.training.settings import OptimizerSpec as OptimizerSpec
    from paretorch.training.settings import TrainSettings as TrainSettings
    from paretorch.training.supervised import SupervisedTask as SupervisedTask
    from paretorch.training.task import Task as Task
    from paretorch.training.trainer import Trainer as Trainer

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
    "load_published": "paretorch.training.published",
    "load_sources": "paretorch.evidence.sources",
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
