"""Log-magnitude spectrograms of short recordings, computed in torch on whatever device the samples are on.

    A[k, t] = |sum_n w[n] x[t * HOP + n] exp(-2 pi i k n / WINDOW)| / sum_n w[n],    F[k, t] = log10(1 + 10^4 A[k, t])

with a periodic Hann window w. A full-scale sine has A = 1/2; silence gives exactly 0, so zero padding in time or in a
convolution is silence; below about -80 dB the curve is flat. No statistic of the data enters. The bin of 0 Hz is left
out.
"""

import torch
from torch import Tensor

WINDOW, HOP = 256, 128  # samples: 32 and 16 ms at 8 kHz
BINS = WINDOW // 2


def num_samples(num_frames: int) -> int:
    """Samples that make `num_frames` frames without padding."""
    return WINDOW + (num_frames - 1) * HOP


def log_spectrogram(audio: Tensor) -> Tensor:
    """F (n, 1, BINS, frames), float32, of samples (n, samples) in [-1, 1], float32."""
    window = torch.hann_window(WINDOW, device=audio.device)
    spectrum = torch.stft(audio, WINDOW, HOP, window=window, center=False, return_complex=True)
    amplitude = spectrum[:, 1:].abs() / window.sum()
    return torch.log10(1 + 1e4 * amplitude).unsqueeze(1)
