"""Hidden features of student and teacher, compared in direction: 2 (1 - cosine), example by example.

    F = mean over examples of || s / ||s|| - t / ||t|| ||^2 = mean of 2 (1 - cos(s, t)),    0 <= F <= 4

s, t: the output of one module of the student and of the module of the same name in the teacher, all entries of one
example as one vector. Matching hidden layers is Romero et al., "FitNets", ICLR 2015, with a learned regressor between
layers of different widths and without normalisation; normalising is ours (Zagoruyko and Komodakis, ICLR 2017, normalise
attention maps), so that the scale of a layer, which batch norm and pruning change, does not set the weight of the term.
There is no regressor, so shapes must match.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from paretorch.errors import InputError


def feature_distance(student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> Tensor:
    """Mean of F over the modules, 0-d, in single precision at least.

    Args:
        student, teacher: outputs (n, ...) by module name, the same names.

    Raises:
        InputError: naming the module whose outputs differ in shape.
    """
    for name, mine in student.items():
        if mine.shape != teacher[name].shape:
            raise InputError(
                f"features: module {name!r} gives {tuple(mine.shape)} in the student and "
                f"{tuple(teacher[name].shape)} in the teacher; name modules whose outputs have equal shapes, such as "
                "those that a cut leaves alone"
            )
    return torch.stack([_distance(mine, teacher[name]) for name, mine in student.items()]).mean()


def _distance(student: Tensor, teacher: Tensor) -> Tensor:
    directions = [F.normalize(precise(features).reshape(len(features), -1), dim=1) for features in (student, teacher)]
    return (directions[0] - directions[1]).square().sum(1).mean()


def precise(values: Tensor) -> Tensor:
    """The same in single precision, or in double where it was."""
    return values if values.dtype == torch.float64 else values.float()
