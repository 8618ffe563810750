"""Rows of strings to numbers: standardised numeric columns, then one column of 0 and 1 per category.

z = (x - mean) / std          mean, std (population), and the categories: of the rows that `fit` is given
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Row = tuple[str, ...]


@dataclass(frozen=True)
class TableEncoding:
    """How a table becomes a matrix.

    Args:
        numeric: positions of the columns that hold numbers.
        mean, std: of those columns, (len(numeric),) each; a constant column has std 1.
        categories: the sorted values of each other column that is used, by its position.
    """

    numeric: tuple[int, ...]
    mean: np.ndarray
    std: np.ndarray
    categories: dict[int, tuple[str, ...]]

    @staticmethod
    def fit(rows: Sequence[Row], *, numeric: tuple[int, ...], categorical: tuple[int, ...]) -> "TableEncoding":
        """The encoding with the statistics and categories of `rows`, which should be the training rows alone."""
        numbers = _numbers(rows, numeric)
        std = numbers.std(0)
        return TableEncoding(
            numeric=numeric,
            mean=numbers.mean(0),
            std=np.where(std > 0, std, 1.0),
            categories={column: tuple(sorted({row[column] for row in rows})) for column in categorical},
        )

    @property
    def width(self) -> int:
        """Columns of the matrix."""
        return len(self.numeric) + sum(len(values) for values in self.categories.values())

    def __call__(self, rows: Sequence[Row]) -> Tensor:
        """Rows (n,) as float32 (n, width); a value that `fit` never saw leaves its column's categories all 0."""
        parts = [(_numbers(rows, self.numeric) - self.mean) / self.std]
        for column, values in self.categories.items():
            parts.append(np.array([row[column] for row in rows])[:, None] == np.array(values))
        return torch.from_numpy(np.concatenate(parts, axis=1).astype(np.float32))


def _numbers(rows: Sequence[Row], columns: tuple[int, ...]) -> np.ndarray:
    return np.array([[float(row[column]) for column in columns] for row in rows])
