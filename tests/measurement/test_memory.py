import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from paretorch.measurement.memory import AllocationTracker, model_size, peak_rss_bytes

MIB = 2**20


def test_model_size_counts_entries_zeros_and_bytes_at_each_dtype() -> None:
    model = nn.Sequential(nn.Linear(10, 4), nn.BatchNorm1d(4).bfloat16())
    with torch.no_grad():
        model[0].weight[0] = 0
    size = model_size(model)
    assert size.params == 40 + 4 + 4 + 4
    assert size.nonzeros == 30 + int(model[0].bias.count_nonzero()) + 4 + 0  # a fresh norm's bias is zero
    assert size.payload_bytes == 4 * 44 + 2 * (4 + 4 + 4 + 4) + 8  # weights, norm and its statistics, one counter
    assert size.metadata_bytes == 0


def test_tied_parameters_count_once_as_objects_and_as_views_of_the_same_memory() -> None:
    model = nn.Sequential(nn.Linear(5, 5, bias=False), nn.Linear(5, 5, bias=False), nn.Linear(5, 5, bias=False))
    model[1].weight = model[0].weight
    model[2].weight = nn.Parameter(model[0].weight.data)
    assert model_size(model).params == 25
    assert model_size(model).payload_bytes == 100


def test_buffers_that_are_not_saved_take_no_stored_bytes() -> None:
    model = nn.Linear(2, 2, bias=False)
    model.register_buffer("cache", torch.zeros(1000), persistent=False)
    assert model_size(model).payload_bytes == 16


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
@pytest.mark.parametrize(
    ("layout", "index_bytes"), [("coo", 2 * 3 * 8), ("csr", 3 * 8 + 5 * 8), ("csc", 3 * 8 + 5 * 8)]
)
def test_sparse_weights_pay_for_values_and_indices(layout: str, index_bytes: int) -> None:
    dense = torch.zeros(4, 4)
    dense[0, 1], dense[2, 3], dense[3, 0] = 1.0, 2.0, 3.0
    model = nn.Module()
    model.weight = nn.Parameter(getattr(dense, "to_sparse" if layout == "coo" else f"to_sparse_{layout}")())
    size = model_size(model)
    assert (size.params, size.nonzeros, size.payload_bytes, size.metadata_bytes) == (16, 3, 12, index_bytes)


def test_only_modules_have_a_size() -> None:
    with pytest.raises(TypeError, match=r"must be a torch.nn.Module; got dict"):
        model_size({})  # type: ignore[arg-type]


def test_tracker_counts_what_is_created_inside_while_it_lives() -> None:
    before = torch.zeros(1000)
    with AllocationTracker() as tracker:
        a = torch.zeros(100)
        assert (tracker.current_bytes, tracker.peak_bytes) == (400, 400)
        b = a + 1
        view = b[:50].reshape(5, 10)
        before.add_(1)
        before.view(10, 100).t()
        assert tracker.current_bytes == 800
        del b
        assert tracker.current_bytes == 800  # the view keeps it alive
        del view
        assert tracker.current_bytes == 400
        c = torch.ones(10, dtype=torch.float64)
    assert (tracker.peak_bytes, tracker.largest_bytes, tracker.current_bytes) == (800, 400, 480)
    del a, c
    assert tracker.current_bytes == 0


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 50)), min_size=1, max_size=30))
def test_tracker_agrees_with_adding_by_hand(events: list[tuple[bool, int]]) -> None:
    alive: list[Tensor] = []
    peak = 0
    with AllocationTracker() as tracker:
        for drop, numel in events:
            if drop and alive:
                alive.pop(numel % len(alive))
            else:
                alive.append(torch.empty(numel))
            total = sum(4 * tensor.numel() for tensor in alive)
            assert tracker.current_bytes == total
            peak = max(peak, total)
    assert tracker.peak_bytes == peak


def test_tracker_sees_what_autograd_keeps_and_checkpointing_saves_it() -> None:
    from torch.utils.checkpoint import checkpoint

    layers = [nn.Linear(64, 64, bias=False) for _ in range(8)]
    x = torch.randn(256, 64)
    activation = 256 * 64 * 4

    def stack(y: Tensor) -> Tensor:
        for layer in layers:
            y = layer(y).tanh()
        return y

    with AllocationTracker() as kept:
        loss = stack(x).sum()
    assert kept.peak_bytes == 9 * activation  # tanh keeps its output: 7 kept, then the last product and its tanh
    with AllocationTracker() as recomputed:
        also = checkpoint(stack, x, use_reentrant=False, preserve_rng_state=False).sum()
    assert recomputed.peak_bytes == 3 * activation  # a layer's input, product and tanh; nothing is kept
    assert torch.equal(loss, also)


def test_tracker_follows_a_backward_pass() -> None:
    weight = torch.randn(100, 100, requires_grad=True)
    with AllocationTracker() as tracker:
        (weight * 2).sum().backward()
        assert weight.grad is not None
        assert tracker.current_bytes == 40_000
    assert tracker.largest_bytes == 40_000


def test_tracker_counts_tensors_made_from_python_values_and_resized_ones() -> None:
    with AllocationTracker() as tracker:
        a = torch.tensor([1.0, 2.0, 3.0])
        assert tracker.current_bytes == 12
        a.resize_(100)
        assert tracker.current_bytes == 400
    assert tracker.largest_bytes == 400


def python(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


def test_peak_rss_is_the_commands_own_and_not_that_of_the_caller() -> None:
    ours = bytearray(b"x") * (200 * MIB)  # resident here; a forked child would start from this peak
    small = peak_rss_bytes(python("pass"))
    large = peak_rss_bytes(python(f"x = bytearray(b'x') * (120 * {MIB}); del x"))
    assert small < 100 * MIB < 120 * MIB < large < 120 * MIB + small + 40 * MIB
    assert len(ours) == 200 * MIB


def test_a_command_that_fails_or_hangs_gives_no_number(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError, match="exit status 3"):
        peak_rss_bytes(python("raise SystemExit(3)"))
    mark = tmp_path / "alive"
    code = f"import pathlib, time; time.sleep(1.5); pathlib.Path({str(mark)!r}).touch()"
    with pytest.raises(subprocess.TimeoutExpired):
        peak_rss_bytes(python(code), timeout_s=0.3)
    time.sleep(1.6)
    assert not mark.exists()  # it was ended, not left behind
    with pytest.raises(ValueError, match="argv is empty"):
        peak_rss_bytes([])
