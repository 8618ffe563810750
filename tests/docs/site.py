"""Reads built HTML: which anchors a page has, and which of its links lead nowhere."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class _Page(HTMLParser):
    """The ids and the links of one page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if found.get("id"):
            self.anchors.add(str(found["id"]))
        self.links += [value for name in ("href", "src") if (value := found.get(name))]


def dead_links(site: Path) -> list[str]:
    """`page: link` for every link inside the site whose file or anchor does not exist."""
    pages = {path.resolve(): _Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    dead = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchored = not parts.fragment or target not in pages or unquote(parts.fragment) in pages[target].anchors
            if not (target.exists() and anchored):
                dead.append(f"{path.relative_to(site.resolve())}: {link}")
    return dead


def loaded_from_elsewhere(site: Path) -> list[str]:
    """`page: address` for every script, style sheet or picture that a page takes from another place."""
    pattern = re.compile(
        r"<(?:script|img)\b[^>]*\bsrc=\"(https?:[^\"]+)|<link\b[^>]*stylesheet[^>]*href=\"(https?:[^\"]+)"
    )
    return [
        f"{path.relative_to(site)}: {match[1] or match[2]}"
        for path in sorted(site.rglob("*.html"))
        for match in pattern.finditer(path.read_text(encoding="utf-8"))
    ]
