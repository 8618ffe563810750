"""Save a model as an artefact, a folder that can be loaded again anywhere without pickle, and load it.

    model = edit_n(... edit_1(constructor(**kwargs)));  weights loaded strictly

`manifest.json` names the constructor and the edits, `model.safetensors` holds the weights under their own names, so
that any safetensors reader finds them. What was saved is rebuilt and compared before it is written: an artefact that
cannot be loaded again is an error of saving, not of loading.

    path = save_model("out/model", model, constructor=SmallCNN, kwargs={"classes": 10}, edits=[MaskEdit(masks)])
    model = load_model(path)                           # in evaluation mode
    masks = load_artefact(path).masks
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from paretorch.artefacts.constructor import Constructor, find_constructor, reference_of
from paretorch.artefacts.edits import Edit, decode_edit, known_edits
from paretorch.artefacts.folders import atomic_folder, retired
from paretorch.artefacts.manifest import (
    MANIFEST_FILE,
    WEIGHTS_FILE,
    Manifest,
    file_sha256,
    plain_json,
    read_manifest,
    write_manifest,
)
from paretorch.artefacts.mask_edit import combined_masks
from paretorch.artefacts.outputs import require_same_outputs
from paretorch.artefacts.tree import load_tree, save_tree
from paretorch.artefacts.weights import differences, differing_constants, load_weights_, weights_of
from paretorch.errors import ArtefactError, InputError, ParetorchError
from paretorch.measurement.inputs import ExampleInputs
from paretorch.methods.sparsity.binding import unwrapped
from paretorch.methods.sparsity.masks import Masks

RESERVED_PREFIX = "paretorch:"  # in the weights file, what is no weight; a module's name never has a colon in practice
CORE_KEY = f"{RESERVED_PREFIX}core"
EDITS_KEY = f"{RESERVED_PREFIX}edits"


@dataclass(frozen=True, kw_only=True)
class Artefact:
    """A loaded artefact: the finished model, in evaluation mode, and how it came to be."""

    model: nn.Module
    manifest: Manifest
    edits: tuple[Edit, ...]

    @property
    def masks(self) -> Masks | None:
        """The masks of all mask edits together, on the CPU; None if the model was saved without."""
        return combined_masks(self.edits)


def save_model(
    path: str | os.PathLike[str],
    model: nn.Module,
    *,
    constructor: Constructor | str,
    kwargs: Mapping[str, Any] | None = None,
    edits: Sequence[Edit] = (),
    metrics: Mapping[str, Any] | None = None,
    example_inputs: ExampleInputs | None = None,
) -> Path:
    """Write `model.safetensors` and `manifest.json` into the folder `path`, both or neither.

    Args:
        path: the folder to make; an artefact that is there already is replaced.
        model: what is saved; DDP and compiled wrappers are seen through. It is not changed. Stored are its parameters
            and persistent buffers with their dtypes, not gradients, requires_grad or training mode.
        constructor: the class or function that built it, or "package.module:name". Loading finds builders of this
            package by name; any other must be handed over again, or allowed.
        kwargs: the constructor's arguments; plain JSON values (a tuple comes back as a list).
        edits: what was done to the model since, in order; mask edits last.
        metrics: numbers to keep with the model.
        example_inputs: a tensor, tuple or mapping. If given, the rebuilt model must give the same outputs: bitwise on
            the CPU, to the default tolerance of `torch.testing.assert_close` elsewhere. This alone shows changes that
            leave no trace in names and shapes, such as another activation or epsilon.

    Returns:
        `path`.

    Raises:
        InputError: the constructor and the edits do not lead to this model, something has no stored form, or `path`
            holds something that is no artefact.
        MaskViolationError: a pruned weight is not zero.
        RunError: the folder could not be written; an earlier artefact is intact.
    """
    folder = Path(path)
    _refuse_foreign(folder)
    inner = unwrapped(model)
    weights = weights_of(inner)
    if reserved := [name for name in weights if name.startswith(RESERVED_PREFIX)]:
        raise InputError(f"names beginning with {RESERVED_PREFIX!r} are taken: {reserved}; rename these modules.")
    manifest = Manifest(
        constructor=reference_of(constructor),
        kwargs=plain_json(kwargs or {}, "kwargs"),
        edits=tuple(plain_json({"kind": edit.kind, **edit.to_dict()}, f"edits.{i}") for i, edit in enumerate(edits)),
        versions={"paretorch": metadata.version("paretorch"), "torch": str(torch.__version__)},
        metrics=None if metrics is None else plain_json(metrics, "metrics"),
    )
    tree = {
        **weights,
        EDITS_KEY: {str(i): edit.tensors() for i, edit in enumerate(edits)},
        CORE_KEY: manifest.core_sha256(),
    }
    build = find_constructor(constructor, allow_import=True) if isinstance(constructor, str) else constructor
    rebuilt, _ = _rebuild(build, manifest, tree, edit_types={type(edit) for edit in edits})
    if example_inputs is not None:
        require_same_outputs(inner, rebuilt, example_inputs)
    if constants := differing_constants(inner, rebuilt):
        raise InputError(
            f"buffers that the state dict leaves out are not what {manifest.constructor} makes: {constants}. They "
            "would be lost; make them persistent, or pass what they depend on in kwargs."
        )
    with atomic_folder(folder) as partial:
        save_tree(partial / WEIGHTS_FILE, tree)
        write_manifest(partial, manifest, weights_sha256=file_sha256(partial / WEIGHTS_FILE))
    return folder


def load_artefact(
    path: str | os.PathLike[str],
    *,
    constructor: Constructor | str | None = None,
    allow_import: bool = False,
    device: str | torch.device = "cpu",
    edit_types: Iterable[type[Edit]] = (),
) -> Artefact:
    """Load what `save_model` wrote: check every byte, rebuild the model, load its weights, check the edits' promises.

    Args:
        path: the folder.
        constructor: builds the unedited model from the manifest's kwargs, instead of the one the manifest names.
        allow_import: import the module that the manifest names, whatever it is, which runs its code. Otherwise only
            model builders of this package are looked up by name.
        device: where the model is put.
        edit_types: edit classes that are not part of this package.

    Raises:
        ArtefactError: a file is missing, damaged or was changed, the constructor may not be looked up or builds another
            model, an edit is unknown or does not fit, or a pruned weight is not zero.
    """
    folder = Path(path)
    manifest, weights_sha256 = _read_manifest(folder)
    tree = _read_weights(folder / WEIGHTS_FILE, manifest, weights_sha256)
    if constructor is None:
        build = find_constructor(manifest.constructor, allow_import=allow_import)
    elif isinstance(constructor, str):
        build = find_constructor(reference_of(constructor), allow_import=True)
    else:
        build = constructor
    try:
        model, edits = _rebuild(build, manifest, tree, edit_types=edit_types)
    except ParetorchError as error:
        raise ArtefactError(f"{folder}: {error}") from error
    return Artefact(model=model.to(device).eval(), manifest=manifest, edits=edits)


def load_model(
    path: str | os.PathLike[str],
    *,
    constructor: Constructor | str | None = None,
    allow_import: bool = False,
    device: str | torch.device = "cpu",
) -> nn.Module:
    """The model of an artefact, in evaluation mode; arguments and errors are those of `load_artefact`."""
    return load_artefact(path, constructor=constructor, allow_import=allow_import, device=device).model


def _rebuild(
    build: Constructor, manifest: Manifest, tree: Mapping[str, Any], *, edit_types: Iterable[type[Edit]]
) -> tuple[nn.Module, tuple[Edit, ...]]:
    """Construct, replay the edits, load the weights, check the promises: the same for saving and for loading.

    The edits are decoded from what is stored, so that saving tries the way that loading will take.
    """
    kinds = known_edits(edit_types)
    stored = tree[EDITS_KEY]
    if list(stored) != [str(i) for i in range(len(manifest.edits))]:
        raise ArtefactError(f"tensors are stored for the edits {list(stored)}, and there are {len(manifest.edits)}.")
    model = _construct(build, manifest)
    edits = []
    for i, description in enumerate(manifest.edits):
        try:
            edits.append(decode_edit(description, stored[str(i)], kinds=kinds))
            with torch.random.fork_rng(devices=[]):  # an edit, too, may draw weights that are overwritten
                edits[-1].apply(model)
        except InputError as error:
            raise type(error)(f"edit {i} ({description.get('kind')}) cannot be replayed: {error}") from error
    weights = {name: value for name, value in tree.items() if not name.startswith(RESERVED_PREFIX)}
    if problem := differences(weights, model):
        raise InputError(
            f"{manifest.constructor} with the given kwargs and {len(edits)} edits makes another model than the one "
            f"whose weights these are: {problem}. Every change of the model since it was built must be an edit."
        )
    load_weights_(model, weights)
    for i, edit in enumerate(edits):
        try:
            edit.check(model)
        except ParetorchError as error:
            raise type(error)(f"edit {i} ({edit.kind}) does not hold for the finished model: {error}") from error
    return model, tuple(edits)


def _construct(build: Constructor, manifest: Manifest) -> nn.Module:
    # Random initial weights are overwritten; drawing them must not move the random numbers of a run that is saving.
    with torch.random.fork_rng(devices=[]):
        try:
            model = build(**manifest.kwargs)
        except Exception as error:
            raise InputError(
                f"the constructor {manifest.constructor} failed with kwargs {manifest.kwargs}: "
                f"{type(error).__name__}: {error}"
            ) from error
    if not isinstance(model, nn.Module):
        raise InputError(f"the constructor {manifest.constructor} made a {type(model).__name__}, not an nn.Module.")
    return model


def _read_manifest(folder: Path) -> tuple[Manifest, str]:
    if not folder.is_dir():
        aside = retired(folder)
        raise ArtefactError(
            f"{folder} is not a folder; expected one with {MANIFEST_FILE} and {WEIGHTS_FILE}."
            + (f" A save was killed while it replaced this artefact; the earlier one is {aside[-1]}." if aside else "")
        )
    return read_manifest(folder)


def _read_weights(file: Path, manifest: Manifest, sha256: str) -> dict[str, Any]:
    if not file.is_file():
        raise ArtefactError(f"{file} does not exist; the artefact lost its weights.")
    actual = file_sha256(file)
    if actual != sha256:
        raise ArtefactError(
            f"{file} is not the file that {MANIFEST_FILE} was written with: its SHA-256 is {actual}, and the manifest "
            f"says {sha256!r}. One of the two was changed, damaged or exchanged; restore both from one copy."
        )
    tree = load_tree(file)
    if not isinstance(tree, dict) or not _is_model(tree):
        raise ArtefactError(f"{file} holds a state that is no model (a checkpoint?).")
    if tree[CORE_KEY] != manifest.core_sha256():
        raise ArtefactError(
            f"{file.with_name(MANIFEST_FILE)} is not the one that {WEIGHTS_FILE} was written with: its content has "
            f"SHA-256 {manifest.core_sha256()}, and the weights say {tree[CORE_KEY]!r}. The manifest was rewritten."
        )
    return tree


def _is_model(tree: dict[str, Any]) -> bool:
    """Whether a tree has the form that `save_model` gives it."""
    tensors = {name: value for name, value in tree.items() if name not in (CORE_KEY, EDITS_KEY)}
    groups = [tensors, *tree[EDITS_KEY].values()] if isinstance(tree.get(EDITS_KEY), dict) else [None]
    return CORE_KEY in tree and all(
        isinstance(group, dict) and all(isinstance(value, Tensor) for value in group.values()) for group in groups
    )


def _refuse_foreign(folder: Path) -> None:
    """Only a folder that holds an artefact and nothing else may be replaced."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"{folder} is a file; an artefact is a folder. Choose another path.")
    names = {entry.name for entry in folder.iterdir()}
    if names and (names - {MANIFEST_FILE, WEIGHTS_FILE} or MANIFEST_FILE not in names):
        raise InputError(
            f"{folder} is not empty and not an artefact: it holds {sorted(names)[:5]}. Nothing was written; choose "
            "another path, or move these files away."
        )
