"""The cut of a ranking over many tensors: the exact k-th smallest value and the ties at it, found by streaming.

The tensors are read in chunks. A thinned copy of at most `SAMPLE` values gives two pivots a <= b that bracket the
cut; one pass counts exactly what lies below, at and between them, and keeps the values strictly between. Ties cannot
flood that interval: a value frequent enough to do so is itself a pivot. If the bracket misses, or holds more values
than fit, the interval shrinks and the pass repeats; after `PIVOT_PASSES` it is halved in the order of the floating
point numbers, so there are at most 64 more. Extra memory: a few MB, whatever the size of the tensors.

Source: quickselect on a sample (Floyd and Rivest, Algorithm 489: SELECT, CACM 18(3), 1975), in streaming form.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from paretorch.errors import InputError

CHUNK = 1 << 16  # entries read at a time: their float32 copy and the comparisons stay in a core's cache
SAMPLE = 1 << 18  # values held at most, as a sample or as candidates for the cut
PIVOT_SIGMAS = 3.0  # half width of the bracket, in standard deviations of a random sample's rank
PIVOT_PASSES = 4  # passes with sampled pivots before the interval is halved instead

Scores = Mapping[str, Tensor | Callable[[], Tensor]]


@dataclass(frozen=True)
class Cut:
    """Per tensor: everything `below` the threshold is pruned, and the first `ties_pruned` of `ties` equal to it.

    A threshold of None means that only what was pruned before is pruned.
    """

    threshold: float | None
    below: list[int]
    ties: list[int]
    num_pruned: int

    @cached_property
    def ties_pruned(self) -> list[int]:
        left = self.num_pruned - sum(self.below)
        pruned = []
        for ties in self.ties:
            pruned.append(min(ties, left))
            left -= pruned[-1]
        return pruned


@dataclass
class _Pass:
    """What one reading counted, per tensor, around the pivots a <= b; `values` lie strictly between them."""

    a: float
    b: float
    below_a: list[int] = field(default_factory=list)
    at_a: list[int] = field(default_factory=list)
    between: list[int] = field(default_factory=list)
    at_b: list[int] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)  # tensor number of each of `values`, valid while stride == 1
    num_values: int = 0
    num_between: int = 0
    stride: int = 1  # one value in `stride` is held

    def next_tensor(self) -> None:
        for counts in (self.below_a, self.at_a, self.between, self.at_b):
            counts.append(0)

    def add(self, below_a: int, at_a: int, between: Tensor, at_b: int, copy: Callable[[Tensor], Tensor]) -> None:
        held = copy(between[-self.num_between % self.stride :: self.stride])
        self.num_between += between.numel()
        self.below_a[-1] += below_a
        self.at_a[-1] += at_a
        self.between[-1] += between.numel()
        self.at_b[-1] += at_b
        if held.numel():
            self.values.append(held)
            self.owners.append(len(self.between) - 1)
            self.num_values += held.numel()
        while self.num_values > SAMPLE:  # every second value goes: the rest is still an even sample of all
            self.values = [self.merged()[::2].clone()]
            self.num_values = self.values[0].numel()
            self.stride *= 2

    def merged(self) -> Tensor:
        """All held values in one tensor, on the first one's device."""
        return torch.cat([piece.to(self.values[0].device) for piece in self.values])

    def cut(self, num_pruned: int) -> Cut | None:
        """The cut, if this pass pins it down."""
        below_a, up_to_a, below_b, up_to_b = self.edges()
        if below_a < num_pruned <= up_to_a:
            return Cut(self.a, self.below_a, self.at_a, num_pruned)
        if below_b < num_pruned <= up_to_b:
            return Cut(self.b, _sums(self.below_a, self.at_a, self.between), self.at_b, num_pruned)
        if not up_to_a < num_pruned <= below_b or self.stride > 1:
            return None
        threshold = self.merged().kthvalue(num_pruned - up_to_a).values.item()
        below, ties = [0] * len(self.between), [0] * len(self.between)
        for owner, piece in zip(self.owners, self.values, strict=True):
            below[owner] += _count(piece < threshold)
            ties[owner] += _count(piece == threshold)
        return Cut(threshold, _sums(self.below_a, self.at_a, below), ties, num_pruned)

    def edges(self) -> tuple[int, int, int, int]:
        """How many values are < a, <= a, < b, <= b."""
        below_a, at_a, between, at_b = map(sum, (self.below_a, self.at_a, self.between, self.at_b))
        return below_a, below_a + at_a, below_a + at_a + between, below_a + at_a + between + at_b


