"""A training that several arms of one seed start from: run once, in a run directory of its own, which has no record.

It belongs to no arm alone and is no contestant; each arm's own record holds its ledger lines and is charged for them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from paretorch.errors import NotFiniteError
from paretorch.pipelines.compression import Compression, Start
from paretorch.pipelines.dense import DenseResult
from paretorch.pipelines.run_writer import RunWriter
from paretorch.training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What several arms of one seed start from, and how many they are."""

    start: Start
    arms: int

    def notes(self) -> tuple[str, ...]:
        """What readers of each of these arms' records must know."""
        if self.arms == 1 or not self.start.entries:
            return ()
        phases = ", ".join(repr(entry["phase"]) for entry in self.start.entries)
        return (f"Phases trained once for {self.arms} arms, and charged in full to each of them: {phases}.",)


@dataclass(frozen=True, kw_only=True)
class SharedStarts:
    """The shared trainings of one seed, each run when the first arm asks for it.

    Attributes:
        compressions: of all arms.
        writer: of the sweep, for the directories.
        out: folder of the sweep.
        trainer: of the task and the seed.
        dense: the dense model of the seed.
    """

    compressions: Sequence[Compression]
    writer: RunWriter
    out: Path
    trainer: Trainer
    dense: DenseResult
    _found: dict[str, Shared | NotFiniteError] = field(default_factory=dict)

    def of(self, compression: Compression) -> Shared | None:
        """What this arm starts from; None if it shares nothing.

        Raises:
            NotFiniteError: if the shared training diverges; all arms of the key are told.
        """
        key = compression.shared_key
        if key is None:
            return None
        if key not in self._found:
            self._found[key] = self._train(compression, key)
        found = self._found[key]
        if isinstance(found, NotFiniteError):
            raise found
        return found

    def _train(self, compression: Compression, key: str) -> Shared | NotFiniteError:
        given = self.trainer
        with self.writer.directory(self.out, f"{key}-s{given.seed}") as directory:
            try:
                start = compression.train_shared(given.in_directory(directory), self.dense)
            except NotFiniteError as error:
                return error
        return Shared(start=start, arms=num_sharing(self.compressions, key))


def num_sharing(compressions: Sequence[Compression], key: str) -> int:
    """How many arms have this key."""
    return sum(other.shared_key == key for other in compressions)
