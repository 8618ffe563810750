import json
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from paretorch.measurement.environment import cpu_model, environment, installed_versions


def test_the_environment_is_json_and_names_what_decides_speed() -> None:
    found = environment()
    assert json.loads(json.dumps(found)) == found
    assert found["threads"] == torch.get_num_threads()
    assert found["python"] == platform.python_version()
    assert found["packages"]["torch"] == torch.__version__
    assert {"cpu", "cores", "omp_wait_policy", "mkl", "onednn", "platform", "accelerators"} <= found.keys()
    assert found["cpu"] == cpu_model() != ""


def test_no_host_name_is_given_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "node", lambda: "somebodys-laptop")
    found = environment()
    assert "somebodys-laptop" not in json.dumps(found)
    host = found["host"]
    assert len(str(host)) == 8
    monkeypatch.setattr(platform, "node", lambda: "another")
    assert environment()["host"] != host


def test_the_wait_policy_is_taken_from_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    assert environment()["omp_wait_policy"] == "passive"
    monkeypatch.delenv("OMP_WAIT_POLICY")
    assert environment()["omp_wait_policy"] is None


def test_packages_that_are_not_installed_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paretorch.measurement.environment.PACKAGES", ("numpy", "surely-not-installed"))
    assert installed_versions() == {"numpy": version("numpy")}


def test_the_room_imports_torch_and_numpy_only_and_nothing_else_of_ours() -> None:
    code = """
import sys, pkgutil, importlib
import paretorch.measurement
for module in pkgutil.iter_modules(paretorch.measurement.__path__):
    importlib.import_module(f"paretorch.measurement.{module.name}")
heavy = {"scipy", "sklearn", "accelerate", "pydantic", "plotly", "typer", "jinja2", "transformers"} & set(sys.modules)
ours = {name for name in sys.modules if name.startswith("paretorch.") and "measurement" not in name}
assert not heavy and not ours, (heavy, ours)
"""
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)
