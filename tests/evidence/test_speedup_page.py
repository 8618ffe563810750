"""The page of a comparison: its verdict first, its numbers those of the comparison, censored seeds shown and named."""
# ruff: noqa: RUF001  (the page uses typographic minus signs and dashes)

import json
import math
import re
from dataclasses import replace

import pytest

from paretorch.errors import InputError
from paretorch.evidence.claims import claim
from paretorch.evidence.report import write_speedup_page
from paretorch.evidence.report.legend import entries
from tests.evidence.families import BASE, FAST, REFUSED, VERDICT, compared, diverged, family, row, write
from tests.evidence.test_report import Page


@pytest.fixture(scope="module")
def speedup():
    return compared(BASE + FAST)[0]


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return write(tmp_path_factory.mktemp("page"), BASE + FAST)


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_the_three_lines_stand_first_and_refusals_and_warnings_directly_below(tmp_path):
    page = Page(write(tmp_path, BASE + FAST, verdict=REFUSED))
    body = "\n".join(page.text)
    places = [body.index(line) for line in (*REFUSED.lines, *REFUSED.refusals, *REFUSED.warnings)]
    assert places == sorted(places)
    assert places[-1] < body.index("Quality against cost")
    warned = [attrs for tag, attrs in page.elements if tag == "div" and attrs.get("class") == "warning"]
    assert len(warned) == 2


def test_a_page_without_refusals_and_warnings_has_no_empty_boxes(text, page):
    assert "What cannot be claimed" not in text
    assert not [attrs for tag, attrs in page.elements if tag == "div" and attrs.get("class") == "warning"]


def test_ratios_in_the_table_are_those_of_the_comparison(page, speedup):
    for level in speedup.at:
        cells = row(page, "table-ratios", f"{100 * level.quality:.1f} %")
        ends = f"({level.ratio.low:.3f} to {level.ratio.high:.3f})"
        assert cells["speed-up (measured)"] == f"{level.ratio.mean:.3f} {ends}"
        assert cells["cost saved"] == f"{100 - 100 / level.ratio.mean:.1f} %"
        assert cells["pairs of seeds"] == "5"
        assert cells["reading"] == "interval excludes 1"
    mean = next(cells for cells in page.tables["table-ratios"] if cells[0].startswith("mean from"))
    assert mean[1].startswith(f"{speedup.average.mean:.3f} (")
    assert mean[-1] == "candidate is cheaper"


def test_the_split_is_shown_as_its_two_factors_and_their_product(page, speedup):
    statistical, hardware, both = (
        float(row(page, "table-split", name)["baseline / candidate"].split()[0])
        for name in ("statistical: steps needed", "hardware: time of one step", "both: speed-up (measured)")
    )
    assert statistical == pytest.approx(speedup.split.statistical.mean, abs=5e-4)
    assert hardware == pytest.approx(0.8)  # 10 ms of the baseline over 12.5 ms
    assert both == pytest.approx(statistical * hardware, abs=2e-3)


def test_gains_in_table_and_figure_are_those_of_the_comparison(page, speedup):
    _, *rows = page.tables["table-gains"]
    traces = page.figures()["gain"]["data"]
    marks = next(trace for trace in traces if trace["mode"] == "markers")
    assert marks["x"] == pytest.approx([gain.cost for gain in speedup.gains], rel=1e-5)
    assert marks["y"] == pytest.approx([100 * gain.difference.mean for gain in speedup.gains], rel=1e-5)
    assert [cells[1].split(" ")[0] for cells in rows] == [f"{100 * g.difference.mean:+.1f}" for g in speedup.gains]
    line = next(trace for trace in traces if trace["mode"] == "lines" and trace["name"].startswith("accuracy"))
    assert (line["y"][0], line["y"][-1]) == pytest.approx((marks["y"][0], marks["y"][-1]), rel=1e-5)


def test_curve_of_ratios_has_the_levels_of_the_comparison_its_band_and_the_line_at_one(page, speedup):
    figure = page.figures()["ratio"]
    line = next(t for t in figure["data"] if t["mode"] == "lines" and t["name"] == "speed-up (measured)")
    assert line["x"] == pytest.approx([100 * level.quality for level in speedup.grid], rel=1e-5)
    assert line["y"] == pytest.approx([level.ratio.mean for level in speedup.grid], rel=1e-5)
    band = next(t for t in figure["data"] if t["mode"] == "none")
    lows, highs = ([getattr(level.ratio, end) for level in speedup.grid] for end in ("low", "high"))
    assert band["y"] == pytest.approx(highs + lows[::-1], rel=1e-5)
    assert next(t for t in figure["data"] if t["name"].startswith("1:"))["y"] == [1, 1]
    assert figure["layout"]["yaxis"]["type"] == "log"


