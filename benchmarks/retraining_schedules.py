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
from _harness import over_seeds, table, write_result

from paretorch.artefacts.mask_edit import combined_masks
from paretorch.methods.schedules import MultiStep
from paretorch.pipelines.arm import compress
from paretorch.pipelines.dense import train_dense
from paretorch.pipelines.imp import IMP
from paretorch.pipelines.retraining import Retraining
from paretorch.training.run import RunDirectory
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.tasks.images.fashion_mnist import FashionMNIST
from paretorch.training.trainer import Trainer

BENCHMARK = {
    "tier": "minutes",
    "minutes": 60,
    "data": ["fashion_mnist"],
    "arguments": ["--data", "{data}"],
}
SEEDS = (0, 1, 2, 3, 4)
SPARSITIES = (0.5, 0.9, 0.95)
EPOCHS = (2, 10)
RATES = (0.1, 0.03, 0.01, 0.003, 0.001)
DENSE_EPOCHS = 20
PAIRS = (("ALLR", "FT"), ("ALLR", "LLR"), ("LLR", "FT"))
UNIT = "percentage points"
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
                    best = compress(imp, rates, trainer, dense)
                    result, masks = best.trained, combined_masks(best.trained.edits)
                    assert masks is not None
                found[name] = {
                    "accuracy": trainer.evaluate(result.model, task.test_set())["accuracy"],
                    "zeros": masks.num_pruned,
                    "weights": masks.num_weights,
                    "lr_peak": result.entries[-1]["lr_peak"],
                    "trained_epochs": epochs + sum(trial["epochs"] for trial in best.trials),
                }
                print(seed, name, found[name], flush=True)
    return found


def layout() -> dict[str, Any]:
    """How the results page shows the figures."""
    settings = [(sparsity, epochs) for sparsity in SPARSITIES for epochs in EPOCHS]
    factors = {"sparsity": "{:.0%}", "retraining epochs": "{}"}
    arms = {name: (f"{name}-{{0:g}}-{{1}} test accuracy", "percent") for name in ("FT", "LLR", "ALLR")}
    gaps = {f"{a} minus {b}": (f"{a} minus {b}, {{0:g}}-{{1}}", "signed") for a, b in PAIRS}
    claim = "Fashion-MNIST, LeNet-300-100, 90 % sparsity, 2 retraining epochs: "
    return {
        "headlines": [
            {"claim": f"{claim}ALLR minus FT with a tuned rate", "figure": "ALLR minus FT, 0.9-2", "format": "signed"},
            {"claim": f"{claim}ALLR minus LLR", "figure": "ALLR minus LLR, 0.9-2", "format": "signed"},
        ],
        "tables": [
            table("Test accuracy", factors=factors, rows=settings, columns=arms),
            table("Paired differences in test accuracy", factors=factors, rows=settings, columns=gaps),
        ],
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
        f"{name} test accuracy": over_seeds(values, unit="%", factor=100) for name, values in accuracy.items()
    }
    for sparsity in SPARSITIES:
        for epochs in EPOCHS:
            setting = f"{sparsity:g}-{epochs}"
            for first, second in PAIRS:
                a, b = accuracy[f"{first}-{setting}"], accuracy[f"{second}-{setting}"]
                figures[f"{first} minus {second}, {setting}"] = over_seeds(a, minus=b, unit=UNIT, factor=100)
            for schedule in ("FT", "LLR", "ALLR"):
                arm = [found[f"{schedule}-{setting}"] for found in seeds]
                figures[f"{schedule}-{setting} rates"] = [found["lr_peak"] for found in arm]
                figures[f"{schedule}-{setting} zeros"] = sorted({found["zeros"] for found in arm})
                figures[f"{schedule}-{setting} trained epochs"] = arm[0]["trained_epochs"]
    write_result(
        "retraining_schedules",
        figures,
        tier=BENCHMARK["tier"],
        seeds=SEEDS,
        command="python benchmarks/retraining_schedules.py --data DATA",
        layout=layout(),
        notes=[
            "Names are schedule-sparsity-epochs. Differences are paired over seeds; intervals are 95 % t-intervals.",
            "FT's rate is the best of five on validation for each seed; every trial is a full retraining run that is "
            "charged. LLR and ALLR use the dense run's peak rate untuned.",
        ],
    )


if __name__ == "__main__":
    main()
