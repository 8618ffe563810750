"""Soups as arms of a recipe: their grid, names, plan, records, artefacts and report; and what is refused."""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paretorch.artefacts.mask_edit import MaskEdit
from paretorch.artefacts.model import load_artefact
from paretorch.errors import InputError
from paretorch.evidence.records import RunRecord
from paretorch.pipelines import pricing
from paretorch.pipelines.retraining import Retraining
from paretorch.pipelines.sms import SMS, RePrune
from paretorch.recipes import load_recipe
from paretorch.recipes.arm_methods import arm_at, expand
from paretorch.training.seeding import stream_seed
from tests.pipelines.sms_problem import NUM_WEIGHTS, SOURCE, STEPS_PER_EPOCH, Small, same, task

SOUP: dict[str, Any] = {"method": "sms", "sparsity": 0.9, "epochs": 2}
REPRUNED: dict[str, Any] = {"method": "reprune", "sparsity": 0.9, "epochs": 1}
HEAD = f"""
name = "soups"
task = "{SOURCE}"
seeds = [0]
[train]
batch_size = 20
device = "cpu"
[dense]
epochs = 3
"""
GRID = """
[[arm]]
method = "sms"
sparsity = 0.7
epochs = 2
copies = [1, 3]
soup = ["uniform", "best"]
guard = false

[[arm]]
method = "reprune"
sparsity = 0.7
epochs = 2
copies = 2

[[arm]]
sparsity = 0.7
epochs = 6
"""


def sweep(folder: Path, text: str, head: str = HEAD) -> Any:
    (folder / "recipe.toml").write_text(head + text)
    return load_recipe(str(folder / "recipe.toml")).sweep(data=None, command="paretorch run soups")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pricing, "BATCH_SIZES", (1,))
    monkeypatch.setattr(pricing, "SECONDS_PER_ROUND", 1e-4)


def test_a_grid_of_copies_and_soups_shares_the_copies_of_a_number() -> None:
    arms = expand([SOUP | {"copies": [1, 3], "soup": ["uniform", "best"]}])
    keys = [arm.compression.shared_key for arm in arms]
    assert [(arm.compression.copies, arm.compression.soup) for arm in arms] == [
        (1, "uniform"),
        (1, "best"),
        (3, "uniform"),
        (3, "best"),
    ]
    assert keys[0] == keys[1] != keys[2] == keys[3]
    assert len({arm.label for arm in arms}) == len({arm.id for arm in arms}) == 4
    assert arms[2].label == "SMS ALLR 90 % 2 epochs copies 3 soup uniform"
    assert arms[2].factors["copies"] == 3


def test_every_setting_of_a_soup_reaches_the_pipeline() -> None:
    point = {
        "method": "sms",
        "name": "mine",
        "sparsity": 0.8,
        "epochs": 2,
        "cycles": 2,
        "copies": 2,
        "vary": "weight_decay",
        "values": [0.0, 0.01],
        "soup": "greedy",
        "guard": False,
        "schedule": "LLR",
        "lr": 0.05,
        "allocation": "erk",
        "exclude": ["output*"],
        "norm_scope": "all",
        "reestimate_batches": 3,
        "distill": True,
    }
    arm = arm_at(point, "[[arm]]")
    sms = arm.compression
    assert isinstance(sms, SMS)
    assert (sms.sparsity, sms.epochs, sms.cycles, sms.copies) == (0.8, 2, 2, 2)
    assert (sms.vary, sms.values, sms.soup, sms.guard) == ("weight_decay", (0.0, 0.01), "greedy", False)
    assert (sms.selection.allocation, sms.selection.exclude) == ("erk", ["output*"])
    assert isinstance(sms.retraining, Retraining)
    assert (sms.retraining.schedule, sms.retraining.lr, sms.retraining.norm_scope) == ("LLR", 0.05, "all")
    assert sms.retraining.reestimate_batches == 3
    assert sms.retraining.distillation is not None
    assert arm.label == "mine"


@pytest.mark.parametrize(
    "setting",
    [
        {"copies": [2, 3]},
        {"soup": ["uniform", "greedy", "best"]},
        {"guard": [True, False]},
        {"distill": [True, False]},
        {"cycles": [1, 2]},
        {"sparsity": [0.9, 0.95]},
    ],
)
def test_soups_that_differ_in_one_setting_have_names_and_factors_of_their_own(setting: dict[str, Any]) -> None:
    arms = expand([SOUP | setting])
    assert (
        len({arm.label for arm in arms}) == len({json.dumps(arm.factors, sort_keys=True) for arm in arms}) == len(arms)
    )


