"""What an arm does to a dense model: the contract between sweeps and comparisons and every way to compress.

A way to compress starts from the dense model of its seed. One that first trains something that several arms can use,
such as one elastic model for many budgets, names it by a `shared_key`: that training is then run once per seed in a
run directory of its own, and every arm of the same key starts from what came of it and is charged for all of it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from torch import nn

from paretorch.artefacts.edits import Edit
from paretorch.errors import InputError
from paretorch.methods.method import Method
from paretorch.methods.schedules import DenseSchedule
from paretorch.pipelines.dense import DenseResult
from paretorch.training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class Start:
    """What an arm starts from.

    Attributes:
        model: trained; it is left as it is, because other arms start from it too.
        schedule: the learning rates that the dense model was trained with.
        entries: ledger lines of a training that arms share; none where the model is the dense one.
        edits: what turned the task's fresh model into `model`, for the artefact.
        found: what else the shared training found, for the arms that know it, such as an archive of measured points.
    """

    model: nn.Module
    schedule: DenseSchedule
    entries: Sequence[dict[str, Any]] = ()
    edits: tuple[Edit, ...] = ()
    found: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Compressed:
    """A compressed and retrained model.

    Attributes:
        model: finished.
        entries: one ledger line per phase, from the start on.
        edits: what turns the task's fresh model into one of this shape with these zeros, in order, for the artefact.
        notes: what readers of the record must know.
    """

    model: nn.Module
    entries: Sequence[dict[str, Any]]
    edits: tuple[Edit, ...] = ()
    notes: tuple[str, ...] = ()


class Compression(ABC):
    """One way to compress. Implementations are frozen dataclasses; the recipe's tables build them.

    Attributes:
        epochs: how long one model is trained; None if that is given in minutes.
        from_dense: whether the model comes from the dense one, whose training is then part of its cost.
        compresses: whether the model differs from the dense one in more than the values of its weights; if not, it is
            not timed beside the dense one, and nothing is looked for that compression broke.
        shared_key: names what is trained once per seed for all arms of this key, as a folder `runs/<key>-s<seed>`; two
            compressions of one key must train the same. None: nothing is shared.
        trial_kind: the kind of phase at whose time per step a comparison charges a trial that is not kept, which may
            have had phases of several kinds: the one with the longest steps.
    """

    epochs: float | None
    from_dense: bool = True
    compresses: bool = True
    shared_key: str | None = None
    trial_kind: ClassVar[str] = "retrain"

    @property
    def granted_epochs(self) -> float | None:
        """What a run that diverges is charged for: `epochs`, times the models that are trained that long."""
        return self.epochs

    @abstractmethod
    def method_ids(self) -> list[str]:
        """Cards of the methods that act."""

    @abstractmethod
    def plan(self, trainer: Trainer) -> tuple[str, int | None]:
        """What `run_from` does, in words, and its optimizer steps; None if they are not known before."""

    @abstractmethod
    def check(self, trainer: Trainer, model: nn.Module, *, dense: DenseSchedule) -> None:
        """Refuse what `run_from` or `train_shared` would refuse, before a dense model is trained.

        Args:
            trainer: without a directory.
            model: fresh; it is left as it is.
            dense: the learning rates that the dense model will be trained with.

        Raises:
            InputError: saying what does not fit.
        """

    @abstractmethod
    def at_rate(self, rate: float) -> Self:
        """The same with this learning rate of retraining, for tuning."""

    def among(self, others: "Sequence[Compression]") -> Self:
        """The same, as one of the arms of a recipe: what is shared then serves all of them; by default as it is.

        Args:
            others: the compressions of all arms of the recipe, this one included.
        """
        return self

    @abstractmethod
    def run_from(self, trainer: Trainer, start: Start) -> Compressed:
        """Compress and retrain a copy of what `start` holds.

        Args:
            trainer: its directory, if it has one, makes every phase resumable.
            start: the dense model, or what `train_shared` returned.

        Raises:
            InputError: as `check`.
            NotFiniteError: if a loss becomes NaN or infinite.
        """

    def rehearsal(self, trainer: Trainer) -> tuple[nn.Module, Sequence[Method]]:
        """A fresh model as it is while it is retrained, and the methods that act, for timing a step beforehand.

        Raises:
            InputError: if the step cannot be known before the run, so that no comparison can be made.
        """
        raise InputError(
            f"{type(self).__name__} cannot be an arm of a comparison: comparisons time training steps beforehand, and "
            "its steps are not known before it has run; use `paretorch run`"
        )

    def rehearsals(self, trainer: Trainer) -> Mapping[str, tuple[nn.Module, Sequence[Method]]]:
        """Kind of phase -> `rehearsal` of it; by default there is one kind.

        Raises:
            InputError: as `rehearsal`.
        """
        return {self.trial_kind: self.rehearsal(trainer)}

    def plan_shared(self, trainer: Trainer) -> tuple[str, int | None]:
        """What `train_shared` does, in words, and its optimizer steps. Only called with a `shared_key`."""
        raise NotImplementedError(f"{type(self).__name__} has a shared_key and no plan_shared")

    def train_shared(self, trainer: Trainer, dense: DenseResult) -> Start:
        """Train what all arms of one `shared_key` start from; only called where there is one.

        Args:
            trainer: with the directory of the shared training, which makes it resumable.
            dense: the dense model of the seed, which is left as it is.

        Raises:
            NotFiniteError: if a loss becomes NaN or infinite; all arms of the key have then diverged.
        """
        raise NotImplementedError(f"{type(self).__name__} has a shared_key and no train_shared")
