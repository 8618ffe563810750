"""The trainer's side of `Run`: backward, update and parameter replacement, precision and processes inside."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from paretorch.errors import InputError
from paretorch.methods.method import Method, Run
from paretorch.methods.replacement import replace_parameters
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
        self.handles: list[RemovableHandle] = []

    def wrap(self) -> None:
        """Wrap the model for distributed training; called again whenever parameters were replaced."""
        self.unwrap()
        if self.accelerator.num_processes > 1:
            place = None if self.device.type == "cpu" else [self.device]
            self.wrapped = nn.parallel.DistributedDataParallel(self.model, device_ids=place)

    def unwrap(self) -> None:
        """Take the wrapper away."""
        self.wrapped = self.model

    def no_sync(self) -> AbstractContextManager[None]:
        """A context whose backward passes leave the gradients of each process to itself."""
        wrapped = self.wrapped
        return wrapped.no_sync() if isinstance(wrapped, nn.parallel.DistributedDataParallel) else nullcontext()

    def backward(self, loss: Tensor) -> None:
        scaler = self.accelerator.scaler
        with self._full_precision():
            (loss if scaler is None else scaler.scale(loss)).backward()

    def update(self, name: str = "main") -> None:
        if name not in self.optimizers:
            raise InputError(f"there is no optimizer {name!r} in this run; it has {sorted(self.optimizers)}")
        optimizer, scaler = self.optimizers[name], self.accelerator.scaler
        with self._full_precision():
            if scaler is not None:
                scaler.unscale_(optimizer)
            for method in self.methods:
                method.before_update(self)
            if self.clip_norm is not None:
                parameters = [p for group in optimizer.param_groups for p in group["params"]]
                torch.nn.utils.clip_grad_norm_(parameters, self.clip_norm)
            if scaler is None:
                optimizer.step()
            else:
                scaler.step(optimizer)
                scaler.update()
            for method in self.methods:
                method.after_update(self)
        optimizer.zero_grad(set_to_none=True)

    def _full_precision(self) -> AbstractContextManager[object]:
        """Outside of autocast, also where a method that owns the step calls from inside of it."""
        inside = torch.is_autocast_enabled(self.device.type)
        return torch.autocast(self.device.type, enabled=False) if inside else nullcontext()

    def clear_gradients(self) -> None:
        """Drop all gradients: they are in no checkpoint, so none may live from one step to the next."""
        groups = (group["params"] for optimizer in self.optimizers.values() for group in optimizer.param_groups)
        for parameter in chain(self.model.parameters(), *groups):
            parameter.grad = None

    def replace_parameters(self, mapping: Mapping[str, nn.Parameter], state: Mapping[str, Any] | None = None) -> None:
        replace_parameters(self.model, self.optimizers.values(), mapping, state)
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
            raise InputError(f"the checkpoint does not fit the model: {' '.join(str(error).split())}") from error
        for name, optimizer in self.optimizers.items():
            load_optimizer(optimizer, state["optimizers"][name], f"the checkpoint of optimizer {name!r}")
        self.sampler.load_state_dict(state["sampler"])
        if state["scaler"] is not None and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])


def load_optimizer(optimizer: Optimizer, state: dict[str, Any], source: str) -> None:
    """Load `state` into the optimizer.

    Raises:
        InputError: if it was saved from other parameters; `source` says where it came from.
    """
    try:
        optimizer.load_state_dict(state)
    except (ValueError, KeyError) as error:
        raise InputError(f"{source} does not fit this optimizer: {error}") from error
