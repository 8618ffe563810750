"""The report in a real browser: every page drawn, on wide and narrow screens, light and dark, printed, without colours.

Needs the extra `browser` and a Chromium: the program `chromium`, or the one that PARETORCH_CHROMIUM names. None is
downloaded.
"""

import itertools
import os
import shutil
import time
from dataclasses import replace

import pytest

from paretorch.evidence.report import write_report
from paretorch.evidence.report.sensitivity_page import write_sensitivity_page
from paretorch.evidence.report.style import DARK, DISTINCT, PAGE_DARK, PAGE_LIGHT, marks
from tests.evidence.families import BASE, FAST, REFUSED, diverged, family, write
from tests.evidence.grids import dense, point, valley
from tests.evidence.sensitivities import sensitivities
from tests.evidence.test_report import Page

pytestmark = pytest.mark.slow
sync_api = pytest.importorskip("playwright.sync_api", reason="needs the browser extra")

TIMEOUT = 50_000  # milliseconds; a busy machine draws a page in ten seconds
DRAWN = "[...document.querySelectorAll('[data-figure]')].every(e => e.querySelector('svg.main-svg') && e._fullData)"
WIDTHS = (360, 1280)

# Elements that reach beyond the viewport, except inside boxes that scroll; plotly clips what it moves out.
WIDE = """() => [...document.querySelectorAll('body *')]
  .filter(e => !e.closest('.scroll, pre, .plot') && e.getBoundingClientRect().right > innerWidth + 0.5)
  .map(e => e.outerHTML.slice(0, 120))"""

# Contrast of text by WCAG 2 from computed styles: the colour of the first ancestor that has a background.
CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgb = (c) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = c; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const light = (c) => rgb(c).slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (e) => { const c = getComputedStyle(e).backgroundColor;
    return rgb(c)[3] === 0 && e.parentElement ? behind(e.parentElement) : c; };
  const names = 'h1, h2, h3, h4, p, li, summary, figcaption, dt, dd, pre, button.key, thead th, tbody th, td';
  const found = {};
  for (const e of document.querySelectorAll(names)) {
    if (!e.checkVisibility() || !e.textContent.trim()) continue;
    const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort((x, y) => y - x);
    const key = `${e.tagName} ${e.className} ${e.getAttribute('aria-pressed') ?? ''}`;
    found[key] = Math.min(found[key] ?? 99, (a + 0.05) / (b + 0.05));
  }
  return found;
}"""


@pytest.fixture(scope="module")
def browser():
    path = os.environ.get("PARETORCH_CHROMIUM") or shutil.which("chromium")
    if path is None:
        pytest.skip("needs chromium")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def files(sweep, tmp_path_factory):
    """Name of a page -> its file."""
    folder = tmp_path_factory.mktemp("pages")
    runs = [replace(run, references={"majority": 0.95, "floor": 0.1}, train_quality=0.99) for run in sweep(speed=2.0)]
    losses = [
        replace(run, workload="char-lm", metric="nll", higher_is_better=False, quality=3 - run.quality) for run in runs
    ]
    other = [replace(run, recipe_hash="b", quality=run.quality - 0.01) for run in runs]
    for run in runs[3:]:
        run.notes.append("x" * 300)  # what no narrow screen can hold without breaking it
    failing = point("Adam " + "x" * 60, 100.0, 0.01, [None, 0.9, 0.9])
    given = {
        "run": [runs[-1]],
        "sweep": runs,
        "losses": losses,
        "comparison": {"runs/a": runs, "runs/b": other, "runs/c": losses},
        "grids": [*dense(), *valley("AvaGrad", follows=False), *valley("Adam " + "x" * 60, follows=True), *failing],
    }
    pages = {name: write_report(records, folder / f"{name}.html", command="c" * 300) for name, records in given.items()}
    layers = write_sensitivity_page(sensitivities("x" * 80, *(f"l{i}" for i in range(20))), folder / "sensitivity.html")
    return pages | {"speedup": _speedup_page(folder), "sensitivity": layers}


def _speedup_page(folder):
    """Every figure of a comparison, a long family name, a censored seed, a control, and two methods together."""
    families = [
        *BASE,
        *diverged(FAST, seed=2, above=4),
        *family("a control " + "x" * 60, role="control:smaller", gain=0.5),
        *family("AVG", methods=["imp", "ema"]),
        *family("ALLR + AVG", methods=["imp", "allr", "ema"], gain=1.6),
    ]
    write(folder, families, verdict=REFUSED, qualities=[0.9, 0.95], command="c" * 300)
    return folder / "page.html"


class Visit:
    """A page that was opened with the network cut off, and everything it complained about."""

    def __init__(self, browser, path, *, width, scheme):
        self.complaints = []
        self.context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.page.set_default_timeout(TIMEOUT)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.route("**/*", self._refuse)
        self.url = path.as_uri()
        self.page.goto(self.url)
        self.drawn()

    def _console(self, message):
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def _refuse(self, route):
        if route.request.url == self.url:
            route.continue_()
        else:
            self.complaints.append(f"request: {route.request.url}")
            route.abort()

    def drawn(self):
        self.wait_until(DRAWN)

    def settle(self, *, paper):
        """Wait until every figure has this colour behind it."""
        self.wait_until(
            "paper => [...document.querySelectorAll('[data-figure]')]"
            ".every(e => e._fullLayout.paper_bgcolor === paper)",
            paper,
        )

    def wait_until(self, condition, argument=None):
        """Ask from outside: `wait_for_function` polls with `eval` inside the page, which the page's policy forbids."""
        latest = time.monotonic() + TIMEOUT / 1000
        while not self.page.evaluate(condition, argument):
            assert time.monotonic() < latest, f"not within {TIMEOUT} ms: {condition}"
            self.page.wait_for_timeout(50)

    def traces(self):
        """Figure -> number of traces that its SVG shows."""
        return self.page.evaluate(
            "() => Object.fromEntries([...document.querySelectorAll('[data-figure]')].map("
            "e => [e.dataset.figure, e.querySelectorAll('.scatterlayer > .trace').length]))"
        )


