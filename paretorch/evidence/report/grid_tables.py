"""Tables of grids of learning rate and epsilon: the best rate of every epsilon, and the expected best of n trials."""

from collections.abc import Sequence

from paretorch.evidence.arms import Arm
from paretorch.evidence.grids import Grid
from paretorch.evidence.report.grid_figures import epsilon_words
from paretorch.evidence.report.table import UNKNOWN, Table, mean
from paretorch.evidence.statistics import LOW_N

TRIALS = (1, 2, 4, 8, 16, 32, 64)


def best_rates_table(grids: Sequence[Grid]) -> Table:
    """The best learning rate of every epsilon, those that cannot be told from it, and by how many decades it moves."""
    metric = grids[0].metric
    rows = []
    for grid in grids:
        for epsilon in grid.epsilons:
            rate = grid.best_rate(epsilon)
            arm: Arm | None = None if rate is None else grid.arms[rate, epsilon]
            alike = [f"{other:g}" for other in grid.alike(epsilon)] if len(grid.seeds) > 1 else []
            turn = grid.in_turn.get(epsilon)
            rows.append(
                [
                    grid.name,
                    epsilon_words(epsilon),
                    _seeds(grid),
                    UNKNOWN if rate is None else f"{rate:g}",
                    ", ".join(alike) or UNKNOWN,
                    mean(metric, None if arm is None else arm.validation),
                    mean(metric, None if arm is None else arm.quality),
                    UNKNOWN if grid.moved is None else f"{grid.moved:.2g}",
                    UNKNOWN if grid.moved_surely is None or not alike else f"{grid.moved_surely:.2g}",
                    mean(metric, None if turn is None else turn.validation),
                ]
            )
    return Table(
        key="best-rates",
        title="Best learning rate by epsilon",
        caption="By mean validation quality over seeds, which is a little too good for what it chose; the test column "
        "is not. Not told apart: rates whose paired interval of the difference in validation quality to the best "
        "contains 0, at 95 % for all comparisons of an optimizer together. Decades: between the largest and the "
        "smallest best rate of an optimizer, over the epsilons at which two rates or more ended well; then the fewest "
        "that the rates not told apart allow. At 0, rate and epsilon can be searched one after the other. The last "
        "column is what such a search finds: the rates at this epsilon, then the epsilons at the best of them.",
        head=[
            "optimizer",
            "eps",
            "seeds",
            "best lr",
            "not told apart",
            f"validation {metric.axis}",
            f"test {metric.axis}",
            "decades that the best lr moves",
            "at least, of these",
            f"then the best eps at that lr: validation {metric.axis}",
        ],
        rows=rows,
    )


def tuning_table(grids: Sequence[Grid]) -> Table:
    """The expected best of n settings of each grid, and what one costs."""
    metric, shown = grids[0].metric, [n for n in TRIALS if n <= max(len(grid.arms) for grid in grids)]
    rows = []
    for grid in grids:
        epochs = grid.trial_epochs
        rows.append(
            [
                grid.name,
                str(len(grid.arms)),
                _seeds(grid),
                UNKNOWN if epochs is None else f"{epochs:.4g}",
                str(len(grid.failed)),
                *[_expected(grid, n) for n in shown],
            ]
        )
    return Table(
        key="tuning",
        title="What tuning reaches",
        caption=f"Expected best validation {metric.axis} of n settings drawn at random without replacement, mean "
        "over seeds ± half of the 95 % t-interval. Every trial is a full training and is paid for; one that did not "
        "end well counts as the worst there is, so that the best of few can be not finite.",
        head=["optimizer", "settings", "seeds", "epochs of a trial", "runs that did not end well"]
        + [f"best of {n}" if n > 1 else "one trial" for n in shown],
        rows=rows,
    )


def _expected(grid: Grid, n: int) -> str:
    found = grid.expected_mean(n)
    return "not finite" if found is None and grid.expected(n) else mean(grid.metric, found)


def _seeds(grid: Grid) -> str:
    return f"{len(grid.seeds)}{', low-n' if len(grid.seeds) < LOW_N else ''}"
