"""How many examples get another answer: two models of one accuracy may be right about different examples.

    rate = #(predicted class differs) / n,   Wilson's 95 % interval (Wilson 1927)

At least |difference of the accuracies|. Two dense models that differ only in their seed disagree too; that rate, not 0,
is what a candidate's is to be held against.
"""

from torch import Tensor

from paretorch.evidence.statistics import rate_interval


def disagreement(dense: Tensor, candidate: Tensor, *, confidence: float = 0.95) -> dict[str, float]:
    """The fraction of examples on which two models differ, with its interval.

    Args:
        dense, candidate: (n,) int64, predicted classes of the same examples.
        confidence: nominal coverage of the interval, in (0, 1).

    Returns:
        "rate", "low" and "high", in [0, 1].
    """
    rate = rate_interval(int((dense != candidate).sum()), len(dense), confidence=confidence)
    assert rate.low is not None
    assert rate.high is not None
    return {"rate": rate.mean, "low": rate.low, "high": rate.high}