def test_values_are_a_list_and_no_grid() -> None:
    (arm,) = expand([SOUP | {"schedule": "LLR", "copies": 2, "vary": "lr", "values": [0.1, 0.2]}])
    assert arm.compression.values == (0.1, 0.2)
    assert "vary lr values 0.1, 0.2" in arm.label


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (SOUP | {"schedule": "LLR", "tune_lr": [0.1, 0.2]}, r"belong to no arm alone; write lr = \[0.1, 0.2\]"),
        (
            {"method": "reprune", "sparsity": 0.9, "epochs": 1, "schedule": "LLR", "tune_lr": [0.1]},
            "runs that have rates",
        ),
        (SOUP | {"copies": 0}, "copies = 0"),
        (SOUP | {"soup": "stew"}, "soup = 'stew'"),
        (SOUP | {"vary": "lr"}, "give one lr for each copy"),
        (SOUP | {"keep_optimizer": True}, "no optimizer to keep"),
        (SOUP | {"soups": 3}, "unknown key 'soups'; did you mean 'soup'"),
        (SOUP | {"layer_sparsity": {"hidden.weight": 0.5}}, "either `sparsity` or `layer_sparsity`"),
        (REPRUNED | {"soup": "best"}, "unknown key 'soup'"),
    ],
)
def test_a_wrong_soup_is_refused_by_key_and_value(table: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        expand([table])


def test_an_arm_that_reprunes_is_one_of_independent_runs() -> None:
    (arm,) = expand([{"method": "reprune", "sparsity": 0.9, "epochs": 2, "cycles": 2, "copies": 4}])
    assert isinstance(arm.compression, RePrune)
    assert (arm.compression.copies, arm.compression.cycles, arm.compression.epochs) == (4, 2, 2)
    assert arm.compression.shared_key is None
    assert arm.label == "IMP-RePrune ALLR 90 % 2 epochs 2 cycles copies 4"


def test_the_plan_counts_shared_copies_once(tmp_path: Path) -> None:
    lines = sweep(tmp_path, GRID).plan()
    shared = [line for line in lines if line.startswith("sms-copies-")]
    assert len(shared) == 2
    assert shared[1].endswith("once for 2 arms: 1 x (prune, retrain 3 copies that differ in seed), 24 steps per copy")
    assert f"{label(copies=3, soup='uniform')}: average of 3 copies" in lines
    copies, dense = (1 + 3 + 2) * 2 * STEPS_PER_EPOCH, 3 * STEPS_PER_EPOCH
    assert lines[-1].startswith(f"in all: {dense + copies + 6 * STEPS_PER_EPOCH} optimizer steps")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, RunRecord]]:
    folder = tmp_path_factory.mktemp("soups")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pricing, "BATCH_SIZES", (1,))
        patched.setattr(pricing, "SECONDS_PER_ROUND", 1e-4)
        records = sweep(folder, GRID).run(folder / "out")
    return folder / "out", {record.arm: record for record in records}


def label(*, copies: int, soup: str) -> str:
    return f"SMS ALLR 70 % 2 epochs copies {copies} soup {soup} guard off"


def of(records: dict[str, RunRecord], *, copies: int, soup: str) -> RunRecord:
    return records[label(copies=copies, soup=soup)]


@pytest.mark.slow
def test_each_soup_is_charged_for_all_copies_that_it_shares(run: tuple[Path, dict[str, RunRecord]]) -> None:
    out, records = run
    assert len(list((out / "runs").glob("sms-copies-*"))) == 2
    for copies in (1, 3):
        for soup in ("uniform", "best"):
            record = of(records, copies=copies, soup=soup)
            assert record.status == "ok"
            assert record.cost["steps"] == (3 + 2 * copies) * STEPS_PER_EPOCH
            assert sum(line["epochs"] for line in record.phases if line.get("kind") == "retrain") == 2 * copies
            assert {line["shared_by"] for line in record.phases if line.get("kind") == "retrain"} == {2}
            assert any(note.startswith("Phases trained once for 2 arms") for note in record.notes)
    longer = records["IMP ALLR 70 % 6 epochs"]
    assert longer.cost["steps"] == of(records, copies=3, soup="best").cost["steps"]


@pytest.mark.slow
def test_the_record_of_a_soup_says_what_is_in_it(run: tuple[Path, dict[str, RunRecord]]) -> None:
    _, records = run
    uniform, best = (of(records, copies=3, soup=soup) for soup in ("uniform", "best"))
    lines = [next(line for line in record.phases if line.get("kind") == "soup") for record in (uniform, best)]
    assert lines[0]["members"] == ["copy 0", "copy 1", "copy 2"]
    assert len(lines[1]["members"]) == 1
    assert lines[0]["candidates"] == lines[1]["candidates"]
    assert uniform.validation == lines[0]["validation"]
    assert best.validation == lines[1]["best"]
    assert of(records, copies=1, soup="best").quality == of(records, copies=1, soup="uniform").quality


