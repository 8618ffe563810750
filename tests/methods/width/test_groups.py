"""Profiles of a model's groups: exact counts, and what is refused."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from paretorch.errors import InputError
from paretorch.methods.width.cutting import plan_cut
from paretorch.methods.width.extract import extract, masked
from paretorch.methods.width.reorder import reorder_
from paretorch.methods.width.tracing import find_groups
from tests.methods.width.handmade import perceptron, perceptron_groups

SIZES = (6, 5, 4, 3)


def test_halved_perceptron_keeps_28_percent_of_its_parameters_and_not_the_7_that_added_savings_predict() -> None:
    groups = perceptron_groups(32, 96, 96, 96, 96, 10)
    full, halves = groups.num_params(groups.full), (48,) * 4
    alone = [full - groups.num_params((*groups.full[:g], 48, *groups.full[g + 1 :])) for g in range(4)]
    assert (full, groups.num_params(halves), full - sum(alone)) == (32074, 9130, 2218)


@given(widths=st.tuples(st.integers(1, 5), st.integers(1, 4)))
def test_parameters_of_a_profile_are_those_of_the_perceptron_built_at_it(widths: tuple[int, int]) -> None:
    built = perceptron(6, *widths, 3)
    assert perceptron_groups(*SIZES).num_params(widths) == sum(p.numel() for p in built.parameters())


def test_names_make_a_profile_in_which_the_other_groups_are_whole() -> None:
    groups = perceptron_groups(*SIZES)
    assert groups.profile({"2": 1}) == (5, 1)
    with pytest.raises(InputError, match=r"'9' is no width group of this model; there are '0', '2'"):
        groups.profile({"9": 1})


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        (3, "a profile is a tuple of widths, one for each of '0', '2'; got 3"),
        ((5,), "has 2 widths, one for each of '0', '2'; got 1"),
        ((5, 0), "width of '2' must be an integer from 1 to 4; got 0"),
        ((6, 4), "width of '0' must be an integer from 1 to 5; got 6"),
        ((2.0, 4), "width of '0' must be an integer from 1 to 5; got 2.0"),
    ],
)
def test_profile_that_does_not_fit_is_refused(profile: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        extract(perceptron(*SIZES), perceptron_groups(*SIZES), profile)  # type: ignore[arg-type]


def test_things_of_another_kind_than_asked_for_are_refused_in_words() -> None:
    model, groups = perceptron(*SIZES), perceptron_groups(*SIZES)
    with pytest.raises(InputError, match="keep is a sequence of int64 tensors, one for each group; got NoneType"):
        plan_cut(groups, None)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="importance is a sequence of tensors, one for each group; got NoneType"):
        reorder_(model, groups, None)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="importance is a sequence of tensors"):
        reorder_(model, groups, [[1.0] * 5, [1.0] * 4])  # type: ignore[list-item]
    with pytest.raises(InputError, match="pins are names of modules or parameters, as a sequence of text; got 3"):
        find_groups(model, (torch.zeros(1, 6),), pins=3)  # type: ignore[arg-type]


@pytest.mark.parametrize("other", [nn.Sequential(nn.Linear(6, 3)), perceptron(6, 5, 5, 3)])
def test_masking_a_model_of_other_groups_is_refused(other: nn.Module) -> None:
    groups = perceptron_groups(*SIZES)
    with pytest.raises(InputError, match=r"weight"):
        masked(other, groups, groups.prefix((2, 2)))
