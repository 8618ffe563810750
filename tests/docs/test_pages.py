"""What every page must hold: a page per method with its parts, a section per task, links that lead somewhere."""

import re
from pathlib import Path

import pytest

from paretorch.evidence import claims, effect, families, quantities, statistics
from paretorch.methods.catalogue import cards
from paretorch.recipes import load_recipe
from paretorch.training.tasks.registry import BUILT_IN
from tests.docs.documents import DOCS, documents, name_of

PARTS = ["What it does", "When it pays", "When it does not", "Cost of use", "Our evidence"]
METHODS = DOCS / "methods"


def test_every_method_has_one_page_and_every_page_a_method() -> None:
    pages = {path.stem for path in METHODS.glob("*.md")} - {"index"}
    assert pages == set(cards())


@pytest.mark.parametrize("name", sorted(cards()))
def test_the_page_of_the_method_has_its_card_and_all_parts_in_order(name: str) -> None:
    text = (METHODS / f"{name}.md").read_text(encoding="utf-8")
    assert f"```{{method-card}} {name}\n" in text
    assert [title for title in re.findall(r"^## (.*)$", text, re.MULTILINE) if title in PARTS] == PARTS


@pytest.mark.parametrize("name", sorted(cards()))
def test_a_method_without_a_result_file_claims_no_figure_and_says_so(name: str) -> None:
    evidence = (METHODS / f"{name}.md").read_text(encoding="utf-8").partition("## Our evidence")[2]
    quoted = set(re.findall(r'<!-- figure: ([\w-]+)\.\w+ "', evidence))
    assert quoted == set(cards()[name].evidence)
    assert bool(quoted) != ("No result file covers" in evidence)


def test_every_task_that_ships_has_a_section() -> None:
    sections = re.findall(r"^## `([\w-]+)`$", (DOCS / "tasks.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(sections) == sorted(BUILT_IN)


@pytest.mark.parametrize("path", documents(), ids=name_of)
def test_links_to_files_of_the_repository_lead_somewhere(path: Path) -> None:
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    files = [target for target in targets if target and not target.startswith(("http:", "https:"))]
    assert [target for target in files if not (path.parent / target).exists()] == []


def test_the_recipes_of_the_pages_run_on_the_task_beside_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in ("mine.toml", "compared.toml", "my_task.py"):
        (tmp_path / file).write_bytes((DOCS / "_examples" / file).read_bytes())
    monkeypatch.chdir(tmp_path)
    sweep = load_recipe("mine.toml").sweep(data=None, command="none")
    assert sweep.plan()[0] == "3 seeds x (1 dense model + 6 arms), task products"
    comparison = load_recipe("compared.toml").comparison(data=None, command="none")
    assert comparison.plan()[0] == "5 seeds, 105 runs, task products"  # 5 dense models, 4 families at 5 durations
    smaller = next(family for family in comparison.families if family.role == "control:smaller")
    assert smaller.task.model()[0].out_features < comparison.task.model()[0].out_features


WORDS = {3: "three", 5: "five", 8: "8", 10: "10"}


def test_the_limits_on_the_page_of_comparisons_are_those_of_the_code() -> None:
    text = " ".join((DOCS / "comparing.md").read_text(encoding="utf-8").replace("<!-- setting -->", "").split())
    durations, span, seeds = (WORDS[int(n)] for n in (claims.MIN_DURATIONS, claims.MIN_SPAN, claims.MIN_SEEDS))
    assert f"| fewer than {durations} durations, or a span under {span} |" in text
    long, minutes = WORDS[claims.MIN_SEEDS_LONG], WORDS[int(claims.LONG_RUN_S / 60)]
    assert f"| fewer than {seeds} paired seeds; {long} are enough where a run takes over {minutes} minutes" in text
    assert f"a time ratio within {quantities.RESOLUTION * 100:g} % of 1" in text
    assert families.DECAYED == 1 / 20
    assert "a run that ended above a twentieth of its highest rate" in text
    assert all(f"| {role.removeprefix('control:')}" in text for role in claims.CONTROLS)


def test_the_rule_of_seeds_on_the_page_of_statistics_is_that_of_the_code() -> None:
    text = (DOCS / "statistics.md").read_text(encoding="utf-8")
    few, many = statistics.LOW_N, effect.BOOTSTRAP_N
    rows = re.findall(rf"^\| (under {few}|{few} to {many - 1}|{many} and more) \|", text, re.MULTILINE)
    assert len(rows) == 3
