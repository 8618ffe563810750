"""`[[arm]]`: what the tables of all methods have in common, and the keys of those that retrain within a budget."""

import hashlib
import json
from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from paretorch.errors import InputError
from paretorch.pipelines.arm import Arm
from paretorch.pipelines.compression import Compression
from paretorch.pipelines.retraining import Retraining
from paretorch.recipes.strict import NotNegative, Positive, Strict

BATCHES = 20


class ArmTable(Strict):
    """One point of an `[[arm]]` grid. A method's own table is a subclass, entered in `arm_methods`.

    Attributes:
        lists: keys that are lists by nature, and do not expand into a grid.
        random_control: keys that make of an arm the same with what it removes drawn at random, which a comparison runs
            beside it; None if there is no such thing.
    """

    lists: ClassVar[tuple[str, ...]] = ("tune_lr",)
    random_control: ClassVar[Mapping[str, Any] | None] = None

    method: str
    name: str | None = None

    @abstractmethod
    def arm(self) -> Arm:
        """The pipeline of this point.

        Raises:
            InputError: for keys that exclude one another, or as the compression raises.
        """

    def digest(self) -> str:
        """Eight characters that differ wherever two points of a method do, for the name of a folder."""
        identity = json.dumps(self.model_dump(exclude={"method"}), sort_keys=True)
        return hashlib.sha256(identity.encode()).hexdigest()[:8]


class RetrainedTable(ArmTable):
    """An arm that is compressed and then retrained within a budget, by one of the retraining schedules."""

    epochs: NotNegative | None = None
    minutes: NotNegative | None = None
    schedule: str = "ALLR"
    lr: Positive | None = None
    tune_lr: list[Positive] = Field(default=[])
    reestimate_batches: Annotated[int, Field(ge=0)] = BATCHES

    def retrained_arm(
        self, compression: Compression, *, factors: Mapping[str, Any], goal: str, special: Mapping[str, Any]
    ) -> Arm:
        """The arm of a compression.

        Args:
            compression: what is done.
            factors: what distinguishes the arm, beside its schedule and its budget; "method" is what people call it.
            goal: how far it compresses, for the label.
            special: settings that differ from the usual ones, for names and factors: two arms must never look alike.
        """
        budget = {"epochs": self.epochs} if self.epochs is not None else {"minutes": self.minutes}
        amount = f"{self.epochs:g} epochs" if self.epochs is not None else f"{self.minutes:g} minutes"
        schedule, tuned = self.schedule.upper(), {"tuned": True} if self.tune_lr else {}
        parts = [f"{factors['method']} {schedule}{' tuned' if self.tune_lr else ''} {goal} {amount}"]
        parts += [f"{factors['cycles']} cycles"] if factors.get("cycles", 1) > 1 else []
        parts += [str(value) if name == "allocation" else f"{name} {value}" for name, value in special.items()]
        first = {"method": factors["method"], "schedule": schedule, **budget}
        return Arm(
            id=f"{self.method}-{schedule.lower()}-{self.digest()}",
            label=self.name or " ".join(parts),
            factors=first | dict(factors) | tuned | dict(special),
            compression=compression,
            rates=tuple(self.tune_lr),
        )

    def retraining(self, **own: Any) -> Retraining:
        """How the arm is retrained; `own` are settings that only some methods have."""
        return Retraining(schedule=self.schedule.upper(), lr=self.lr, reestimate_batches=self.reestimate_batches, **own)

    def check_rates(self) -> None:
        """Refuse a rate beside rates to choose from, and a rate that is named twice.

        Raises:
            InputError: saying which.
        """
        if self.tune_lr and self.lr is not None:
            raise InputError("an arm has either `lr` or `tune_lr`")
        if len(set(self.tune_lr)) < len(self.tune_lr):
            raise InputError(f"tune_lr = {self.tune_lr} holds a rate twice, which would be trained and charged twice")

    def special_rates(self) -> dict[str, Any]:
        """The settings of retraining that differ from the usual ones."""
        return {
            "lr": self.lr,
            "batch-norm batches": self.reestimate_batches if self.reestimate_batches != BATCHES else None,
        }
