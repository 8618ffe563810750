"""Checks of what the card of cutting by group importance promises."""

import copy

import torch

from paretorch.methods.width.cutting import plan_cut
from paretorch.methods.width.extract import masked
from paretorch.methods.width.importance import unit_importance
from paretorch.methods.width.keeping import keep_within
from paretorch.methods.width.reorder import reorder_
from tests.methods.invariants import invariant
from tests.methods.width.cut_models import CASES, settled
from tests.methods.width.handmade import perceptron, perceptron_groups

SIZES = (6, 20, 16, 12, 3)


@invariant("group-importance", "the cut model computes what the model computes whose removed units are zero")
def cut_is_masked() -> None:
    for make in CASES.values():
        case = settled(make())
        keep = keep_within(case.groups, unit_importance(case.model, case.groups), ratio=0.5)
        zeroed = masked(case.model, case.groups, keep)
        assert plan_cut(case.groups, keep).apply_(case.model)
        torch.testing.assert_close(case.model(case.inputs), zeroed(case.inputs), rtol=1e-12, atol=1e-12)


@invariant("group-importance", "no cap on parameters or MACs is exceeded, by an exact recount")
def caps_hold() -> None:
    model, groups = perceptron(*SIZES), perceptron_groups(*SIZES)
    importance = unit_importance(model, groups)
    full = groups.num_params(groups.full), groups.num_macs(groups.full)
    for part in (0.9, 0.5, 0.2):
        for spread in ("uniform", "global"):
            params, macs = (int(part * cost) for cost in full)
            keep = keep_within(groups, importance, params=params, macs=macs, spread=spread)
            small = copy.deepcopy(model)
            plan_cut(groups, keep).apply_(small)
            weights = [p.numel() for p in small.parameters() if p.dim() == 2]
            assert sum(p.numel() for p in small.parameters()) <= params
            assert sum(weights) <= macs  # a linear layer uses each weight once


@invariant("group-importance", "no unit that stays in a group is less important than one that goes")
def most_important_stay() -> None:
    model, groups = perceptron(*SIZES), perceptron_groups(*SIZES)
    importance = unit_importance(model, groups)
    for spread in ("uniform", "global"):
        for units, scores in zip(keep_within(groups, importance, ratio=0.4, spread=spread), importance, strict=True):
            gone = scores[~torch.isin(torch.arange(len(scores)), units)]
            assert len(gone)
            assert scores[units].min() >= gone.max()


@invariant("group-importance", "putting units in order of importance does not change what the model computes")
def order_is_free() -> None:
    for make in CASES.values():
        case = settled(make())
        before = case.model(case.inputs)
        reorder_(case.model, case.groups, [torch.arange(size, dtype=torch.float64) for size in case.groups.full])
        torch.testing.assert_close(case.model(case.inputs), before, rtol=1e-12, atol=1e-12)
