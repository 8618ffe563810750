"""Latency of a ResNet-18 cut to half its widths: against one built at that width, and against the uncut model.

    python benchmarks/cut_latency.py [--rounds 9] [--no-compile]

The cut model is `extract(model, groups, half)`; the hand-written one is the constructor with half the width. Both must
have the same layers, shapes and operations, or nothing is timed. Batch 1, images of 224 x 224, one thread, all
callables of a comparison timed in turns in one process. The cut and the uncut model are both timed the three ways
`paretorch.measurement.paths` knows (eager, channels last, compiled), so that a compiled cut model is never credited
against an eager dense one.
"""

import argparse
from typing import Any

import torch
from _harness import figure, table, write_result
from torch import Tensor, nn
from torch.fx import symbolic_trace

from paretorch.errors import RunError
from paretorch.measurement.interleaved import interleaved, ratio
from paretorch.measurement.paths import dense_fp32_paths
from paretorch.methods.width.extract import extract
from paretorch.methods.width.tracing import find_groups
from paretorch.training.models.resnet import ResNet

BENCHMARK = {"tier": "minutes", "minutes": 5}
SEED = 0
WIDTH, SIDE = 64, 224


def halved(model: nn.Module, images: Tensor) -> nn.Module:
    """The model with every group cut to half its units."""
    groups = find_groups(model, (images,))
    return extract(model, groups, tuple(size // 2 for size in groups.full))


def operations(model: nn.Module) -> list[str]:
    """What the model computes, in order: operations, and of each layer its kind, sizes and parameters' shapes."""
    graph = symbolic_trace(model)
    modules = dict(graph.named_modules())
    steps = []
    for node in graph.graph.nodes:
        if node.op == "call_module":
            layer = modules[node.target]
            shapes = [tuple(parameter.shape) for parameter in layer.parameters()]
            steps.append(f"{node.target}: {layer!r} {shapes}")
        else:
            steps.append(f"{node.op} {node.target if node.op != 'call_function' else node.target.__name__}")
    return steps


def check_same(cut: nn.Module, written: nn.Module) -> None:
    """Refuse to time models that differ in a layer, a shape or an operation.

    Raises:
        RunError: naming the first difference.
    """
    for one, other in zip(operations(cut), operations(written), strict=False):  # both end with their output
        if one != other:
            raise RunError(f"the cut model has {one!r} where one built at that width has {other!r}")


def models(*, width: int, side: int) -> tuple[nn.Module, nn.Module, nn.Module, Tensor]:
    """The uncut ResNet-18, the cut one, the one built at half the width, and an image."""
    torch.manual_seed(SEED)
    images = torch.randn(1, 3, side, side)
    uncut, written = ResNet(width=width).eval(), ResNet(width=width // 2).eval()
    cut = halved(uncut, images).eval()
    check_same(cut, written)
    return uncut, cut, written, images


def measured(*, rounds: int, seconds: float, compiled: bool) -> dict[str, Any]:
    """All figures."""
    uncut, cut, written, images = models(width=WIDTH, side=SIDE)
    figures: dict[str, Any] = {
        f"parameters, {name}": sum(parameter.numel() for parameter in model.parameters())
        for name, model in (("uncut", uncut), ("cut", cut), ("written", written))
    }
    with torch.no_grad():
        calls = {
            f"{name}, {path}": call
            for name, model in (("uncut", uncut), ("written", written), ("cut", cut))
            for path, call in dense_fp32_paths(model, (images,), compiled=compiled).calls.items()
        }
        timings = interleaved(calls, rounds=rounds, min_seconds=seconds)
    paths = [name.removeprefix("cut, ") for name in calls if name.startswith("cut, ")]
    for path in paths:
        for name in ("uncut", "written", "cut"):
            figures[f"{name}, {path}, seconds"] = figure(timings[f"{name}, {path}"])
        figures[f"cut over written, {path}"] = figure(ratio(timings[f"cut, {path}"], timings[f"written, {path}"]))
        figures[f"speedup of cutting, {path}"] = figure(ratio(timings[f"uncut, {path}"], timings[f"cut, {path}"]))
    best = {
        name: min(paths, key=lambda path, name=name: figures[f"{name}, {path}, seconds"]["median"])
        for name in ("uncut", "cut")
    }
    figures["best path, uncut"], figures["best path, cut"] = best["uncut"], best["cut"]
    fastest = ratio(timings[f"uncut, {best['uncut']}"], timings[f"cut, {best['cut']}"])
    figures["speedup of cutting, best paths"] = figure(fastest)
    return figures


def layout(figures: dict[str, Any]) -> dict[str, Any]:
    """How the results page shows the figures."""
    ends = "cut over written, "
    paths = [(key.removeprefix(ends),) for key in figures if key.startswith(ends)]
    columns = {
        "uncut": "uncut, {0}, seconds",
        "written at half width": "written, {0}, seconds",
        "cut to half width": "cut, {0}, seconds",
        "cut / written": "cut over written, {0}",
        "uncut / cut": "speedup of cutting, {0}",
    }
    return {
        "headlines": [
            {
                "claim": "ResNet-18 cut to half its widths: its latency over that of one built so, eager",
                "figure": "cut over written, eager",
                "format": "full",
            },
            {
                "claim": "ResNet-18 cut to half its widths: latency of the uncut one over it, each on its best path",
                "figure": "speedup of cutting, best paths",
                "format": "full",
            },
        ],
        "tables": [
            table("Latency of one image, one thread", factors={"path": "{}"}, rows=paths, columns=columns),
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.5, help="per callable and round")
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile, which needs a compiler")
    parser.add_argument("--keep-noisy", action="store_true", help="write times of a machine that was not quiet")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    figures = measured(rounds=arguments.rounds, seconds=arguments.seconds, compiled=not arguments.no_compile)
    print(figures)
    write_result(
        "cut_latency",
        figures,
        tier=str(BENCHMARK["tier"]),
        seeds=[SEED],
        layout=layout(figures),
        keep_noisy=arguments.keep_noisy,
        notes=[
            f"One image of {SIDE} x {SIDE}, one thread, fp32, random weights; every path of every model in turns in "
            "one process, ratios are medians of paired rounds.",
            "The cut model and the one built at half the width were compared operation by operation before timing.",
            "Paths: eager torch, channels last, torch.compile. 'Best paths' divides the fastest way of running the "
            "uncut model by the fastest way of running the cut one.",
        ],
    )


if __name__ == "__main__":
    main()
