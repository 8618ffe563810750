"""Whether the candidates of a soup were pruned alike: an average of differing masks has the zeros that all share only.

With the masks at hand they must be equal, and every candidate must be zero where they say so. Without them the exact
zeros of the matrices stand for them: a candidate whose zeros differ from those of the first in more than one per cent
of the entries is refused; fewer happen by chance. The rule for candidates without masks is ours.

Source of the requirement: Zimmer, Spiegel and Pokutta, ICLR 2024 (Sparse Model Soups), section 3: candidates share the
mask, so that averaging keeps the sparsity.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor

from paretorch.errors import InputError
from paretorch.methods.averaging.candidates import Block, Candidate, Layout
from paretorch.methods.sparsity.masks import Masks

CHANCE_ZEROS = 0.01


def common_masks(candidates: Sequence[Candidate]) -> Masks | None:
    """The masks that all candidates have, or None if none has any.

    Raises:
        InputError: naming the candidate whose masks are missing or differ.
    """
    first = candidates[0]
    for candidate in candidates[1:]:
        if (candidate.masks is None) != (first.masks is None):
            bare = candidate if candidate.masks is None else first
            raise InputError(f"candidate {bare.name!r} comes without masks, and others with them; give all or none")
        if candidate.masks is not None and first.masks is not None and candidate.masks != first.masks:
            raise InputError(
                f"candidate {candidate.name!r} has other masks than {first.name!r} ({_in_words(candidate, first)}); "
                "their average would be less sparse than either. Average copies that were retrained from one pruned "
                "model"
            )
    return first.masks


class ZeroPatterns:
    """Watches the pieces of all candidates as they are read.

    Args:
        candidates: in the order of the values that `check` will be given.
        layout: of all of them.

    Raises:
        InputError: as `common_masks`; or if the masks do not fit the layout.
    """

    def __init__(self, candidates: Sequence[Candidate], layout: Layout) -> None:
        self._masks = common_masks(candidates)
        self._layout = layout
        self._entries = 0
        self._first = candidates[0].name
        self._differing = dict.fromkeys((candidate.name for candidate in candidates), 0)
        for name, mask in self._masks.items() if self._masks is not None else ():
            if name not in layout or layout[name][0] != tuple(mask.shape) or not layout[name][1].is_floating_point:
                raise InputError(
                    f"the masks of candidate {candidates[0].name!r} do not fit its weights: {name!r} is masked with "
                    f"shape {tuple(mask.shape)}, and the state dict holds {layout.get(name, 'nothing of that name')}"
                )

    def check(self, name: str, block: Block, values: Mapping[str, Tensor]) -> None:
        """Look at one piece of an entry: candidate's name -> its values, flat.

        Raises:
            InputError: naming the candidate that is not zero where its masks prune.
        """
        if self._masks is not None:
            if name in self._masks:
                pruned = ~self._masks[name][block].cpu().flatten()
                for candidate, value in values.items():
                    if wrong := int((value.ne(0) & pruned).sum()):
                        raise InputError(
                            f"candidate {candidate!r} is not zero in {wrong} entries of {name!r} that its masks prune; "
                            "masks.apply_(model) zeroes them, masks.attach(model, optimizer) keeps them zero"
                        )
        elif len(self._layout[name][0]) > 1 and self._layout[name][1].is_floating_point:
            zeros = values[self._first] == 0
            self._entries += zeros.numel()
            for candidate, value in values.items():
                self._differing[candidate] += int(((value == 0) != zeros).sum())

    def finish(self) -> None:
        """After the last piece.

        Raises:
            InputError: naming the first candidate whose zeros are elsewhere.
        """
        for candidate, differing in self._differing.items():
            if differing > CHANCE_ZEROS * self._entries:
                raise InputError(
                    f"candidate {candidate!r} has its zeros elsewhere than {self._first!r}, in {differing} of "
                    f"{self._entries} matrix entries: the two were pruned with different masks, and the average would "
                    "be less sparse. Average copies that were retrained from one pruned model, or give masks that say "
                    "what is pruned in all of them"
                )


def _in_words(one: Candidate, other: Candidate) -> str:
    """Where two sets of masks differ, in words."""
    mine, theirs = one.masks, other.masks
    assert mine is not None
    assert theirs is not None
    if set(mine) != set(theirs):
        return f"masked on one side only: {sorted(set(mine) ^ set(theirs))[:3]}"
    counts = {
        name: int((mask.cpu() != theirs[name].cpu()).sum()) if mask.shape == theirs[name].shape else mask.numel()
        for name, mask in mine.items()
    }
    return f"{sum(counts.values())} entries, first in {next(name for name, count in counts.items() if count)!r}"
