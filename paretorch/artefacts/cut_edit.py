"""The edit of removing channels between two layers; what it does to the model stands in `cutting`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from paretorch.artefacts.cutting import Cut, CutParameter, channel_numbers, plan_cut
from paretorch.artefacts.edits import Edit, require_fields
from paretorch.errors import InputError


@dataclass(frozen=True, kw_only=True)
class CutEdit(Edit):
    """Of the channels that `producer` makes and `consumer` reads, only `keep` stay.

    Args:
        producer: name of a Linear or Conv1-3d.
        consumer: name of the layer that reads its outputs.
        keep: the channels that stay, increasing, counted from 0; numbers are those before this cut.
        norms: names of the BatchNorm layers between the two, all of them.

    Raises:
        InputError: `keep` is empty, negative or not increasing, or a name is no text.
    """

    producer: str
    consumer: str
    keep: tuple[int, ...]
    norms: tuple[str, ...] = ()

    kind: ClassVar[str] = "cut"

    def __post_init__(self) -> None:
        object.__setattr__(self, "keep", channel_numbers(self.keep))
        norms = tuple(self.norms) if isinstance(self.norms, list | tuple) else (None,)
        if not all(isinstance(name, str) for name in (self.producer, self.consumer, *norms)):
            raise InputError(
                f"producer and consumer are names of layers, norms a tuple of names; got {self.producer!r}, "
                f"{self.consumer!r}, {self.norms!r}."
            )
        object.__setattr__(self, "norms", norms)

    def to_dict(self) -> dict[str, Any]:
        """The fields as they are, tuples as lists."""
        return {
            "producer": self.producer,
            "consumer": self.consumer,
            "keep": list(self.keep),
            "norms": list(self.norms),
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """The edit from its fields; it has no tensors.

        Raises:
            InputError: fields or tensors that it does not have, or values that do not describe a cut.
        """
        require_fields(cls.kind, [*fields, *tensors], ("producer", "consumer", "keep", "norms"))
        return cls(**fields)

    def plan(self, model: nn.Module) -> Cut:
        """Work out the cut without making it; see `cutting.plan_cut`."""
        return plan_cut(model, producer=self.producer, consumer=self.consumer, keep=self.keep, norms=self.norms)

    def apply(self, model: nn.Module) -> None:
        """Make the cut, in place; see `cutting.plan_cut` for what is raised."""
        self.plan(model).apply_()


def cut_parameters(model: nn.Module, edit: CutEdit) -> dict[str, CutParameter]:
    """Full parameter name -> old and new parameter of a cut, without changing the model.

    Raises:
        InputError: the edit does not fit the model.
    """
    return edit.plan(model).parameters


def cut_pair(model: nn.Module, edit: CutEdit) -> dict[str, CutParameter]:
    """Cut a live model in place, and return the old and the new parameters by name, for migrating optimizer state.

    Optimizers still hold the old parameters; `cutting` shows how a trainer replaces them.

    Raises:
        InputError: the edit does not fit the model, which is then unchanged.
    """
    cut = edit.plan(model)
    cut.apply_()
    return cut.parameters
