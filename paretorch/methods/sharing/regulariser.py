"""The recurrence regulariser: layers of a bank are pulled towards being the same layer, up to a factor.

    lambda_t R        R = sum over groups of sum_ij (1 - S_ij^p)        S: the layer similarity matrix

With p = 1 this is the loss of the paper, L - lambda sum_ij S_ij, shifted by a constant: 0 exactly where all layers of a
group are alike. It has other minima too: rows that are three lines at 60 degrees to one another stay there. With
p = 2 that is no minimum, and orthogonal rows are a smooth saddle in the place of a kink. lambda grows linearly from 0
over the run, so that layers first find out what they need.

Source: Savarese and Maire, ICLR 2019, section 4.2. Form and ramp (0 to 0.01 on synthetic tasks) are recalled, not read
there again; p = 2 is ours.
"""

import torch
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.methods.sharing.similarity import similarity
from paretorch.methods.sharing.templates import shared_groups


def recurrence_penalty(model: nn.Module, *, power: int = 1) -> Tensor:
    """R of a model, 0-d and differentiable in the coefficients; not negative.

    With `power=1`, a pair of exactly orthogonal rows sits on a kink of |<.,.>| and adds no gradient; rounding or the
    loss moves it off.

    Args:
        model: with groups made by `share_`.
        power: p, 1 or 2.

    Raises:
        InputError: if the model shares nothing, or for another power.
    """
    if power not in (1, 2):
        raise InputError(f"power must be 1 or 2; got {power}")
    groups = shared_groups(model)
    if not groups:
        raise InputError(f"{type(model).__name__} has no layers that share templates; call share_ first")
    return torch.stack([(1 - similarity(group.coefficients) ** power).sum() for group in groups.values()]).sum()


def ramp(step: int, num_steps: int, *, begin: float = 0.0, end: float = 1.0) -> float:
    """The share of lambda at a step: 0 up to fraction `begin` of the run, 1 from `end` on, linear between.

    Args:
        step: from 0 to num_steps - 1; the last step is fraction 1.
        num_steps: of the run.
        begin, end: fractions of the run, 0 <= begin <= end <= 1.
    """
    done = step / (num_steps - 1) if num_steps > 1 else 1.0
    if done >= end:
        return 1.0
    return (done - begin) / (end - begin) if done > begin else 0.0
