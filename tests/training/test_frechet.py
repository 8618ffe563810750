"""The Frechet distance: closed forms, a second implementation, and what it refuses."""

import numpy as np
import pytest
import torch
from torch import Tensor

from paretorch.errors import InputError
from paretorch.training.tasks.generative.frechet import frechet_distance, moments


def random_moments(size: int, *, seed: int, rank: int | None = None) -> tuple[Tensor, Tensor]:
    stream = torch.Generator().manual_seed(seed)
    root = torch.randn(size, rank or 2 * size, generator=stream, dtype=torch.float64)
    return torch.randn(size, generator=stream, dtype=torch.float64), root @ root.T / root.shape[1]


def test_moments_are_the_mean_and_the_unbiased_covariance() -> None:
    features = torch.randn(50, 4)
    mean, covariance = moments(features)
    assert mean.dtype == covariance.dtype == torch.float64
    np.testing.assert_allclose(mean, features.double().numpy().mean(0), rtol=1e-12)
    np.testing.assert_allclose(covariance, np.cov(features.double().numpy().T), rtol=1e-12)


def test_equal_gaussians_are_at_distance_zero() -> None:
    for seed in range(5):
        first = random_moments(6, seed=seed)
        assert 0 <= frechet_distance(first, first) < 1e-10


def test_a_translation_is_at_its_squared_length() -> None:
    mean, covariance = random_moments(3, seed=0)
    shift = torch.tensor([1.0, -2.0, 2.0], dtype=torch.float64)
    assert frechet_distance((mean, covariance), (mean + shift, covariance)) == pytest.approx(9.0, rel=1e-10)


def test_diagonal_covariances_give_the_squared_difference_of_deviations() -> None:
    first, second = torch.tensor([1.0, 4.0, 0.25]).double(), torch.tensor([9.0, 4.0, 0.0]).double()
    zero = torch.zeros(3, dtype=torch.float64)
    expected = float((first.sqrt() - second.sqrt()).square().sum())
    assert frechet_distance((zero, first.diag()), (zero, second.diag())) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("rank", [None, 3])
def test_any_covariances_agree_with_the_matrix_square_root_of_scipy(rank: int | None) -> None:
    from scipy.linalg import sqrtm

    for seed in range(3):
        (mean1, cov1), (mean2, cov2) = random_moments(8, seed=seed), random_moments(8, seed=seed + 10, rank=rank)
        root = np.real(sqrtm((cov1 @ cov2).numpy()))
        expected = float((mean1 - mean2).square().sum()) + float(np.trace((cov1 + cov2).numpy() - 2 * root))
        found = frechet_distance((mean1, cov1), (mean2, cov2))
        # The root of an eigenvalue that should be 0 is only good to the square root of the machine's precision.
        tolerance = 1e-9 if rank is None else 1e-6
        assert found == pytest.approx(expected, rel=tolerance)
        assert found == pytest.approx(frechet_distance((mean2, cov2), (mean1, cov1)), rel=tolerance)


def test_the_estimate_is_biased_upwards_by_less_the_more_samples_there_are() -> None:
    found = {}
    for count in (50, 200, 800):
        stream = torch.Generator().manual_seed(1)
        pairs = [[moments(torch.randn(count, 10, generator=stream)) for _ in range(2)] for _ in range(20)]
        found[count] = sum(frechet_distance(*pair) for pair in pairs) / len(pairs)
    assert found[50] > 2 * found[200] > 4 * found[800] > 0


def test_moments_that_are_not_finite_give_nan() -> None:
    mean, covariance = random_moments(3, seed=0)
    bad = covariance.clone()
    bad[0, 0] = torch.inf
    assert np.isnan(frechet_distance((mean, covariance), (mean, bad)))
    assert np.isnan(frechet_distance((mean * torch.nan, covariance), (mean, covariance)))


@pytest.mark.parametrize("shape", [(1, 3), (5,), (2, 3, 4)])
def test_too_few_vectors_or_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"features \(n, d\) with n of at least 2; got shape \(" + str(shape[0])):
        moments(torch.zeros(shape))


def test_moments_of_other_features_are_refused() -> None:
    with pytest.raises(InputError, match=r"got shapes \[\(3,\), \(3, 3\), \(4,\), \(4, 4\)\]"):
        frechet_distance(random_moments(3, seed=0), random_moments(4, seed=0))
