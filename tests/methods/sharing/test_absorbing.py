"""Which batch norms alone read a layer's output, found by watching one forward pass."""

import torch
from torch import Tensor, nn

from paretorch.methods.sharing.absorbing import following_norms
from tests.methods.sharing.networks import CONVS, NORMS, images, network, wide


class Branches(nn.Module):
    """Layers whose output goes to a norm, and in some cases elsewhere too."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("alone", "viewed", "added", "returned", "twice", "two_norms", "late"):
            setattr(self, name, nn.Linear(4, 4))
        for name in ("a", "b", "c", "d", "e", "f", "g", "h", "i"):
            setattr(self, name, nn.BatchNorm1d(4))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.a(self.alone(x))
        y = self.viewed(x)
        x = self.b(y) + y.view(-1, 4)
        y = self.added(x)
        x = self.c(y) + y
        kept = self.returned(x)
        x = self.d(kept)
        x = self.e(self.twice(x)) + self.twice(x)
        y = self.two_norms(x)
        x = self.f(y) + self.g(y)
        y = self.late(x)
        x = self.h(y.relu())
        return self.i(x), kept


def test_only_a_layer_that_runs_once_and_is_read_by_one_norm_alone_is_found() -> None:
    model, inputs = Branches(), torch.randn(3, 4)
    assert following_norms(model, inputs) == {"alone": "a"}


def test_the_pairs_of_a_plain_network_are_its_convolutions_and_their_norms() -> None:
    model = network()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    assert following_norms(model, images()) == NORMS
    assert model.training
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert not any(model.get_submodule(name)._forward_hooks for name in CONVS)


def test_in_a_pre_activation_network_first_convolutions_of_blocks_have_a_norm_and_second_ones_a_shortcut() -> None:
    model = wide(depth=16, templates=1)
    found = following_norms(model, torch.randn(1, 3, 8, 8))
    blocks = [f"layer{stage}.{block}" for stage in (1, 2, 3) for block in (0, 1)]
    assert found == {f"{block}.conv1": f"{block}.bn2" for block in blocks}
