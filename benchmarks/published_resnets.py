"""Published ResNet-20 and ResNet-56, pruned at once or in three cycles, and retrained with FT, LLR or ALLR.

CIFAR-10, weights of akamaster/pytorch_resnet_cifar10 (their test accuracy is checked first), 80/90/95/98 % sparsity, a
total budget of 1 or 5 epochs over all cycles, three seeds (order and augmentation; the dense weights are the same).
FT has a constant rate: the last of the dense run, 0.001, or 0.01. LLR and ALLR take their peak 0.1 from the dense run
(200 epochs, batch 128, drops by 10 at half and three quarters). Nothing is tuned. Accuracy on the whole test set.

    python benchmarks/published_resnets.py --data DATA [--minutes 9]              one epoch is 2,560 images (CPU)
    python benchmarks/published_resnets.py --data DATA --device cuda --minutes 9  one epoch is the training set (GPU)

Resumable: run it again until nothing is left; several processes may share --work. The result file is written at the end
from what is finished, with --write-only without running anything; settings that lack a seed are left out of it.
"""

import argparse
import functools
import itertools
import re
from pathlib import Path
from typing import Any

import torch
from _grid import Cell, Progress, add_arguments
from _harness import over_seeds, table, write_result
from _script import progress_of, unfinished
from torch import nn

from paretorch.methods.schedules import DenseSchedule, MultiStep
from paretorch.pipelines.imp import IMP
from paretorch.pipelines.retraining import Retraining
from paretorch.training.published import load_published
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.tasks.images.cifar10 import CIFAR10
from paretorch.training.trainer import Trainer

BENCHMARK = {
    "tier": "nightly",
    "minutes": 600,
    "data": ["cifar10", "weights_cifar_resnet"],
    "arguments": ["--data", "{data}"],
}
VERSION = 1
SEEDS = (0, 1, 2)
SPARSITIES = (0.8, 0.9, 0.95, 0.98)
CYCLES = (1, 3)
EPOCHS = (1, 5)
ARMS = {"LLR": ("LLR", None), "ALLR": ("ALLR", None), "FT 0.01": ("FT", 0.01), "FT 0.001": ("FT", 0.001)}
PAIRS = (("ALLR", "LLR"), ("LLR", "FT 0.01"), ("ALLR", "FT 0.01"))
NAMES = {"resnet20": "ResNet-20", "resnet56": "ResNet-56"}
MODELS = tuple(NAMES)
UNIT = "percentage points"
HEADLINE = "resnet20-1-1-0.9"
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
    settings = list(itertools.product(MODELS, EPOCHS, SPARSITIES, CYCLES, SEEDS, ARMS))
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
        name = _name(model, epochs, sparsity, cycles, arm, seed)
        kind = f"{model}-{epochs}-{cycles}"
        cells.append(Cell(name=name, run=functools.partial(run, data=data), parameters=parameters, kind=kind))
    return cells


def _name(model: str, epochs: int, sparsity: float, cycles: int, arm: str, seed: int) -> str:
    return f"{model}-{epochs}-{sparsity:g}-{cycles}-{arm.replace(' ', '')}-s{seed}"


def _priority(setting: tuple[str, int, float, int, int, str]) -> tuple[bool, bool, bool, bool]:
    model, epochs, sparsity, _, _, arm = setting
    large, long = model == "resnet56", epochs > 1
    return (arm == "FT 0.001", large and long, sparsity not in (0.9, 0.98), large or long)


def measured(results: dict[str, Any]) -> tuple[dict[str, Any], list[tuple[str, int, int, float]]]:
    """Figures of every setting (model, epochs, cycles, sparsity) of which some arm is complete, and these settings."""
    figures: dict[str, Any] = {}
    settings = []
    for model, epochs, cycles, sparsity in itertools.product(MODELS, EPOCHS, CYCLES, SPARSITIES):
        accuracy = {}
        for arm in ARMS:
            found = [results.get(_name(model, epochs, sparsity, cycles, arm, seed)) for seed in SEEDS]
            if None not in found:
                accuracy[arm] = [one["accuracy"] for one in found]
                setting = f"{model}-{epochs}-{cycles}-{sparsity:g}"
                figures[f"{arm}, {setting}"] = over_seeds(accuracy[arm], unit="%", factor=100)
                figures[f"{arm} peak rates, {setting}"] = [one["lr_peak"] for one in found]
                figures[f"zeros, {setting}"] = found[0]["zeros"]
        for first, second in PAIRS:
            if first in accuracy and second in accuracy:
                gap = over_seeds(accuracy[first], minus=accuracy[second], unit=UNIT, factor=100)
                figures[f"{first} minus {second}, {setting}"] = gap
        settings += [(model, epochs, cycles, sparsity)] if accuracy else []
    for model, epochs, sparsity, arm in itertools.product(MODELS, EPOCHS, SPARSITIES, ARMS):
        once, thrice = (figures.get(f"{arm}, {model}-{epochs}-{cycles}-{sparsity:g}") for cycles in CYCLES)
        if once and thrice:
            gap = over_seeds(thrice["values"], minus=once["values"], unit=UNIT)
            figures[f"3 cycles minus 1, {arm}, {model}-{epochs}-{sparsity:g}"] = gap
    return figures, settings


