"""The tables of what compression broke: which rows there are, and what stands in them."""

import pytest

from paretorch.evidence.records import RunRecord
from paretorch.evidence.report.side_effect_tables import class_table, overview_table, side_effect_tables
from paretorch.evidence.report.table import UNKNOWN
from tests.evidence.side_effect_runs import of_classes, of_texts, run


def groups() -> dict[str, list[RunRecord]]:
    return {
        "dense": [run({}), run({}, seed=1)],
        "FT": [run(of_classes(0.7, rate=0.2, warnings=("hidden",)), seed=i) for i in (0, 1)],
        "text": [run(of_texts())],
    }


def test_every_kind_of_side_effect_has_its_table_and_every_row_its_cells() -> None:
    tables = side_effect_tables(groups())
    assert [table.key for table in tables] == ["side-effects", "classes", "corruptions", "domains"]
    assert all(len(row) == len(table.head) for table in tables for row in table.rows)
    assert {row[0] for table in tables for row in table.rows} == {"FT", "text"}


def test_overview_holds_means_intervals_and_the_number_of_warnings() -> None:
    table = overview_table(groups())
    assert table is not None
    classes, texts = (dict(zip(table.head, row, strict=True)) for row in table.rows)
    assert classes["runs"] == "2, low-n"
    assert classes["examples with another answer than the dense model's"] == "20.0 % (± 0.0, 2 seeds, low-n)"
    assert classes["worst class minus dense (points), 95 % interval"].startswith("cat: \N{MINUS SIGN}20.0")
    assert classes["calibration error (%), dense"] == "2.1 ± 0.0"
    assert (classes["warnings"], texts["warnings"]) == ("2", "0")
    assert classes["divergence from dense, nats per token"] == UNKNOWN
    assert texts["divergence from dense, nats per token"] == "0.1250"
    assert texts["examples with another answer than the dense model's"] == UNKNOWN


def test_classes_are_listed_from_the_worst_to_the_best() -> None:
    runs = [run(of_classes(0.95, 0.7))]
    (_, classes, *_) = side_effect_tables({"FT": runs})
    assert [row[1] for row in classes.rows] == ["dog", "cat"]
    assert classes.rows[0][2:] == ["200", "90.0", "70.0", "\N{MINUS SIGN}20.0"]


def test_of_many_classes_the_worst_are_listed() -> None:
    effects = of_classes()
    many = {"labels": [f"c{i}" for i in range(100)], "dense": [0.9] * 100, "counts": [50] * 100}
    effects["per_class"] = many | {"candidate": [0.9 - 0.001 * i for i in range(100)]}
    table = class_table({"FT": [run(effects)]})
    assert table is not None
    assert [row[1] for row in table.rows] == [f"c{i}" for i in range(99, 79, -1)]


def test_losses_are_not_written_as_percentages() -> None:
    (table,) = [table for table in side_effect_tables(groups()) if table.key == "domains"]
    assert table.rows[1] == ["text", "law", "300", "2.500", "3.000", "+0.5"]
    assert "points" not in "".join(table.head)


@pytest.mark.parametrize("runs", [[], [run({})], [run(of_classes(), status="failed")]])
def test_no_table_without_a_run_that_says_anything(runs: list[RunRecord]) -> None:
    assert side_effect_tables({"a": runs}) == []
