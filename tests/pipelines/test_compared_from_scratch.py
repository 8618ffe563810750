"""Arms that prune while they train from scratch, in a comparison: what is timed, what is charged, what is refused."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from paretorch.comparisons import compare
from paretorch.errors import InputError
from paretorch.evidence.families import charge
from paretorch.evidence.records import RunRecord
from paretorch.methods.sparsity.continuous.method import ContinuousSparsification
from paretorch.methods.sparsity.continuous.search_round import SearchRound
from paretorch.methods.sparsity.enforcement import MaskEnforcement
from paretorch.methods.sparsity.gradual.base import GradualMethod
from paretorch.methods.sparsity.gradual.dnw import DNW
from paretorch.methods.sparsity.gradual.dpf import DPF
from paretorch.methods.sparsity.gradual.dst import DST
from paretorch.methods.sparsity.gradual.gmp import GMP
from paretorch.methods.sparsity.gradual.gsm import GSM
from paretorch.methods.sparsity.gradual.lc import LC
from paretorch.methods.sparsity.gradual.rigl import RigL
from paretorch.methods.sparsity.gradual.soft_threshold import SoftThreshold
from paretorch.pipelines.comparison import Comparison
from paretorch.pipelines.gradual import GradualPruning
from paretorch.pipelines.step_timing import time_in_turns
from paretorch.pipelines.ticket_search import TicketSearch
from paretorch.recipes import load_recipe
from paretorch.training.trainer import Trainer
from tests.methods.sparsity.gradual.problems import trainer
from tests.test_compare import Inline, inline, written

__all__ = ["inline"]  # a fixture

RECIPE = """
name = "scratch"
task = "digits"
seeds = [0]
[task_options]
hidden = [8]
[train]
batch_size = 100
lr = 0.1
[dense]
epochs = 3
[compare]
candidate = "CS"
baseline = "dense"
durations = [1, 2]
smaller = { hidden = [4] }
left_out = { random = "masks are learned" }
[[arm]]
name = "CS"
method = "continuous-sparsification"
sparsity = 0.8
initial = -0.5
finetune_epochs = 0.5
[[arm]]
name = "ticket"
method = "ticket-search"
sparsity = 0.8
rounds = 1
rewind_epochs = 0.1
initial = -0.5
[[arm]]
name = "IMP"
sparsity = 0.8
schedule = "LLR"
[[dense_arm]]
name = "dense"
schedule = "linear"
"""


def comparison(folder: Path, text: str = RECIPE) -> Comparison:
    return load_recipe(written(folder, text)).comparison(data=None, command="test")


def family_of(own: Comparison, name: str) -> Any:
    return next(family for family in own.families if family.name == name)


def kinds(own: Comparison, name: str) -> dict[str, str]:
    """Kind of phase -> what its steps are timed as."""
    found = family_of(own, name).rehearsed(Trainer(own.task, own.settings))
    return {kind: rehearsal.key(kind) for kind, rehearsal in found.items()}


@pytest.mark.parametrize("make", [ContinuousSparsification, SoftThreshold, DST])
def test_a_method_whose_steps_are_all_alike_is_timed_while_it_acts(make: Callable[..., GradualMethod]) -> None:
    own = trainer()
    found = GradualPruning(method=partial(make, sparsity=0.8), epochs=5).rehearsals(own)
    assert list(found) == ["gradual"]
    (method,) = found["gradual"][1]
    assert type(method) is make


@pytest.mark.parametrize("make", [GMP, GSM, LC, DPF, DNW, RigL])
def test_a_method_whose_steps_change_is_refused_with_the_reason(make: Callable[..., GradualMethod]) -> None:
    compression = GradualPruning(method=partial(make, sparsity=0.8), epochs=5)
    with pytest.raises(InputError, match=r"cannot be an arm of a comparison, .* its steps change as it prunes"):
        compression.rehearsals(trainer())


def test_fine_tuning_and_the_training_of_a_ticket_are_timed_with_the_zeros_in_force() -> None:
    own = trainer()
    tuned = GradualPruning(method=lambda: ContinuousSparsification(sparsity=0.8), epochs=5, finetune_epochs=1)
    searched = TicketSearch(sparsity=0.8, epochs=6, rounds=2)
    for compression, first, second in ((tuned, "gradual", "retrain"), (searched, "search", "ticket")):
        found = compression.rehearsals(own)
        assert list(found) == [first, second]
        (masks,) = found[second][1]
        assert isinstance(masks, MaskEnforcement)
    (method,) = searched.rehearsals(own)["search"][1]
    assert isinstance(method, SearchRound)
    assert method.sparsity == 0.8


def test_timing_many_times_leaves_the_model_and_warns_of_nothing() -> None:
    """The factor c would grow with every turn, and gates that were never moved are all undecided."""
    own = trainer()
    model, (method,) = GradualPruning(
        method=lambda: ContinuousSparsification(sparsity=0.8, initial=-0.001), epochs=5
    ).rehearsals(own)["gradual"]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = time_in_turns({"one": (own, model, [method])}, seeds=[0, 1], rounds=2, steps=2)
    assert all(0 < seconds < 5 for times in found["one"].values() for seconds in times)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_steps_are_timed_apart_by_method_and_what_it_prunes_and_together_otherwise(tmp_path: Path) -> None:
    others = """
