"""Two directives for the reference: `public-names`, the table of `import paretorch as pt`, and `room`, its modules.

Both read the package, so that a new name or module appears without an edit here.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any, ClassVar

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

import paretorch


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("public-names", PublicNames)
    app.add_directive("room", Room)
    app.connect("missing-reference", resolved)
    return {"parallel_read_safe": True}


class PublicNames(SphinxDirective):
    """A table of the names that `paretorch` itself offers, each with a link and the first sentence of its docstring."""

    def run(self) -> list[nodes.Node]:
        rows = ["| name | what it is |", "|---|---|"]
        for name in paretorch.__all__:
            if name == "__version__":
                continue
            found = getattr(paretorch, name)
            rows.append(f"| {{py:obj}}`pt.{name} <{found.__module__}.{found.__qualname__}>` | {sentence(found)} |")
        return self.parse_text_to_nodes("\n".join(rows))


class Room(SphinxDirective):
    """One section per module of a room, with everything public in it: `room` takes the package's name."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {"without": str.split, "only": str.split}

    def run(self) -> list[nodes.Node]:
        room = self.arguments[0]
        chosen = [entry for entry in modules(room) if self._is_wanted(entry[0].removeprefix(f"{room}."))]
        if not chosen:
            raise self.error(f"room {room} has no module with a public name")
        return [self._section(name, missing) for name, missing in chosen]

    def _is_wanted(self, name: str) -> bool:
        only = self.options.get("only", [])
        listed = [name == entry or name.startswith(f"{entry}.") for entry in (only or self.options.get("without", []))]
        return any(listed) if only else not any(listed)

    def _section(self, name: str, missing: str | None) -> nodes.section:
        section = nodes.section(ids=[nodes.make_id(name)], names=[name])
        section += nodes.title(name, "", nodes.literal(name, name))
        text = ["```{eval-rst}", f".. automodule:: {name}", "   :members:", "```"]
        if missing is not None:
            text = [f"These pages were built without it: {missing}"]
        self.state.nested_parse(StringList(text, self.get_location()), 0, section)
        return section


def resolved(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Element) -> nodes.Element | None:
    """A link for a bare name, such as an exception under "Raises", if exactly one documented object is called so."""
    if node.get("refdomain") != "py":
        return None
    documented = env.domains.python_domain.objects
    called_so = [name for name in documented if name.rpartition(".")[2] == node["reftarget"]]
    if len(called_so) != 1:
        return None
    found = documented[called_so[0]]
    return make_refnode(app.builder, node["refdoc"], found.docname, found.node_id, content, called_so[0])


def modules(room: str) -> Iterator[tuple[str, str | None]]:
    """The modules of a room, itself included, that define something public with a docstring; by path.

    With the reason beside the name where a module cannot be imported.
    """
    package = importlib.import_module(room)
    found = pkgutil.walk_packages(getattr(package, "__path__", []), f"{room}.")
    for name in [room, *(entry.name for entry in found)]:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError:
            raise
        except ImportError as error:  # an extra that is not installed, which the page then says
            yield name, str(error)
            continue
        if not name.rpartition(".")[2].startswith("_") and any(
            inspect.getdoc(value)
            for key, value in vars(module).items()
            if not key.startswith("_") and getattr(value, "__module__", None) == name
        ):
            yield name, None


def sentence(found: Any) -> str:
    """The first sentence of a docstring, on one line of a Markdown table."""
    text = " ".join((inspect.getdoc(found) or "").split("\n\n")[0].split())
    first = text.split(". ")[0].rstrip(".")
    return first.replace("|", "\\|") + "."
