"""Whether a model is right as often as it says: the expected calibration error.

    ECE = sum_b |B_b| / n * |acc(B_b) - conf(B_b)|,   B_b = examples with confidence in ((b - 1) / 15, b / 15]

over 15 bins of equal width; confidence is the largest softmax probability (Guo et al. 2017, "On calibration of modern
neural networks", equation 3, with the number of bins of their table 1). 0 is perfect. On few examples a perfect model's
ECE is above 0 too, because frequencies vary within the bins: compare figures on equally many examples only.
"""

import torch
from torch import Tensor

BINS = 15


def expected_calibration_error(confidence: Tensor, correct: Tensor, *, bins: int = BINS) -> float:
    """The ECE, in [0, 1].

    Args:
        confidence: (n,) float64, the probability given to the predicted class, in (0, 1].
        correct: (n,) bool, whether that class was right.
        bins: of equal width; the upper end belongs to a bin, the lower to the one before.
    """
    edges = torch.arange(1, bins, dtype=torch.float64) / bins
    place = torch.bucketize(confidence.double(), edges)
    gap = torch.zeros(bins, dtype=torch.float64).index_add_(0, place, correct.double() - confidence.double())
    return float(gap.abs().sum()) / len(confidence)
