from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from paretorch.measurement.traffic import TrafficCounter


def bytes_of(work: Callable[[], Any]) -> int:
    with TrafficCounter() as traffic:
        work()
    return traffic.bytes_accessed


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.sampled_from([torch.float32, torch.bfloat16]))
def test_a_product_moves_both_operands_and_the_result(m: int, k: int, n: int, dtype: torch.dtype) -> None:
    a, b = torch.ones(m, k, dtype=dtype), torch.ones(k, n, dtype=dtype)
    assert bytes_of(lambda: a @ b) == (m * k + k * n + m * n) * dtype.itemsize


def test_an_elementwise_operation_reads_and_writes_every_entry() -> None:
    x = torch.randn(5, 7)
    n = x.numel() * 4
    assert bytes_of(lambda: torch.relu(x)) == 2 * n
    assert bytes_of(lambda: torch.relu_(x)) == 2 * n
    assert bytes_of(lambda: x + torch.relu(x)) == (2 + 3) * n
    assert bytes_of(lambda: x * x) == 2 * n  # one tensor, read once
    assert bytes_of(lambda: x.double()) == 3 * n


def test_views_and_allocations_move_nothing() -> None:
    x = torch.randn(4, 6)
    assert bytes_of(lambda: x.t()[1:].reshape(5, 4).detach().expand(3, 5, 4)) == 0
    assert bytes_of(lambda: torch.ops.aten._unsafe_view(x, [6, 4])) == 0
    assert bytes_of(lambda: torch.empty_like(x)) == 0
    assert bytes_of(lambda: x.t().contiguous()) == 2 * 24 * 4


def test_overwriting_reads_nothing_of_its_target() -> None:
    x, y = torch.randn(4, 6), torch.randn(4, 6)
    assert bytes_of(x.zero_) == bytes_of(lambda: x.fill_(3.0)) == 96
    assert bytes_of(lambda: x.copy_(y)) == 2 * 96
    assert bytes_of(lambda: torch.add(y, y, out=x)) == 2 * 96
    assert bytes_of(lambda: x.add_(y)) == 3 * 96


def test_an_expanded_dimension_is_stored_once() -> None:
    x, row = torch.randn(50, 6), torch.randn(6)
    assert bytes_of(lambda: x + row.expand(50, 6)) == (300 + 6 + 300) * 4


def test_a_look_up_reads_only_what_it_returns() -> None:
    table, tokens = torch.randn(1000, 8), torch.tensor([3, 1, 3])
    assert bytes_of(lambda: F.embedding(tokens, table)) == (24 + 24) * 4 + 3 * 8
    assert bytes_of(lambda: F.embedding(torch.arange(2000) % 10, table[:10])) > 2000 * 8 * 4  # a small table, read once


@pytest.mark.filterwarnings("ignore:Sparse")
def test_sparse_operands_move_values_and_indices() -> None:
    sparse, x = torch.eye(8).to_sparse_csr(), torch.randn(8, 3)
    assert bytes_of(lambda: sparse @ x) == 8 * 4 + (9 + 8) * 8 + 24 * 4 + 24 * 4


def test_nested_tensors_are_followed_as_far_as_they_show_themselves() -> None:
    rows = torch.nested.nested_tensor([torch.randn(2, 4), torch.randn(3, 4)], layout=torch.jagged)
    offsets = rows.offsets().numel() * 8
    assert bytes_of(lambda: torch.sin(rows)) == 2 * (5 * 4 * 4 + offsets)


@pytest.mark.parametrize("foreach", [False, True])
def test_an_sgd_step_moves_12_bytes_per_parameter(foreach: bool) -> None:
    weight = nn.Parameter(torch.randn(100))
    weight.grad = torch.randn(100)
    optimizer = torch.optim.SGD([weight], lr=0.1, foreach=foreach)
    assert bytes_of(optimizer.step) == 12 * 100


def test_an_adamw_step_moves_at_least_28_bytes_per_parameter() -> None:
    weight = nn.Parameter(torch.randn(100))
    weight.grad = torch.randn(100)
    for fused in (False, True):
        optimizer = torch.optim.AdamW([weight], fused=fused)
        optimizer.step()  # makes its state
        moved = bytes_of(optimizer.step)
        assert moved >= 2800
        assert (moved < 3400) == fused  # one pass over the state, or one per elementwise operation


def test_a_training_step_counts_forward_and_backward_by_operator() -> None:
    layer, x = nn.Linear(32, 16, bias=False), torch.randn(8, 32)
    with TrafficCounter() as traffic:
        layer(x).sum().backward()
    product = (8 * 32 + 32 * 16 + 8 * 16) * 4
    # the backward product reads a gradient of ones that is one expanded entry
    assert traffic.by_operator["aten.mm"] == product + (product - (8 * 16 - 1) * 4)
    assert traffic.bytes_accessed == sum(traffic.by_operator.values())


def test_inference_mode_counts_the_parts_and_not_the_whole() -> None:
    layer, x = nn.Linear(32, 16), torch.randn(8, 32)
    with torch.inference_mode():
        assert bytes_of(lambda: layer(x)) == (8 * 32 + 32 * 16 + 8 * 16 + 16) * 4


def test_two_counters_agree_when_one_is_inside_the_other() -> None:
    x = torch.randn(4, 4)

    def twice() -> Tensor:
        return x @ x

    with TrafficCounter() as outer:
        inner = bytes_of(twice)
    assert outer.bytes_accessed == inner == 2 * 64
