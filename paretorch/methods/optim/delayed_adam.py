"""Delayed Adam: the rate of each weight comes from yesterday's second moment, so it does not depend on the gradient.

    m_t = beta1 m_(t-1) + (1 - beta1) g_t
    w  := w - lr * m_t / (sqrt(v_(t-1)) + eps)
    v_t = beta2 v_(t-1) + (1 - beta2) g_t^2

Adam divides g_t by a root that holds g_t itself: a rare large gradient is scaled down more than the frequent small ones
that it should outweigh, so that for constant beta2 Adam need not converge even on convex problems (Reddi, Kale and
Kumar, ICLR 2018). Here the rate of g_t is fixed before g_t is drawn.

Source: Savarese, McAllester, Babu and Maire, CVPR 2021 (arXiv 1912.01823), algorithm 1, which is
`bias_correction=False`. Ours: the bias corrections (of m by 1 - beta1^t, of v_(t-1) by 1 - beta2^(t-1), as in the
authors' AvaGrad), decay, and `skip_first`, as there. Before the first step v is zero: that step is lr / eps times the
gradient, and `skip_first` leaves it out.
"""

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from paretorch.methods.optim.base import DelayedOptimizer


class DelayedAdam(DelayedOptimizer):
    """Adam with the second moment of the step before.

    Args:
        params: tensors, or groups with settings of their own, as in torch.optim.
        lr: learning rate; a 0-d tensor with capturable.
        betas: decay of the first and of the second moment, in [0, 1).
        eps: added to the root; 1e-15 to 1e15. The default is that of the authors' AvaGrad.
        weight_decay: added to the gradient as weight_decay * w, or, if
        decoupled: weights are multiplied by 1 - lr * weight_decay before they move.
        bias_correction: moments are divided by what the zeros at their start take from them.
        skip_first: the first step of a parameter only fills its moments.
        foreach: work over lists of tensors; False: in blocks. None: blocks for large tensors on a CPU, else lists.
        capturable: step counts are tensors beside the parameters, so that a CUDA graph can hold the step.

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
        super().__init__(params, settings)
