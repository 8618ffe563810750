"""The average of state dicts: exact identities, independence of order, and the refusals."""

import json
import subprocess
import sys
from fractions import Fraction
from itertools import permutations
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from paretorch.errors import ArtefactError, InputError
from paretorch.methods.averaging import streaming
from paretorch.methods.averaging.candidates import Candidate, StoredState
from paretorch.methods.averaging.streaming import average_files, average_state_dicts, file_candidate
from tests.methods.averaging.states import FLOATING, candidates, same_bits, state

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
DOUBLES = st.floats(allow_nan=False, allow_infinity=False)


def column(values: list[float], dtype: torch.dtype = torch.float64) -> list[dict[str, Tensor]]:
    """One state dict per value, with the one entry w."""
    return [{"w": torch.tensor([value], dtype=torch.float64).to(dtype)} for value in values]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 10])
def test_copies_that_are_equal_average_to_the_copy_bitwise(count: int) -> None:
    original = state(0)
    average = average_state_dicts(candidates([state(0) for _ in range(count)]))
    assert list(average) == list(original)
    for name, value in original.items():
        assert same_bits(average[name], value), name


@given(value=DOUBLES, count=st.integers(1, 20), dtype=st.sampled_from(FLOATING))
def test_any_value_averaged_with_itself_keeps_its_bits(value: float, count: int, dtype: torch.dtype) -> None:
    tensor = torch.tensor([value], dtype=torch.float64).to(dtype)
    if not torch.isfinite(tensor).all():
        return
    assert same_bits(average_state_dicts(candidates([{"w": tensor}] * count))["w"], tensor)


@given(values=st.lists(DOUBLES, min_size=2, max_size=6), data=st.data())
def test_the_average_has_the_same_bits_in_any_order_and_under_any_names(
    values: list[float], data: st.DataObject
) -> None:
    states = column(values)
    average = average_state_dicts(candidates(states))["w"]
    order = data.draw(st.permutations(range(len(values))))
    shuffled = [states[i] for i in order]
    assert same_bits(average, average_state_dicts(candidates(shuffled))["w"])  # other contents under each name
    named = candidates(states)
    assert same_bits(average, average_state_dicts([named[i] for i in order])["w"])  # the same in another order


@given(values=st.lists(DOUBLES, min_size=1, max_size=6))
def test_the_average_lies_between_the_smallest_and_the_largest_value(values: list[float]) -> None:
    assert min(values) <= float(average_state_dicts(candidates(column(values)))["w"]) <= max(values)


def test_a_sum_that_would_overflow_float64_still_gives_the_mean() -> None:
    values = [1.7e308, 1.7e308, 1e308]
    average = average_state_dicts(candidates(column(values)))["w"]
    assert float(average) == pytest.approx(float(sum(map(Fraction, values)) / 3), rel=1e-15)


@given(values=st.lists(FLOATS, min_size=1, max_size=9))
def test_the_average_is_the_exact_mean_up_to_the_rounding_of_float32(values: list[float]) -> None:
    average = average_state_dicts(candidates(column(values, torch.float32)))["w"]
    exact = sum(map(Fraction, values)) / len(values)
    size = sum(abs(Fraction(value)) for value in values)
    bound = Fraction(2) ** -24 * abs(exact) + Fraction(2) ** -149 + Fraction(2) ** -48 * size
    assert abs(Fraction(float(average)) - exact) <= bound


@given(
    pairs=st.lists(st.tuples(FLOATS, st.integers(0, 50)), min_size=1, max_size=5).filter(
        lambda pairs: sum(weight for _, weight in pairs) > 0
    ),
    data=st.data(),
)
def test_weights_go_with_their_candidates_and_give_the_weighted_mean(
    pairs: list[tuple[float, int]], data: st.DataObject
) -> None:
    total = sum(weight for _, weight in pairs)
    named = candidates(column([value for value, _ in pairs]))
    weights = [weight / total for _, weight in pairs]
    average = average_state_dicts(named, weights=weights)["w"]
    exact = sum(Fraction(value) * weight for value, weight in pairs) / total
    size = sum(abs(Fraction(value)) for value, _ in pairs)
    assert abs(Fraction(float(average)) - exact) <= Fraction(2) ** -48 * size
    order = data.draw(st.permutations(range(len(pairs))))
    again = average_state_dicts([named[i] for i in order], weights=[weights[i] for i in order])["w"]
    assert same_bits(average, again)


