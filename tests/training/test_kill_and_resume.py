"""Killed with -9 anywhere, a checkpoint write included, and resumed: bitwise the uninterrupted run, with any hook.

A chain of kills is what one unlucky run goes through; the single kills visit every file operation of a checkpoint.
"""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.training.hook_methods import NUM_STEPS, SCENARIOS

KILLED = -signal.SIGKILL
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and POSIX signals")


class Driver:
    """The process of `hook_driver`, which forks one child per run."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.training.hook_driver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        self.uninterrupted: dict[str, dict[str, Any]] = {}

    def run(
        self, scenario: str, directory: Path, *, events: int | None = None, seconds: float | None = None
    ) -> dict[str, Any]:
        request = {"scenario": scenario, "directory": str(directory), "events": events, "seconds": seconds}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    made = Driver()
    yield made
    made.close()


@pytest.fixture(scope="module")
def reference(driver: Driver, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`reference(scenario)`: the result of the uninterrupted run, and the number of its file operations."""

    def make(scenario: str) -> dict[str, Any]:
        if scenario not in driver.uninterrupted:
            directory = tmp_path_factory.mktemp("uninterrupted") / scenario
            answer = driver.run(scenario, directory)
            assert answer["code"] == 0
            driver.uninterrupted[scenario] = result(directory) | {"events": answer["events"]}
        return driver.uninterrupted[scenario]

    return make


def result(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "result.json").read_text())


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_chain_of_kills_at_random_file_operations_ends_in_the_uninterrupted_result(
    driver: Driver, reference: Any, tmp_path: Path, scenario: str
) -> None:
    expected, draws, codes = reference(scenario), random.Random(scenario), []
    while not codes or codes[-1] != 0:
        assert len(codes) < 60, "the run makes no progress"
        codes.append(driver.run(scenario, tmp_path / "run", events=draws.randint(8, 40))["code"])
        assert codes[-1] in (0, KILLED)
    assert codes.count(KILLED) >= 2
    assert result(tmp_path / "run")["hash"] == expected["hash"]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_kill_after_a_random_time_ends_in_the_uninterrupted_result(
    driver: Driver, reference: Any, tmp_path: Path, scenario: str
) -> None:
    expected, draws = reference(scenario), random.Random(scenario)
    for _ in range(3):
        driver.run(scenario, tmp_path / "run", seconds=draws.uniform(0.05, 0.4))
    assert driver.run(scenario, tmp_path / "run")["code"] == 0
    assert result(tmp_path / "run")["hash"] == expected["hash"]


def test_kill_at_every_file_operation_up_to_the_first_checkpoint_is_harmless(
    driver: Driver, reference: Any, tmp_path: Path
) -> None:
    """From the making of the directory to the end of the first checkpoint."""
    expected = reference("gan")
    for moment in range(1, 21):
        directory = tmp_path / str(moment)
        assert driver.run("gan", directory, events=moment)["code"] == KILLED
        assert driver.run("gan", directory)["code"] == 0, f"not resumable after a kill at file operation {moment}"
        assert result(directory)["hash"] == expected["hash"], f"killed at file operation {moment}"
        assert not list(directory.rglob("*.partial")), "half-written files were left behind"


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_kill_at_file_operations_all_over_the_run_is_harmless(
    driver: Driver, reference: Any, tmp_path: Path, scenario: str
) -> None:
    expected = reference(scenario)
    first = 1 + list(SCENARIOS).index(scenario)  # other moments of a checkpoint in every scenario
    for moment in range(first, expected["events"] + 1, 5):
        directory = tmp_path / str(moment)
        assert driver.run(scenario, directory, events=moment)["code"] == KILLED
        assert driver.run(scenario, directory)["code"] == 0
        assert result(directory)["hash"] == expected["hash"], f"killed at file operation {moment}"


def test_layer_was_really_cut_and_the_optimizers_really_matter(reference: Any) -> None:
    """What the equal hashes above are worth: the scenarios differ, and the cut run ends with half the units."""
    results = {scenario: reference(scenario) for scenario in SCENARIOS}
    assert {scenario: made["width"] for scenario, made in results.items()} == {
        scenario: 6 if scenario.startswith("half-cut") else 12 for scenario in SCENARIOS
    }
    assert len({made["hash"] for made in results.values()}) == len(SCENARIOS)
    assert all(made["events"] > 5 * NUM_STEPS for made in results.values()), "a checkpoint after every step"


@pytest.mark.slow
def test_resumed_in_a_fresh_interpreter_with_other_hash_seeds(reference: Any, tmp_path: Path) -> None:
    """No order of a set or a dict of strings may decide anything, and nothing may hide in the forked parent."""
    expected = reference("half-cut-adamw")
    code = "; ".join(
        [
            "import sys, pathlib, tests.training.hook_driver as d",
            "folder = pathlib.Path(sys.argv[1])",
            "d.FileOperations(folder, int(sys.argv[2]) or None)",
            "d.train('half-cut-adamw', folder)",
        ]
    )
    for hash_seed, kill_at in (("1", 60), ("2", 0)):
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "run"), str(kill_at)],
            cwd=Path(__file__).parents[2],
            env=os.environ | {"PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": "1"},
            timeout=300,
            check=False,
        )
        assert done.returncode == (KILLED if kill_at else 0)
    assert result(tmp_path / "run")["hash"] == expected["hash"]
