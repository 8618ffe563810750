"""What the page of a comparison says of methods: two together, side effects, and where in the taxonomy they act."""
# ruff: noqa: RUF001  (the page uses typographic minus signs and dashes)

import math
from dataclasses import replace

import pytest

from paretorch.evidence.report.interaction import pairs
from paretorch.methods.catalogue import all_cards
from tests.evidence.families import BASE, FAST, compared, family, row, write
from tests.evidence.test_report import Page


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return write(tmp_path_factory.mktemp("page"), BASE + FAST)


def test_the_taxonomy_marks_what_was_tried_and_names_what_has_no_card(tmp_path):
    records = BASE + [replace(run, methods=["llr", "home-made"]) for run in FAST]
    page = Page(write(tmp_path, records))
    grid = page.tables["table-taxonomy"]
    assert [row[0] for row in grid[1:]] == [
        *["parameters", "architecture", "training data", "derived data", "objective", "algorithm"]
    ]
    assert grid[0][1:] == ["remove", "restrict", "reorder", "replace", "retrofit"]
    marked = [(row[0], grid[0][i]) for row in grid[1:] for i, cell in enumerate(row) if "✓" in cell]
    assert marked == [(component, action) for component, action in all_cards()["llr"].cells]
    assert "(25 runs)" in next(cell for row in grid for cell in row if "✓" in cell)
    assert "home-made" in "".join(page.text)


def test_two_methods_that_multiply_exactly_have_no_interaction(tmp_path):
    records = [
        *family("none", role="baseline", luck=0.0),
        *family("A", role="candidate", methods=["a"], gain=1.5, luck=0.0),
        *family("B", methods=["b"], step_s=0.008, luck=0.0),
        *family("AB", methods=["a", "b"], gain=1.5, step_s=0.008, luck=0.0),
    ]
    speedup, families = compared(records, candidate="A", baseline="none")
    (pair,) = pairs(speedup, families)
    assert (pair.first, pair.second, pair.both) == ("A", "B", "AB")
    assert pair.found.second.mean == pytest.approx(1.25)
    assert pair.found.log.mean == pytest.approx(0.0, abs=1e-9)
    page = Page(write(tmp_path, records, candidate="A", baseline="none"))
    assert row(page, "table-interaction", "AB")["interaction (log)"] == "0.000 (0.000 to 0.000)"


@pytest.mark.parametrize(("factor", "reading"), [(0.8, "less than the product"), (1.25, "more than the product")])
def test_interaction_is_the_log_of_what_is_missing_from_the_product(tmp_path, factor, reading):
    records = [
        *family("none", role="baseline", luck=0.0),
        *family("A", role="candidate", methods=["a"], step_s=0.008, luck=0.0),
        *family("B", methods=["b"], step_s=0.005, luck=0.0),
        *family("AB", methods=["a", "b"], step_s=0.004 / factor, luck=0.0),
    ]
    page = Page(write(tmp_path, records, candidate="A", baseline="none"))
    cells = row(page, "table-interaction", "AB")
    assert cells["interaction (log)"].replace("−", "-").startswith(f"{math.log(factor):.3f}")
    assert cells["speed-up (measured), product"] == "2.500"
    assert cells["reading"] == reading
    heights = {t["name"]: t["y"][0] for t in page.figures()["interaction"]["data"]}
    assert heights["both together"] == pytest.approx(2.5 * factor)


def test_methods_of_the_baseline_count_as_neither_of_the_two():
    records = [
        *BASE,
        *FAST,
        *family("averaged", methods=["imp", "ema"], gain=1.2),
        *family("both", methods=["imp", "allr", "ema"], gain=1.9),
    ]
    (pair,) = pairs(*compared(records))
    assert (pair.first, pair.second, pair.both) == ("ALLR", "averaged", "both")


