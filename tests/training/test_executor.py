"""Jobs in local processes: results, errors, workers killed, interrupted and orphaned. Every process here is real."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from paretorch.training import executor
from paretorch.training.executor import Job, LocalProcesses, Outcome

HERE = "tests.training.executor_jobs"
pytestmark = pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs POSIX signals")


def job(name: str, id: str = "job", **arguments: Any) -> Job:  # noqa: A002
    return Job(id, f"{HERE}:{name}", arguments)


def run_all(jobs: list[Job], *, workers: int = 1, **options: int) -> dict[str, Outcome]:
    with LocalProcesses(workers, **options) as processes:
        for one in jobs:
            processes.submit(one)
        return {outcome.job.id: outcome for outcome in processes.collect()}


def run_one(one: Job, **options: int) -> Outcome:
    return run_all([one], **options)[one.id]


def exists(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition: Callable[[], bool], *, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def pids(folder: Path, word: str) -> list[int]:
    return sorted(int(path.name.rpartition("-")[2]) for path in folder.glob(f"{word}-*"))


def number_in(path: Path) -> int:
    """What a file says that somebody writes again and again: it may be absent, or empty, at any moment; 0 then."""
    text = path.read_text() if path.exists() else ""
    return int(text) if text.isdecimal() else 0


def test_values_come_back_as_json_gives_them_with_attempts_and_seconds() -> None:
    outcomes = run_all([job("double", id=str(n), number=n) for n in range(5)], workers=2)
    assert {id_: outcome.value for id_, outcome in outcomes.items()} == {str(n): {"twice": 2 * n} for n in range(5)}
    assert all(outcome.error is None and outcome.error_class is None for outcome in outcomes.values())
    assert all(outcome.attempts == 1 and outcome.seconds >= 0 for outcome in outcomes.values())
    slept = run_one(job("process", seconds=0.2))
    assert 0.2 <= slept.seconds < 5
    assert slept.job == job("process", seconds=0.2)


def test_outcomes_arrive_in_the_order_of_completion_and_not_of_submission() -> None:
    with LocalProcesses(2) as processes:
        processes.submit(job("process", id="slow", seconds=1.5))
        for number in range(2):
            processes.submit(job("process", id=f"quick-{number}"))
        assert [outcome.job.id for outcome in processes.collect()] == ["quick-0", "quick-1", "slow"]


def test_one_worker_is_started_once_and_does_the_jobs_in_order() -> None:
    with LocalProcesses(1) as processes:
        for number in range(4):
            processes.submit(job("process", id=str(number)))
        outcomes = list(processes.collect())
        processes.submit(job("process", id="later"))
        outcomes += processes.collect()
    assert [outcome.job.id for outcome in outcomes] == ["0", "1", "2", "3", "later"]
    assert len({outcome.value["pid"] for outcome in outcomes}) == 1
    assert outcomes[0].value["pid"] != os.getpid()


def test_no_more_processes_are_started_than_there_are_jobs_or_workers() -> None:
    outcomes = run_all([job("process", id=str(n), seconds=0.3) for n in range(4)], workers=2)
    assert len({outcome.value["pid"] for outcome in outcomes.values()}) == 2
    with LocalProcesses(8) as processes:
        processes.submit(job("process"))
        list(processes.collect())
        assert len(processes._workers) == 1


def test_jobs_may_be_submitted_while_others_are_collected() -> None:
    seen = []
    with LocalProcesses(1) as processes:
        processes.submit(job("double", id="0", number=0))
        for outcome in processes.collect():
            seen.append(outcome.job.id)
            if len(seen) < 3:
                processes.submit(job("double", id=str(len(seen)), number=0))
    assert seen == ["0", "1", "2"]


def test_threads_of_a_worker_are_as_asked() -> None:
    assert run_one(job("process"), threads=3).value["threads"] == ["3", "3", "3"]


@pytest.mark.slow
def test_threads_of_torch_are_as_asked() -> None:
    assert run_one(job("torch_threads"), threads=2).value == 2


@pytest.mark.parametrize(
    ("kind", "name"), [("input", "InputError"), ("diverged", "NotFiniteError"), ("run", "RunError")]
)
def test_error_of_ours_travels_as_its_message_and_is_not_repeated(kind: str, name: str) -> None:
    outcome = run_one(job("fails", kind=kind))
    assert (outcome.error, outcome.error_class, outcome.attempts) == (f"bad {kind}", name, 1)
    assert outcome.value is None


@pytest.mark.parametrize(("kind", "name"), [("value", "ValueError"), ("exit", "SystemExit")])
def test_other_errors_travel_with_their_traceback_and_the_worker_goes_on(kind: str, name: str) -> None:
    outcomes = run_all([job("process", id="before"), job("fails", kind=kind), job("process", id="after")])
    failed = outcomes["job"]
    assert (failed.error_class, failed.attempts) == (name, 1)
    assert failed.error is not None
    assert failed.error.startswith("Traceback (most recent call last)")
    assert "executor_jobs.py" in failed.error
    assert outcomes["before"].value["pid"] == outcomes["after"].value["pid"]


def test_result_without_a_json_form_is_an_error_of_the_job() -> None:
    outcome = run_one(job("returns_no_json"))
    assert outcome.error_class == "TypeError"
    assert "set is not JSON serializable" in str(outcome.error)


def test_killed_worker_is_replaced_and_its_job_done_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    outcome = run_one(job("dies", folder=str(tmp_path), times=2, number=signal.SIGKILL))
    assert (outcome.value, outcome.attempts, outcome.error) == (3, 3, None)
    assert "job: its worker died of SIGKILL" in caplog.text
    assert "attempt 2 of 3" in caplog.text
    assert "attempt 3 of 3" in caplog.text


def test_job_of_a_killed_worker_is_done_again_before_those_that_wait(tmp_path: Path) -> None:
    jobs = [job("dies", folder=str(tmp_path), times=1, number=signal.SIGKILL), job("double", id="next", number=1)]
    assert list(run_all(jobs)) == ["job", "next"]


def test_last_output_of_a_dead_worker_is_that_of_its_last_job(tmp_path: Path) -> None:
    jobs = [
        job("says", id="first"),
        job("process", id="between", seconds=0.3),
        job("dies", folder=str(tmp_path), times=1, number=signal.SIGKILL),
    ]
    error = str(run_all(jobs, retries=0)["job"].error)
    assert "last words" in error
    assert "prints" not in error


def test_job_whose_workers_die_too_often_fails_by_the_name_of_the_signal(tmp_path: Path) -> None:
    folder = tmp_path / "starts"
    folder.mkdir()
    jobs = [job("dies", folder=str(folder), times=9, number=signal.SIGABRT), job("double", id="other", number=2)]
    outcomes = run_all(jobs, retries=1)
    failed = outcomes["job"]
    assert (failed.value, failed.error_class, failed.attempts) == (None, "WorkerDied", 2)
    assert "died of SIGABRT in each of 2 attempts" in str(failed.error)
    assert "last words" in str(failed.error)
    assert len(list(folder.iterdir())) == 2
    assert outcomes["other"].value == {"twice": 4}


def test_without_retries_a_kill_is_a_failure_at_once(tmp_path: Path) -> None:
    outcome = run_one(job("dies", folder=str(tmp_path), times=1, number=signal.SIGSEGV), retries=0)
    assert (outcome.attempts, outcome.error_class) == (1, "WorkerDied")
    assert "its worker died of SIGSEGV" in str(outcome.error)


def test_worker_that_ends_itself_is_reported_by_its_exit_code() -> None:
    assert "its worker ended with exit code 7" in str(run_one(job("ends", code=7), retries=0).error)


def test_death_is_noticed_while_a_forked_child_holds_the_pipes_and_the_child_is_ended(tmp_path: Path) -> None:
    outcome = run_one(job("forks_and_dies", folder=str(tmp_path)))
    assert (outcome.value, outcome.attempts) == ("done", 2)
    child = int((tmp_path / "child").read_text())
    wait_for(lambda: not exists(child), seconds=10)


def test_log_warnings_and_prints_of_a_job_arrive_with_its_id(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="paretorch"):
        assert run_one(job("says", id="talker")).error is None
    said = [(record.levelno, record.getMessage()) for record in caplog.records]
    assert (logging.INFO, "talker: speaks of things") in said
    assert (logging.WARNING, "talker: warns") in said
    assert (logging.WARNING, "talker: UserWarning: mind the gap") in said
    assert not any("whispers" in text for _, text in said), "the level of the parent's log holds in the worker"


def test_prints_do_not_disturb_the_results(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="paretorch"):
        outcomes = run_all([job("says"), job("process", id="next", seconds=0.5)])
    assert outcomes["next"].value is not None
    texts = [record.getMessage().partition(": ")[2] for record in caplog.records]
    assert "prints" in texts
    assert "below Python" in texts


def test_no_process_and_no_file_is_left_behind(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    outcomes = run_all([job("process", id=str(n), seconds=0.2) for n in range(2)], workers=2)
    assert not any(exists(outcome.value["pid"]) for outcome in outcomes.values())
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_leaving_the_context_early_interrupts_what_is_at_work(tmp_path: Path) -> None:
    def leave() -> None:
        with LocalProcesses(1) as processes:
            processes.submit(job("waits", folder=str(tmp_path)))
            wait_for(lambda: bool(pids(tmp_path, "started")))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        leave()
    (worker,) = pids(tmp_path, "started")
    assert pids(tmp_path, "interrupted") == [worker]
    assert not exists(worker)


def test_worker_that_does_not_stop_is_killed_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(executor, "WAIT_S", 0.3)
    with LocalProcesses(1) as processes:
        processes.submit(job("stubborn", folder=str(tmp_path)))
        wait_for(lambda: bool(pids(tmp_path, "started")))
    assert not exists(pids(tmp_path, "started")[0])
    assert "job: killed; it goes on from its last checkpoint" in caplog.text


def test_handler_of_sigterm_is_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with LocalProcesses(1):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


@contextmanager
def parent(jobs: list[Job], *, workers: int = 1) -> Iterator[subprocess.Popen[str]]:
    """A program that runs the jobs, in a process group of its own, as a shell would start it."""
    described = [{"id": one.id, "function": one.function, "arguments": one.arguments} for one in jobs]
    process = subprocess.Popen(
        [sys.executable, "-m", HERE, json.dumps(described), str(workers)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("to_the_group", [True, False])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_program_passes_it_on_once_and_leaves_nobody(
    tmp_path: Path, number: signal.Signals, to_the_group: bool
) -> None:
    jobs = [job("saves", id=str(n), folder=str(tmp_path)) for n in range(3)]
    with parent(jobs, workers=2) as process:
        wait_for(lambda: len(pids(tmp_path, "started")) == 2)
        (os.killpg if to_the_group else os.kill)(process.pid, number)
        assert process.wait(timeout=30) == 130
        assert pids(tmp_path, "saved") == pids(tmp_path, "started")
        assert len(pids(tmp_path, "started")) == 2, "the job that waited was not started"
        assert not any(exists(pid) for pid in pids(tmp_path, "started"))


def test_second_interrupt_ends_stubborn_workers_at_once(tmp_path: Path) -> None:
    with parent([job("stubborn", folder=str(tmp_path))]) as process:
        wait_for(lambda: bool(pids(tmp_path, "started")))
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert "waiting for 1 workers" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130
    wait_for(lambda: not exists(pids(tmp_path, "started")[0]), seconds=5)


def test_workers_of_a_killed_program_interrupt_their_jobs_and_end(tmp_path: Path) -> None:
    with parent([job("waits", id=str(n), folder=str(tmp_path)) for n in range(2)], workers=2) as process:
        wait_for(lambda: len(pids(tmp_path, "started")) == 2)
        process.kill()
        wait_for(lambda: pids(tmp_path, "interrupted") == pids(tmp_path, "started"))
        wait_for(lambda: not any(exists(pid) for pid in pids(tmp_path, "started")))


def test_idle_workers_of_a_killed_program_end() -> None:
    with parent([job("process", id="quick"), job("process", id="slow", seconds=30)], workers=2) as process:
        assert process.stdout is not None
        idle = json.loads(process.stdout.readline())["value"]["pid"]
        assert exists(idle)
        process.kill()
        wait_for(lambda: not exists(idle), seconds=10)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the tiny training run ends with when nothing happens to it."""
    outcome = run_one(job("train", folder=str(tmp_path_factory.mktemp("uninterrupted"))))
    assert outcome.error is None, outcome.error
    return outcome.value


