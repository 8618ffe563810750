"""`[train]` and `[dense]`: how every phase is trained, and how long and along which curve the dense model is."""

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field

from paretorch.errors import InputError
from paretorch.methods.schedules import Constant, Cosine, Linear, MultiStep, Schedule
from paretorch.recipes.optimizer_table import OptimizerTable
from paretorch.recipes.strict import NotNegative, Positive, Strict
from paretorch.training.settings import TrainSettings


class TrainTable(OptimizerTable):
    """`[train]`: how every phase is trained."""

    batch_size: Annotated[int, Field(ge=1)] = 128
    clip_norm: Positive | None = None
    accumulate: Annotated[int, Field(ge=1)] = 1
    precision: Literal["no", "bf16", "fp16"] = "no"
    device: str | None = None
    checkpoint_seconds: NotNegative = 30.0

    def settings(self) -> TrainSettings:
        """The same as the trainer takes it.

        Raises:
            InputError: for a setting that the chosen optimizer does not have.
        """
        try:
            optimizer = self.spec()
        except InputError as error:
            raise InputError(f"[train] {error}") from error
        return TrainSettings(
            batch_size=self.batch_size,
            optimizer=optimizer,
            clip_norm=self.clip_norm,
            accumulate=self.accumulate,
            precision=self.precision,
            device=self.device,
            checkpoint_seconds=self.checkpoint_seconds,
        )


class CurveTable(Strict):
    """A learning-rate curve; the peak is `[train] lr`."""

    schedule: Literal["multistep", "linear", "cosine", "constant"] = "multistep"
    milestones: list[float] = Field(default=[0.5, 0.75])
    factor: Positive = 0.1
    warmup: NotNegative = 0.0

    def curve(self, peak: float) -> Callable[[int], Schedule]:
        """The schedule as a function of its number of steps.

        Raises:
            InputError: for a setting that the chosen schedule does not have.
        """
        if self.schedule != "multistep" and (ignored := sorted(self.model_fields_set & {"milestones", "factor"})):
            raise InputError(f"{self.where} {' and '.join(ignored)} belong to multistep; {self.schedule!r} has none")

        def build(num_steps: int) -> Schedule:
            if self.schedule == "multistep":
                return MultiStep(
                    num_steps=num_steps,
                    peak=peak,
                    warmup=self.warmup,
                    milestones=tuple(self.milestones),
                    factor=self.factor,
                )
            kind = {"linear": Linear, "cosine": Cosine, "constant": Constant}[self.schedule]
            return kind(num_steps=num_steps, peak=peak, warmup=self.warmup)

        return build

    @property
    def where(self) -> str:
        """The table's name in messages."""
        return "[dense]"


class DenseTable(CurveTable):
    """`[dense]`: length and learning-rate curve of dense training; the peak is `[train] lr`.

    With `published`, published weights stand for the dense model, and the rest says how they were trained.
    """

    epochs: Positive
    published: str | None = None
