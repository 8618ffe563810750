"""Soft parameter sharing as a method of a training phase: shared layers, recurrence regulariser, folding at the end.

    start       share the model's layers, unless an earlier phase did; coefficients and factors get no weight decay
    each step   loss + lambda_t sum over groups of sum_ij (1 - S_ij^p)
    finish      keep the templates, or fold layers that became alike into tied ones

In a phase after the one that folded, the method only keeps weight decay off the factors that are left.

Which layers are one layer is read off the coefficients after an ordinary training run: an architecture search without a
search. Saves parameters, optimizer state and communication, and no products.

Source: Savarese and Maire, ICLR 2019.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from paretorch.errors import InputError
from paretorch.methods.card import Card, HyperParameter
from paretorch.methods.cost_model import Effect, Effects, LayerShape
from paretorch.methods.method import Method, Run
from paretorch.methods.sharing.absorbing import following_norms
from paretorch.methods.sharing.decay import bring_together_, exchange_, set_apart_
from paretorch.methods.sharing.fold import Folding, fold_
from paretorch.methods.sharing.regulariser import ramp, recurrence_penalty
from paretorch.methods.sharing.similarity import LayerSimilarity, layer_similarity
from paretorch.methods.sharing.templates import folded_groups, mixing_parameters, settled, share_, shared_groups


class SoftSharing(Method):
    """Trains layers that share templates.

    Logs, after every epoch, the mean similarity over pairs of layers of a group, as `similarity`.

    Args:
        templates: k, as in `share_`; None for a model that shares already.
        groups, unit_rows: as in `share_`; only with `templates`.
        recurrence: lambda at the end of its ramp; 0 leaves the loss alone.
        power: p, 1 (the paper's, as recalled) or 2, which has no minima where layers are not alike; see `regulariser`.
        ramp: fractions of the run at which lambda begins to grow and is reached.
        fold: the threshold of `fold_` at the end of the phase; None keeps the templates. Batch norms that follow
            absorb factors where the run has a task, whose example inputs show them.

    Attributes:
        similarities: of every group, before folding; after `finish`. {} where an earlier phase folded.
        folding: what was folded; None before `finish`, or without a threshold.

    Raises:
        InputError: for a number out of range, or groups without templates.
    """

    name = "soft-sharing"

    def __init__(
        self,
        *,
        templates: int | Mapping[str, int] | None = None,
        groups: Mapping[str, Sequence[str]] | None = None,
        unit_rows: bool = False,
        recurrence: float = 0.0,
        power: int = 1,
        ramp: tuple[float, float] = (0.0, 1.0),
        fold: float | None = None,
    ) -> None:
        if templates is None and (groups is not None or unit_rows):
            raise InputError("groups and unit_rows say how layers are shared; give templates too")
        if not 0 <= recurrence < float("inf"):
            raise InputError(f"recurrence must be a finite number of at least 0; got {recurrence}")
        if power not in (1, 2):
            raise InputError(f"power must be 1 or 2; got {power}")
        if not 0 <= ramp[0] <= ramp[1] <= 1:
            raise InputError(f"ramp must be two fractions of the run, 0 <= begin <= end <= 1; got {ramp}")
        if fold is not None and not 0 < fold <= 1:
            raise InputError(f"fold must be a similarity in (0, 1], or None; got {fold}")
        self.templates, self.groups, self.unit_rows = templates, groups, unit_rows
        self.recurrence, self.power, self.ramp, self.fold = recurrence, power, ramp, fold
        self.similarities: dict[str, LayerSimilarity] = {}
        self.folding: Folding | None = None

    def start(self, run: Run) -> None:
        """Share, and set coefficients and factors apart in the main optimizer.

        Raises:
            InputError: as `share_`; if nothing is shared and `templates` is None; if an earlier phase shared with
                another number of templates; or if templates left the model with the layer that held them.
        """
        self.similarities, self.folding = {}, None
        if self.templates is None:
            if not shared_groups(run.model) and not folded_groups(run.model):
                raise InputError(f"{type(run.model).__name__} shares nothing: give templates, or call share_ first")
        elif not settled(run.model, templates=self.templates, groups=self.groups):
            before = list(run.model.parameters())
            share_(run.model, templates=self.templates, groups=self.groups, unit_rows=self.unit_rows)
            exchange_(run.optimizer, before, run.model)
        held = {id(parameter) for parameter in run.model.parameters()}
        if lost := [name for name, one in shared_groups(run.model).items() if id(one.bank.templates) not in held]:
            raise InputError(
                f"the templates of {lost} are no parameters of the model: their first layer, which holds them, was "
                "taken out; share the layers after the model has its final shape"
            )
        set_apart_(run.optimizer, mixing_parameters(run.model).values())

    def strength(self, step: int, num_steps: int) -> float:
        """lambda at a step."""
        return self.recurrence * ramp(step, num_steps, begin=self.ramp[0], end=self.ramp[1])

    def penalty(self, run: Run) -> Tensor | None:
        strength = self.strength(run.step, run.num_steps)
        if not strength or not shared_groups(run.model):
            return None
        return strength * recurrence_penalty(run.model, power=self.power)

    def epoch_end(self, run: Run) -> None:
        if shared_groups(run.model):
            found = layer_similarity(run.model).values()
            run.log(similarity=sum(one.mean for one in found) / len(found))

    def finish(self, run: Run) -> None:
        """Remember how similar layers are, and fold them if there is a threshold."""
        self.similarities = layer_similarity(run.model) if shared_groups(run.model) else {}
        bring_together_(run.optimizer)
        before = list(run.model.parameters())
        if self.fold is not None and self.similarities:
            norms = {} if run.task is None else following_norms(run.model, _inputs(run))
            self.folding = fold_(run.model, threshold=self.fold, norms=norms)
        exchange_(run.optimizer, before, run.model)

    def details(self) -> dict[str, Any]:
        """Facts for the ledger line of the phase: similarity matrices by group, and what was folded."""
        if not self.similarities:
            return {}
        found: dict[str, Any] = {"similarity": {name: one.to_dict() for name, one in self.similarities.items()}}
        return found if self.folding is None else found | {"folding": self.folding.to_dict()}


def _inputs(run: Run) -> tuple[Tensor, ...]:
    return tuple(tensor.to(run.device) for tensor in run.task.example_inputs())


def _cost(layers: Sequence[LayerShape], _batch: int, settings: Mapping[str, Any]) -> Effects:
    """Groups are all layers of one shape wherever there are at least max(2, k), as `share_` chooses them."""
    number = settings["templates"]
    shapes = [layer.weight for layer in layers]
    groups = {shape: shapes.count(shape) for shape in shapes if shapes.count(shape) >= max(2, number)}
    sizes = {layer.weight: layer.num_weights for layer in layers}
    weights = sum(layer.num_weights for layer in layers)
    saved = sum((count - number) * sizes[shape] - count * number for shape, count in groups.items())
    products = sum(count * number * sizes[shape] for shape, count in groups.items())
    stored = Effect(factor=(weights - saved) / weights)
    return {
        "param_bytes": stored,
        "optimizer_bytes": stored,
        "comm_bytes": stored,
        "flops_forward": Effect(added=2 * products),
        "flops_backward": Effect(added=4 * products),
        "launches": Effect(added=sum(groups.values())),
    }


CARD = Card(
    id="soft-sharing",
    title="Soft parameter sharing",
    summary="Every layer is a learned combination of shared templates; layers that become alike are folded into one.",
    year=2019,
    references=("Savarese and Maire, ICLR 2019, arXiv 1902.09701",),
    reference_implementation="lolemacs/soft-sharing",
    status="experimental",
    cells=(("parameters", "restrict"), ("architecture", "replace"), ("objective", "retrofit")),
    phase=("init", "dense_train"),
    needs_total_duration=True,
    schedule_params=(("beginning of the ramp", 0.0), ("end of the ramp", 1.0)),
    stochastic=True,
    hooks=("model_surgery", "forward", "loss", "epoch"),
    relieves=("inference size", "memory capacity", "communication"),
    worsens=("compute", "launch overhead"),
    caveat="saves parameters, not time: products are as many as before, and making the weights comes on top",
    cost="k n + L k numbers in the place of L n per group; 2 k n operations per layer and forward pass more",
    cost_model=_cost,
    realised_by="Storage, optimizer state and gradients that are sent; with folding, tied weights at inference.",
    hyperparams=(
        HyperParameter(name="templates", default=2, low=1, high=64, scale="integer"),
        HyperParameter(name="recurrence", default=0.0, low=0.0, high=1.0),
        HyperParameter(name="power", default=1, low=1, high=2, scale="integer"),
        HyperParameter(name="fold", default=0.95, low=0.5, high=1.0),
    ),
    tuning_cost=1,
    excludes=("biases", "norms", "embeddings"),
    cost_scope="both",
    quality_risk="medium",
    invariants=(
        "a shared layer is the combination of its template layers, and gradients follow the chain rule",
        "with as many templates as layers and unit coefficients the network is the unshared one",
        "each template appears once in the state dict, and coefficients are not zero and do not decay",
        "the similarity matrix is symmetric, 1 on the diagonal and blind to factors of rows",
        "folding collinear rows changes no output, in training and in evaluation mode",
        "templates, coefficients and banks are gone from a folded model and its optimizer",
    ),
    evidence=("shared_networks", "implicit_recurrence"),
)