def test_every_single_run_is_a_point_of_the_trade_off_figure(page):
    figure = page.figures()["tradeoff"]
    assert figure["layout"]["xaxis"]["type"] == "log"
    for name, runs, step_s in (("FT", BASE, 0.01), ("ALLR", FAST, 0.0125)):
        points = next(t for t in figure["data"] if t["name"] == name and t["mode"] == "markers")
        drawn = sorted(zip(points["x"], points["y"], strict=True))
        wanted = sorted((step_s * run.duration["steps"], 100 * run.quality) for run in runs)
        assert [value for pair in drawn for value in pair] == pytest.approx(
            [value for pair in wanted for value in pair], rel=1e-5
        )


def test_mean_curve_passes_through_the_means_and_its_band_through_students_ends(page):
    traces = page.figures()["tradeoff"]["data"]
    line = next(t for t in traces if t["name"] == "FT" and t["mode"] == "lines")
    band = next(t for t in traces if t["name"] == "FT" and t["mode"] == "none")
    last = [100 * run.quality for run in BASE if run.duration["epochs"] == 16]
    mean = sum(last) / 5
    half = 2.776445 * math.sqrt(sum((value - mean) ** 2 for value in last) / 4 / 5)
    assert (line["x"][0], line["x"][-1]) == (1, 16)
    assert line["y"][-1] == pytest.approx(mean, rel=1e-5)
    middle = len(band["y"]) // 2
    assert (band["y"][middle - 1], band["y"][middle]) == pytest.approx((mean + half, mean - half), rel=1e-5)


def test_controls_are_thinner_and_have_no_band(tmp_path):
    smaller = family("half the width", role="control:smaller", methods=["imp"], gain=0.5)
    traces = Page(write(tmp_path, BASE + FAST + smaller)).figures()["tradeoff"]["data"]
    widths = {t["name"]: t["line"]["width"] for t in traces if t["mode"] == "lines"}
    assert widths["half the width"] < widths["FT"] == widths["ALLR"]
    assert {t["name"] for t in traces if t["mode"] == "none"} == {"FT", "ALLR"}


def test_censored_seeds_are_drawn_hollow_at_their_budget_listed_and_named(tmp_path):
    page = Page(write(tmp_path, BASE + diverged(FAST, seed=2, above=4), qualities=[0.9, 0.95]))
    cells = next(row for row in page.tables["table-targets"] if row[:2] == ["ALLR", "95.0 %"])
    head = page.tables["table-targets"][0]
    assert cells[head.index("seed 2")] == "≥ 20"  # 1 600 steps of 12.5 ms were paid by the run that diverged
    assert cells[head.index("seeds that reach it")].startswith("4 of 5 (")
    reached = [float(cell) for place, cell in enumerate(cells) if head[place].startswith("seed ") and "≥" not in cell]
    assert len(reached) == 4
    assert max(reached) < 10
    assert "ALLR does not reach accuracy 95.0 % (1 of 5: seed 2)." in "".join(page.text)
    hollow = [
        (x, y)
        for trace in page.figures()["targets"]["data"]
        if trace["mode"] == "markers"
        for x, y, symbol in zip(trace["x"], trace["y"], trace["marker"]["symbol"], strict=True)
        if symbol == "triangle-up-open"
    ]
    assert [y for _, y in hollow] == [20]
    ratios = row(page, "table-ratios", "95.0 %")
    assert ratios["candidate seeds that miss it"] == "1"
    assert "(" not in ratios["speed-up (measured)"]  # a bound, no interval
    assert "at most" in ratios["speed-up (measured)"]


def test_a_quality_that_the_shortest_run_reaches_gives_an_upper_bound_of_the_cost(tmp_path):
    page = Page(write(tmp_path, BASE + FAST, qualities=[0.5]))
    cells = next(row for row in page.tables["table-targets"] if row[0] == "FT")
    assert cells[-5:] == ["≤ 1"] * 5
    symbols = [s for t in page.figures()["targets"]["data"] if t["mode"] == "markers" for s in t["marker"]["symbol"]]
    assert set(symbols) == {"triangle-down-open"}


