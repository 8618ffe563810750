"""The page of the grid lists every published method once, under its main component, and the grid itself."""

import re

from paretorch.methods.catalogue import all_cards
from paretorch.methods.taxonomy import ACTIONS, COMPONENTS
from tests.docs.documents import DOCS

PAGE = (DOCS / "taxonomy.md").read_text(encoding="utf-8")


def test_the_lists_of_the_page_cover_every_published_method_once() -> None:
    listed = re.findall(r"^```\{published-methods\} (.+)$", PAGE, re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert set(listed) == {*COMPONENTS, "none"}
    mains = {card.cells[0][0] if card.cells else "none" for card in all_cards().values() if not card.implemented}
    assert mains == set(listed)  # else a list would be empty, and the build would stop


def test_the_page_shows_the_grid_and_its_gaps_and_explains_every_row_and_column() -> None:
    for directive in ("method-grid", "field-gaps"):
        assert f"```{{{directive}}}\n```" in PAGE
    rows = re.findall(r"^\| ([a-z ]+) \|", PAGE, re.MULTILINE)
    assert rows == ["component", *COMPONENTS]
    for action in ACTIONS:
        assert f"*{action}*" in PAGE


def test_the_index_of_methods_links_the_page() -> None:
    assert "](../taxonomy.md)" in (DOCS / "methods" / "index.md").read_text(encoding="utf-8")
