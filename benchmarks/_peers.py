"""Packages that a benchmark needs and the library does not: which are missing, the extra that brings them, versions."""

import importlib.util
import re
import tomllib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def lacking(packages: Sequence[str]) -> str | None:
    """What is missing and how to install it, in words; None if all is there.

    Args:
        packages: import names.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if not missing:
        return None
    found = dict.fromkeys(extra for name in missing if (extra := extra_of(name)) is not None)
    how = f': pip install "paretorch[{",".join(found)}]"' if found else ""
    return f"needs the package {', '.join(missing)}{how}"


def extra_of(package: str) -> str | None:
    """The extra of this project that installs the package of an import name."""
    extras = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for extra, requirements in extras.items():
        if package in [re.split(r"[^\w-]", line)[0].replace("-", "_") for line in requirements]:
            return str(extra)
    return None


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Of installed packages, by import name."""
    return {name: version(name) for name in packages}
