"""Time of finding the width groups of large models, against Torch-Pruning's dependency graph in the same run.

    python benchmarks/width_groups.py [--rounds 7]

ResNet-50, ViT-B/16 and a decoder of Llama's shape with 24 layers and shared key and value heads, in evaluation mode, at
batch 1. Ours is `find_groups`; theirs is `DependencyGraph().build_dependency(...)` and all of `get_all_groups()`, once
on the model as it is and once on a copy without data (the meta device), which spares theirs the arithmetic of a forward
pass: ours never does it. One process, one thread, rounds that alternate their order, CPU seconds of the process, so
that other programs on a shared machine do not count as cost.

The groups that the two find are not the same: theirs counts roots, ours also gives exact costs and refuses what cannot
be cut. The numbers of groups stand beside the times.
"""

import argparse
import copy
import time
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from _harness import figure, table, write_result
from _peers import lacking
from torch import Tensor, nn

from paretorch.measurement.interleaved import interleaved, ratio
from paretorch.measurement.timing import Clock
from paretorch.methods.width.tracing import find_groups
from paretorch.training.models.llama import Llama
from paretorch.training.models.resnet import resnet50
from paretorch.training.models.vit import ViT

BENCHMARK = {"tier": "minutes", "minutes": 3, "packages": ["torch_pruning"]}
VOCABULARY, TOKENS = 32_000, 16


def llama_24() -> Llama:
    """24 layers of width 1024: 16 query heads share 4 key and value heads."""
    return Llama(vocab_size=VOCABULARY, context=128, width=1024, hidden=2816, depth=24, heads=16, kv_heads=4, tied=True)


def image() -> Tensor:
    return torch.zeros(1, 3, 224, 224)


MODELS: Mapping[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "ResNet-50": (resnet50, image),
    "ViT-B": (ViT, image),
    "Llama-24": (llama_24, lambda: torch.zeros(1, TOKENS, dtype=torch.int64)),
}


def theirs(model: nn.Module, inputs: Tensor) -> int:
    """All groups of Torch-Pruning; how many there are."""
    import torch_pruning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it names the parameters that belong to no layer it knows
        graph = torch_pruning.DependencyGraph().build_dependency(model, inputs)
        return len(list(graph.get_all_groups(ignored_layers=[])))


def ours(model: nn.Module, inputs: Tensor) -> int:
    """Our groups; how many there are."""
    return len(find_groups(model, (inputs,)).groups)


def measured(name: str, *, rounds: int) -> dict[str, Any]:
    """Times, ratios and numbers of groups of one model."""
    build, make = MODELS[name]
    model, inputs = build().eval(), make()
    without_data = copy.deepcopy(model).to("meta")
    calls = {
        "Torch-Pruning": partial(theirs, model, inputs),
        "Torch-Pruning without data": partial(theirs, without_data, inputs.to("meta")),
        "ours": partial(ours, model, inputs),
    }
    clock = Clock(wall=time.process_time)
    counts = {f"groups, {label}": call() for label, call in calls.items()}  # the warm-up call as well
    timings = interleaved(calls, rounds=rounds, min_seconds=0.0, warmup=0, min_calls=1, clock=clock)
    ratios = {
        "Torch-Pruning over ours": figure(ratio(timings["Torch-Pruning"], timings["ours"])),
        "without data over ours": figure(ratio(timings["Torch-Pruning without data"], timings["ours"])),
    }
    times = {f"{label}, seconds": figure(timing) for label, timing in timings.items()}
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {**ratios, **times, **counts, "parameters": parameters}


def layout() -> dict[str, Any]:
    """How the results page shows the figures."""
    rows = [(name,) for name in MODELS]
    times = {
        "Torch-Pruning": "{0}/Torch-Pruning, seconds",
        "without data": "{0}/Torch-Pruning without data, seconds",
        "ours": "{0}/ours, seconds",
        "Torch-Pruning / ours": "{0}/Torch-Pruning over ours",
        "without data / ours": "{0}/without data over ours",
    }
    claim = "Finding the width groups of {}: Torch-Pruning's time over ours"
    return {
        "headlines": [
            {"claim": claim.format(name), "figure": f"{name}/Torch-Pruning over ours", "format": "full"}
            for name in MODELS
        ],
        "tables": [table("Time to find all groups", factors={"model": "{}"}, rows=rows, columns=times)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--keep-noisy", action="store_true", help="write times of a machine that was not quiet")
    arguments = parser.parse_args()
    packages: Any = BENCHMARK["packages"]
    if reason := lacking(packages):
        parser.error(reason)
    torch.set_num_threads(1)
    figures: dict[str, Any] = {}
    for name in MODELS:
        figures[name] = measured(name, rounds=arguments.rounds)
        print(name, figures[name], flush=True)
    write_result(
        "width_groups",
        figures,
        tier=str(BENCHMARK["tier"]),
        seeds=(),
        layout=layout(),
        packages=packages,
        keep_noisy=arguments.keep_noisy,
        notes=[
            "One thread, batch 1; images of 224 x 224, 16 tokens. Times are CPU seconds of one call, one call of each "
            "per round after one that is not counted; ratios are medians of paired rounds.",
            "Torch-Pruning needs no weights either: 'without data' is its time on a copy on the meta device, as good "
            "as it gets; its users call it on the model itself.",
            "Ours includes the exact costs of every profile; theirs the groups as its iterator returns them.",
        ],
    )


if __name__ == "__main__":
    main()
