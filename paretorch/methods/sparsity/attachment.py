"""Keeps masks in force in anybody's training loop, by one hook per parameter and one on the optimizer.

    after backward:   grad := grad * m      before any clipping, and before DistributedDataParallel averages it
    after the step:   w    := w * m         so no forward pass ever sees a revived weight

Training w with both is bitwise the same, on the kept weights, as training the reparametrised layer f(w * m) and keeping
its zeros, for SGD with momentum and decay, Adam and AdamW, with and without clipping by the global norm. Projection
alone is not: the gradients of pruned weights would enter the norm. The model stays a plain module: no buffers, no new
names, nothing in the forward pass.

Reference: the equivalence is asserted by `tests/methods/sparsity/test_enforcement.py`.
"""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Generic, TypeVar

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from paretorch.errors import InputError, RunError
from paretorch.methods.sparsity.binding import Binding, bind, clear_state_, unwrapped_optimizer

MasksT = TypeVar("MasksT", bound=Mapping[str, Tensor])


class GradientMask:
    """The hook on one parameter: zero the pruned entries of the gradient that was just accumulated."""

    def __init__(self, binding: Binding) -> None:
        self.binding = binding

    def __call__(self, parameter: Tensor) -> None:
        self.binding.mask_gradient_()


class Attachment(Generic[MasksT]):
    """Masks in force on a model and its optimizers until `remove()`, or until the `with` block ends.

    Made by `Masks.attach`. While it lasts, every pruned weight is exactly +0.0 after every step of any of the
    optimizers. Afterwards model and optimizers are as if never touched, apart from the zeros.

    Args:
        model: the model, possibly wrapped.
        optimizers: all optimizers that move a masked parameter.
        masks: bool tensors by parameter name, True = kept.

    Raises:
        InputError: if a mask does not fit the model, if no optimizer holds a masked parameter that requires a
            gradient, or if another attachment is still in force on one of the parameters.
    """

    def __init__(self, model: nn.Module, optimizers: tuple[Optimizer, ...], masks: MasksT) -> None:
        self.model = model
        self.optimizers = tuple(unwrapped_optimizer(optimizer) for optimizer in optimizers)
        self.masks = masks
        self._handles: list[RemovableHandle] = []
        self._put_in_force(self._checked_bindings(masks))

    @property
    def active(self) -> bool:
        """Whether the masks are in force."""
        return bool(self._handles)

    def update(self, masks: MasksT) -> None:
        """Swap the masks: newly pruned weights and their optimizer state become zero at once.

        Weights that the new masks keep and the old ones pruned start again from zero, with zero state.

        Raises:
            InputError: as for a new attachment; the old masks then stay in force.
            RunError: if this attachment was removed.
        """
        if not self.active:
            raise RunError("this attachment was removed, so its masks cannot be updated; call masks.attach() again")
        bindings = self._checked_bindings(masks)
        self.remove()
        self.masks = masks
        self._put_in_force(bindings)

    def remove(self) -> None:
        """Stop enforcing; a second call does nothing. The weights keep their zeros until something writes to them."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def __enter__(self) -> "Attachment[MasksT]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def _checked_bindings(self, masks: MasksT) -> list[Binding]:
        bindings = bind(self.model, masks)
        held = {id(parameter) for optimizer in self.optimizers for parameter in held_by(optimizer)}
        unheld = [b.name for b in bindings if b.parameter.requires_grad and id(b.parameter) not in held]
        if unheld:
            raise InputError(
                f"no optimizer given to attach() holds {unheld}, so nothing would keep these zeros. Pass every "
                "optimizer that trains a masked parameter (attach(model, first, second)), made after the model was "
                "moved, wrapped or sharded; or freeze these parameters with requires_grad_(False)."
            )
        taken = [b.name for b in bindings if other_attachment(b.parameter, self._handles)]
        if taken:
            raise InputError(
                f"masks are already attached to {taken}; two sets in force would silently prune what either prunes. "
                "Use attachment.update(masks), or attachment.remove() first; after an interrupted training with a "
                "callback, callback.close()."
            )
        return bindings

    def _put_in_force(self, bindings: list[Binding]) -> None:
        for binding in bindings:
            binding.zero_(binding.parameter)
            binding.mask_gradient_()
            self._handles.append(hooked(binding))
        for optimizer in self.optimizers:
            clear_state_(bindings, optimizer)
            self._handles.append(optimizer.register_step_post_hook(self._projection(bindings, optimizer)))

    def _projection(self, bindings: list[Binding], optimizer: Optimizer) -> Any:
        """The hook that projects what this optimizer holds, and unheld parameters once they are unfrozen."""
        own = {id(parameter) for parameter in held_by(optimizer)}
        held = {id(parameter) for each in self.optimizers for parameter in held_by(each)}
        mine = [b for b in bindings if id(b.parameter) in own or id(b.parameter) not in held]

        def project(_optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
            for binding in mine:
                if not binding.is_current():
                    raise RunError(
                        f"the parameter {binding.name!r} was replaced in the model after its mask was attached, so the "
                        "mask no longer reaches it; attach after moving, wrapping or sharding the model"
                    )
                if binding.parameter.requires_grad or id(binding.parameter) in held:
                    binding.zero_(binding.parameter)

        return project


def held_by(optimizer: Optimizer) -> list[Tensor]:
    """All parameters of the optimizer."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def hooked(binding: Binding) -> RemovableHandle:
    """Register the gradient mask; a frozen parameter gets it too, for the day it is unfrozen."""
    parameter = binding.parameter
    frozen = not parameter.requires_grad
    if frozen:  # torch takes the hook only from a parameter that requires a gradient
        parameter.requires_grad_(True)
    register: Callable[[GradientMask], RemovableHandle] = parameter.register_post_accumulate_grad_hook
    handle = register(GradientMask(binding))
    if frozen:
        parameter.requires_grad_(False)
    return handle


def other_attachment(parameter: Tensor, own: list[RemovableHandle]) -> bool:
    """Whether a gradient mask that is not among `own` hangs on the parameter."""
    own_ids = {handle.id for handle in own}
    hooks: Mapping[int, Any] = getattr(parameter, "_post_accumulate_grad_hooks", None) or {}
    return any(isinstance(hook, GradientMask) and key not in own_ids for key, hook in hooks.items())
