"""The arms of `elastic_width` for one seed: elastic trainings, what is read from them, and models trained from scratch.

Every arm ends as one `member` per budget: a cut model, its test accuracy before and after fine-tuning, and the cost.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from _elastic_bench import Bench, Meter, accuracy, train, widths_of
from _elastic_problem import BUDGETS, EACH, ONE_RUN, QUANTUM, SCRATCH, SCRATCH_UNIFORM, label, uniform_profile
from torch import nn

from paretorch.methods.averaging.batchnorm import reestimate_batchnorm
from paretorch.methods.width.allocation.costs import cost_of
from paretorch.methods.width.dpod import DPOD, restored
from paretorch.methods.width.dpod_events import ShrinkPlan
from paretorch.methods.width.elastic import ElasticTraining
from paretorch.methods.width.extract import extract
from paretorch.methods.width.grid import below
from paretorch.methods.width.groups import Profile, WidthGroups
from paretorch.methods.width.importance import unit_importance
from paretorch.methods.width.ordered import OrderedModel
from paretorch.methods.width.profile import Solver, allocate
from paretorch.methods.width.reorder import reorder_
from paretorch.methods.width.samplers import Independent, Sampler, Sandwich, SingleLayer, Uniform
from paretorch.methods.width.tables import Table, sensitivity

FINETUNE_RATE = 0.2  # of the peak
SOLVERS: tuple[Solver, ...] = ("auto", "minmax")
ELASTIC: dict[str, tuple[Callable[[], Sampler], bool, tuple[str, ...]]] = {  # sampler, distillation, ways to narrow
    "single layer": (SingleLayer, False, ("searched",)),
    "independent": (Independent, False, ("searched",)),
    "uniform OD": (Uniform, False, ("searched", "uniform widths")),
    "slimmable": (Sandwich, True, ("uniform widths",)),
}


def member(bench: Bench, name: str, small: nn.Module) -> dict[str, Any]:
    """Test accuracy of a cut model before and after fine-tuning, its size, and what fine-tuning cost."""
    reestimate_batchnorm(small, bench.statistics, forward=bench.trainer.task.loss)
    before = accuracy(bench, small)
    rate = FINETUNE_RATE * bench.problem.lr
    spent = train(bench, small, f"finetune {name}", steps=bench.problem.finetune_steps, lr=rate)
    return {"before": before, "after": accuracy(bench, small), **_size(bench, widths_of(small)), "train": spent}


def scratch(bench: Bench, name: str, profile: Profile) -> dict[str, Any]:
    """A model built at these widths and trained for as many steps as elastic training and fine-tuning together."""
    torch.manual_seed(bench.trainer.seed)
    model = bench.counted(bench.problem.build(profile))
    steps = bench.problem.steps + bench.problem.finetune_steps
    spent = train(bench, model, f"scratch {name}", steps=steps, lr=bench.problem.lr)
    return {"after": accuracy(bench, model), **_size(bench, profile), "train": spent}


def _size(bench: Bench, profile: Profile) -> dict[str, Any]:
    return {
        "profile": list(profile),
        "params": bench.groups.num_params(profile),
        "macs": bench.groups.num_macs(profile),
    }


def members(bench: Bench, name: str, model: nn.Module, choose: Callable[[float], Profile]) -> dict[str, Any]:
    """The arm that cuts `model` for every budget to the profile that `choose` names; choosing is charged apart."""
    with bench.charged() as meter:
        profiles = {budget: choose(limit) for budget, limit in bench.limits.items()}
    found: dict[str, Any] = {"choosing": meter.spent()}
    for budget, profile in profiles.items():
        found[label(budget)] = member(bench, f"{name} {budget}", extract(model, bench.groups, profile))
    return found


def searched(bench: Bench, model: nn.Module, groups: WidthGroups) -> Callable[[float], Profile]:
    """Profiles by tables of the trained model: of what two solvers propose, the one of least measured loss.

    `model` may have been cut already; `groups` are those it has now.
    """
    ordered = OrderedModel(model, groups)
    measured: dict[Profile, tuple[float, ...]] = {}

    def losses_at(profile: Profile) -> tuple[float, ...]:
        if profile not in measured:
            measured[profile] = bench.calibration.measured(ordered, profile)
        return measured[profile]

    @cache
    def tables() -> tuple[Table, ...]:
        allowed = [below(widths, size) for widths, size in zip(bench.grids, groups.full, strict=True)]
        return sensitivity(groups, groups.full, grids=allowed, losses_at=losses_at)

    def choose(limit: float) -> Profile:
        cost = cost_of(groups, "params")
        candidates = [allocate(tables(), cost, limit, method=method).profile for method in SOLVERS]
        return min(candidates, key=lambda profile: sum(losses_at(profile)))

    return choose


def uniform(bench: Bench) -> Callable[[float], Profile]:
    """The same level for all layers."""
    return lambda limit: uniform_profile(bench.groups, bench.grids, limit)


def plain(bench: Bench) -> tuple[dict[str, Any], dict[str, Any]]:
    """Ordinary training, and the arm that cuts its model to uniform widths by the norms of units, unlike the others."""
    model = bench.counted(bench.trainer.model())
    spent = train(bench, model, "plain", steps=bench.problem.steps, lr=bench.problem.lr)
    run = {"train": spent, "accuracy": accuracy(bench, model)}
    with bench.charged() as meter:
        reorder_(model, bench.groups, unit_importance(model, bench.groups, kind="l2"))
    arm = members(bench, "plain", model, uniform(bench))
    arm["choosing"]["seconds"] += meter.seconds
    return run, arm


def elastic(bench: Bench, name: str, sampler: Sampler, *, full_pass: bool = False) -> tuple[dict[str, Any], nn.Module]:
    """Elastic training with a fixed centre."""
    model = bench.counted(bench.trainer.model())
    method = ElasticTraining(sampler, groups=bench.groups, quantum=QUANTUM, full_pass=full_pass)
    rate = bench.problem.lr / (sampler.samples if isinstance(sampler, Sandwich) else 1)
    spent = train(bench, model, name, steps=bench.problem.steps, lr=rate, methods=[method])
    reestimate_batchnorm(model, bench.statistics, forward=bench.trainer.task.loss)  # the centre may come rarely
    return {"train": spent, "accuracy": accuracy(bench, model)}, model


def shrinking(bench: Bench, name: str, target: float, *, keep_at: tuple[float, ...] = ()) -> dict[str, Any]:
    """DPOD down to `target`; the models that it found on the way, just above each fraction of `keep_at`, cut to it.

    Returns:
        By label of the budget its `member`; "train" and "choosing" of the one run; "events", how many there were.
    """
    kept: dict[float, dict[str, Any]] = {}
    method = DPOD(
        ShrinkPlan(target=target, keep_at=keep_at),
        calibration=bench.calibration,
        on_kept=kept.__setitem__,
        groups=bench.groups,
        quantum=QUANTUM,
    )
    last = bench.counted(bench.trainer.model())
    spent = train(bench, last, name, steps=bench.problem.steps, lr=bench.problem.lr, methods=[method])
    cut: dict[float, nn.Module] = {target: last}
    with bench.charged() as meter:
        for fraction, weights in kept.items():
            model = bench.counted(bench.trainer.model())
            groups = restored(model, bench.groups, weights)
            profile = searched(bench, model, groups)(bench.limits[fraction])
            cut[fraction] = extract(model, groups, profile)
    found: dict[str, Any] = {"train": spent, "choosing": meter.spent(), "events": len(method.events)}
    for fraction, model in cut.items():
        found[label(fraction)] = member(bench, f"{name} {fraction}", model)
    return found


def run_seed(bench: Bench) -> dict[str, Any]:
    """All arms of one seed: `plain`, `runs` by name, `arms` by name and budget."""
    runs: dict[str, Any] = {}
    arms: dict[str, Any] = {}
    runs["plain"], arms["plain, cut by norm"] = plain(bench)
    narrow_to = {
        "searched": lambda model: searched(bench, model, bench.groups),
        "uniform widths": lambda _: uniform(bench),
    }
    for name, (sampler, full_pass, ways) in ELASTIC.items():
        runs[name], model = elastic(bench, name, sampler(), full_pass=full_pass)
        for way in ways:
            arms[f"{name}, {way}"] = members(bench, f"{name} {way}", model, narrow_to[way](model))
    *above, least = BUDGETS
    one = shrinking(bench, "one run", least, keep_at=tuple(above))
    each = [shrinking(bench, f"a run to {budget}", budget) for budget in above]
    runs[ONE_RUN] = {"train": one["train"], "events": one["events"]}
    runs[EACH] = {
        "train": {key: sum(run["train"][key] for run in (*each, one)) for key in one["train"]},
        "events": sum(run["events"] for run in (*each, one)),
    }
    arms[ONE_RUN] = {key: one[key] for key in ("choosing", *map(label, BUDGETS))}
    arms[EACH] = {"choosing": Meter().spent(), label(least): one[label(least)]}
    arms[EACH] |= {label(budget): run[label(budget)] for budget, run in zip(above, each, strict=True)}
    profiles = {
        SCRATCH[ONE_RUN]: [arms[ONE_RUN][label(budget)]["profile"] for budget in BUDGETS],
        SCRATCH[EACH]: [arms[EACH][label(budget)]["profile"] for budget in BUDGETS],
        SCRATCH_UNIFORM: [uniform(bench)(limit) for limit in bench.limits.values()],
    }
    trained: dict[Profile, dict[str, Any]] = {}  # equal profiles are trained once
    for name, wanted in profiles.items():
        arms[name] = {}
        for budget, widths in zip(BUDGETS, wanted, strict=True):
            profile = tuple(widths)
            if profile not in trained:
                trained[profile] = scratch(bench, f"{profile}", profile)
            arms[name][label(budget)] = trained[profile]
    return {"runs": runs, "arms": arms}
