"""The average of m models, read in pieces: memory for one model and a fixed number of bytes, whatever m is.

    w = cast(sum_i lambda_i w_i),    lambda_i >= 0, sum_i lambda_i = 1        entry by entry, summed in float64

What is guaranteed of every floating-point entry, bit by bit:

- it does not depend on the order or the names of the candidates: the m contributions of an entry are added in ascending
  order of their values;
- it lies between the smallest and the largest of the m values, so m identical copies average to the copy, and what is
  zero in all is zero in the average.

Integer and bool entries (counters) are those of the candidate whose name sorts first. Source: Zimmer, Spiegel and
Pokutta, ICLR 2024 (Sparse Model Soups), section 3; the authors' code adds in the tensors' own dtype and turns integers
into floats. The order of addition, the bounds and the reading in pieces are ours.
"""

import math
import os
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from paretorch.errors import InputError
from paretorch.methods.averaging.candidates import (
    Block,
    Candidate,
    State,
    StoredState,
    checked_names,
    open_states,
)
from paretorch.methods.averaging.zero_patterns import ZeroPatterns
from paretorch.methods.sparsity.masks import Masks

PIECE_ENTRIES = 1 << 18
"""Entries of all candidates together that are in memory at once, in float64."""
WEIGHTS_TOLERANCE = 1e-6


def average_state_dicts(
    candidates: Sequence[Candidate], *, weights: Sequence[float] | None = None
) -> dict[str, Tensor]:
    """The weighted average of the candidates' state dicts, on the CPU, with the dtypes they have.

    Args:
        candidates: at least one; names, shapes and dtypes of their entries must be equal, and so must their masks.
        weights: one per candidate, >= 0, with the sum 1; None weighs all the same.

    Returns:
        Name -> average. Names that share a tensor in the candidate whose name sorts first share one here.

    Raises:
        InputError: without candidates; for weights that are none; and, by the candidate's name, for one that cannot be
            read, that is of another architecture, whose masks or zeros are not those of the others, or that holds a NaN
            or an infinite value that not all of them hold.
    """
    checked_names(candidates)
    shares = _shares(candidates, weights)
    ordered = sorted(candidates, key=lambda candidate: candidate.name)
    states = open_states(ordered)
    patterns = ZeroPatterns(ordered, states[0].layout)
    average: dict[str, Tensor] = {}
    places: dict[object, str] = {}
    for name, (shape, dtype) in states[0].layout.items():
        place = states[0].place(name)
        if place in places and all(state.place(name) == state.place(places[place]) for state in states):
            average[name] = average[places[place]]
            continue
        places.setdefault(place, name)
        if not (dtype.is_floating_point or dtype.is_complex):
            average[name] = states[0].read(name, ()).to("cpu", copy=True)
            continue
        average[name] = torch.empty(shape, dtype=dtype)
        for block in _blocks(shape, max(1, PIECE_ENTRIES // len(states))):
            values = _values(ordered, states, name, block)
            _check_finite(name, values)
            patterns.check(name, block, values)
            average[name][block] = _mean(values, shares, average[name][block])
    patterns.finish()
    return average


def average_files(
    paths: Sequence[str | os.PathLike[str]], *, weights: Sequence[float] | None = None, masks: Masks | None = None
) -> dict[str, Tensor]:
    """The same of safetensors files, each of which holds one state dict.

    Args:
        paths: the files; errors name a candidate by its path.
        weights: as in `average_state_dicts`.
        masks: what is pruned in all of them. None: see `Candidate`.

    Raises:
        InputError: as `average_state_dicts`; a file that is missing or damaged included.
    """
    return average_state_dicts([file_candidate(path, masks=masks) for path in paths], weights=weights)


def file_candidate(path: str | os.PathLike[str], *, masks: Masks | None = None) -> Candidate:
    """The candidate whose state dict is a safetensors file; its name is the path."""
    return Candidate(os.fspath(path), lambda: StoredState(path), masks)


def _shares(candidates: Sequence[Candidate], weights: Sequence[float] | None) -> dict[str, float]:
    """Name -> factor; the average is the sum of the products, divided by the sum of the factors."""
    names = [candidate.name for candidate in candidates]
    if weights is None:  # a power of two makes every product exact, and the sum no larger than the largest value
        return dict.fromkeys(names, 2.0 ** -math.ceil(math.log2(len(names))))
    if len(weights) != len(names):
        raise InputError(f"give one weight per candidate; got {len(weights)} weights for {len(names)} candidates")
    for name, weight in zip(names, weights, strict=True):
        if not 0 <= weight <= 1:
            raise InputError(f"the weight of candidate {name!r} is {weight}; expected a number in [0, 1]")
    if abs(math.fsum(weights) - 1) > WEIGHTS_TOLERANCE:
        raise InputError(f"the weights of an average have the sum 1; got {list(weights)} with the sum {sum(weights)}")
    return dict(zip(names, map(float, weights), strict=True))


def _blocks(shape: tuple[int, ...], limit: int) -> Iterator[Block]:
    """Blocks of at most `limit` entries that make up the shape."""
    if math.prod(shape) <= limit:
        yield ()
        return
    entries = math.prod(shape[1:])
    if entries > limit:
        for i in range(shape[0]):
            yield from ((slice(i, i + 1), *rest) for rest in _blocks(shape[1:], limit))
        return
    rows = limit // entries
    yield from ((slice(first, first + rows),) for first in range(0, shape[0], rows))


def _values(candidates: Sequence[Candidate], states: Sequence[State], name: str, block: Block) -> dict[str, Tensor]:
    """Name of the candidate -> its entries in the block, flat, in float64 (a complex number as two)."""
    values: dict[str, Tensor] = {}
    for candidate, state in zip(candidates, states, strict=True):
        piece = state.read(name, block)
        if piece.is_complex():
            piece = torch.view_as_real(piece.resolve_conj())
        values[candidate.name] = piece.to("cpu", torch.float64, copy=True).flatten()
    return values


def _check_finite(name: str, values: Mapping[str, Tensor]) -> None:
    """Refuse NaN, and infinite entries unless all candidates have the same: masks of attention hold such."""
    if all(torch.isfinite(value).all() for value in values.values()):
        return
    rows = torch.stack(list(values.values()))
    alike = (rows == rows[0]).all(dim=0)  # NaN is not
    for candidate, row in zip(values, rows, strict=True):
        if not (torch.isfinite(row) | alike).all():
            raise InputError(
                f"candidate {candidate!r} has values in {name!r} that are NaN or infinite; leave it out, or train it "
                "again"
            )


def _mean(values: Mapping[str, Tensor], shares: Mapping[str, float], like: Tensor) -> Tensor:
    """The average of flat float64 tensors, shaped and cast as `like`."""
    rows = torch.stack(list(values.values()))
    factors = torch.tensor([shares[name] for name in values], dtype=torch.float64)
    columns = (rows * factors[:, None]).T.contiguous()
    columns.numpy().sort(axis=1)
    mean = columns[:, 0].clone()
    for position in range(1, len(rows)):
        mean += columns[:, position]
    mean /= math.fsum(shares.values())
    # Comparisons, because a clamp may turn -0 into +0; a zero itself is never outside the bounds.
    lowest, highest = rows.amin(dim=0), rows.amax(dim=0)
    mean = torch.where(mean < lowest, lowest, torch.where(mean > highest, highest, mean))
    mean = torch.where(lowest.isinf(), lowest, mean)  # then all are; with a weight of 0 the product is NaN
    if like.is_complex():
        mean = torch.view_as_complex(mean.reshape(-1, 2))
    return mean.to(like.dtype).reshape(like.shape)
