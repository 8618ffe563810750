"""The module `my_project` that README's examples import: the smallest model and data of one's own."""

from pathlib import Path

import pytest

MY_PROJECT = """
import torch
from torch import nn

generator = torch.Generator().manual_seed(0)
inputs = torch.randn(360, 6, generator=generator)
targets = (inputs[:, 0] * inputs[:, 1] > 0).long()
x_train, y_train, x_test, y_test = inputs[:300], targets[:300], inputs[300:], targets[300:]


class MyNet(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 2))
"""


@pytest.fixture
def my_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own, which is the current one, with `my_project.py` in it."""
    (tmp_path / "my_project.py").write_text(MY_PROJECT, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path
