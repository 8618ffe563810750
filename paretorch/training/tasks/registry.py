"""Finds a task by its short name, or a user's own by `file.py:factory` or `package.module:factory`."""

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from paretorch.errors import InputError
from paretorch.training.supervised import TASK_FILE_PREFIX
from paretorch.training.task import Task, TaskSource
from paretorch.training.tasks.option_types import check_options

BUILT_IN = {
    "adult": "paretorch.training.tasks.tabular.adult:Adult",
    "char-lm": "paretorch.training.tasks.text.char_lm:CharLM",
    "cifar10": "paretorch.training.tasks.images.cifar10:CIFAR10",
    "digits": "paretorch.training.tasks.digits:digits",
    "fashion-mnist": "paretorch.training.tasks.images.fashion_mnist:FashionMNIST",
    "generative": "paretorch.training.tasks.generative.factory:generative",
    "grid-paths": "paretorch.training.tasks.grids.grid_paths:GridPaths",
    "regression": "paretorch.training.tasks.regression:regression",
    "spoken-digits": "paretorch.training.tasks.speech.spoken_digits:SpokenDigits",
    "text-lm": "paretorch.training.tasks.text.text_lm:TextLM",
}


def make_task(reference: str, *, options: Mapping[str, Any] | None = None, data: Path | None = None) -> Task:
    """The task that `reference` names.

    Args:
        reference: a built-in name, `path/to/file.py:factory` or `package.module:factory`.
        options: keyword arguments of the factory.
        data: the data folder; passed on if the factory has a parameter `data`.

    Raises:
        InputError: if it cannot be found or imported, refuses the options, or does not return a `Task`.
    """
    target = BUILT_IN.get(reference, reference)
    if ":" not in target:
        near = get_close_matches(reference, BUILT_IN, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise InputError(
            f"task {reference!r} is unknown; {hint}Built-in tasks are {', '.join(BUILT_IN)}; your own is given as "
            "file.py:factory or package.module:factory"
        )
    location, _, name = target.rpartition(":")
    factory = getattr(_module(location), name, None)
    if not callable(factory):
        raise InputError(f"{location} has no function or class {name!r} to build the task with")
    task = _call(factory, reference, dict(options or {}), data)
    if not isinstance(task, Task):
        raise InputError(f"{reference} returned {type(task).__name__}; a task factory returns a paretorch.Task")
    folder = None if data is None else str(data)
    task.source = TaskSource(reference=reference, options=dict(options or {}), data=folder)
    return task


def _module(location: str) -> ModuleType:
    if not location.endswith(".py"):
        return _imported(location, lambda: importlib.import_module(location))
    path = Path(location)
    if not path.is_file():
        raise InputError(f"there is no task file {path}")
    folder = str(path.resolve().parent)
    if folder not in sys.path:  # modules beside the file are found, after those that are installed
        sys.path.append(folder)
    place = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]  # two files of one name are two modules
    spec = importlib.util.spec_from_file_location(f"{TASK_FILE_PREFIX}{path.stem}_{place}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} cannot be imported as Python")
    module, loader = importlib.util.module_from_spec(spec), spec.loader
    sys.modules[spec.name] = module  # dataclasses look their module up here

    def execute() -> ModuleType:
        loader.exec_module(module)
        return module

    return _imported(location, execute)


def _imported(location: str, load: Callable[[], ModuleType]) -> ModuleType:
    try:
        return load()
    except (Exception, SystemExit) as error:  # whatever the user's own file raises while it is imported
        raise InputError(f"{location} does not import: {type(error).__name__}: {error}") from error


def _call(factory: Callable[..., Any], reference: str, options: dict[str, Any], data: Path | None) -> Any:
    parameters = inspect.signature(factory).parameters
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    if unknown := [] if takes_any else [name for name in options if name not in parameters]:
        near = get_close_matches(unknown[0], parameters, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise InputError(f"task {reference!r} has no option {unknown[0]!r}{hint}; it takes {', '.join(parameters)}")
    check_options(factory, options, task=reference)
    if "data" in parameters and "data" not in options:
        options["data"] = data
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    try:
        return factory(**values)
    except TypeError as error:
        raise InputError(f"task {reference!r} refused its options {options}: {error}") from error
