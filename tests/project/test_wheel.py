"""The wheel holds what it must, and works in a clean environment away from the checkout."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
SOURCES = ("pyproject.toml", "README.md", "LICENSE")


def run(*command: str | Path, cwd: Path, timeout: float = 1200) -> subprocess.CompletedProcess[str]:
    """Run outside the checkout, with nothing in the environment that could lead back to it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    words = [str(word) for word in command]
    return subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=timeout)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the sources, so that no left-over of an earlier build gets in."""
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(ROOT / "paretorch", source / "paretorch", ignore=shutil.ignore_patterns("__pycache__"))
    for name in SOURCES:
        shutil.copy(ROOT / name, source / name)
    done = run(sys.executable, "-m", "build", "--wheel", "--no-isolation", source, cwd=source)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = (source / "dist").glob("*.whl")
    return built


def test_wheel_holds_every_module_and_every_file_that_modules_read(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    expected = {path.relative_to(ROOT).as_posix() for path in (ROOT / "paretorch").rglob("*.py")}
    data = [ROOT / "paretorch" / "py.typed", *(ROOT / "paretorch" / "cookbook").glob("*")]
    data += [path for path in (ROOT / "paretorch/evidence/report/templates").rglob("*") if path.is_file()]
    expected |= {path.relative_to(ROOT).as_posix() for path in data}
    assert expected - inside == set()
    assert any(name.endswith(".toml") for name in inside)
    assert any("templates/" in name for name in inside)


def test_wheel_holds_nothing_but_the_package_and_its_metadata(wheel):
    tops = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert tops == {"paretorch", wheel.name.removesuffix("-py3-none-any.whl") + ".dist-info"}


def test_wheel_names_its_license_and_does_not_require_the_extras(wheel):
    archive = zipfile.ZipFile(wheel)
    (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    lines = archive.read(metadata).decode("utf-8").splitlines()
    assert "License-Expression: Apache-2.0" in lines
    assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())
    required = [line for line in lines if line.startswith("Requires-Dist:") and "extra ==" not in line]
    assert any("torch" in line for line in required)
    assert [line for line in required if "transformers" in line or "pytest" in line] == []


def install(python: Path, *arguments: str | Path, cwd: Path) -> None:
    done = run(python, "-m", "pip", "install", *arguments, cwd=cwd)
    if done.returncode and "No matching distribution" in done.stderr and "from versions: none" in done.stderr:
        pytest.skip("needs a package index: pip reaches none from here")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.mark.slow
def test_wheel_installed_in_a_clean_environment_runs_doctor_and_demo(wheel, tmp_path):
    venv.create(tmp_path / "clean", with_pip=True)
    python = tmp_path / "clean" / "bin" / "python"
    torch_version = torch.__version__.partition("+")[0]
    install(python, *os.environ.get("TORCH_ARGS", "").split(), f"torch=={torch_version}", cwd=tmp_path)
    install(python, "-c", ROOT / "constraints.txt", wheel, cwd=tmp_path)
    command = python.with_name("paretorch")

    where = run(python, "-c", "import paretorch; print(paretorch.__file__)", cwd=tmp_path)
    assert str(tmp_path / "clean") in where.stdout, where.stderr

    doctor = run(command, "doctor", cwd=tmp_path)
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    assert torch_version in doctor.stdout

    demo = run(command, "demo", cwd=tmp_path)
    assert demo.returncode == 0, demo.stdout + demo.stderr
    reports = [path for path in tmp_path.rglob("report.html") if "clean" not in path.parts]
    assert len(reports) == 1
    assert 1_000 < reports[0].stat().st_size < 2_000_000
    assert "Traceback" not in demo.stderr
