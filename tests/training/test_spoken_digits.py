"""Spoken digits: reading recordings, refusing damaged ones, parts without leakage, and spectrograms."""

import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import signal

from paretorch.errors import InputError
from paretorch.training.models.audio_cnn import AudioCNN
from paretorch.training.tasks.references import majority_class
from paretorch.training.tasks.registry import make_task
from paretorch.training.tasks.speech.spectrogram import BINS, HOP, WINDOW, log_spectrogram, num_samples
from paretorch.training.tasks.speech.spoken_digits import FRAMES, REMEDY, SAMPLES, SpokenDigits
from paretorch.training.tasks.speech.spoken_recordings import read_recordings

SPEAKERS, TAKES, DIGITS = ("ann", "bob"), (0, 4, 5, 9, 10, 11), (0, 7)


def sound(digit: int, speaker: str, take: int) -> np.ndarray:
    """Noise that no other recording has, of its own length and loudness."""
    stream = np.random.default_rng([digit, take, SPEAKERS.index(speaker)])
    return (stream.uniform(-1, 1, 500 + 40 * take) * (300 + 900 * take)).astype(np.int16)


ALL = [(digit, speaker, take) for digit in DIGITS for speaker in SPEAKERS for take in TAKES]
PACKED = sorted(ALL, key=lambda one: "_".join(map(str, one)))


