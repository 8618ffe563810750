"""What a benchmark's search chose lies in the range that the card of the method names."""

import re
from typing import Any

import pytest

from paretorch.methods.sparsity.continuous.method import CARD


def chosen(load: Any, name: str) -> set[float]:
    """The values of a setting of continuous sparsification that were chosen on any task; of the ablation none."""
    result = load("_result").load_all(load("_harness").RESULTS)["continuous_sparsification.cpu"]
    groups = result.figures.values()
    return {value for own in groups for key, value in own.items() if re.fullmatch(rf"CS, [\d.]+, {name}", key)}


@pytest.mark.parametrize("name", ["mask_lr", "strength"])
def test_settings_that_were_chosen_lie_within_the_range_of_the_card(load: Any, name: str) -> None:
    (setting,) = [one for one in CARD.hyperparams if one.name == name]
    found = chosen(load, name)
    assert found
    assert all(setting.low <= value <= setting.high for value in found), found