@pytest.mark.slow
def test_the_artefact_of_a_soup_holds_its_mask_and_exact_zeros(run: tuple[Path, dict[str, RunRecord]]) -> None:
    out, records = run
    for name in (label(copies=3, soup="uniform"), "IMP-RePrune ALLR 70 % 2 epochs copies 2"):
        record = records[name]
        found = load_artefact(out / "runs" / record.run_id / "model", constructor=Small)
        zeros = sum(int((found.model.get_parameter(name) == 0).sum()) for name in ("hidden.weight", "output.weight"))
        assert zeros == round(0.7 * NUM_WEIGHTS)
        (edit,) = found.edits
        assert isinstance(edit, MaskEdit)
        assert edit.masks.num_pruned == zeros


@pytest.mark.slow
def test_the_report_names_every_soup(run: tuple[Path, dict[str, RunRecord]], tmp_path: Path) -> None:
    from paretorch.evidence.report import write_report

    _, records = run
    page = write_report(list(records.values()), tmp_path / "report.html", title="soups", command="x")
    text = Path(page).read_text()
    assert all(name in text for name in records)


def test_a_soup_of_one_copy_ends_as_iterative_pruning_in_a_sweep_too(tmp_path: Path) -> None:
    both = '[[arm]]\nsparsity = 0.7\nepochs = 2\n[[arm]]\nmethod = "sms"\nsparsity = 0.7\nepochs = 2\ncopies = 1\n'
    _, imp, one = sweep(tmp_path, both).run(tmp_path / "out")
    assert (imp.quality, imp.validation, imp.train_quality) == (one.quality, one.validation, one.train_quality)
    folders = [tmp_path / "out" / "runs" / record.run_id / "model" for record in (imp, one)]
    assert same(*(load_artefact(folder, constructor=Small).model for folder in folders))


@pytest.mark.slow
def test_a_copy_that_diverges_ends_its_arms_and_the_sweep_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seed = stream_seed(stream_seed(0, "copy", 1), "retrain-0")
    trouble = f'task_options = {{ kind = "infinite", step = 3, num_steps = [24], seeds = [{seed}] }}\n'
    head = HEAD.replace("seeds = [0]\n", f"seeds = [0]\n{trouble}")
    with caplog.at_level(logging.WARNING, logger="paretorch"):
        records = sweep(tmp_path, GRID, head).run(tmp_path / "out")
    status = {record.arm: record.status for record in records}
    diverged = {arm for arm, found in status.items() if found == "diverged"}
    assert diverged == {
        label(copies=3, soup="uniform"),
        label(copies=3, soup="best"),
        "IMP-RePrune ALLR 70 % 2 epochs copies 2",
    }
    assert status["IMP ALLR 70 % 6 epochs"] == "ok"
    by_arm = {record.arm: record for record in records}
    record = by_arm[label(copies=3, soup="best")]
    assert any("copy 1 of cycle 0" in note for note in record.notes)
    assert record.phases[-1]["epochs"] == 6
    assert any("run 1" in note for note in by_arm["IMP-RePrune ALLR 70 % 2 epochs copies 2"].notes)
    assert "copy 1 of cycle 0" in caplog.text


def test_workers_that_could_not_build_the_task_are_refused_before_the_dense_model_is_trained(tmp_path: Path) -> None:
    by_hand = replace(sweep(tmp_path, GRID), task=task())
    with pytest.raises(InputError, match=r"arm 'SMS.*was built by hand"):
        by_hand.run(tmp_path / "out", workers=2)
    assert not (tmp_path / "out").exists()


def test_a_soup_can_be_compared_and_is_rehearsed_as_what_it_retrains(tmp_path: Path) -> None:
    text = """
[compare]
candidate = "soup"
baseline = "imp"
durations = [1, 2, 4, 6, 8]
left_out = { smaller = "the task has one model" }

[[arm]]
method = "sms"
name = "soup"
sparsity = 0.7

[[arm]]
name = "imp"
sparsity = 0.7
"""
    (tmp_path / "recipe.toml").write_text(HEAD + text)
    comparison = load_recipe(str(tmp_path / "recipe.toml")).comparison(data=None, command="x")
    comparison.check()
    (control,) = [family for family in comparison.families if family.role == "control:random"]
    assert control.arms[1].compression.selection.allocation == "random"
    assert control.arms[1].compression.copies == 3