def test_a_refused_comparison_claims_no_number(tmp_path):
    page = Page(write(tmp_path, BASE + FAST, verdict=REFUSED))
    body = "".join(page.text)
    before = body[: body.index("Quality against cost")]
    assert not [word for word in ("1.2", "speed-up", "cheaper") if word in before.replace("".join(REFUSED.lines), "")]
    readings = [cells[-1] for cells in page.tables["table-ratios"][1:]]
    assert readings[-1] == "not claimed"
    assert "candidate is cheaper" not in body
    assert body.count("Measured, and not claimed") == 3  # two figures and the table
    assert "two-sided" not in body


def test_another_cost_than_time_is_never_called_a_speed_up(tmp_path):
    page = Page(write(tmp_path, BASE + FAST, axis="steps"))
    names = {t["name"] for figure in page.figures().values() for t in figure["data"]}
    heads = {name for rows in page.tables.values() for name in rows[0]}
    assert "ratio of steps" in names
    assert "ratio of steps" in heads
    assert not [name for name in names | heads if "speed" in name]


def test_ends_of_the_page_tell_environment_command_tuning_seeds_and_durations(page):
    cells = row(page, "table-families", "ALLR")
    assert cells["role"] == "candidate"
    assert cells["seeds"] == "5"
    assert cells["durations (epochs)"] == "1, 2, 4, 8, 16"
    assert cells["runs"] == "25"
    assert cells["tuning trials"] == "3"
    assert cells["examples of a step"] == "64"
    body = "".join(page.text)
    assert "paretorch compare d" in body
    assert "a processor" in body
    assert len(page.tables["table-runs"]) == 51


def test_families_without_a_common_quality_say_so_and_still_show_their_runs(tmp_path):
    far = family("far", role="candidate", ceiling=0.3)
    page = Page(write(tmp_path, BASE + far, candidate="far", verdict=REFUSED))
    assert "No quality is reached by every seed of both families" in "".join(page.text)
    assert set(page.figures()) == {"tradeoff", "gain"}
    assert "table-ratios" not in page.tables
    assert len(page.tables["table-runs"]) == 51


def test_a_comparison_of_which_no_run_finished_still_has_a_page(tmp_path):
    nothing = [replace(run, quality=None, status="diverged") for run in BASE + FAST]
    page = Page(write(tmp_path, nothing, verdict=REFUSED))
    assert page.figures() == {}
    assert "No run finished" in "".join(page.text)
    assert {row[4] for row in page.tables["table-runs"][1:]} == {"diverged"}


def test_one_seed_and_one_duration_draw_no_band_and_no_line(tmp_path):
    records = family("FT", role="baseline", seeds=(0,), epochs=(4,)) + family("ALLR", seeds=(0,), epochs=(4,))
    page = Page(write(tmp_path, records, verdict=REFUSED))
    modes = [t["mode"] for t in page.figures()["tradeoff"]["data"]]
    assert modes == ["markers", "markers"]


def test_lower_is_better_metrics_are_written_in_their_own_unit(tmp_path):
    losses = [
        replace(run, metric="nll", higher_is_better=False, quality=3 - 2 * run.quality, validation=None)
        for run in BASE + FAST
    ]
    speedup, _ = compared(losses)
    page = Page(write(tmp_path, losses))
    assert speedup.average.mean > 1
    assert f"{speedup.at[0].quality:#.4g}" in {row[0] for row in page.tables["table-ratios"]}
    assert page.figures()["ratio"]["layout"]["xaxis"]["autorange"] == "reversed"  # harder to the right
    assert "lower is better" in page.figures()["tradeoff"]["layout"]["yaxis"]["title"]["text"]
    assert "%" not in "".join(cell for cells in page.tables["table-gains"] for cell in cells)


def test_targets_that_single_runs_met_on_the_way_are_listed_with_those_they_missed(tmp_path):
    hits = [
        {"name": "linear", "target": 0.9, "step": 1500, "t_lo": 1.25, "t_hi": 1.5},
        {"name": "best", "target": 0.97, "step": None, "t_lo": 9.25, "t_hi": None},
    ]
    page = Page(write(tmp_path, [*BASE, replace(FAST[0], hits=hits), *FAST[1:]]))
    space = "\N{NARROW NO-BREAK SPACE}"
    assert page.tables["table-hits"][1:] == [
        ["ALLR-1-s0", "linear", "90.0 %", "yes", f"1{space}500", "1.25 to 1.5"],
        ["ALLR-1-s0", "best", "97.0 %", "no", "–", "after 9.25"],
    ]


