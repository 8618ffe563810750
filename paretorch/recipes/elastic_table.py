"""`[[arm]]` with `method = "elastic"` or `"dpod"`: models of several sizes out of one elastic training.

Arms that differ only in their budget and in fine-tuning share the training: it is run once per seed, and each of them
is charged for all of it. In "dpod" the widths shrink while it trains; there, a budget is of one footprint.
"""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from paretorch.errors import InputError
from paretorch.methods.width.dpod_events import WINDOW, ShrinkPlan
from paretorch.pipelines.arm import Arm
from paretorch.pipelines.elastic import Budgets, Elastic, ElasticRun, Widths
from paretorch.pipelines.retraining import Retraining
from paretorch.recipes.arm_table import RetrainedTable, check_rates
from paretorch.recipes.strict import NotNegative, Positive

Part = Annotated[float, Field(gt=0, le=1)]


class FamilyTable(RetrainedTable):
    """What both have in common."""

    lists: ClassVar[tuple[str, ...]] = ("tune_lr", "pins", "window")

    elastic_epochs: Positive
    params: Part | None = None
    macs: Part | None = None
    activations: Part | None = None
    latency: Part | None = None
    latency_table: str | None = None
    sampler: str = "single-layer"
    full_pass: bool = False
    start: Literal["scratch", "dense"] = "scratch"
    elastic_schedule: str = "SLR"
    elastic_lr: Positive | None = None
    quantum: Annotated[int, Field(ge=1)] | None = None
    min_ratio: Annotated[float, Field(ge=0, le=1)] = 0.125
    pins: list[str] = Field(default=[])
    calibration_examples: Annotated[int, Field(ge=2)] = 1000
    schedule: str = "CLR"
    peak_share: Part = 0.2

    def arm(self) -> Arm:
        check_rates(self.lr, self.tune_lr)
        budgets = Budgets(
            params=self.params,
            macs=self.macs,
            activations=self.activations,
            latency=self.latency,
            latency_table=None if self.latency_table is None else Path(self.latency_table),
        )
        elastic = Elastic(
            run=self._run(budgets),
            budgets=budgets,
            epochs=self.epochs,
            minutes=self.minutes,
            finetuning=self.retraining(),
            peak_share=self.peak_share,
        )
        factors = {"method": self._words(), "elastic epochs": self.elastic_epochs, **budgets.given()}
        goal = f"{budgets.words()} {self.elastic_epochs:g} elastic +"
        return self.retrained_arm(elastic, factors=factors, goal=goal, special=self._special())

    def _words(self) -> str:
        """What people call it."""
        return f"elastic {self.sampler}"

    def _shrink(self, budgets: Budgets) -> ShrinkPlan | None:
        """How the centre shrinks; here it does not."""
        return None

    def _run(self, budgets: Budgets) -> ElasticRun:
        return ElasticRun(
            epochs=self.elastic_epochs,
            sampler=self.sampler,
            shrink=self._shrink(budgets),
            widths=Widths(quantum=self.quantum, min_ratio=self.min_ratio, pins=tuple(self.pins)),
            full_pass=self.full_pass,
            training=Retraining(
                schedule=self.elastic_schedule.upper(), lr=self.elastic_lr, reestimate_batches=self.reestimate_batches
            ),
            from_dense=self.start == "dense",
            calibration_examples=self.calibration_examples,
        )

    def _special(self) -> dict[str, Any]:
        """The settings that differ from the usual ones, for names and factors."""
        rates = self.special_rates()
        found = {
            "full pass": "with the full model as teacher" if self.full_pass else None,
            "start": self.start if self.start != "scratch" else None,
            "elastic schedule": self.elastic_schedule.upper() if self.elastic_schedule.upper() != "SLR" else None,
            "elastic lr": self.elastic_lr,
            "quantum": self.quantum,
            "min ratio": self.min_ratio if self.min_ratio != 0.125 else None,
            "latency table": self.latency_table,
            "pinned": ", ".join(self.pins) or None,
            "calibration examples": self.calibration_examples if self.calibration_examples != 1000 else None,
            "peak share": self.peak_share if self.peak_share != 0.2 else None,
            **rates,
        }
        return {name: value for name, value in found.items() if value is not None}


class ElasticTable(FamilyTable):
    """Widths are trained together; the centre stays at full widths."""

    method: Literal["elastic"]


class DpodTable(FamilyTable):
    """The centre shrinks while it trains."""

    method: Literal["dpod"]
    window: Annotated[list[float], Field(min_length=2, max_length=2)] = Field(default=list(WINDOW))
    tolerance: NotNegative | None = None
    all_levels: bool = False

    def _words(self) -> str:
        return "DPOD (reconstructed)" if self.sampler == "single-layer" else f"shrinking {self.sampler}"

    def _shrink(self, budgets: Budgets) -> ShrinkPlan:
        given = budgets.given()
        if len(given) != 1:
            raise InputError(
                f'method = "dpod" shrinks by one footprint; give one of params, macs and activations, not {list(given)}'
            )
        ((key, part),) = given.items()
        return ShrinkPlan(
            target=part,
            key=key,
            window=(self.window[0], self.window[1]),
            tolerance=self.tolerance,
            all_levels=self.all_levels,
        )

    def _special(self) -> dict[str, Any]:
        found = {
            "window": f"{self.window[0]:g} to {self.window[1]:g}" if tuple(self.window) != WINDOW else None,
            "tolerance": self.tolerance,
            "levels": "all" if self.all_levels else None,
        }
        return super()._special() | {name: value for name, value in found.items() if value is not None}
