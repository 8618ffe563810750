"""The trainer's side of `Run`: backward, update and parameter replacement, precision and processes inside."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from paretorch.errors import InputError
from paretorch.methods.method import Method, Run
from paretorch.training.sampler import Sampler
from paretorch.training.task import Task

if TYPE_CHECKING:
    from accelerate import Accelerator


class TrainingRun(Run):
    """One phase as its methods see it; the trainer owns the counters."""

    sampler: Sampler
    task: Task

    def __init__(
        self,
        accelerator: "Accelerator",
        task: Task,
        model: nn.Module,
        optimizer: Optimizer,
        *,
        methods: Sequence[Method],
        clip_norm: float | None,
        seed: int,
    ) -> None:
        self.accelerator, self.task, self.model, self.wrapped = accelerator, task, model, model
        self.optimizers = {"main": optimizer}
        self.methods, self.clip_norm, self.seed = methods, clip_norm, seed
        self.device = accelerator.device
        self.step = self.epoch = self.num_steps = self.steps_per_epoch = 0
        self.logged: dict[str, float] = {}
        self._prepared: dict[str, Any] = {}

    def wrap(self) -> None:
        """Wrap the model for distributed training; called again whenever parameters were replaced."""
        if self.accelerator.num_processes > 1:
            self.wrapped = self.accelerator.prepare_model(self.model)

    def prepared(self, name: str) -> Any:
        """The named optimizer behind the gradient scaler, where precision needs one."""
        if name not in self.optimizers:
            raise InputError(f"there is no optimizer {name!r} in this run; it has {sorted(self.optimizers)}")
        if name not in self._prepared:
            self._prepared[name] = self.accelerator.prepare_optimizer(self.optimizers[name], device_placement=False)
        return self._prepared[name]

    def backward(self, loss: Tensor) -> None:
        self.accelerator.backward(loss)

    def update(self, name: str = "main") -> None:
        optimizer = self.prepared(name)
        self.accelerator.unscale_gradients(optimizer)
        for method in self.methods:
            method.before_update(self)
        if self.clip_norm is not None:
            parameters = [p for group in self.optimizers[name].param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, self.clip_norm)
        optimizer.step()
        for method in self.methods:
            method.after_update(self)
        self.optimizers[name].zero_grad(set_to_none=True)

    def replace_parameters(self, mapping: Mapping[str, nn.Parameter], state: Mapping[str, Any] | None = None) -> None:
        present = dict(self.model.named_parameters(remove_duplicate=False))
        if unknown := set(mapping) - set(present):
            raise InputError(f"cannot replace {sorted(unknown)}: the model has no such parameter")
        if foreign := set(state or {}) - set(mapping):
            raise InputError(f"optimizer state was given for {sorted(foreign)}, which are not being replaced")
        new_of = {present[name]: (name, new) for name, new in mapping.items()}
        for full_name, old in present.items():
            if old in new_of:
                owner, _, attribute = full_name.rpartition(".")
                setattr(self.model.get_submodule(owner), attribute, new_of[old][1])
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["params"] = [new_of[p][1] if p in new_of else p for p in group["params"]]
            for old, (name, new) in new_of.items():
                if optimizer.state.pop(old, None) is not None and state is not None and name in state:
                    optimizer.state[new] = dict(state[name])
        if self.wrapped is not self.model:
            self.wrap()

    def log(self, **scalars: float) -> None:
        self.logged |= scalars

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimizers, methods, sampler and scaler, as plain nested data."""
        scaler = self.accelerator.scaler
        return {
            "model": self.model.state_dict(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "methods": {method.name: method.state_dict() for method in self.methods},
            "sampler": self.sampler.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Methods first, because they may cut the model again; then weights and optimizers."""
        if (saved := set(state["methods"])) != (now := {method.name for method in self.methods}):
            raise InputError(f"the checkpoint was written with the methods {sorted(saved)}; this run has {sorted(now)}")
        for method in self.methods:
            method.load_state_dict(self, state["methods"][method.name])
        if (saved := set(state["optimizers"])) != (now := set(self.optimizers)):
            raise InputError(f"the checkpoint holds the optimizers {sorted(saved)}; this run has {sorted(now)}")
        try:
            self.model.load_state_dict(state["model"])
        except RuntimeError as error:
            raise InputError(f"the checkpoint does not fit the model: {error}") from error
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self.sampler.load_state_dict(state["sampler"])
        if state["scaler"] is not None and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
