"""Grids with obstacles and a start, and how far every cell is from it.

    R_0 = {start}        R_{t+1} = R_t and the free neighbours of R_t: up, down, left, right

A cell is at distance t if it is in R_t and not in R_{t-1}: breadth-first search, on many grids at once.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from paretorch.errors import InputError

BATCH = 1024  # grids that are drawn at once
MAX_DRAWS = 100  # per grid that is wanted


def distances(free: Tensor, start: Tensor, *, limit: int | None = None) -> Tensor:
    """Steps of the shortest path from the start to every cell, (n, h, w) int64; -1 where there is none.

    Args:
        free: bool (n, h, w), cells that a path may use; starts are among them.
        start: bool (n, h, w), one cell or several of each grid.
        limit: look no farther; cells beyond are -1 too. None: to the end.
    """
    found = torch.where(start, 0, -1)
    reached, edge, step = start, start, 0
    while step != limit and bool((edge := _neighbours(edge) & free & ~reached).any()):
        step += 1
        found = torch.where(edge, step, found)
        reached = reached | edge
    return found


def draw_grids(
    count: int, *, size: int, obstacles: float, reach: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Random grids in which no cell that can be reached is farther than `reach` steps; others are drawn again.

    Every cell is an obstacle with one probability, and the start, which is none, is anywhere.

    Args:
        count: n.
        size: cells along each side.
        obstacles: the probability.
        reach: steps.
        generator: where the draws come from.

    Returns:
        free (n, size, size) bool, start (n, size, size) bool, and the distances of `distances`.

    Raises:
        InputError: if hardly any grid of these is as small.
    """
    kept: list[tuple[Tensor, Tensor, Tensor]] = []
    found = drawn = 0
    while found < count:
        if drawn >= MAX_DRAWS * count + BATCH:
            raise InputError(
                f"of {drawn} grids of {size} x {size} cells with {obstacles:g} obstacles, {found} have every cell that "
                f"can be reached within {reach} steps; {count} are wanted. Give smaller grids, more obstacles or a "
                "greater reach"
            )
        places = torch.randint(size * size, (BATCH,), generator=generator)
        start = F.one_hot(places, size * size).view(-1, size, size).bool()
        free = (torch.rand(BATCH, size, size, generator=generator) >= obstacles) | start
        steps = distances(free, start, limit=reach + 1)
        near = steps.flatten(1).amax(1) <= reach
        kept.append((free[near], start[near], steps[near]))
        found, drawn = found + int(near.sum()), drawn + BATCH
    free, start, steps = (torch.cat(parts)[:count] for parts in zip(*kept, strict=True))
    return free, start, steps


def _neighbours(cells: Tensor) -> Tensor:
    """Cells that are up, down, left or right of one of these; bool (n, h, w)."""
    padded = F.pad(cells, (1, 1, 1, 1))
    return padded[:, :-2, 1:-1] | padded[:, 2:, 1:-1] | padded[:, 1:-1, :-2] | padded[:, 1:-1, 2:]
