"""The page of sensitivities: every number from the record, shades from the losses, names escaped."""
# ruff: noqa: RUF001  (the page uses typographic minus signs and dashes)

import json
import re

import pytest

from paretorch.evidence.report.sensitivity_figure import DRAWN, SHOWN, labelled
from paretorch.evidence.report.sensitivity_page import write_sensitivity_page
from paretorch.training.sensitivity import Sensitivity
from tests.evidence.sensitivities import sensitivities
from tests.evidence.test_report import Page

SPACE = "\N{NARROW NO-BREAK SPACE}"


def show(found, path, **options):
    return Page(write_sensitivity_page(found, path / "s.html", **options).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return show(sensitivities(), tmp_path_factory.mktemp("page"))


def test_losses_stand_by_layer_and_sparsity_the_most_sensitive_first(page):
    assert page.tables["table-losses"] == [
        ["layer", "50 %", "90 %", "98 %", "mean"],
        ["stem.weight", "0.0", "10.0", "50.0", "20.0"],
        ["body.weight", "1.0", "1.0", "5.0", "2.3"],
        ["head.weight", "−1.0", "0.0", "0.0", "−0.3"],
    ]


def test_the_shade_of_a_cell_is_its_loss_over_the_largest(page):
    shades = [attrs["style"] for tag, attrs in page.elements if tag == "td" and "style" in attrs]
    losses = [0.0, 0.2, 1.0, 0.0, 0.02, 0.02, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0]  # the mean is not shaded
    assert shades == [f"--shade: {loss:.3f}" for loss in losses]


def test_a_model_that_loses_nothing_anywhere_has_no_shade(tmp_path):
    calm = sensitivities(layers=sensitivities("x.weight").layers[2:])
    elements = show(calm, tmp_path).elements
    assert {attrs["style"] for tag, attrs in elements if tag == "td" and "style" in attrs} == {"--shade: 0.000"}


def test_layers_are_listed_in_the_order_of_the_model_with_what_they_hold(page):
    head, *rows = page.tables["table-layers"]
    assert head[-1] == "largest sparsity within 0.9 points"  # 1 % of a dense accuracy of 90 %
    assert rows == [
        ["stem.weight = b.weight", "100", "4.95 %", f"5{SPACE}000", "99.6 %", "50 %"],
        ["body.weight", f"1{SPACE}900", "94.06 %", "–", "–", "0 %"],
        ["head.weight", "20", "0.99 %", "20", "0.4 %", "98 %"],
    ]


def test_a_tolerance_of_ones_own_is_used_and_named(tmp_path):
    head, *rows = show(sensitivities(), tmp_path, tolerance=0.1).tables["table-layers"]
    assert head[-1] == "largest sparsity within 10 points"
    assert [row[-1] for row in rows] == ["90 %", "98 %", "98 %"]


def test_every_value_has_a_row(page):
    rows = page.tables["table-values"]
    assert len(rows) == 1 + 9
    assert rows[0] == ["layer", "sparsity", "weights removed", "weights left", "validation accuracy (%)", "loss"]
    assert rows[6] == ["body.weight", "98 %", f"1{SPACE}862", "38", "85.0", "5.0"]


def test_sentences_say_what_the_numbers_say(page):
    body = " ".join("".join(page.text).split())
    for sentence in (
        "stem.weight is the most sensitive of 3 layers: accuracy goes from 90.0 % to 40.0 % with 98 % of its weights "
        "removed and no other layer touched.",
        "1 of 3 layers can do without 98 % of the weights, one layer at a time, for a loss of at most 0.9 points.",
        "body.weight has the most weights, 94.1 % of those measured, and loses more than 0.9 points at 50 % sparsity.",
        "Measured on 200 examples of the evaluation set, where one example is 0.5 points. Test data were not read.",
        "At 98 % all weights are removed from head.weight, which has too few for one to stay.",
        "pt.sensitivity(model, task, sparsities=(0.5, 0.9, 0.98), reestimate_batches=2, examples=200, seed=3)",
        "a processor",
    ):
        assert sentence in body


def test_curves_start_at_the_dense_model_and_lie_at_the_weights_that_are_left(page):
    traces = page.figures()["sensitivity"]["data"]
    assert [trace["name"] for trace in traces] == [
        *("stem.weight", "body.weight", "head.weight", "dense model, 90.0 %"),
    ]
    assert traces[0]["x"] == [1, 2, 10, 50]
    assert traces[0]["y"] == [90, 90, 80, 40]
    assert traces[0]["text"][2] == "90 %, 90 of 100 weights removed"
    assert traces[3]["x"] == [1, 50]
    assert traces[3]["y"] == [90, 90]
    axis = page.figures()["sensitivity"]["layout"]["xaxis"]
    assert axis["type"] == "log"
    assert dict(zip(axis["ticktext"], axis["tickvals"], strict=True)) == {"0": 1, "50": 2, "90": 10, "98": 50}


def test_labels_have_room_beside_each_other_and_the_largest_sparsity_always_has_one():
    many = [i / 20 for i in range(20)]
    kept = labelled(many)
    assert kept[-1] == 0.95
    assert len(kept) < len(many)
    assert kept == sorted(kept)
    assert labelled([0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98]) == [0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98]
    assert labelled([0.0]) == [0.0]


def test_many_layers_wait_in_the_legend_and_more_than_there_are_marks_are_only_in_the_tables(tmp_path):
    names = [f"layer{i}.weight" for i in range(100)]
    page = show(sensitivities(*names), tmp_path)
    *layers, dense = page.figures()["sensitivity"]["data"]
    assert len(layers) == DRAWN
    assert [trace["visible"] for trace in layers] == [True] * SHOWN + ["legendonly"] * (DRAWN - SHOWN)
    assert dense["name"].startswith("dense")
    assert len(page.tables["table-layers"]) == 1 + 103
    assert f"The first {DRAWN} of 103 layers; the tables hold all." in " ".join(page.text)


def test_a_loss_is_no_percentage(tmp_path):
    lower = sensitivities(metric="nll", higher_is_better=False, dense=0.3)
    page = show(lower, tmp_path)
    assert page.tables["table-losses"][1:] == [
        ["head.weight", "0.61", "0.6", "0.6", "0.603"],
        ["body.weight", "0.59", "0.59", "0.55", "0.577"],
        ["stem.weight", "0.6", "0.5", "0.1", "0.4"],
    ]
    body = " ".join("".join(page.text).split())
    assert "nll goes from 0.3000 to 0.9000" in body
    assert "one example is" not in body
    assert page.figures()["sensitivity"]["layout"]["yaxis"]["title"]["text"] == "nll, lower is better"


def test_one_layer_and_a_sparsity_of_zero_are_drawn(tmp_path):
    only = sensitivities().layers[0]
    page = show(sensitivities(layers=(only,), sparsities=(0.0, 0.9, 0.98)), tmp_path)
    assert page.figures()["sensitivity"]["data"][0]["x"] == [1, 10, 50]
    assert "stem.weight is the only layer" in " ".join(page.text)


def test_names_from_outside_are_escaped(tmp_path):
    nasty = '</script><img src=x onerror=alert(1)>&amp;"'
    page = show(sensitivities(nasty, task=nasty, metric=nasty, env={nasty: nasty}, include=(nasty,)), tmp_path)
    assert len(page.scripts) == 3
    assert not any(tag == "img" for tag, _ in page.elements)
    assert "<img" not in json.dumps(page.figures())


def test_the_page_works_offline_is_small_and_every_colour_has_a_dark_counterpart(tmp_path):
    given = sensitivities()
    found = Sensitivity.from_dict(given.to_dict())
    path = found.write_page(tmp_path / "s.html", title="A title")
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert len(text.encode()) < 2_000_000
    assert "<title>A title</title>" in text
    assert not re.search(r"https?://|@import|url\(", text.replace(page.script("plotly"), ""))
    dark = json.loads(page.script("figures"))["dark"]
    assert set(re.findall(r"#[0-9a-fA-F]{6}", json.dumps(page.figures()))) <= dark.keys()
