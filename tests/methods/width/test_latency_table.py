"""Latency tables on an injected clock: what is timed, what is predicted, and when it is not certified."""

import copy
import itertools
import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import nn

from paretorch.artefacts.latency_file import load_latency_table, save_latency_table
from paretorch.errors import ArtefactError, InputError
from paretorch.methods.width.allocation.costs import separable
from paretorch.methods.width.latency import LatencyTable, latency_cost, useful_widths
from paretorch.methods.width.latency_cells import cell_of
from paretorch.methods.width.layer_timing import measure_latency_table
from paretorch.methods.width.profile import allocate
from paretorch.methods.width.tracing import find_groups
from tests.measurement.clocks import FakeMachine
from tests.methods.width.handmade import perceptron, perceptron_groups
from tests.methods.width.instances import by_trying_all, random_tables

GRID = (4, 8, 12)
GRIDS = {"0": GRID, "2": GRID}


@contextmanager
def slow_layers(seconds: Callable[[nn.Module], float]) -> Iterator[FakeMachine]:
    """A machine on which a call of a module takes `seconds(module)`, and nothing else takes time."""
    machine = FakeMachine()
    handle = nn.modules.module.register_module_forward_hook(lambda module, *_: machine.pass_time(seconds(module)))
    try:
        yield machine
    finally:
        handle.remove()


def by_products(module: nn.Module) -> float:
    """Seconds of a linear layer by its products; an activation takes some, too."""
    if isinstance(module, nn.Linear):
        return 1.0 + module.in_features * module.out_features
    return 5.0 if isinstance(module, nn.ReLU) else 0.0


def table_of(seconds: Callable[[nn.Module], float] = by_products) -> LatencyTable:
    with slow_layers(seconds) as machine:
        return measure_latency_table(
            perceptron(6, 12, 12, 3),
            perceptron_groups(6, 12, 12, 3),
            torch.zeros(2, 6),
            grids=GRIDS,
            clock=machine.clock,
        )


def test_every_layer_is_timed_at_every_pair_of_widths_of_its_groups() -> None:
    table = table_of()
    sizes = {layer.name: set() for layer in table.layers}
    for layer in table.layers:
        for widths in itertools.product(GRID, GRID):
            sizes[layer.name].add(layer.dims(widths))
    assert sizes["0"] == {(6, n, 1) for n in GRID}
    assert sizes["2"] == {(i, o, 1) for i in GRID for o in GRID}
    assert sizes["4"] == {(n, 3, 1) for n in GRID}
    (cells,) = table.cells.values()  # three linear layers of one kind share one table
    assert set(cells) == set.union(*sizes.values())
    for (inputs, outputs, _), cell in cells.items():
        assert cell.min_s == pytest.approx(1 + inputs * outputs)
        assert cell.n == 30
    assert table.certified


def test_the_prediction_is_exact_at_the_full_profile_and_the_scaled_sum_of_layers_elsewhere() -> None:
    table, groups = table_of(), perceptron_groups(6, 12, 12, 3)
    layers = 3 + 6 * 12 + 12 * 12 + 12 * 3
    assert table.model.min_s == pytest.approx(layers + 10)
    assert table.scale == pytest.approx((layers + 10) / layers)
    assert table.residual == pytest.approx(10 / (layers + 10))
    cost = latency_cost(table, groups)
    assert cost.kind == "chain"
    assert cost((12, 12)) == pytest.approx(table.model.min_s)
    for one, two in itertools.product(GRID, GRID):
        assert cost((one, two)) == pytest.approx(table.scale * (3 + 6 * one + one * two + two * 3))


def test_between_the_widths_of_the_grid_the_next_greater_width_is_charged() -> None:
    cost = latency_cost(table_of(), perceptron_groups(6, 12, 12, 3))
    assert cost((7, 9)) == cost((8, 12))
    assert cost((8, 12)) > cost((4, 8))


def test_where_a_greater_size_was_faster_its_time_is_taken_so_that_latency_never_falls_with_width() -> None:
    def odd(module: nn.Module) -> float:  # width 8 is slow
        if not isinstance(module, nn.Linear):
            return 0.0
        return 1000.0 if 8 in (module.in_features, module.out_features) else by_products(module)

    table = table_of(odd)
    cost = latency_cost(table, perceptron_groups(6, 12, 12, 3))
    assert cost((8, 8)) == cost((12, 12)) == pytest.approx(table.model.min_s)
    for profile in itertools.product(GRID, GRID):
        for greater in itertools.product(GRID, GRID):
            if all(a <= b for a, b in zip(profile, greater, strict=True)):
                assert cost(profile) <= cost(greater)


