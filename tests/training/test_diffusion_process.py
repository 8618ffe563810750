"""Diffusion: the schedules against their formulas, and sampling with noise predictors that are known to be right."""

import math

import pytest
import torch
from torch import Tensor

from paretorch.errors import InputError
from paretorch.training.tasks.generative.diffusion_process import (
    add_noise,
    cosine_signal,
    ddim,
    linear_signal,
    sampling_times,
)


def test_the_cosine_schedule_is_the_published_formula() -> None:
    def published(t: int) -> float:
        return math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2

    signal = cosine_signal(1000)
    for t in (1, 10, 500, 990):
        assert float(signal[t - 1]) == pytest.approx(published(t) / published(0), rel=1e-5)
    assert float(signal[999] / signal[998]) == pytest.approx(0.001, rel=1e-3), "the last step is cut at beta = 0.999"


def test_the_linear_schedule_is_the_product_of_the_published_variances() -> None:
    product = 1.0
    for t in range(1000):
        product *= 1 - (1e-4 + (0.02 - 1e-4) * t / 999)
    assert float(linear_signal(1000)[-1]) == pytest.approx(product, rel=1e-5)
    few = math.log(linear_signal(100)[-1])
    assert few == pytest.approx(math.log(product), rel=0.1), "fewer steps add as much noise in all"


@pytest.mark.parametrize("schedule", [cosine_signal, linear_signal])
def test_noise_takes_the_place_of_the_image_and_keeps_the_variance(schedule) -> None:
    signal = schedule(1000)
    assert (signal.diff() < 0).all()
    assert signal[0] > 0.999
    assert 0 < signal[-1] < 1e-4
    noisy = add_noise(torch.full((3, 1, 2, 2), 2.0), torch.full((3, 1, 2, 2), 4.0), torch.tensor([1.0, 0.0, 0.36]))
    assert noisy[:, 0, 0, 0].tolist() == pytest.approx([2.0, 4.0, 0.6 * 2 + 0.8 * 4])


@pytest.mark.parametrize("num_steps", [1, 2, 7, 50])
@pytest.mark.parametrize("schedule", [cosine_signal, linear_signal])
def test_with_the_true_noise_of_one_image_sampling_returns_this_image(schedule, num_steps: int) -> None:
    """If all data are one image, the best prediction of the noise is the noise that leads from it to x_t."""
    image, signal = torch.rand(1, 1, 4, 4) * 2 - 1, schedule(1000)

    def predict(x: Tensor, times: Tensor) -> Tensor:
        a = signal[times][:, None, None, None]
        return (x - a.sqrt() * image) / (1 - a).sqrt()

    made = ddim(predict, torch.randn(5, 1, 4, 4), signal=signal, num_steps=num_steps)
    # With one step, rounding of x_t is divided by sqrt(a) of the last time: 5e-5 for the cosine, 6e-3 for the line.
    tolerance = 1e-5 if num_steps > 1 else 1e-6 / float(signal[-1].sqrt())
    torch.testing.assert_close(made, image.expand(5, -1, -1, -1), rtol=0, atol=tolerance)


def test_with_the_best_predictor_of_gaussian_data_sampling_scales_the_noise_to_their_deviation() -> None:
    """For data N(0, s^2) the best prediction is sqrt(1 - a) x / (a s^2 + 1 - a), and the exact flow maps z to s z."""
    deviation, signal, noise = 0.2, cosine_signal(1000), torch.randn(200, 1, 3, 3)

    def predict(x: Tensor, times: Tensor) -> Tensor:
        a = signal[times][:, None, None, None]
        return (1 - a).sqrt() * x / (a * deviation**2 + 1 - a)

    errors = {}
    for num_steps in (10, 100, 1000):
        made = ddim(predict, noise, signal=signal, num_steps=num_steps)
        errors[num_steps] = float((made - deviation * noise).abs().max() / deviation)
    assert errors[1000] < 0.02
    assert errors[10] > errors[100] > errors[1000]


def test_the_predictor_sees_evenly_spaced_times_from_the_last_to_the_first() -> None:
    seen = []

    def predict(x: Tensor, times: Tensor) -> Tensor:
        seen.append(times.tolist())
        return torch.zeros_like(x)

    ddim(predict, torch.zeros(2, 1, 1, 1), signal=cosine_signal(1000), num_steps=4)
    assert seen == [[999, 999], [666, 666], [333, 333], [0, 0]]
    assert sampling_times(5, 5) == [4, 3, 2, 1, 0]


def test_wild_predictions_stay_in_the_range_of_images() -> None:
    made = ddim(
        lambda x, times: 100 * torch.randn_like(x), torch.randn(3, 1, 4, 4), signal=cosine_signal(1000), num_steps=5
    )
    assert made.abs().max() <= 1


def test_after_clipping_the_next_image_is_made_with_the_noise_that_leads_from_the_clipped_one() -> None:
    signal, noise, seen = linear_signal(1000), torch.randn(3, 1, 2, 2), []

    def predict(x: Tensor, times: Tensor) -> Tensor:
        seen.append(x)
        return torch.zeros_like(x)

    ddim(predict, noise, signal=signal, num_steps=2)
    last, first = signal[999], signal[0]
    clipped = noise.sign()  # x_0' = noise / sqrt(a) is far beyond the range
    epsilon = (noise - last.sqrt() * clipped) / (1 - last).sqrt()
    torch.testing.assert_close(seen[1], first.sqrt() * clipped + (1 - first).sqrt() * epsilon)


@pytest.mark.parametrize("num_steps", [0, 1001])
def test_number_of_steps_out_of_range_is_refused(num_steps: int) -> None:
    with pytest.raises(InputError, match=rf"sampling_steps must be between 1 and 1000.*got {num_steps}"):
        sampling_times(1000, num_steps)
