"""Settings as JSON, so that another process has the same: frozen dataclasses by their class, and what they hold.

    {"class": "package.module:Name", "fields": {...}}    {"tuple": [...]}    {"mapping": {...}}    {"path": "..."}

Numbers, text, None and lists stand for themselves. Nothing is pickled: what comes back is built by its constructor,
which checks it again.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from paretorch.errors import InputError
from paretorch.training.worker import find_function


def to_plain(value: Any, *, where: str) -> Any:
    """`value` as what JSON has words for.

    Args:
        value: a dataclass, or a tuple, list, mapping, path, number, text or None, of any depth.
        where: what errors call it.

    Raises:
        InputError: naming the place of anything else, such as a function.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        given = [field.name for field in fields(value) if field.init]
        return {
            "class": f"{type(value).__module__}:{type(value).__qualname__}",
            "fields": {name: to_plain(getattr(value, name), where=f"{where}.{name}") for name in given},
        }
    if isinstance(value, Path):
        return {"path": str(value)}
    if isinstance(value, list | tuple):
        items = [to_plain(item, where=f"{where}[{position}]") for position, item in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {"mapping": {key: to_plain(item, where=f"{where}[{key!r}]") for key, item in value.items()}}
    raise InputError(
        f"{where} is {value!r}, which cannot be sent to another process: expected settings that are dataclasses of "
        "numbers and text"
    )


def from_plain(plain: Any) -> Any:
    """The value that `to_plain` was given.

    Raises:
        InputError: if a class cannot be found, or refuses its fields.
    """
    if isinstance(plain, list):
        return [from_plain(item) for item in plain]
    if not isinstance(plain, dict):
        return plain
    if "class" in plain:
        kind = find_function(plain["class"])
        return kind(**{name: from_plain(item) for name, item in plain["fields"].items()})
    if "path" in plain:
        return Path(plain["path"])
    if "tuple" in plain:
        return tuple(from_plain(item) for item in plain["tuple"])
    return {key: from_plain(item) for key, item in plain["mapping"].items()}
