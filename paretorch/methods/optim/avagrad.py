"""AvaGrad: delayed Adam whose rates are divided by their root mean square, so that lr and eps can be tuned apart.

    eta = 1 / (sqrt(v_(t-1)) + eps)
    gamma = 1 / sqrt(mean of eta^2 over the d parameters)            so that the RMS of gamma eta is 1
    w  := w - lr * gamma eta * m_t

Adam with eps far above sqrt(v) moves by (lr / eps) m: the best lr is proportional to eps, and both must be searched
together. Here eps only says how much the rates differ from each other: large eps is SGD with momentum at the same lr.

Source: Savarese, McAllester, Babu and Maire, CVPR 2021 (arXiv 1912.01823), algorithm 2; code lolemacs/avagrad. The
authors' code differs from the algorithm, and `gamma="stale", norm_scope="group", skip_first=True` is that code: it
corrects the bias of both moments, does nothing at the first step (no decay either), normalises each group by itself,
and computes gamma for step t+1 from the root that it took before v was renewed at step t, one gradient too old. Our
default keeps the bias correction and takes gamma from the very v that scales the step, over all groups.

Deviations, ours: gamma is taken over the parameters that have a gradient in this step. `norm_over="active"` leaves out
entries with v = 0, and moves them at rate 1. It is for entries whose gradient is always zero (blank pixels, unused rows
of an embedding): they have eta = 1 / eps, so with d0 of d such entries and small eps gamma falls to eps sqrt(d / d0),
and training stalls at every lr.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Unpack

import torch
from torch import Tensor

from paretorch.errors import InputError
from paretorch.methods.card import Card, HyperParameter
from paretorch.methods.cost_model import Effect, Effects, LayerShape
from paretorch.methods.optim.base import DelayedOptimizer, Work
from paretorch.methods.optim.factors import exact
from paretorch.methods.optim.settings import Settings
from paretorch.methods.optim.shards import all_reduce_, share, spread

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

STATE_BYTES = 2 * 4  # per float32 weight
LIST_BYTES = 21 * 4  # per float32 weight: read and written by the operations over lists, without decay


def _cost(layers: Sequence[LayerShape], _batch: int, _settings: Mapping[str, Any]) -> Effects:
    """Two moments; the traffic of the operations over lists, which plain SGD's step comes on top of."""
    weights = sum(layer.num_weights for layer in layers)
    return {
        "optimizer_bytes": Effect(added=STATE_BYTES * weights),
        "bytes_moved": Effect(added=LIST_BYTES * weights),
    }


CARD = Card(
    id="avagrad",
    title="AvaGrad",
    summary="Normalises the adaptive rates, so that learning rate and epsilon can be tuned apart.",
    year=2021,
    references=(
        "Savarese, McAllester, Babu and Maire, Domain-independent dominance of adaptive methods, CVPR 2021, "
        "arXiv 1912.01823, algorithms 1 and 2",
        "non-convergence of Adam: Reddi, Kale and Kumar, ICLR 2018",
    ),
    reference_implementation="lolemacs/avagrad",
    cells=(("algorithm", "replace"),),
    phase=("dense_train", "finetune"),
    stateful=True,
    hooks=("step",),
    composes_with=("masks", "swa"),
    relieves=("tuning cost",),
    worsens=("memory capacity", "memory bandwidth", "optimizer step"),
    caveat="lr and eps are independent only while eps is not far below the typical root of v; see norm_over",
    cost="two moments, 8 bytes per weight; per step what Adam costs and one reduction",
    cost_model=_cost,
    realised_by="a search that tunes lr at one eps and then eps, in the place of a grid of both",
    hyperparams=(
        HyperParameter(name="lr", default=0.1, low=1e-4, high=100, scale="log"),
        HyperParameter(name="eps", default=0.1, low=1e-8, high=100, scale="log"),
        HyperParameter(name="beta1", default=0.9, low=0, high=0.999),
        HyperParameter(name="beta2", default=0.999, low=0, high=0.99999),
        HyperParameter(name="weight_decay", default=0, low=0, high=1),
    ),
    tuning_cost=2,
    quality_risk="low",
    evidence=("optimizer_grids", "optimizer_step"),
    invariants=(
        "the root mean square of the rates that scale a step is 1",
        "a gradient changes its own step through the first moment alone",
        "with large eps it is SGD with an averaged gradient at the same lr",
        "gradients are left as they were",
    ),
)


