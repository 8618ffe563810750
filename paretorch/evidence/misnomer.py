"""Whether different costs order the same models alike.

    tau_b(a, b) = (concordant - discordant pairs) / sqrt(pairs untied in a * pairs untied in b)

Parameters, operations and seconds contradict each other: sharing parameters saves no operation, zeros save no time
without a kernel that skips them, and a deep narrow model is slower than a wide one of equal operations. Where two costs
order a pair of models differently, a conclusion drawn from one of them must name it.

Source: Dehghani, Arnab, Beyer, Vaswani, Tay, "The efficiency misnomer" (arXiv:2110.12894).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

from paretorch.errors import InputError


@dataclass(frozen=True)
class Flip:
    """`cheaper` costs less than `dearer` by `cost`, and more by `other`."""

    cheaper: str
    dearer: str
    cost: str
    other: str


@dataclass(frozen=True)
class Orderings:
    """How the orderings of the same models by several costs agree.

    Args:
        tau: for each pair of costs Kendall's tau-b in [-1, 1], over the models that have both; None where fewer than
            two have, or where one of the costs is the same for all.
        flips: pairs of models that two costs order differently.
    """

    tau: dict[tuple[str, str], float | None]
    flips: tuple[Flip, ...]

    @property
    def warning(self) -> str | None:
        """What the reader must be told; None if no pair of models is ordered differently."""
        if not self.flips:
            return None
        parts = []
        for (cost, other), tau in self.tau.items():
            flips = [f"{f.cheaper} before {f.dearer}" for f in self.flips if (f.cost, f.other) == (cost, other)]
            if flips:
                parts.append(
                    f"{cost} puts {', '.join(flips)}, and {other} the other way round (Kendall's tau {tau:.2f})"
                )
        return (
            f"The order of the models depends on the cost: {'; '.join(parts)}. A conclusion that holds for one cost "
            "must name it."
        )


def cost_orderings(
    costs: Mapping[str, Mapping[str, float | None]], *, noise: Mapping[str, float] | None = None
) -> Orderings:
    """Compare the orderings of models by every pair of costs.

    Args:
        costs: model -> {cost: value}; all models name the same costs, None where one is not known.
        noise: cost -> relative uncertainty of a measured value, e.g. {"latency_s": 0.05}; two models that differ by no
            more than that fraction of the larger are not called flipped.

    Raises:
        InputError: fewer than two models or costs, models that name different costs, a value that is negative, NaN or
            infinite, or a noise that is not in [0, 1) or of an unknown cost.
    """
    names = _checked(costs, noise or {})
    tau: dict[tuple[str, str], float | None] = {}
    flips = []
    for cost, other in combinations(names, 2):
        known = {
            model: (a, b)
            for model, row in costs.items()
            if (a := row[cost]) is not None and (b := row[other]) is not None
        }
        tau[cost, other] = _tau(list(known.values()))
        for one, two in combinations(known, 2):
            first = _order(known[one][0], known[two][0], (noise or {}).get(cost, 0.0))
            second = _order(known[one][1], known[two][1], (noise or {}).get(other, 0.0))
            if first * second < 0:
                flips.append(Flip(*((one, two) if first < 0 else (two, one)), cost, other))
    return Orderings(tau, tuple(flips))


def _order(a: float, b: float, noise: float) -> int:
    """-1 if a is smaller beyond the noise, 1 if larger, else 0."""
    return 0 if abs(a - b) <= noise * max(a, b) else (a > b) - (a < b)


def _tau(pairs: list[tuple[float, float]]) -> float | None:
    columns = list(zip(*pairs, strict=True))
    if len(pairs) < 2 or any(len(set(column)) == 1 for column in columns):
        return None
    from scipy.stats import kendalltau  # imported here: loading this module must stay light

    return float(kendalltau(*columns).statistic)


def _checked(costs: Mapping[str, Mapping[str, float | None]], noise: Mapping[str, float]) -> list[str]:
    names = list(next(iter(costs.values()), {}))
    if len(costs) < 2 or len(names) < 2:
        raise InputError(f"orderings need at least two models and two costs, got {len(costs)} and {names}")
    for model, row in costs.items():
        if row.keys() != set(names):
            raise InputError(
                f"{model} names the costs {sorted(row)}, others {sorted(names)}; give unknown ones as None"
            )
        if bad := {name: v for name, v in row.items() if v is not None and not 0 <= v < math.inf}:
            raise InputError(f"{model}: costs must be finite and at least 0, got {bad}")
    if bad_noise := {name: v for name, v in noise.items() if name not in names or not 0 <= v < 1}:
        raise InputError(f"noise is a fraction in [0, 1) of one of the costs {sorted(names)}, got {bad_noise}")
    return names
