"""Time of one optimizer step: AvaGrad against torch's AdamW and pytorch_optimizer's AvaGrad, side by side.

    python benchmarks/optimizer_step.py [--rounds 9] [--device cuda] [--quick]

Decoders of about 25 and 100 million parameters as lists of float32 tensors with gradients that stay as they are, one
thread on a CPU. Every optimizer moves the same tensors in turns, in rounds that alternate their order. torch's AdamW is
fused (one kernel, the floor) and foreach (lists of tensors), both without decay, as the others are; ours is AvaGrad as
a user gets it and, on a GPU too, over lists; pytorch_optimizer's is AvaGrad with and without its foreach. Learning
rates are 1e-6, so that nothing leaves its range.

On a CPU times are CPU seconds of the process, so that other programs on a shared machine do not count as cost.
"""

import argparse
import re
import time
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import torch
from _harness import figure, table, write_result
from torch import nn
from torch.optim import AdamW, Optimizer

from paretorch.errors import RunError
from paretorch.measurement.interleaved import interleaved, ratio
from paretorch.measurement.timing import SYSTEM_CLOCK, Clock
from paretorch.methods.optim import AvaGrad

BENCHMARK = {"tier": "minutes", "minutes": 8, "packages": ["pytorch_optimizer"]}
LR, SEED = 1e-6, 0
FLOOR, BASELINE, OURS = "torch AdamW, fused", "torch AdamW, foreach", "AvaGrad"
PEERS = ("pytorch_optimizer AvaGrad", "pytorch_optimizer AvaGrad, foreach")


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


def optimizers(params: list[nn.Parameter]) -> dict[str, Optimizer]:
    """All that are compared, each with its own state for the same parameters."""
    from pytorch_optimizer import AvaGrad as PeerAvaGrad

    return {
        BASELINE: AdamW(params, LR, weight_decay=0.0, foreach=True),
        FLOOR: AdamW(params, LR, weight_decay=0.0, fused=True),
        OURS: AvaGrad(params, LR),
        "AvaGrad, over lists": AvaGrad(params, LR, foreach=True),
        PEERS[0]: PeerAvaGrad(params, lr=LR, foreach=False),
        PEERS[1]: PeerAvaGrad(params, lr=LR, foreach=True),
    }


def measured(shapes: Sequence[tuple[int, ...]], *, rounds: int, device: str) -> dict[str, Any]:
    """Times and ratios for one model."""
    params = tensors(shapes, device)
    calls: dict[str, Callable[[], Any]] = {name: each.step for name, each in optimizers(params).items()}
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


def layout(sizes: Sequence[str]) -> dict[str, Any]:
    """How the results page shows the figures."""
    names = [BASELINE, FLOOR, "AvaGrad, over lists", *PEERS]
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
            for name in (BASELINE, PEERS[0], PEERS[1])
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
    parser.add_argument("--quick", action="store_true", help="a tiny model, to see that it runs")
    parser.add_argument("--keep-noisy", action="store_true", help="write times of a machine that was not quiet")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sizes = QUICK if arguments.quick else SIZES
    figures: dict[str, Any] = {}
    for name, shapes in sizes.items():
        figures[name] = measured(shapes, rounds=arguments.rounds, device=arguments.device)
        print(name, figures[name], flush=True)
    on_cpu = arguments.device == "cpu"
    write_result(
        "optimizer_step",
        figures,
        tier=str(BENCHMARK["tier"]) if on_cpu else "gpu",
        seeds=[SEED],
        device="cpu" if on_cpu else re.sub(r"\W+", "-", torch.cuda.get_device_name().lower()),
        layout=layout(list(sizes)),
        keep_noisy=arguments.keep_noisy,
        notes=[
            "float32, no weight decay, the same tensors and gradients for all, in turns in one process; ratios are "
            "medians of paired rounds, below 1 where AvaGrad is faster.",
            "On a CPU one thread, and CPU seconds of the process.",
            "AdamW's fused kernel does no normalisation over the whole model, which needs one reading of the second "
            "moments before anything moves.",
        ],
    )


if __name__ == "__main__":
    main()