@dataclass(frozen=True)
class _Interval:
    """The cut is known to lie strictly between `low` and `high`; `up_to_low` values are <= low, `below_high` < high."""

    low: float
    high: float
    up_to_low: int
    below_high: int

    def narrowed(self, counted: _Pass, num_pruned: int) -> "_Interval":
        below_a, up_to_a, below_b, up_to_b = counted.edges()
        if num_pruned <= below_a:
            return _Interval(self.low, counted.a, self.up_to_low, below_a)
        if num_pruned > up_to_b:
            return _Interval(counted.b, self.high, up_to_b, self.below_high)
        return _Interval(counted.a, counted.b, up_to_a, below_b)


class Ranking:
    """Scores to be cut at a count, the smallest first.

    Args:
        scores: name -> floating-point tensor, or function that computes it (the same values on every call).
        previous: name -> bool mask (True = kept) of the score's shape; pruned entries rank before all others.
        absolute: rank by absolute value.

    Raises:
        InputError: if `previous` has names that are not ranked; when read, for wrong dtypes and shapes.
    """

    def __init__(self, scores: Scores, *, previous: Mapping[str, Tensor] | None = None, absolute: bool = False) -> None:
        self.scores, self.previous, self.absolute = scores, previous or {}, absolute
        check_ranked(self.previous, scores)
        wide = any(not isinstance(s, Tensor) or s.dtype == torch.float64 for s in scores.values())
        self.dtype = torch.float64 if wide else torch.float32

    def tensors(self) -> Iterator[tuple[str, Tensor, Tensor | None]]:
        for name, score in self.scores.items():
            tensor = tensor_of(score)
            if not tensor.is_floating_point():
                raise InputError(f"{name}: scores must be floating point to be ranked; got {tensor.dtype}")
            kept = self.previous.get(name)
            if kept is not None and (kept.shape != tensor.shape or kept.dtype != torch.bool):
                raise InputError(
                    f"{name}: the previous mask must be a bool tensor of shape {tuple(tensor.shape)}; got "
                    f"{kept.dtype} of shape {tuple(kept.shape)}"
                )
            yield name, tensor, None if kept is None else kept.to(tensor.device)

    def chunks(self, tensor: Tensor, kept: Tensor | None) -> Iterator[Tensor]:
        """Pieces of `tensor` in flat order and ranking dtype, pruned entries at -inf.

        A piece lives in a buffer that the next one overwrites, so that it stays in the cache.
        """
        buffer = torch.empty(min(CHUNK, tensor.numel()), dtype=self.dtype, device=tensor.device)
        for piece, mask in _pieces(tensor, kept):
            chunk = buffer[: piece.numel()]
            if self.absolute and piece.dtype == self.dtype:
                torch.abs(piece, out=chunk)
            elif self.absolute:
                chunk.copy_(piece).abs_()
            else:
                chunk.copy_(piece)
            yield chunk if mask is None else chunk.masked_fill_(~mask, -math.inf)

    def survey(self) -> _Pass:
        """The first reading: sizes, pruned entries (counted at -inf), refusal of NaN, and a sample of the rest."""
        counted = _Pass(-math.inf, math.inf)
        for name, tensor, kept in self.tensors():
            counted.next_tensor()
            for piece, mask in _pieces(tensor, kept):
                if not math.isfinite(piece.sum(dtype=self.dtype).item()):  # may be an overflow, so look closely
                    require_finite(name, tensor)
                alive = piece if mask is None else piece[mask]
                counted.add(0, piece.numel() - alive.numel(), alive, 0, self.ranked)
        return counted

    def ranked(self, values: Tensor) -> Tensor:
        """A copy of the values as they are ranked."""
        return values.to(self.dtype).abs() if self.absolute else values.to(self.dtype, copy=True)

    def count(self, a: float, b: float) -> _Pass:
        """One reading around the pivots a <= b."""
        counted = _Pass(a, b)
        for _, tensor, kept in self.tensors():
            counted.next_tensor()
            for chunk in self.chunks(tensor, kept):
                not_below = chunk >= a
                closed = chunk[not_below & (chunk <= b)]
                at_b = _count(closed == b) if b > a else 0
                between = closed[(closed > a) & (closed < b)]
                counted.add(chunk.numel() - _count(not_below), _count(closed == a), between, at_b, Tensor.clone)
        return counted

    def cut(self, num_pruned: int) -> Cut:
        """Where to cut so that exactly `num_pruned` entries are pruned, the previously pruned ones included.

        Raises:
            InputError: for NaN or infinite scores, and for a count below the previous one or above the size.
        """
        counted = self.survey()
        num_before, num_weights = sum(counted.at_a), counted.edges()[3]
        _check_count(num_pruned, num_before, num_weights)
        if num_pruned == num_before:
            return Cut(None, [0] * len(counted.at_a), counted.at_a, num_pruned)
        interval = _Interval(-math.inf, math.inf, num_before, num_weights)
        sample = counted.merged()
        for passes in itertools.count(1):
            if (found := counted.cut(num_pruned)) is not None:
                return found
            interval = interval.narrowed(counted, num_pruned)
            if (interval.low, interval.high) == (counted.a, counted.b):
                sample = counted.merged()  # finer than the sample the pivots came from
            sample = sample[(sample > interval.low) & (sample < interval.high)]
            counted.values.clear()  # they would double the memory of what follows
            a, b = _pivots(interval, num_pruned, sample, halve=passes > PIVOT_PASSES)
            counted = self.count(a, b)
        raise AssertionError("unreachable: every pass narrows the interval")


