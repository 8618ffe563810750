"""Stochastic weight averaging in the trainer, against means by hand and torch's own averaged model."""

from collections.abc import Callable, Sequence
from itertools import permutations
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, update_bn

from paretorch.errors import InputError, MaskViolationError
from paretorch.methods.averaging.batchnorm import reestimate_batchnorm
from paretorch.methods.averaging.running_mean import RunningMean
from paretorch.methods.averaging.swa import SWA
from paretorch.methods.method import Method, Run
from paretorch.methods.sparsity.enforcement import MaskEnforcement
from paretorch.methods.sparsity.magnitude import magnitude_masks
from paretorch.methods.sparsity.masks import Masks
from paretorch.training.run import RunDirectory
from paretorch.training.trainer import Trainer
from tests.methods.averaging.states import same_bits
from tests.training.problems import normed_task, plain

STEPS = 20  # five epochs of four steps


class Watch(Method):
    """Keeps the weights after every step, and anything else that happens at a step."""

    name = "watch"

    def __init__(self, at: dict[int, Callable[[Run], None]] | None = None) -> None:
        self.at, self.seen = at or {}, {}

    def before_forward(self, run: Run) -> None:
        self.note(run)
        self.at.get(run.step, lambda _run: None)(run)

    def note(self, run: Run) -> None:
        self.seen[run.step] = {n: p.detach().clone() for n, p in run.model.named_parameters()}

    def finish(self, run: Run) -> None:
        self.note(run)


def fit(methods: Sequence[Method], *, directory: RunDirectory | None = None, steps: int = STEPS) -> nn.Module:
    settings = plain(16, momentum=0.9, checkpoint_seconds=0.0)
    trainer = Trainer(normed_task(), settings, seed=2, directory=directory)
    model = trainer.model()
    trainer.fit(model, phase="only", num_steps=steps, methods=methods)
    return model


def masks() -> Masks:
    model = Trainer(normed_task(), plain(16), seed=2).model()
    return magnitude_masks(model, sparsity=0.6)


def mean_of(seen: dict[int, dict[str, Tensor]], steps: Sequence[int]) -> dict[str, Tensor]:
    return {name: (sum(seen[step][name].double() for step in steps) / len(steps)).float() for name in seen[steps[0]]}


@pytest.mark.parametrize(
    ("begin", "every", "steps"),
    [
        (0.75, None, [16, 20]),  # once per epoch
        (0.5, None, [12, 16, 20]),
        (0.75, 1, [16, 17, 18, 19, 20]),
        (0.5, 3, [11, 14, 17, 20]),
        (0.0, 7, [6, 13, 20]),
        (0.0, 100, [20]),
        (0.9, 2, [20]),
    ],
)
def test_the_model_ends_with_the_mean_of_the_weights_after_exactly_these_steps(
    begin: float, every: int | None, steps: list[int]
) -> None:
    watch, swa = Watch(), SWA(begin=begin, every=every)
    model = fit([watch, swa])
    assert swa.mean.count == len(steps)
    for name, mean in mean_of(watch.seen, steps).items():
        assert torch.equal(model.get_parameter(name).detach(), mean), name


def test_the_mean_is_that_of_torchs_averaged_model() -> None:
    watch, swa = Watch(), SWA(begin=0.5, every=1)
    model = fit([watch, swa])
    reference = AveragedModel(model)
    for step in range(11, STEPS + 1):
        snapshot = fit([], steps=0)
        snapshot.load_state_dict({**snapshot.state_dict(), **watch.seen[step]})
        reference.update_parameters(snapshot)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter, reference.module.get_parameter(name), rtol=1e-6, atol=1e-7)


def test_training_goes_on_as_without_averaging() -> None:
    plainly, averaged = Watch(), Watch()
    fit([plainly])
    fit([averaged, SWA(begin=0.0, every=1)])
    for step in range(STEPS + 1):
        assert all(torch.equal(averaged.seen[step][name], value) for name, value in plainly.seen[step].items()), step


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_pruned_weights_stay_zero_in_the_mean_in_any_order_of_the_methods(order: tuple[int, ...]) -> None:
    found, watch, swa = masks(), Watch(), SWA(begin=0.25, every=1)
    parts: list[Method] = [MaskEnforcement(found), swa, watch]
    seen: list[Tensor] = []
    watch.at = {10: lambda run: seen.append(inside(swa, run))}

    def inside(swa: SWA, run: Run) -> Tensor:
        with swa.evaluation_weights(run):
            found.check(run.model)
            return torch.cat([p.detach().flatten() for p in run.model.parameters()])

    model = fit([parts[i] for i in order])
    for name, mask in found.items():
        assert not model.get_parameter(name).detach().view(torch.int32)[~mask].any()
        assert model.get_parameter(name).detach()[mask].ne(0).all()
    assert len(seen) == 1
    reference = fit([MaskEnforcement(found), SWA(begin=0.25, every=1)])
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), reference.parameters(), strict=True))


def test_weights_that_are_pruned_while_it_averages_are_zero_in_the_mean() -> None:
    loose = masks()
    tight = loose.intersection(Masks({name: torch.rand(mask.shape) < 0.5 for name, mask in loose.items()}))
    enforcement, swa = MaskEnforcement(loose), SWA(begin=0.0, every=1)
    model = fit([swa, Watch({10: lambda run: enforcement.update(run, tight)}), enforcement])  # checks at its finish
    for name, mask in tight.items():
        assert not model.get_parameter(name).detach().view(torch.int32)[~mask].any()
    assert swa.mean.count == STEPS


