"""Numbers that tensors are computed with, such as the factor 1 / sqrt(x.shape[-1]).

A cut model must compute with those of the whole one: a factor that is made from a width would make it another function,
although all shapes fit.
"""

from collections.abc import Mapping
from numbers import Real
from typing import Any

from torch.utils._pytree import tree_leaves

from paretorch.methods.width.tracing.shapes import words

ARITHMETIC = frozenset(
    words(
        "add sub subtract mul multiply div divide true_divide floor_divide remainder fmod pow truediv floordiv mod radd"
        " rsub rmul rtruediv rfloordiv rdiv rmod rpow iadd isub imul itruediv idiv ipow eq ne lt le gt ge clamp"
        " clamp_min clamp_max fill masked_fill tensor as_tensor scalar_tensor full full_like new_tensor new_full"
    )
)
Numbers = tuple[str, ...]


def numbers_in(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Numbers:
    """The numbers among the arguments of a function that are values and no sizes, as text."""
    if name.strip("_") in ARITHMETIC:
        return tuple(repr(each) for each in tree_leaves((args, kwargs)) if isinstance(each, Real))
    return tuple(repr(each) for each in (*args, *kwargs.values()) if isinstance(each, float))
