from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from paretorch.measurement.inputs import as_inputs
from paretorch.measurement.latency import kernel_path_of, latency_of, precision_of
from paretorch.measurement.macs import count_macs
from paretorch.measurement.measure import measure
from paretorch.measurement.memory import model_size
from paretorch.measurement.timing import Clock
from tests.measurement.clocks import FakeMachine


class Recorder(nn.Module):
    """Remembers the batches it was given and takes a second per example on the fake machine."""

    def __init__(self, machine: FakeMachine | None = None) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.seen: list[Tensor] = []
        self.machine = machine

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x)
        if self.machine is not None:
            self.machine.pass_time(float(len(x)))
        return self.layer(x)


def test_cost_holds_size_macs_and_one_latency_per_batch_size() -> None:
    machine = FakeMachine()
    model = Recorder(machine)
    cost = measure(model, torch.randn(2, 3), batch_sizes=(1, 4), seconds=1.0, clock=machine.clock)
    assert (cost.params, cost.payload_bytes, cost.metadata_bytes) == (8, 32, 0)
    assert cost.nonzeros == model_size(model).nonzeros
    assert (cost.macs_dense, cost.macs_nonzero, cost.uncounted) == (6, 6, ())
    assert [entry.batch for entry in cost.latency] == [1, 4]
    assert [entry.p50_s for entry in cost.latency] == [1.0, 4.0]
    assert all(entry.quiet and entry.threads == 1 and entry.device == "cpu" for entry in cost.latency)
    assert (cost.training_flops, cost.seconds, cost.peak_bytes, cost.energy_j) == (None, None, None, None)


def test_every_batch_size_gets_the_examples_repeated_in_order() -> None:
    machine = FakeMachine()
    model, x = Recorder(machine), torch.randn(2, 3)
    measure(model, x, batch_sizes=(5,), clock=machine.clock)
    assert torch.equal(model.seen[0], x[:1])  # counting takes one example
    assert all(torch.equal(batch, x[[0, 1, 0, 1, 0]]) for batch in model.seen[1:])


def test_counting_alone_takes_one_forward_pass_and_no_time() -> None:
    model = Recorder()

    def never() -> float:
        raise AssertionError("the clock was read")

    cost = measure(model, torch.randn(2, 3), latency=False, clock=Clock(wall=never, cpu=never))
    assert cost.latency == ()
    assert len(model.seen) == 1


def test_a_masked_model_reports_fewer_macs_and_the_same_bytes() -> None:
    model = nn.Linear(10, 10, bias=False)
    with torch.no_grad():
        model.weight[:9] = 0
    cost = measure(model, torch.randn(1, 10), latency=False)
    assert (cost.params, cost.nonzeros, cost.macs_dense, cost.macs_nonzero) == (100, 10, 100, 10)
    assert cost.payload_bytes == 400


def test_a_contended_machine_is_flagged_in_the_cost() -> None:
    machine = FakeMachine(load=7.0)
    (entry,) = measure(Recorder(machine), torch.randn(1, 3), clock=machine.clock).latency
    assert not entry.quiet
    assert entry.reason is not None
    assert "load average was 7.0" in entry.reason
    assert entry.p10_s == 1.0


