"""Seconds of all training and of the longest path: two columns where they differ for some run, else one."""
# ruff: noqa: RUF001  (the page uses dashes)

import io
from dataclasses import replace

import pytest
from rich.console import Console

from paretorch.evidence.quantities import have_parallel_phases, have_teachers, longest_path
from paretorch.evidence.records import RunRecord
from paretorch.evidence.report import write_report
from paretorch.evidence.report.cost_words import LONGEST_PATH, TEACHER_PASSES
from paretorch.evidence.terminal import print_front
from tests.evidence.test_report import Page

ALL = "training seconds, all phases (measured)"


@pytest.fixture
def soups(sweep):
    """The sweep in which ALLR at 98 % is a soup: 48 seconds in all, 30, 31 and 32 on the longest path; 500 passes."""
    records = []
    for run in sweep():
        path = 30.0 + run.seed if run.arm == "IMP ALLR 98%" else run.cost["seconds"]
        taught = 500 if run.arm == "IMP ALLR 98%" else 0
        phases = [*run.phases]
        if run.arm == "IMP ALLR 98%":
            phases[2] = phases[2] | {"beside": "cycle-0"}
        cost = run.cost | {"longest_path_s": path, "teacher_samples": taught}
        records.append(replace(run, cost=cost, phases=phases))
    return records


def show(records, path, name="r.html"):
    return Page(write_report(records, path / name, command="c").read_text(encoding="utf-8"))


def column(rows, name):
    head, *body = rows
    return {row[0]: row[head.index(name)] for row in body}


def printed(records):
    text = io.StringIO()
    print_front(records, Console(file=text, width=200))
    return text.getvalue()


def test_a_sweep_with_copies_has_both_times_and_the_passes_through_the_teacher(soups, tmp_path):
    page = show(soups, tmp_path)
    table = page.tables["table-cost"]
    assert column(table, ALL)["IMP ALLR 98%"] == "48.0 ± 0.0"
    assert column(table, LONGEST_PATH)["IMP ALLR 98%"] == "31.0 ± 2.5"  # t(0.975, 2) / sqrt 3
    assert column(table, LONGEST_PATH)["dense"] == column(table, ALL)["dense"] == "40.0 ± 0.0"
    assert column(table, TEACHER_PASSES) == {name: "500" if "ALLR 98" in name else "0" for name in column(table, ALL)}
    runs = column(page.tables["table-runs"], LONGEST_PATH)
    assert runs["IMP ALLR 98%-s2"] == "32.0"
    assert runs["dense-s0"] == "40.0"
    body = " ".join(page.text)
    assert "It is the time with as many processes as copies, from each phase's own seconds; it is not a measu" in body
    assert "Its forward passes are counted apart" in body


def test_a_sweep_without_copies_has_one_time_and_no_word_of_the_other(sweep, tmp_path):
    chain = [
        replace(run, cost=run.cost | {"longest_path_s": run.cost["seconds"], "teacher_samples": 0}) for run in sweep()
    ]
    for number, records in enumerate((sweep(), chain)):
        page = show(records, tmp_path, f"{number}.html")
        assert ALL in page.tables["table-cost"][0]
        for name in (LONGEST_PATH, TEACHER_PASSES):
            assert name not in page.tables["table-cost"][0]
        assert LONGEST_PATH not in page.tables["table-runs"][0]
        assert "longest path" not in " ".join(page.text)


def test_an_older_run_beside_newer_ones_has_a_dash(soups, tmp_path):
    old = [
        replace(run, cost={k: v for k, v in run.cost.items() if k not in ("longest_path_s", "teacher_samples")})
        if run.is_baseline
        else run
        for run in soups
    ]
    table = show(old, tmp_path).tables["table-cost"]
    assert column(table, LONGEST_PATH)["dense"] == "–"
    assert column(table, ALL)["dense"] == "40.0 ± 0.0"
    assert column(table, TEACHER_PASSES)["dense"] == "–"


def test_folders_side_by_side_have_the_same_columns(soups, sweep, tmp_path):
    plain = [replace(run, cost=run.cost | {"longest_path_s": run.cost["seconds"]}) for run in sweep()]
    head, *rows = show({"a": soups, "b": plain}, tmp_path).tables["table-w0-cost"]
    found = {(row[0], row[1]): row[head.index(LONGEST_PATH)] for row in rows}
    assert found["IMP ALLR 98%", "a"] == "31.0 ± 2.5"
    assert found["IMP ALLR 98%", "b"] == "48.0 ± 0.0"


def test_the_page_of_one_run_shows_the_path_where_it_is_shorter(soups, tmp_path):
    last, first = show([soups[-1]], tmp_path), show([soups[0]], tmp_path, "d.html")
    costs = dict(last.tables["table-cost"][1:])
    assert costs["seconds of training, all phases (measured)"] == "48"
    assert costs[LONGEST_PATH] == "32"
    assert costs[TEACHER_PASSES] == "500"
    groups = column(last.tables["table-phases"], "side by side")
    assert groups == {"dense": "–", "prune-0": "–", "retrain-0": "cycle-0", "all phases": "–"}
    assert "need not wait for one another" in " ".join(last.text)
    assert not {LONGEST_PATH, TEACHER_PASSES} & dict(first.tables["table-cost"][1:]).keys()
    assert "side by side" not in first.tables["table-phases"][0]
    assert "longest path" not in " ".join(first.text)


def test_the_terminal_has_both_times_only_where_they_differ(soups, sweep):
    text = printed(soups)
    head = next(line for line in text.splitlines() if "longest path, s" in line)
    assert head.split()[-4:] == ["seconds", "longest", "path,", "s"]
    soup = next(line for line in text.splitlines() if "IMP ALLR 98%" in line)
    assert soup.split()[-2:] == ["48.0", "31.0"]
    assert "no measured parallel run" in text
    assert "longest path" not in printed(sweep())
    assert "seconds" not in printed(sweep())


def test_a_record_says_what_it_says_and_an_older_one_is_read(record, soups):
    newer = RunRecord.from_dict(soups[-1].to_dict())
    assert (longest_path(newer), have_parallel_phases([newer]), have_teachers([newer])) == (32.0, True, True)
    older = RunRecord.from_dict(record(arm="a", group={}, seed=0, quality=0.5, cost={"seconds": 3.0}).to_dict())
    assert (longest_path(older), have_parallel_phases([older]), have_teachers([older])) == (None, False, False)
    failed = record(arm="a", group={}, seed=0, quality=None, status="diverged")
    assert not have_parallel_phases([failed])
