"""Two directives that read the code: `task-facts`, what a task that ships needs, and `published-weights`, a table."""

import sys
import tomllib
from importlib import import_module, resources
from inspect import signature
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from paretorch.recipes import cookbook
from paretorch.training.published import ENTRIES, published
from paretorch.training.tasks.registry import BUILT_IN


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("task-facts", TaskFacts)
    app.add_directive("published-weights", PublishedWeights)
    return {"parallel_read_safe": True}


class TaskFacts(SphinxDirective):
    """Options, how to get the data, and the recipes of one task, whose name is the argument."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        if name not in BUILT_IN:
            raise self.error(f"no task is called {name!r}; there are {', '.join(BUILT_IN)}")
        module, _, factory = BUILT_IN[name].partition(":")
        import_module(module)
        remedy = getattr(sys.modules[module], "REMEDY", None)
        lines = [
            f"- **Options** (`[task_options]` of a recipe): {{py:obj}}`{factory} <{module}.{factory}>`",
            f"- **Recipes that ship**: {references(recipes_of(name)) or 'none'}",
        ]
        if comparisons := references(recipes_of(name, comparisons=True)):
            lines.append(f"- **[Comparisons](comparing.md) that ship**: {comparisons}")
        if models := getattr(sys.modules[module], "MODELS", None):
            lines.insert(0, f"- **Models**: {', '.join(f'`{model}`' for model in models)}")
        if "data" not in signature(getattr(sys.modules[module], factory)).parameters:
            lines.append("- **Data**: none is needed")
        if remedy is not None:
            lines.append("- **Data**: found in the data folder; if it is missing, the command says how to get it:")
        found = self.parse_text_to_nodes("\n".join(lines))
        if remedy is not None:
            found.append(nodes.literal_block("", remedy, language="none", classes=["wrapped"]))
        return found


class PublishedWeights(SphinxDirective):
    """Every entry of published weights: its file, where it comes from, and the figure that is checked."""

    def run(self) -> list[nodes.Node]:
        rows = ["| name | file below the data folder | source | checked |", "|---|---|---|---|"]
        for entry in map(published, ENTRIES):
            checked = f"{entry.metric} {entry.expected:g}"
            rows.append(f"| `{entry.name}` | `{entry.folder}/{entry.file}` | {entry.source} | {checked} |")
        return self.parse_text_to_nodes("\n".join(rows))


def references(recipes: list[str]) -> str:
    """Links to recipes of the cookbook."""
    return ", ".join(f"{{ref}}`recipe-{recipe}`" for recipe in recipes)


def recipes_of(task: str, *, comparisons: bool = False) -> list[str]:
    """The recipes of the cookbook that train the task: those that compress, or those that compare."""
    folder = resources.files("paretorch") / "cookbook"
    found = {name: tomllib.loads((folder / f"{name}.toml").read_text("utf-8")) for name in cookbook()}
    return [
        name for name, tables in found.items() if tables.get("task") == task and ("compare" in tables) is comparisons
    ]