def layout(figures: dict[str, Any], settings: list[tuple[str, int, int, float]]) -> dict[str, Any]:
    """For each model a table of accuracies, one of differences between arms, one of differences between cycles."""
    factors = {"budget, epochs": "{}", "cycles": "{}", "sparsity": "{:.0%}"}
    tables = []
    for model in MODELS:
        rows = [setting[1:] for setting in settings if setting[0] == model]
        arms = {arm: (f"{arm}, {model}-{{0}}-{{1}}-{{2:g}}", "percent") for arm in ARMS}
        gaps = {f"{a} minus {b}": (f"{a} minus {b}, {model}-{{0}}-{{1}}-{{2:g}}", "signed") for a, b in PAIRS}
        for words, columns in (("test accuracy", arms), ("paired differences in test accuracy", gaps)):
            title = f"{NAMES[model]}, {words}"
            made = table(title, factors=factors, rows=rows, columns=columns, known=figures)
            tables += [made] if rows else []
        both = sorted({(epochs, sparsity) for epochs, _, sparsity in rows})
        cycles = {arm: (f"3 cycles minus 1, {arm}, {model}-{{0}}-{{1:g}}", "signed") for arm in ARMS}
        if any(key.format(*row) in figures for key, _ in cycles.values() for row in both):
            factors_both = {"budget, epochs": "{}", "sparsity": "{:.0%}"}
            title = f"{NAMES[model]}, three cycles minus one at the same total budget"
            tables += [table(title, factors=factors_both, rows=both, columns=cycles, known=figures)]
    claims = [(f"{a} minus {b}", f"{a} minus {b}, {HEADLINE}") for a, b in PAIRS]
    claim = "CIFAR-10, published ResNet-20, 90 % sparsity at once, a budget of one epoch as the notes define it: "
    headlines = [{"claim": claim + words, "figure": key, "format": "signed"} for words, key in claims if key in figures]
    return {"headlines": headlines, "tables": tables}


def write(progress: Progress, device: str) -> None:
    """The result file of what is finished."""
    figures, settings = measured(progress.results)
    epoch = f"{REDUCED_IMAGES} images, 20 steps: a reduced epoch" if device == "cpu" else "45,000 images"
    notes = [
        f"An epoch is {epoch}; the budget is the total over all cycles. Batch 128, SGD with momentum 0.9, weight decay "
        "1e-4, random crops and flips. Nothing is tuned.",
        "FT 0.01 and FT 0.001 have a constant rate, LLR falls from 0.1 to 0, ALLR from 0.1 times its factor.",
        "All seeds start from the same published weights: seeds differ in order, augmentation and batch-norm batches, "
        "so intervals say nothing about other dense models. The published weights have seen all training images.",
        "Keys are arm, model-epochs-cycles-sparsity. Differences are paired over seeds.",
        *unfinished(progress),
    ]
    write_result(
        "published_resnets",
        figures,
        tier="nightly" if device == "cpu" else "gpu",
        seeds=SEEDS,
        command=f"python benchmarks/published_resnets.py --data DATA --device {device}",
        notes=notes,
        device=device if device == "cpu" else re.sub(r"\W+", "-", torch.cuda.get_device_name().lower()),
        layout=layout(figures, settings),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--write-only", action="store_true", help="run nothing")
    add_arguments(parser, work="runs/published-resnets")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cells = grid(arguments.device, str(arguments.data))
    write(progress_of(cells, arguments, version=VERSION), arguments.device)


if __name__ == "__main__":
    main()
