"""Options of a task against the annotations of its factory, so that 16.5 channels stop a run at once.

Checked are bool, int, float, str, Path, None, literals, mappings, tuples of these and unions; any other annotation
takes everything. A bool is no number, and an int is a float.
"""

import inspect
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from paretorch.errors import InputError

_PLAIN: dict[Any, tuple[type, ...]] = {
    bool: (bool,),
    int: (int,),
    float: (int, float),
    str: (str,),
    Path: (str, Path),
    types.NoneType: (types.NoneType,),
    None: (types.NoneType,),
}


def check_options(factory: Callable[..., Any], options: Mapping[str, Any], *, task: str) -> None:
    """Refuse a value that its parameter's annotation does not allow.

    Args:
        factory: a task's class or function; annotations that cannot be resolved are not looked at.
        options: its keyword arguments.
        task: for the message.

    Raises:
        InputError: naming option, value and annotation.
    """
    try:
        parameters = inspect.signature(factory, eval_str=True).parameters
    except (NameError, AttributeError, TypeError, SyntaxError):
        return  # a user's annotation that only type checkers understand
    for name, value in options.items():
        if name in parameters and not _fits(value, kind := parameters[name].annotation):
            expected = inspect.formatannotation(kind)
            raise InputError(f"task {task!r}: {name} = {value!r} is of another kind than expected, {expected}")


def _fits(value: Any, kind: Any) -> bool:
    if get_origin(kind) in (Union, types.UnionType):
        return any(_fits(value, one) for one in get_args(kind))
    if get_origin(kind) is Literal:  # which of the values there are, the task says better
        return any(_fits(value, type(one)) for one in get_args(kind))
    if get_origin(kind) is tuple and get_args(kind)[1:] == (...,):
        return isinstance(value, tuple | list) and all(_fits(one, get_args(kind)[0]) for one in value)
    if get_origin(kind) is Mapping:
        return isinstance(value, Mapping)
    if kind not in _PLAIN:
        return True
    return isinstance(value, _PLAIN[kind]) and (kind is bool or not isinstance(value, bool))
