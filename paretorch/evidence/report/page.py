"""One page: a template filled in, with its figures and plotly.js inside, both compressed, written atomically."""

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from paretorch.artefacts.files import write_text
from paretorch.evidence.report.bundle import ALPHABET, encode, plotly_text
from paretorch.evidence.report.legend import entries
from paretorch.evidence.report.style import DARK, PAGE_DARK, PAGE_LIGHT


def write_page(template: str, path: Path, *, figures: dict[str, dict[str, Any]], **content: Any) -> Path:
    """Fill in `template` and write it to `path`.

    Args:
        template: a file of `templates/`.
        path: the HTML file; an existing one is replaced atomically.
        figures: figures as dicts by key; the template places them.
        content: what the template asks for; a name it does not get is an error.
    """
    loader = PackageLoader("paretorch.evidence.report")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    environment.globals["keys"] = {name: entries(figure) for name, figure in figures.items()}
    environment.globals["heights"] = {name: figure["layout"]["height"] for name, figure in figures.items()}
    text = environment.get_template(template).render(
        figures=encode(json.dumps(figures, separators=(",", ":")).encode()),
        dark=DARK,
        page_light=PAGE_LIGHT,
        page_dark=PAGE_DARK,
        plotly=Markup(plotly_text()),  # the alphabet has no "<", "&" or quote
        alphabet=ALPHABET,
        **content,
    )
    write_text(path, text)
    return path
