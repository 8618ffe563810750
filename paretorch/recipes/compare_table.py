"""`[compare]` and `[[dense_arm]]`: which families of durations are compared, and what may be left out."""

from typing import Annotated, Any, Literal

from pydantic import Field

from paretorch.evidence.families import Axis
from paretorch.recipes.strict import Finite, Name, Positive, Strict
from paretorch.recipes.train_table import CurveTable


class CompareTable(Strict):
    """`[compare]`: the candidate, its baseline, and the durations of both."""

    candidate: str
    baseline: str
    durations: Annotated[list[Positive], Field(min_length=1)]
    axis: Axis = "seconds"
    mode: Literal["claim", "screening"] = "claim"
    qualities: list[Finite] = Field(default=[])
    smaller: dict[str, Any] | None = None
    left_out: dict[Literal["smaller", "random"], Annotated[str, Field(min_length=1)]] = Field(default={})


class DenseArmTable(CurveTable):
    """`[[dense_arm]]`: a model trained from scratch at every duration."""

    name: Name
    tune_lr: list[Positive] = Field(default=[])
    stop_early: bool = False
    train: dict[str, Any] = Field(default={})
    task_options: dict[str, Any] = Field(default={})

    @property
    def where(self) -> str:
        return f"[[dense_arm]] {self.name!r}"
