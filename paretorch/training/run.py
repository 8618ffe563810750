"""The run directory, the only state of a run: recipe, ledger, checkpoints, record and artefact, all written atomically.

One process works in a directory at a time (an OS lock, released when the process dies however it dies).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

from paretorch.artefacts.files import write_text
from paretorch.artefacts.tree import load_tree, save_tree
from paretorch.errors import ArtefactError, InputError, RunError


class RunDirectory:
    """A locked run directory; use it as a context manager.

    Args:
        path: created if it does not exist.
        recipe: text that says what is run; kept as `recipe.toml`.
        resume: go on in a directory that already holds a run.

    Raises:
        InputError: if the directory holds a run and `resume` is False, if it holds the run of another recipe, if it
            holds files that are no run, or if another process works in it.
    """

    def __init__(self, path: str | Path, *, recipe: str, resume: bool = False) -> None:
        self.path = Path(path)
        self._check_contents(recipe, resume)
        try:
            (self.path / "checkpoints").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot create the run directory {self.path}: {error.strerror}") from error
        self._lock = FileLock(self.path / "lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise InputError(
                f"another process is working in {self.path}; wait for it, stop it, or choose another directory"
            ) from None
        if not (self.path / "recipe.toml").exists():
            write_text(self.path / "recipe.toml", recipe)

    def _check_contents(self, recipe: str, resume: bool) -> None:
        known = self.path / "recipe.toml"
        if not known.exists():
            # A killed process may leave the lock and an empty checkpoint folder before the recipe is written.
            strangers = {p.name for p in self.path.iterdir()} - {"lock", "checkpoints"} if self.path.is_dir() else set()
            if strangers or self.path.is_file():
                raise InputError(f"{self.path} exists and is no run directory (it holds {sorted(strangers)[:3]})")
            return
        if not resume:
            raise InputError(f"{self.path} already holds a run; pass --resume to go on, or choose another directory")
        if known.read_text() != recipe:
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
        try:
            return [json.loads(line) for line in path.read_text().splitlines()]
        except ValueError as error:
            raise ArtefactError(f"{path} is damaged ({error}); remove {self.path} and run again") from error

    def finished(self, phase: str) -> dict[str, Any] | None:
        """The ledger entry of a phase, or None if it has not finished."""
        return next((entry for entry in self.ledger() if entry["phase"] == phase), None)

    def append(self, entry: Mapping[str, Any]) -> None:
        """Add a finished phase to the ledger.

        Raises:
            RunError: if the phase is there already: it was run twice.
        """
        if self.finished(entry["phase"]) is not None:
            raise RunError(f"phase {entry['phase']!r} is already in {self.path / 'ledger.jsonl'}")
        lines = [json.dumps(line, allow_nan=False) for line in [*self.ledger(), dict(entry)]]
        write_text(self.path / "ledger.jsonl", "\n".join(lines) + "\n")

    def save(self, name: str, tree: Any) -> None:
        """Write the checkpoint `name` atomically: after a kill there is the old one or the new one."""
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
        self.checkpoint_path(name).unlink(missing_ok=True)

    def checkpoint_path(self, name: str) -> Path:
        """Where the checkpoint `name` is, or would be."""
        return self.path / "checkpoints" / f"{name}.safetensors"
