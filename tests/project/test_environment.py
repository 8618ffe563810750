"""The files that say what is installed agree with each other."""

import re
import tomllib
from pathlib import Path

import pytest
import torch

from tests.project import environment
from tests.project.environment import MODULES, differences, import_problem, main, torch_state

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
PINS = [line for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if not line.startswith("#")]


def name(requirement: str) -> str:
    """The normalised name of the package that a requirement asks for."""
    return re.sub(r"[-_.]+", "-", re.split(r"[<>=!~;\[ ]", requirement)[0]).lower()


def test_makefile_and_import_check_know_exactly_the_declared_extras():
    extras = set(PROJECT["optional-dependencies"]) - {"dev"}
    makefile = re.search(r"^EXTRAS = (.*)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert makefile is not None
    assert set(makefile[1].split()) == extras
    assert set(MODULES) == extras


def test_every_declared_package_has_a_pinned_version():
    groups = {"core": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
    declared = {name(requirement) for group, wanted in groups.items() if group != "gpu" for requirement in wanted}
    assert declared - {name(pin) for pin in PINS} == set()


def test_torch_is_pinned_without_build_and_nothing_is_pinned_by_hash_or_address():
    assert [pin for pin in PINS if name(pin) == "torch"] == ["torch==2.13.0"]
    assert [pin for pin in PINS if not re.fullmatch(r"[\w.-]+==[\w.]+", pin)] == []


def test_no_requirement_and_no_pin_brings_another_build_of_torch():
    groups = PROJECT["optional-dependencies"].values()
    wanted = {name(requirement) for group in groups for requirement in group} | {name(pin) for pin in PINS}
    assert wanted.isdisjoint({"torchvision", "torchaudio", "timm"})
    assert [pin for pin in PINS if pin.startswith(("nvidia", "triton"))] == []


def test_a_moved_torch_and_a_new_cuda_package_are_both_reported():
    before = {"torch": "2.13.0+cpu", "cuda_packages": []}
    after = {"torch": "2.15.0", "cuda_packages": ["nvidia-cublas"]}
    assert differences(before, after) == [
        "torch was 2.13.0+cpu and is now 2.15.0",
        "cuda_packages was [] and is now ['nvidia-cublas']",
    ]
    assert differences(before, dict(before)) == []


def test_a_module_that_does_not_import_is_reported_with_its_error():
    assert import_problem("json") is None
    assert "No module named 'no_such_module'" in str(import_problem("no_such_module"))


def test_the_state_of_this_environment_names_the_torch_that_imports():
    assert torch_state()["torch"] == torch.__version__


def test_the_check_fails_in_an_environment_whose_torch_differs_from_the_note(tmp_path, capsys, monkeypatch):
    state = {"torch": "2.13.0", "cuda_packages": []}
    monkeypatch.setattr(environment, "torch_state", lambda: dict(state))
    note = tmp_path / "torch.json"
    assert main(["record", str(note)]) == 0
    assert main(["check", str(note)]) == 0
    state["torch"] = "2.15.0"
    assert main(["check", str(note)]) == 1
    assert "torch was 2.13.0 and is now 2.15.0" in capsys.readouterr().err


def test_the_check_fails_when_a_module_of_an_extra_does_not_import(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(environment, "torch_state", lambda: {"torch": "2.13.0", "cuda_packages": []})
    monkeypatch.setitem(environment.MODULES, "comm", ("json", "no_such_module"))
    note = tmp_path / "torch.json"
    main(["record", str(note)])
    assert main(["check", str(note), "comm"]) == 1
    assert "extra comm: import no_such_module: ModuleNotFoundError" in capsys.readouterr().err


@pytest.mark.parametrize("package", sorted(MODULES))
def test_every_extra_names_at_least_one_module(package):
    assert MODULES[package]
