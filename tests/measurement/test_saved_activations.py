import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from paretorch.measurement.saved_activations import SavedActivations


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 8))


def test_an_mlp_keeps_its_input_and_what_the_relu_gave() -> None:
    model, x = mlp(), torch.randn(16, 32)
    with SavedActivations(model) as saved:
        loss = model(x).sum()
    assert saved.peak_bytes == 16 * 32 * 4 + 16 * 64 * 4 == 6_144
    del loss
    with SavedActivations(model) as step:
        model(x).sum().backward()
    assert step.peak_bytes == 6_144


def test_frozen_first_layers_keep_no_input() -> None:
    model = mlp()
    model[0].requires_grad_(False)
    with SavedActivations(model) as saved:
        model(torch.randn(16, 32)).sum()
    assert saved.peak_bytes == 16 * 64 * 4  # for the second weight's gradient only


def test_without_gradients_nothing_is_kept() -> None:
    model = mlp()
    with SavedActivations(model) as saved, torch.no_grad():
        model(torch.randn(16, 32))
    assert saved.peak_bytes == 0


def test_the_bytes_scale_with_the_batch_and_halve_with_the_precision() -> None:
    for batch in (1, 40):
        for dtype in (torch.float32, torch.bfloat16):
            model = mlp().to(dtype)
            with SavedActivations(model) as saved:
                model(torch.randn(batch, 32, dtype=dtype)).sum()
            assert saved.peak_bytes == batch * 96 * dtype.itemsize


class Stack(nn.Module):
    def __init__(self, segments: int, reentrant: bool = False) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(64, 64, bias=False) for _ in range(8))
        self.segments, self.reentrant = segments, reentrant

    def part(self, start: int, end: int, x: Tensor) -> Tensor:
        for layer in self.layers[start:end]:
            x = layer(x).tanh()
        return x

    def forward(self, x: Tensor) -> Tensor:
        if not self.segments:
            return self.part(0, 8, x)
        size = 8 // self.segments
        for start in range(0, 8, size):
            x = checkpoint(self.part, start, start + size, x, use_reentrant=self.reentrant)
        return x


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpointed_model_keeps_one_activation_per_segment(reentrant: bool) -> None:
    activation = 256 * 64 * 4
    kept = {}
    for segments in (0, 2, 4):
        model = Stack(segments, reentrant)
        with SavedActivations(model) as saved:
            model(torch.randn(256, 64, requires_grad=True)).sum().backward()
        kept[segments] = saved.peak_bytes
        assert all(layer.weight.grad is not None for layer in model.layers)
    # plain: the input and the output of every tanh, which is the next layer's input
    assert kept == {0: 9 * activation, 2: 2 * activation, 4: 4 * activation}


def test_what_is_freed_between_two_passes_is_not_added_up() -> None:
    model = mlp()
    with SavedActivations(model) as saved:
        for _ in range(3):
            model(torch.randn(16, 32)).sum().backward()
    assert saved.peak_bytes == 6_144
    assert saved.current_bytes == 0
    with SavedActivations(model) as both:
        losses = [model(torch.randn(16, 32)).sum() for _ in range(3)]
        torch.stack(losses).sum().backward()
    assert both.peak_bytes == 3 * 6_144


def test_the_models_own_tensors_are_no_activations() -> None:
    model = nn.Sequential(nn.BatchNorm1d(32), nn.Linear(32, 4)).eval()  # the norm keeps its running statistics
    with SavedActivations(model) as saved:
        model(torch.randn(16, 32)).sum()
    assert saved.peak_bytes == 2 * 16 * 32 * 4


def test_counting_changes_no_gradient() -> None:
    model, x = mlp(), torch.randn(16, 32)
    model(x).square().sum().backward()
    expected = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    with SavedActivations(model):
        model(x).square().sum().backward()
    assert all(torch.equal(p.grad, e) for p, e in zip(model.parameters(), expected, strict=True))


def test_only_modules_are_accepted() -> None:
    with pytest.raises(TypeError, match=r"must be a torch.nn.Module; got dict"):
        SavedActivations({})  # type: ignore[arg-type]