def test_the_thread_count_asked_for_is_used_and_recorded() -> None:
    used = []

    class Threads(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            used.append(torch.get_num_threads())
            return x

    before = torch.get_num_threads()
    (entry,) = measure(Threads(), torch.randn(1, 3), threads=before + 1, seconds=0.0).latency
    assert entry.threads == before + 1
    assert set(used[1:]) == {before + 1}
    assert torch.get_num_threads() == before


def test_another_device_is_measured_on_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Linear(3, 2)
    moved = []
    monkeypatch.setattr(nn.Module, "to", lambda self, place: moved.append((self, place)) or self)
    measure(model, torch.randn(1, 3), device="meta", latency=False)
    ((copied, place),) = moved
    assert copied is not model
    assert place == torch.device("meta")
    measure(model, torch.randn(1, 3), device="cpu", latency=False)
    assert len(moved) == 1  # already there


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"model": lambda x: x}, TypeError, r"model must be a torch\.nn\.Module; got function"),
        ({"example_inputs": 3}, TypeError, "must be a tensor, a tuple of tensors or a mapping .* got int"),
        ({"example_inputs": (torch.ones(1, 3), 4)}, TypeError, r"example_inputs\[1\] must be a tensor; got int"),
        ({"example_inputs": ()}, ValueError, "example_inputs is empty"),
        ({"example_inputs": torch.tensor(1.0)}, ValueError, r"has shape \(\); the first dimension is the batch"),
        ({"example_inputs": torch.ones(0, 3)}, ValueError, r"has shape \(0, 3\)"),
        ({"example_inputs": (torch.ones(1, 3), torch.ones(2, 3))}, ValueError, r"got \{0: 1, 1: 2\}"),
        ({"batch_sizes": (1, 0)}, ValueError, "whole numbers of at least 1; got 0"),
        ({"batch_sizes": (2.0,)}, ValueError, r"whole numbers of at least 1; got 2\.0"),
        ({"threads": 0}, ValueError, "threads must be at least 1; got 0"),
        ({"model": nn.LazyLinear(3)}, ValueError, "weight has no shape yet; run one forward pass"),
        ({"example_inputs": torch.ones(4, 5)}, RuntimeError, r"called as Linear\(float32\(1, 5\)\) in evaluation mode"),
        ({"example_inputs": {"y": torch.ones(4, 3)}}, RuntimeError, r"Linear\(y=float32\(1, 3\)\).*unexpected keyword"),
    ],
)
def test_bad_input_is_refused_with_the_value(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    values: dict[str, Any] = {"model": nn.Linear(3, 2), "example_inputs": torch.ones(1, 3), **arguments}
    with pytest.raises(error, match=message):
        measure(values.pop("model"), values.pop("example_inputs"), **values)


@given(st.integers(1, 5), st.integers(1, 12))
def test_batches_of_any_size_repeat_the_examples_cyclically(have: int, want: int) -> None:
    x = torch.arange(have)
    assert as_inputs((x, x)).with_batch(want).positional[1].tolist() == [i % have for i in range(want)]


@pytest.fixture
def restored_precision() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


def test_the_precision_named_is_the_one_arithmetic_has(restored_precision: None) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3).bfloat16())
    assert precision_of(nn.Linear(3, 3)) == "float32"
    assert precision_of(model) == "bfloat16+float32"
    assert precision_of(nn.ReLU()) == "no parameters"
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert precision_of(nn.Linear(3, 3)) == "float32, autocast bfloat16"
    torch.set_float32_matmul_precision("medium")
    assert precision_of(nn.Linear(3, 3)) == "float32, matmul precision medium"
    assert precision_of(nn.Linear(3, 3).double()) == "float64"  # the setting is about float32 only


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_the_kernel_path_is_recorded() -> None:
    model = nn.Linear(3, 2)
    assert kernel_path_of(model) == "eager"
    assert kernel_path_of(torch.compile(model, backend="eager")) == "compiled"  # type: ignore[arg-type]
    assert kernel_path_of(nn.Sequential(torch.compile(model, backend="eager"))) == "compiled"  # type: ignore[arg-type]
    assert kernel_path_of(torch.jit.trace(model, torch.ones(1, 3))) == "scripted"
    model.compile(backend="eager")
    assert kernel_path_of(model) == "compiled"


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_scripted_model_can_be_counted() -> None:
    scripted = torch.jit.trace(nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 4)), torch.ones(1, 3))
    assert count_macs(scripted, torch.ones(1, 3)).dense == 6 + 8


def test_a_latency_of_no_examples_is_refused() -> None:
    with pytest.raises(ValueError, match="a batch size is 1 or more; got 0"):
        latency_of(lambda: None, batch=0, kernel_path="eager", precision="float32")