def check_ranked(previous: Mapping[str, Tensor], ranked: Mapping[str, object]) -> None:
    """Refuse previous masks of parameters that are not ranked now.

    Raises:
        InputError: naming them.
    """
    if unranked := sorted(set(previous) - set(ranked)):
        raise InputError(
            f"the previous masks cover {', '.join(unranked)}, which are not ranked now, so what they prune would come "
            "back; rank the same parameters, or drop those names from the previous masks"
        )


def _count(condition: Tensor) -> int:
    return int(torch.count_nonzero(condition))


def _sums(*counts: list[int]) -> list[int]:
    return [sum(column) for column in zip(*counts, strict=True)]


def _pieces(tensor: Tensor, kept: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor | None]]:
    """The entries and their mask in flat (row-major) order, `CHUNK` or fewer at a time; not copied if contiguous."""
    flat, start = None if kept is None else kept.contiguous().view(-1), 0
    parts: Iterable[Tensor] = (tensor,)
    if not tensor.is_contiguous():  # channels_last and the like: a few rows are copied at a time
        parts = torch.split(tensor, max(1, CHUNK * len(tensor) // tensor.numel()))
    for part in parts:
        for piece in torch.split(part.reshape(-1), CHUNK):
            yield piece, None if flat is None else flat[start : start + piece.numel()]
            start += piece.numel()


def _pivots(interval: _Interval, num_pruned: int, sample: Tensor, *, halve: bool) -> tuple[float, float]:
    """Where to look next: two sample values that bracket the cut with room for the sample's own error."""
    inside = interval.below_high - interval.up_to_low
    if inside <= SAMPLE:  # few enough to hold them all
        return interval.low, interval.high
    size = sample.numel()
    if halve or size == 0:
        middle = middle_float(interval.low, interval.high, sample.dtype)
        return middle, middle
    fraction = (num_pruned - interval.up_to_low) / inside
    margin = PIVOT_SIGMAS * math.sqrt(size * fraction * (1 - fraction)) + 2
    low = max(1, math.floor(size * fraction - margin))
    high = min(size, math.ceil(size * fraction + margin))
    return sample.kthvalue(low).values.item(), sample.kthvalue(high).values.item()


def middle_float(low: float, high: float, dtype: torch.dtype) -> float:
    """The number half-way from `low` to `high` in the order of the representable ones (float32 or float64).

    Read as an integer, the bits of a non-negative float grow with its value; for negative ones the order is reversed.
    """
    whole = torch.int32 if dtype == torch.float32 else torch.int64
    largest = torch.iinfo(whole).max
    bits = torch.tensor([low, high], dtype=dtype).view(whole).tolist()
    middle = sum(k if k >= 0 else -(k & largest) for k in bits) // 2
    code = middle if middle >= 0 else -middle - largest - 1
    return float(torch.tensor(code, dtype=whole).view(dtype).item())


def tensor_of(score: Tensor | Callable[[], Tensor]) -> Tensor:
    """The tensor, computed if need be, outside autograd."""
    return (score if isinstance(score, Tensor) else score()).detach()


def require_finite(name: str, tensor: Tensor) -> None:
    """Refuse NaN and infinity, which have no rank.

    Raises:
        InputError: naming the tensor and how many there are.
    """
    if bad := sum(_count(~piece.isfinite()) for piece, _ in _pieces(tensor)):
        raise InputError(
            f"{name}: {bad} of {tensor.numel()} values are NaN or infinite and cannot be ranked; training diverged or "
            "the checkpoint is damaged, so go back to finite weights before pruning"
        )


def _check_count(num_pruned: int, num_before: int, num_weights: int) -> None:
    if not 0 <= num_pruned <= num_weights:
        raise InputError(f"the number to prune must lie between 0 and the {num_weights} entries; got {num_pruned}")
    if num_pruned < num_before:
        raise InputError(
            f"the previous masks already prune {num_before} of {num_weights} entries, more than the target of "
            f"{num_pruned}; pruned entries are never revived, so ask for a sparsity of at least "
            f"{num_before / num_weights:.6g}"
        )
