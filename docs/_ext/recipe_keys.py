"""Two directives: `cookbook`, the recipes that ship, and `recipe-keys`, a table of the keys of one recipe table.

    ```{recipe-keys} TrainTable
    batch_size: examples per optimizer step and process
    ```

Keys are read from the pydantic model. The body says what each key means. A key without a line, or a line without a key,
is an error, so that the page cannot fall behind the code; types, ranges and defaults come from the model.
"""

import sys
import tomllib
from importlib import resources
from operator import attrgetter
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from docutils import nodes
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from paretorch import recipes

KINDS = {bool: "true or false", int: "whole number", float: "number", str: "text"}
DASH = "\N{EN DASH}"
SIGNS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("cookbook", Cookbook)
    app.add_directive("recipe-keys", RecipeKeys)
    return {"parallel_read_safe": True}


class RecipeKeys(SphinxDirective):
    """A table with key, value, default and meaning; the argument is the name of a model in `paretorch.recipes`."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        model = model_called(self.arguments[0])
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            raise self.error(f"paretorch.recipes has no model {self.arguments[0]!r}")
        self.env.note_dependency(str(sys.modules[model.__module__].__file__))
        meanings = self._meanings()
        if missing := [key for key in model.model_fields if key not in meanings]:
            raise self.error(f"{self.arguments[0]}: say what these keys mean: {', '.join(missing)}")
        if unknown := [key for key in meanings if key not in model.model_fields]:
            raise self.error(f"{self.arguments[0]} has no key {', '.join(unknown)}")
        rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
        for key, field in model.model_fields.items():
            rows.append(f"| `{key}` | {kind(field)} | {default(field)} | {meanings[key]} |")
        return self.parse_text_to_nodes("\n".join(rows))

    def _meanings(self) -> dict[str, str]:
        meanings: dict[str, str] = {}
        for line in self.content:
            if line.startswith(" "):  # continues the line before
                meanings[list(meanings)[-1]] += f" {line.strip()}"
            elif line.strip():
                key, _, meaning = line.partition(":")
                meanings[key.strip()] = meaning.strip()
        return meanings


def model_called(name: str) -> Any:
    """What `paretorch.recipes` offers under a name, which may begin with that of a module; None for nothing."""
    try:
        return attrgetter(name)(recipes)
    except AttributeError:
        return None


class Cookbook(SphinxDirective):
    """Every recipe of the cookbook, whole, under its name, with the command that runs it."""

    def run(self) -> list[nodes.Node]:
        found: list[nodes.Node] = []
        for name in recipes.cookbook():
            file = resources.files("paretorch") / "cookbook" / f"{name}.toml"
            self.env.note_dependency(str(file))
            text = file.read_text(encoding="utf-8")
            label = f"recipe-{name}"
            section = nodes.section(ids=[label], names=[label])
            self.env.domains.standard_domain.note_hyperlink_target(label, self.env.docname, label, name)
            section += nodes.title(name, name)
            section += nodes.literal_block("", f"$ {command_of(name, text)}", language="console")
            section += nodes.literal_block("", text, language="toml")
            found.append(section)
        return found


def command_of(name: str, text: str) -> str:
    """The command that runs a recipe of the cookbook, by the tables it has."""
    tables = tomllib.loads(text)
    if "compare" in tables:
        return f"paretorch compare {name}"
    return f"paretorch run {name}{' --search' if 'search' in tables else ''}"


def kind(field: FieldInfo) -> str:
    """The type and range of a key in words."""
    limits = [
        f"{sign} {getattr(item, name):g}"
        for item in field.metadata
        for name, sign in SIGNS.items()
        if getattr(item, name, None) is not None
    ]
    return ", ".join([_words(field.annotation), *limits])


def _words(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return " or ".join(_words(part) for part in arguments if part is not NoneType)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin is list:
        return f"list: {_words(arguments[0])}"
    if origin is dict or (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return "table"
    if arguments:  # Annotated
        return kind(FieldInfo.from_annotation(annotation))
    return KINDS.get(annotation, "any value")


def default(field: FieldInfo) -> str:
    """The default as TOML would write it; "required" where there is none, a dash for None and for tables."""
    value = field.get_default()
    if value is PydanticUndefined:
        return "required"
    if value is None or isinstance(value, dict | BaseModel):
        return DASH
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"
