"""Plain values as TOML, so that a recipe that was made by a program can be kept, read and run like any other.

Format: TOML 1.0.0. Nested tables are written inline, and lists of tables as `[[key]]`.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from paretorch.errors import InputError


def to_toml(values: Mapping[str, Any]) -> str:
    """The text that `tomllib.loads` reads back as `values`.

    Args:
        values: strings, booleans, integers, floats, and lists and dicts of them.

    Raises:
        InputError: for a value that TOML has no form for, such as None.
    """
    plain: list[str] = []
    tables: list[str] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            tables.append(_table(f"[{_key(key)}]", value))
        elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
            tables += [_table(f"[[{_key(key)}]]", item) for item in value]
        else:
            plain.append(f"{_key(key)} = {_value(value)}\n")
    return "\n".join(["".join(plain), *tables])


def _table(head: str, values: Mapping[str, Any]) -> str:
    return f"{head}\n" + "".join(f"{_key(key)} = {_value(value)}\n" for key, value in values.items())


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _text(name)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(item) for item in value)}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items()) + "}"
    raise InputError(f"TOML has no form for {value!r}")


def _text(value: str) -> str:
    """JSON's escapes are TOML's; only DEL needs one more."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
