"""What goes into a tree file comes out bit for bit, and a file that was touched is refused."""

import math
import struct
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from paretorch.artefacts import tree as tree_module
from paretorch.artefacts.tree import load_tree, save_tree
from paretorch.errors import ArtefactError

DTYPES = [
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32),
    *(torch.uint64, torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128),
    *(torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz, torch.float8_e8m0fnu),
]


def bits(value: Tensor) -> bytes:
    return value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def same(a: Any, b: Any) -> bool:
    """Equal in type, order and every bit (so NaN equals itself and -0.0 differs from 0.0)."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and (a.dtype, a.shape, bits(a)) == (b.dtype, b.shape, bits(b))
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return len(a) == len(b) and all(
            same(ka, kb) and same(va, vb) for (ka, va), (kb, vb) in zip(a.items(), b.items(), strict=True)
        )
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return struct.pack(">d", a) == struct.pack(">d", b)
    return a == b


def round_trip(path: Path, tree: Any) -> Any:
    save_tree(path, tree)
    return load_tree(path)


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    """Any dtype, shape (0-d and empty too), any bits, and any of the usual strides."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    size = math.prod(shape) * dtype.itemsize
    raw = bytearray(draw(st.binary(min_size=size, max_size=size)))
    if dtype == torch.bool:
        raw = bytearray(b & 1 for b in raw)
    tensor = torch.frombuffer(raw, dtype=torch.uint8).view(dtype) if size else torch.empty(0, dtype=dtype)
    tensor = tensor.reshape(shape)
    match draw(st.sampled_from(["plain", "transposed", "expanded", "strided"])):
        case "transposed" if tensor.dim() >= 2:
            return tensor.transpose(0, 1)
        case "expanded":
            return tensor.expand(2, *tensor.shape)
        case "strided" if tensor.dim() and dtype.itemsize != 1 and not dtype.is_complex:
            return tensor[::2]
    return tensor


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**200), 2**200),
    st.integers(0, 2**64 - 1).map(lambda n: struct.unpack(">d", struct.pack(">Q", n))[0]),
    st.floats(),
    st.text(max_size=8),
)
KEYS = st.one_of(st.text(max_size=6), st.integers(), st.sampled_from(["1", 1, "a.b", "a", "__metadata__", "dict"]))
TREES = st.recursive(
    st.one_of(SCALARS, tensors()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(KEYS, inner, max_size=4),
    ),
    max_leaves=12,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=TREES)
def test_any_tree_comes_back_with_the_same_types_order_and_bits(tmp_path: Path, tree: Any) -> None:
    assert same(round_trip(tmp_path / "t", tree), tree)


@pytest.mark.parametrize("dtype", [*DTYPES, torch.complex32, torch.float4_e2m1fn_x2], ids=str)
def test_every_dtype_and_bit_pattern_survives(tmp_path: Path, dtype: torch.dtype) -> None:
    raw = torch.arange(256, dtype=torch.int32).to(torch.uint8)
    tensor = (raw & 1 if dtype == torch.bool else raw).view(dtype)
    back = round_trip(tmp_path / "t", {"x": tensor})["x"]
    assert back.dtype == dtype
    assert back.view(torch.uint8).equal(tensor.view(torch.uint8))


