"""A soup of four copies, retrained by two worker processes, over the same soup retrained one copy after another.

LeNet-300-100 on Fashion-MNIST at 90 % sparsity, one cycle. The whole time counts, by the wall clock: pruning, starting
the workers (each imports torch and reads the data), retraining, averaging, validation, and writing all checkpoints.
Both ways take turns; each process has one thread. The two soups must be equal bit for bit. Needs two free cores.

    python benchmarks/soup_parallel.py --data DATA [--quick]
"""

import argparse
import resource
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from _harness import figure, table, write_result
from torch import Tensor

from paretorch.errors import RunError
from paretorch.measurement.interleaved import interleaved, ratio
from paretorch.measurement.timing import Clock
from paretorch.methods.schedules import DenseSchedule
from paretorch.pipelines.compression import Start
from paretorch.pipelines.retraining import Retraining
from paretorch.pipelines.sms.sms import SMS
from paretorch.training.run import RunDirectory
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.task import Task
from paretorch.training.tasks.registry import make_task
from paretorch.training.trainer import Trainer

BENCHMARK = {"tier": "minutes", "minutes": 20, "data": ["fashion_mnist"], "arguments": ["--data", "{data}"]}
COPIES, WORKERS, SPARSITY, SEED = 4, 2, 0.9, 0
EPOCHS = (8,)  # of each copy
ROUNDS = 6  # the fewest whose interval has 95 %
SETTINGS = TrainSettings(
    batch_size=128,
    optimizer=OptimizerSpec(lr=0.1, weight_decay=1e-4),
    device="cpu",
)
ONE, MANY = "one after another", f"{WORKERS} workers"
RATIO = "time with workers over time without"


def soup(task: Task, start: Start, epochs: float, *, workers: int) -> dict[str, Tensor]:
    """Make the soup in a fresh directory; its weights."""
    sms = SMS(sparsity=SPARSITY, epochs=epochs, copies=COPIES, guard=False, retraining=Retraining(schedule="LLR"))
    with TemporaryDirectory() as folder, RunDirectory(Path(folder) / "run", recipe="soup") as directory:
        trainer = Trainer(task, SETTINGS, seed=SEED, directory=directory, workers=workers)
        return sms.run_from(trainer, start).model.state_dict()


def start_of(task: Task) -> Start:
    """A fresh model: the time does not depend on what the weights are."""
    trainer = Trainer(task, SETTINGS, seed=SEED)
    return Start(model=trainer.model(), schedule=DenseSchedule.summary(peak=0.1, num_steps=trainer.num_steps(20)))


def cpu_seconds() -> float:
    """Of this process and of its workers that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def measure(task: Task, epochs: float, rounds: int) -> dict[str, Any]:
    """Seconds of both ways and their ratio, after both made the same soup.

    Raises:
        RunError: if the two soups differ in a bit.
    """
    start = start_of(task)
    calls = {
        MANY: partial(soup, task, start, epochs, workers=WORKERS),
        ONE: partial(soup, task, start, epochs, workers=1),
    }
    made = {name: call() for name, call in calls.items()}  # warms both up, too
    if not all(torch.equal(made[ONE][name], value) for name, value in made[MANY].items()):
        raise RunError(f"{WORKERS} workers make another soup than one process; their times cannot be compared")
    clock = Clock(cpu=cpu_seconds)
    timings = interleaved(calls, rounds=rounds, min_seconds=0.0, warmup=0, min_calls=1, clock=clock)
    return {
        **{f"{name}, seconds": figure(timing) for name, timing in timings.items()},
        RATIO: figure(ratio(timings[MANY], timings[ONE])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="digits, one round")
    parser.add_argument("--keep-noisy", action="store_true", help="write times of a machine that was not quiet")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    task = make_task("digits" if arguments.quick else "fashion-mnist", data=arguments.data)
    rounds, lengths = (1, (1,)) if arguments.quick else (ROUNDS, EPOCHS)
    figures: dict[str, Any] = {f"{epochs} epochs": measure(task, epochs, rounds) for epochs in lengths}
    columns = {head: f"{{0}} epochs/{head}" for head in (f"{ONE}, seconds", f"{MANY}, seconds", RATIO)}
    claim = f"Soup of {COPIES} copies, {lengths[-1]} epochs each: time with {WORKERS} workers over one after another"
    write_result(
        "soup_parallel",
        figures,
        tier=str(BENCHMARK["tier"]),
        seeds=[SEED],
        command="python benchmarks/soup_parallel.py --data DATA" + (" --quick" if arguments.quick else ""),
        layout={
            "headlines": [{"claim": claim, "figure": f"{lengths[-1]} epochs/{RATIO}", "format": "full"}],
            "tables": [
                table(
                    f"A soup of {COPIES} copies, whole time",
                    factors={"epochs of a copy": "{}"},
                    rows=[(epochs,) for epochs in lengths],
                    columns=columns,
                )
            ],
        },
        keep_noisy=arguments.keep_noisy,
        notes=[
            f"{task.name}, a perceptron, {100 * SPARSITY:g} % sparsity, one cycle, batch {SETTINGS.batch_size}.",
            "A ratio below 1 means that workers are faster; with two of them it cannot be below 0.5. Starting them is "
            "part of the time, so the ratio falls with the length of the training.",
            "Both ways made the same weights, bit for bit, before they were timed.",
        ],
    )


if __name__ == "__main__":
    main()
