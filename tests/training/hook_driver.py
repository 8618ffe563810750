"""Trains a scenario of `hook_methods` in processes that can be killed: `python -m tests.training.hook_driver`.

Reads one JSON request per line from stdin and answers each with one line. A request is run in a forked child, because
importing torch afresh for each of a hundred processes would take minutes; the child shares nothing with later ones but
the run directory. Keys of a request:

    scenario     a key of SCENARIOS
    directory    the run directory
    events       kill -9 at this file operation of the child (counted from 1), or null
    seconds      kill -9 after this time, or null

The answer has `code` (as of `subprocess`: -9 after a kill) and `events` (file operations, if the run reached its end).
"""

import contextlib
import gc
import hashlib
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # the first optimizer step of a process would import it, in every child again

from paretorch.artefacts.files import write_json
from paretorch.training.run import RunDirectory
from paretorch.training.trainer import Trainer
from tests.training.hook_methods import NUM_STEPS, SCENARIOS, settings, small_task

WATCHED = {"open", "os.rename", "os.remove", "os.mkdir", "os.truncate"}


def train(scenario: str, directory: Path) -> None:
    """Train, or go on training, and leave `result.json` with a hash over everything that training made."""
    kind, optimizer = SCENARIOS[scenario]
    method = kind()
    with RunDirectory(directory, recipe=scenario, resume=True) as home:
        trainer = Trainer(small_task(), settings(optimizer), seed=3, directory=home)
        model = trainer.model()
        result = trainer.fit(
            model,
            phase="only",
            num_steps=NUM_STEPS,
            schedule=lambda step: optimizer.lr * (1 - step / NUM_STEPS),
            methods=[method],
        )
        curve = [{key: value for key, value in point.items() if key != "seconds"} for point in result.curve]
        made = {
            "model": model.state_dict(),
            "method": method.state_dict(),
            "optimizer": result.optimizer_state,
            "curve": curve,
            "validation": result.validation,
        }
        write_json(directory / "result.json", {"hash": digest(made), "width": model.blocks[0][0].out_features})


def digest(tree: Any) -> str:
    """SHA-256 over the structure and all bytes of a nested state."""
    if isinstance(tree, torch.Tensor):
        content = repr((tree.dtype, tuple(tree.shape))).encode() + tree.detach().contiguous().numpy().tobytes()
    elif isinstance(tree, dict):
        content = repr([(key, digest(value)) for key, value in tree.items()]).encode()
    elif isinstance(tree, list | tuple):
        content = repr([digest(value) for value in tree]).encode()
    else:
        content = repr(tree).encode()
    return hashlib.sha256(content).hexdigest()


class FileOperations:
    """Counts what this process does to files below `folder`, and kills it at one of these moments."""

    def __init__(self, folder: Path, kill_at: int | None) -> None:
        self.folder, self.kill_at, self.count = str(folder), kill_at, 0
        sys.addaudithook(self.audit)
        fsync = os.fsync

        def counted(descriptor: int) -> None:
            self.event()
            fsync(descriptor)

        os.fsync = counted

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in WATCHED and str(arguments[0]).startswith(self.folder):
            self.event()

    def event(self) -> None:
        self.count += 1
        if self.count == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


def child(request: dict[str, Any], answer: int) -> None:
    directory = Path(request["directory"])
    operations = FileOperations(directory, request["events"])
    try:
        train(request["scenario"], directory)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os.write(answer, str(operations.count).encode())
    os._exit(0)


def serve(request: dict[str, Any]) -> dict[str, Any]:
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        child(request, writing)
    os.close(writing)
    if request["seconds"] is not None:
        time.sleep(request["seconds"])
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    events = os.read(reading, 100)
    os.close(reading)
    return {"code": os.waitstatus_to_exitcode(status), "events": int(events or 0)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    Trainer(small_task(), settings(SCENARIOS["gan"][1]))  # imports what a run imports, once for all children
    gc.freeze()
    for line in sys.stdin:
        print(json.dumps(serve(json.loads(line))), flush=True)  # noqa: T201
