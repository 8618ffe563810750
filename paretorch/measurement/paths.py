"""Compare a candidate with both honest baselines: eager fp32, and the machine's best dense fp32 path.

Eager fp32 can reach half of what the same processor gives through another library (matrix products on AMD: MKL about
100, oneDNN about 220 GFLOP/s per core), so a ratio against eager alone credits the candidate with a better kernel that
the dense model could have used as well. A path counts as dense fp32 only if its outputs agree with eager's.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from paretorch.measurement.inputs import ExampleInputs, as_inputs, call, check_model, device_of, left_as_found
from paretorch.measurement.interleaved import Ratio, interleaved, ratio
from paretorch.measurement.latency import precision_of, synchronizer
from paretorch.measurement.timing import SYSTEM_CLOCK, Clock, Timing

TOLERANCE = 1e-3  # of the largest output; other summation orders differ by about 1e-6, bf16 products by about 1e-2


@dataclass(frozen=True, kw_only=True)
class DensePaths:
    """calls: what runs one batch, by path name, "eager" first. refused: paths that do not apply here, and why."""

    calls: Mapping[str, Callable[[], object]]
    refused: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class LatencyRatios:
    """Measured speed-ups of one candidate: over eager fp32 and over the best dense fp32 path, named `best_dense`.

    timings: all of them, by path, with "candidate". refused: paths that were not tried, and why.
    """

    vs_eager: Ratio
    vs_best_dense: Ratio
    best_dense: str
    timings: Mapping[str, Timing]
    refused: Mapping[str, str]


def dense_fp32_paths(model: nn.Module, example_inputs: ExampleInputs, *, compiled: bool = False) -> DensePaths:
    """The ways this machine can run a dense fp32 model with stock torch.

    "eager"; "channels_last" (4-d inputs); "onednn" (CPU: linear layers packed for oneDNN); "compiled"
    (`torch.compile`, only when asked: it takes up to a minute and needs a compiler). Paths other than eager run copies.

    Args:
        model: fp32, in evaluation mode. example_inputs: as in `measure`; run at the batch size they have.

    Raises:
        ValueError: the model is not float32, or autocast is on.
    """
    check_model(model)
    precision = precision_of(model)
    if precision.split(", convolutions")[0] not in ("float32", "no parameters"):
        raise ValueError(f"the dense baseline must compute in float32; this one computes in {precision}.")
    inputs = as_inputs(example_inputs).to(device_of(model))
    calls: dict[str, Callable[[], object]] = {"eager": partial(call, model, inputs)}
    refused: dict[str, str] = {}
    expected = calls["eager"]()

    def offer(name: str, make: Callable[[], Callable[[], object]]) -> None:
        try:
            path = make()
            difference = _difference(expected, path())
        except Exception as error:  # a path may fail in any way its library likes; it is then no path, and we say so
            refused[name] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
            return
        if difference > TOLERANCE:
            refused[name] = f"its outputs differ from eager's by {difference:.1e} of the largest one"
        else:
            calls[name] = path

    if any(tensor.dim() == 4 for tensor in inputs.positional):
        offer("channels_last", lambda: partial(call, _channels_last(model), inputs))
    has_linear = any(type(module) is nn.Linear for module in model.modules())
    if has_linear and device_of(model).type == "cpu" and torch.backends.mkldnn.is_available():
        offer("onednn", lambda: partial(call, _repacked(model), inputs))
    if compiled:
        offer("compiled", lambda: partial(call, cast(nn.Module, torch.compile(_copy(model))), inputs))
    return DensePaths(calls=calls, refused=refused)


def latency_ratios(
    dense: nn.Module,
    candidate: Callable[[], object],
    example_inputs: ExampleInputs,
    *,
    compiled: bool = False,
    rounds: int = 7,
    min_seconds: float = 0.1,
    threads: int = 1,
    clock: Clock = SYSTEM_CLOCK,
) -> LatencyRatios:
    """Time a candidate beside every dense fp32 path, interleaved in one process.

    Args:
        dense: the fp32 baseline; left as found. candidate: runs the same batch in whatever way it does, without
            gradients. example_inputs: as in `measure`, at the batch size to time.
        compiled: also try `torch.compile` as a dense path. The rest: as in `interleaved`.

    Raises:
        ValueError: the baseline is not fp32. RuntimeError: its forward failed.
    """
    with left_as_found(dense):
        paths = dense_fp32_paths(dense, example_inputs, compiled=compiled)
        timings = interleaved(
            {**paths.calls, "candidate": candidate},
            rounds=rounds,
            min_seconds=min_seconds,
            threads=threads,
            synchronize=synchronizer(device_of(dense)),
            clock=clock,
        )
    best = min(paths.calls, key=lambda name: float(sorted(timings[name].round_p10_s)[rounds // 2]))
    return LatencyRatios(
        vs_eager=ratio(timings["eager"], timings["candidate"]),
        vs_best_dense=ratio(timings[best], timings["candidate"]),
        best_dense=best,
        timings=timings,
        refused=paths.refused,
    )


def _channels_last(model: nn.Module) -> nn.Module:
    copied: Any = _copy(model)
    return cast(nn.Module, copied.to(memory_format=torch.channels_last))


def _copy(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model).eval()


class _OnednnLinear(nn.Module):
    """A linear layer whose weight is packed once for oneDNN; dense in, dense out (eager uses MKL here)."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = linear.weight.detach().to_mkldnn()
        self.bias = None if linear.bias is None else linear.bias.detach().to_mkldnn()

    def forward(self, inputs: Tensor) -> Tensor:
        product: Tensor = torch.ops.aten.mkldnn_linear(inputs.to_mkldnn(), self.weight, self.bias)
        return product.to_dense()


def _repacked(model: nn.Module) -> nn.Module:
    """A copy with every linear layer packed for oneDNN; convolutions already run there."""
    copied = _copy(model)
    for parent in list(copied.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear:
                setattr(parent, name, _OnednnLinear(child))
    return _OnednnLinear(copied) if type(copied) is nn.Linear else copied


def _difference(expected: object, got: object) -> float:
    """Largest difference of two nested outputs relative to the largest expected entry; inf when they do not match."""
    left = [leaf for leaf in tree_leaves(expected) if isinstance(leaf, Tensor)]
    right = [leaf for leaf in tree_leaves(got) if isinstance(leaf, Tensor)]
    if [t.shape for t in left] != [t.shape for t in right]:
        return float("inf")
    scale = max((float(t.abs().max()) for t in left if t.numel()), default=0.0)
    worst = max((float((a - b).abs().max()) for a, b in zip(left, right, strict=True) if a.numel()), default=0.0)
    return worst / scale if scale else worst
