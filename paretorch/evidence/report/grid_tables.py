"""Tables of grids of learning rate and epsilon: the best rate of every epsilon, and the expected best of n trials."""

import math
from collections.abc import Sequence

from paretorch.evidence.arms import Arm
from paretorch.evidence.grids import Grid
from paretorch.evidence.report.grid_figures import epsilon_words
from paretorch.evidence.report.table import UNKNOWN, Table, mean

TRIALS = (1, 2, 4, 8, 16, 32, 64)


def best_rates_table(grids: Sequence[Grid]) -> Table:
    """The best learning rate of every epsilon, those that cannot be told from it, and by how many decades it moves."""
    metric = grids[0].metric
    rows = []
    for grid in grids:
        for epsilon in grid.epsilons:
            rate = grid.best_rate(epsilon)
            arm: Arm | None = None if rate is None else grid.arms[rate, epsilon]
            paired = arm is not None and len(arm.finished) > 1
            alike = [f"{other:g}" for other in grid.alike(epsilon)] if paired else []
            turn = grid.in_turn.get(epsilon) if epsilon is not None else None
            rows.append(
                [
                    grid.name,
                    epsilon_words(epsilon),
                    UNKNOWN if rate is None else f"{rate:g}",
                    ", ".join(alike) or UNKNOWN,
                    mean(metric, None if arm is None else arm.validation),
                    mean(metric, None if arm is None else arm.quality),
                    UNKNOWN if grid.moved is None else f"{grid.moved:.2g}",
                    mean(metric, None if turn is None else turn.validation),
                ]
            )
    return Table(
        key="best-rates",
        title="Best learning rate by epsilon",
        caption="By mean validation quality over seeds. Not told apart: rates whose paired 95 % interval of the "
        "difference in validation quality to the best contains 0. Decades: between the largest and the smallest best "
        "rate of an optimizer; at 0, rate and epsilon can be searched one after the other. The last column is what "
        "such a search finds: the rates at this epsilon, then the epsilons at the best of them.",
        head=[
            "optimizer",
            "eps",
            "best lr",
            "not told apart",
            f"validation {metric.axis}",
            f"test {metric.axis}",
            "decades that the best lr moves",
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
        expected = [grid.expected(n) for n in shown]
        rows.append(
            [
                grid.name,
                str(len(grid.arms)),
                UNKNOWN if epochs is None else f"{epochs:.4g}",
                str(len(grid.failed)),
                *[
                    UNKNOWN if value is None else metric.number(value) if math.isfinite(value) else "not finite"
                    for value in expected
                ],
            ]
        )
    return Table(
        key="tuning",
        title="What tuning reaches",
        caption=f"Expected best validation {metric.axis} of n settings drawn at random without replacement, median "
        "over seeds. Every trial is a full training and is paid for; one that did not end well counts as the worst "
        "there is.",
        head=["optimizer", "settings", "epochs of a trial", "runs that did not end well"]
        + [f"best of {n}" if n > 1 else "one trial" for n in shown],
        rows=rows,
    )
