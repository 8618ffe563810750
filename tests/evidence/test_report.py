"""The report page: structure, size, nothing loaded from elsewhere, every number from the records, escaping."""
# ruff: noqa: RUF001  (the page uses typographic minus signs and dashes)

import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from paretorch.errors import InputError
from paretorch.evidence.report import write_report
from paretorch.evidence.report.bundle import ALPHABET, decode, encode, plotly_text
from paretorch.evidence.verdict import verdict

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Elements, attributes, text per id and table cells; complains about tags that do not match."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.scripts, self.tables, self.text = [], [], [], {}, []
        self.feed(text)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.rows = self.tables.setdefault(dict(attrs)["id"], [])
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data
        if self.open and self.open[-1] == "script":
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        elif "style" not in self.open:
            self.text.append(data)

    def script(self, name):
        return next(content for attrs, content in self.scripts if attrs.get("id") == name)

    def figures(self):
        return json.loads(decode(json.loads(self.script("figures"))["figures"]))


def render(records, path, **changes):
    options = {"title": "A sweep", "command": "paretorch compare digits"} | changes
    return write_report(records, path, **options).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def text(sweep, tmp_path_factory):
    return render(sweep(), tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_page_is_well_formed_and_has_every_part(page):
    ids = {attrs["id"] for _, attrs in page.elements if "id" in attrs}
    assert {"verdict", "figure-problem", "repeat", "environment", "words", "command", "figures", "plotly"} <= ids
    assert {"table-quality", "table-cost", "table-speed", "table-comparisons", "table-runs"} <= ids
    assert {"plot-size", "plot-training", "plot-curves"} <= ids
    assert [tag for tag, _ in page.elements].count("noscript") == 1


def test_page_stays_under_two_megabytes(text):
    assert len(text.encode()) < 2_000_000


def test_page_loads_nothing_from_elsewhere(text, page):
    links = [attrs for tag, attrs in page.elements if tag == "link"]
    assert links == [{"rel": "icon", "href": "data:,"}]  # else a browser asks for /favicon.ico
    for tag, attrs in page.elements:
        if tag == "link":
            continue
        for name in ("src", "href", "data", "action", "srcset", "poster"):
            assert name not in attrs, f"<{tag} {name}={attrs.get(name)!r}>"
    own = text.replace(page.script("plotly"), "")
    assert not re.search(r"https?://|@import|url\(", own)
    policy = next(a["content"] for tag, a in page.elements if tag == "meta" and a.get("http-equiv"))
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy


def test_plotly_inside_the_page_is_the_one_of_the_installed_package(page):
    from importlib.resources import files

    assert decode(page.script("plotly").strip()) == (files("plotly") / "package_data" / "plotly.min.js").read_bytes()


@pytest.mark.parametrize("length", range(12))
def test_bundle_text_round_trips_and_uses_its_alphabet_only(length):
    data = bytes(range(250, 250 - length, -1)) * 3
    assert decode(encode(data)) == data
    assert set(encode(data)) <= set(ALPHABET)


def test_bundle_alphabet_cannot_form_a_tag_or_an_entity():
    assert len(set(ALPHABET)) == 85
    assert not set(ALPHABET) & set("<&\"'\\ \n")
    assert set(plotly_text()) <= set(ALPHABET)


def test_verdict_stands_at_the_top_before_any_figure(text, sweep, page):
    sentences = verdict(sweep())
    body = " ".join(page.text)
    assert all(sentence in body for sentence in sentences)
    assert body.index(sentences[0]) < body.index("Fronts")


def test_table_of_quality_holds_the_numbers_of_the_records(page):
    rows = {row[0]: row for row in page.tables["table-quality"]}
    # Qualities of FT at 90 %: .940 .942 .938, t(0.975, 2) s / sqrt 3 = 0.497 points; dense minus 3 points exactly.
    assert rows["IMP FT 90%"] == [
        "IMP FT 90%",
        "3, low-n",
        "90 %",
        "900 / 1\N{NARROW NO-BREAK SPACE}000",
        "54.0 ± 0.5",
        "74.0 ± 0.5",
        "94.0 ± 0.5",
        "94.0 ± 0.5",
        "−3.0 (−3.0 to −3.0), n=3",
    ]
    assert rows["dense"][1:] == ["3, low-n", "0 %", "–", "–", "–", "97.0 ± 0.5", "97.0 ± 0.5", "–"]
    assert rows["IMP ALLR 98%"][-1] == "−10.0 (−10.5 to −9.5), n=3"


def test_table_of_times_holds_one_row_per_arm_and_batch_size(page):
    head, *rows = page.tables["table-speed"]
    assert [row[:2] for row in rows][:2] == [["dense", "1"], ["IMP FT 90%", "1"]]
    row = dict(zip(head, rows[-1], strict=True))
    assert row == {
        "arm": "IMP ALLR 98%",
        "batch": "1",
        "speed-up over eager dense (measured)": "1.001 (0.999 to 1.003)",
        "sample": "3 seeds, certified",
    }


def test_table_of_cost_holds_counts_and_all_phases(page):
    head, *rows = page.tables["table-cost"]
    row = dict(zip(head, next(row for row in rows if row[0] == "IMP ALLR 98%"), strict=True))
    space = "\N{NARROW NO-BREAK SPACE}"
    assert row["non-zero parameters"] == "120"
    assert row["stored bytes"] == f"4{space}400"
    assert row["MACs, dense (theoretical)"] == f"80{space}000"
    assert row["MACs, non-zero (theoretical)"] == f"1{space}600"
    assert row["training epochs, all phases"] == "12"
    assert row["training seconds, all phases (measured)"] == "48.0 ± 0.0"


def test_table_of_comparisons_holds_differences_and_claims(page):
    assert page.tables["table-comparisons"][1:] == [
        ["IMP ALLR 90%", "IMP FT 90%", "+2.0 (1.5 to 2.5)", "3", "better"],
        ["IMP ALLR 98%", "IMP FT 98%", "+10.0 (9.5 to 10.5)", "3", "better"],
    ]


def test_table_of_runs_lists_every_run_with_its_own_numbers(page, sweep):
    rows = page.tables["table-runs"]
    assert [row[0] for row in rows[1:]] == [run.run_id for run in sweep()]
    assert dict(zip(rows[0], rows[-1], strict=True)) == {
        "run": "IMP ALLR 98%-s2",
        "seed": "2",
        "status": "ok",
        "validation accuracy (%)": "86.6",
        "test accuracy (%)": "86.6",
        "exact zeros": "980",
        "lr peak": "0.0625",
        "d1": "0.3125",
        "d2": "0.2",
        "epochs": "12",
        "seconds": "48.0",
        "mask hash": "c0ffeec0ffee",
    }


def test_size_figure_shows_means_intervals_and_the_front(page):
    traces = {trace["name"]: trace for trace in page.figures()["size"]["data"]}
    allr = traces["IMP with ALLR at 2 retraining epochs"]
    assert [shown[1] for shown in allr["customdata"]] == ["200", "120"]
    assert allr["x"] == pytest.approx([200, 120], rel=0.03)  # set apart from FT, which costs the same
    assert traces["IMP with FT at 2 retraining epochs"]["x"][0] < 200 < allr["x"][0]
    assert allr["y"] == pytest.approx([96.0, 87.0])
    # Qualities 87.2 87.2 86.6: s = sqrt((0.2^2 + 0.2^2 + 0.4^2) / 2).
    assert allr["error_y"]["array"][1] == pytest.approx(4.302653 * 0.12**0.5 / 3**0.5, rel=1e-4)
    front = traces["front (of the means)"]
    assert front["x"] == [120, 200, 1100]
    assert front["y"] == pytest.approx([87.0, 96.0, 97.0])


def test_training_figure_charges_all_phases(page):
    traces = {trace["name"]: trace for trace in page.figures()["training"]["data"]}
    assert traces["dense"]["x"] == [10]
    shown = traces["IMP with FT at 2 retraining epochs"]["customdata"]
    assert [cells[1] for cells in shown] == ["12", "12"]
    assert "front (of the means)" not in traces  # dense beats every other point, so there is no line to draw


def test_there_is_no_figure_of_time_when_no_time_changed(page):
    assert "latency-1" not in page.figures()
    assert "table-speed" in page.tables


def test_time_figure_draws_a_front_of_time_when_a_certified_change_was_measured(sweep, tmp_path):
    page = Page(render(sweep(speed=2.0), tmp_path / "r.html"))
    traces = {trace["name"]: trace for trace in page.figures()["latency-1"]["data"]}
    assert traces["IMP with ALLR at 2 retraining epochs"]["x"][0] == pytest.approx(1 / 2.001, rel=1e-4)
    assert traces["front (of the means)"]["x"] == pytest.approx([0.49975, 1.0], rel=1e-4)
    bars = traces["IMP with ALLR at 2 retraining epochs"]["error_x"]
    # Speed-ups 2.000 2.001 2.002 over three seeds: log spread 0.0005, t(0.975, 2) s / sqrt 3 = 0.00124 of the ratio.
    assert bars["array"][0] == pytest.approx(0.00124 / 2.001, rel=0.01)
    assert bars["arrayminus"][0] == pytest.approx(0.00124 / 2.001, rel=0.01)


def test_noisy_times_are_hollow_and_get_no_front(sweep, tmp_path):
    text = render(sweep(speed=2.0, quiet=False), tmp_path / "r.html")
    traces = {trace["name"]: trace for trace in Page(text).figures()["latency-1"]["data"]}
    assert traces["IMP with FT at 2 retraining epochs"]["marker"]["symbol"] == ["circle-open", "circle-open"]
    assert "front (of the means)" not in traces
    assert Page(text).tables["table-speed"][-1][2:] == ["2.001 (1.999 to 2.003)", "3 seeds, not certified"]


def test_no_figure_has_multiply_accumulates_on_an_axis(page):
    assert "MAC" not in json.dumps(page.figures())
    assert set(page.figures()) == {"size", "training", "curves"}


def test_curves_join_the_phases_of_a_run_with_a_gap(page):
    traces = [t for t in page.figures()["curves"]["data"] if t["name"] == "IMP FT 98%"]
    assert len(traces) == 6  # three seeds, validation and learning rate
    assert traces[0]["x"] == [0, 1, 2, 3, 4, 5, 6, 7, None, 7, 8, 9, 10]
    assert traces[0]["y"][:4] == [0, 10, 20, 30]
    assert traces[1]["y"][:3] == [0.1, 0.09, 0.08]
    assert sum(t["showlegend"] for t in traces) == 1


def test_phases_on_one_axis_of_steps_are_told_apart_by_their_names(record, tmp_path):
    curve = [{"step": i, "validation": 0.5 + i / 100, "phase": "dense" if i < 3 else "retrain-0"} for i in range(5)]
    runs = [record(arm="a", group={"method": "dense"}, seed=s, quality=0.9, curves=curve) for s in (0, 1)]
    trace = Page(render(runs, tmp_path / "r.html")).figures()["curves"]["data"][0]
    assert trace["x"] == [0, 1, 2, None, 3, 4]
    assert trace["y"] == [50, 51, 52, None, 53, 54]


def test_flat_stretches_keep_their_two_ends_only(record, tmp_path):
    curve = [{"step": i, "lr": 0.1 if i < 6 else 0.01} for i in range(10)]
    runs = [record(arm="a", group={"method": "dense"}, seed=s, quality=0.9, curves=curve) for s in (0, 1)]
    trace, _ = Page(render(runs, tmp_path / "r.html")).figures()["curves"]["data"]
    assert trace["x"] == [0, 5, 6, 9]
    assert trace["y"] == [0.1, 0.1, 0.01, 0.01]


def test_sparsest_arms_are_shown_first_and_the_others_wait_in_the_legend(page):
    visible = {t["name"]: t["visible"] for t in page.figures()["curves"]["data"]}
    assert [name for name, state in visible.items() if state is True] == ["IMP FT 98%", "IMP ALLR 98%"]
    assert visible["dense"] == "legendonly"


def test_long_curves_are_thinned_and_keep_their_ends(record, tmp_path):
    curve = [{"step": i, "lr": 1 - i / 5000, "validation": None} for i in range(5001)]
    runs = [record(arm="a", group={"method": "dense"}, seed=s, quality=0.9, curves=curve) for s in (0, 1)]
    trace, _ = Page(render(runs, tmp_path / "r.html")).figures()["curves"]["data"]
    assert len(trace["x"]) == 120
    assert (trace["x"][0], trace["x"][-1], trace["y"][-1]) == (0, 5000, 0)


def test_series_differ_in_colour_and_symbol(page):
    marks = [(t["marker"]["color"], t["marker"]["symbol"][0]) for t in page.figures()["size"]["data"] if "marker" in t]
    assert len({colour for colour, _ in marks}) == len({symbol for _, symbol in marks}) == len(marks) == 3


def test_every_colour_of_the_figures_has_a_dark_counterpart(page):
    dark = json.loads(page.script("figures"))["dark"]
    colours = set(re.findall(r"#[0-9a-fA-F]{6}", json.dumps(page.figures())))
    assert colours <= dark.keys()
    assert not dark.keys() & set(dark.values())  # else exchanging one would change another again


def test_command_and_environment_are_shown_as_they_are(page):
    body = " ".join(page.text)
    for expected in ("paretorch compare digits", "a processor", "2.13.0"):
        assert expected in body


def test_names_from_outside_are_escaped_everywhere(record, tmp_path):
    nasty = '</script><script>alert("x")</script><img src=x onerror=alert(1)>&amp;'
    run = record(
        arm=nasty,
        group={"method": nasty, "sparsity": 0.5},
        seed=0,
        quality=0.5,
        run_id=nasty,
        curves=[{"step": 0, "lr": 1.0, "validation": 0.1}],
        cost={"nonzeros": 3},
        notes=[nasty],
        env={nasty: nasty},
        command=nasty,
    )
    run.workload = run.metric = run.recipe_hash = nasty
    plain = record(arm="plain", group={"method": "dense"}, seed=0, quality=0.5)
    plain.workload = plain.metric = nasty
    text = render([run, plain], tmp_path / "r.html", title=nasty, command=nasty)
    page = Page(text)
    assert len(page.scripts) == 3
    assert not any(tag == "img" for tag, _ in page.elements)
    assert nasty in "".join(page.text)
    shown = json.dumps(page.figures())
    assert "&lt;img src=x onerror" in shown  # plotly reads a subset of HTML in its texts, so these are escaped twice
    assert "<img" not in shown
    assert "<script" not in shown


def test_columns_and_figures_that_no_run_fills_are_left_out_and_named(record, tmp_path):
    runs = [record(arm="a", group={"method": "IMP"}, seed=s, quality=None) for s in (0, 1)]
    text = render(runs, tmp_path / "r.html")
    page = Page(text)
    assert page.figures() == {}
    assert page.tables["table-cost"] == [["arm"], ["a"]]
    assert page.tables["table-quality"] == [["arm", "runs"], ["a", "2, low-n"]]
    assert "Not recorded: parameters; non-zero parameters; stored bytes; MACs, dense (theoretical)" in text
    assert "recorded no environment" in text


def test_notes_are_shown_once_with_the_number_of_runs(sweep, tmp_path):
    runs = sweep()
    for run in runs[:2]:
        run.notes.append("batch norm was stale")
    text = render(runs, tmp_path / "r.html")
    assert text.count("batch norm was stale") == 1
    assert "batch norm was stale (2 runs)" in text


def test_many_comparisons_fold_away_and_stay_on_the_page(record, tmp_path):
    runs = [
        record(arm=f"{s} {p}", group={"method": "IMP", "schedule": s, "sparsity": p}, seed=0, quality=0.5)
        for p in (0.5, 0.6, 0.7, 0.8, 0.9)
        for s in ("FT", "LLR")
    ]
    text = render(runs, tmp_path / "r.html")
    assert "Setting by setting: 5 comparisons" in text
    assert text.count("At 50 % sparsity, IMP with LLR reaches") == 1


def test_environments_that_differ_show_every_value(record, tmp_path):
    runs = [
        record(arm="a", group={"method": "IMP"}, seed=s, quality=0.5, env={"threads": t, "cuda": None})
        for s, t in ((0, 1), (1, 2))
    ]
    body = Page(render(runs, tmp_path / "r.html")).text
    assert "1 | 2" in body
    assert "not set" in body


def test_report_replaces_an_older_one_and_returns_its_path(sweep, tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    assert write_report(sweep(), str(path), title="t", command="c") == path
    assert path.read_text().startswith("<!doctype html>")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_no_records_make_no_report(tmp_path):
    with pytest.raises(InputError, match="no run records"):
        write_report([], tmp_path / "r.html", title="t", command="c")
    assert list(tmp_path.iterdir()) == []


def test_records_statistics_front_and_verdict_load_no_drawing_library():
    modules = ["front", "statistics", "records", "verdict", "arms", "quantities", "sources", "comparison"]
    code = "import sys\n" + "\n".join(f"import paretorch.evidence.{m}" for m in modules)
    code += "\nprint([m for m in ('plotly', 'jinja2', 'scipy', 'pydantic', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