@pytest.fixture
def visit(browser):
    opened = []

    def open_page(path, *, width=1280, scheme="light"):
        opened.append(Visit(browser, path, width=width, scheme=scheme))
        return opened[-1]

    yield open_page
    for found in opened:
        found.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["run", "sweep", "losses", "comparison", "grids", "speedup", "sensitivity"])
def test_every_page_is_drawn_readable_and_fits_the_screen(visit, files, name, scheme):
    seen = visit(files[name], width=WIDTHS[0], scheme=scheme)
    figures = Page(files[name].read_text(encoding="utf-8")).figures()
    assert figures
    shown = {key: [t for t in figure["data"] if t.get("visible", True) is True] for key, figure in figures.items()}
    assert seen.traces() == {key: sum(t["type"] == "scatter" for t in traces) for key, traces in shown.items()}
    assert all(shown.values())
    palette = PAGE_LIGHT if scheme == "light" else PAGE_DARK
    seen.settle(paper=palette["card"])
    for width in WIDTHS:
        seen.page.set_viewport_size({"width": width, "height": 800})
        seen.wait_until(
            "() => [...document.querySelectorAll('[data-figure]')].every("
            "e => Math.abs(e.querySelector('svg.main-svg').clientWidth - e.clientWidth) < 2)"
        )
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
        assert seen.page.evaluate(WIDE) == []
    contrast = seen.page.evaluate(CONTRAST)
    assert {key: value for key, value in contrast.items() if value < 4.5} == {}
    assert len(contrast) > 10
    background = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == "rgb({}, {}, {})".format(*bytes.fromhex(palette["page"][1:]))
    assert seen.page.locator("#figure-problem").is_hidden()
    assert seen.complaints == []


def test_a_comparison_of_families_can_be_read_without_colours(visit, files):
    seen = visit(files["speedup"])
    for figure in seen.page.query_selector_all("[data-figure]"):
        drawn = figure.evaluate(
            "e => e._fullData.filter(t => t.mode.includes('markers')).map(t => [t.name, [].concat(t.marker.symbol)])"
        )
        symbols = [(name, symbol) for name, used in drawn for symbol in used if not symbol.endswith("-open")]
        assert len({symbol for _, symbol in symbols}) == len({name for name, _ in symbols})
    levels = seen.page.evaluate("[...document.querySelectorAll('h1, h2, h3, h4')].map(e => Number(e.tagName[1]))")
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_headings_do_not_skip_a_level_and_the_page_names_its_language(visit, files):
    seen = visit(files["comparison"])
    levels = seen.page.evaluate("[...document.querySelectorAll('h1, h2, h3, h4')].map(e => Number(e.tagName[1]))")
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert seen.page.locator("html").get_attribute("lang") == "en"
    assert seen.page.title() == "digits and char-lm: a comparison"


def test_a_change_of_scheme_redraws_the_figures_and_keeps_what_was_hidden(visit, files):
    seen = visit(files["sweep"])
    seen.settle(paper=PAGE_LIGHT["card"])
    button = seen.page.locator("button.key", has_text="IMP with FT").first
    button.click()
    seen.page.emulate_media(color_scheme="dark")
    seen.settle(paper=PAGE_DARK["card"])
    trace = "document.getElementById('plot-size')._fullData.find(t => t.name.startsWith('IMP with FT'))"
    assert seen.page.evaluate(f"{trace}.visible") == "legendonly"
    assert seen.page.evaluate(f"{trace}.line.color") == DARK[marks(0).colour]
    assert button.locator("svg").get_attribute("fill") == DARK[marks(0).colour]
    seen.page.emulate_media(color_scheme="light")
    seen.settle(paper=PAGE_LIGHT["card"])
    assert seen.complaints == []


