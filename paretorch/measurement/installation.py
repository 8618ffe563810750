"""Which required and optional packages are installed, read from package metadata without importing any of them."""

import re
from dataclasses import dataclass
from importlib import metadata


@dataclass(frozen=True, kw_only=True)
class Package:
    """A package by its distribution name; `version` None: not installed; `extra` None: required."""

    name: str
    version: str | None
    extra: str | None


def required() -> list[Package]:
    """The packages that paretorch cannot do without."""
    return [package for package in _packages() if package.extra is None]


def extras() -> list[Package]:
    """The packages of the optional features, by extra; those for development are left out."""
    return [package for package in _packages() if package.extra not in (None, "dev")]


def _packages() -> list[Package]:
    found = []
    for line in metadata.requires("paretorch") or []:
        name = re.split(r"[ ;<>=!~\[(]", line, maxsplit=1)[0]
        extra = re.search(r"extra == ['\"]([^'\"]+)['\"]", line)
        found.append(Package(name=name, version=_version(name), extra=extra.group(1) if extra else None))
    return found


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
