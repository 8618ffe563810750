"""manifest.json: what an artefact is made of, and the digests that tie its two files together.

    core    = format, constructor, kwargs, edits, versions, metrics
    weights = {"file": "model.safetensors", "sha256": of that file, which holds the SHA-256 of core}
    sha256  = SHA-256 of core and weights                              all over canonical JSON: sorted keys, no spaces

So a change to the manifest is seen by its own digest, a change to the weights by the manifest, and a manifest that was
rewritten with a fresh digest of its own by the weights. The digests show damage, mix-ups and edits by hand; they are no
signature, and whoever rewrites both files is not caught.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paretorch.artefacts.files import write_json
from paretorch.errors import ArtefactError, InputError

MANIFEST_VERSION = 1
MANIFEST_FILE = "manifest.json"
WEIGHTS_FILE = "model.safetensors"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of manifest.json.

    Attributes:
        constructor: "package.module:qualname" of what builds the unedited model.
        kwargs: its keyword arguments, plain JSON values.
        edits: for each edit in order, its `kind` and its fields.
        versions: package -> version that wrote the artefact.
        metrics: what was measured of the model, by name, or None.
    """

    constructor: str
    kwargs: dict[str, Any]
    edits: tuple[dict[str, Any], ...]
    versions: dict[str, str]
    metrics: dict[str, Any] | None

    def to_dict(self) -> dict[str, Any]:
        """The core of the manifest, without digests."""
        return {
            "format": MANIFEST_VERSION,
            "constructor": self.constructor,
            "kwargs": self.kwargs,
            "edits": list(self.edits),
            "versions": self.versions,
            "metrics": self.metrics,
        }

    def core_sha256(self) -> str:
        """The digest that the weights file carries."""
        return digest_of(self.to_dict())


def write_manifest(folder: Path, manifest: Manifest, *, weights_sha256: str) -> None:
    """Write manifest.json, with the digest of the weights file and its own."""
    content = {**manifest.to_dict(), "weights": {"file": WEIGHTS_FILE, "sha256": weights_sha256}}
    write_json(folder / MANIFEST_FILE, {**content, "sha256": digest_of(content)})


def read_manifest(folder: Path) -> tuple[Manifest, str]:
    """The manifest, and the SHA-256 that the weights file must have.

    Raises:
        ArtefactError: the file is missing, no JSON, of a newer format, or was changed after it was written.
    """
    file = folder / MANIFEST_FILE
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ArtefactError(
            f"{file} cannot be read ({error.strerror}); {folder} is not an artefact, or lost its manifest."
        ) from error
    except UnicodeDecodeError as error:
        raise ArtefactError(f"{file} is not UTF-8 text ({error.reason} at byte {error.start}).") from error
    content = _parse(text, file)
    version = content.get("format")
    if type(version) is int and version > MANIFEST_VERSION:
        raise ArtefactError(
            f"{file} has format version {version}; this version of paretorch reads up to {MANIFEST_VERSION}. Read it "
            "with the newer paretorch that wrote it."
        )
    given = content.pop("sha256", None)
    if given != digest_of(content):
        raise ArtefactError(
            f"{file} was changed after it was written: its content has SHA-256 {digest_of(content)}, and it says "
            f"{given!r}. Restore it, or save the model again."
        )
    return _manifest(content, file)


def _manifest(content: dict[str, Any], file: Path) -> tuple[Manifest, str]:
    """Check the fields, which a foreign writer with a right digest may have left out or made up."""
    weights = content.pop("weights", None)
    kinds: dict[str, type | tuple[type, ...]] = {
        "format": int,
        "constructor": str,
        "kwargs": dict,
        "edits": list,
        "versions": dict,
        "metrics": (dict, type(None)),
    }
    wrong = sorted(name for name, kind in kinds.items() if not isinstance(content.get(name, ...), kind))
    unknown = sorted(content.keys() - kinds.keys())
    if wrong or unknown or not all(isinstance(edit, dict) for edit in content["edits"]):
        raise ArtefactError(f"{file}: fields missing or of the wrong kind {wrong}, unknown fields {unknown}.")
    if content.pop("format") != MANIFEST_VERSION:
        raise ArtefactError(f"{file}: its format version is not one that was ever written.")
    if not isinstance(weights, dict) or weights.keys() != {"file", "sha256"} or weights["file"] != WEIGHTS_FILE:
        raise ArtefactError(f"{file}: weights must name the file {WEIGHTS_FILE!r} and its sha256; got {weights!r}.")
    return Manifest(**{**content, "edits": tuple(content["edits"])}), weights["sha256"]


def digest_of(content: Any) -> str:
    """SHA-256 (hex) of the canonical JSON of `content`."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def file_sha256(file: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def plain_json(value: Any, place: str) -> Any:
    """`value` as the JSON that will be read back: tuples become lists, and everything without a JSON form is refused.

    Raises:
        InputError: naming the place of a NaN, an infinity, a key that is no text or a value of another type.
    """
    if isinstance(value, Mapping):
        for key in value:
            if type(key) is not str:
                raise InputError(f"{place}: the key {key!r} is a {type(key).__name__}; JSON keys are text.")
        return {key: plain_json(item, f"{place}.{key}") for key, item in value.items()}
    if type(value) in (list, tuple):
        return [plain_json(item, f"{place}.{position}") for position, item in enumerate(value)]
    if type(value) is float and not math.isfinite(value):
        raise InputError(f"{place} is {value}, which JSON has no word for.")
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise InputError(
        f"{place} is a {type(value).__module__}.{type(value).__qualname__}, which has no JSON form; give numbers, "
        "text, None, lists and dicts."
    )


def _parse(text: str, file: Path) -> dict[str, Any]:
    def refuse_constant(word: str) -> Any:
        raise ValueError(f"{word} is not JSON")

    def finite(digits: str) -> float:
        if not math.isfinite(float(digits)):
            raise ValueError(f"{digits} is out of range")
        return float(digits)

    def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        # The last of two equal keys would win unseen.
        if len(dict(pairs)) != len(pairs):
            raise ValueError(f"a key is given twice among {[key for key, _ in pairs]}")
        return dict(pairs)

    try:
        content = json.loads(
            text, parse_constant=refuse_constant, parse_float=finite, object_pairs_hook=without_repeats
        )
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{file} is not valid JSON ({error}); it was cut off or changed.") from error
    if not isinstance(content, dict):
        raise ArtefactError(f"{file} holds a {type(content).__name__} where a JSON object is expected.")
    return content
