"""What masks with exact zeros cost in training: four 1024 x 1024 layers, batch 32, one thread, 90 % of weights pruned.

Side by side in one process, in alternating order:
  - one AdamW step (foreach) alone, and with the gradient mask before it and the projection after it;
  - forward + backward of the dense model, of the model with masks attached, and of torch.nn.utils.prune's
    reparametrised model, which multiplies by a float mask in every forward pass;
  - three ways to write the zeros.
Times are CPU seconds of the process, so that other programs on a shared machine do not count as cost. Also the peak
memory that enforcement allocates, from torch's profiler, and the bytes each way adds to the model.

    python benchmarks/mask_enforcement.py [--rounds N] [--seconds S]
"""

import argparse
import copy
import time
from collections.abc import Callable
from typing import Any

import torch
from _harness import figure, write_result
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.optim import AdamW, Optimizer
from torch.profiler import ProfilerActivity, profile

from paretorch.measurement.interleaved import Ratio, interleaved, ratio
from paretorch.measurement.timing import Clock
from paretorch.methods.sparsity.binding import bind
from paretorch.methods.sparsity.masks import Masks
from paretorch.methods.sparsity.zeroing import zero_pruned_

BENCHMARK = {"tier": "minutes", "minutes": 2}
WIDTH, DEPTH, BATCH, SPARSITY, SEED = 1024, 4, 32, 0.9, 0