def test_names_below_a_figure_hide_and_show_their_series_by_mouse_and_by_keyboard(visit, files):
    seen = visit(files["sweep"])
    state = "[...document.getElementById('plot-curves')._fullData].map(t => [t.name, t.visible])"
    before = seen.page.evaluate(state)
    button = seen.page.locator("button.key[data-of=curves]", has_text="IMP FT 98%")
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    seen.wait_until(f"{state}.every(([name, shown]) => name !== 'IMP FT 98%' || shown === 'legendonly')")
    assert button.get_attribute("aria-pressed") == "false"
    hidden = seen.page.evaluate(state)
    changed = [old for old, new in zip(before, hidden, strict=True) if old != new]
    assert changed == [["IMP FT 98%", True]] * 6  # three seeds, validation and learning rate, and nothing else
    seen.page.keyboard.press("Tab")
    seen.page.keyboard.press("Shift+Tab")
    assert seen.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    seen.page.keyboard.press("Enter")
    seen.wait_until(f"{state}.every(([name, shown]) => name !== 'IMP FT 98%' || shown === true)")
    assert seen.page.evaluate(state) == before


def test_without_colours_symbols_and_dashes_tell_every_series_apart(visit, files):
    seen = visit(files["comparison"])
    for figure in seen.page.query_selector_all("[data-figure]"):
        drawn = figure.evaluate(
            "e => e._fullData.filter(t => t.mode.includes('markers')).map(t => "
            "[t.name, [].concat(t.marker.symbol)[0], t.line?.dash ?? 'solid'])"
        )
        styles = {name: (symbol, dash) for name, symbol, dash in drawn}
        assert len(set(styles.values())) == len(styles) >= 3
    pairs = [(marks(i).symbol, marks(i).dash) for i in range(DISTINCT)]
    assert len(set(pairs)) == DISTINCT == 72


def test_a_figure_can_be_saved_as_an_image_without_the_network(visit, files, tmp_path):
    seen = visit(files["run"])
    seen.page.locator("#plot-curves").hover()
    with seen.page.expect_download() as download:
        seen.page.locator("#plot-curves .modebar-btn[data-title='Save as an image']").click()
    assert download.value.suggested_filename == "curves.png"
    download.value.save_as(tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert seen.complaints == []


def test_paper_is_light_and_unfolded(visit, files):
    seen = visit(files["sweep"], scheme="dark")
    seen.settle(paper=PAGE_DARK["card"])
    seen.page.emulate_media(media="print", color_scheme="dark")
    seen.settle(paper=PAGE_LIGHT["card"])
    background = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == "rgb({}, {}, {})".format(*bytes.fromhex(PAGE_LIGHT["page"][1:]))
    seen.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert seen.page.locator("#table-runs").is_visible()
    seen.page.set_viewport_size({"width": 700, "height": 1000})  # about the width of a sheet
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= 700
    seen.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert seen.page.locator("details[open]").count() == 0
    assert seen.page.pdf().startswith(b"%PDF")
    assert seen.complaints == []


def test_table_heads_stay_in_sight_while_a_long_table_scrolls(visit, files):
    seen = visit(files["sweep"])
    seen.page.locator("details", has=seen.page.locator("#table-runs")).locator("summary").click()
    box = seen.page.locator(".scroll", has=seen.page.locator("#table-runs"))
    box.evaluate("e => { e.style.maxHeight = '200px'; e.scrollTop = 300; }")
    head, outer = seen.page.locator("#table-runs thead th").first.bounding_box(), box.bounding_box()
    assert abs(head["y"] - outer["y"]) < 3


def test_a_browser_that_cannot_draw_says_so_and_the_numbers_remain(browser, files, tmp_path):
    text = files["sweep"].read_text(encoding="utf-8")
    path = tmp_path / "old.html"
    path.write_text(
        text.replace('"use strict";', '"use strict"; delete globalThis.DecompressionStream;', 1), encoding="utf-8"
    )
    page = browser.new_page()
    page.goto(path.as_uri())
    problem = page.locator("#figure-problem")
    problem.wait_for(state="visible", timeout=TIMEOUT)
    assert "could not be drawn (DecompressionStream is not defined)" in problem.text_content()
    assert page.locator("#table-quality").is_visible()
    page.close()
