"""Tables of errors by width: differences of losses, monotone, zero at the centre, and a model that is left alone."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from paretorch.errors import InputError, NotFiniteError
from paretorch.methods.width.groups import Profile
from paretorch.methods.width.tables import Table, moved, sensitivity
from tests.methods.width.handmade import perceptron, perceptron_groups

GROUPS = perceptron_groups(5, 6, 4, 3)
GRIDS = ((2, 4, 6), (1, 2, 3, 4))


def prefix_loss(model: nn.Sequential, inputs: torch.Tensor, targets: torch.Tensor) -> Callable[[Profile], list[float]]:
    """Losses on two halves of the data, at a profile, by multiplication with 0/1 masks."""

    def losses_at(profile: Profile) -> list[float]:
        found: list[float] = []
        for part in (slice(None, 20), slice(20, None)):
            hidden = model[0](inputs[part]).relu() * (torch.arange(6) < profile[0])
            hidden = model[2](hidden).relu() * (torch.arange(4) < profile[1])
            found.append(float(((model[4](hidden) - targets[part]) ** 2).mean().detach()))
        return found

    return losses_at


def test_errors_are_the_rise_of_the_loss_when_one_group_is_narrowed() -> None:
    torch.manual_seed(0)
    model, inputs = perceptron(5, 6, 4, 3).double(), torch.randn(40, 5).double()
    targets = model(inputs).detach()
    before = copy.deepcopy(model.state_dict())
    losses_at = prefix_loss(model, inputs, targets)
    tables = sensitivity(GROUPS, (6, 3), grids=GRIDS, losses_at=losses_at)
    assert [table.widths for table in tables] == [(2, 4, 6), (1, 2, 3)]  # nothing above the centre
    base = sum(losses_at((6, 3)))
    for number, table in enumerate(tables):
        rises = [(sum(losses_at(moved((6, 3), number, width))) - base) / 2 for width in table.widths]
        for position, error in enumerate(table.errors):
            assert error == pytest.approx(max([0.0, *rises[position:]]), abs=1e-15)
        assert table.errors[-1] == 0.0
        assert table.spread is not None
        assert table.spread[-1] == 0.0
        assert max(table.spread) > 0
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=3), st.lists(st.floats(-5, 5), min_size=4, max_size=4))
def test_errors_never_fall_as_the_width_does(first: list[float], second: list[float]) -> None:
    values = {moved((6, 4), 0, w): first[i] for i, w in enumerate((2, 4, 6))}
    values |= {moved((6, 4), 1, w): second[w - 1] for w in (1, 2, 3, 4)}
    for table in sensitivity(GROUPS, (6, 4), grids=GRIDS, losses_at=lambda profile: [values[profile]]):
        assert list(table.errors) == sorted(table.errors, reverse=True)
        assert table.errors[-1] == 0.0
        assert table.spread is None


def test_spread_is_the_range_over_splits_of_the_monotone_errors() -> None:
    losses = {(6, 4): [1.0, 2.0], (4, 4): [1.5, 2.1], (2, 4): [1.2, 3.0]}
    tables = sensitivity(GROUPS, (6, 4), grids=((2, 4, 6), (4,)), losses_at=lambda profile: losses[profile])
    # By split: (0.5, 0.5, 0) after the running maximum, and (1.0, 0.1, 0); the mean rises (0.6, 0.3, 0).
    assert tables[0].spread == pytest.approx((0.5, 0.4, 0.0))
    assert tables[0].errors == pytest.approx((0.6, 0.3, 0.0))
    assert tables[1] == Table("2", (4,), (0.0,), (0.0,))


def test_every_profile_is_measured_once_and_differs_from_the_centre_in_one_group() -> None:
    seen: list[Profile] = []

    def losses_at(profile: Profile) -> list[float]:
        seen.append(profile)
        return [0.0]

    sensitivity(GROUPS, (6, 4), grids=GRIDS, losses_at=losses_at)
    assert seen == [(6, 4), (2, 4), (4, 4), (6, 1), (6, 2), (6, 3)]


def test_monotone_takes_a_running_maximum_from_wide_to_narrow() -> None:
    table = Table("a", (1, 2, 3, 4), (0.1, 0.5, 0.2, 0.0), (0.0, 0.1, 0.2, 0.0))
    assert table.monotone() == Table("a", (1, 2, 3, 4), (0.5, 0.5, 0.2, 0.0), (0.0, 0.1, 0.2, 0.0))
    assert table.error(3) == 0.2


def test_tables_refuse_what_they_cannot_hold() -> None:
    with pytest.raises(InputError, match=r"'a' holds the widths \(1, 2\), and not 3"):
        Table("a", (1, 2), (1.0, 0.0)).error(3)
    with pytest.raises(InputError, match="3 widths and 2 errors"):
        Table("a", (1, 2, 3), (1.0, 0.0))
    with pytest.raises(InputError, match="errors at width 1 is -1"):
        Table("a", (1, 2), (-1.0, 0.0))
    with pytest.raises(InputError, match="must increase"):
        Table("a", (2, 2), (1.0, 0.0))


def test_sensitivity_refuses_losses_and_grids_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="2 width groups need as many grids"):
        sensitivity(GROUPS, (6, 4), grids=((2, 6),), losses_at=lambda _profile: [0.0])
    with pytest.raises(NotFiniteError, match="'0' at width 2 is nan"):
        sensitivity(GROUPS, (6, 4), grids=GRIDS, losses_at=lambda p: [math.nan if p == (2, 4) else 0.0])
    with pytest.raises(InputError, match="at least one split"):
        sensitivity(GROUPS, (6, 4), grids=GRIDS, losses_at=lambda _profile: [])
    with pytest.raises(InputError, match="1 losses at the centre and 2 elsewhere"):
        sensitivity(GROUPS, (6, 4), grids=GRIDS, losses_at=lambda p: [0.0] * (1 if p == (6, 4) else 2))