def test_the_same_ratio_is_shown_by_every_cost_that_both_families_hold(page):
    head, *rows = page.tables["table-axes"]
    found = {cells[0].split(",")[0]: float(cells[1].split()[0]) for cells in rows}
    assert set(found) == {"training seconds (measured)", "optimizer steps", "training epochs"}
    assert found["optimizer steps"] == found["training epochs"]
    assert found["training seconds (measured)"] == pytest.approx(0.8 * found["optimizer steps"], abs=2e-3)
    assert "speed" not in "".join(head)


def test_qualities_that_are_close_get_as_many_digits_as_they_need(tmp_path):
    page = Page(write(tmp_path, BASE + FAST, qualities=[0.9, 0.9002, 0.9004]))
    assert [cells[0] for cells in page.tables["table-ratios"][1:4]] == ["90.00 %", "90.02 %", "90.04 %"]
    assert page.figures()["targets"]["layout"]["xaxis"]["ticktext"] == ["90.00", "90.02", "90.04"]


def test_a_seed_that_failed_before_it_said_what_it_cost_is_listed_as_not_reached(tmp_path):
    lost = [replace(run, quality=None, status="out_of_memory", phases=[]) if run.seed == 4 else run for run in FAST]
    page = Page(write(tmp_path, BASE + lost, qualities=[0.9], verdict=REFUSED))
    cells = next(cells for cells in page.tables["table-targets"] if cells[0] == "ALLR")
    assert cells[-1] == "not reached"
    drawn = [y for t in page.figures()["targets"]["data"] if t["name"] == "ALLR" for y in t["y"]]
    assert len(drawn) == 4
    assert row(page, "table-runs", "ALLR-16-s4")["training seconds (measured), all phases"] == "–"
    assert row(page, "table-families", "ALLR")["runs"] == "25, 5 not finished"


def test_a_finished_run_that_does_not_say_what_it_cost_is_refused(tmp_path):
    speedup, families = compared(BASE + FAST)
    silent = replace(families[0].runs[0], phases=[])
    other = replace(families[0], label="other", records={0: (silent,)})
    with pytest.raises(InputError, match="does not say how many seconds"):
        write_speedup_page(speedup, VERDICT, tmp_path / "r.html", families=[other], title="t", command="c")
    assert list(tmp_path.iterdir()) == []


def test_names_from_outside_cannot_become_markup(tmp_path):
    evil = "<img src=x onerror=alert(1)>"
    records = BASE + [replace(run, family=evil, notes=[evil], methods=[evil]) for run in FAST]
    text = write(
        tmp_path, records, candidate=evil, title=evil, command=evil, verdict=replace(VERDICT, warnings=(evil,))
    )
    page = Page(text)
    assert not [tag for tag, attrs in page.elements if tag == "img" or "onerror" in attrs]
    names = [t["name"] for figure in page.figures().values() for t in figure["data"]]
    assert not [name for name in names if "<img" in name]
    assert "".join(page.text).count(evil) >= 5


def test_the_page_is_small_loads_nothing_and_every_colour_has_a_dark_counterpart(text, page):
    assert len(text.encode()) < 2_000_000
    own = text.replace(page.script("plotly"), "")
    assert not re.search(r"https?://|@import|url\(", own)
    assert not [a for tag, a in page.elements if tag != "link" and {"src", "href", "srcset"} & a.keys()]
    colours = set(re.findall(r"#[0-9a-fA-F]{6}", json.dumps(page.figures())))
    assert colours <= json.loads(page.script("figures"))["dark"].keys()


def test_every_figure_has_a_key_whose_samples_show_line_and_symbol(page):
    for figure in page.figures().values():
        for entry in entries(figure):
            modes = {figure["data"][i]["mode"] for i in entry.traces}
            assert bool(entry.path) == any("markers" in mode for mode in modes)
            assert (entry.strokes is not None) == any("lines" in mode for mode in modes)


def test_the_verdict_of_the_rules_and_its_page_agree(tmp_path):
    speedup, families = compared(BASE + FAST)
    verdict = claim(speedup, mode="claim", controls={"control:smaller": None, "control:random": None})
    path = write_speedup_page(speedup, verdict, tmp_path / "r.html", families=families, title="t", command="c")
    page = Page(path.read_text(encoding="utf-8"))
    assert all(line in "".join(page.text) for line in verdict.lines)
    assert verdict.claimed == (page.tables["table-ratios"][-1][-1] == "candidate is cheaper")
    assert row(page, "table-ratios", f"{100 * speedup.at[1].quality:.1f} %")["speed-up (measured)"] in verdict.lines[0]