def test_an_optimizer_state_dict_comes_back_and_resumes_bitwise(tmp_path: Path) -> None:
    def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        model(torch.ones(2, 3)).square().sum().backward()
        optimizer.step()

    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), amsgrad=True)
    step(model, optimizer)
    save_tree(tmp_path / "t", {"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    step(model, optimizer)

    twin = nn.Linear(3, 2)
    twin_optimizer = torch.optim.AdamW(twin.parameters(), amsgrad=True)
    state = load_tree(tmp_path / "t")
    assert list(state["optimizer"]["state"]) == [0, 1]
    assert state["optimizer"]["param_groups"][0]["betas"] == (0.9, 0.999)
    twin.load_state_dict(state["model"])
    twin_optimizer.load_state_dict(state["optimizer"])
    step(twin, twin_optimizer)
    assert same(dict(twin.state_dict()), dict(model.state_dict()))


def test_aliased_leaves_are_stored_once_and_come_back_as_one_tensor(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.randn(100, 10))
    tree = {"a": weight, "b": [weight.data, weight.detach()], "t": weight.t(), "other": weight.detach().clone()}
    back = round_trip(tmp_path / "t", tree)
    assert back["a"] is back["b"][0]
    assert back["a"] is back["b"][1]
    assert back["other"] is not back["a"]
    assert back["t"].equal(weight.detach().t())
    assert len(load_file(tmp_path / "t")) == 3


def test_aliased_tensors_of_a_dtype_stored_as_raw_bytes_come_back_as_one(tmp_path: Path) -> None:
    z = torch.tensor([[1 + 2j, 3 - 4j]])
    back = round_trip(tmp_path / "t", {"a": z, "b": z})
    assert back["a"] is back["b"]
    assert same(back["a"], z)


def test_a_square_tensor_and_its_transpose_keep_their_own_values(tmp_path: Path) -> None:
    square = torch.arange(9.0).view(3, 3)
    tree = {"plain": square, "transposed": square.t(), "row": square[:1].expand(3, 3), "bits": square.view(torch.int32)}
    assert same(round_trip(tmp_path / "t", tree), tree)


def test_places_that_read_the_same_do_not_share_a_tensor(tmp_path: Path) -> None:
    tree = {"a.b": torch.ones(1), "a": {"b": torch.zeros(1)}, 1: torch.ones(2), "1": torch.zeros(2)}
    tree |= {"__metadata__": torch.ones(3), "a.b#2": torch.ones(4)}
    assert same(round_trip(tmp_path / "t", tree), tree)


def test_views_that_overlap_in_part_come_back_with_their_own_values(tmp_path: Path) -> None:
    base = torch.arange(12.0)
    tree = {"all": base, "head": base[:5], "tail": base[3:], "square": base.view(3, 4)}
    assert same(round_trip(tmp_path / "t", tree), tree)


def test_empty_tensors_are_not_taken_for_aliases_of_each_other(tmp_path: Path) -> None:
    back = round_trip(tmp_path / "t", [torch.empty(0), torch.empty(0), torch.empty(0, 3), torch.empty(0).int()])
    assert back[0] is not back[1]
    assert [(tuple(t.shape), t.dtype) for t in back] == [
        ((0,), torch.float32),
        ((0,), torch.float32),
        ((0, 3), torch.float32),
        ((0,), torch.int32),
    ]


def test_conjugate_views_are_stored_by_their_values(tmp_path: Path) -> None:
    z = torch.tensor([1 + 2j, 3 - 4j])
    back = round_trip(tmp_path / "t", {"z": z, "conj": z.conj(), "imag": z.conj().imag})
    assert back["conj"].tolist() == [1 - 2j, 3 + 4j]
    assert back["imag"].tolist() == [-2, 4]


def test_tensors_are_named_by_their_place_so_that_any_safetensors_reader_finds_them(tmp_path: Path) -> None:
    save_tree(tmp_path / "t", {"model": {"fc.weight": torch.ones(2)}, "state": {0: torch.zeros(1)}, "n": 3})
    assert set(load_file(tmp_path / "t")) == {"model.fc.weight", "state.0"}


def test_loaded_tensors_own_their_memory_and_outlive_the_file(tmp_path: Path) -> None:
    back = round_trip(tmp_path / "t", {"x": torch.arange(1000)})
    (tmp_path / "t").write_bytes(b"")
    back["x"] += 1
    assert back["x"].equal(torch.arange(1, 1001))


def test_the_same_tree_gives_the_same_bytes(tmp_path: Path) -> None:
    tree = {"b": torch.ones(3), "a": {"c": torch.zeros(2, dtype=torch.int8)}, "n": [1, 2.5, "x"]}
    save_tree(tmp_path / "1", tree)
    save_tree(tmp_path / "2", tree)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


class Colour(StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("leaf", "kind"),
    [
        (object(), "builtins.object"),
        ({1, 2}, "builtins.set"),
        (b"x", "builtins.bytes"),
        (1j, "builtins.complex"),
        (np.float64(1.0), "numpy.float64"),
        (np.zeros(2), "numpy.ndarray"),
        (Colour.RED, "Colour"),
        (torch.Size([1]), "torch.Size"),
        (torch.empty(2, device="meta"), "meta device"),
        (torch.eye(2).to_sparse(), "sparse_coo"),
        (nn.UninitializedParameter(), "UninitializedParameter"),
        ("\ud800", "not valid Unicode"),
        ({True: 1}, "key must be a str or an int; got True"),
        ({1.5: 1}, "got 1.5 of type float"),
    ],
)
def test_a_leaf_that_cannot_be_stored_is_named_with_its_place(tmp_path: Path, leaf: Any, kind: str) -> None:
    tree = {"optimizers": {"main": {"state": {0: {"exp_avg": leaf}}}}}
    with pytest.raises(TypeError, match=rf"^optimizers\.main\.state\.0\.exp_avg: .*{kind}"):
        save_tree(tmp_path / "t", tree)
    assert list(tmp_path.iterdir()) == []


def test_a_tree_that_contains_itself_is_refused(tmp_path: Path) -> None:
    tree: dict[str, Any] = {}
    tree["me"] = tree
    with pytest.raises(TypeError, match=r"me\.me.*does the tree contain itself"):
        save_tree(tmp_path / "t", tree)


def test_numbers_that_belong_in_a_tensor_are_refused_before_the_file_grows_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree_module, "MAX_STRUCTURE_CHARACTERS", 1000)
    with pytest.raises(TypeError, match="long lists of numbers into a tensor"):
        save_tree(tmp_path / "t", list(range(1000)))


def test_every_flipped_byte_and_every_truncation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t"
    save_tree(path, {"w": torch.tensor([1.0, 2.0]), "z": torch.tensor([1j]), "n": 7, "s": "é"})
    whole = path.read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= (0x01, 0x20, 0x80)[position % 3]  # 0x20 turns letters into capitals: still valid text
        path.write_bytes(damaged)
        with pytest.raises(ArtefactError, match="t"):
            load_tree(path)
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(ArtefactError, match="t"):
            load_tree(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(ArtefactError, match="t"):
        load_tree(path)
    path.write_bytes(whole)
    assert load_tree(path)["n"] == 7


def test_foreign_and_missing_files_are_refused_by_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="none does not exist"):
        load_tree(tmp_path / "none")
    with pytest.raises(ArtefactError, match="cannot be read as a safetensors file"):
        load_tree(tmp_path)
    torch.save({"w": torch.ones(2)}, tmp_path / "pickle.pt")
    with pytest.raises(ArtefactError, match="cannot be read as a safetensors file"):
        load_tree(tmp_path / "pickle.pt")
    save_file({"w": torch.ones(2)}, tmp_path / "foreign", metadata={"format": "pt"})
    with pytest.raises(ArtefactError, match="not written by paretorch's save_tree"):
        load_tree(tmp_path / "foreign")
    for text in ("[", "[]", "{}", '{"format":1}'):
        save_file({}, tmp_path / "almost", metadata={tree_module.METADATA_KEY: text})
        with pytest.raises(ArtefactError, match="almost"):
            load_tree(tmp_path / "almost")


def test_a_newer_format_is_refused_as_newer_and_not_as_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_module, "FORMAT_VERSION", 2)
    save_tree(tmp_path / "t", {"n": 1})
    monkeypatch.undo()
    with pytest.raises(ArtefactError, match="format version 2; this version of paretorch reads up to 1"):
        load_tree(tmp_path / "t")


def test_a_changed_value_in_the_structure_is_refused_even_when_the_file_is_well_formed(tmp_path: Path) -> None:
    save_tree(tmp_path / "t", {"epoch": 7})
    text = (tmp_path / "t").read_bytes()
    (tmp_path / "t").write_bytes(text.replace(b'\\"epoch\\",7', b'\\"epoch\\",8'))
    with pytest.raises(ArtefactError, match="changed or damaged after it was written"):
        load_tree(tmp_path / "t")


def test_the_device_of_the_loaded_tensors_is_the_one_asked_for(tmp_path: Path) -> None:
    save_tree(tmp_path / "t", {"x": torch.ones(2)})
    assert load_tree(tmp_path / "t", device="meta")["x"].device.type == "meta"
