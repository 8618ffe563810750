"""Layers that share templates train otherwise than layers of the same weights that do not."""

import torch
from torch import nn

from paretorch.methods.sharing.templates import share_
from tests.methods.trajectories import difference, trained


def equal_layers() -> nn.Sequential:
    """A perceptron with two layers of one shape in the middle."""
    torch.manual_seed(0)
    middle = (nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh())
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Tanh(), *middle, nn.Linear(8, 4)).double()


def test_layers_that_share_a_template_leave_the_trajectory_of_the_same_weights() -> None:
    shared, free = equal_layers(), equal_layers()
    share_(shared, templates=1)
    with torch.no_grad():
        for name in ("3", "5"):
            free.get_submodule(name).weight.copy_(shared.get_submodule(name).weight)
    trained(shared)
    alone = trained(free)
    together = {f"{name}.weight": shared.get_submodule(name).weight.detach() for name in ("3", "5")}
    assert difference(together, {name: alone[name] for name in together}) > 1e-3
