"""Numbers in words: percentages for accuracies, points for their differences, thousands separated, sides of a sign.

Other metrics (losses, distances) are written with four significant digits and half widths with two, and the words say
which direction is better.

Only spelling happens here; what may be said is decided in `verdict`.
"""

from collections.abc import Mapping
from typing import Any

from paretorch.evidence.statistics import Interval

_FRACTIONS = ("accuracy", "top1", "top5", "f1")
_DIGITS = 1
_OF = {"params": "parameters", "macs": "MACs", "activations": "activations", "width": "widths"}


class Metric:
    """How one metric is written: fractions such as accuracy as percentages, anything else as it is.

    Args:
        name: name of the metric, e.g. "accuracy", "balanced_accuracy", "perplexity".
        higher_is_better: its direction.
    """

    def __init__(self, name: str, *, higher_is_better: bool) -> None:
        self.name, self.higher_is_better = name.replace("_", " "), higher_is_better
        self.is_fraction = any(part in name.lower() for part in _FRACTIONS)
        self.factor = 100.0 if self.is_fraction else 1.0

    @property
    def axis(self) -> str:
        """Label of an axis, with the unit."""
        return f"{self.name} (%)" if self.is_fraction else self.name

    @property
    def direction(self) -> str:
        """'higher is better' or 'lower is better'."""
        return f"{'higher' if self.higher_is_better else 'lower'} is better"

    def better(self, a: float, b: float) -> bool:
        """Whether `a` is a better value than `b`."""
        return a > b if self.higher_is_better else a < b

    def value(self, value: float) -> str:
        """'91.3 %' or '4.213'."""
        return f"{self.number(value)} %" if self.is_fraction else self.number(value)

    def number(self, value: float) -> str:
        """As `value`, without the unit."""
        return f"{value * self.factor:.{_DIGITS}f}" if self.is_fraction else plain(value, zeros=True)

    def half(self, interval: Interval) -> str:
        """'0.4', half the width of an interval; it must have one."""
        assert interval.half_width is not None
        return (
            self.number(interval.half_width) if self.is_fraction else plain(interval.half_width, digits=2, zeros=True)
        )

    def mean(self, interval: Interval) -> str:
        """'91.3 % (± 0.4, 3 seeds, low-n)'."""
        return f"{self.value(interval.mean)} ({self.spread(interval)})"

    def spread(self, interval: Interval) -> str:
        """'± 0.4, 3 seeds, low-n'; with one seed there is no ±."""
        parts = [] if interval.half_width is None else [f"± {self.half(interval)}"]
        parts.append(seeds(interval.n))
        return ", ".join([*parts, "low-n"] if interval.low_n else parts)

    def difference(self, value: float) -> str:
        """'6.1 points more', '0.3 points less', '0.20 lower (better)'."""
        if self.is_fraction:
            return f"{abs(value) * 100:.{_DIGITS}f} points {'more' if value > 0 else 'less'}"
        better = (value > 0) == self.higher_is_better
        return f"{plain(abs(value), digits=3)} {'higher' if value > 0 else 'lower'} ({'better' if better else 'worse'})"

    def signed(self, interval: Interval) -> str:
        """'+6.1 (4.0 to 8.2)'; with one seed '+6.1'."""
        mean = f"{interval.mean * self.factor:+.{_DIGITS}f}" if self.is_fraction else f"{interval.mean:+.3g}"
        return minus(mean) if interval.low is None else f"{minus(mean)} ({self.ends(interval)})"

    def ends(self, interval: Interval) -> str:
        """'4.0 to 8.2', the ends of a difference."""
        assert interval.low is not None
        assert interval.high is not None
        low, high = (
            self.number(end) if self.is_fraction else plain(end, digits=3) for end in (interval.low, interval.high)
        )
        return f"{minus(low)} to {minus(high)}"


def seeds(n: int) -> str:
    """'1 seed', '3 seeds'."""
    return plural(n, "seed")


def plural(n: float, noun: str) -> str:
    """'1 epoch', '2 epochs', '0.5 epochs', '12 runs', '2.75 epochs': at most two decimals."""
    return f"{round(n, 2):g} {noun}{'' if n == 1 else 's'}"


def minus(text: str) -> str:
    """With the typographic minus sign, and no sign on a number that rounds to zero."""
    if text.startswith("-"):
        return text[1:] if not text.strip("-0.") else "\N{MINUS SIGN}" + text[1:]
    return text


def plain(value: float, *, digits: int = 4, zeros: bool = False) -> str:
    """A number of any size with so many significant digits: '0.01234', '4.213', '12 346', '1.2e-05'.

    With `zeros`, trailing zeros stay, '4.200', so that the numbers of a column can be compared by eye.
    """
    if abs(value) >= 10**4:
        return grouped(value)
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:.0f}"
    return f"{value:{'#' if zeros else ''}.{digits}g}".removesuffix(".")


def percent(fraction: float) -> str:
    """'90 %', '99.5 %'."""
    return f"{fraction * 100:.4g} %"


def grouped(value: float) -> str:
    """Thousands apart by a narrow no-break space: 1 234 567."""
    return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def ratio(interval: Interval) -> str:
    """'1.022 (0.991 to 1.054)' for a ratio; with one value '1.022'."""
    ends = "" if interval.low is None or interval.high is None else f" ({interval.low:.3f} to {interval.high:.3f})"
    return f"{interval.mean:.3f}{ends}"


def listing(items: list[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def factor(name: str, value: Any) -> str:
    """One factor of a group: '90 % sparsity', '50 % of the MACs', '2 retraining epochs', 'allocation erk'."""
    if name == "sparsity" and _is_number(value):
        return f"{percent(value)} sparsity"
    if name in _OF and _is_number(value):
        return f"{percent(value)} of the {_OF[name]}"
    if name == "epochs" and _is_number(value):
        return plural(value, "retraining epoch")
    if name == "cycles" and _is_number(value):
        return plural(value, "cycle")
    if name in ("method", "schedule"):
        return str(value)
    return f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"


def setting(group: Mapping[str, Any]) -> str:
    """The factors of a group joined for a sentence: '90 % sparsity and 2 retraining epochs'."""
    return listing([factor(name, value) for name, value in group.items()]) if group else "the same settings"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