def test_methods_that_overlap_or_controls_are_no_interaction(text):
    assert "Do the methods multiply" not in text
    smaller = family("smaller", role="control:smaller", methods=["imp", "b"])
    both = family("both", methods=["imp", "allr", "b"])
    speedup, families = compared(BASE + FAST + smaller + both)
    assert pairs(speedup, families) == []


def test_an_interaction_that_cannot_be_measured_says_why_and_is_not_drawn(tmp_path):
    records = [
        *family("none", role="baseline"),
        *family("A", role="candidate", methods=["a"]),
        *family("B", methods=["b"], ceiling=0.3),
        *family("AB", methods=["a", "b"]),
    ]
    page = Page(write(tmp_path, records, candidate="A", baseline="none"))
    assert (
        "no quality that every seed of 'AB', 'A', 'B', 'none' passes through"
        in row(page, "table-interaction", "AB")["reading"]
    )
    assert "interaction" not in page.figures()


def test_what_compression_broke_is_told_of_the_longest_run_of_each_seed(tmp_path):
    def effects(run):
        change = -0.06 if run.duration["epochs"] == 16 else -0.5
        return {
            "examples": 200,
            "warnings": ["the mean hides a loss"] if run.seed == 3 else [],
            "per_class": {
                "labels": ["cat", "dog"],
                "dense": [0.9, 0.9],
                "candidate": [0.9 + change, 0.95],
                "counts": [100, 100],
                "lost": [6, 0],
                "gained": [0, 5],
            },
            "worst_class": {"label": "cat", "change": change},
            "mean_change": change / 2,
            "disagreement": {"rate": 0.1, "low": 0.08, "high": 0.12},
            "calibration": {"dense": 0.02, "candidate": 0.03},
        }

    page = Page(write(tmp_path, BASE + [replace(run, side_effects=effects(run)) for run in FAST]))
    assert [cells[0] for cells in page.tables["table-side-effects"][1:]] == ["ALLR"]
    assert "cat: −6.0 (−6.0 to −6.0)" in row(page, "table-side-effects", "ALLR").values()
    body = "".join(page.text)
    assert "Warning, ALLR, seed 3: the mean hides a loss." in body
    assert "table-classes" in page.tables


def test_a_comparison_without_side_effects_has_no_section_on_them(text):
    assert "What compression broke" not in text


def test_a_family_trained_from_scratch_is_drawn_where_the_dense_training_counts_and_nowhere_else(tmp_path):
    dense = {"phase": "dense", "steps": 500, "epochs": 5, "seconds": 5.0, "step_s": 0.01}
    pruned = [replace(run, phases=[dense, *run.phases]) for run in [*BASE, *FAST]]
    scratch = family("smaller", role="control:smaller")
    scratch = [replace(run, phases=[{**run.phases[0], "phase": "dense"}]) for run in scratch]
    text = write(tmp_path, [*pruned, *scratch], scope="after_dense")
    figures = Page(text).figures()
    after, total = (str(figures[name]["data"]) for name in ("tradeoff", "total"))
    assert "smaller" not in after
    assert "smaller" in total
    assert "smaller is trained from scratch and has no cost after a dense training" in text
    assert "total" not in Page(write(tmp_path, [*pruned], scope="after_dense")).figures()


def test_a_control_far_below_does_not_flatten_the_curves_and_is_said_to_be_out_of_sight(tmp_path):
    far = family("random", role="control:random", ceiling=0.5)
    text = write(tmp_path, [*BASE, *FAST, *far])
    low, high = Page(text).figures()["tradeoff"]["layout"]["yaxis"]["range"]
    shown = [100 * run.quality for run in (*BASE, *FAST)]
    assert low < min(shown)
    assert high > max(shown)
    assert low > 100 * max(run.quality for run in far)
    assert "controls into sight" in text
    near = write(tmp_path, [*BASE, *FAST, *family("random", role="control:random")])
    assert "range" not in Page(near).figures()["tradeoff"]["layout"]["yaxis"]
    assert "controls into sight" not in near
