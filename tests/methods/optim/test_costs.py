"""The cost model of AvaGrad, compared with the state it keeps and the bytes that its operations read and write."""

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from paretorch.methods.catalogue import cards
from paretorch.methods.cost_model import layer_shapes
from paretorch.methods.optim import AvaGrad

INPUTS = torch.randn(5, 20)


def perceptron() -> nn.Sequential:
    """Without biases, so that the layers' weights are all parameters."""
    return nn.Sequential(nn.Linear(20, 16, bias=False), nn.ReLU(), nn.Linear(16, 4, bias=False))


class Traffic(TorchDispatchMode):
    """Bytes that elementwise operations over lists read and write; an operand that is given twice counts once."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if "_foreach_" in func.name():
            lists = [each for each in args if isinstance(each, list)]
            read = {t.data_ptr(): t for tensors in lists for t in tensors if isinstance(t, Tensor)}
            written = lists[0] if func.name().partition(".")[0].endswith("_") else made
            self.bytes += sum(t.nbytes for t in [*read.values(), *written] if t.numel() > 1)
        return made


def test_it_keeps_the_predicted_state_and_moves_the_predicted_bytes() -> None:
    model = perceptron()
    optimizer = AvaGrad(model.parameters(), foreach=True)
    model(INPUTS).sum().backward()
    with Traffic() as traffic:
        optimizer.step()
    effects = cards()["avagrad"].effects(layer_shapes(model, INPUTS), batch=5)
    state = [t for p in model.parameters() for t in optimizer.state[p].values() if t.dim()]
    assert sum(t.nbytes for t in state) == effects["optimizer_bytes"].added
    assert traffic.bytes == effects["bytes_moved"].added
    assert {effect.factor for effect in effects.values()} == {1.0}
