"""Gates on the groups that tracing finds, on every architecture: absent units leave the cut model's function."""

import copy

import pytest
import torch

from paretorch.methods.width.gated import GatedModel
from paretorch.methods.width.tracing import find_groups
from tests.architectures import ARCHITECTURES

FLOAT32 = {"unet"}  # embeds times in float32, whatever its weights are


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_shut_gates_and_absent_units_give_the_same_outputs_on_every_architecture(name: str) -> None:
    torch.manual_seed(0)
    dtype, close = (torch.float32, 1e-4) if name in FLOAT32 else (torch.float64, 1e-9)
    model = ARCHITECTURES[name].build().to(dtype).eval()
    inputs = tuple(x.to(dtype) if x.is_floating_point() else x for x in ARCHITECTURES[name].inputs())
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.add_(0.1 * torch.rand_like(tensor))
    groups = find_groups(model, inputs)
    gated = GatedModel(model, groups)
    keep = [
        torch.arange(group.size) if group.name in gated.ungated else torch.arange(group.size)[::2]
        for group in groups.groups
    ]
    assert any(len(units) < group.size for units, group in zip(keep, groups.groups, strict=True))
    shut = [
        torch.zeros(group.size).index_fill_(0, units, 1.0) for units, group in zip(keep, groups.groups, strict=True)
    ]
    small = copy.deepcopy(model)
    gated.plan(keep).apply_(small)
    everything = gated.plan(groups.prefix(groups.full))
    with torch.no_grad():
        expected = small(*inputs)
        with gated.at(everything, shut):
            soft = model(*inputs)
        with gated.at(gated.plan(keep), shut):
            absent = model(*inputs)
    torch.testing.assert_close(absent, expected, rtol=close, atol=close)
    torch.testing.assert_close(soft, expected, rtol=close, atol=close)
