"""The other end of `executor`: a process that takes jobs from its standard input, one JSON line each, until that ends.

Answers and log records go back as JSON lines over what was the standard output when the process started; whatever a job
prints goes to the standard error instead. SIGTERM, or the end of the input in the middle of a job, which means that the
parent is gone, is a request to stop: the trainer saves the state, other code is interrupted where it is.
"""

import faulthandler
import importlib
import json
import logging
import os
import queue
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from paretorch.errors import InputError, ParetorchError

logger = logging.getLogger("paretorch")

GRACE_S = 30.0  # to save the state after a request to stop
STOPPED = 128 + signal.SIGTERM  # the exit code that shells give a process ended by SIGTERM


def find_function(reference: str) -> Callable[..., Any]:
    """The function that `package.module:name` names.

    Raises:
        InputError: if it is not of that form, does not import, or is no function.
    """
    module_name, _, name = reference.partition(":")
    if not all(part.isidentifier() for part in [*module_name.split("."), name]):
        raise InputError(f"function {reference!r} is not of the form 'package.module:name'")
    if module_name == "__main__":
        raise InputError(f"function {reference!r} is in the running script; move it to a module that can be imported")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # whatever the module raises while it is imported
        raise InputError(f"{module_name} does not import: {type(error).__name__}: {error}") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise InputError(f"{module_name} has no function {name!r}")
    return function


class Channel:
    """JSON lines to the parent, from any thread."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._lock = stream, threading.Lock()

    def send(self, line: str) -> None:
        with self._lock:
            self._stream.write(line.encode() + b"\n")
            self._stream.flush()


class ChannelHandler(logging.Handler):
    """Log records to the parent, which knows whose they are."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._channel.send(json.dumps({"level": record.levelno, "text": self.format(record)}))
        except OSError:
            self.handleError(record)  # the parent is gone; the reader of the input stops the job


def main() -> None:
    """Serve jobs until the input ends. The first line of the input is {"level": of the log}."""
    channel = Channel(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)
    faulthandler.enable()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _log_to(channel, level=json.loads(sys.stdin.buffer.readline())["level"])
        jobs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        threading.Thread(target=_read, args=(jobs,), daemon=True).start()
        while True:
            channel.send(_answer(jobs.get()))
    except KeyboardInterrupt:
        sys.exit(STOPPED)


def _read(jobs: "queue.SimpleQueue[dict[str, Any]]") -> None:
    """Queue the jobs; at the end of the input ask the main thread to stop, and end the process if it does not."""
    for line in sys.stdin.buffer:
        jobs.put(json.loads(line))
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os._exit(STOPPED)


def _answer(job: Mapping[str, Any]) -> str:
    """Do the job and say, as JSON, what came of it."""
    began = time.perf_counter()
    try:
        value = find_function(job["function"])(**job["arguments"])
        return json.dumps({"value": value, "seconds": time.perf_counter() - began})
    except ParetorchError as error:
        text, name = str(error), type(error).__name__
    except (Exception, SystemExit) as error:
        text, name = "".join(traceback.format_exception(error)).rstrip(), type(error).__name__
    return json.dumps({"error": text, "error_class": name, "seconds": time.perf_counter() - began})


def _log_to(channel: Channel, *, level: int) -> None:
    """Send the records of our log, and warnings, to the parent."""
    logger.handlers, logger.propagate = [ChannelHandler(channel)], False
    logger.setLevel(level)

    def show(message: Warning | str, category: type[Warning], *_where: object, **_more: object) -> None:
        logger.warning("%s: %s", category.__name__, message)

    warnings.showwarning = show
