"""What must not stand in a tracked file: paths of one machine, unfinished work, pickle, several ideas."""

import ast
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAX_LINES = 400
SYSTEM_FOLDERS = {"bin", "dev", "etc", "proc", "sys", "tmp", "usr"}
PICKLING = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}

# A path that starts at the root of a machine, after a blank, a quote or a bracket: its first folder is the group.
ABSOLUTE_PATH = re.compile(r"""(?:^|[\s"'`(\[=,])/([A-Za-z][\w.-]*)/[\w.~-]""")
UNFINISHED = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b|^(?:<{7}|>{7}) ")  # and marks of a merge


def tracked(*suffixes: str) -> list[Path]:
    """The files that git tracks and that exist, all or those with one of the suffixes."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout: the files that are tracked are not known here")
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    paths = [ROOT / name for name in listing.split("\0") if name]
    return [path for path in paths if path.is_file() and (not suffixes or path.suffix in suffixes)]


def texts() -> Iterator[tuple[Path, str]]:
    """Every tracked file that is text."""
    for path in tracked():
        content = path.read_bytes()
        if b"\0" not in content:
            yield path.relative_to(ROOT), content.decode("utf-8")


def absolute_paths(line: str) -> list[str]:
    """The first folders of the machine paths in a line, apart from those that every system has."""
    return [folder for folder in ABSOLUTE_PATH.findall(line) if folder not in SYSTEM_FOLDERS]


def places(pattern_finds, paths: Iterator[tuple[Path, str]]) -> list[str]:
    found = []
    for path, text in paths:
        numbered = enumerate(text.splitlines(), start=1)
        found += [f"{path}:{number}: {line.strip()[:120]}" for number, line in numbered if pattern_finds(line)]
    return found


@pytest.mark.parametrize("line", ['"{}home{}anna{}data"', "see {}mnt{}disk{}x.npz", "DATA={}srv{}data{}"])
def test_a_machine_path_is_recognised(line):
    assert absolute_paths(line.format("/", "/", "/"))


@pytest.mark.parametrize("line", ["a/b/c", "../shared/data", "https://example.org/a/b", "#!/usr/bin/env", "a /b/ c"])
def test_what_is_no_machine_path_is_left_alone(line):
    assert not absolute_paths(line)


def test_no_tracked_file_names_a_path_of_one_machine():
    assert places(absolute_paths, texts()) == []
    assert places(lambda line: "file:" + "///" in line, texts()) == []


def test_no_tracked_file_announces_unfinished_work():
    assert places(UNFINISHED.search, texts()) == []


def test_no_python_file_is_longer_than_the_limit():
    lengths = {path.relative_to(ROOT): len(path.read_text("utf-8").splitlines()) for path in tracked(".py")}
    long = {str(path): length for path, length in lengths.items() if length > MAX_LINES}
    assert long == {}, f"split these by their ideas; the limit is {MAX_LINES} lines"


def unsafe_loads(tree: ast.AST) -> Iterator[int]:
    """Lines where a file could run code on load: `torch.load` without weights_only=True, pickle in any form."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [name.name for name in node.names]
            if any(module.partition(".")[0] in PICKLING for module in modules):
                yield node.lineno
        elif isinstance(node, ast.Call):
            given = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
            torch_load = ast.unparse(node.func) in ("torch.load", "torch.serialization.load")
            if (torch_load and given.get("weights_only") is not True) or given.get("allow_pickle") is True:
                yield node.lineno


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "import os, dill",
        "torch.load(p)",
        "torch.load(p, weights_only=False)",
        "np.load(p, allow_pickle=True)",
    ],
)
def test_a_load_that_could_run_code_is_recognised(code):
    assert list(unsafe_loads(ast.parse(code))) == [1]


def test_a_safe_load_is_left_alone():
    assert list(unsafe_loads(ast.parse("torch.load(p, weights_only=True)\nnp.load(p)\njson.load(f)"))) == []


def test_no_tracked_python_file_loads_what_could_run_code():
    found = []
    for path in tracked(".py"):
        lines = unsafe_loads(ast.parse(path.read_text("utf-8")))
        found += [f"{path.relative_to(ROOT)}:{line}" for line in lines]
    assert found == []
