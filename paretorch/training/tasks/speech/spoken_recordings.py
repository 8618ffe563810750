"""Reads the Free Spoken Digit Dataset: the official folder `recordings/*.wav`, or the same packed into `fsdd.npz`.

A recording is named `<digit>_<speaker>_<take>.wav` and holds mono 16-bit samples at 8 kHz. The packed file holds the
samples of all recordings one after the other (`audio`, int16), their bounds (`offset`, int64, one more than there are
recordings), and `label`, `speaker` and `take` of each. Both come back sorted by file name, so that they are equal.
"""

import re
import wave
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from paretorch.errors import InputError

RATE = 8000  # samples per second
_NAME = re.compile(r"(\d)_([^\W_]+)_(\d+)")
_MEMBERS = ("audio", "offset", "label", "speaker", "take")


@dataclass(frozen=True, order=True)
class Recording:
    """Whose it is: sorts as its file name does."""

    name: str
    digit: int
    speaker: str
    take: int


@dataclass(frozen=True)
class Recordings:
    """Recordings and their samples, int16 (length,) each."""

    about: list[Recording]
    audio: list[np.ndarray]

    @staticmethod
    def sorted(found: list[tuple[Recording, np.ndarray]], *, source: Path) -> "Recordings":
        """The recordings in the order of their names.

        Raises:
            InputError: for none, a silent file without samples, or one take that occurs twice.
        """
        if not found:
            raise InputError(f"{source} holds no recording <digit>_<speaker>_<take>.wav; download it again")
        ordered = sorted(found, key=lambda one: one[0])
        seen = set()
        for recording, samples in ordered:
            if len(samples) == 0:
                raise InputError(f"{source}: recording {recording.name} has no samples; download it again")
            take = (recording.digit, recording.speaker, recording.take)
            if take in seen:
                raise InputError(f"{source} holds {recording.name} twice: it could be both trained on and tested on")
            seen.add(take)
        return Recordings([one for one, _ in ordered], [samples for _, samples in ordered])


def read_recordings(folder: Path, *, remedy: str) -> Recordings:
    """What `folder` holds: `fsdd.npz`, or else `recordings/*.wav`.

    Raises:
        InputError: with the remedy if it holds neither; naming the file that is damaged or of another kind.
    """
    if (folder / "fsdd.npz").exists():
        return _packed(folder / "fsdd.npz")
    if not (folder / "recordings").is_dir():
        raise InputError(f"{folder} has neither fsdd.npz nor a folder recordings: {remedy}")
    files = sorted((folder / "recordings").glob("*.wav"))
    return Recordings.sorted([(_named(path.stem, path), _samples(path)) for path in files], source=folder)


def _named(name: str, path: Path) -> Recording:
    if (match := _NAME.fullmatch(name)) is None:
        raise InputError(f"{path} is not named <digit>_<speaker>_<take>.wav; remove it or name it so")
    return Recording(name=name, digit=int(match[1]), speaker=match[2], take=int(match[3]))


def _samples(path: Path) -> np.ndarray:
    try:
        with wave.open(str(path), "rb") as file:
            found = (file.getnchannels(), 8 * file.getsampwidth(), file.getframerate())
            expected_bytes = file.getnframes() * file.getnchannels() * file.getsampwidth()
            content = file.readframes(file.getnframes())
    except (wave.Error, EOFError, OSError) as error:
        raise InputError(f"{path} is not a readable wav file ({error}); download it again") from error
    if found != (1, 16, RATE):
        raise InputError(f"{path} has {found} channels, bits and samples per second; expected {(1, 16, RATE)}")
    if len(content) != expected_bytes:
        raise InputError(f"{path} ends after {len(content)} of {expected_bytes} bytes of sound; download it again")
    return np.frombuffer(content, dtype="<i2")


def _packed(path: Path) -> Recordings:
    arrays = _arrays(path)
    audio, offset = arrays["audio"], arrays["offset"]
    count = len(arrays["label"])
    if audio.dtype != np.int16 or audio.ndim != 1:
        raise InputError(f"{path}: audio must be int16 in one dimension; it is {audio.dtype} of shape {audio.shape}")
    if not len(offset) - 1 == count == len(arrays["speaker"]) == len(arrays["take"]):
        lengths = {name: len(arrays[name]) for name in _MEMBERS}
        raise InputError(f"{path}: its members have lengths {lengths}; offset needs one more than the others")
    if count == 0 or offset[0] != 0 or offset[-1] != len(audio) or (np.diff(offset) < 0).any():
        raise InputError(f"{path}: the bounds in offset do not rise from 0 to the {len(audio)} samples there are")
    found = []
    for position in range(count):
        name = "_".join(str(arrays[member][position]) for member in ("label", "speaker", "take"))
        found.append((_named(name, path), audio[offset[position] : offset[position + 1]]))
    return Recordings.sorted(found, source=path)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path} is not a readable npz file (cut off?); download it again")
    try:
        with np.load(path, allow_pickle=False) as archive:
            if missing := [name for name in _MEMBERS if name not in archive]:
                raise InputError(f"{path} has no member {missing[0]!r}; it has {sorted(archive)}")
            return {name: archive[name] for name in _MEMBERS}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is not a readable npz file ({error}); download it again") from error
