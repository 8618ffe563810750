"""A run in somebody else's training loop: the hooks of any method, driven by a few calls from outside.

    before_forward()   before the forward pass of a step
    before_update()    gradients complete, not yet clipped: `before_update` of all methods
    (the step)         `after_update` of all methods, by a hook on the optimizer, whoever calls its `step`
    finish()           once at the end

In a raw loop `update()` does the middle part, so that any method takes one `with` and two calls::

    with pt.HostRun(model, optimizer, methods=[method], num_steps=1000, clip_norm=1.0) as run:
        for inputs, targets in batches:
            run.before_forward()
            F.cross_entropy(model(inputs), targets).backward()
            run.update()

For masks alone `Masks.attach` is shorter. The callbacks for Hugging Face and Lightning are made of this class. Costs
nothing beside what the methods do.
"""

from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from paretorch.errors import InputError
from paretorch.methods.method import Method, Run, implements
from paretorch.methods.replacement import replace_parameters
from paretorch.methods.sparsity.binding import unwrapped, unwrapped_optimizer

NOT_OFFERED = ("data", "training_step", "weigh", "penalty", "evaluation_weights")


class HostRun(Run):
    """What methods see of a foreign training loop; counts its optimizer steps and calls their hooks.

    Args:
        model: the module the methods work on; DistributedDataParallel and torch.compile are seen through.
        optimizers: the optimizer, or several by name with "main" among them.
        methods: in the order in which their hooks run.
        num_steps: optimizer steps of the whole run.
        steps_per_epoch: optimizer steps of one pass over the data; None counts the run as one pass.
        clip_norm: bound on the global gradient norm, applied after the methods changed the gradients; None leaves
            clipping to the loop.
        seed: for methods that draw random numbers.
        clips_before_update: True if the loop has clipped the gradients already when it calls `before_update`.

    Raises:
        InputError: for methods that need a hook which no foreign loop offers, that share a name, or that are not
            methods; for no optimizer "main", numbers out of range, or two places that clip.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: Optimizer | Mapping[str, Optimizer],
        *,
        methods: Iterable[Method],
        num_steps: int,
        steps_per_epoch: int | None = None,
        clip_norm: float | None = None,
        seed: int = 0,
        clips_before_update: bool = False,
    ) -> None:
        named = optimizers if isinstance(optimizers, Mapping) else {"main": optimizers}
        if "main" not in named:
            raise InputError(f"one optimizer must be named 'main', the one whose steps count; got {sorted(named)}")
        if num_steps < 1 or (steps_per_epoch is not None and steps_per_epoch < 1):
            raise InputError(f"num_steps and steps_per_epoch must be at least 1; got {num_steps}, {steps_per_epoch}")
        if clip_norm is not None and clip_norm <= 0:
            raise InputError(f"clip_norm must be positive or None; got {clip_norm}")
        if clip_norm is not None and clips_before_update:
            raise InputError("clip_norm clips after the methods, but this loop says it has clipped before them")
        self.methods = checked_methods(methods, host="a loop outside this package")
        self.model, self.wrapped = unwrapped(model), model
        self.optimizers = {name: unwrapped_optimizer(optimizer) for name, optimizer in named.items()}
        self.task = self.sampler = None
        self.step = self.epoch = 0
        self.num_steps, self.steps_per_epoch = num_steps, steps_per_epoch or num_steps
        self.clip_norm, self.seed, self.clips_before_update = clip_norm, seed, clips_before_update
        self.logged: dict[str, float] = {}
        self.handles: list[RemovableHandle] = []

    @property
    def device(self) -> torch.device:  # type: ignore[override]  # where the model is now, since a host may move it
        """The device of the model's first parameter."""
        return next(self.model.parameters()).device

    def start(self, state: Mapping[str, Any] | None = None) -> None:
        """Start all methods, and take back their state where the host resumes.

        Args:
            state: of an earlier process, from `state_dict`. Weights and optimizers must hold their resumed values
                already, and hold them afterwards.
        """
        self.close()
        if state is None:
            self._start()
        else:
            weights = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
            memories = {name: copied(optimizer.state_dict()) for name, optimizer in self.optimizers.items()}
            self._start()
            self.load_state_dict(state)
            self.model.load_state_dict(weights)
            for name, optimizer in self.optimizers.items():
                optimizer.load_state_dict(memories[name])
        for name, optimizer in self.optimizers.items():
            self.handles.append(optimizer.register_step_post_hook(self._after_step(name)))

    def before_forward(self) -> None:
        """Call before the forward pass of a step; with accumulated gradients, before the first of them."""
        for method in self.methods:
            method.before_forward(self)

    def before_update(self, name: str = "main") -> None:
        """Call when the gradients are complete: the methods change them, then they are clipped to `clip_norm`."""
        for method in self.methods:
            method.before_update(self)
        if self.clip_norm is not None:
            parameters = [p for group in self._optimizer(name).param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, self.clip_norm)

    def backward(self, loss: Tensor) -> None:
        """The same as `loss.backward()`."""
        loss.backward()

    def update(self, name: str = "main") -> None:
        """For raw loops, after the backward pass: `before_update`, clip, step, `after_update`, zero grad."""
        optimizer = self._optimizer(name)
        self.before_update(name)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def finish(self) -> None:
        """The methods make their effect permanent and check it; then all hooks are removed."""
        for method in self.methods:
            method.finish(self)
        self.close()

    def close(self) -> None:
        """Remove all hooks without finishing, after an interrupt; a second call does nothing."""
        for handle in self.handles:
            handle.remove()
        self.handles = []

    def replace_parameters(self, mapping: Mapping[str, nn.Parameter], state: Mapping[str, Any] | None = None) -> None:
        processes = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
        if self.wrapped is not self.model or processes > 1:
            raise InputError(
                f"parameters {sorted(mapping)} cannot be replaced: the loop has wrapped the model for distributed "
                "training or compilation already. Change shapes before the model is handed to the loop."
            )
        replace_parameters(self.model, self.optimizers.values(), mapping, state)

    def log(self, **scalars: float) -> None:
        """Keep the numbers in `logged`; the callbacks hand them to their host's log after every step."""
        self.logged |= scalars

    def state_dict(self) -> dict[str, Any]:
        """Step and state of all methods: what a checkpoint must hold beside weights and optimizers."""
        return {"step": self.step, "methods": {method.name: method.state_dict() for method in self.methods}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the state back after `start`, and before weights and optimizers are loaded.

        Raises:
            InputError: if it was saved with other methods.
        """
        if (saved := set(state["methods"])) != (now := {method.name for method in self.methods}):
            raise InputError(f"the checkpoint was written with the methods {sorted(saved)}; this run has {sorted(now)}")
        self.step = state["step"]
        self.epoch = self.step // self.steps_per_epoch
        for method in self.methods:
            method.load_state_dict(self, state["methods"][method.name])

    def __enter__(self) -> "HostRun":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.finish()
        else:
            self.close()

    def _start(self) -> None:
        for method in self.methods:
            method.start(self)

    def _optimizer(self, name: str) -> Optimizer:
        if name not in self.optimizers:
            raise InputError(f"there is no optimizer {name!r} in this run; it has {sorted(self.optimizers)}")
        return self.optimizers[name]

    def _after_step(self, name: str) -> Callable[[Optimizer, Any, Any], None]:
        """The hook on one optimizer; it runs only where a step was really taken, not where a scaler skipped it."""

        def stepped(_optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
            for method in self.methods:
                method.after_update(self)
            if name != "main":
                return
            self.step += 1
            if self.step % self.steps_per_epoch == 0:
                self.epoch += 1
                for method in self.methods:
                    method.epoch_end(self)

        return stepped


def checked_methods(methods: Iterable[Method], *, host: str) -> list[Method]:
    """The methods as a list, if this host can drive all of them.

    Raises:
        InputError: naming the method and the hooks that are missing, or what is not a method.
    """
    found = list(methods) if isinstance(methods, Iterable) else [methods]
    if strangers := [type(method).__name__ for method in found if not isinstance(method, Method)] or not found:
        raise InputError(
            f"expected a list of methods, for example [MaskEnforcement(masks)]; got {strangers if found else 'none'}"
        )
    names = [method.name for method in found]
    if len(set(names)) != len(names):
        raise InputError(f"two methods of one run share a name: {names}; give each its own `name`")
    for method in found:
        if missing := [hook for hook in NOT_OFFERED if implements(method, hook)]:
            raise InputError(
                f"method {method.name!r} needs {', '.join(missing)}, which {host} does not offer; train it with "
                "paretorch's Trainer. Offered here: start, before_forward, before_update, after_update, epoch_end, "
                "finish."
            )
    return found


def copied(tree: Any) -> Any:
    """An optimizer state whose tensors share no memory with the original's."""
    if isinstance(tree, Tensor):
        return tree.detach().clone()
    if isinstance(tree, dict):
        return {key: copied(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(copied(value) for value in tree)
    return tree
