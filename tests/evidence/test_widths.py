"""The profiles of cut models in a report: a figure and a table with the widths of the records."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from paretorch.evidence.arms import arms_of
from paretorch.evidence.names import ordered
from paretorch.evidence.report import write_report
from paretorch.evidence.report.axes import axes_of
from paretorch.evidence.report.fronts import scatter
from paretorch.evidence.report.legend import entries
from paretorch.evidence.report.series import marks_of
from paretorch.evidence.report.style import CUT_SYMBOLS, SYMBOLS
from paretorch.evidence.report.table import UNKNOWN
from paretorch.evidence.report.widths import SHOWN, widths_figure, widths_table
from tests.evidence.cut_runs import FULL, cut_records

LIMIT = 2_000_000


def test_the_figure_holds_width_over_full_width_of_every_group_in_order() -> None:
    figure = widths_figure(arms_of(cut_records(widths=[[4, 16, 64]] * 3)))
    (trace,) = figure["data"]
    assert trace["x"] == ["conv1", "conv2", "&lt;fc&gt;"]
    assert trace["y"] == [25, 50, 100]
    assert figure["layout"]["xaxis"]["categoryarray"] == ["conv1", "conv2", "&lt;fc&gt;"]


def test_where_seeds_differ_the_figure_shows_the_mean_and_the_table_both_ends() -> None:
    arms = arms_of(cut_records(widths=[[4, 16, 32], [8, 16, 32], [12, 16, 32]]))
    assert widths_figure(arms)["data"][0]["y"] == [50, 50, 50]
    table = widths_table(arms)
    assert table.head == ["group", "full", "cut ALLR 50% params"]
    assert table.rows[0] == ["conv1", "16", "4 to 12"]
    assert table.rows[1] == ["conv2", "32", "16"]
    assert table.rows[-1] == ["mean share of all groups", UNKNOWN, "50 %"]


def test_a_sweep_without_cuts_has_no_profile(sweep, tmp_path: Path) -> None:
    arms = arms_of(sweep())
    assert widths_figure(arms) is None
    assert widths_table(arms) is None
    page = write_report(sweep(), tmp_path / "r.html", title="t", command="c").read_text()
    assert "Widths by layer" not in page
    assert "hexagon" not in page.split("<script")[0]


def test_many_arms_are_in_the_figure_and_few_of_them_shown_at_first() -> None:
    runs = [run for tenth in range(1, 10) for run in cut_records(part=tenth / 10)]
    figure = widths_figure(arms_of(runs))
    assert [trace["visible"] for trace in figure["data"]] == [True] * SHOWN + ["legendonly"] * 3
    assert "The first 8 of 9 cut arms." in widths_table(arms_of(runs)).caption


def test_masked_and_cut_series_have_symbols_of_their_own_kind_in_every_figure(sweep) -> None:
    arms = ordered(arms_of(sweep() + cut_records(part=0.5) + cut_records(part=0.25)))
    marks = marks_of(arms)
    cut = {name for name in marks if name.startswith("cut")}
    assert cut == {"cut with ALLR at 2 retraining epochs"}
    assert {marks[name].symbol for name in cut} <= set(CUT_SYMBOLS)
    assert {marks[name].symbol for name in marks if name not in cut | {"dense"}} <= set(SYMBOLS)
    assert not set(SYMBOLS) & set(CUT_SYMBOLS)
    baseline = next(arm for arm in arms if arm.is_baseline)
    size = next(axis for axis in axes_of(arms, baseline) if axis.key == "size")
    keys = {entry.name: entry.path for entry in entries(scatter(arms, size, references={}))}
    assert keys["cut with ALLR at 2 retraining epochs"] not in {
        path for name, path in keys.items() if not name.startswith("cut")
    }


def test_the_page_of_a_sweep_holds_the_figure_the_table_and_the_meaning_of_the_symbols(sweep, tmp_path: Path) -> None:
    records = sweep() + cut_records(part=0.5)
    path = write_report(records, tmp_path / "r.html", title="t", command="c")
    page = path.read_text()
    assert path.stat().st_size < LIMIT
    assert 'id="plot-widths"' in page
    assert "models that were cut; all other marks are masked ones" in page
    assert '<table id="table-widths">' in page
    assert "&lt;fc&gt;" in page
    assert "<fc>" not in page
    for name, full in FULL.items():
        cells = rf"{re.escape(name.replace('<', '&lt;').replace('>', '&gt;'))}</th><td>{full}</td><td>{full // 2}</td>"
        assert re.search(cells, page), name


def test_the_page_of_one_run_draws_its_profile(tmp_path: Path) -> None:
    page = write_report(cut_records(seeds=(0,)), tmp_path / "r.html", title="t", command="c").read_text()
    assert 'id="plot-widths"' in page
    assert "<td>16</td><td>8</td>" in page


def test_a_report_of_many_wide_profiles_stays_below_two_megabytes(tmp_path: Path) -> None:
    runs = []
    for tenth in range(1, 41):
        for run in cut_records(part=tenth / 41):
            widths = [{"group": f"layer{i}.conv", "width": i + 1, "full": 100} for i in range(60)]
            runs.append(replace(run, phases=[*run.phases[:1], run.phases[1] | {"widths": widths}, *run.phases[2:]]))
    path = write_report(runs, tmp_path / "r.html", title="t", command="c")
    assert path.stat().st_size < LIMIT
    assert "The first 20 of 40 cut arms." in path.read_text()


@pytest.mark.parametrize("kind", ["cut", "extract"])
def test_any_phase_with_widths_counts_as_a_cut(kind: str) -> None:
    (run,) = cut_records(seeds=(0,))
    named = replace(run, phases=[line | ({"kind": kind} if "widths" in line else {}) for line in run.phases])
    assert json.dumps(widths_figure(arms_of([named]))["data"][0]["y"]) == "[50, 50, 50]"
