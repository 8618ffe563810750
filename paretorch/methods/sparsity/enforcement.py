"""Masks in a training run: pruned weights are exactly zero after every update, proved once more at the end.

    before the update:   grad := grad * m      before clipping
    after the update:    w    := w * m

The `Method` form of `Masks.attach`, for loops that call hooks. Saves nothing by itself, since dense kernels still
multiply by zero; costs one byte per weight and two products per step.

Reference: Han, Pool, Tran, Dally 2015 ("Learning both weights and connections", section 3); equal bitwise, on the kept
weights, to training f(w * m).
"""

from typing import Any

from torch.utils.hooks import RemovableHandle

from paretorch.methods.card import Card
from paretorch.methods.method import Method, Run
from paretorch.methods.sparsity.attachment import hooked
from paretorch.methods.sparsity.binding import Binding, bind, clear_state_
from paretorch.methods.sparsity.costs import EPOCHS, masks_cost
from paretorch.methods.sparsity.masks import Masks

CARD = Card(
    id="masks",
    title="Weight masks with exact zeros",
    summary="Holds pruned weights at exactly +0.0 through training, without touching the model's structure.",
    year=2015,
    references=("Han, Pool, Tran and Dally, Learning both weights and connections, NeurIPS 2015, section 3",),
    cells=(("parameters", "restrict"),),
    phase=("prune", "retrain", "finetune"),
    stateful=True,
    hooks=("model_surgery", "grad_ready", "post_step"),
    composes_with=("magnitude", "nm-pattern", "filter-norm"),
    worsens=("memory capacity", "memory bandwidth", "launch overhead"),
    caveat="relieves nothing by itself: it keeps the zeros that another method made",
    cost="1 byte per weight; two elementwise products per step, on the gradient and on the weight",
    cost_model=masks_cost,
    charges=("retraining epochs",),
    realised_by="nothing by itself: fewer bytes after compression, less time only through a sparse kernel or a cut",
    hyperparams=(EPOCHS,),
    excludes=("biases", "norms", "embeddings"),
    quality_risk="none",
    invariants=(
        "pruned weights are +0.0 after every optimizer step",
        "kept weights are bitwise those of the reparametrised model, with and without clipping",
        "state_dict keys, modules and forward pass are those of the dense model",
    ),
    evidence=("mask_enforcement",),
)


class MaskEnforcement(Method):
    """The masks of a training run: pruned weights are +0.0 after every update, proved once more at the end.

    Hooks: start (prune, clear optimizer state), before_update (gradients, before clipping), after_update (weights),
    finish (check). In a loop that clips before `before_update`, gradients are masked as they are accumulated, by hooks
    on the parameters. Touches weights, gradients and optimizer state of pruned entries; never shapes, data or loss.

    Args:
        masks: what to keep; `update` swaps them in mid-run.
    """

    name = "masks"
    allows_early_clipping = True

    def __init__(self, masks: Masks) -> None:
        self.masks = masks
        self._bindings: list[Binding] = []
        self._hooks: list[RemovableHandle] = []

    def start(self, run: Run) -> None:
        self.update(run, self.masks)

    def update(self, run: Run, masks: Masks) -> None:
        """Swap the masks: newly pruned weights, their gradients and their optimizer state become zero at once.

        Raises:
            InputError: if a mask does not fit the model; the old masks then stay in force.
        """
        bindings = bind(run.model, masks)
        self.masks = masks
        self._hold(run, bindings)
        for binding in bindings:
            binding.zero_(binding.parameter)
            binding.mask_gradient_()
        for optimizer in run.optimizers.values():
            clear_state_(bindings, optimizer)

    def before_forward(self, run: Run) -> None:
        if run.clips_before_update:  # the hooks must hang before the backward pass
            self._current(run)

    def before_update(self, run: Run) -> None:
        for binding in self._current(run):
            binding.mask_gradient_()

    def after_update(self, run: Run) -> None:
        for binding in self._current(run):
            binding.zero_(binding.parameter)

    def finish(self, run: Run) -> None:
        self.masks.check(run.model)

    def state_dict(self) -> dict[str, Any]:
        return {"masks": self.masks.state_dict()}

    def load_state_dict(self, run: Run, state: dict[str, Any]) -> None:
        self.masks = Masks.from_state_dict(state["masks"])
        self._bindings = []

    def _current(self, run: Run) -> list[Binding]:
        """The bindings, made anew when parameters were replaced, by sharding or by `run.replace_parameters`."""
        if not self._bindings or not all(binding.is_current() for binding in self._bindings):
            self._hold(run, bind(run.model, self.masks))
        return self._bindings

    def _hold(self, run: Run, bindings: list[Binding]) -> None:
        self._bindings = bindings
        for hook in self._hooks:
            hook.remove()
        self._hooks = [hooked(binding) for binding in bindings] if run.clips_before_update else []
        if self._hooks:
            run.handles.extend(self._hooks)
