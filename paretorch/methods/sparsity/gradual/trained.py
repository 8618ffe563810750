"""What the optimizer is about to move, as the methods need it that change gradients or decay entry by entry.

They rank every trained parameter, biases and normalisation included, and so differ from pruning, which ranks prunable
weights alone. A parameter without a gradient in this step takes no part, since torch's optimizers leave it alone too.
"""

import torch
from torch import nn

from paretorch.errors import InputError, RunError
from paretorch.methods.method import Run
from paretorch.methods.sparsity.binding import named_slots
from paretorch.methods.sparsity.zeroing import is_sharded


def refuse_early_clipping(name: str, run: Run) -> None:
    """Refuse a loop that clips the gradients before `before_update`.

    Raises:
        InputError: naming the method `name`.
    """
    if run.clips_before_update:
        raise InputError(
            f"{name!r} zeroes gradients, so that a smaller norm is clipped, and this loop clips before it can; let the "
            "trainer, HostRun(clip_norm=...) or MethodCallback(clip_norm=...) clip after it"
        )


def refuse_sharding(name: str, model: nn.Module) -> None:
    """Refuse a model whose parameters are spread over processes.

    Raises:
        InputError: naming the method `name` and a parameter.
    """
    if sharded := [slot for slot, _, _, parameter in named_slots(model) if is_sharded(parameter)]:
        raise InputError(
            f"{name!r} ranks whole tensors, and {sharded[0]!r} is sharded over processes; train with copies of the "
            "model instead (DistributedDataParallel)"
        )


def moved_parameters(run: Run) -> dict[str, nn.Parameter]:
    """The main optimizer's parameters that have a gradient now, by name, in the order of the model; tied ones once.

    Raises:
        RunError: for a sparse gradient.
    """
    held = {id(parameter) for group in run.optimizer.param_groups for parameter in group["params"]}
    moved: dict[str, nn.Parameter] = {}
    for name, _, _, parameter in named_slots(run.model):
        if id(parameter) not in held or parameter.grad is None:
            continue
        held.remove(id(parameter))
        if parameter.grad.layout is not torch.strided:
            raise RunError(
                f"the gradient of {name!r} has layout {parameter.grad.layout}; entries are ranked in dense gradients: "
                "build the layer with sparse=False"
            )
        moved[name] = parameter
    return moved


def gradients_are_finite(parameters: dict[str, nn.Parameter]) -> bool:
    """Whether all gradients are finite; after an overflow in half precision, the step will be skipped anyway."""
    return all(bool(p.grad.isfinite().all()) for p in parameters.values() if p.grad is not None)
