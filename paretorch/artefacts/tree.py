"""A nested state (dicts, lists, tuples, numbers, strings, None, tensors) in one safetensors file, without pickle.

The tensors are the file's tensors, named by their place in the tree; the rest is JSON in the file's metadata. A SHA-256
over every byte of the file (its own 64 digits counted as zeros) is checked before anything is read from it, so a
truncated, edited or bit-rotted file is refused instead of resumed from.

Source of the container: the safetensors format (8 bytes header length, JSON header, raw little-endian tensors).
"""

import hashlib
import json
import math
import os
import struct
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from paretorch.artefacts.files import atomic_path
from paretorch.errors import ArtefactError

FORMAT_VERSION = 1
METADATA_KEY = "paretorch.tree"
MAX_DEPTH = 100
MAX_STRUCTURE_CHARACTERS = 50_000_000  # safetensors refuses to read a header of more than 100 MB

_UNSEALED = "0" * 64
# Stored under their own dtype, so that any safetensors reader shows them; every other dtype is stored as raw bytes.
_NATIVE = frozenset(
    {torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32}
    | {torch.uint64, torch.float16, torch.bfloat16, torch.float32, torch.float64}
)
_RAW = {
    name: getattr(torch, name)
    for name in (
        *("complex32", "complex64", "complex128", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2"),
        *("float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn_x2"),
    )
    if hasattr(torch, name)
}
_RAW_NAMES = {dtype: name for name, dtype in _RAW.items()}


def save_tree(path: str | os.PathLike[str], tree: Any) -> None:
    """Write `tree` to one safetensors file, atomically (see `files.atomic_path`).

    Args:
        path: the file to create or replace.
        tree: nested dict (str or int keys; subclasses come back as plain dict), list, tuple, None, bool, int, float,
            str and `torch.Tensor` of any dtype and device. A `Parameter` comes back as a plain tensor. Leaves that are
            the same tensor, or the same view of the same storage, are stored once and come back as one tensor;
            views that overlap in part come back separate. Expanded tensors are stored at full size.

    Raises:
        TypeError: a leaf or key of another type; the message names its place, as in "optimizers.main.state.0.exp_avg".
        RunError: the file could not be written; the earlier file is intact.
    """
    writer = _Writer()
    structure = writer.encode(tree, (), 0)
    header = {"format": FORMAT_VERSION, "sha256": _UNSEALED, "tree": structure}
    text = json.dumps(header, separators=(",", ":"), allow_nan=False)
    if len(text) > MAX_STRUCTURE_CHARACTERS:
        raise TypeError(
            f"{Path(path)}: everything but the tensors takes {len(text)} characters, more than "
            f"{MAX_STRUCTURE_CHARACTERS}. Put long lists of numbers into a tensor."
        )
    with atomic_path(path) as partial:
        save_file(writer.tensors, partial, metadata={METADATA_KEY: text})
        _seal(partial)


def load_tree(path: str | os.PathLike[str], device: str | torch.device = "cpu") -> Any:
    """Read back what `save_tree` wrote, with every tensor on `device`.

    Raises:
        ArtefactError: the file is missing, not a safetensors file, not written by `save_tree`, of a newer format, or
            any byte of it differs from what was written.
    """
    file = Path(path)
    structure = checked_structure(file)
    with safe_open(file, framework="pt", device="cpu") as handle:
        # Copies, because the reader maps the file into memory and the file may be replaced or removed meanwhile.
        names = handle.keys()
        tensors = {name: handle.get_tensor(name).to(device, copy=True) for name in names}
    return _decode(structure, tensors, {})


def checked_structure(file: Path) -> Any:
    """The JSON form of the tree in a file whose every byte is as it was written; no tensor is read.

    Raises:
        ArtefactError: as `load_tree`.
    """
    header = _read_header(file)
    # The version comes first: a newer format may be sealed differently, and "damaged" would be the wrong message.
    version = header.get("format")
    if type(version) is not int or version < 1:
        raise ArtefactError(
            f"{file}: format version {version!r} is not one that was ever written; the file is damaged."
        )
    if version > FORMAT_VERSION:
        raise ArtefactError(
            f"{file} has format version {version}; this version of paretorch reads up to {FORMAT_VERSION}. "
            "Read it with the newer paretorch that wrote it."
        )
    expected, actual = header.get("sha256"), _digest(file)
    if expected != actual:
        raise ArtefactError(
            f"{file} was changed or damaged after it was written: its bytes have SHA-256 {actual}, and it says "
            f"{expected!r}. Restore it from a copy, or go back to an earlier checkpoint."
        )
    return header["tree"]


class _Writer:
    """Collects the tensors of a tree while its structure is turned into JSON."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._names: dict[tuple[Any, ...], str] = {}
        self._storages: set[int] = set()

    def encode(self, node: Any, path: tuple[str, ...], depth: int) -> Any:
        """JSON form of a node: scalars as themselves, everything else as an object with one tag."""
        if depth > MAX_DEPTH:
            raise TypeError(f"{_place(path)}: nested more than {MAX_DEPTH} deep; does the tree contain itself?")
        if isinstance(node, dict):
            pairs = [
                [_encode_key(key, path), self.encode(value, (*path, str(key)), depth + 1)]
                for key, value in node.items()
            ]
            return {"dict": pairs}
        if type(node) in (list, tuple):
            items = [self.encode(value, (*path, str(i)), depth + 1) for i, value in enumerate(node)]
            return {"list" if type(node) is list else "tuple": items}
        if isinstance(node, Tensor):
            return self._encode_tensor(node, path)
        return _encode_scalar(node, path)

    def _encode_tensor(self, tensor: Tensor, path: tuple[str, ...]) -> dict[str, Any]:
        problem = _why_not_storable(tensor)
        if problem:
            raise TypeError(f"{_place(path)}: {problem}")
        key = identity(tensor)
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = self._free_name(".".join(path) or "tensor")
            plain = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
            if plain.dtype in _RAW_NAMES:
                plain = plain.reshape(-1).view(torch.uint8)
            storage = plain.untyped_storage().data_ptr()
            # safetensors refuses tensors that share memory; views that differ are stored apart.
            self.tensors[name] = plain.clone() if storage in self._storages else plain
            self._storages.add(storage)
        if tensor.dtype in _RAW_NAMES:
            return {"tensor": name, "dtype": _RAW_NAMES[tensor.dtype], "shape": list(tensor.shape)}
        return {"tensor": name}

    def _free_name(self, name: str) -> str:
        """`name`, or with a number where {"a.b": x, "a": {"b": y}} makes two of it (or the format reserves it)."""
        candidate, count = name, 1
        while candidate in self.tensors or candidate == "__metadata__":
            count += 1
            candidate = f"{name}#{count}"
        return candidate


def identity(tensor: Tensor) -> tuple[Any, ...]:
    """Equal for two living tensors exactly when they are the same view of the same memory (tied weights are)."""
    if tensor.numel() == 0:  # all empty storages report address 0
        return (id(tensor),)
    address = (str(tensor.device), tensor.untyped_storage().data_ptr(), tensor.storage_offset())
    return (*address, tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.is_conj(), tensor.is_neg())


def _why_not_storable(tensor: Tensor) -> str | None:
    if type(tensor) not in (Tensor, nn.Parameter):
        return f"a {type(tensor).__name__} is not a plain torch.Tensor; gather or convert it first"
    if tensor.layout != torch.strided:
        return f"a tensor of layout {tensor.layout} cannot be stored; call to_dense() first"
    if tensor.device.type == "meta":
        return "a tensor on the meta device has no values to store"
    if tensor.dtype not in _NATIVE and tensor.dtype not in _RAW_NAMES:
        return f"a tensor of dtype {tensor.dtype} cannot be stored; convert it first"
    return None


def _encode_scalar(node: Any, path: tuple[str, ...]) -> Any:
    # Exact types: a numpy float or a string enum would come back as something else than it was.
    if node is None or type(node) is bool:
        return node
    if type(node) is int:
        return node if abs(node) < 2**63 else {"int": hex(node)}
    if type(node) is float:
        return node if math.isfinite(node) else {"float": struct.pack(">d", node).hex()}
    if type(node) is str:
        return _checked_text(node, path)
    raise TypeError(
        f"{_place(path)}: cannot store a {type(node).__module__}.{type(node).__qualname__}. Allowed are dict, list, "
        "tuple, None, bool, int, float, str and torch.Tensor; convert it to one of these."
    )


def _encode_key(key: Any, path: tuple[str, ...]) -> Any:
    if type(key) is str:
        return _checked_text(key, (*path, ascii(key)))
    if type(key) is int:
        return key if abs(key) < 2**63 else {"int": hex(key)}
    raise TypeError(f"{_place(path)}: a key must be a str or an int; got {key!r} of type {type(key).__qualname__}.")


def _checked_text(text: str, path: tuple[str, ...]) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise TypeError(f"{_place(path)}: the text {text!a} is not valid Unicode ({error.reason}).") from error
    return text


def _place(path: tuple[str, ...]) -> str:
    return ".".join(path) or "the root of the tree"


def _decode(node: Any, tensors: dict[str, Tensor], rebuilt: dict[str, Tensor]) -> Any:
    """Inverse of `_Writer.encode`; `rebuilt` holds raw-byte tensors already viewed as their dtype."""
    if not isinstance(node, dict):
        return node
    if "dict" in node:
        return {_decode(key, tensors, rebuilt): _decode(value, tensors, rebuilt) for key, value in node["dict"]}
    if "list" in node:
        return [_decode(item, tensors, rebuilt) for item in node["list"]]
    if "tuple" in node:
        return tuple(_decode(item, tensors, rebuilt) for item in node["tuple"])
    if "int" in node:
        return int(node["int"], 16)
    if "float" in node:
        return struct.unpack(">d", bytes.fromhex(node["float"]))[0]
    name = node["tensor"]
    if "dtype" not in node:
        return tensors[name]
    if name not in rebuilt:
        rebuilt[name] = tensors[name].view(_RAW[node["dtype"]]).reshape(node["shape"])
    return rebuilt[name]


def _read_header(file: Path) -> dict[str, Any]:
    """The JSON object that `save_tree` put into the metadata."""
    try:
        with safe_open(file, framework="pt", device="cpu") as handle:
            metadata = handle.metadata() or {}
    except FileNotFoundError as error:
        raise ArtefactError(f"{file} does not exist.") from error
    except (SafetensorError, OSError) as error:
        raise ArtefactError(
            f"{file} cannot be read as a safetensors file ({error}); it is foreign or damaged."
        ) from error
    if METADATA_KEY not in metadata:
        raise ArtefactError(
            f"{file} is a safetensors file without the metadata key {METADATA_KEY!r}: it was not written by "
            "paretorch's save_tree, or its header was changed."
        )
    try:
        header = json.loads(metadata[METADATA_KEY])
    except ValueError as error:
        raise ArtefactError(f"{file}: the structure in its metadata is not JSON ({error}); it is damaged.") from error
    if not isinstance(header, dict):
        raise ArtefactError(f"{file}: the structure in its metadata is not a JSON object; it is damaged.")
    return header


def _seal(file: Path) -> None:
    """Put the digest of the file in the place kept for it."""
    digest = _digest(file).encode()
    with file.open("r+b") as stream:
        length = int.from_bytes(stream.read(8), "little")
        start, _ = _seal_span(stream.read(length), file)
        stream.seek(8 + start)
        stream.write(digest)


def _digest(file: Path) -> str:
    """SHA-256 of all bytes of the file, with the 64 digits of the digest itself counted as zeros."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        length = stream.read(8)
        header = stream.read(int.from_bytes(length, "little"))
        start, end = _seal_span(header, file)
        digest.update(length + header[:start] + _UNSEALED.encode() + header[end:])
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _seal_span(header: bytes, file: Path) -> tuple[int, int]:
    """Where in the header bytes the digest stands."""
    # The metadata comes first in the header, as an escaped JSON string that begins with format and sha256.
    marker = b'\\"sha256\\":\\"'
    start = header.find(marker) + len(marker)
    if start < len(marker):
        raise ArtefactError(f"{file}: no digest where one is expected; the header was changed or damaged.")
    return start, start + len(_UNSEALED)