def test_a_sum_without_the_rule_for_zeros_would_be_found_by_the_masks() -> None:
    model = fit([], steps=0)
    mean = RunningMean()
    mean.add(model)
    found = masks()
    found.apply_(model)
    mean.add(model)
    mean.apply_(model)
    found.check(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1e-3)
    mean.apply_(model)  # nothing is zero now, so nothing was pruned
    with pytest.raises(MaskViolationError):
        found.check(model)


@pytest.mark.parametrize("stop", [1, 11, 12, 13, 17, 19])
def test_a_phase_that_was_interrupted_and_resumed_ends_with_the_same_bits(stop: int, tmp_path: Path) -> None:
    def dies(_run: Run) -> None:
        raise OSError("the machine went down")

    def parts(at: dict[int, Callable[[Run], None]]) -> list[Method]:
        return [MaskEnforcement(masks()), SWA(begin=0.5, every=2, reestimate=renewed), Watch(at)]

    whole = fit(parts({}))
    with (
        pytest.raises(OSError, match="went down"),
        RunDirectory(tmp_path / "run", recipe="r", resume=True) as directory,
    ):
        fit(parts({stop: dies}), directory=directory)
    for _ in range(2):  # the second time the phase is finished, and only its end is done again
        with RunDirectory(tmp_path / "run", recipe="r", resume=True) as directory:
            resumed = fit(parts({}), directory=directory)
        for name, value in whole.state_dict().items():
            assert same_bits(resumed.state_dict()[name], value), name


def batches() -> list[Tensor]:
    return list(torch.randn(48, 6, generator=torch.Generator().manual_seed(3)).split(16))


def renewed(model: nn.Module) -> int:
    return reestimate_batchnorm(model, batches())


def test_batch_norm_statistics_are_those_of_the_mean() -> None:
    watch = Watch()
    model = fit([watch, SWA(begin=0.5, every=1, reestimate=renewed)])
    reference = fit([watch, SWA(begin=0.5, every=1)])
    stale = reference.state_dict()["layers.1.running_mean"].clone()
    reference.layers[3].p = 0.0  # torch's function draws dropout
    update_bn(batches(), reference)
    for name, value in reference.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, msg=name)
    assert not torch.allclose(stale, model.state_dict()["layers.1.running_mean"])


def test_validation_sees_the_mean_so_far_and_training_gets_its_weights_back() -> None:
    swa, watch = SWA(begin=0.5, every=2, reestimate=renewed), Watch()
    looked: list[bool] = []

    def look(run: Run) -> None:
        before = {name: value.clone() for name, value in run.model.state_dict().items()}
        with swa.evaluation_weights(run):
            means = mean_of(watch.seen, [12, 14])
            looked.extend(torch.equal(run.model.get_parameter(name), mean) for name, mean in means.items())
            looked.append(not torch.equal(run.model.layers[1].running_mean, before["layers.1.running_mean"]))
        looked.extend(same_bits(run.model.state_dict()[name], value) for name, value in before.items())

    watch.at = {15: look}
    fit([watch, swa])
    assert looked
    assert all(looked)


def test_before_the_first_moment_validation_sees_the_weights_themselves() -> None:
    swa = SWA(begin=0.5)
    looked: list[bool] = []

    def look(run: Run) -> None:
        before = [p.detach().clone() for p in run.model.parameters()]
        with swa.evaluation_weights(run):
            looked.extend(torch.equal(a, b) for a, b in zip(before, run.model.parameters(), strict=True))

    fit([Watch({3: look}), swa])
    assert looked
    assert all(looked)


def test_the_weights_come_back_after_an_error_in_validation() -> None:
    swa = SWA(begin=0.0, every=1)

    def look(run: Run) -> None:
        before = [p.detach().clone() for p in run.model.parameters()]
        with pytest.raises(ZeroDivisionError), swa.evaluation_weights(run):
            raise ZeroDivisionError
        assert all(torch.equal(a, b) for a, b in zip(before, run.model.parameters(), strict=True))

    fit([Watch({9: look}), swa])


def test_a_phase_without_steps_leaves_the_weights() -> None:
    model = fit([SWA(begin=0.0, every=1)], steps=0)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), fit([], steps=0).parameters(), strict=True))


@pytest.mark.parametrize("count", [2, 3, 7])
def test_equal_weights_have_themselves_as_their_mean_bitwise(count: int) -> None:
    model = nn.Linear(31, 17)
    before = model.weight.detach().clone()
    mean = RunningMean()
    for _ in range(count):
        mean.add(model)
    mean.apply_(model)
    assert same_bits(model.weight.detach(), before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.complex64])
def test_the_mean_has_the_dtype_of_the_weights(dtype: torch.dtype) -> None:
    model = nn.Linear(2, 1, bias=False, dtype=dtype)
    mean = RunningMean()
    for value in (1.0, 2.0, 6.0):
        nn.init.constant_(model.weight, value)
        mean.add(model)
    mean.apply_(model)
    assert torch.equal(model.weight.detach(), torch.full((1, 2), 3.0, dtype=dtype))


def test_a_model_whose_shapes_change_in_between_has_no_mean() -> None:
    mean = RunningMean()
    with pytest.raises(InputError, match="no mean of no moments"):
        mean.weights(nn.Linear(2, 3))
    mean.add(nn.Linear(2, 3))
    with pytest.raises(InputError, match=r"came, went or changed their shape .* \['bias', 'weight'\]"):
        mean.add(nn.Linear(2, 4))
    with pytest.raises(InputError, match=r"\['bias'\]"):
        mean.add(nn.Linear(2, 3, bias=False))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"begin": 1.0}, r"in \[0, 1\); got 1\.0"),
        ({"begin": -0.1}, r"in \[0, 1\); got -0\.1"),
        ({"begin": float("nan")}, r"in \[0, 1\); got nan"),
        ({"every": 0}, "at least 1; got 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float], words: str) -> None:
    with pytest.raises(InputError, match=words):
        SWA(**settings)
