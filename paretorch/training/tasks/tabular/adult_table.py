"""Reads the rows of the Adult data: `adult.data` as UCI has it, the same with gzip, or what `datasets` saved of it.

15 columns separated by commas, no header; '?' where a value is unknown. Rows come back sorted, so that a split with a
fixed seed is the same whichever source they were read from.
"""

import gzip
import zlib
from pathlib import Path
from typing import Any

from paretorch.errors import InputError
from paretorch.training.tasks.saved_dataset import column, saved_splits, split_named
from paretorch.training.tasks.tabular.table_encoding import Row

COLUMNS = (
    *("age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation", "relationship"),
    *("race", "sex", "capital-gain", "capital-loss", "hours-per-week", "native-country", "income"),
)
NUMERIC = ("age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week")
INCOMES = ("<=50K", ">50K")


def read_adult(folder: Path, *, remedy: str) -> list[Row]:
    """All rows, sorted, as tuples of 15 stripped strings in the order of COLUMNS.

    Raises:
        InputError: with the remedy if no known file is there; naming file, line and value for a row that does not fit.
    """
    if (splits := saved_splits(folder)) is not None:
        return _checked(_saved(split_named(splits, "train", folder=folder)), where=f"{folder}, row")
    for name in ("adult.data.gz", "adult.data"):
        if (folder / name).is_file():
            return _checked(_lines(folder / name), where=f"{folder / name}, line")
    raise InputError(f"{folder} has neither adult.data nor adult.data.gz: {remedy}")


def _lines(path: Path) -> list[tuple[int, Row]]:
    content = path.read_bytes()
    try:
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not readable ({error}); download it again") from error
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():  # the official file ends with an empty line
            rows.append((number, tuple(value.strip() for value in line.split(","))))
    return rows


def _saved(split: Any) -> list[tuple[int, Row]]:
    names = {name.replace(".", "-"): name for name in split.column_names}  # the hub's copy has education.num
    columns = [column(split, names.get(name, name)) for name in COLUMNS]
    return [
        (number, tuple(str(value).strip() for value in row)) for number, row in enumerate(zip(*columns, strict=True))
    ]


def _checked(rows: list[tuple[int, Row]], *, where: str) -> list[Row]:
    for number, row in rows:
        if len(row) != len(COLUMNS):
            raise InputError(f"{where} {number} has {len(row)} values, expected {len(COLUMNS)}; download it again")
        for name, value in zip(COLUMNS, row, strict=True):
            if name in NUMERIC and not value.isdecimal():
                raise InputError(f"{where} {number}: {name} is {value!r}, not a whole number; download it again")
        if row[-1] not in INCOMES:
            raise InputError(f"{where} {number}: income is {row[-1]!r}, expected one of {INCOMES}; use adult.data")
    if len(rows) < 20:
        raise InputError(f"{where}s: there are {len(rows)}, too few to train, choose and test; download it again")
    return sorted(row for _, row in rows)