def test_profiles_are_chosen_exactly_under_a_measured_latency() -> None:
    groups = perceptron_groups(6, 12, 12, 3)
    cost = latency_cost(table_of(), groups)
    for seed in range(5):
        tables = [
            type(t)(t.group, GRID, t.errors) for t in random_tables(np.random.default_rng(seed), groups=2, widths=3)
        ]
        for budget in (60.0, 150.0, 220.0):
            found = allocate(tables, cost, budget)
            assert (found.method, found.optimal) == ("chain_dp", True)
            assert found.cost == cost(found.profile) <= budget
            assert found.predicted_loss == pytest.approx(by_trying_all(tables, (cost, budget)))
    both = allocate(
        tables, {"latency": cost, "params": groups.num_params}, {"latency": 150.0, "params": groups.num_params((8, 8))}
    )
    assert both.cost["latency"] <= 150.0
    assert both.cost["params"] <= groups.num_params((8, 8))


class Branched(nn.Module):
    """Convolution, batch norm, depthwise and grouped convolution, a residual addition and a flattened head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding="same", groups=8)
        self.again = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8 * 16, 5)
        self.bias = nn.Parameter(torch.zeros(5))

    def forward(self, x):
        x = self.norm(self.stem(x)).relu()
        x = x + self.again(self.depthwise(x))
        return self.head(x.flatten(1)) + self.bias


def test_layers_of_a_convolutional_net_are_called_at_the_shapes_they_see_and_the_model_is_left_as_it_was() -> None:
    model = Branched().train()
    before = copy.deepcopy(model.state_dict())
    inputs = torch.randn(2, 3, 8, 8)
    groups = find_groups(model, (inputs,))
    (stem,) = groups.names
    seen: list[tuple[str, tuple[int, ...]]] = []

    def note(module: nn.Module) -> float:
        if isinstance(module, nn.Conv2d):
            seen.append((f"{module.in_channels}-{module.out_channels}-{module.groups}", module.weight.shape))
        return 1.0 if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d) else 0.0

    state = torch.random.get_rng_state()
    with slow_layers(note) as machine:
        table = measure_latency_table(model, groups, inputs, grids={stem: (2, 4)}, clock=machine.clock)
    assert model.training
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [layer.name for layer in table.layers] == ["stem", "norm", "depthwise", "again", "head"]
    sizes = {layer.name: [layer.dims((n,)) for n in (2, 4, 8)] for layer in table.layers}
    assert sizes == {
        "stem": [(3, n, 1) for n in (2, 4, 8)],
        "norm": [(n, n, 1) for n in (2, 4, 8)],
        "depthwise": [(n, n, n) for n in (2, 4, 8)],
        "again": [(n, n, 1) for n in (2, 4, 8)],
        "head": [(16 * n, 5, 1) for n in (2, 4, 8)],
    }
    assert {tuple(dims) for cells in table.cells.values() for dims in cells} == {d for s in sizes.values() for d in s}
    assert (
        table.layers[0].kind == "Conv2d float32 2x8x8 kernel 3x3 stride 2x2 padding 1x1 dilation 1x1 mode zeros no bias"
    )
    assert table.layers[2].kind.startswith("Conv2d float32 2x4x4 kernel 3x3 stride 1x1 padding same")
    assert {f"{n}-{n}-{n}" for n in (2, 4, 8)} <= {name for name, _ in seen}
    assert table.left_out == ("",)  # the model's own bias
    assert table.model.min_s == pytest.approx(5.0)
    assert latency_cost(table, groups).kind == "separable"


def test_layers_that_no_group_touches_are_part_of_the_constant() -> None:
    model, groups = perceptron(6, 12, 3), perceptron_groups(6, 12, 3)
    whole = nn.Sequential(model, nn.Linear(3, 3))
    with slow_layers(by_products) as machine:
        table = measure_latency_table(whole, groups, torch.zeros(2, 6), grids={}, clock=machine.clock)
    cost = latency_cost(table, groups)
    assert cost.constant == pytest.approx(table.scale * sum(1 + n for n in (72, 36, 9)))  # names differ: all fixed
    assert cost.parts == ()


def test_a_table_survives_its_file_and_a_damaged_one_is_refused(tmp_path) -> None:
    table, groups = table_of(), perceptron_groups(6, 12, 12, 3)
    save_latency_table(tmp_path / "table.json", table)
    again = load_latency_table(tmp_path / "table.json")
    assert again.to_json() == table.to_json()
    assert {"cpu", "cpu_capability", "torch", "threads", "precision"} <= set(again.machine)
    one, other = latency_cost(table, groups), latency_cost(again, groups)
    assert all(one(profile) == other(profile) for profile in itertools.product(GRID, GRID))
    content = json.loads((tmp_path / "table.json").read_text())
    for damaged, message in (
        ("{", "is not valid JSON"),
        ("[]", "no latency table"),
        (json.dumps({k: v for k, v in content.items() if k != "cells"}), "no latency table: KeyError: 'cells'"),
        (json.dumps(content | {"model": {"min": 3}}), "no latency table: TypeError"),
    ):
        (tmp_path / "table.json").write_text(damaged)
        with pytest.raises(ArtefactError, match=message):
            load_latency_table(tmp_path / "table.json")
    with pytest.raises(ArtefactError, match="cannot be read"):
        load_latency_table(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("samples", "warning"),
    [
        ([1.0] * 30, ""),
        ([1.0, 1.1] * 15, ""),
        ([1.0] * 29 + [50.0], ""),  # one stall does not touch the minimum
        ([1.0] * 10 + [1.3] * 20, r"median run took 1.30 times the 5th percentile, above 1.2$"),
        ([0.15] * 20 + [80.0] * 10, r"^the runs fall into two groups of which one took 533.3 times as long"),
        ([1.0] * 10 + [4.0] * 20, r"median run took 4.00 times .*; the runs fall into two groups"),
    ],
)  # fmt: skip
def test_a_cell_is_certified_only_if_its_runs_agree(samples: list[float], warning: str) -> None:
    import re

    cell = cell_of(np.random.default_rng(0).permutation(samples))
    assert (cell.min_s, cell.p50_s, cell.n) == (min(samples), float(np.median(samples)), 30)
    assert bool(cell.warning) == bool(warning)
    assert re.search(warning, cell.warning)


def test_a_table_measured_on_a_busy_machine_says_which_cells_are_not_certified() -> None:
    calls = itertools.count()

    def busy(module: nn.Module) -> float:
        if isinstance(module, nn.Linear) and module.out_features == 8 and module.in_features == 6:
            return 80.0 if next(calls) % 3 == 0 else 0.15
        return by_products(module)

    table = table_of(busy)
    assert not table.certified
    (warning,) = table.warnings
    assert warning.startswith("Linear float32 2 at (6, 8, 1): the runs fall into two groups")
    with slow_layers(lambda module: 1.0) as machine:
        assert LatencyTable.from_json(table.to_json()).warnings == (warning,)
    assert machine.wall_s == 0.0


def test_what_cannot_be_measured_or_used_is_refused() -> None:
    model, groups, inputs = perceptron(6, 12, 12, 3), perceptron_groups(6, 12, 12, 3), torch.zeros(2, 6)
    with pytest.raises(InputError, match="fewer than 30 runs says little; got runs=29"):
        measure_latency_table(model, groups, inputs, grids=GRIDS, runs=29)
    with pytest.raises(InputError, match="'1' is no width group"):
        measure_latency_table(model, groups, inputs, grids={"1": (4,)})
    with pytest.raises(InputError, match="width of '0' must be an integer from 1 to 12; got 13"):
        measure_latency_table(model, groups, inputs, grids={"0": (13,)})
    with pytest.raises(InputError, match="calls no linear layer, convolution or batch norm"):
        measure_latency_table(nn.ReLU(), groups, inputs, grids={})
    table = table_of()
    for other in (perceptron_groups(6, 12, 3), perceptron_groups(6, 13, 12, 3)):
        with pytest.raises(InputError, match=r"is of the width groups \('0', '2'\) at \(12, 12\)"):
            latency_cost(table, other)
    with pytest.raises(InputError, match=r"no size of '2' as large as \(12, 13, 1\).*the largest is \(12, 12, 1\)"):
        table.seconds(table.layers[1], (12, 13, 1))
    assert latency_cost(table, perceptron_groups(6, 8, 12, 3))((8, 12)) > 0  # of a model that was cut from it


def test_of_widths_that_take_the_same_time_only_the_greatest_is_useful() -> None:
    def in_steps_of_16(width: int) -> float:
        return 0.05 + 0.03 * math.ceil(width / 16)

    cost = separable([in_steps_of_16, lambda w: 0.001 * w])
    grid = tuple(range(8, 129, 8))
    assert useful_widths(cost, (128, 128), 0, grid) == tuple(range(16, 129, 16))
    assert useful_widths(cost, (128, 128), 1, grid) == grid
    assert useful_widths(cost, (128, 128), 1, grid, tolerance=0.3) == (8, 48, 88, 128)


def test_real_layers_are_timed_for_real() -> None:
    model, groups = perceptron(6, 12, 3), perceptron_groups(6, 12, 3)
    table = measure_latency_table(model, groups, torch.zeros(2, 6), grids={"0": (6,)})
    assert all(0 < cell.min_s <= cell.p50_s for cells in table.cells.values() for cell in cells.values())
    assert 0 < latency_cost(table, groups)((6,)) <= latency_cost(table, groups)((12,))