[[arm]]
name = "denser"
method = "continuous-sparsification"
sparsity = 0.5
[[arm]]
name = "STR"
method = "soft-threshold"
sparsity = 0.8
[[arm]]
name = "first layer"
method = "continuous-sparsification"
sparsity = 0.8
include = ["0"]
"""
    own = comparison(tmp_path, RECIPE.replace("[[dense_arm]]", f"{others}[[dense_arm]]"))
    found = {name: kinds(own, name) for name in ("CS", "denser", "STR", "first layer", "ticket", "IMP")}
    assert found["CS"]["gradual"] == found["denser"]["gradual"]
    assert len({found[name]["gradual"] for name in ("CS", "STR", "first layer")}) == 3
    assert found["CS"]["retrain"] == found["IMP"]["retrain"]
    assert set(found["ticket"]) == {"dense", "search", "ticket"}


def test_the_dense_training_is_not_charged_and_the_smaller_model_is_trained_no_longer(tmp_path: Path) -> None:
    own = comparison(tmp_path)
    assert {family.name: family.charges_dense for family in own.families if family.prunes} == {
        "CS": False, "ticket": False, "IMP": True,
    }  # fmt: skip
    assert family_of(own, "smaller model").added_epochs == 0
    (plan,) = [line for line in own.plan() if line.startswith("CS:")]
    assert plan.startswith("CS: trained from scratch and pruned on the way at 2 durations")
    after = RECIPE.replace('candidate = "CS"', 'candidate = "IMP"').replace(
        'left_out = { random = "masks are learned" }', ""
    )
    assert family_of(comparison(tmp_path, after), "smaller model").added_epochs == 3


def run_all(folder: Path, text: str) -> dict[str, list[RunRecord]]:
    compared = compare(written(folder, text), folder / "out", workers=1, command="typed")
    return {name: list(family.runs) for name, family in compared.families.items()}


@pytest.mark.slow
def test_every_phase_is_charged_at_its_own_time_per_step(inline: type[Inline], tmp_path: Path) -> None:
    found = run_all(tmp_path, RECIPE)
    for name, parts in (("CS", ["gradual", "retrain"]), ("ticket", ["search", "ticket"])):
        for run in found[name]:
            trained = [phase for phase in run.phases if phase.get("steps")]
            assert [phase["kind"] for phase in trained] == parts
            assert all("step_s" in phase for phase in trained)
            assert sum(phase["steps"] for phase in trained) == run.duration["steps"]
            others = sum(phase["seconds"] for phase in run.phases if "steps" not in phase and "seconds" in phase)
            expected = sum(phase["steps"] * phase["step_s"] for phase in trained) + others
            assert charge(run, "seconds") == pytest.approx(expected)
            assert trained[0]["step_s"] != trained[1]["step_s"]
    assert [phase["kind"] for phase in found["IMP"][0].phases if phase.get("steps")] == ["dense", "retrain"]


@pytest.mark.slow
def test_trials_and_runs_that_diverge_are_charged_at_the_time_of_the_long_steps(
    inline: type[Inline], tmp_path: Path
) -> None:
    text = RECIPE.replace("finetune_epochs = 0.5\n", "tune_lr = [0.1, 0.05]\n", 1)
    text = text.replace('schedule = "LLR"\n', 'schedule = "LLR"\n[[arm]]\nname = "lost"\n' + LOST)
    found = run_all(tmp_path, text)
    (tuned, *_), (lost, *_) = found["CS"], found["lost"]
    (kept,) = [phase for phase in tuned.phases if phase.get("kind") == "gradual"]
    (trial,) = [phase for phase in tuned.phases if phase.get("kind") == "trial"]
    assert trial["step_s"] == kept["step_s"]
    assert tuned.tuning["costs"] == [kept["steps"] * kept["step_s"]] * 2
    assert lost.status == "diverged"
    (failed,) = lost.phases
    assert (failed["kind"], failed["diverged"]) == ("gradual", True)
    assert failed["step_s"] == kept["step_s"]


LOST = """method = "continuous-sparsification"
sparsity = 0.8
initial = -0.5
lr = 1e30
"""