def test_pruned_zeros_stay_positive_zeros() -> None:
    states = [state(seed) for seed in range(3)]
    mask = torch.rand(3, 5, generator=torch.Generator().manual_seed(9)) < 0.4
    for s in states:
        s["torch.float32"][~mask] = 0.0
    average = average_state_dicts(candidates(states))["torch.float32"]
    assert not average.view(torch.int32)[~mask].any()
    assert average[mask].ne(0).all()


def test_counters_and_switches_are_those_of_the_candidate_whose_name_sorts_first() -> None:
    states = [state(0), state(1)]
    states[0]["1.num_batches_tracked"].fill_(7)
    states[1]["1.num_batches_tracked"].fill_(9)
    for order in permutations(candidates(states, names=["b", "a"])):
        average = average_state_dicts(order)
        assert average["1.num_batches_tracked"].item() == 9
        assert average["1.num_batches_tracked"].dtype == torch.int64
        assert average["switch"].dtype == torch.bool


def test_names_of_one_tensor_stay_names_of_one_tensor_and_copies_stay_apart() -> None:
    shared = [torch.full((2, 2), value) for value in (1.0, 3.0)]
    average = average_state_dicts(candidates([{"a": s, "b": s, "c": s.clone()} for s in shared]))
    assert average["a"] is average["b"]
    assert average["c"] is not average["a"]
    assert torch.equal(average["c"], torch.full((2, 2), 2.0))
    parted = average_state_dicts(candidates([{"a": shared[0], "b": shared[0]}, {"a": shared[1], "b": -shared[1]}]))
    assert parted["a"] is not parted["b"]
    assert torch.equal(parted["b"], torch.full((2, 2), -1.0))


def test_the_average_shares_no_memory_with_a_candidate() -> None:
    original = state(0)
    average = average_state_dicts(candidates([original]))
    for name, value in average.items():
        assert not value.numel() or value.data_ptr() != original[name].data_ptr(), name


