"""How many examples get another answer: two models of one accuracy may be right about different examples.

    rate = #(predicted class differs) / n,   Wilson's 95 % interval (Wilson 1927)

At least |difference of the accuracies|. Two dense models that differ only in their seed disagree too; that rate, not 0,
is what a candidate's is to be held against.
"""

from torch import Tensor


def disagreement(dense: Tensor, candidate: Tensor, *, confidence: float = 0.95) -> dict[str, float]:
    """The fraction of examples on which two models differ, with its interval.

    Args:
        dense, candidate: (n,) int64, predicted classes of the same examples.
        confidence: nominal coverage of the interval, in (0, 1).

    Returns:
        "rate", "low" and "high", in [0, 1].
    """
    from scipy.stats import binomtest  # imported here: loading this module must stay light

    different = int((dense != candidate).sum())
    interval = binomtest(different, len(dense)).proportion_ci(confidence, method="wilson")
    return {"rate": different / len(dense), "low": float(interval.low), "high": float(interval.high)}
