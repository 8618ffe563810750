"""One group per step at another width than the centre's: no two layers are ever cut together in training.

    w = C, then w_g = v, with (g, v) from a shuffled list of all pairs v <= C_g, each once before any comes again

A group with n_g widths is drawn in n_g of sum(n) steps, and one step for every group of them runs the centre itself.
Source: `SamuelHorvath/Maestro-LoD`, `samplers/single_layer.py` (there for ranks).
"""

from collections.abc import Iterable, Sequence
from typing import Any, Self

from paretorch.methods.width.groups import Profile
from paretorch.methods.width.samplers.base import Sampler


class SingleLayer(Sampler):
    """One group at a width of its grid, all others at the centre; one profile per step.

    Args:
        layer_uniform: draw the group uniformly and then its width uniformly, with replacement; the default goes through
            all pairs, in which a group with more widths comes more often.
    """

    def __init__(self, *, layer_uniform: bool = False) -> None:
        super().__init__()
        self.layer_uniform = layer_uniform
        self._cycle: tuple[tuple[int, int, int], list[tuple[int, int]]] | None = None

    @property
    def cycle_length(self) -> int:
        """Draws until every pair has come once."""
        return sum(map(len, self.grids))

    def _profiles(self, count: int) -> tuple[Profile, ...]:
        if self.layer_uniform:
            random = self.random(count)
            group = random.randrange(len(self.grids))
            width = random.choice(self.grids[group])
        else:
            cycle, position = divmod(count, self.cycle_length)
            group, width = self._pairs(cycle)[position]
        return ((*self.centre[:group], width, *self.centre[group + 1 :]),)

    def _pairs(self, cycle: int) -> list[tuple[int, int]]:
        """All (group, width) pairs in the order of cycle number `cycle`; the last list is remembered."""
        key = (self.seed, self.generation, cycle)
        if self._cycle is None or self._cycle[0] != key:
            pairs = [(group, width) for group, widths in enumerate(self.grids) for width in widths]
            self.random(cycle).shuffle(pairs)
            self._cycle = (key, pairs)
        return self._cycle[1]

    def bind(self, grids: Iterable[Sequence[int]], *, seed: int = 0) -> Self:
        self._cycle = None
        return super().bind(grids, seed=seed)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._cycle = None
        super().load_state_dict(state)
