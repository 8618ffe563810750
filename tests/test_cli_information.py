"""The commands that only print: methods, doctor, and what the command line says to unknown words."""

from pathlib import Path

import pytest

from paretorch.measurement.energy import energy_meters
from paretorch.methods import queries
from paretorch.methods.catalogue import all_cards, cards
from paretorch.methods.taxonomy import ACTIONS, COMPONENTS
from tests.test_cli import paretorch, refused

WIDTH = 80  # of a pipe


def listed(*arguments: str, cwd: Path) -> str:
    """What `paretorch methods` prints into a pipe."""
    result = paretorch("methods", *arguments, cwd=cwd)
    assert result.exit_code == 0, result.output
    assert max(map(len, result.stdout.splitlines())) <= WIDTH
    return result.stdout


def test_methods_lists_every_card_and_doctor_finds_what_is_required(tmp_path: Path) -> None:
    printed = listed(cwd=tmp_path)
    for name in cards():
        assert name in printed
    assert "lottery-ticket" not in printed
    diagnosis = paretorch("doctor", cwd=tmp_path)
    assert diagnosis.exit_code == 0, diagnosis.output
    assert "Everything that is required is installed." in diagnosis.stdout
    printed = diagnosis.stdout.replace("\n", "")
    for source in [*energy_meters().absent, *(meter.source for meter in energy_meters().meters)]:
        assert f"energy ({source})" in printed
    assert "install 'paretorch'" not in printed, "the name of an extra in brackets was taken for markup"


def test_all_lists_what_ships_and_then_every_published_method_with_its_source(tmp_path: Path) -> None:
    printed = listed("--all", cwd=tmp_path)
    shipped, published = printed.split("Published, and not part of this package: ")
    others = [card for card in all_cards().values() if not card.implemented]
    assert published.splitlines()[0] == str(len(others))
    for name in cards():
        assert name in shipped
    for card in others:
        assert f"\n{card.id} ({card.year}): " in published
    text = " ".join(published.split())
    assert "Frankle and Carbin, ICLR 2019" in text
    assert "Reported, ResNet-50, ImageNet, V100, 8 CPU cores per GPU: images/s with the method 277." in text


def test_grid_shows_what_ships_in_its_cell_and_counts_the_others(tmp_path: Path) -> None:
    printed = listed("--grid", cwd=tmp_path)
    rows: dict[str, list[str]] = {}
    component = ""
    for line in printed.splitlines():
        cells = [cell.strip() for cell in line.strip("│").split("│")]
        if len(cells) != len(ACTIONS) + 1:
            continue
        component = cells[0] or component
        words = rows.setdefault(component, [""] * len(ACTIONS))
        rows[component] = [f"{old} {new}".strip() for old, new in zip(words, cells[1:], strict=True)]
    assert list(rows) == list(COMPONENTS)
    text = " ".join(printed.split())
    for (component, action), found in queries.grid(all_cards().values()).items():
        built = [card.id for card in found if card.implemented]
        assert rows[component][ACTIONS.index(action)] == f"{len(built)} + {len(found) - len(built)}"
        assert not built or f"{component}:{action}: {', '.join(built)}" in text
    missing = len(queries.not_built(all_cards().values()))
    assert f"Nothing ships in {missing} of 30 cells" in " ".join(printed.split())


def test_a_cell_and_a_resource_choose_among_everything_known(tmp_path: Path) -> None:
    pruned = listed("--cell", "Parameters: Remove", cwd=tmp_path)
    assert "magnitude" in pruned
    assert "\nsnip (2019)" in pruned
    assert "mixup" not in pruned
    saving = listed("--relieves", "communication", cwd=tmp_path)
    assert "soft-sharing" in saving[: saving.index("Published")]
    assert "\npowersgd (2019)" in saving
    assert "\nsnip" not in saving
    waiting = listed("--relieves", "stragglers", cwd=tmp_path)
    assert waiting.startswith("No such method ships.")
    assert "\nhogwild (2011)" in waiting
    both = listed("--cell", "derived data:restrict", "--relieves", "memory capacity", cwd=tmp_path)
    assert "\nactnn (2021)" in both
    assert "\nqsgd" not in both


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--cell", "parameters:removal"], ["unknown cell 'parameters:removal'", "did you mean 'parameters:remove'"]),
        (["--relieves", "comunication"], ["unknown resource", "did you mean 'communication'"]),
        (["--grid", "--all"], ["leave out --all"]),
        (["--grid", "--cell", "parameters:remove"], ["leave out --all, --cell"]),
    ],
)
def test_a_word_that_does_not_exist_is_refused_with_the_nearest(
    arguments: list[str], words: list[str], tmp_path: Path
) -> None:
    refused(paretorch("methods", *arguments, cwd=tmp_path), *words)


def test_unknown_commands_and_options_exit_2(tmp_path: Path) -> None:
    for arguments in (["fly"], ["run", "digits", "--fly"], ["run"], ["demo", "--quiet", "--verbose"]):
        result = paretorch(*arguments, cwd=tmp_path)
        assert result.exit_code == 2, arguments
        assert isinstance(result.exception, SystemExit)
