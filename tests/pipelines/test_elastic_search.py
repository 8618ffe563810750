"""The search for a profile: what solvers propose is measured, and the lowest measured loss within the budgets wins."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from paretorch.artefacts.latency_file import save_latency_table
from paretorch.errors import InputError
from paretorch.methods.averaging.batchnorm import reestimate_batchnorm
from paretorch.methods.width.calibration import Calibration
from paretorch.methods.width.extract import extract
from paretorch.methods.width.latency import latency_cost
from paretorch.methods.width.layer_timing import measure_latency_table
from paretorch.pipelines.elastic import Budgets, ElasticRun, Widths
from paretorch.pipelines.elastic.calibration import calibration_of
from paretorch.pipelines.elastic.search import equal_ratios, search
from paretorch.pipelines.elastic.training import ElasticWeights
from tests.pipelines.test_elastic import CALIBRATED, FULL, GROUPS, WIDTHS, dense, normed, trainer_in

FINE = Widths(quantum=1, min_ratio=0.1)


@pytest.fixture(scope="module")
def trained() -> ElasticWeights:
    """Full widths, trained elastically with independent widths."""
    run = ElasticRun(epochs=4, widths=FINE, calibration_examples=CALIBRATED, sampler="independent")
    return run.train(trainer_in(), dense()).final


@pytest.mark.parametrize("budgets", [Budgets(params=0.5), Budgets(macs=0.3), Budgets(params=0.6, macs=0.5)])
def test_the_lowest_measured_loss_within_the_budgets_is_chosen(trained: ElasticWeights, budgets: Budgets) -> None:
    calibration = calibration_of(trainer_in(), examples=CALIBRATED, batches=4)
    grids = FINE.grids(GROUPS)
    best, archive, entries = search(trained, budgets, uncut=GROUPS, grids=grids, calibration=calibration, seed=0)
    equal = [profile for profile in equal_ratios(GROUPS.full, grids) if fits(profile, budgets)][-1]
    assert equal in [entry.profile for entry in entries]
    assert len(entries) >= 2
    assert best.loss == min(entry.loss for entry in entries)
    assert best in list(archive)
    for entry in entries:
        assert GROUPS.num_params(entry.profile) == entry.footprint["params"]
        assert GROUPS.num_macs(entry.profile) == entry.footprint["macs"]
        assert fits(entry.profile, budgets)
        assert entry.loss == pytest.approx(loss_of(trained, entry.profile, calibration), rel=1e-5)
        assert entry.reestimated
        if entry.predicted is not None:
            rise = sum(table.error(width) for table, width in zip(trained.tables, entry.profile, strict=True))
            base = loss_of(trained, trained.groups.full, calibration)
            assert entry.predicted == pytest.approx(base + rise, rel=1e-5)


def fits(profile: tuple[int, ...], budgets: Budgets) -> bool:
    costs = {"params": GROUPS.num_params, "macs": GROUPS.num_macs}
    return all(costs[name](profile) <= part * costs[name](GROUPS.full) for name, part in budgets.given().items())


def loss_of(weights: ElasticWeights, profile: tuple[int, ...], calibration: Calibration) -> float:
    """By a cut copy, which shares nothing with running slices."""
    small = extract(weights.model, weights.groups, profile).eval()
    reestimate_batchnorm(small, calibration.statistics, forward=calibration.losses)
    with torch.no_grad():
        found = [calibration.losses(small, batch) for part in calibration.splits for batch in part]
    return float(torch.cat(found).double().mean())


def test_a_budget_of_latency_is_a_fraction_of_what_the_table_predicts(trained: ElasticWeights, tmp_path: Path) -> None:
    grids = FINE.grids(GROUPS)
    coarse = dict(zip(GROUPS.names, WIDTHS.grids(GROUPS), strict=True))
    table = measure_latency_table(normed().eval(), GROUPS, torch.randn(1, 5), grids=coarse)
    save_latency_table(tmp_path / "table.json", table)
    predicted = latency_cost(table, GROUPS)
    least = predicted(tuple(widths[0] for widths in grids)) / predicted(GROUPS.full)
    budgets = Budgets(latency=(1 + least) / 2, latency_table=tmp_path / "table.json", params=0.8)
    calibration = calibration_of(trainer_in(), examples=CALIBRATED, batches=4)
    best, _, entries = search(trained, budgets, uncut=GROUPS, grids=grids, calibration=calibration, seed=0)
    for entry in entries:
        assert entry.footprint["predicted_latency_s"] == predicted(entry.profile)
        assert predicted(entry.profile) <= (1 + least) / 2 * predicted(GROUPS.full)
        assert GROUPS.num_params(entry.profile) <= 0.8 * FULL
    assert best.loss == min(entry.loss for entry in entries)
    with pytest.raises(InputError, match=r"allows .* predicted_latency_s of"):
        Budgets(latency=1e-6, latency_table=tmp_path / "table.json").check(GROUPS, grids)
    with pytest.raises(InputError, match="needs a latency_table"):
        Budgets(latency=0.5)


@given(st.tuples(st.integers(1, 40), st.integers(1, 40)), st.integers(1, 9))
def test_equal_ratios_are_a_nested_chain_up_to_the_centre(centre: tuple[int, int], quantum: int) -> None:
    grids = tuple((*range(quantum, size, quantum), size) for size in (40, 40))
    profiles = equal_ratios(centre, grids)
    assert profiles[-1] == centre
    for small, large in pairwise(profiles):
        assert small != large
        assert all(a <= b for a, b in zip(small, large, strict=True))
    for profile in profiles:
        assert all(width in grid or width == top for width, grid, top in zip(profile, grids, centre, strict=True))
