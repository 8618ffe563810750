"""Time of one optimizer step: AvaGrad against torch's AdamW and pytorch_optimizer's AvaGrad, side by side.

    python benchmarks/optimizer_step.py [--rounds 9] [--device cuda] [--no-compile] [--quick]

Decoders of about 25 and 100 million parameters as lists of float32 tensors with gradients that stay as they are, one
thread on a CPU. Every optimizer moves the same tensors in turns, in rounds that alternate their order. torch's AdamW is
fused (one kernel, the floor) and foreach (lists of tensors), both without decay, as the others are; ours is AvaGrad as
a user gets it, over lists, and its step under torch.compile, which makes few kernels of it; pytorch_optimizer's is
AvaGrad with and without its foreach. Learning rates are 1e-6, so that nothing leaves its range.

On a CPU times are CPU seconds of the process, so that other programs on a shared machine do not count as cost.
"""

import argparse
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import torch
from _harness import figure, table, write_result
from _numbers import shown
from _peers import lacking
from torch import nn
from torch.optim import AdamW, Optimizer

from paretorch.errors import RunError
from paretorch.evidence.words import listing
from paretorch.measurement.interleaved import interleaved, ratio
from paretorch.measurement.timing import SYSTEM_CLOCK, Clock
from paretorch.methods.optim import AvaGrad

BENCHMARK = {"tier": "minutes", "minutes": 15, "packages": ["pytorch_optimizer"]}
LR, SEED = 1e-6, 0
FLOOR, BASELINE, OURS = "torch AdamW, fused", "torch AdamW, foreach", "AvaGrad"
LISTS, COMPILED = "AvaGrad, over lists", "AvaGrad, compiled"
PEERS = ("pytorch_optimizer AvaGrad", "pytorch_optimizer AvaGrad, foreach")
OTHERS = (FLOOR, BASELINE, *PEERS, LISTS, COMPILED)


def decoder(width: int, depth: int, vocabulary: int) -> list[tuple[int, ...]]:
    """Shapes of an embedding and of `depth` layers: attention, its output, two of the feed-forward part, and norms."""
    layer = [(3 * width, width), (width, width), (4 * width, width), (width, 4 * width), (width,), (width,)]
    return [(vocabulary, width), *(layer * depth), (width,)]


SIZES: Mapping[str, list[tuple[int, ...]]] = {
    "25 M": decoder(width=512, depth=5, vocabulary=18_000),
    "100 M": decoder(width=768, depth=12, vocabulary=20_000),
}
QUICK: Mapping[str, list[tuple[int, ...]]] = {"tiny": decoder(width=32, depth=2, vocabulary=100)}


def tensors(shapes: Sequence[tuple[int, ...]], device: str) -> list[nn.Parameter]:
    """Parameters of these shapes, each with a gradient."""
    stream = torch.Generator().manual_seed(SEED)
    found = []
    for shape in shapes:
        param = nn.Parameter(torch.randn(shape, generator=stream).to(device))
        param.grad = torch.randn(shape, generator=stream).to(device)
        found.append(param)
    return found


def steps(params: list[nn.Parameter], *, compiled: bool) -> dict[str, Callable[[], Any]]:
    """The steps of all that are compared, each with its own state for the same parameters."""
    from pytorch_optimizer import AvaGrad as PeerAvaGrad

    eager: dict[str, Optimizer] = {
        BASELINE: AdamW(params, LR, weight_decay=0.0, foreach=True),
        FLOOR: AdamW(params, LR, weight_decay=0.0, fused=True),
        OURS: AvaGrad(params, LR),
        LISTS: AvaGrad(params, LR, foreach=True),
        PEERS[0]: PeerAvaGrad(params, lr=LR, foreach=False),
        PEERS[1]: PeerAvaGrad(params, lr=LR, foreach=True),
    }
    found: dict[str, Callable[[], Any]] = {name: each.step for name, each in eager.items()}
    if compiled:  # numbers are tensors, as a schedule of the rate needs them: a new number would compile it again
        found[COMPILED] = torch.compile(AvaGrad(params, torch.tensor(LR), capturable=True).step)
    return found


