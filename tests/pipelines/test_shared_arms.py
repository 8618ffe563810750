"""`method = "share"` in recipes: sizes of the authors' networks, keys, names and refusals, and a whole sweep."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from paretorch.errors import InputError
from paretorch.evidence.quantities import removed_share, similarities_of
from paretorch.evidence.report import write_report
from paretorch.evidence.sources import load_sources
from paretorch.methods.schedules import Linear
from paretorch.methods.sharing.templates import share_, shared_groups
from paretorch.pipelines.arm import Arm
from paretorch.pipelines.shared import SharedTraining
from paretorch.pipelines.sweep import Sweep
from paretorch.recipes import load_recipe
from paretorch.recipes.arm_methods import expand
from paretorch.training.models.wide_resnet import WideResNet
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.supervised import SupervisedTask
from tests.methods.sharing.networks import CONVS, STAGES, images, network


def pipeline(arm: Arm) -> SharedTraining:
    assert isinstance(arm.compression, SharedTraining)
    return arm.compression


def size(arm: Arm, *, widen: int, classes: int = 10) -> int:
    """Parameters of WRN-28 with the templates of the arm."""
    method = pipeline(arm).sharing()
    assert method.templates is not None
    with torch.device("meta"):
        model: nn.Module = WideResNet(depth=28, widen=widen, num_classes=classes)
        share_(model, templates=method.templates, groups=method.groups)
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", ["cifar10-swrn-28-10", "fashion-mnist-swrn-28"])
def test_recipes_that_ship_have_one_to_six_templates_and_the_sizes_of_the_authors_networks(name: str) -> None:
    arms = load_recipe(name).arms()
    plain = [arm for arm in arms if pipeline(arm).sharing().recurrence == 0]
    assert [arm.factors["templates"] for arm in plain] == [1, 2, 3, 4, 5, 6]
    assert [round(size(arm, widen=4) / 1e6, 2) for arm in plain] == [1.98, 2.75, 3.53, 4.30, 5.07, 5.85]
    sizes = [size(arm, widen=10) for arm in plain]
    assert (sizes[0], sizes[1], sizes[5]) == (12_287_212, 17_125_630, 36_479_194 + 108)
    assert [round(one / 1e6, 2) for one in sizes] == [12.29, 17.13, 21.96, 26.80, 31.64, 36.48]
    hundred = tuple(size(plain[number], widen=10, classes=100) for number in (0, 1, 5))
    assert hundred == (12_344_902, 17_183_320, 36_536_992)
    (folded,) = (arm for arm in arms if arm not in plain)
    assert pipeline(folded).fold == 0.95


def test_the_first_block_of_a_stage_is_left_out_although_it_has_convolutions_of_the_shape() -> None:
    with torch.device("meta"):
        model = WideResNet(depth=28, widen=1)
        share_(model, templates=2, groups=STAGES)
        automatic = WideResNet(depth=28, widen=1)
        share_(automatic, templates=2)
    layers = [list(group.layers) for group in shared_groups(model).values()]
    expected = [[f"layer{s}.{b}.conv{c}" for b in (1, 2, 3) for c in (1, 2)] for s in (1, 2, 3)]
    assert layers == expected
    assert "layer2.0.conv2" in shared_groups(automatic)["conv2d-32x32x3x3"].layers


def test_every_key_of_a_recipe_reaches_the_method_and_the_name() -> None:
    usual: dict[str, Any] = {"method": "share", "templates": 2, "epochs": 4}
    changed: dict[str, dict[str, Any]] = {
        "templates": {"templates": 3},
        "templates by group": {"templates": {"stage1": 2, "stage2": 1}},
        "groups": {"groups": STAGES},
        "unit_rows": {"unit_rows": True},
        "recurrence": {"recurrence": 0.1},
        "power": {"recurrence": 0.1, "power": 2},
        "ramp": {"recurrence": 0.1, "ramp": [0.2, 0.8]},
        "fold": {"fold": 0.9},
        "reestimate_batches": {"fold": 0.9, "reestimate_batches": 3},
        "lr": {"lr": 0.2},
        "tune_lr": {"tune_lr": [0.1, 0.2]},
        "epochs": {"epochs": 5},
    }
    arms = [expand([usual | keys])[0] for keys in ({}, *changed.values())]
    assert len({arm.label for arm in arms}) == len({arm.id for arm in arms}) == 1 + len(changed)
    assert arms[0].label == "shared 2 templates 4 epochs"
    assert arms[0].factors == {"method": "shared", "templates": 2, "epochs in all": 4}
    keys: dict[str, Any] = {}
    for one in changed.values():
        keys |= one
    made = pipeline(expand([usual | {key: value for key, value in keys.items() if key != "tune_lr"}])[0])
    method = made.sharing()
    assert (method.templates, method.groups, method.unit_rows) == ({"stage1": 2, "stage2": 1}, STAGES, True)
    assert (method.recurrence, method.power, method.ramp, method.fold) == (0.1, 2, (0.2, 0.8), None)
    assert (made.epochs, made.fold, made.lr, made.reestimate_batches) == (5, 0.9, 0.2, 3)
    assert arms[-2].rates == (0.1, 0.2)


def test_a_grid_over_the_penalty_may_hold_the_point_without_it() -> None:
    usual: dict[str, Any] = {"method": "share", "templates": 2, "epochs": 4}
    penalty: dict[str, Any] = {"power": 2, "ramp": [0.2, 0.8]}
    without, with_it = expand([usual | penalty | {"recurrence": [0, 0.01]}])
    (plain,) = expand([usual])
    assert (without.label, without.factors) == (plain.label, plain.factors)
    (written,) = expand([usual | {"recurrence": 0.0}])
    assert without.id == written.id == plain.id, "it is the arm without a penalty, and has its folder"
    assert with_it.factors["power"] == 2
    made = pipeline(with_it).sharing()
    assert (made.recurrence, made.power, made.ramp) == (0.01, 2, (0.2, 0.8))
    with pytest.raises(InputError, match="appears twice in the recipe"):
        expand([usual | {"recurrence": [0, 0.01], "power": [1, 2]}])


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"templates": 0}, "templates = 0: must be a whole number of at least 1, or a table"),
        ({"templates": 1.5}, "templates = 1.5: must be a whole number"),
        ({"templates": {"a": 0}}, "templates = {'a': 0}: must be a whole number"),
        ({"templates": {}}, "templates = {}: must be a whole number"),
        ({"power": 2}, "power belongs to recurrence, and there is none"),
        ({"power": 2, "ramp": [0.0, 0.5]}, "power and ramp belong to recurrence"),
        ({"reestimate_batches": 3}, "reestimate_batches belongs to fold"),
        ({"lr": 0.1, "tune_lr": [0.1]}, "either `lr` or `tune_lr`"),
        ({"recurrence": 0.1, "ramp": [0.6, 0.4]}, r"0 <= begin <= end <= 1; got \(0.6, 0.4\)"),
        ({"recurrence": 0.1, "ramp": [0.6]}, "ramp"),
        ({"groups": {}}, "groups"),
        ({"sparsity": 0.9}, "unknown key 'sparsity'"),
    ],
)
def test_a_table_that_makes_no_arm_is_refused(point: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        expand([{"method": "share", "templates": 2, "epochs": 4, **point}])


@pytest.mark.slow
def test_a_sweep_holds_shared_arms_with_their_sizes_and_similarities(tmp_path: Path) -> None:
    data = (images(24).float(), torch.arange(24) % 3)
    sweep = Sweep(
        name="mine",
        task=SupervisedTask(single, train=data, evaluation=data, test=data),
        settings=TrainSettings(batch_size=8, optimizer=OptimizerSpec(lr=0.05, weight_decay=1e-3), device="cpu"),
        seeds=(0, 1),
        dense_epochs=2,
        dense_schedule=partial(_linear, peak=0.05),
        arms=expand([{"method": "share", "templates": [1, 2], "epochs": 2, "fold": 0.5}]),
        recipe="x",
        recipe_hash="x",
        command="x",
    )
    assert sum("train from scratch with" in line for line in sweep.plan()) == 2
    records = sweep.run(tmp_path)
    dense = next(record for record in records if record.is_baseline)
    for record in records:
        if record.is_baseline:
            continue
        assert record.cost["steps"] == 6, "the dense model is not charged"
        assert record.cost["params"] == record.phases[1]["params"]
        assert removed_share(record) == pytest.approx(1 - record.cost["params"] / dense.cost["params"])
        ((group, found),) = similarities_of(record).items()
        assert (group, found["layers"]) == ("conv2d-4x4x3x3", list(CONVS))
        if record.group["templates"] == 1:
            assert record.cost["params"] < dense.cost["params"]
    again = sweep.run(tmp_path, resume=True)
    assert [record.to_dict() for record in again] == [record.to_dict() for record in records]
    (loaded,) = load_sources([tmp_path]).values()
    page = write_report(loaded, tmp_path / "report.html", command="x").read_text(encoding="utf-8")
    assert "shared 1 template 2 epochs" in page
    assert "the sparsest arm" not in page
    ledger = (tmp_path / "runs" / f"{sweep.arms[0].id}-s0" / "ledger.jsonl").read_text().splitlines()
    assert [json.loads(line)["phase"] for line in ledger] == ["share", "templates"]


def single() -> nn.Sequential:
    """The network in float32."""
    return network().float()


def _linear(num_steps: int, *, peak: float) -> Linear:
    return Linear(num_steps=num_steps, peak=peak)
