"""Spoken digits: the Free Spoken Digit Dataset (Jackson et al., github.com/Jakobovski/free-spoken-digit-dataset).

3,000 recordings at 8 kHz, six speakers, fifty takes of each digit. Takes 0-4 test, as upstream has it; takes 5-9 are
held out for every choice and takes 10-49 train, so each part has every speaker and digit equally often. Takes of one
speaker resemble each other; `held_out_speaker` asks the harder question, how the model does on a voice it never heard.

A recording is cut off after 1.04 s (17 of the 3,000 are longer) or followed by silence, divided by its peak, because
the speakers' loudness differs forty-fold, and seen as a log-magnitude spectrogram of 128 bins and 64 frames.
"""

from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from paretorch.errors import InputError
from paretorch.training.data import ArrayExamples, Batch
from paretorch.training.models.audio_cnn import AudioCNN
from paretorch.training.supervised import SupervisedTask
from paretorch.training.tasks.limits import limited
from paretorch.training.tasks.missing import data_folder
from paretorch.training.tasks.references import majority_class
from paretorch.training.tasks.speech.spectrogram import BINS, log_spectrogram, num_samples
from paretorch.training.tasks.speech.spoken_recordings import Recordings, read_recordings

FRAMES = 64
SAMPLES = num_samples(FRAMES)
REMEDY = "run git clone https://github.com/Jakobovski/free-spoken-digit-dataset <data>/audio_fsdd"


class SpokenDigits(SupervisedTask):
    """The spoken-digits task.

    Args:
        data: the data folder, which holds `audio_fsdd/` with `recordings/*.wav` or `fsdd.npz`.
        width: channels of the network's first block.
        held_out_speaker: test on all takes of this speaker and train on the others (takes 5-9 of theirs choose); None
            for upstream's split by take.
        train_limit: use only the first so many training recordings, which are in random order with a fixed seed.

    Raises:
        InputError: for missing or damaged data, an unknown speaker, a part without recordings, or numbers out of range.
    """

    def __init__(
        self,
        *,
        data: Path | str | None,
        width: int = 16,
        held_out_speaker: str | None = None,
        train_limit: int | None = None,
    ) -> None:
        if width < 1:
            raise InputError(f"width is a number of channels, 1 or more; got {width}")
        folder = data_folder(data, "audio_fsdd", task="spoken-digits", remedy=REMEDY)
        recordings = read_recordings(folder, remedy=REMEDY)
        train, held, test = _parts(recordings, held_out_speaker)
        if 0 in (sizes := (len(train), len(held), len(test))):
            raise InputError(f"{folder} gives {sizes} recordings to train, choose and test; download it again")
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
        whole = ArrayExamples(
            inputs=torch.stack([_fixed_length(samples) for samples in recordings.audio]),
            targets=torch.tensor([one.digit for one in recordings.about]),
        )
        self._train_labels = whole.tensors["targets"][train]
        super().__init__(
            partial(AudioCNN, width=width, bins=BINS),
            train=whole.subset(limited(train[order], train_limit)),
            evaluation=whole.subset(held),
            test=whole.subset(test),
            name="spoken-digits",
        )

    def prepare(self, batch: Batch, *, training: bool, generator: torch.Generator) -> Batch:
        audio = batch["inputs"].float()
        peak = audio.abs().amax(1, keepdim=True).clamp_min(1)
        return batch | {"inputs": log_spectrogram(audio / peak)}

    def references(self) -> dict[str, float]:
        test = self.test_set().batch(torch.arange(len(self.test_set())))["targets"]
        return {"majority class": majority_class(self._train_labels, test)}


def _parts(recordings: Recordings, speaker: str | None) -> tuple[Tensor, Tensor, Tensor]:
    """Positions of the recordings that train, choose and test, each (n,) int64."""
    names = sorted({one.speaker for one in recordings.about})
    if speaker is not None and speaker not in names:
        raise InputError(f"there is no speaker {speaker!r}; choose from {', '.join(names)}")
    take = torch.tensor([one.take for one in recordings.about])
    of_speaker = torch.tensor([one.speaker == speaker for one in recordings.about])
    test = of_speaker if speaker is not None else take < 5
    held = (take >= 5) & (take < 10) & ~test
    return (~test & ~held).nonzero()[:, 0], held.nonzero()[:, 0], test.nonzero()[:, 0]


def _fixed_length(samples: np.ndarray) -> Tensor:
    """The first SAMPLES samples, followed by zeros where there are fewer; int16 (SAMPLES,)."""
    fixed = np.zeros(SAMPLES, np.int16)
    fixed[: len(samples)] = samples[:SAMPLES]
    return torch.from_numpy(fixed)
