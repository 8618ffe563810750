"""Which callable builds an artefact's model, by name, and which names may be looked up without being asked.

A manifest is data from anywhere, and looking up a name runs code. So a name is followed only if the caller handed over
the constructor, allowed importing, or the name is that of a model builder of this package: a class derived from
`nn.Module`, or a function annotated to return one, defined in the module it is named in.
"""

import inspect
import typing
from collections.abc import Callable
from importlib import import_module
from typing import Any

from torch import nn

from paretorch.errors import ArtefactError, InputError

Constructor = Callable[..., nn.Module]

TRUSTED_PREFIX = "paretorch."
# Its functions return modules too, but by reading files that the manifest would get to name.
NEVER_TRUSTED_PREFIX = "paretorch.artefacts."


def reference_of(constructor: Constructor | str) -> str:
    """ "package.module:qualname" of a callable; a text is checked for that form.

    Raises:
        InputError: the callable has no name that it could be found by, or the text is not of that form.
    """
    if isinstance(constructor, str):
        module, _, name = constructor.partition(":")
        if not all(part.isidentifier() for part in [*module.split("."), *name.split(".")]):
            raise InputError(f"constructor {constructor!r} is not of the form 'package.module:name'.")
        return constructor
    home, qualname = getattr(constructor, "__module__", None), getattr(constructor, "__qualname__", None)
    if not callable(constructor) or not home or not qualname or "<" in qualname:
        raise InputError(
            f"constructor {constructor!r} cannot be named: give a class or a function at the top level of a module, "
            "and its arguments in kwargs; not a lambda, an inner function or a partial."
        )
    return f"{home}:{qualname}"


def find_constructor(reference: str, *, allow_import: bool) -> Constructor:
    """The callable that a manifest names.

    Args:
        reference: "package.module:qualname".
        allow_import: import whatever module is named, which runs its code. Otherwise model builders of this package.

    Raises:
        ArtefactError: the name may not be followed, or leads nowhere.
    """
    module_name, _, qualname = reference.partition(":")
    advice = f"Pass constructor= to say what builds it, or allow_import=True to import {module_name} and run its code."
    trusted = module_name.startswith(TRUSTED_PREFIX) and not f"{module_name}.".startswith(NEVER_TRUSTED_PREFIX)
    if not trusted and not allow_import:
        raise ArtefactError(
            f"the model is built by {reference}, which is not part of paretorch, and nothing else is imported unasked. "
            f"{advice}"
        )
    try:
        found: Any = import_module(module_name)
        for part in qualname.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ArtefactError(
            f"the model is built by {reference}, which cannot be found ({error}). Pass constructor=, or install the "
            "version that has it."
        ) from error
    if not allow_import and not _builds_models(found, module_name):
        raise ArtefactError(
            f"the model is said to be built by {reference}, which is not a class derived from nn.Module or a function "
            f"annotated to return one, defined there; it is not called. {advice}"
        )
    return typing.cast(Constructor, found)


def _builds_models(found: Any, module_name: str) -> bool:
    if getattr(found, "__module__", None) != module_name:  # `module:os.system` would lead out of the package
        return False
    if inspect.isclass(found):
        return issubclass(found, nn.Module)
    if not inspect.isfunction(found):
        return False
    result = inspect.signature(found, eval_str=True).return_annotation
    return inspect.isclass(result) and issubclass(result, nn.Module)
