"""Time and memory of global magnitude selection over the 25.5 million weights of a ResNet-50, against torch's.

    python benchmarks/global_selection.py [--rounds 4] [--fast-rounds 7]

Compares `select` with `torch.nn.utils.prune.global_unstructured` (L1) in one process on one thread, rounds alternating
their order, on float32 Gaussian weights at 50, 90 and 98 %. Then `select` alone on weights rounded to bfloat16
(thousands of ties at the cut) and on constant weights (all tie). Times are CPU seconds of the process, so that other
programs on a shared machine do not count as cost.

Memory is measured in a fresh process per case, see `_memory`, less the returned masks.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from _harness import figure, table, write_result
from _memory import memory_in_subprocess
from torch import Tensor, nn
from torch.nn.utils import prune

from paretorch.measurement.interleaved import interleaved, ratio
from paretorch.measurement.timing import Clock
from paretorch.methods.sparsity.selection import select, target_count

BENCHMARK = {"tier": "minutes", "minutes": 5}
SPARSITIES = (0.5, 0.9, 0.98)
SEED = 0


def resnet50_shapes() -> dict[str, tuple[int, ...]]:
    """The convolutions and the linear layer of ResNet-50 (He et al. 2016): 25,502,912 weights in 54 tensors."""
    shapes: dict[str, tuple[int, ...]] = {"conv1": (64, 3, 7, 7)}
    width_in = 64
    for stage, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), start=1):
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            shapes[f"{name}.conv1"] = (width, width_in, 1, 1)
            shapes[f"{name}.conv2"] = (width, width, 3, 3)
            shapes[f"{name}.conv3"] = (4 * width, width, 1, 1)
            if block == 0:
                shapes[f"{name}.downsample"] = (4 * width, width_in, 1, 1)
            width_in = 4 * width
    shapes["fc"] = (1000, 2048)
    return shapes


def make_weights(values: str) -> dict[str, Tensor]:
    """Weights of a ResNet-50's shapes: "float32" Gaussian, "bfloat16" Gaussian, or "constant"."""
    generator = torch.Generator().manual_seed(SEED)
    weights = {}
    for name, shape in resnet50_shapes().items():
        weight = torch.empty(shape).normal_(generator=generator)
        if values == "constant":
            weight.fill_(0.1)
        weights[name] = weight.bfloat16() if values == "bfloat16" else weight
    return weights


def prune_with_torch(weights: dict[str, Tensor], sparsity: float) -> dict[str, Tensor]:
    """Masks of `torch.nn.utils.prune.global_unstructured`, on modules that share the weights' memory."""
    layers = []
    for weight in weights.values():
        layer = nn.Module()
        layer.weight = nn.Parameter(weight, requires_grad=False)
        layers.append((layer, "weight"))
    prune.global_unstructured(layers, prune.L1Unstructured, amount=sparsity)
    return {name: layer.weight_mask for name, (layer, _) in zip(weights, layers, strict=True)}


def prune_with_ours(weights: dict[str, Tensor], sparsity: float) -> dict[str, Tensor]:
    """Masks of `select`."""
    num_weights = sum(weight.numel() for weight in weights.values())
    return select(weights, target_count(num_weights, sparsity), absolute=True)


def selection(values: str, sparsity: float) -> Callable[[], object]:
    """The call whose memory is measured, with the weights in memory and its code run once in every branch."""
    torch.set_num_threads(1)
    small = torch.empty(1 << 20).normal_()
    for warm in (small, small.bfloat16(), torch.ones_like(small)):
        prune_with_ours({"warm": warm}, sparsity)
    return partial(prune_with_ours, make_weights(values), sparsity)


