"""One step against closed forms: weights, penalties, accumulation, clipping, learning rates, precision."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.methods.method import Method, Run, StepResult
from paretorch.training.settings import TrainSettings
from paretorch.training.trainer import Trainer
from tests.training.problems import gradient, linear_task, normed_task, plain

WHOLE = torch.arange(24)
EVEN = torch.full((24,), 1 / 24, dtype=torch.float64)


def one_step(methods: list[Method], **settings: Any) -> tuple[nn.Linear, nn.Linear, dict[str, Tensor], dict[str, Any]]:
    """Model before and after one step of size 1 on the whole training set, its batch, and the point of the curve."""
    trainer = Trainer(linear_task(), plain(24, lr=1.0, **settings))
    model = trainer.model()
    before = copy.deepcopy(model)
    curve = trainer.fit(model, phase="dense", num_steps=1, methods=methods).curve
    return before, model, trainer.train_set.batch(WHOLE), curve[0]


def test_plain_step_is_the_gradient_of_the_mean_loss() -> None:
    before, after, batch, point = one_step([])
    weight, bias = gradient(before, batch["inputs"], batch["targets"], EVEN)
    torch.testing.assert_close(after.weight, before.weight - weight, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(after.bias, before.bias - bias, rtol=1e-12, atol=1e-12)
    residuals = before(batch["inputs"]) - batch["targets"]
    assert point["train_loss"] == pytest.approx(residuals.square().mean().item(), rel=1e-12)


def test_weights_multiply_the_loss_of_the_example_they_belong_to() -> None:
    class Weighs(Method):
        def weigh(self, run: Run, index: Tensor, losses: Tensor) -> Tensor:
            seen.append((index, losses))
            return index.double() / 10

    seen: list[tuple[Tensor, Tensor]] = []
    before, after, batch, _ = one_step([Weighs()])
    weight, bias = gradient(before, batch["inputs"], batch["targets"], WHOLE.double() / 240)
    torch.testing.assert_close(after.weight, before.weight - weight, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(after.bias, before.bias - bias, rtol=1e-12, atol=1e-12)
    index, losses = seen[0]
    assert index.sort().values.tolist() == WHOLE.tolist()
    assert not losses.requires_grad
    by_hand = (before(batch["inputs"]) - batch["targets"]).square().squeeze(1)
    torch.testing.assert_close(losses, by_hand[index].detach(), rtol=1e-12, atol=1e-12)


def test_weights_of_two_methods_multiply_and_none_means_one() -> None:
    class Weighs(Method):
        def __init__(self, name: str, factor: float | None) -> None:
            self.name, self.factor = name, factor

        def weigh(self, run: Run, index: Tensor, losses: Tensor) -> Tensor | None:
            return None if self.factor is None else torch.full_like(losses, self.factor)

    before, after, batch, _ = one_step([Weighs("a", 2.0), Weighs("b", None), Weighs("c", 0.25)])
    weight, _ = gradient(before, batch["inputs"], batch["targets"], EVEN / 2)
    torch.testing.assert_close(after.weight, before.weight - weight, rtol=1e-12, atol=1e-12)


def test_weights_of_a_shape_that_would_broadcast_are_refused() -> None:
    class Column(Method):
        name = "column"

        def weigh(self, run: Run, index: Tensor, losses: Tensor) -> Tensor:
            return losses[:, None]

    with pytest.raises(InputError, match=r"'column' gave weights of shape \(24, 1\) for losses of shape \(24,\)"):
        one_step([Column()])


class Ridge(Method):
    """strength * sum of squared weights."""

    def __init__(self, name: str = "ridge", strength: float = 0.5) -> None:
        self.name, self.strength = name, strength

    def penalty(self, run: Run) -> Tensor:
        return self.strength * run.model.weight.square().sum()


@pytest.mark.parametrize("accumulate", [1, 3])
def test_penalties_add_their_gradient_once_however_many_micro_batches_there_are(accumulate: int) -> None:
    before, after, batch, point = one_step([Ridge("a", 0.5), Ridge("b", 0.125)], accumulate=accumulate)
    weight, _ = gradient(before, batch["inputs"], batch["targets"], EVEN)
    expected = before.weight - weight - 2 * 0.625 * before.weight
    torch.testing.assert_close(after.weight, expected, rtol=1e-12, atol=1e-12)
    loss = (before(batch["inputs"]) - batch["targets"]).square().mean() + 0.625 * before.weight.square().sum()
    assert point["train_loss"] == pytest.approx(loss.item(), rel=1e-12)


@pytest.mark.parametrize("accumulate", [2, 4])
def test_accumulated_micro_batches_equal_the_whole_batch(accumulate: int) -> None:
    whole, parts = (Trainer(linear_task(), plain(12, momentum=0.9, lr=0.01, accumulate=k)) for k in (1, accumulate))
    first, second = whole.model(), parts.model()
    whole.fit(first, phase="dense", num_steps=6)
    parts.fit(second, phase="dense", num_steps=6)
    torch.testing.assert_close(first.weight, second.weight, rtol=1e-12, atol=1e-12)


def test_accumulation_weighs_unequal_micro_batches_by_their_size() -> None:
    class FiveExamples:
        def batch(self, step: int) -> Tensor:
            return torch.arange(5)

        def state_dict(self) -> dict[str, Any]:
            return {}

        def load_state_dict(self, state: dict[str, Any]) -> None: ...

    class Few(Method):
        def data(self, run: Run) -> None:
            run.sampler = FiveExamples()

    before, after, batch, _ = one_step([Few()], accumulate=2)  # micro-batches of three and two
    inputs, targets = batch["inputs"][:5], batch["targets"][:5]
    weight, _ = gradient(before, inputs, targets, torch.full((5,), 1 / 5, dtype=torch.float64))
    torch.testing.assert_close(after.weight, before.weight - weight, rtol=1e-12, atol=1e-12)


class Scales(Method):
    """Multiplies the gradients, and looks at them at both hooks."""

    name = "scales"

    def __init__(self, factor: float) -> None:
        self.factor, self.seen = factor, {}

    def before_update(self, run: Run) -> None:
        run.model.weight.grad.mul_(self.factor)
        run.model.bias.grad.mul_(self.factor)
        self.seen["before"] = torch.cat([p.grad.flatten().clone() for p in run.model.parameters()])

    def after_update(self, run: Run) -> None:
        self.seen["after"] = torch.cat([p.grad.flatten().clone() for p in run.model.parameters()])


def test_gradients_are_clipped_after_the_methods_have_changed_them() -> None:
    method = Scales(1000.0)
    before, after, _, _ = one_step([method], clip_norm=0.25)
    assert float(method.seen["before"].norm()) > 100
    assert float(method.seen["after"].norm()) == pytest.approx(0.25, rel=1e-5)
    pairs = zip(after.parameters(), before.parameters(), strict=True)
    moved = torch.cat([(new - old).detach().flatten() for new, old in pairs])
    assert float(moved.norm()) == pytest.approx(0.25, rel=1e-5)


def test_gradients_below_the_bound_are_not_touched_by_clipping() -> None:
    loose, unclipped = Scales(1.0), Scales(1.0)
    one_step([loose], clip_norm=1e6)
    one_step([unclipped])
    assert torch.equal(loose.seen["after"], unclipped.seen["after"])


def test_schedule_drives_the_learning_rate_and_groups_scale_it() -> None:
    class Groups(Method):
        def start(self, run: Run) -> None:
            weight, bias = run.model.weight, run.model.bias
            run.optimizers["main"] = torch.optim.SGD([{"params": [weight]}, {"params": [bias], "lr_scale": 0.25}], 1.0)

        def after_update(self, run: Run) -> None:
            rates.append([group["lr"] for group in run.optimizer.param_groups])

    rates: list[list[float]] = []
    trainer = Trainer(linear_task(), plain(24))
    trainer.fit(trainer.model(), phase="dense", num_steps=3, schedule=lambda step: 0.1 / (step + 1), methods=[Groups()])
    assert rates == [[0.1 / n, 0.25 * 0.1 / n] for n in (1, 2, 3)]


def test_without_a_schedule_the_optimizer_keeps_its_own_learning_rate() -> None:
    _, _, _, point = one_step([])
    assert point["lr"] == 1.0


def test_update_of_an_unknown_optimizer_is_refused() -> None:
    class Wrong(Method):
        def training_step(self, run: Run, batch: Any) -> StepResult:
            run.update("generator")
            return StepResult(loss=torch.zeros(()))

    with pytest.raises(InputError, match=r"no optimizer 'generator' in this run; it has \['main'\]"):
        one_step([Wrong()])


def test_optimizer_that_a_method_exchanges_in_the_middle_is_the_one_that_steps() -> None:
    class Exchanges(Method):
        def before_forward(self, run: Run) -> None:
            if run.step == 1:
                run.optimizers["main"] = torch.optim.SGD(run.model.parameters(), lr=0.0)
                self.weight = run.model.weight.detach().clone()

    method = Exchanges()
    trainer = Trainer(linear_task(), plain(24))
    model = trainer.model()
    trainer.fit(model, phase="dense", num_steps=3, methods=[method])
    assert torch.equal(model.weight, method.weight)


def test_replaced_parameter_is_trained_in_the_place_of_the_old_one_with_the_state_it_is_given() -> None:
    class Replaces(Method):
        def before_forward(self, run: Run) -> None:
            if run.step == 1:
                self.old, self.new = run.model.weight, nn.Parameter(torch.zeros_like(run.model.weight))
                state = {"weight": {"momentum_buffer": torch.ones_like(self.new)}}
                run.replace_parameters({"weight": self.new}, state)

    method = Replaces()
    trainer = Trainer(linear_task(), plain(24, lr=1.0, momentum=0.5))
    model = trainer.model()
    result = trainer.fit(model, phase="dense", num_steps=2, methods=[method])
    assert model.weight is method.new
    batch = trainer.train_set.batch(WHOLE)
    replaced = copy.deepcopy(model)
    with torch.no_grad():  # undo the step of the bias: it moved by its momentum buffer
        replaced.weight.zero_()
        replaced.bias.add_(result.optimizer_state["state"][1]["momentum_buffer"])
    weight, _ = gradient(replaced, batch["inputs"], batch["targets"], EVEN)
    torch.testing.assert_close(model.weight.detach(), -(0.5 + weight), rtol=1e-12, atol=1e-12)


def test_replaced_parameter_without_given_state_starts_afresh_and_tied_ones_stay_tied() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(3, 3, dtype=torch.float64)
            self.second = nn.Linear(3, 3, dtype=torch.float64)
            self.second.weight = self.first.weight

        def forward(self, inputs: Tensor) -> Tensor:
            return self.second(self.first(inputs)).sum(1, keepdim=True)

    class Replaces(Method):
        def before_forward(self, run: Run) -> None:
            if run.step == 1:
                run.replace_parameters({"second.weight": nn.Parameter(run.model.first.weight.detach() + 1)})
                assert run.model.first.weight is run.model.second.weight
                assert run.model.first.weight not in run.optimizer.state

    task = linear_task()
    task._factory = Tied
    trainer = Trainer(task, plain(24, lr=0.01, momentum=0.9))
    model = trainer.model()
    trainer.fit(model, phase="dense", num_steps=3, methods=[Replaces()])
    assert model.first.weight is model.second.weight


@pytest.mark.parametrize(
    ("names", "state", "message"),
    [
        (["missing"], {}, r"cannot replace \['missing'\]: the model has no such parameter"),
        (["weight"], {"bias": {}}, r"state was given for \['bias'\], which are not being replaced"),
    ],
)
def test_replacing_what_is_not_there_is_refused(names: list[str], state: dict[str, Any], message: str) -> None:
    class Replaces(Method):
        def start(self, run: Run) -> None:
            run.replace_parameters({name: nn.Parameter(torch.zeros(1, 3)) for name in names}, state)

    with pytest.raises(InputError, match=message):
        one_step([Replaces()])


class Dtypes(Method):
    """Notes the dtype that a matrix product has at each hook."""

    name = "dtypes"

    def __init__(self) -> None:
        self.seen: dict[str, torch.dtype] = {}

    def note(self, hook: str) -> None:
        self.seen[hook] = (torch.ones(2, 2) @ torch.ones(2, 2)).dtype

    def penalty(self, run: Run) -> None:
        self.note("penalty")

    def before_update(self, run: Run) -> None:
        self.note("before_update")

    def after_update(self, run: Run) -> None:
        self.note("after_update")


class OwningDtypes(Dtypes):
    def training_step(self, run: Run, batch: Any) -> StepResult:
        self.note("training_step")
        loss = run.task.loss(run.wrapped, batch)
        run.backward(loss)
        run.update()
        return StepResult(loss=loss.detach())


@pytest.mark.parametrize("kind", [Dtypes, OwningDtypes])
def test_bf16_covers_the_forward_pass_and_leaves_updates_and_weights_in_full_precision(kind: type[Dtypes]) -> None:
    method = kind()
    trainer = Trainer(normed_task(), plain(16, precision="bf16"))
    model = trainer.model()
    result = trainer.fit(model, phase="dense", num_steps=8, methods=[method])
    hook = "penalty" if kind is Dtypes else "training_step"
    assert method.seen == {
        hook: torch.bfloat16,
        "before_update": torch.float32,
        "after_update": torch.float32,
    }
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert result.validation["accuracy"] > 1 / 3
    full = Trainer(normed_task(), plain(16))
    exact = full.model()
    full.fit(exact, phase="dense", num_steps=8)
    difference = max((a - b).abs().max().item() for a, b in zip(model.parameters(), exact.parameters(), strict=True))
    assert 0 < difference < 0.1


def test_trainers_of_different_precision_do_not_change_each_other() -> None:
    method = Dtypes()
    full = Trainer(normed_task(), plain(16))
    half = Trainer(normed_task(), plain(16, precision="bf16"))
    full.fit(full.model(), phase="dense", num_steps=1, methods=[method])
    assert method.seen["penalty"] == torch.float32
    half.fit(half.model(), phase="dense", num_steps=1, methods=[method])
    assert method.seen["penalty"] == torch.bfloat16


def test_cudnn_stays_on_and_as_it_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[bool, bool, bool, bool]] = []

    def flags() -> tuple[bool, bool, bool, bool]:
        cudnn = torch.backends.cudnn
        return cudnn.enabled, cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32

    class Looks(Method):
        def before_forward(self, run: Run) -> None:
            seen.append(flags())

    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    before = flags()
    one_step([Looks()])
    assert seen == [(True, True, False, False)]
    assert flags() == before


@pytest.mark.skipif(torch.accelerator.is_available(), reason="needs a machine without an accelerator")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "cuda"}, "device='cuda' was asked for, but only 'cpu' can be used"),
        ({"precision": "fp16"}, "precision='fp16' needs an accelerator, and the device is 'cpu'"),
    ],
)
def test_device_or_precision_that_is_not_to_be_had_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Trainer(linear_task(), TrainSettings(batch_size=8, **settings))
