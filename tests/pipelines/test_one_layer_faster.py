"""One layer made faster is not the whole made faster: a comparison measures what Amdahl leaves of it."""

from pathlib import Path
from statistics import median

import pytest

from paretorch.comparisons import judge
from paretorch.recipes import load_recipe

SLEEPING = """
import time
import torch
from torch import nn
from paretorch import SupervisedTask


class Sleep(nn.Module):
    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds

    def forward(self, inputs):
        time.sleep(self.seconds)
        return inputs


def make(first: float = 0.010, second: float = 0.005):
    stream = torch.Generator().manual_seed(0)
    x = torch.randn(20, 3, generator=stream)
    data = (x, x @ torch.tensor([[1.0], [-2.0], [0.5]]))

    def model():
        return nn.Sequential(Sleep(first), nn.Linear(3, 1), Sleep(second))

    return SupervisedTask(model, train=data, evaluation=data, test=data, loss="mse", name="sleeping")
"""
FASTER = 1.3
AMDAHL = """
name = "amdahl"
task = "{task}:make"
seeds = [0, 1, 2, 3, 4]
[train]
batch_size = 10
lr = 0.02
momentum = 0.0
[dense]
epochs = 1
schedule = "constant"
[compare]
candidate = "faster"
baseline = "plain"
durations = [1, 2, 4, 6, 8]
left_out = {{ smaller = "only the time is of interest" }}
[[dense_arm]]
name = "faster"
schedule = "constant"
task_options = {{ first = {first} }}
[[dense_arm]]
name = "plain"
schedule = "constant"
"""


@pytest.mark.slow
def test_one_layer_made_faster_appears_as_what_amdahl_leaves_of_it(tmp_path: Path) -> None:
    """Two layers sleep for 10 ms and 5 ms, and the candidate's first one is 1.3 times as fast."""
    (tmp_path / "sleeping.py").write_text(SLEEPING)
    text = AMDAHL.format(task=tmp_path / "sleeping.py", first=0.010 / FASTER)
    (tmp_path / "amdahl.toml").write_text(text)
    recipe, out = load_recipe(str(tmp_path / "amdahl.toml")), tmp_path / "out"
    out.mkdir()
    assert recipe.compare is not None
    comparison = recipe.comparison(data=None, command="test")
    comparison.time_steps(out)
    for unit in comparison.units():
        comparison.run_unit(unit, out)
    found = judge(comparison.records(out), recipe.compare)
    step_s = median(
        comparison.step_seconds(family, seed, out)["dense"]
        for family in comparison.families
        for seed in recipe.seeds
        if family.name == "plain"
    )
    share = 0.010 / step_s
    expected = 1 / (1 - share + share / FASTER)
    hardware, statistical = found.speedup.split.hardware, found.speedup.split.statistical
    assert hardware is not None
    assert statistical is not None
    assert hardware.mean == pytest.approx(expected, rel=0.06)
    assert hardware.mean < 1 + 0.85 * (FASTER - 1)
    assert hardware.high is not None
    assert hardware.high < FASTER
    assert (statistical.mean, statistical.low, statistical.high) == (1.0, 1.0, 1.0)  # the same weights, step by step
    assert found.speedup.average is not None
    assert found.speedup.average.mean == pytest.approx(hardware.mean)
    assert found.verdict.claimed, found.verdict
