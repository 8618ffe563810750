"""Recipes by path or by the name of one that ships."""

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any

from paretorch.errors import InputError
from paretorch.recipes.recipe import Recipe
from paretorch.recipes.strict import validated


def load_recipe(reference: str, *, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe from a TOML file, or by name from those that ship.

    Args:
        reference: a path, or the name of a recipe of the cookbook.
        overrides: top-level keys to replace.

    Raises:
        InputError: if it does not exist, is no TOML, or does not validate; names the nearest known key.
    """
    path = Path(reference)
    if path.suffix == ".toml":
        if not path.is_file():
            raise InputError(f"there is no recipe file {path}; recipes that ship: {', '.join(cookbook())}")
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"recipe {reference} cannot be read as UTF-8 text: {error}") from error
    elif reference in cookbook():
        text = (resources.files("paretorch") / "cookbook" / f"{reference}.toml").read_text(encoding="utf-8")
    else:
        near = get_close_matches(reference, cookbook(), n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise InputError(f"there is no recipe {reference!r}; {hint}recipes that ship: {', '.join(cookbook())}")
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"recipe {reference} is not valid TOML: {error}") from error
    recipe = validated(Recipe, values | dict(overrides or {}), where=f"recipe {reference}")
    recipe._text = text + "".join(
        f"\n# replaced on the command line: {key} = {value!r}" for key, value in (overrides or {}).items()
    )
    recipe.check()
    return recipe


def cookbook() -> list[str]:
    """Names of the recipes that ship."""
    folder = resources.files("paretorch") / "cookbook"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))
