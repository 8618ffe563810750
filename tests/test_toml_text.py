"""Values written as TOML and read back with the standard library."""

import tomllib
from importlib import resources
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretorch.errors import InputError
from paretorch.recipes import cookbook
from paretorch.recipes.toml_text import to_toml

texts = st.text(st.characters(exclude_categories=["Cs"]))
scalars = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | texts
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=12)


def same(left: Any, right: Any) -> bool:
    """Equal, and of equal types, so that 1 is not taken for 1.0 or True."""
    return repr(left) == repr(right)


@given(st.dictionaries(texts, values))
def test_what_is_written_is_read_back(tree: dict[str, Any]) -> None:
    read = tomllib.loads(to_toml(tree))
    assert read == tree
    assert all(same(read[key], tree[key]) for key in tree)


@pytest.mark.parametrize("name", cookbook())
def test_recipes_that_ship_survive(name: str) -> None:
    text = (resources.files("paretorch") / "cookbook" / f"{name}.toml").read_text(encoding="utf-8")
    recipe = tomllib.loads(text)
    assert tomllib.loads(to_toml(recipe)) == recipe
    assert "\n[train]\n" in to_toml(recipe)


def test_arms_are_written_as_people_write_them() -> None:
    assert to_toml({"name": "a", "arm": [{"sparsity": 0.9}, {"sparsity": 0.5}]}) == (
        'name = "a"\n\n[[arm]]\nsparsity = 0.9\n\n[[arm]]\nsparsity = 0.5\n'
    )


def test_none_has_no_form() -> None:
    with pytest.raises(InputError, match="TOML has no form for None"):
        to_toml({"a": [None]})
