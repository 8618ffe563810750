"""The arms of `elastic_width` for one seed: elastic trainings, what is read from them, and models trained from scratch.

Every arm ends as one `member` per budget: a cut model, its test accuracy before and after fine-tuning, and the cost.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from _elastic_bench import Bench, Meter, accuracy, train, widths_of
from _elastic_problem import BUDGETS, EACH, ONE_RUN, SCRATCH, SCRATCH_UNIFORM, label, uniform_profile
from torch import nn

from paretorch.methods.averaging.batchnorm import reestimate_batchnorm
from paretorch.methods.width.dpod import DPOD, restored
from paretorch.methods.width.dpod_events import ShrinkPlan
from paretorch.methods.width.elastic import ElasticTraining
from paretorch.methods.width.extract import extract
from paretorch.methods.width.groups import Profile, WidthGroups
from paretorch.methods.width.importance import unit_importance
from paretorch.methods.width.ordered import OrderedModel
from paretorch.methods.width.reorder import reorder_
from paretorch.methods.width.samplers import Independent, Sampler, Sandwich, SingleLayer, Uniform
from paretorch.methods.width.tables import moved, sensitivity
from paretorch.pipelines.elastic.search import Budgets, search
from paretorch.pipelines.elastic.training import ElasticWeights

FINETUNE_RATE = 0.2  # of the peak
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
        profiles = {budget: choose(budget) for budget in BUDGETS}
    found: dict[str, Any] = {"choosing": meter.spent()}
    for budget, profile in profiles.items():
        found[label(budget)] = member(bench, f"{name} {budget}", extract(model, bench.groups, profile))
    return found


def searched(
    bench: Bench, model: nn.Module, groups: WidthGroups, *, shrunk: Profile | None = None
) -> Callable[[float], Profile]:
    """Profiles by the search that ships, on tables of the trained model, measured when the first is asked for.

    Args:
        bench: of the uncut model.
        model, groups: as they are, cut or not.
        shrunk: the centre that the training went on with.
    """
    calibration = bench.calibration

    @cache
    def weights() -> ElasticWeights:
        losses_at = partial(calibration.measured, OrderedModel(model, groups))
        tables = sensitivity(groups, groups.full, grids=bench.grids, losses_at=losses_at)
        return ElasticWeights(name="kept", model=model, groups=groups, tables=tables, shrunk=shrunk)

    def choose(budget: float) -> Profile:
        wanted, seed = Budgets(params=budget), bench.trainer.seed
        options = {"uncut": bench.groups, "grids": bench.grids, "calibration": calibration, "seed": seed}
        return search(weights(), wanted, **options)[0].profile

    return choose


def uniform(bench: Bench) -> Callable[[float], Profile]:
    """The same level for all layers."""
    return lambda budget: uniform_profile(
        bench.groups, bench.grids, budget * bench.groups.num_params(bench.groups.full)
    )


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
    method = ElasticTraining(sampler, groups=bench.groups, quantum=bench.problem.quantum, full_pass=full_pass)
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
        quantum=bench.problem.quantum,
    )
    last = bench.counted(bench.trainer.model())
    spent = train(bench, last, name, steps=bench.problem.steps, lr=bench.problem.lr, methods=[method])
    cut: dict[float, nn.Module] = {target: last}
    with bench.charged() as meter:
        for fraction, weights in kept.items():
            model = bench.counted(bench.trainer.model())
            groups = restored(model, bench.groups, weights)
            event = next(event for event in method.events if event["step"] == weights["step"])
            centre = moved(groups.full, groups.names.index(event["group"]), event["width"])
            cut[fraction] = extract(model, groups, searched(bench, model, groups, shrunk=centre)(fraction))
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
        SCRATCH_UNIFORM: [uniform(bench)(budget) for budget in BUDGETS],
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
