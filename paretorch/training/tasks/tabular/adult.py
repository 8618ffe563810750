"""Adult, or census income (Becker and Kohavi 1996, UCI): does a person earn more than 50,000 dollars a year?

Reads the 32,561 rows of `adult.data` and splits them at random with fixed seeds: a fifth to test, a tenth of the rest
held out for every choice. Five numeric columns are standardised and eight categorical ones become one column per
category, '?' (unknown) being a category of its own; statistics and categories are those of the training part alone.

`fnlwgt` is left out: it is a sampling weight, the number of people a row stands for in the survey, and no trait of the
person. Figures are therefore of the sample, not of the population. Without it some people are described alike, and such
rows may lie in the training and in the test part; they are kept, as they would occur in use. 24 % of the rows are above
50,000, so a model that always says no is right three times in four; `references` has that and a logistic regression's
accuracy.
"""

from functools import partial
from pathlib import Path

import torch

from paretorch.errors import InputError
from paretorch.training.data import ArrayExamples
from paretorch.training.models.mlp import mlp
from paretorch.training.supervised import SupervisedTask
from paretorch.training.tasks.limits import limited
from paretorch.training.tasks.missing import data_folder, hub_command
from paretorch.training.tasks.references import logistic_regression, majority_class
from paretorch.training.tasks.tabular.adult_table import COLUMNS, INCOMES, NUMERIC, read_adult
from paretorch.training.tasks.tabular.table_encoding import TableEncoding

REMEDY = (
    "download adult.data of https://archive.ics.uci.edu/dataset/2/adult into <data>/tabular_adult, or run "
    + hub_command("scikit-learn/adult-census-income", "tabular_adult")
)
_NUMBERS = tuple(COLUMNS.index(name) for name in NUMERIC if name != "fnlwgt")
_CATEGORIES = tuple(COLUMNS.index(name) for name in COLUMNS[:-1] if name not in NUMERIC)


class Adult(SupervisedTask):
    """The adult task: a multilayer perceptron on the encoded table.

    Args:
        data: the data folder, which holds `tabular_adult/` with `adult.data`, `adult.data.gz`, or the hub's copy.
        hidden: widths of the hidden layers.
        train_limit: learn from only the first so many training rows, which are in random order with a fixed seed.

    Raises:
        InputError: for missing or damaged data, or numbers out of range.
    """

    def __init__(
        self, *, data: Path | str | None, hidden: tuple[int, ...] = (128, 64), train_limit: int | None = None
    ) -> None:
        if not hidden or min(hidden) < 1:
            raise InputError(f"hidden must be one or more widths of at least 1; got {hidden}")
        rows = read_adult(data_folder(data, "tabular_adult", task="adult", remedy=REMEDY), remedy=REMEDY)
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
        num_test = round(0.2 * len(rows))
        num_held = round(0.1 * (len(rows) - num_test))
        test, held, train = order.split([num_test, num_held, len(rows) - num_test - num_held])
        encoding = TableEncoding.fit([rows[i] for i in train], numeric=_NUMBERS, categorical=_CATEGORIES)
        whole = ArrayExamples(
            inputs=encoding(rows), targets=torch.tensor([INCOMES.index(row[-1]) for row in rows], dtype=torch.long)
        )
        self._fitted, self._tested = (whole.batch(part) for part in (train, test))
        super().__init__(
            partial(mlp, sizes=[encoding.width, *hidden, len(INCOMES)]),
            train=whole.subset(limited(train, train_limit)),
            evaluation=whole.subset(held),
            test=whole.subset(test),
            name="adult",
            classes=INCOMES,
        )

    def references(self) -> dict[str, float]:
        labels = self._fitted["targets"], self._tested["targets"]
        return {
            "majority class": majority_class(*labels),
            "logistic regression": logistic_regression(
                (self._fitted["inputs"], labels[0]), (self._tested["inputs"], labels[1])
            ),
        }