def write_wav(path: Path, samples: np.ndarray, *, channels: int = 1, rate: int = 8000) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(samples.dtype.itemsize)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with 24 recordings as wav files: two digits, two speakers, six takes."""
    folder = tmp_path / "data" / "audio_fsdd" / "recordings"
    folder.mkdir(parents=True)
    for digit, speaker, take in ALL:
        write_wav(folder / f"{digit}_{speaker}_{take}.wav", sound(digit, speaker, take))
    return tmp_path / "data"


def members() -> dict[str, np.ndarray]:
    audio = [sound(*one) for one in PACKED]
    return {
        "audio": np.concatenate(audio),
        "offset": np.cumsum([0, *map(len, audio)]),
        "label": np.array([one[0] for one in PACKED], dtype=np.uint8),
        "speaker": np.array([one[1] for one in PACKED]),
        "take": np.array([one[2] for one in PACKED], dtype=np.uint8),
    }


def packed(tmp_path: Path, **changed: np.ndarray) -> Path:
    """A data folder with the same recordings in `fsdd.npz`, members replaced by `changed`."""
    folder = tmp_path / "packed" / "audio_fsdd"
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "fsdd.npz", **(members() | changed))
    return folder.parent


def takes_of(task: SpokenDigits) -> list[set[tuple[int, str, int]]]:
    """Which recordings are in the three parts, found by their samples."""
    by_samples = {sound(*one).tobytes(): one for one in ALL}
    parts = []
    for examples in (task.train_set(), task.eval_set(), task.test_set()):
        batch = examples.batch(torch.arange(len(examples)))
        found = set()
        for audio, label in zip(batch["inputs"].numpy(), batch["targets"].tolist(), strict=True):
            one = by_samples[np.trim_zeros(audio, "b").tobytes()]
            assert one[0] == label
            found.add(one)
        assert len(found) == len(examples)
        parts.append(found)
    return parts


def test_wav_folder_and_packed_file_are_read_alike(data: Path, tmp_path: Path) -> None:
    loose = read_recordings(data / "audio_fsdd", remedy="")
    dense = read_recordings(packed(tmp_path) / "audio_fsdd", remedy="")
    assert loose.about == dense.about
    assert [one.name for one in loose.about[:3]] == ["0_ann_0", "0_ann_10", "0_ann_11"], "in the order of file names"
    for one, first, second in zip(loose.about, loose.audio, dense.audio, strict=True):
        assert np.array_equal(first, second)
        assert np.array_equal(first, sound(one.digit, one.speaker, one.take))


def test_parts_are_upstream_s_by_take_and_share_no_recording(data: Path) -> None:
    train, held, test = takes_of(SpokenDigits(data=data))
    assert test == {one for one in ALL if one[2] in (0, 4)}
    assert held == {one for one in ALL if one[2] in (5, 9)}
    assert train == {one for one in ALL if one[2] in (10, 11)}


def test_held_out_speaker_is_heard_in_the_test_only(data: Path) -> None:
    train, held, test = takes_of(SpokenDigits(data=data, held_out_speaker="bob"))
    assert test == {one for one in ALL if one[1] == "bob"}
    assert held == {one for one in ALL if one[1] == "ann" and one[2] in (5, 9)}
    assert train == {one for one in ALL if one[1] == "ann" and one[2] in (0, 4, 10, 11)}


def test_training_can_be_limited_to_a_random_sample_that_is_the_same_each_time(data: Path) -> None:
    limited = takes_of(SpokenDigits(data=data, train_limit=6))[0]
    assert len(limited) == 6
    assert limited == takes_of(SpokenDigits(data=data, train_limit=6))[0]
    assert {one[0] for one in limited} == set(DIGITS), "not the first files, which are all of one digit"


def test_spectrogram_agrees_with_scipy() -> None:
    audio = np.random.default_rng(0).uniform(-0.3, 0.3, (2, num_samples(5)))
    transform = signal.ShortTimeFFT(signal.get_window("hann", WINDOW), HOP, fs=1)
    frames = transform.stft(audio, p0=1, p1=6)  # frame 1 is the first that lies within the samples
    expected = np.log10(1 + 1e4 * np.abs(frames[:, 1:]) / signal.get_window("hann", WINDOW).sum())
    found = log_spectrogram(torch.tensor(audio, dtype=torch.float32))
    assert found.shape == (2, 1, BINS, 5)
    np.testing.assert_allclose(found[:, 0].numpy(), expected, rtol=1e-4, atol=1e-4)


def test_tone_is_seen_in_its_bin_and_silence_is_exactly_zero() -> None:
    time = torch.arange(num_samples(3)) / 8000
    tone = torch.sin(2 * torch.pi * 1000 * time)[None]  # 1000 Hz is bin 32 of 31.25 Hz each, the 32nd without 0 Hz
    seen = log_spectrogram(tone)[0, 0]
    assert seen.argmax(0).tolist() == [31, 31, 31]
    torch.testing.assert_close(seen[31], torch.full((3,), 5001.0).log10())
    assert log_spectrogram(torch.zeros(1, num_samples(3))).abs().max() == 0


def test_loudness_does_not_matter_and_the_rest_is_silence(data: Path) -> None:
    task = SpokenDigits(data=data)
    batch = task.test_set().batch(torch.arange(len(task.test_set())))
    prepare = {"training": False, "generator": torch.Generator()}
    plain = task.prepare(batch, **prepare)["inputs"]  # type: ignore[arg-type]
    quiet = task.prepare(batch | {"inputs": batch["inputs"].float() / 7}, **prepare)["inputs"]  # type: ignore[arg-type]
    assert plain.shape == (len(task.test_set()), 1, BINS, FRAMES)
    torch.testing.assert_close(plain, quiet, atol=1e-4, rtol=1e-4)
    assert plain[..., 10:].abs().max() == 0, "660 samples fill the first frames"
    assert plain[..., :3].min() > 0
    silent = task.prepare({"inputs": torch.zeros(1, SAMPLES, dtype=torch.int16)}, **prepare)["inputs"]  # type: ignore[arg-type]
    assert silent.abs().max() == 0


def test_recording_that_is_too_long_is_cut_at_its_end(tmp_path: Path) -> None:
    folder = tmp_path / "audio_fsdd" / "recordings"
    folder.mkdir(parents=True)
    long = np.arange(1, SAMPLES + 101).astype(np.int16)
    for take in (0, 5, 10):
        write_wav(folder / f"3_ann_{take}.wav", long)
    stored = SpokenDigits(data=tmp_path).test_set().batch(torch.tensor([0]))["inputs"]
    assert np.array_equal(stored[0].numpy(), long[:SAMPLES])


def test_network_names_its_constructor_and_listens_to_frequency_and_time(data: Path) -> None:
    task = make_task("spoken-digits", options={"width": 4}, data=data)
    assert task.constructor() == ("paretorch.training.models.audio_cnn:AudioCNN", {"width": 4, "bins": BINS})
    model = task.model().eval()
    inputs = task.example_inputs()[0]
    assert model(inputs).shape == (1, 10)
    assert not torch.equal(model(inputs), model(inputs.flip(2)))
    assert not torch.equal(model(inputs), model(inputs.flip(3)))
    assert sum(p.numel() for p in AudioCNN().parameters()) == 9 * (16 + 16 * 32 + 32 * 64) + 2 * 112 + 512 * 10 + 10


def test_majority_class_is_that_of_training(data: Path) -> None:
    assert majority_class(torch.tensor([2, 2, 0, 1]), torch.tensor([0, 2, 0, 0])) == 0.25
    assert SpokenDigits(data=data).references() == {"majority class": 0.5}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width is a number of channels, 1 or more; got 0"),
        ({"held_out_speaker": "carl"}, "there is no speaker 'carl'; choose from ann, bob"),
        ({"train_limit": 9}, "train_limit must be between 1 and 8; got 9"),
    ],
)
def test_options_out_of_range_are_refused(data: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SpokenDigits(data=data, **options)  # type: ignore[arg-type]


def test_missing_data_are_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="spoken-digits needs its data folder and none was given: run git clone https"):
        SpokenDigits(data=None)
    (tmp_path / "audio_fsdd").mkdir()
    with pytest.raises(InputError, match=f"neither fsdd.npz nor a folder recordings: {REMEDY}"):
        SpokenDigits(data=tmp_path)
    (tmp_path / "audio_fsdd" / "recordings").mkdir()
    with pytest.raises(InputError, match=r"audio_fsdd holds no recording <digit>_<speaker>_<take>\.wav"):
        SpokenDigits(data=tmp_path)


def test_part_without_recordings_is_refused(data: Path) -> None:
    for path in (data / "audio_fsdd" / "recordings").glob("*_[59].wav"):
        path.unlink()
    with pytest.raises(InputError, match=r"gives \(8, 0, 8\) recordings to train, choose and test"):
        SpokenDigits(data=data)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:30]), "is not a readable wav file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-8]), r"ends after \d+ of \d+ bytes of sound"),
        (lambda path: path.write_bytes(b""), "is not a readable wav file"),
        (lambda path: write_wav(path, sound(0, "ann", 0)[:400], channels=2), r"has \(2, 16, 8000\) channels"),
        (lambda path: write_wav(path, sound(0, "ann", 0), rate=16000), r"\(1, 16, 16000\) .*expected \(1, 16, 8000\)"),
        (lambda path: write_wav(path, sound(0, "ann", 0).astype(np.uint8)), r"has \(1, 8, 8000\) channels"),
        (lambda path: write_wav(path, np.zeros(0, np.int16)), "recording 0_ann_0 has no samples"),
        (lambda path: path.rename(path.with_name("zero_ann_0.wav")), r"zero_ann_0\.wav is not named <digit>_"),
        (lambda path: write_wav(path.with_name("0_ann_00.wav"), sound(0, "ann", 4)), "holds 0_ann_00 twice"),
    ],
)
def test_damaged_wav_file_is_refused_by_name(data: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(data / "audio_fsdd" / "recordings" / "0_ann_0.wav")
    with pytest.raises(InputError, match=message):
        SpokenDigits(data=data)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"audio": members()["audio"].astype(np.float32)}, "audio must be int16 in one dimension; it is float32"),
        ({"take": members()["take"][:-1]}, "'take': 23}; offset needs one more than the others"),
        ({"offset": members()["offset"] + 1}, r"offset do not rise from 0 to the \d+ samples"),
        ({"offset": members()["offset"][::-1]}, "offset do not rise"),
        ({"label": members()["label"] + 10}, r"fsdd\.npz is not named <digit>_"),
        ({"take": np.zeros(24, np.uint8)}, "holds 0_ann_0 twice: it could be both trained on and tested on"),
        ({"speaker": np.array([None] * 24)}, r"is not a readable npz file \(Object arrays cannot be loaded"),
    ],
)
def test_packed_file_with_another_content_is_refused(
    tmp_path: Path, changed: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        SpokenDigits(data=packed(tmp_path, **changed))


def test_damaged_packed_file_is_refused_by_name(tmp_path: Path) -> None:
    data = packed(tmp_path)
    path = data / "audio_fsdd" / "fsdd.npz"
    content = path.read_bytes()
    spoiled = content[:200] + bytes(255 - byte for byte in content[200:300]) + content[300:]
    for damaged in (content[: len(content) // 2], b"", spoiled):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"fsdd\.npz is not a readable npz file .*download it again"):
            SpokenDigits(data=data)
    np.savez(path, **{name: value for name, value in members().items() if name != "speaker"})
    with pytest.raises(InputError, match=r"no member 'speaker'; it has \['audio', 'label', 'offset', 'take'\]"):
        SpokenDigits(data=data)


def test_real_data_have_the_published_counts(data_folder: Callable[[str], Path]) -> None:
    task = SpokenDigits(data=data_folder("audio_fsdd").parent)
    assert [len(part) for part in (task.train_set(), task.eval_set(), task.test_set())] == [2400, 300, 300]
    for part in (task.train_set(), task.eval_set(), task.test_set()):
        counts = part.batch(torch.arange(len(part)))["targets"].bincount()
        assert counts.tolist() == [len(part) // 10] * 10
    assert task.references() == {"majority class": 0.1}
