"""Settings of the documentation: Markdown pages, and an API reference from the docstrings. Builds without a network.

python -m sphinx -W -n -b html docs build/docs
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from paretorch import __version__

project = "Paretorch"
author = "The Paretorch authors"
copyright = "The Paretorch authors, Apache-2.0"  # noqa: A001 -- Sphinx's name
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "docstrings",
    "recipe_keys",
    "method_cards",
    "task_facts",
    "api_pages",
]
exclude_patterns = ["_ext"]
nitpicky = True
nitpick_ignore_regex = [
    # Other libraries: their documentation is not fetched.
    (r"py:.*", r"(abc|collections|contextlib|fractions|os|pathlib|random|subprocess|types)\..*"),
    (r"py:.*", r"(lightning|numpy|plotly|rich|torch|transformers)\..*|Accelerator|ProcessGroup"),
    (r"py:class", r"paretorch\..*\._\w+"),  # private types in public signatures
    (r"py:.*", r"paretorch\..*\.MasksT"),  # a type variable
]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4

default_role = "literal"  # docstrings write `code` as Markdown does
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_inherit_docstrings = False  # `forward` would repeat torch's on every model
autodoc_preserve_defaults = True
napoleon_use_param = False  # docstrings describe several arguments at once: "include, exclude: ..."
napoleon_use_rtype = False
napoleon_custom_sections = [("Attributes", "params_style"), ("Class attributes", "params_style")]
python_maximum_signature_line_length = 88
add_module_names = False

html_theme = "furo"
html_title = "Paretorch"
html_static_path = ["_static"]
html_css_files = ["paretorch.css"]
html_show_sphinx = False
copybutton_prompt_text = "$ "
