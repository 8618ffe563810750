"""`[[arm]]` with `method = "ticket-search"`: a ticket is searched by continuous sparsification, rewound and trained."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from paretorch.errors import InputError
from paretorch.methods.sparsity.continuous.search_round import SearchRound
from paretorch.pipelines.arm import Arm
from paretorch.pipelines.ticket_search import TicketSearch
from paretorch.recipes.arm_table import ArmTable, check_rates
from paretorch.recipes.bimp_table import TOTAL
from paretorch.recipes.strict import Finite, NotNegative, Positive, Sparsity

PATTERNS: Mapping[str, str] = {"include": "only", "exclude": "without"}


class TicketTable(ArmTable):
    """One search and the training of what it found, within one budget."""

    lists: ClassVar[tuple[str, ...]] = ("tune_lr", "include", "exclude")

    method: Literal["ticket-search"]
    sparsity: Sparsity | None = None
    epochs: Positive
    rounds: Annotated[int, Field(ge=1)] = 3
    ticket_epochs: Positive | None = None
    rewind_epochs: NotNegative = 2.0
    lr: Positive | None = None
    tune_lr: list[Positive] = Field(default=[])
    include: list[str] | None = None
    exclude: list[str] | None = None
    initial: Finite = -0.1
    final_beta: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 200.0
    strength: NotNegative = 1.0
    penalty: NotNegative = 0.0
    scaled: bool | None = None
    mask_lr: Positive = 0.1
    legacy_reset: bool = False

    def arm(self) -> Arm:
        check_rates(self.lr, self.tune_lr)
        if self.sparsity is None and "strength" in self.model_fields_set:
            raise InputError(
                f"strength = {self.strength} pulls to a sparsity, and none is given; give one, or leave it"
            )
        special = self._special()
        goal = "what is open" if self.sparsity is None else f"{self.sparsity * 100:.4g} %"
        words = f"CS ticket{' tuned' if self.tune_lr else ''} {goal} {self.epochs:g} epochs {self.rounds} rounds"
        factors: dict[str, Any] = {"method": "CS ticket", TOTAL: self.epochs, "rounds": self.rounds}
        if self.sparsity is not None:
            factors["sparsity"] = self.sparsity
        names = ("initial", "final_beta", "strength", "penalty", "scaled", "mask_lr", "legacy_reset", *PATTERNS)
        return Arm(
            id=f"{self.method}-{self.digest()}",
            label=self.name or " ".join([words, *(f"{name} {value}" for name, value in special.items())]),
            factors=factors | ({"tuned": True} if self.tune_lr else {}) | special,
            compression=TicketSearch(
                sparsity=self.sparsity,
                epochs=self.epochs,
                rounds=self.rounds,
                ticket_epochs=self.ticket_epochs,
                rewind_epochs=self.rewind_epochs,
                search=partial(SearchRound, **{name: getattr(self, name) for name in names}),
                lr=self.lr,
            ),
            rates=tuple(self.tune_lr),
        )

    def _special(self) -> dict[str, Any]:
        """The settings that differ from the usual ones, for names and factors: two arms must never look alike."""
        told = {"method", "name", "sparsity", "epochs", "rounds", "tune_lr"}
        found = {}
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if name not in told and value != field.get_default():
                found[PATTERNS.get(name, name.replace("_", " "))] = ", ".join(value) if name in PATTERNS else value
        return found