def layout() -> dict[str, Any]:
    """How the results page shows the figures."""
    times = {
        "torch": "torch_float32_{0:.0f}_s",
        "ours": "ours_float32_{0:.0f}_s",
        "torch / ours": "speedup_float32_{0:.0f}",
    }
    ours = {name: f"ours_{name}_{{0:.0f}}_s" for name in ("float32", "bfloat16", "constant")}
    extra = {name: f"extra_over_largest_layer_{name}_{{0:.0f}}" for name in ours}
    tables = {
        "float32 weights, time of one selection": times,
        "Our selection, many ties": ours,
        "Memory besides weights and masks, over the largest layer's": extra,
    }
    rows = [(100 * sparsity,) for sparsity in SPARSITIES]
    claim = "Selecting the smallest 90 % of a ResNet-50's weights: torch's time over ours"
    return {
        "headlines": [{"claim": claim, "figure": "speedup_float32_90"}],
        "tables": [
            table(title, factors={"sparsity": "{:.0f}%"}, rows=rows, columns=columns)
            for title, columns in tables.items()
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=4, help="rounds with torch's selection, about 10 s a call")
    parser.add_argument("--fast-rounds", type=int, default=7, help="rounds of our selection alone")
    parser.add_argument("--processes", type=int, default=7, help="fresh processes per memory figure")
    parser.add_argument("--keep-noisy", action="store_true", help="write times of a machine that was not quiet")
    args = parser.parse_args()
    torch.set_num_threads(1)
    clock = Clock(wall=time.process_time)
    figures: dict[str, object] = {}
    weights = make_weights("float32")
    sizes = [weight.numel() for weight in weights.values()]
    largest_bytes = 4 * max(sizes)
    figures["num_weights"], figures["largest_layer_bytes"] = sum(sizes), largest_bytes
    for sparsity in SPARSITIES:
        label = f"{sparsity:.0%}".replace("%", "")
        theirs, ours = prune_with_torch(weights, sparsity), prune_with_ours(weights, sparsity)
        differ = sum(int((theirs[name].bool() != ours[name]).sum()) for name in weights)
        candidates = {
            "torch": partial(prune_with_torch, weights, sparsity),
            "ours": partial(prune_with_ours, weights, sparsity),
        }
        timings = interleaved(candidates, rounds=args.rounds, min_seconds=0.0, warmup=0, min_calls=1, clock=clock)
        for name, timing in timings.items():
            figures[f"{name}_float32_{label}_s"] = figure(timing)
        figures[f"speedup_float32_{label}"] = figure(ratio(timings["torch"], timings["ours"]))
        figures[f"masks_differing_float32_{label}"] = differ
        print(label, figures[f"speedup_float32_{label}"], "differing entries:", differ)
    for values in ("bfloat16", "constant"):
        weights = make_weights(values)
        candidates = {str(s): partial(prune_with_ours, weights, s) for s in SPARSITIES}
        timings = interleaved(candidates, rounds=args.fast_rounds, min_seconds=0.0, warmup=1, min_calls=1, clock=clock)
        for sparsity in SPARSITIES:
            spent = figure(timings[str(sparsity)])
            figures[f"ours_{values}_{sparsity:.0%}_s".replace("%", "")] = spent
    for values in ("float32", "bfloat16", "constant"):
        for sparsity in SPARSITIES:
            label = f"{values}_{sparsity:.0%}".replace("%", "")
            mask_bytes = sum(sizes)
            extra = [
                memory_in_subprocess(selection, values=values, sparsity=sparsity) - mask_bytes
                for _ in range(args.processes)
            ]
            figures[f"extra_bytes_{label}"] = figure(extra, unit="bytes")
            shares = [each / largest_bytes for each in extra]
            figures[f"extra_over_largest_layer_{label}"] = figure(shares, unit="")
            print(label, "extra bytes:", extra)
    write_result(
        "global_selection",
        figures,
        tier=BENCHMARK["tier"],
        seeds=[SEED],
        layout=layout(),
        keep_noisy=args.keep_noisy,
        notes=[
            "one thread; times are CPU seconds per selection, one call per round; the order alternates",
            "torch: prune.global_unstructured with L1Unstructured, its masks and hooks included",
            f"each memory figure is the median of {args.processes} processes",
            "extra_bytes: peak resident set of a fresh process less the resident set before the selection, less "
            "the bool masks; the largest layer is counted in float32",
            "masks_differing: entries on which the masks disagree; they are ties at the cut, which torch breaks as "
            "topk happens to return them",
        ],
    )


if __name__ == "__main__":
    main()
