"""Ordered execution of every architecture that ships, on groups found by tracing, against cut models."""

import random

import pytest
import torch

from paretorch.methods.width.extract import extract
from paretorch.methods.width.ordered import OrderedModel
from paretorch.methods.width.tracing import find_groups
from tests.architectures import ARCHITECTURES

SINGLE = {"unet"}  # makes its time features in float32


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_outputs_and_gradients_at_random_profiles_are_those_of_the_cut_model(name: str) -> None:
    architecture = ARCHITECTURES[name]
    torch.manual_seed(0)
    dtype, rtol, atol = (torch.float32, 1e-3, 1e-4) if name in SINGLE else (torch.float64, 1e-9, 1e-11)
    model = architecture.build().to(dtype).eval()
    inputs = tuple(x.to(dtype) if x.is_floating_point() else x for x in architecture.inputs())
    groups = find_groups(model, inputs)
    ordered, stream = OrderedModel(model, groups), random.Random(0)
    names = dict.fromkeys(axis.tensor for axis in groups.axes)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    for _ in range(2):
        profile = tuple(stream.randint(1, size) for size in groups.full)
        cut = extract(model, groups, profile)
        with ordered.at(profile):
            sliced = model(*inputs)
            sliced.square().sum().backward()
        expected = cut(*inputs)
        torch.testing.assert_close(sliced, expected, rtol=rtol, atol=atol)
        expected.square().sum().backward()
        scaled = {f"{norm.module}.weight" for norm in groups.rms}
        for key, small in cut.named_parameters():
            if key not in scaled:
                gradient = model.get_parameter(key).grad
                used = ordered.used(key, profile) if key in names else torch.ones_like(gradient, dtype=torch.bool)
                assert not gradient[~used].any(), key
                torch.testing.assert_close(gradient[used].reshape(small.shape), small.grad, rtol=rtol, atol=atol)
        model.zero_grad()
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