def mlp() -> nn.Sequential:
    torch.manual_seed(SEED)
    layers = [module for _ in range(DEPTH) for module in (nn.Linear(WIDTH, WIDTH), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def random_masks(model: nn.Module) -> Masks:
    generator = torch.Generator().manual_seed(SEED)
    return Masks(
        {
            name: torch.rand(p.shape, generator=generator) >= SPARSITY
            for name, p in model.named_parameters()
            if p.dim() > 1
        }
    )


def pruned_by_torch(masks: Masks) -> nn.Module:
    """The same masks by torch.nn.utils.prune: weight = weight_orig * weight_mask before every forward pass."""
    model = mlp()
    for name, mask in masks.items():
        owner, _, attribute = name.rpartition(".")
        prune.custom_from_mask(model.get_submodule(owner), attribute, mask)
    return model


def added_bytes(model: nn.Module) -> int:
    """Bytes the model's state has beyond the dense model's."""
    sizes = [sum(t.numel() * t.element_size() for t in each.state_dict().values()) for each in (model, mlp())]
    return sizes[0] - sizes[1]


def peak_allocated_bytes(call: Callable[[], object]) -> int:
    """Most bytes allocated and not yet freed during the call, scratch memory inside kernels included."""
    call()  # one-time allocations are not the call's
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        call()
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    alive = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        alive += event.nbytes()
        peak = max(peak, alive)
    return peak


def share(alone: Ratio) -> dict[str, object]:
    """The cost added to a baseline, as a fraction of it, from the ratio baseline / (baseline + cost)."""
    result = figure(alone)
    result["median"], result["low"], result["high"] = (1 / x - 1 for x in (alone.value, alone.high, alone.low))
    result["unit"] = "fraction"
    return result


def steps(model: nn.Module, masks: Masks) -> dict[str, Callable[[], object]]:
    """AdamW's step alone, with enforcement around it, and enforcement alone: the same tensors in all three."""
    optimizer: Optimizer = AdamW(model.parameters(), lr=1e-5, foreach=True)
    model(torch.randn(BATCH, WIDTH)).square().mean().backward()
    bindings = bind(model, masks)

    def enforce_gradients() -> None:
        for binding in bindings:
            binding.mask_gradient_()

    def enforce_weights() -> None:
        for binding in bindings:
            binding.zero_(binding.parameter)

    def enforced_step() -> None:
        enforce_gradients()
        optimizer.step()
        enforce_weights()

    def enforce() -> None:
        enforce_gradients()
        enforce_weights()

    return {"step": optimizer.step, "enforced step": enforced_step, "enforcement": enforce}


def forward_backward(model: nn.Module) -> Callable[[], object]:
    x = torch.randn(BATCH, WIDTH, generator=torch.Generator().manual_seed(SEED))

    def call() -> None:
        model.zero_grad(set_to_none=True)
        model(x).square().mean().backward()

    return call


def ways_to_zero(weights: list[Tensor], masks: list[Tensor]) -> dict[str, Callable[[], object]]:
    """Projections of the same weights; only the integer product is exact on NaN and needs no second mask."""
    inverted = [~mask for mask in masks]

    def over(apply: Callable[[Tensor, Tensor], object], by: list[Tensor]) -> Callable[[], object]:
        def call() -> None:
            for weight, mask in zip(weights, by, strict=True):
                apply(weight, mask)

        return call

    return {
        "integer product in blocks": over(zero_pruned_, masks),
        "integer product at once": over(lambda w, m: w.view(torch.int32).mul_(m.view(torch.int8)), masks),
        "float product with bool": over(lambda w, m: w.mul_(m), masks),
        "masked_fill_": over(lambda w, m: w.masked_fill_(m, 0.0), inverted),
    }


def layout() -> dict[str, Any]:
    """How the results page shows the figures."""
    claims = {
        "Exact zeros after an AdamW step, added time": "enforcement_share_of_adamw_step",
        "Attached masks in forward and backward, added time": "attached_share_of_dense_forward_backward",
        "torch.nn.utils.prune in forward and backward, added time": "torch_prune_share_of_dense_forward_backward",
    }
    return {"headlines": [{"claim": claim, "figure": key} for claim, key in claims.items()]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--seconds", type=float, default=0.15, help="CPU seconds per candidate and round")
    parser.add_argument("--keep-noisy", action="store_true", help="write times of a machine that was not quiet")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    clock = Clock(wall=time.process_time)
    budget = {"rounds": arguments.rounds, "min_seconds": arguments.seconds, "threads": 1, "clock": clock}

    model = mlp()
    masks = random_masks(model)
    masks.apply_(model)
    candidates = steps(model, masks)
    step = interleaved(candidates, **budget)

    attached, reparametrised = copy.deepcopy(model), pruned_by_torch(masks)
    masks.attach(attached, AdamW(attached.parameters()))
    passes = interleaved(
        {
            "dense": forward_backward(mlp()),
            "attached": forward_backward(attached),
            "reparametrised": forward_backward(reparametrised),
        },
        **budget,
    )
    weights = [model.get_parameter(name).detach() for name in masks]
    zeroing = interleaved(ways_to_zero(weights, list(masks.values())), **budget)

    figures = {
        "enforcement_share_of_adamw_step": share(ratio(step["step"], step["enforced step"])),
        "adamw_step_s": figure(step["step"]),
        "adamw_step_with_enforcement_s": figure(step["enforced step"]),
        "enforcement_s": figure(step["enforcement"]),
        "attached_share_of_dense_forward_backward": share(ratio(passes["dense"], passes["attached"])),
        "torch_prune_share_of_dense_forward_backward": share(ratio(passes["dense"], passes["reparametrised"])),
        "attached_over_torch_prune_forward_backward": figure(ratio(passes["reparametrised"], passes["attached"])),
        "forward_backward_dense_s": figure(passes["dense"]),
        "forward_backward_attached_s": figure(passes["attached"]),
        "forward_backward_torch_prune_s": figure(passes["reparametrised"]),
        "zeroing_s": {name: figure(timing) for name, timing in zeroing.items()},
        "enforcement_peak_allocated_bytes": figure(peak_allocated_bytes(candidates["enforcement"]), unit="bytes"),
        "one_weight_bytes": figure(4 * WIDTH**2, unit="bytes"),
        "mask_bytes": figure(masks.num_weights, unit="bytes"),
        "state_dict_added_bytes": figure(added_bytes(attached), unit="bytes"),
        "state_dict_added_bytes_torch_prune": figure(added_bytes(reparametrised), unit="bytes"),
    }
    for name, value in figures.items():
        print(f"{name}: {value}")
    write_result(
        "mask_enforcement",
        figures,
        tier=BENCHMARK["tier"],
        seeds=[SEED],
        layout=layout(),
        keep_noisy=arguments.keep_noisy,
        notes=[
            f"MLP of {DEPTH} linear layers {WIDTH} x {WIDTH}, batch {BATCH}, float32, {SPARSITY:.0%} pruned at random, "
            "one thread.",
            "Times are CPU seconds of the process, which runs one thread.",
            "A share is the added time as a fraction of the baseline; medians of paired per-round ratios of p10 times.",
            "Enforcement is the gradient mask before the step and the projection after it. Attached forward+backward "
            "includes the gradient mask, not the projection.",
            "torch.nn.utils.prune multiplies by its mask in forward and backward and leaves the hidden originals "
            "moving; it needs no work at the step.",
        ],
    )


if __name__ == "__main__":
    main()
