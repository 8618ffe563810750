"""The teacher's term of the loss as a plain function, and what is refused before it is computed.

    KL(p_T(t) || p_T(s)) = sum over classes of p_T(t) (ln p_T(t) - ln p_T(s)),    p_T(z) = softmax(z / T)

Hinton, Vinyals and Dean, arXiv 1503.02531, section 2, write it as cross-entropy, which has the same gradients.
"""

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from paretorch.errors import InputError
from paretorch.methods.distillation.features import precise

TEMPERATURE, ALPHA, FEATURE_WEIGHT = 4.0, 0.9, 1.0


def divergence(student: Tensor, teacher: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Mean over rows of KL(softmax(teacher / T) || softmax(student / T)) in nats, 0-d, in single precision at least.

    Args:
        student: logits (n, classes).
        teacher: logits of the same shape, without gradients.
        temperature: T, positive.
    """
    ours, theirs = ((precise(logits) / temperature).log_softmax(-1) for logits in (student, teacher))
    return F.kl_div(ours, theirs, log_target=True, reduction="none").sum(-1).mean()


def check_settings(*, temperature: float, alpha: float, features: Sequence[str], feature_weight: float) -> None:
    """Refuse numbers out of range, and features that are no list of different names.

    Raises:
        InputError: saying which.
    """
    if not (math.isfinite(temperature) and temperature > 0):
        raise InputError(f"temperature must be positive and finite; got {temperature}. 1 leaves outputs unsoftened")
    if not 0 <= alpha <= 1:
        raise InputError(f"alpha is the teacher's part of the loss, in [0, 1]; got {alpha}")
    if not (math.isfinite(feature_weight) and feature_weight >= 0):
        raise InputError(f"feature_weight must be finite and must not be negative; got {feature_weight}")
    if isinstance(features, str):
        raise InputError(f"features is a list of module names; got the text {features!r}")
    if len(set(features)) < len(features):
        raise InputError(f"features = {list(features)} names a module twice")


def check_shapes(student: Tensor, teacher: Tensor, labelled: Tensor) -> None:
    """Refuse logits that cannot be compared.

    Raises:
        InputError: if the logits of student and teacher differ in shape, or do not fit the labels.
    """
    if student.shape != teacher.shape:
        raise InputError(
            f"the teacher's logits have shape {tuple(teacher.shape)}, the student's {tuple(student.shape)}; both must "
            "score the same classes of the same examples"
        )
    if student.shape[:-1] != labelled.shape:
        raise InputError(
            f"logits of shape {tuple(student.shape)} do not fit labels of shape {tuple(labelled.shape)}; expected "
            "(n, classes) with (n,), or (n, positions, classes) with (n, positions)"
        )
