"""`[[arm]]`: what the tables of all methods have in common, and the keys of those that train within a budget."""

import hashlib
import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Field

from paretorch.errors import InputError
from paretorch.methods.distillation.objective import ALPHA, FEATURE_WEIGHT, TEMPERATURE
from paretorch.methods.distillation.settings import DistillationSettings
from paretorch.pipelines.arm import Arm
from paretorch.pipelines.compression import Compression
from paretorch.pipelines.retraining import Retraining
from paretorch.recipes.strict import Name, NotNegative, Positive, Strict

BATCHES = 20
TEACHING = ("temperature", "distill_weight", "features", "feature_weight")  # keys that a teacher makes sense of


class ArmTable(Strict):
    """One point of an `[[arm]]` grid. A method's own table is a subclass, entered in `arm_methods`.

    Attributes:
        lists: keys that are lists by nature, and do not expand into a grid; a subclass may repeat or leave out those of
            its bases.
        added_later: keys that the names of folders leave out where they have their defaults, so that a sweep which was
            begun before there were such keys is resumed and not run twice.
        random_control: keys that make of an arm the same with what it removes drawn at random, which a comparison runs
            beside it; None if there is no such thing.
    """

    lists: ClassVar[tuple[str, ...]] = ("tune_lr",)
    added_later: ClassVar[tuple[str, ...]] = ()
    random_control: ClassVar[Mapping[str, Any] | None] = None

    method: str
    name: Name | None = None

    @abstractmethod
    def arm(self) -> Arm:
        """The pipeline of this point.

        Raises:
            InputError: for keys that exclude one another, or as the compression raises.
        """

    @classmethod
    def list_keys(cls) -> set[str]:
        """All keys of `lists`, those of the bases included."""
        return {key for base in cls.__mro__ for key in vars(base).get("lists", ())}

    def digest(self) -> str:
        """Eight characters that differ wherever two points of a method do, for the name of a folder."""
        usual = {key for key in self.added_later if getattr(self, key) == type(self).model_fields[key].default}
        identity = json.dumps(self.model_dump(exclude={"method", *usual}), sort_keys=True)
        return hashlib.sha256(identity.encode()).hexdigest()[:8]


class BudgetTable(ArmTable):
    """An arm that is trained within a budget, by one of the retraining schedules."""

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

    def special_rates(self) -> dict[str, Any]:
        """The settings of retraining that differ from the usual ones."""
        return {
            "lr": self.lr,
            "batch-norm batches": self.reestimate_batches if self.reestimate_batches != BATCHES else None,
        }


def check_rates(lr: float | None, tune_lr: Sequence[float]) -> None:
    """Refuse a rate beside rates to choose from, and a rate that is named twice.

    Raises:
        InputError: saying which.
    """
    if tune_lr and lr is not None:
        raise InputError("an arm has either `lr` or `tune_lr`")
    if len(set(tune_lr)) < len(tune_lr):
        raise InputError(f"tune_lr = {tune_lr} holds a rate twice, which would be trained and charged twice")


class RetrainedTable(BudgetTable):
    """An arm that is compressed first and then retrained, by labels alone or with a teacher, and may be averaged."""

    lists: ClassVar[tuple[str, ...]] = ("features",)
    added_later: ClassVar[tuple[str, ...]] = ("distill", *TEACHING, "average_from")

    distill: bool = False
    temperature: Positive = TEMPERATURE
    distill_weight: Annotated[float, Field(ge=0, le=1)] = ALPHA
    features: list[str] = Field(default=[])
    feature_weight: NotNegative = FEATURE_WEIGHT
    average_from: Annotated[float, Field(ge=0, lt=1)] | None = None

    def retrained_arm(
        self, compression: Compression, *, factors: Mapping[str, Any], goal: str, special: Mapping[str, Any]
    ) -> Arm:
        return super().retrained_arm(
            compression, factors=factors, goal=goal, special={**special, **self._special_teaching()}
        )

    def retraining(self, **own: Any) -> Retraining:
        return super().retraining(distillation=self._distillation(), average_from=self.average_from, **own)

    def _distillation(self) -> DistillationSettings | None:
        """Who teaches; None for labels alone.

        Raises:
            InputError: for keys of a teacher without one, or as `DistillationSettings`.
        """
        if self.distill:
            if "feature_weight" in self.model_fields_set and not self.features:
                raise InputError(
                    f"feature_weight = {self.feature_weight} belongs to features, and none are named; give features, "
                    "or leave it out"
                )
            return DistillationSettings(
                temperature=self.temperature,
                alpha=self.distill_weight,
                features=tuple(self.features),
                feature_weight=self.feature_weight,
            )
        if unheard := sorted({*TEACHING} & self.model_fields_set):
            verb = "belongs" if len(unheard) == 1 else "belong"
            raise InputError(f"{' and '.join(unheard)} {verb} to a teacher, and there is none without distill = true")
        return None

    def _special_teaching(self) -> dict[str, Any]:
        given: dict[str, Any] = {"averaged from": self.average_from}
        if self.distill:
            given |= {
                "teacher": "dense",
                "temperature": self.temperature if self.temperature != TEMPERATURE else None,
                "teacher's part": self.distill_weight if self.distill_weight != ALPHA else None,
                "features": ", ".join(self.features) or None,
                "features' weight": self.feature_weight if self.feature_weight != FEATURE_WEIGHT else None,
            }
        return {name: value for name, value in given.items() if value is not None}
