"""Jobs in local processes: submit, collect, and again after a worker was killed.

A job is a function of a module and its arguments, and a resumable unit: called again, it goes on from what it left on
the disk, or returns at once. So a worker that dies (kill -9, out of memory, a crash) costs nothing but the time since
the last checkpoint: it is replaced, and its job is submitted again.

Workers are fresh interpreters, started once and used again, because importing torch takes seconds. Jobs, results and
log records travel as JSON lines through pipes; nothing is pickled. Workers have a session of their own, so Ctrl-C in a
terminal reaches the parent alone, which passes it on exactly once.
"""

import contextlib
import io
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from paretorch.errors import InputError
from paretorch.training.worker import GRACE_S, find_function

logger = logging.getLogger("paretorch")

POLL_S = 0.5  # between looks at workers whose pipe stays open after their death, in a child that they had forked
WAIT_S = GRACE_S + 5.0  # for workers that were asked to stop
OUTPUT_LINES = 20
# The path first, so that workers find what the parent finds; then the same stream holds the jobs.
BOOTSTRAP = (
    "import json, sys; sys.path[:] = json.loads(sys.stdin.buffer.readline()); "
    "from paretorch.training.worker import main; main()"
)


@dataclass(frozen=True)
class Job:
    """One resumable unit of work.

    Attributes:
        id: unique among the jobs of an executor; it stands before the job's lines in the log.
        function: "package.module:name", called in a worker as `name(**arguments)`. What it returns must have a JSON
            form, and arrives as JSON gives it back: tuples as lists, keys as strings.
        arguments: plain values with a JSON form.
    """

    id: str
    function: str
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a job.

    Attributes:
        job: as it was submitted.
        value: what the function returned; None if it failed.
        error: None if it succeeded. Otherwise the message of a `ParetorchError`, the traceback of any other exception,
            or how the workers died.
        error_class: name of the exception's class, "WorkerDied" if there was none; None if it succeeded.
        attempts: how often it was started.
        seconds: wall-clock time of all attempts together.
    """

    job: Job
    value: Any = None
    error: str | None = None
    error_class: str | None = None
    attempts: int
    seconds: float


class LocalProcesses:
    """Runs jobs in local processes; use it as a context manager, in which `submit` and `collect` are called.

    Leaving the context, by an exception too, asks workers that are at work to stop, waits until they have saved their
    state, and ends all of them. Within it SIGINT and SIGTERM raise KeyboardInterrupt. If this process is killed,
    its workers save their state and end by themselves.

    Args:
        workers: processes at most; each is started when there is a job for it.
        retries: how often a job is submitted again after its worker died. A job that raises is not: it would again.
        threads: CPU threads of each worker. A training run is only bitwise the same with the same number.

    Raises:
        InputError: if an argument is out of range.

    Example:
        with LocalProcesses(2) as processes:
            processes.submit(Job("seed-0", "mypackage.runs:train", {"folder": "runs/0", "seed": 0}))
            for outcome in processes.collect():
                print(outcome.job.id, outcome.value)
    """

    def __init__(self, workers: int, *, retries: int = 2, threads: int = 1) -> None:
        for name, value, least in (("workers", workers, 1), ("retries", retries, 0), ("threads", threads, 1)):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise InputError(f"{name} must be an integer of at least {least}; got {value!r}")
        self._most, self._retries, self._threads = workers, retries, threads
        self._ids: set[str] = set()
        self._waiting: deque[_Attempts] = deque()
        self._workers: list[_Worker] = []
        self._events: queue.SimpleQueue[tuple[_Worker, dict[str, Any] | None]] = queue.SimpleQueue()
        self._handlers: dict[signal.Signals, Any] = {}
        self._open = False

    def __enter__(self) -> Self:
        self._open = True
        if threading.current_thread() is threading.main_thread():
            # SIGINT too: a program that was started in the background may have inherited that it is ignored
            self._handlers = {number: signal.signal(number, _interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        try:
            self._stop()
        finally:
            for number, handler in self._handlers.items():  # None stands for one that was not installed from Python
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def submit(self, job: Job) -> None:
        """Start the job, or queue it until a worker is free.

        Raises:
            InputError: if there was a job of this id, its function cannot be found, or its arguments have no JSON form.
        """
        if not self._open:
            raise InputError("jobs are submitted within `with LocalProcesses(...) as processes:`")
        if job.id in self._ids:
            raise InputError(f"there is a job {job.id!r} already; ids must be unique")
        find_function(job.function)
        try:
            line = json.dumps({"function": job.function, "arguments": job.arguments})
        except (TypeError, ValueError) as error:
            raise InputError(f"job {job.id!r}: its arguments have no JSON form: {error}") from error
        self._ids.add(job.id)
        self._waiting.append(_Attempts(job, line))
        self._dispatch()

    def collect(self) -> Iterator[Outcome]:
        """Yield every job as it ends, until none is left; more may be submitted meanwhile.

        Raises:
            KeyboardInterrupt: on SIGINT and SIGTERM; leave the context then.
        """
        while self._waiting or any(worker.attempts for worker in self._workers):
            try:
                worker, message = self._events.get(timeout=POLL_S)
            except queue.Empty:
                for silent in [worker for worker in self._workers if worker.process.poll() is not None]:
                    self._events.put((silent, None))
                continue
            if worker not in self._workers:
                continue  # a second notice of its death
            if message is None:
                outcome = self._replace(worker)
            elif "text" in message:
                worker.log(message["level"], message["text"])
                continue
            else:
                outcome = worker.outcome(message)
            self._dispatch()
            if outcome is not None:
                yield outcome

    def _dispatch(self) -> None:
        """Give what waits to workers that are free, or to new ones."""
        while self._waiting:
            free = next((w for w in self._workers if w.attempts is None and w.process.poll() is None), None)
            if free is None:
                if sum(worker.process.poll() is None for worker in self._workers) >= self._most:
                    return
                free = _Worker(self._events, threads=self._threads)
                self._workers.append(free)
            free.start(self._waiting.popleft())

    def _replace(self, worker: "_Worker") -> Outcome | None:
        """Forget a dead worker; its job waits again, or has failed."""
        self._workers.remove(worker)
        worker.end()
        attempts = worker.attempts
        if attempts is None:
            return None
        attempts.seconds += time.monotonic() - worker.began
        how = worker.cause_of_death()
        if attempts.count <= self._retries:
            logger.warning(
                "%s: its worker %s; submitted again (attempt %d of %d)",
                attempts.job.id,
                how,
                attempts.count + 1,
                self._retries + 1,
            )
            self._waiting.appendleft(attempts)
            return None
        lines = "\n".join(worker.output)
        error = f"its worker {how} in each of {attempts.count} attempts" if attempts.count > 1 else f"its worker {how}"
        return attempts.outcome(error=f"{error}; its last output:\n{lines}" if lines else error)

    def _stop(self) -> None:
        """End all workers: those at work are asked to stop, and killed if they do not."""
        try:  # from the first line on: a second interrupt may come at any moment
            busy = [worker for worker in self._workers if worker.attempts is not None]
            if busy:
                logger.info("waiting for %d workers to save their state; Ctrl-C again ends them at once", len(busy))
            deadline = time.monotonic() + WAIT_S
            for worker in self._workers:
                worker.ask_to_stop()
            for worker in self._workers:
                worker.wait(deadline)
        finally:
            for worker in self._workers:
                if worker.process.poll() is None and worker.attempts is not None:
                    logger.warning("%s: killed; it goes on from its last checkpoint", worker.attempts.job.id)
                worker.end()
            self._workers.clear()
            self._waiting.clear()


@dataclass
class _Attempts:
    """A job on its way, with what it has cost so far."""

    job: Job
    line: str
    count: int = 0
    seconds: float = 0.0

    def outcome(self, *, value: Any = None, error: str | None = None, error_class: str | None = None) -> Outcome:
        named = "WorkerDied" if error is not None and error_class is None else error_class
        return Outcome(
            job=self.job, value=value, error=error, error_class=named, attempts=self.count, seconds=self.seconds
        )


class _Worker:
    """A process, the job it has, and two threads that read what it says."""

    def __init__(self, events: "queue.SimpleQueue[tuple[_Worker, dict[str, Any] | None]]", *, threads: int) -> None:
        self.attempts: _Attempts | None = None
        self.began = 0.0
        self.output: deque[str] = deque(maxlen=OUTPUT_LINES)
        self._events = events
        variables = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", BOOTSTRAP],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | dict.fromkeys(variables, str(threads)),
            start_new_session=True,
        )
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._messages, self._lines)]
        for reader in self._readers:
            reader.start()
        path = [entry or str(Path.cwd()) for entry in sys.path]
        self._write(json.dumps(path), json.dumps({"level": logger.getEffectiveLevel()}))

    def start(self, attempts: _Attempts) -> None:
        self.attempts, self.began = attempts, time.monotonic()
        attempts.count += 1
        self.output.clear()
        self._write(attempts.line)

    def outcome(self, answer: dict[str, Any]) -> Outcome:
        """What a worker's answer says of its job; the worker is free again."""
        attempts, self.attempts = self.attempts, None
        assert attempts is not None, "a worker answers once per job"
        attempts.seconds += answer.pop("seconds")
        return attempts.outcome(**answer)

    def log(self, level: int, text: str) -> None:
        logger.log(level, "%s: %s", self.attempts.job.id if self.attempts else "worker", text)

    def cause_of_death(self) -> str:
        """ "died of SIGKILL", or of what its exit code says."""
        code = self.process.wait()
        number = -code if code < 0 else code - 128
        if number in set(signal.Signals):
            hint = ", which is how a system ends what takes too much memory" if number == signal.SIGKILL else ""
            return f"died of {signal.Signals(number).name}{hint}"
        return f"ended with exit code {code}"

    def ask_to_stop(self) -> None:
        """SIGTERM in the middle of a job, otherwise the end of its input; both would be a second, rude, request."""
        if self.attempts is not None:
            self.process.terminate()
        else:
            self._close_input()

    def wait(self, deadline: float) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(max(0.0, deadline - time.monotonic()))

    def end(self) -> None:
        """Kill what is left, children of the worker included, and close the pipes."""
        with contextlib.suppress(ProcessLookupError, PermissionError):  # there is nobody left, or only a zombie
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, signal.SIGKILL)  # the worker leads a group of its own
            else:
                self.process.kill()
        self.process.wait()
        self._close_input()
        for reader in self._readers:
            reader.join(timeout=POLL_S)  # a grandchild in a session of its own may hold the pipe

    def _write(self, *lines: str) -> None:
        """To the worker; one that has died is noticed where its messages end."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write("".join(f"{line}\n" for line in lines).encode())
            self.process.stdin.flush()

    def _close_input(self) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()

    def _messages(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for line in stream:
                if line.endswith(b"\n"):  # a worker that is killed may leave half a line
                    self._events.put((self, json.loads(line)))
        self._events.put((self, None))

    def _lines(self) -> None:
        assert self.process.stderr is not None
        with io.TextIOWrapper(self.process.stderr, encoding="utf-8", errors="replace") as stream:
            for line in stream:
                self.output.append(line.rstrip("\n"))
                self._events.put((self, {"level": logging.INFO, "text": line.rstrip("\n")}))


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
