"""The lint sees a measured figure that is written by hand, and leaves settings alone."""

from pathlib import Path
from typing import Any

import pytest

from paretorch.errors import InputError


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It reaches 93.4 % on the test set.", "93.4 %"),
        ("It is 3x faster.", "3x"),
        ("It is 2.5 times as fast.", "2.5 times"),
        ("It is 2\u00d7 as fast.", "2\u00d7"),
        ("It takes 12 ms.", "12 ms"),
        ("It takes 8 minutes.", "8 minutes"),
        ("It takes 0.3\ns.", "0.3 s"),
        ("It saves 1.2 GB.", "1.2 GB"),
        ("It needs 262,144 bytes.", "262,144 bytes"),
        ("ALLR lost 0.3 points.", "0.3 points"),
        ("with an accuracy of 0.917 in the end", "accuracy of 0.917"),
        ("The loss is 1.266.", "loss is 1.266"),
        ("Accuracy falls to 45.2 %.", "45.2 %"),
        ("a 4-minute run", "4-minute"),
        ("less than 0.3 points", "0.3 points"),
        ("| LLR | 91.2 % |", "91.2 %"),
        ("- **40 %** of the time", "40 %"),
        ("It is **40**x faster.", "40**x"),
        ("It is <b>40</b> % faster.", "40</b> %"),
        ("It is 40&nbsp;% faster.", "40&nbsp;%"),
        ("It is 10-20 % faster.", "20 %"),
        ("It takes 12 milliseconds.", "12 milliseconds"),
        ("It is 40-fold faster.", "40-fold"),
        ("The accuracy reaches 0.91.", "accuracy reaches 0.91"),
        ("It ends at 91 % accuracy.", "91 %"),
        ("A stray ` mark.\n\nIt takes 12 ms.\n\nAnother ` mark.", "12 ms"),
        ("- a stray ` mark\n- it takes 12 ms\n- another ` mark", "12 ms"),
        ("A \\` mark, 12 ms, \\` mark.", "12 ms"),
        ("```one``` word.\n\nIt takes 12 ms.\n\n```\nx = 1\n```", "12 ms"),
        ('It takes <!-- figure: a.cpu "b" bare -->12<!-- /figure --> ms.', "12 ms"),
    ],
)
def test_a_measured_figure_is_found(load: Any, text: str, found: str) -> None:
    assert [what for _, what in load("bare_figures").bare_figures(f"# Page\n\n{text}\n")] == [found]


@pytest.mark.parametrize(
    "text",
    [
        "pruned to 90 % sparsity",
        "at 50, 90 and 95 % it helps",
        "prunes it to 80, 90, 95 and 98 % with three schedules",
        "the last layer at most 80 %\n  sparse",
        "10 % of the weights",
        "95 % confidence",
        "at most 10 minutes on 2 cores",
        "a limit of 4 MB",
        "| 90 % | text |",
        "from 5 seeds, 3 cycles and 10 epochs",
        "1024 \u00d7 1024 layers, ResNet-56, WRN-28-10, 2 x 2 blocks",
        "Python 3.11, torch 2.13, section 4.2",
        "`93.4 %` and ``3x``",
        "```\nfinal accuracy 93.4 %\n```",
        "- first\n\n    ```\n    final accuracy 93.4 %\n    ```",
        '<!-- figure: a.cpu "b" -->93.4 %<!-- /figure --> in the end',
        "a budget of 30 %<!-- setting --> more",
        "[here](results-93.4%s.md) and <!-- 93.4 % -->",
    ],
)
def test_a_setting_or_what_is_no_prose_is_left_alone(load: Any, text: str) -> None:
    assert load("bare_figures").bare_figures(f"# Page\n\n{text}\n") == []


def test_the_line_of_a_bare_figure_is_named(load: Any, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "page.md").write_text("# Page\n\n```\n1 ms\n```\n\nIt takes\n12 ms.\n")
    (tmp_path / "docs" / "results.md").write_text("12 ms\n")
    (tmp_path / "docs" / "methods").mkdir()
    (tmp_path / "docs" / "methods" / "results.md").write_text("12 ms\n")
    problems = load("bare_figures").lint(tmp_path)
    what = "'12 ms' is a bare figure: put it into a marker, or write <!-- setting --> behind it"
    assert [str(problem) for problem in problems] == [f"docs/methods/results.md:1: {what}", f"docs/page.md:8: {what}"]


def test_the_list_of_settings_excuses_what_it_names_and_must_stay_needed(load: Any, tmp_path: Path) -> None:
    lint = load("bare_figures").lint
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("It takes 12 ms.\n")
    allowed = tmp_path / "benchmarks" / "settings_allowed.txt"
    allowed.write_text("# comment\nREADME.md: 12 ms: the clock's resolution\n")
    assert lint(tmp_path) == []
    (tmp_path / "README.md").write_text("It takes no time.\n")
    assert "no such figure stands there any more" in str(lint(tmp_path)[0])
    allowed.write_text("README.md: 12 ms\n")
    with pytest.raises(InputError, match=r"settings_allowed\.txt:1: expected `page: text: reason`"):
        lint(tmp_path)
