"""What delayed Adam and AvaGrad share: state, checks, and a step in which all groups are read before any is moved."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import Optimizer

from paretorch.errors import InputError
from paretorch.methods.optim.factors import factors
from paretorch.methods.optim.passes import CPU_BLOCK, BlockPass, Bucket, ListPass, blockable
from paretorch.methods.optim.settings import check_settings
from paretorch.methods.sparsity.zeroing import local

OWN_SETTINGS = frozenset({"gamma_mode", "norm_scope", "norm_over"})  # of AvaGrad alone
ADDED_BY_TORCH = frozenset({"differentiable"})  # to `defaults`, when a state is loaded; no group of ours has it
Work = list[ListPass | BlockPass]
Lists = tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor], list[Tensor]]


class DelayedOptimizer(Optimizer):
    """Base: rates come from the second moment of the step before.

    Gradients are read and never written. Parameters without a gradient are left alone, with their state. The state has
    the names of torch's Adam: step, exp_avg, exp_avg_sq.

    Args:
        params: tensors, or groups with settings of their own, as in torch.optim.
        lr: learning rate; a 0-d tensor with capturable.
        betas: decay of the first and of the second moment, in [0, 1).
        eps: added to the root; 1e-12 to 1e15. The default is that of the authors' AvaGrad.
        weight_decay: added to the gradient as weight_decay * w, or, if
        decoupled: weights are multiplied by 1 - lr * weight_decay before they move.
        bias_correction: moments are divided by what the zeros at their start take from them.
        skip_first: the first step of a parameter only fills its moments.
        foreach: work over lists of tensors; False: in blocks. None: blocks for large tensors on a CPU, else lists.
        capturable: step counts are tensors beside the parameters, so that a CUDA graph can hold the step.
        own: further settings, of a subclass.

    Raises:
        InputError: for numbers out of range, complex parameters, or a tensor as lr without capturable.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 0.1,
        weight_decay: float = 0.0,
        decoupled: bool = False,
        bias_correction: bool = True,
        skip_first: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        own: Mapping[str, Any] | None = None,
    ) -> None:
        settings = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "decoupled": decoupled,
            "bias_correction": bias_correction,
            "skip_first": skip_first,
            "foreach": foreach,
            "capturable": capturable,
        }
        super().__init__(params, {**settings, **(own or {})})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As in torch.optim.

        Raises:
            InputError: as the class; no group is added then.
        """
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            self._check(group)
            if any(param.is_complex() for param in group["params"]):
                raise InputError("a parameter is complex; give its view as real numbers, torch.view_as_real")
        except InputError:
            self.param_groups.pop()
            raise

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As in torch.optim; the settings of the groups are those of the state.

        Raises:
            InputError: for the state of another optimizer, whose groups hold other settings, and for settings that the
                class refuses; nothing is loaded then.
        """
        for group in state_dict["param_groups"]:
            missing = sorted(self.defaults.keys() - group.keys() - ADDED_BY_TORCH)
            foreign = sorted(OWN_SETTINGS & group.keys() - self.defaults.keys())
            if missing or foreign:
                words = f"lacks {missing}" if missing else f"holds {foreign}"
                raise InputError(
                    f"a group of the state {words}: it is of another optimizer than {type(self).__name__}; load it "
                    "into one of the class that saved it"
                )
            self._check(group)
        super().load_state_dict(state_dict)

    def _check(self, group: Mapping[str, Any]) -> None:
        """Refuse the settings of a group, one's own or one of a state."""
        check_settings(group)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step.

        Args:
            closure: computes the loss again, with gradients.

        Returns:
            The closure's loss, None without it.

        Raises:
            InputError: for a sparse gradient; nothing has moved then.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        found: list[Lists] = []
        for group in self.param_groups:
            lists: Lists = ([], [], [], [], [])
            self._init_group(group, *lists)
            found.append(lists)
        shares = self._shares([lists[0] for lists in found])
        work = [self._passes(*each) for each in zip(self.param_groups, found, shares, strict=True)]
        for passes, gamma in zip(work, self._gammas(work), strict=True):
            for each in passes:
                each.update(gamma)
        return loss

    def _init_group(
        self,
        group: dict[str, Any],
        params: list[Tensor],
        grads: list[Tensor],
        firsts: list[Tensor],
        seconds: list[Tensor],
        steps: list[Tensor],
    ) -> None:
        """Fill the lists with what takes part in this step. torch.compile knows the method by its name."""
        for param in group["params"]:
            if param.grad is None:
                continue
            if param.grad.layout is not torch.strided:
                raise InputError(
                    f"a gradient of shape {tuple(param.shape)} has the layout {param.grad.layout}; moments are dense, "
                    "so build the layer with sparse=False, or give it an optimizer for sparse gradients of its own"
                )
            state = self.state[param]
            if not state:
                place = param.device if group["capturable"] else "cpu"
                state["step"] = torch.zeros((), dtype=torch.float32, device=place)
                state["exp_avg"] = torch.zeros_like(param, memory_format=torch.preserve_format)
                state["exp_avg_sq"] = torch.zeros_like(param, memory_format=torch.preserve_format)
            params.append(param)
            grads.append(param.grad)
            firsts.append(state["exp_avg"])
            seconds.append(state["exp_avg_sq"])
            steps.append(state["step"])

    def _passes(self, group: dict[str, Any], lists: Lists, shares: Sequence[float]) -> Work:
        """The work of a group, its tensors sorted by device, type and the way they are worked on; steps are counted."""
        if not lists[0]:
            return []
        params, grads, firsts, seconds, steps = ([local(tensor) for tensor in tensors] for tensors in lists)
        torch._foreach_add_(steps, 1)
        kinds: dict[tuple[torch.device, torch.dtype, bool], list[int]] = {}
        for i, param in enumerate(params):
            blocks = in_blocks(group, param) and blockable(param, firsts[i], seconds[i])
            kinds.setdefault((param.device, param.dtype, blocks), []).append(i)
        work: Work = []
        for (_, _, blocks), chosen in kinds.items():
            bucket = Bucket(
                params=[params[i] for i in chosen],
                grads=[grads[i] for i in chosen],
                firsts=[firsts[i] for i in chosen],
                seconds=[seconds[i] for i in chosen],
                shares=[shares[i] for i in chosen],
            )
            numbers = factors(group, [steps[i] for i in chosen])
            work.append((BlockPass if blocks else ListPass)(bucket, numbers, group))
        return work

    def _shares(self, moved: Sequence[Sequence[Tensor]]) -> list[list[float]]:
        """What part of each tensor's entries this process counts, group by group; nothing is summed here."""
        return [[1.0] * len(params) for params in moved]

    def _gammas(self, work: Sequence[Work]) -> Sequence[Tensor | None]:
        """By what the rates of each group are multiplied; None stands for 1."""
        return [None] * len(work)


def in_blocks(group: dict[str, Any], param: Tensor) -> bool:
    """Whether the tensor is worked on in blocks: asked for, or long and on a CPU; never inside a graph."""
    if group["capturable"] or torch.compiler.is_compiling():
        return False
    chosen: bool | None = group["foreach"]
    return param.device.type == "cpu" and param.numel() > CPU_BLOCK if chosen is None else not chosen
