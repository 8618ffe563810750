"""Published ResNet-20 and ResNet-56, pruned at once or in three cycles, and retrained with FT, LLR or ALLR.

CIFAR-10, weights of akamaster/pytorch_resnet_cifar10 (their test accuracy is checked first), 80/90/95/98 % sparsity, a
total budget of 1 or 5 epochs over all cycles, three seeds (order and augmentation; the dense weights are the same).
FT has a constant rate: the last of the dense run, 0.001, or 0.01. LLR and ALLR take their peak 0.1 from the dense run
(200 epochs, batch 128, drops by 10 at half and three quarters). Nothing is tuned. Accuracy on the whole test set.

    python benchmarks/published_resnets.py --data DATA [--minutes 9]              one epoch is 2,560 images (CPU)
    python benchmarks/published_resnets.py --data DATA --device cuda --minutes 9  one epoch is the training set (GPU)

Resumable: run it again until nothing is left; several processes may share --work. Result files can be written from a
part of the grid with --write; what is missing is then said in the notes.
"""

import argparse
import functools
import itertools
from pathlib import Path
from typing import Any

import torch
from _grid import Cell, run_grid
from torch import nn

from paretorch.methods.schedules import DenseSchedule, MultiStep
from paretorch.pipelines.imp import IMP, Retraining
from paretorch.training.published import load_published
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.tasks.cifar10 import CIFAR10
from paretorch.training.trainer import Trainer

SEEDS = (0, 1, 2)
SPARSITIES = (0.8, 0.9, 0.95, 0.98)
CYCLES = (1, 3)
EPOCHS = (1, 5)
ARMS = {"LLR": ("LLR", None), "ALLR": ("ALLR", None), "FT 0.01": ("FT", 0.01), "FT 0.001": ("FT", 0.001)}
REDUCED_IMAGES, REDUCED_EVALUATION, BATCHES = 2560, 500, 8
DENSE = DenseSchedule.of(MultiStep(num_steps=200 * 391, peak=0.1, milestones=(0.5, 0.75)))


@functools.cache
def dense_model(model: str, data: str) -> nn.Module:
    """The published model, checked once per process."""
    return load_published(model, data=data)


@functools.cache
def trainer_task(model: str, data: str, reduced: bool) -> CIFAR10:
    """The task with the scaling of the published weights."""
    limits = {"train_limit": REDUCED_IMAGES, "eval_limit": REDUCED_EVALUATION} if reduced else {}
    return CIFAR10(data=data, model=model, normalisation="imagenet", **limits)


def run(
    model: str, sparsity: float, cycles: int, epochs: int, arm: str, seed: int, device: str, *, data: str
) -> dict[str, Any]:
    """One arm with one seed: prune, retrain, and read the test set once."""
    schedule, rate = ARMS[arm]
    settings = TrainSettings(
        batch_size=128,
        optimizer=OptimizerSpec(lr=0.1, weight_decay=1e-4),
        device=device,
        precision="no" if device == "cpu" else "bf16",
        evaluate_epochs=1000,  # at the end only
    )
    task = trainer_task(model, data, device == "cpu")
    trainer = Trainer(task, settings, seed=seed)
    imp = IMP(
        sparsity=sparsity,
        epochs=epochs,
        cycles=cycles,
        retraining=Retraining(schedule=schedule, lr=rate, reestimate_batches=BATCHES),
    )
    result = imp.run(trainer, dense_model(model, data), dense=DENSE)
    pruned, retrained = result.entries[0], result.entries[-1]
    return {
        "accuracy": trainer.evaluate(result.model, task.test_set())["accuracy"],
        "validation": retrained["validation"],
        "pruned_validation": pruned["validation_reestimated"],
        "zeros": result.masks.num_pruned,
        "weights": result.masks.num_weights,
        "factor": retrained["factor"],
        "lr_peak": retrained["lr_peak"],
        "steps": sum(entry.get("steps", 0) for entry in result.entries),
        "seconds": sum(entry.get("seconds", 0.0) for entry in result.entries),
    }


def grid(device: str, data: str) -> list[Cell]:
    """All cells, those first that say most for their time: strong contrasts before what lies between."""
    settings = list(itertools.product(("resnet20", "resnet56"), EPOCHS, SPARSITIES, CYCLES, SEEDS, ARMS))
    cells = []
    for model, epochs, sparsity, cycles, seed, arm in sorted(settings, key=_priority):
        parameters = {
            "model": model,
            "sparsity": sparsity,
            "cycles": cycles,
            "epochs": epochs,
            "arm": arm,
            "seed": seed,
            "device": device,
        }
        name = f"{model}-{epochs}-{sparsity:g}-{cycles}-{arm.replace(' ', '')}-s{seed}"
        kind = f"{model}-{epochs}-{cycles}"
        cells.append(Cell(name=name, run=functools.partial(run, data=data), parameters=parameters, kind=kind))
    return cells


def _priority(setting: tuple[str, int, float, int, int, str]) -> tuple[bool, bool, bool, bool]:
    model, epochs, sparsity, _, _, arm = setting
    large, long = model == "resnet56", epochs > 1
    return (arm == "FT 0.001", large and long, sparsity not in (0.9, 0.98), large or long)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/published-resnets"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--minutes", type=float)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    run_grid(grid(arguments.device, str(arguments.data)), arguments.work, version=1, minutes=arguments.minutes)


if __name__ == "__main__":
    main()
