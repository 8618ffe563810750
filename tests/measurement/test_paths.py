import pytest
import torch
from torch import Tensor, nn

from paretorch.measurement import paths
from paretorch.measurement.paths import dense_fp32_paths, latency_ratios
from tests.measurement.clocks import FakeMachine


def small_cnn() -> nn.Module:
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)]
    return nn.Sequential(*layers).eval()


@torch.no_grad()
def test_every_dense_path_gives_the_eager_outputs() -> None:
    model, x = small_cnn(), torch.randn(2, 3, 8, 8)
    found = dense_fp32_paths(model, x)
    assert list(found.calls) == ["eager", "channels_last", "onednn"]
    assert found.refused == {}
    for call in found.calls.values():
        assert torch.allclose(call(), model(x), atol=1e-5)


@torch.no_grad()
def test_a_path_with_other_numbers_is_refused_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def coarse(model: nn.Module) -> nn.Module:
        return nn.Sequential(model, nn.Hardtanh(-1e-3, 1e-3))

    def broken(model: nn.Module) -> nn.Module:
        raise NotImplementedError("no such kernel\nlong story")

    monkeypatch.setattr(paths, "_channels_last", coarse)
    monkeypatch.setattr(paths, "_repacked", broken)
    found = dense_fp32_paths(small_cnn(), torch.randn(2, 3, 8, 8))
    assert list(found.calls) == ["eager"]
    assert "its outputs differ from eager's" in found.refused["channels_last"]
    assert found.refused["onednn"] == "NotImplementedError: no such kernel"


def test_a_baseline_of_lower_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="must compute in float32; this one computes in bfloat16"):
        dense_fp32_paths(nn.Linear(3, 2).bfloat16(), torch.ones(1, 3).bfloat16())
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(ValueError, match="autocast bfloat16"):
        dense_fp32_paths(nn.Linear(3, 2), torch.ones(1, 3))


def test_the_ratios_are_against_eager_and_against_the_best_dense_path(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = FakeMachine()

    class Timed(nn.Module):
        def __init__(self, seconds: float) -> None:
            super().__init__()
            self.seconds = seconds

        def forward(self, x: Tensor) -> Tensor:
            machine.pass_time(self.seconds)
            return x

    monkeypatch.setattr(paths, "_channels_last", lambda model: Timed(3.0))
    result = latency_ratios(
        Timed(6.0), lambda: machine.pass_time(1.5), torch.ones(1, 3, 2, 2), rounds=3, clock=machine.clock
    )
    assert result.best_dense == "channels_last"
    assert result.vs_eager.value == pytest.approx(4.0)
    assert result.vs_best_dense.value == pytest.approx(2.0)
    assert result.timings["candidate"].p50_s == 1.5
