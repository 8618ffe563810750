"""Two models are told apart by their outputs, to the last bit on the CPU, and both are left as they were."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from paretorch.artefacts.outputs import require_same_outputs
from paretorch.errors import InputError


class Gives(nn.Module):
    """Returns what a function makes of its input."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


X = torch.tensor([[1.0, float("nan")]])


@pytest.mark.parametrize(
    "function", [lambda x: x, lambda x: {"a": [x, (x, None)], "b": 3}, lambda x: ("text", True, x), torch.rand_like]
)
def test_equal_outputs_of_any_nesting_pass_and_randomness_is_the_same_for_both(function) -> None:
    random = torch.get_rng_state()
    require_same_outputs(Gives(function), Gives(function), X)
    assert torch.get_rng_state().equal(random)


@pytest.mark.parametrize(
    ("one", "other", "place"),
    [
        (lambda x: x, lambda x: x * (1 + 2**-23), "output"),
        (lambda x: x, lambda x: x[:, :1], "output"),
        (lambda x: x, lambda x: x.double(), "output"),
        (lambda x: x, lambda x: [x], r"output \(Tensor against list\)"),
        (lambda x: {"a": x, "b": (x, x)}, lambda x: {"a": x, "b": (x, x + 1)}, r"output\.b\.1"),
        (lambda x: {"a": x}, lambda x: {"a": x, "b": x}, r"output \(keys \['b'\]\)"),
        (lambda x: [x], lambda x: [x, x], r"output \(lengths 1 and 2\)"),
        (lambda x: (x, 3), lambda x: (x, 4), r"output\.1"),
    ],
)
def test_the_place_of_the_first_difference_is_named(one, other, place: str) -> None:
    with pytest.raises(InputError, match=rf"other outputs than the saved one, at {place}\."):
        require_same_outputs(Gives(one), Gives(other), X)


def test_a_hair_of_a_batch_norm_epsilon_is_seen_and_buffers_and_modes_are_left_alone() -> None:
    models = [nn.BatchNorm1d(3).train(), nn.BatchNorm1d(3, eps=1.1e-5)]
    inputs = torch.randn(4, 3)
    with pytest.raises(InputError, match="an epsilon"):
        require_same_outputs(*models, inputs)
    assert all(model.training and model.num_batches_tracked == 0 for model in models)


def test_outputs_that_cannot_be_compared_and_calls_that_fail_are_refused() -> None:
    with pytest.raises(InputError, match=r"output\.a is a object, which cannot be compared"):
        require_same_outputs(Gives(lambda x: {"a": object()}), Gives(lambda x: {"a": object()}), X)
    with pytest.raises(InputError, match="the rebuilt model cannot be called on the example inputs"):
        require_same_outputs(Gives(lambda x: x), nn.Linear(3, 3), X)
