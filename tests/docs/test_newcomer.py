"""A newcomer's path, with README's own words: own model, own task, own recipe, report, artefact in a fresh process."""

import ast
import html
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.documents import README

SAVE_OUTPUTS = """
import numpy
numpy.save("outputs.npy", pruned.model.eval()(x_test).detach().numpy())
"""
RELOAD = """
import json, sys
import numpy
import paretorch as pt
from my_project import x_test, y_test
found = {}
for folder in sys.argv[1:]:
    model = pt.load_model(folder, allow_import=True)
    outputs = model(x_test).detach()
    found[folder] = {
        "module": type(model).__module__,
        "equal": numpy.array_equal(outputs.numpy(), numpy.load("outputs.npy")),
        "accuracy": float((outputs.argmax(1) == y_test).float().mean()),
    }
print(json.dumps(found))
"""


def blocks(language: str) -> list[str]:
    """README's fenced blocks of one language, in order."""
    text = README.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def task_file() -> str:
    """`SupervisedTask(...)` of README's first example put into a function, as README says."""
    source = blocks("python")[0]
    tree = ast.parse(source)
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    (task,) = (node for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "task")
    lines = [ast.get_source_segment(source, node) for node in imports]
    return "\n".join([*map(str, lines), "", "", "def make():", f"    return {ast.unparse(task.value)}", ""])


def run(arguments: list[str], folder: Path) -> str:
    """What the command prints."""
    environment = {**os.environ, "PYTHONWARNINGS": "error:::paretorch"}
    done = subprocess.run(
        arguments, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_readme_has_the_pieces_of_the_path() -> None:
    compile(task_file(), "my_task.py", "exec")
    assert "def make():\n    return pt.SupervisedTask(MyNet" in task_file()
    assert 'task = "my_task.py:make"' in blocks("toml")[0]
    assert "--task my_task.py:make`" in README.read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_newcomer_gets_from_readme_to_a_report_and_models_that_another_process_loads(my_project: Path) -> None:
    (my_project / "first.py").write_text(blocks("python")[0] + SAVE_OUTPUTS, encoding="utf-8")
    assert "weights pruned" in run([sys.executable, "first.py"], my_project)
    (reloaded,) = json.loads(run([sys.executable, "-c", RELOAD, "pruned"], my_project)).values()
    assert reloaded["module"] == "my_project"
    assert reloaded["equal"]

    (my_project / "my_task.py").write_text(task_file(), encoding="utf-8")
    (my_project / "mine.toml").write_text(blocks("toml")[0], encoding="utf-8")
    paretorch = str(Path(sys.executable).with_name("paretorch"))
    printed = run([paretorch, "run", "mine.toml", "--task", "my_task.py:make", "--quiet"], my_project)
    *_, verdict, masked = printed.strip().splitlines()
    assert verdict.startswith("On supervised, ")
    assert masked.startswith("Masked models (9 arms): weights are zero")
    page = (my_project / "runs" / "mine" / "report.html").read_text(encoding="utf-8")
    assert verdict in html.unescape(page)

    records = {
        path.parent: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((my_project / "runs" / "mine" / "runs").glob("*/record.json"))
    }
    assert {record["seed"] for record in records.values()} == {0, 1, 2}
    models = [str(folder / "model") for folder in records]
    loaded = json.loads(run([sys.executable, "-c", RELOAD, *models], my_project))
    for folder, record in records.items():
        assert loaded[str(folder / "model")]["accuracy"] == pytest.approx(record["quality"], abs=1e-6)
