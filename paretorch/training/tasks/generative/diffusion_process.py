"""Noise that is added to images step by step, and its removal: denoising diffusion.

    x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) eps                    a_t: what is left of the image's variance after step t

Training: eps is predicted from x_t and t (Ho, Jain and Abbeel 2020, eq. 14). Sampling without noise (DDIM, Song, Meng
and Ermon 2021, eq. 12 with sigma = 0), from the last of a few evenly spaced times to the first:

    x_0' = (x_t - sqrt(1 - a_t) eps') / sqrt(a_t)              x_s = sqrt(a_s) x_0' + sqrt(1 - a_s) eps'

x_0' is clipped to [-1, 1] and eps' computed again from it, as in the code of Dhariwal and Nichol 2021: at the last
times a_t is close to 0, and a small error of eps' would be a huge one of x_0'.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from paretorch.errors import InputError

COSINE_OFFSET = 0.008
MAX_BETA = 0.999


def cosine_signal(num_times: int) -> Tensor:
    """a_t (num_times,) of Nichol and Dhariwal 2021, eq. 17: the squared cosine of a line, each step at most 0.999."""
    line = (torch.arange(num_times + 1, dtype=torch.float64) / num_times + COSINE_OFFSET) / (1 + COSINE_OFFSET)
    curve = (line * math.pi / 2).cos().square()
    return (1 - (1 - curve[1:] / curve[:-1]).clamp_max(MAX_BETA)).cumprod(0).float()


def linear_signal(num_times: int) -> Tensor:
    """a_t (num_times,) of Ho et al. 2020, section 4: noise variances rise from 1e-4 to 0.02 over 1,000 steps."""
    scale = 1000 / num_times  # fewer steps add as much noise in all
    betas = torch.linspace(1e-4 * scale, 0.02 * scale, num_times, dtype=torch.float64).clamp_max(MAX_BETA)
    return (1 - betas).cumprod(0).float()


SIGNALS: dict[str, Callable[[int], Tensor]] = {"cosine": cosine_signal, "linear": linear_signal}


def add_noise(images: Tensor, noise: Tensor, signal: Tensor) -> Tensor:
    """x_t of images (n, ...), noise of their shape, and a_t per image (n,)."""
    share = signal.view(-1, *[1] * (images.dim() - 1))
    return share.sqrt() * images + (1 - share).sqrt() * noise


def sampling_times(num_times: int, num_steps: int) -> list[int]:
    """`num_steps` evenly spaced times from the last, `num_times - 1`, down to 0; a single step has only the last.

    Raises:
        InputError: for fewer than one step, or more than there are times.
    """
    if not 1 <= num_steps <= num_times:
        raise InputError(f"sampling_steps must be between 1 and {num_times}, the number of times; got {num_steps}")
    return torch.linspace(num_times - 1, 0, num_steps, dtype=torch.float64).round().long().tolist()


def ddim(predict: Callable[[Tensor, Tensor], Tensor], noise: Tensor, *, signal: Tensor, num_steps: int) -> Tensor:
    """Images in [-1, 1] from `noise` (n, ...), a function of it without further random numbers.

    Args:
        predict: the noise in x_t (n, ...) at times t (n,) int64, as of `add_noise`.
        noise: standard normal numbers.
        signal: a_t of every time.
        num_steps: calls of `predict`.

    Raises:
        InputError: as `sampling_times`.
    """
    times = sampling_times(len(signal), num_steps)
    x, clean = noise, noise
    for now, after in zip(times, [*times[1:], None], strict=True):
        a = float(signal[now])
        epsilon = predict(x, torch.full((len(x),), now, device=x.device)).float()
        clean = ((x - (1 - a) ** 0.5 * epsilon) / a**0.5).clamp(-1, 1)
        if after is not None:
            epsilon = (x - a**0.5 * clean) / (1 - a) ** 0.5
            x = float(signal[after]) ** 0.5 * clean + (1 - float(signal[after])) ** 0.5 * epsilon
    return clean
