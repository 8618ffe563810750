"""The run directory, the only state of a run: recipe, ledger, checkpoints, record and artefact, all written atomically.

One process works in a directory at a time (an OS lock, released when the process dies however it dies). In a
distributed run that is the first process; the others, known by the launcher's variable RANK, only read.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

from paretorch.artefacts.files import PARTIAL_SUFFIX, remove_partial, write_text
from paretorch.artefacts.tree import load_tree, save_tree
from paretorch.errors import ArtefactError, InputError, RunError


class RunDirectory:
    """A locked run directory; use it as a context manager.

    Args:
        path: created if it does not exist.
        recipe: text that says what is run; kept as `recipe.toml`.
        resume: go on in a directory that already holds a run.
        wait_s: how long to wait for another process that works in it.

    Raises:
        InputError: if the directory holds a run and `resume` is False, if it holds the run of another recipe, if it
            holds files that are no run, if it cannot be written, or if another process works in it.
    """

    def __init__(self, path: str | Path, *, recipe: str, resume: bool = False, wait_s: float = 0.0) -> None:
        self.path = Path(path)
        self._lock = FileLock(self.path / "lock")
        self._writes = int(os.environ.get("RANK", "0")) == 0
        if not self._writes:
            return
        self._check_contents(recipe, resume)  # before anything is created in a folder that is somebody else's
        try:
            (self.path / "checkpoints").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot create the run directory {self.path}: {error.strerror}") from error
        try:
            self._lock.acquire(timeout=wait_s)
        except Timeout:
            raise InputError(
                f"another process is working in {self.path}; wait for it, stop it, or choose another directory"
            ) from None
        except OSError as error:
            raise InputError(f"cannot lock the run directory {self.path}: {error.strerror}") from error
        try:
            self._check_contents(recipe, resume)  # again, for a process that came and went before the lock was ours
            remove_partial(self.path)
            remove_partial(self.path / "checkpoints")
            if not (self.path / "recipe.toml").exists():
                write_text(self.path / "recipe.toml", recipe)
        except BaseException:
            self.close()
            raise

    def _check_contents(self, recipe: str, resume: bool) -> None:
        known = self.path / "recipe.toml"
        if self.path.is_dir() and not known.exists():
            # A killed process may leave the lock and an empty checkpoint folder before the recipe is written.
            names = {p.name for p in self.path.iterdir() if not p.name.endswith(PARTIAL_SUFFIX)}
            if strangers := names - {"lock", "checkpoints"}:
                raise InputError(
                    f"{self.path} exists and is no run directory: it holds {sorted(strangers)[:3]}, but no "
                    "recipe.toml; choose another directory"
                )
        elif self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path} is a file; a run needs a directory of its own")
        if not known.exists():
            return
        if not resume:
            raise InputError(f"{self.path} already holds a run; pass --resume to go on, or choose another directory")
        if known.read_bytes() != recipe.encode():
            raise InputError(
                f"{self.path} holds the run of another recipe; compare it with {known}, or choose another directory"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the lock; the files stay."""
        self._lock.release()

    def ledger(self) -> list[dict[str, Any]]:
        """One entry per finished phase, in order.

        Raises:
            ArtefactError: if the file was damaged.
        """
        path = self.path / "ledger.jsonl"
        if not path.exists():
            return []
        remedy = f"restore it from a copy, or remove {self.path} and run again"
        try:
            entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        except ValueError as error:
            raise ArtefactError(f"{path} is damaged ({error}); {remedy}") from error
        if not all(isinstance(entry, dict) and isinstance(entry.get("phase"), str) for entry in entries):
            raise ArtefactError(f"{path} is damaged (a line does not name its phase); {remedy}")
        return entries

    def finished(self, phase: str) -> dict[str, Any] | None:
        """The ledger entry of a phase, or None if it has not finished."""
        return next((entry for entry in self.ledger() if entry["phase"] == phase), None)

    def append(self, entry: Mapping[str, Any]) -> None:
        """Add a finished phase to the ledger.

        Raises:
            RunError: if the phase is there already: it was run twice; or if the file cannot be written.
        """
        if not self._writes:
            return
        if self.finished(entry["phase"]) is not None:
            raise RunError(f"phase {entry['phase']!r} is already in {self.path / 'ledger.jsonl'}")
        lines = [json.dumps(line, allow_nan=False) for line in [*self.ledger(), dict(entry)]]
        write_text(self.path / "ledger.jsonl", "\n".join(lines) + "\n")

    def save(self, name: str, tree: Any) -> None:
        """Write the checkpoint `name` atomically: after a kill there is the old one or the new one.

        Raises:
            RunError: if it cannot be written (the disk is full, say); the old one is intact.
        """
        if self._writes:
            save_tree(self.checkpoint_path(name), tree)

    def load(self, name: str) -> Any | None:
        """The checkpoint `name`, or None if there is none.

        Raises:
            ArtefactError: if the file is foreign or damaged.
        """
        path = self.checkpoint_path(name)
        return load_tree(path) if path.exists() else None

    def remove(self, name: str) -> None:
        """Delete the checkpoint `name` if it exists."""
        if self._writes:
            self.checkpoint_path(name).unlink(missing_ok=True)

    def checkpoint_path(self, name: str) -> Path:
        """Where the checkpoint `name` is, or would be."""
        return self.path / "checkpoints" / f"{name}.safetensors"
