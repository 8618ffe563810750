"""The integer product that writes zeros: exact on every bit pattern, every width, every layout."""

import pytest
import torch

from paretorch.methods.sparsity import zeroing
from paretorch.methods.sparsity.zeroing import CPU_BLOCK, INTEGER_OF_BYTES, placed_like, zero_pruned_

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.int32]


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_bit_pattern_is_kept_whole_or_becomes_positive_zero(dtype):
    integer = INTEGER_OF_BYTES[dtype.itemsize]
    info = torch.iinfo(integer)
    bits = torch.randint(info.min, info.max, (4096,), dtype=integer, generator=torch.Generator().manual_seed(0))
    bits[:2] = torch.tensor([info.min, -1], dtype=integer)  # -0.0 and a NaN with all bits set
    mask = torch.arange(4096) % 3 == 0
    values = bits.clone().view(dtype)
    zero_pruned_(values, mask)
    assert torch.equal(values.view(integer), torch.where(mask, bits, torch.zeros((), dtype=integer)))


def test_nan_infinity_and_negative_weights_become_positive_zero():
    values = torch.tensor([float("nan"), float("inf"), -float("inf"), -3.0, -0.0])
    zero_pruned_(values, torch.zeros(5, dtype=torch.bool))
    assert not values.view(torch.int32).any()


@pytest.mark.parametrize(
    "shape", [(), (0,), (0, 4), (CPU_BLOCK,), (CPU_BLOCK + 1,), (3, CPU_BLOCK), (2 * CPU_BLOCK + 5, 1), (300, 7, 64)]
)
@pytest.mark.parametrize("transposed", [False, True])
def test_blocks_cover_every_entry_of_any_shape_and_stride(shape, transposed):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(shape, generator=generator)
    mask = torch.rand(shape, generator=generator) < 0.5
    expected = values.where(mask, torch.zeros(()))
    if transposed:
        order = tuple(reversed(range(len(shape))))
        values = values.permute(order).contiguous().permute(order)
    zero_pruned_(values, mask)
    assert torch.equal(values, expected)


def test_a_sliced_view_is_zeroed_without_touching_its_neighbours():
    storage = torch.ones(700, 401)
    zero_pruned_(storage[:, ::2], torch.zeros(700, 201, dtype=torch.bool))
    assert not storage[:, ::2].any()
    assert storage[:, 1::2].all()


def test_work_in_blocks_equals_work_at_once(monkeypatch):
    generator = torch.Generator().manual_seed(1)
    values, mask = torch.randn(37, 11, generator=generator), torch.rand(37, 11, generator=generator) < 0.5
    at_once, strided = values.clone(), values.t().contiguous().t()
    zero_pruned_(at_once, mask)
    monkeypatch.setattr(zeroing, "CPU_BLOCK", 10)
    zero_pruned_(values, mask)
    zero_pruned_(strided, mask)
    assert torch.equal(values, at_once)
    assert torch.equal(strided, at_once)


def test_a_mask_takes_the_strides_of_its_weight_and_is_not_copied_when_it_has_them():
    weight = torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last)
    mask = torch.rand(4, 3, 5, 5) < 0.5
    placed = placed_like(mask, weight)
    assert placed.stride() == weight.stride()
    assert torch.equal(placed, mask)
    assert placed_like(mask, weight.contiguous()) is mask


def test_a_weight_that_autograd_follows_can_be_zeroed():
    weight = torch.nn.Parameter(torch.ones(3))
    version = weight._version
    zero_pruned_(weight, torch.tensor([True, False, True]))
    assert weight.tolist() == [1.0, 0.0, 1.0]
    assert weight._version > version  # a graph that saved the old values notices the change


@pytest.mark.parametrize("shape", [(1024, 512), (2, 4 * CPU_BLOCK)])
def test_zeroing_a_large_weight_allocates_no_more_than_one_block(shape):
    weight, mask = torch.ones(shape), torch.zeros(shape, dtype=torch.bool)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiled:
        zero_pruned_(weight, mask)
    memory = [e for e in profiled.profiler.kineto_results.events() if e.name() == "[memory]"]
    alive = peak = 0
    for event in sorted(memory, key=lambda event: event.start_ns()):
        alive += event.nbytes()
        peak = max(peak, alive)
    assert 0 < peak <= 4 * CPU_BLOCK  # the whole weight takes eight times as much
    assert not weight.any()
