"""One magnitude-pruning step of a pipeline: masks, zeros, norms, accuracy before and after batch-norm re-estimation.

The step is a function of the weights alone, so a resumed run does it again instead of storing it, and checks that the
masks are those of the ledger.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from paretorch.methods.schedules import NormScope, norm_drop, removed_square, total_square
from paretorch.methods.sparsity.magnitude import magnitude_masks
from paretorch.methods.sparsity.masks import Masks
from paretorch.pipelines.phases import check_recorded
from paretorch.pipelines.retraining import reestimate
from paretorch.training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which weights may be pruned, and how the sparsity is spread over layers.

    Args:
        allocation: "global", "uniform", "uniform+", "erk", "lamp", "random", or sparsities by name pattern.
        sparsity: of one pruning step, cumulative; a pipeline sets it.
        include, exclude: name patterns of prunable parameters; None is all, and none.
    """

    allocation: str | Mapping[str, float] = "global"
    include: Sequence[str] | None = None
    exclude: Sequence[str] | None = None
    sparsity: float | None = None


def select(model: nn.Module, selection: Selection, *, previous: Masks | None, seed: int) -> Masks:
    """The masks that `selection` gives on the weights of `model`, never reviving what `previous` prunes."""
    return magnitude_masks(
        model,
        sparsity=selection.sparsity,
        allocation=selection.allocation,
        include=selection.include,
        exclude=selection.exclude,
        previous=previous,
        seed=seed,
    )


def facts_of(masks: Masks) -> dict[str, Any]:
    """What a ledger line says of masks: the weights kept, in all and by layer, and a hash."""
    return {
        "sparsity": masks.sparsity,
        "kept": masks.num_kept,
        "pruned": masks.num_pruned,
        "layers": {name: {"kept": kept, "total": size} for name, (kept, size) in masks.counts().items()},
        "mask_hash": masks.hash(),
    }


class PruningStep:
    """Prunes the model of `trainer` in place.

    Args:
        name: of the phase in the ledger.
        norm_scope: weights over which the norm of d1 is taken.
        reestimate_batches: training batches for batch-norm statistics; 0 leaves them as they are.
    """

    def __init__(
        self,
        trainer: Trainer,
        model: nn.Module,
        *,
        name: str,
        selection: Selection,
        norm_scope: NormScope,
        reestimate_batches: int,
    ) -> None:
        self.trainer, self.model, self.name = trainer, model, name
        self.selection, self.norm_scope, self.reestimate_batches = selection, norm_scope, reestimate_batches

    def prune(self, previous: Masks | None) -> tuple[Masks, dict[str, Any]]:
        """Zero the selected weights; the masks, which extend `previous`, and the ledger entry."""
        selection, scope = self.selection, self.norm_scope
        began = time.perf_counter()
        masks = select(self.model, selection, previous=previous, seed=self.trainer.seed)
        total = total_square(self.model, names=list(masks), scope=scope)
        removed = removed_square(dict(self.model.named_parameters()), kept_before=previous, kept_after=masks)
        remaining = masks.num_weights if previous is None else previous.num_kept
        fraction = (remaining - masks.num_kept) / remaining
        masks.apply_(self.model)
        seconds = time.perf_counter() - began
        directory = self.trainer.directory
        done = directory.finished(self.name) if directory is not None else None
        accuracy: dict[str, float | None] = {} if done is not None else {"validation_raw": self._validation()}
        began = time.perf_counter()
        layers = reestimate(self.trainer, self.model, name=self.name, count=self.reestimate_batches)
        seconds += time.perf_counter() - began
        if done is not None:
            check_recorded(done, mask_hash=masks.hash(), found=f"{self.name} selects other weights")
            return masks, done
        accuracy["validation_reestimated"] = self._validation() if layers else None
        entry = {
            "phase": self.name,
            "kind": "prune",
            **facts_of(masks),
            "fraction": fraction,
            "norm": total**0.5,
            "removed_norm": removed**0.5,
            "norm_scope": scope,
            "d1": norm_drop(total_square=total, removed_square=removed, fraction=fraction),
            **accuracy,
            "batchnorm_layers": layers,
            "seconds": seconds,
        }
        if directory is not None:
            directory.append(entry)
        return masks, entry

    def _validation(self) -> float:
        return self.trainer.evaluate(self.model)[self.trainer.task.metric]