class AvaGrad(DelayedOptimizer):
    """Delayed Adam with normalised rates.

    `group["gamma"]`, a 0-d tensor, is the factor of the last step ("fresh") or that of the next ("stale"); 1 before the
    first. It is part of the state.

    Args:
        params, lr: as in `DelayedOptimizer`; the default rate is the authors'.
        gamma: "fresh" from the v that scales the step, or "stale" as in the authors' code, see this module. In a group
            and in the state the setting is `gamma_mode`.
        norm_scope: over which groups the mean goes: all that say "global" together, or each that says "group" alone.
        norm_over: entries that count, "all" or the "active" with v > 0.
        process_group: the processes over which the parameters are spread, each process holding other entries. DTensors
            on one mesh of one dimension need none. One all-reduce of sums and counts per step.
        settings: what else `DelayedOptimizer` takes: betas, eps, weight_decay, decoupled, bias_correction, skip_first,
            foreach, capturable.

    Raises:
        InputError: as `DelayedOptimizer`; for an unknown word, or "stale" without what belongs to it.
    """

    _reduced_over: "ProcessGroup | None" = None

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 0.1,
        *,
        gamma: Literal["fresh", "stale"] = "fresh",
        norm_scope: Literal["global", "group"] = "global",
        norm_over: Literal["all", "active"] = "all",
        process_group: "ProcessGroup | None" = None,
        **settings: Unpack[Settings],
    ) -> None:
        self.process_group = process_group
        own = {"gamma_mode": gamma, "norm_scope": norm_scope, "norm_over": norm_over, "gamma": 1.0}
        super().__init__(params, lr, own=own, **settings)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "process_group": self.process_group}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As `DelayedOptimizer.add_param_group`."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        like = group["params"][0] if group["params"] else torch.zeros(())
        kind = torch.float64 if like.device.type == "cpu" else like.dtype if like.dtype.itemsize > 4 else torch.float32
        group["gamma"] = torch.ones((), dtype=kind, device=like.device)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As `DelayedOptimizer.load_state_dict`."""
        kept = [group["gamma"] for group in self.param_groups]
        super().load_state_dict(state_dict)
        for group, own in zip(self.param_groups, kept, strict=True):
            group["gamma"] = own.copy_(group["gamma"])

    def _check(self, group: Mapping[str, Any]) -> None:
        super()._check(group)
        _check_words(group)

    def _shares(self, moved: Sequence[Sequence[Tensor]]) -> list[list[float]]:
        everything = [param for group in self.param_groups for param in group["params"]]
        self._reduced_over, outside = spread(everything, self.process_group)
        return [[share(param, outside) for param in params] for params in moved]

    def _gammas(self, work: Sequence[Work]) -> Sequence[Tensor | None]:
        place = next((p.device for group in self.param_groups for p in group["params"]), torch.device("cpu"))
        sums = [sum((each.sums().to(place) for each in passes), self._nothing(place)) for passes in work]
        alone = [group["norm_scope"] == "group" for group in self.param_groups]
        totals = [one for one, own in zip(sums, alone, strict=True) if own]
        together = sum((one for one, own in zip(sums, alone, strict=True) if not own), self._nothing(place))
        reduced = torch.stack([*totals, together])
        all_reduce_(reduced, self._reduced_over)
        gammas: list[Tensor | None] = []
        own_sums = iter(reduced.unbind())
        for group, own in zip(self.param_groups, alone, strict=True):
            square, count = (next(own_sums) if own else reduced[-1]).unbind()
            if not group["params"]:  # its gamma may lie on another device
                gammas.append(None)
                continue
            fresh = (count / square).sqrt().to(group["gamma"])
            known = (count > 0) & (square > 0)  # else nothing counted, or every second moment overflowed: as before
            fresh = torch.where(known, fresh, group["gamma"])
            gammas.append(group["gamma"].clone() if group["gamma_mode"] == "stale" else fresh)
            group["gamma"].copy_(fresh)
        return gammas

    @staticmethod
    def _nothing(place: torch.device) -> Tensor:
        return torch.zeros(2, dtype=exact(place), device=place)


class AvaGradW(AvaGrad):
    """AvaGrad with decoupled weight decay: weights are multiplied by 1 - lr * weight_decay at every step.

    Args:
        params, lr, weight_decay: as in `AvaGrad`.
        settings: what else `AvaGrad` takes, apart from decoupled.

    Raises:
        InputError: as `AvaGrad`; for a group, or the state of an AvaGrad, whose decay is in the gradient.
    """

    def __init__(
        self, params: Iterable[Any], lr: float | Tensor = 0.1, *, weight_decay: float = 0.0, **settings: Any
    ) -> None:
        super().__init__(params, lr, weight_decay=weight_decay, decoupled=True, **settings)

    def _check(self, group: Mapping[str, Any]) -> None:
        super()._check(group)
        if not group["decoupled"]:
            raise InputError(
                "a group says decoupled = False, decay in the gradient, which AvaGradW has not; its moments would mean "
                "something else. Give the group or the state to AvaGrad"
            )


def _check_words(group: Mapping[str, Any]) -> None:
    if isinstance(word := group["gamma"], str):
        raise InputError(f"a group keeps its factor in gamma, and says {word!r} there; write gamma_mode = {word!r}")
    for key, known in (
        ("gamma_mode", ("fresh", "stale")),
        ("norm_scope", ("global", "group")),
        ("norm_over", ("all", "active")),
    ):
        if group[key] not in known:
            name = key.removesuffix("_mode")
            raise InputError(f"{name} = {group[key]!r} is unknown; choose {known[0]!r} or {known[1]!r}")
    if group["gamma_mode"] == "stale" and not (
        group["skip_first"] and group["bias_correction"] and group["norm_over"] == "all"
    ):
        raise InputError(
            'gamma = "stale" is the rule of the authors\' code and has no first gamma; set skip_first=True, and leave '
            'bias_correction=True and norm_over="all"'
        )