@pytest.mark.slow
def test_training_killed_in_the_middle_is_resumed_to_the_same_bits(
    tmp_path: Path, uninterrupted: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="paretorch"):
        outcome = run_one(job("train", folder=str(tmp_path), kill_at=25))
    assert (outcome.attempts, outcome.error) == (2, None)
    assert "job: resumed phase only at step 25 of 40" in caplog.text
    assert outcome.value == uninterrupted


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_training_of_an_interrupted_or_killed_program_is_saved_and_resumed_to_the_same_bits(
    tmp_path: Path, uninterrupted: dict[str, Any], caplog: pytest.LogCaptureFixture, number: signal.Signals
) -> None:
    """Checkpoints are an hour apart here, so what is resumed was saved on request."""
    step = tmp_path / "step.txt"
    with parent([job("train", folder=str(tmp_path), seconds_per_step=0.1)]) as process:
        wait_for(lambda: number_in(step) >= 5)
        os.killpg(process.pid, number)
        assert process.wait(timeout=60) == (-signal.SIGKILL if number == signal.SIGKILL else 130)
        wait_for(lambda: (tmp_path / "run" / "checkpoints" / "current.safetensors").exists())
    with caplog.at_level(logging.INFO, logger="paretorch"):
        retried = run_one(job("train", folder=str(tmp_path)))
    assert retried.value == uninterrupted
    assert "resumed phase only at step" in caplog.text
