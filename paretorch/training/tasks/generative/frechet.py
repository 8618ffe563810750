"""The Frechet distance between two sets of feature vectors, each summarised by its mean and covariance.

    d = |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))

It is the squared Wasserstein-2 distance of two Gaussians (Dowson and Landau 1982); Heusel et al. 2017 (GANs Trained by
a Two Time-Scale Update Rule, section 3) made it the usual distance between generated and real images. S1 S2 has the
eigenvalues of the symmetric R S2 R with R = S1^(1/2), so two symmetric eigenproblems in float64 are all it takes.

The estimate from n samples is biased upwards, by an amount that falls with n and depends on the model (Chong and
Forsyth 2020): only distances with equal n may be compared, and even real images against real images are not at 0.
"""

import torch
from torch import Tensor

from paretorch.errors import InputError

Moments = tuple[Tensor, Tensor]


def moments(features: Tensor) -> Moments:
    """Mean (d,) and unbiased covariance (d, d) of features (n, d), in float64 on the CPU.

    Raises:
        InputError: for fewer than two vectors, or another shape.
    """
    if features.dim() != 2 or len(features) < 2:
        raise InputError(f"moments need features (n, d) with n of at least 2; got shape {tuple(features.shape)}")
    values = features.detach().cpu().double()
    centred = values - values.mean(0)
    return values.mean(0), centred.T @ centred / (len(values) - 1)


def frechet_distance(first: Moments, second: Moments) -> float:
    """The distance of two Gaussians, at least 0; NaN if a moment is NaN or infinite.

    Args:
        first, second: mean (d,) and symmetric positive semi-definite covariance (d, d), float64.

    Raises:
        InputError: if the shapes do not fit.
    """
    (mean1, cov1), (mean2, cov2) = first, second
    size = len(mean1)
    if mean2.shape != (size,) or cov1.shape != (size, size) or cov2.shape != (size, size):
        shapes = [tuple(tensor.shape) for tensor in (mean1, cov1, mean2, cov2)]
        raise InputError(f"the Frechet distance needs means (d,) and covariances (d, d); got shapes {shapes}")
    if not all(bool(torch.isfinite(tensor).all()) for tensor in (mean1, cov1, mean2, cov2)):
        return float("nan")  # eigenvalues of such a matrix do not exist, and `evaluate` names the metric at fault
    values, vectors = torch.linalg.eigh(cov1)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    product = torch.linalg.eigvalsh(root @ cov2 @ root)
    # Rounding can push a zero eigenvalue, and the distance of equal moments, just below zero.
    overlap = product.clamp_min(0).sqrt().sum()
    return max(0.0, float((mean1 - mean2).square().sum() + cov1.trace() + cov2.trace() - 2 * overlap))