def measured(shapes: Sequence[tuple[int, ...]], *, rounds: int, device: str, compiled: bool) -> dict[str, Any]:
    """Times and ratios for one model."""
    params = tensors(shapes, device)
    calls = steps(params, compiled=compiled)
    on_cpu = device == "cpu"
    timings = interleaved(
        calls,
        rounds=rounds,
        min_seconds=0.0 if on_cpu else 0.05,
        warmup=2,
        min_calls=2 if on_cpu else 10,
        synchronize=None if on_cpu else torch.cuda.synchronize,
        clock=Clock(wall=time.process_time) if on_cpu else SYSTEM_CLOCK,
    )
    if not all(torch.isfinite(param).all() for param in params):
        raise RunError("a parameter is no longer finite, so these times say nothing")
    ours = timings[OURS]
    figures: dict[str, Any] = {"parameters": sum(prod(shape) for shape in shapes)}
    figures |= {f"{name}, seconds": figure(timing) for name, timing in timings.items()}
    figures |= {f"{OURS} over {name}": figure(ratio(ours, timings[name])) for name in calls if name != OURS}
    return figures


def conclusions(figures: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Which steps take less time than ours, and which more; first those that take less."""
    found: dict[str, list[str]] = {"longer than": [], "as long as, or not told apart from,": [], "shorter than": []}
    longer, alike, shorter = found.values()
    for name in OTHERS:
        for size, own in figures.items():
            if (gap := own.get(f"{OURS} over {name}")) is not None:
                side = longer if gap["low"] > 1 else shorter if gap["high"] < 1 else alike
                side.append(f"{name} ({size}: {shown(gap, 'full')})")
    return [f"{OURS}'s step takes {words} that of {listing(each)}." for words, each in found.items() if each]


def layout(figures: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """How the results page shows the figures."""
    sizes = list(figures)
    names = [name for name in OTHERS if all(f"{name}, seconds" in own for own in figures.values())]
    seconds = {name: f"{{0}}/{name}, seconds" for name in (OURS, *names)}
    over = {name: f"{{0}}/{OURS} over {name}" for name in names}
    rows = [(size,) for size in sizes]
    return {
        "headlines": [
            {
                "claim": f"AvaGrad's step over that of {name}, {size} parameters",
                "figure": f"{size}/{OURS} over {name}",
                "format": "full",
            }
            for size in sizes
            for name in (FLOOR, BASELINE, *PEERS)
        ],
        "tables": [
            table("Time of one step", factors={"parameters": "{}"}, rows=rows, columns=seconds),
            table("AvaGrad's time over that of", factors={"parameters": "{}"}, rows=rows, columns=over),
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile, which needs a compiler")
    parser.add_argument("--quick", action="store_true", help="a tiny model, to see that it runs")
    parser.add_argument("--keep-noisy", action="store_true", help="write times of a machine that was not quiet")
    arguments = parser.parse_args()
    packages: Any = BENCHMARK["packages"]
    if reason := lacking(packages):
        parser.error(reason)
    on_cpu, compiled = arguments.device == "cpu", not arguments.no_compile
    if on_cpu and compiled and shutil.which(os.environ.get("CXX", "g++")) is None:
        parser.error("torch.compile needs a C++ compiler, and there is no g++: install it, or give --no-compile")
    torch.set_num_threads(1)
    sizes = QUICK if arguments.quick else SIZES
    figures: dict[str, Any] = {}
    for name, shapes in sizes.items():
        figures[name] = measured(shapes, rounds=arguments.rounds, device=arguments.device, compiled=compiled)
        print(name, figures[name], flush=True)
    write_result(
        "optimizer_step",
        figures,
        tier=str(BENCHMARK["tier"]) if on_cpu else "gpu",
        seeds=[SEED],
        device="cpu" if on_cpu else re.sub(r"\W+", "-", torch.cuda.get_device_name().lower()),
        layout=layout(figures),
        packages=packages,
        keep_noisy=arguments.keep_noisy,
        notes=[
            *conclusions(figures),
            "float32, no weight decay, the same tensors and gradients for all, in turns in one process; ratios are "
            "medians of paired rounds, below 1 where AvaGrad is faster.",
            "On a CPU one thread, and CPU seconds of the process.",
            "AdamW's fused kernel does no normalisation over the whole model, which needs one reading of the second "
            "moments before anything moves.",
            *(["Compiled: with `capturable=True` and a tensor as rate; compiling is not counted."] * compiled),
        ],
    )


if __name__ == "__main__":
    main()
