"""Jobs for the tests of the executor, and a parent process to be killed: `python -m tests.training.executor_jobs`."""

import json
import logging
import os
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from paretorch.errors import InputError, NotFiniteError, RunError
from paretorch.training.executor import Job, LocalProcesses
from paretorch.training.interrupt import stop_on_signal


def double(number: float) -> dict[str, float]:
    return {"twice": 2 * number}


def process(seconds: float = 0.0) -> dict[str, Any]:
    time.sleep(seconds)
    variables = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {"pid": os.getpid(), "threads": [os.environ[name] for name in variables]}


def torch_threads() -> int:
    import torch

    return torch.get_num_threads()


def says() -> None:
    logger = logging.getLogger("paretorch")
    logger.debug("whispers")
    logger.info("speaks of %s", "things")
    logger.warning("warns")
    warnings.warn("mind the gap", stacklevel=1)
    print("prints", flush=True)  # noqa: T201
    os.write(1, b"below Python\n")


def fails(kind: str) -> None:
    if kind == "exit":
        sys.exit("leaves")
    raise {"input": InputError, "diverged": NotFiniteError, "run": RunError, "value": ValueError}[kind](f"bad {kind}")


def returns_no_json() -> object:
    return {1, 2}


def dies(folder: str, times: int, number: int) -> int:
    """Die of a signal as often as asked, and return the number of starts after that."""
    (Path(folder) / f"start-{os.getpid()}").touch()
    starts = len(list(Path(folder).iterdir()))
    if starts <= times:
        print("last words", file=sys.stderr, flush=True)  # noqa: T201
        os.kill(os.getpid(), number)
        time.sleep(60)
    return starts


def ends(code: int) -> None:
    os._exit(code)


def forks_and_dies(folder: str) -> str:
    """Die while a child that was forked holds the pipes open; after that, return."""
    if (Path(folder) / "child").exists():
        return "done"
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    (Path(folder) / "child").write_text(str(child))
    os.kill(os.getpid(), signal.SIGKILL)
    return "unreachable"


def stubborn(folder: str) -> None:
    """Go on after the request to stop."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (Path(folder) / f"started-{os.getpid()}").touch()
    time.sleep(60)


def waits(folder: str) -> None:
    """Until it is interrupted, which it writes down."""
    (Path(folder) / f"started-{os.getpid()}").touch()
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        (Path(folder) / f"interrupted-{os.getpid()}").touch()
        raise


def saves(folder: str) -> None:
    """Stop as the trainer does: one request ends it with the state saved, a second one at once without."""
    with stop_on_signal() as stop:
        (Path(folder) / f"started-{os.getpid()}").touch()
        while not stop.requested:
            time.sleep(0.01)
        time.sleep(0.3)
        (Path(folder) / f"saved-{os.getpid()}").touch()
        raise KeyboardInterrupt


def train(folder: str, seconds_per_step: float = 0.0, kill_at: int | None = None) -> dict[str, Any]:
    """A tiny run with dropout and batch normalisation in a run directory; killed once at a step, if asked."""
    import torch
    from torch import Tensor

    from paretorch.methods.method import Method, Run
    from paretorch.training.run import RunDirectory
    from paretorch.training.trainer import Trainer
    from tests.training.hook_driver import digest
    from tests.training.problems import normed_task, plain

    class Slow(Method):
        name = "slow"

        def penalty(self, run: Run) -> Tensor | None:
            time.sleep(seconds_per_step)
            (Path(folder) / "step.txt").write_text(str(run.step))
            if run.step == kill_at and not (Path(folder) / "killed").exists():
                (Path(folder) / "killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return None

    run_folder = Path(folder) / "run"
    settings = plain(16, lr=0.1, momentum=0.9, checkpoint_seconds=0.0 if kill_at is not None else 3600.0)
    with RunDirectory(run_folder, recipe="tiny", resume=True) as directory:
        trainer = Trainer(normed_task(), settings, seed=5, directory=directory)
        model = trainer.model()
        result = trainer.fit(model, phase="only", num_steps=40, methods=[Slow()])
        weights = digest({"model": model.state_dict(), "optimizer": result.optimizer_state})
        return {"hash": weights, "validation": result.validation, "threads": torch.get_num_threads()}


def main(jobs: list[dict[str, Any]], workers: int) -> None:
    """What a user's program does, as a process that the tests can send signals to."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        with LocalProcesses(workers) as processes:
            for job in jobs:
                processes.submit(Job(**job))
            for outcome in processes.collect():
                print(json.dumps({"id": outcome.job.id, "value": outcome.value}), flush=True)  # noqa: T201
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), int(sys.argv[2]))
