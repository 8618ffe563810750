"""Paretorch: make a PyTorch model cheaper to train and cheaper to run, and prove it.

Public names are loaded on first use, so that `import paretorch` stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paretorch.artefacts.cut_edit import CutEdit as CutEdit
    from paretorch.artefacts.mask_edit import MaskEdit as MaskEdit
    from paretorch.artefacts.model import load_model as load_model
    from paretorch.artefacts.model import save_model as save_model
    from paretorch.comparisons import compare as compare
    from paretorch.evidence.censored import time_to_target as time_to_target
    from paretorch.evidence.claims import claim as claim
    from paretorch.evidence.curves import TradeoffCurve as TradeoffCurve
    from paretorch.evidence.effect import effect as effect
    from paretorch.evidence.families import families_of as families_of
    from paretorch.evidence.front import Front as Front
    from paretorch.evidence.hypervolume import hypervolume_difference as hypervolume_difference
    from paretorch.evidence.report import write_report as write_report
    from paretorch.evidence.sources import load_sources as load_sources
    from paretorch.evidence.speedup import compare_families as compare_families
    from paretorch.evidence.statistics import Interval as Interval
    from paretorch.integrations.host import HostRun as HostRun
    from paretorch.measurement.cost import Cost as Cost
    from paretorch.measurement.energy import energy_meter as energy_meter
    from paretorch.measurement.flops import count_flops as count_flops
    from paretorch.measurement.measure import measure as measure
    from paretorch.measurement.step_costs import step_costs as step_costs
    from paretorch.methods.averaging.streaming import average_files as average_files
    from paretorch.methods.averaging.swa import SWA as SWA
    from paretorch.methods.distillation.settings import DistillationSettings as DistillationSettings
    from paretorch.methods.distillation.teacher import Distillation as Distillation
    from paretorch.methods.method import Method as Method
    from paretorch.methods.method import Run as Run
    from paretorch.methods.optim.avagrad import AvaGrad as AvaGrad
    from paretorch.methods.optim.avagrad import AvaGradW as AvaGradW
    from paretorch.methods.optim.delayed_adam import DelayedAdam as DelayedAdam
    from paretorch.methods.rank.factorize import factorise_ as factorise_
    from paretorch.methods.schedules import ALLR as ALLR
    from paretorch.methods.schedules import LLR as LLR
    from paretorch.methods.schedules import DenseSchedule as DenseSchedule
    from paretorch.methods.schedules import MultiStep as MultiStep
    from paretorch.methods.schedules import as_scheduler as as_scheduler
    from paretorch.methods.schedules import norm_drop_of as norm_drop_of
    from paretorch.methods.schedules import retraining_schedule as retraining_schedule
    from paretorch.methods.sharing.fold import fold_ as fold_
    from paretorch.methods.sharing.similarity import layer_similarity as layer_similarity
    from paretorch.methods.sharing.soft_sharing import SoftSharing as SoftSharing
    from paretorch.methods.sharing.templates import share_ as share_
    from paretorch.methods.sparsity.continuous.method import ContinuousSparsification as ContinuousSparsification
    from paretorch.methods.sparsity.enforcement import MaskEnforcement as MaskEnforcement
    from paretorch.methods.sparsity.gradual.gmp import GMP as GMP
    from paretorch.methods.sparsity.magnitude import magnitude_masks as magnitude_masks
    from paretorch.methods.sparsity.masks import Masks as Masks
    from paretorch.methods.sparsity.patterns import nm_masks as nm_masks
    from paretorch.methods.width.cutting import plan_cut as plan_cut
    from paretorch.methods.width.dpod import DPOD as DPOD
    from paretorch.methods.width.elastic import ElasticTraining as ElasticTraining
    from paretorch.methods.width.extract import extract as extract
    from paretorch.methods.width.importance import unit_importance as unit_importance
    from paretorch.methods.width.keeping import keep_within as keep_within
    from paretorch.methods.width.ordered import OrderedModel as OrderedModel
    from paretorch.methods.width.profile import allocate as allocate
    from paretorch.methods.width.tracing import find_groups as find_groups
    from paretorch.pipelines.bimp import BIMP as BIMP
    from paretorch.pipelines.cutting import CutAndRetrain as CutAndRetrain
    from paretorch.pipelines.dense import train_dense as train_dense
    from paretorch.pipelines.gradual import GradualPruning as GradualPruning
    from paretorch.pipelines.imp import IMP as IMP
    from paretorch.pipelines.pruning_step import Selection as Selection
    from paretorch.pipelines.retraining import Retraining as Retraining
    from paretorch.pipelines.sms.sms import SMS as SMS
    from paretorch.pipelines.ticket_search import TicketSearch as TicketSearch
    from paretorch.training.bottleneck import bottleneck as bottleneck
    from paretorch.training.picture import Picture as Picture
    from paretorch.training.published import load_published as load_published
    from paretorch.training.sensitivity import sensitivity as sensitivity
    from paretorch.training.settings import OptimizerSpec as OptimizerSpec
    from paretorch.training.settings import TrainSettings as TrainSettings
    from paretorch.training.side_effects import side_effects as side_effects
    from paretorch.training.supervised import SupervisedTask as SupervisedTask
    from paretorch.training.task import Task as Task
    from paretorch.training.trainer import Trainer as Trainer

__version__ = "0.1.0"

_PUBLIC = {
    "ALLR": "paretorch.methods.schedules",
    "AvaGrad": "paretorch.methods.optim.avagrad",
    "AvaGradW": "paretorch.methods.optim.avagrad",
    "BIMP": "paretorch.pipelines.bimp",
    "ContinuousSparsification": "paretorch.methods.sparsity.continuous.method",
    "Cost": "paretorch.measurement.cost",
    "CutAndRetrain": "paretorch.pipelines.cutting",
    "CutEdit": "paretorch.artefacts.cut_edit",
    "DPOD": "paretorch.methods.width.dpod",
    "DelayedAdam": "paretorch.methods.optim.delayed_adam",
    "DenseSchedule": "paretorch.methods.schedules",
    "Distillation": "paretorch.methods.distillation.teacher",
    "DistillationSettings": "paretorch.methods.distillation.settings",
    "ElasticTraining": "paretorch.methods.width.elastic",
    "Front": "paretorch.evidence.front",
    "GMP": "paretorch.methods.sparsity.gradual.gmp",
    "GradualPruning": "paretorch.pipelines.gradual",
    "HostRun": "paretorch.integrations.host",
    "IMP": "paretorch.pipelines.imp",
    "Interval": "paretorch.evidence.statistics",
    "LLR": "paretorch.methods.schedules",
    "MaskEdit": "paretorch.artefacts.mask_edit",
    "MaskEnforcement": "paretorch.methods.sparsity.enforcement",
    "Masks": "paretorch.methods.sparsity.masks",
    "Method": "paretorch.methods.method",
    "MultiStep": "paretorch.methods.schedules",
    "OptimizerSpec": "paretorch.training.settings",
    "OrderedModel": "paretorch.methods.width.ordered",
    "Picture": "paretorch.training.picture",
    "Retraining": "paretorch.pipelines.retraining",
    "Run": "paretorch.methods.method",
    "SMS": "paretorch.pipelines.sms.sms",
    "SWA": "paretorch.methods.averaging.swa",
    "Selection": "paretorch.pipelines.pruning_step",
    "SoftSharing": "paretorch.methods.sharing.soft_sharing",
    "SupervisedTask": "paretorch.training.supervised",
    "Task": "paretorch.training.task",
    "TicketSearch": "paretorch.pipelines.ticket_search",
    "TradeoffCurve": "paretorch.evidence.curves",
    "TrainSettings": "paretorch.training.settings",
    "Trainer": "paretorch.training.trainer",
    "allocate": "paretorch.methods.width.profile",
    "as_scheduler": "paretorch.methods.schedules",
    "average_files": "paretorch.methods.averaging.streaming",
    "bottleneck": "paretorch.training.bottleneck",
    "claim": "paretorch.evidence.claims",
    "compare": "paretorch.comparisons",
    "compare_families": "paretorch.evidence.speedup",
    "count_flops": "paretorch.measurement.flops",
    "effect": "paretorch.evidence.effect",
    "energy_meter": "paretorch.measurement.energy",
    "extract": "paretorch.methods.width.extract",
    "factorise_": "paretorch.methods.rank.factorize",
    "families_of": "paretorch.evidence.families",
    "find_groups": "paretorch.methods.width.tracing",
    "fold_": "paretorch.methods.sharing.fold",
    "hypervolume_difference": "paretorch.evidence.hypervolume",
    "keep_within": "paretorch.methods.width.keeping",
    "layer_similarity": "paretorch.methods.sharing.similarity",
    "load_model": "paretorch.artefacts.model",
    "load_published": "paretorch.training.published",
    "load_sources": "paretorch.evidence.sources",
    "magnitude_masks": "paretorch.methods.sparsity.magnitude",
    "measure": "paretorch.measurement.measure",
    "nm_masks": "paretorch.methods.sparsity.patterns",
    "norm_drop_of": "paretorch.methods.schedules",
    "plan_cut": "paretorch.methods.width.cutting",
    "retraining_schedule": "paretorch.methods.schedules",
    "save_model": "paretorch.artefacts.model",
    "sensitivity": "paretorch.training.sensitivity",
    "share_": "paretorch.methods.sharing.templates",
    "side_effects": "paretorch.training.side_effects",
    "step_costs": "paretorch.measurement.step_costs",
    "time_to_target": "paretorch.evidence.censored",
    "train_dense": "paretorch.pipelines.dense",
    "unit_importance": "paretorch.methods.width.importance",
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
