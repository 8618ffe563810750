"""FT with a tuned rate, LLR and ALLR after one-shot magnitude pruning, at short budgets, on the same dense models.

Fashion-MNIST, LeNet-300-100, 50/90/95 % sparsity, 2 and 10 retraining epochs, five paired seeds. FT's constant rate is
chosen per seed on validation among five; LLR and ALLR take their peak from the dense run and are not tuned. Test
accuracy is read once per arm, seed and budget. Resumable: run it again with the same --work; with --seed N only that
seed is run and nothing is written, so that seeds can be spread over processes.

    python benchmarks/retraining_schedules.py --data DATA --work runs/retraining-schedules
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from _harness import write_result

from paretorch.evidence.statistics import Interval, mean_interval, paired_interval
from paretorch.methods.schedules import MultiStep
from paretorch.pipelines.dense import train_dense
from paretorch.pipelines.imp import IMP, Retraining
from paretorch.pipelines.tuning import tuned
from paretorch.training.run import RunDirectory
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.tasks.fashion_mnist import FashionMNIST
from paretorch.training.trainer import Trainer

SEEDS = (0, 1, 2, 3, 4)
SPARSITIES = (0.5, 0.9, 0.95)
EPOCHS = (2, 10)
RATES = (0.1, 0.03, 0.01, 0.003, 0.001)
DENSE_EPOCHS = 20
SETTINGS = TrainSettings(batch_size=128, optimizer=OptimizerSpec(lr=0.1, weight_decay=1e-4), device="cpu")


def run_seed(task: FashionMNIST, seed: int, work: Path) -> dict[str, dict[str, Any]]:
    """Test accuracy, chosen rate and retraining epochs of every arm for one seed."""
    with RunDirectory(work / f"dense-s{seed}", recipe=__doc__ or "", resume=True) as directory:
        trainer = Trainer(task, SETTINGS, seed=seed, directory=directory)
        steps = trainer.num_steps(DENSE_EPOCHS)
        dense = train_dense(trainer, MultiStep(num_steps=steps, peak=0.1, milestones=(0.5, 0.75)))
        found = {"dense": {"accuracy": trainer.evaluate(dense.model, task.test_set())["accuracy"]}}
    for sparsity in SPARSITIES:
        for epochs in EPOCHS:
            for schedule in ("FT", "LLR", "ALLR"):
                name = f"{schedule}-{sparsity:g}-{epochs}"
                imp = IMP(sparsity=sparsity, epochs=epochs, retraining=Retraining(schedule=schedule))
                with RunDirectory(work / f"{name}-s{seed}", recipe=__doc__ or "", resume=True) as directory:
                    trainer = Trainer(task, SETTINGS, seed=seed, directory=directory)
                    rates = RATES if schedule == "FT" else ()
                    result, trials = tuned(imp, rates, trainer, dense)
                found[name] = {
                    "accuracy": trainer.evaluate(result.model, task.test_set())["accuracy"],
                    "zeros": result.masks.num_pruned,
                    "weights": result.masks.num_weights,
                    "lr_peak": result.entries[-1]["lr_peak"],
                    "trained_epochs": epochs + sum(trial["epochs"] for trial in trials),
                }
                print(seed, name, found[name], flush=True)
    return found


def figure(interval: Interval, values: list[float]) -> dict[str, Any]:
    """Percentage points: mean, 95 % t-interval over seeds, and the values themselves."""
    return {
        "mean": 100 * interval.mean,
        "low": None if interval.low is None else 100 * interval.low,
        "high": None if interval.high is None else 100 * interval.high,
        "n": interval.n,
        "unit": "percentage points",
        "values": [100 * value for value in values],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/retraining-schedules"))
    parser.add_argument("--seed", type=int, choices=SEEDS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    task = FashionMNIST(data=arguments.data)
    if arguments.seed is not None:
        run_seed(task, arguments.seed, arguments.work)
        return
    seeds = [run_seed(task, seed, arguments.work) for seed in SEEDS]
    accuracy = {name: [found[name]["accuracy"] for found in seeds] for name in seeds[0]}
    figures: dict[str, Any] = {
        f"{name} test accuracy": figure(mean_interval(values), values) for name, values in accuracy.items()
    }
    for sparsity in SPARSITIES:
        for epochs in EPOCHS:
            setting = f"{sparsity:g}-{epochs}"
            for first, second in (("ALLR", "FT"), ("ALLR", "LLR"), ("LLR", "FT")):
                a, b = accuracy[f"{first}-{setting}"], accuracy[f"{second}-{setting}"]
                gap = [x - y for x, y in zip(a, b, strict=True)]
                figures[f"{first} minus {second}, {setting}"] = figure(paired_interval(a, b), gap)
            for schedule in ("FT", "LLR", "ALLR"):
                arm = [found[f"{schedule}-{setting}"] for found in seeds]
                figures[f"{schedule}-{setting} rates"] = [found["lr_peak"] for found in arm]
                figures[f"{schedule}-{setting} zeros"] = sorted({found["zeros"] for found in arm})
                figures[f"{schedule}-{setting} trained epochs"] = arm[0]["trained_epochs"]
    write_result(
        "retraining_schedules",
        figures,
        seeds=SEEDS,
        command="python benchmarks/retraining_schedules.py --data DATA",
        notes=[
            "Names are schedule-sparsity-epochs. Differences are paired over seeds; intervals are 95 % t-intervals.",
            "FT's rate is the best of five on validation for each seed; every trial is a full retraining run that is "
            "charged. LLR and ALLR use the dense run's peak rate untuned.",
        ],
    )


if __name__ == "__main__":
    main()
