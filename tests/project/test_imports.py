"""What an import loads, and what can be imported where the packages of the command line and the report are missing."""

import os
import subprocess
import sys

HEAVY = ("scipy", "sklearn", "accelerate", "pydantic", "plotly", "transformers")

LOADED = f"""
loaded = sorted(name for name in {HEAVY!r} if name in sys.modules)
print("LOADED", *loaded)
"""

BLOCKED = """
import importlib, pkgutil, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("pydantic", "plotly", "typer", "jinja2"):
            raise ModuleNotFoundError(f"{name} is blocked by the test", name=name)
        return None

sys.meta_path.insert(0, Blocked())
for name in sys.argv[1:]:
    room = importlib.import_module(name)
    for found in pkgutil.walk_packages(room.__path__, room.__name__ + "."):
        importlib.import_module(found.name)
"""


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env=dict(os.environ, TERM="dumb"),
    )


def loaded(done: subprocess.CompletedProcess[str]) -> list[str]:
    lines = [line for line in done.stdout.splitlines() if line.startswith("LOADED")]
    assert lines, done.stdout + done.stderr
    return lines[0].split()[1:]


def test_importing_the_package_loads_no_heavy_library():
    assert loaded(python("import sys, paretorch\n" + LOADED)) == []


def test_the_check_for_loaded_libraries_sees_one_that_is_loaded():
    assert loaded(python("import sys, scipy\n" + LOADED)) == ["scipy"]


def test_help_loads_no_heavy_library_and_exits_with_0():
    code = (
        "import sys\nsys.argv = ['paretorch', '--help']\n"
        "from paretorch.cli import main\n"
        "try:\n    status = main()\nexcept SystemExit as exit:\n    status = exit.code\n"
        "print()\nprint('STATUS', status or 0)\n" + LOADED
    )
    done = python(code)
    assert "STATUS 0" in done.stdout, done.stdout + done.stderr
    assert "Usage" in done.stdout
    assert loaded(done) == []


def test_lower_rooms_import_without_the_libraries_of_command_line_and_report():
    done = python(BLOCKED, *(f"paretorch.{room}" for room in ("measurement", "methods", "artefacts", "training")))
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_block_reaches_an_import_inside_a_package():
    done = python(BLOCKED, "pydantic")
    assert "pydantic is blocked by the test" in done.stderr