@pytest.mark.parametrize("entries", [1, 2, 7, 100])
def test_the_size_of_the_pieces_changes_no_bit(entries: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    states = [state(seed) for seed in range(3)]
    whole = average_state_dicts(candidates(states))
    files = [tmp_path / f"{i}.safetensors" for i in range(3)]
    for file, s in zip(files, states, strict=True):
        save_file(s, file)
    monkeypatch.setattr(streaming, "PIECE_ENTRIES", entries)
    pieces, read = average_state_dicts(candidates(states)), average_files(files)
    for name, value in whole.items():
        assert same_bits(pieces[name], value), name
        assert same_bits(read[name], value), name


def test_a_stored_state_is_the_mapping_that_was_saved(tmp_path: Path) -> None:
    saved = state(3)
    save_file(saved, tmp_path / "s.safetensors")
    stored = StoredState(tmp_path / "s.safetensors")
    assert set(stored) == set(saved)
    assert len(stored) == len(saved)
    assert all(same_bits(stored[name], value) for name, value in saved.items())
    renamed = StoredState(tmp_path / "s.safetensors", names={"x": "scalar", "y": "scalar"})
    assert same_bits(renamed["y"], saved["scalar"])
    with pytest.raises(ArtefactError, match=r"does not hold \['nothing'\]"):
        StoredState(tmp_path / "s.safetensors", names={"x": "nothing"})


MEASURED = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from benchmarks._memory import peak_above_now
from paretorch.methods.averaging.streaming import average_files
files = sys.argv[2:]
average_files(files[-1:])  # code has run once before it is measured
print(json.dumps(peak_above_now(lambda: average_files(files[:-1]))))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak resident sets are read as Linux gives them")
def test_the_peak_of_memory_is_that_of_one_model_however_many_are_averaged(tmp_path: Path) -> None:
    shapes = {"one-large": (512, 18 * 1024), "one-row": (1, 1024 * 1024)}  # 36 MiB and 4 MiB
    generator = torch.Generator().manual_seed(0)
    files = []
    for i in range(6):
        files.append(tmp_path / f"{i}.safetensors")
        save_file({name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}, files[-1])
    save_file({"w": torch.randn(10, 10)}, tmp_path / "small.safetensors")
    model = files[0].stat().st_size
    root = Path(__file__).parents[3]

    def peak(count: int) -> int:
        command = [
            sys.executable,
            "-c",
            MEASURED,
            str(root),
            *map(str, files[:count]),
            str(tmp_path / "small.safetensors"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
        return int(json.loads(done.stdout))

    two, six = peak(2), peak(6)
    assert model <= two < 2.5 * model  # the result itself is one model
    assert model <= six < 2.5 * model
    assert abs(six - two) < 0.25 * model


def test_no_candidates_are_no_soup() -> None:
    with pytest.raises(InputError, match="m >= 1 candidates; got none"):
        average_state_dicts([])
    with pytest.raises(InputError, match="m >= 1 candidates; got none"):
        average_files([])


def test_a_candidate_that_is_given_twice_is_named() -> None:
    with pytest.raises(InputError, match="candidate 'a' is given twice"):
        average_state_dicts(candidates([state(0), state(0)], names=["a", "a"]))


def test_a_missing_or_damaged_file_is_named(tmp_path: Path) -> None:
    save_file(state(0), tmp_path / "here.safetensors")
    with pytest.raises(InputError, match=r"candidate '.*gone\.safetensors' cannot be read: .* does not exist"):
        average_files([tmp_path / "here.safetensors", tmp_path / "gone.safetensors"])
    content = (tmp_path / "here.safetensors").read_bytes()
    (tmp_path / "half.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"candidate '.*half\.safetensors' cannot be read: .* as a safetensors file"):
        average_files([tmp_path / "here.safetensors", tmp_path / "half.safetensors"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("0.weight"), "it has no '0.weight'"),
        (lambda s: s.update(more=torch.zeros(1)), "it has 'more' besides"),
        (lambda s: s.update({"3.bias": torch.zeros(5)}), r"'3\.bias' is \(5,\) torch\.float32, not \(4,\)"),
        (lambda s: s.update({"3.bias": torch.zeros(4).half()}), r"'3\.bias' is \(4,\) torch\.float16, not \(4,\)"),
    ],
)
def test_a_candidate_of_another_architecture_is_named(change: object, words: str, tmp_path: Path) -> None:
    states = [state(0), state(1)]
    change(states[1])
    with pytest.raises(InputError, match=f"candidate 'copy-1' is of another architecture than 'copy-0': {words}"):
        average_state_dicts(candidates(states))
    files = [tmp_path / f"{i}.safetensors" for i in range(2)]
    for file, s in zip(files, states, strict=True):
        save_file(s, file)
    with pytest.raises(InputError, match=rf"candidate '.*1\.safetensors' is of another architecture .*: {words}"):
        average_files(files)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_candidate_with_a_value_that_is_not_finite_is_named(bad: float) -> None:
    states = [state(0), state(1), state(2)]
    states[1]["3.weight"][2, 5] = bad
    with pytest.raises(InputError, match=r"candidate 'copy-1' has values in '3\.weight' that are NaN or infinite"):
        average_state_dicts(candidates(states))


@pytest.mark.parametrize("weights", [None, [0.0, 0.25, 0.75]])
def test_infinite_entries_that_all_candidates_have_stay_as_they_are(weights: list[float] | None) -> None:
    mask = torch.full((3, 3), -float("inf")).triu(1)  # of attention, in a buffer
    states = [state(seed) | {"mask": mask.clone()} for seed in range(3)]
    found = average_state_dicts(candidates(states), weights=weights)
    assert torch.equal(found["mask"], mask)
    assert all(torch.isfinite(value).all() for name, value in found.items() if name != "mask")
    states[0]["mask"][0, 2] = 1.0
    with pytest.raises(InputError, match=r"candidate 'copy-1' has values in 'mask' that are NaN or infinite"):
        average_state_dicts(candidates(states), weights=weights)


def test_a_state_dict_that_holds_no_tensor_somewhere_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"candidate 'copy-0' cannot be read: .* no tensors: \['extra'\]"):
        average_state_dicts(candidates([{"extra": 3}]))


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([0.5], "one weight per candidate; got 1 weights for 2"),
        ([0.5, 0.6], "have the sum 1"),
        ([1.5, -0.5], r"weight of candidate 'copy-0' is 1\.5"),
        ([0.5, float("nan")], r"weight of candidate 'copy-1' is nan"),
    ],
)
def test_weights_that_are_none_are_refused(weights: list[float], words: str) -> None:
    with pytest.raises(InputError, match=words):
        average_state_dicts(candidates([state(0), state(1)]), weights=weights)


def test_a_candidate_is_loaded_once() -> None:
    calls: list[int] = []

    def load() -> dict[str, Tensor]:
        calls.append(1)
        return state(0)

    average_state_dicts([Candidate("once", load)])
    assert calls == [1]


def test_the_name_of_a_file_is_its_path(tmp_path: Path) -> None:
    save_file(state(0), tmp_path / "a.safetensors")
    assert file_candidate(tmp_path / "a.safetensors").name == str(tmp_path / "a.safetensors")
