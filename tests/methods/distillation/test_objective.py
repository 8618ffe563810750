"""The distilled loss against autograd on a loss written out by hand, closed forms, and what counts as an example."""

import math
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from paretorch.methods.distillation.features import feature_distance
from paretorch.methods.distillation.objective import divergence
from paretorch.methods.distillation.teacher import Distillation
from paretorch.training.sampler import ShuffledEpochs
from paretorch.training.seeding import stream_seed
from paretorch.training.supervised import SupervisedTask
from paretorch.training.trainer import Trainer
from tests.methods.distillation.lessons import Student, by_hand, classes, fit, large_teacher, start, stepped
from tests.training.problems import plain
from tests.training.test_language import make_task


def assert_stepped(trained: nn.Module, expected: dict[str, Tensor], tolerance: float) -> None:
    for name, parameter in trained.named_parameters():
        torch.testing.assert_close(parameter.detach(), expected[name], rtol=tolerance, atol=tolerance, msg=name)


@pytest.mark.parametrize(("alpha", "temperature"), [(0.9, 4.0), (0.3, 1.0), (1.0, 2.0), (0.5, 50.0)])
def test_one_step_is_that_of_the_loss_written_out_by_hand(alpha: float, temperature: float) -> None:
    teacher = large_teacher()
    trained, _ = fit(Distillation(teacher, alpha=alpha, temperature=temperature))
    model, inputs, targets = start()
    loss = by_hand(model(inputs), teacher.eval()(inputs), targets, alpha=alpha, temperature=temperature)
    assert_stepped(trained, stepped(model, loss), 1e-12)


def test_one_step_in_single_precision_is_near_the_loss_written_out_in_double() -> None:
    teacher = large_teacher(torch.float32)
    trained, _ = fit(Distillation(teacher), task=classes(torch.float32))
    model, inputs, targets = start(classes(torch.float32))
    wide, wide_teacher = model.double(), teacher.double().eval()
    loss = by_hand(wide(inputs.double()), wide_teacher(inputs.double()), targets, alpha=0.9, temperature=4.0)
    expected = {name: value.float() for name, value in stepped(wide, loss).items()}
    assert_stepped(trained, expected, 1e-6)


def test_micro_batches_add_up_to_the_loss_of_each_by_hand() -> None:
    teacher = large_teacher()
    trained, _ = fit(Distillation(teacher), accumulate=3)
    trainer = Trainer(classes(), plain(48), seed=4)
    model = trainer.model()
    order = ShuffledEpochs(48, batch_size=48, seed=stream_seed(4, "only")).batch(0).chunk(3)
    teacher.eval()
    batches = [trainer.train_set.batch(index) for index in order]
    parts = [
        by_hand(model(b["inputs"]), teacher(b["inputs"]), b["targets"], alpha=0.9, temperature=4.0) for b in batches
    ]
    assert_stepped(trained, stepped(model, torch.stack(parts).mean()), 1e-12)


def test_the_curve_shows_the_whole_loss() -> None:
    teacher = large_teacher()
    _, result = fit(Distillation(teacher, features=()))
    model, inputs, targets = start()
    expected = by_hand(model(inputs), teacher.eval()(inputs), targets, alpha=0.9, temperature=4.0)
    assert result.curve[-1]["train_loss"] == pytest.approx(float(expected.detach()), rel=1e-12)


LOGITS = st.lists(st.floats(-8, 8), min_size=4, max_size=4)


@settings(max_examples=50)
@given(student=LOGITS, teacher=LOGITS)
def test_for_a_high_temperature_the_gradient_is_that_of_matching_centred_logits(student, teacher) -> None:
    s = torch.tensor([student], dtype=torch.float64, requires_grad=True)
    t = torch.tensor([teacher], dtype=torch.float64)
    temperature = 1e4
    (gradient,) = torch.autograd.grad(temperature**2 * divergence(s, t, temperature=temperature), s)
    centred = (s.detach() - s.detach().mean()) - (t - t.mean())
    torch.testing.assert_close(gradient, centred / 4, rtol=0.01, atol=1e-2 / 4)


@settings(max_examples=50)
@given(student=LOGITS, teacher=LOGITS, temperature=st.floats(0.5, 20))
def test_the_divergence_is_never_negative_and_zero_for_shifted_logits_alone(student, teacher, temperature) -> None:
    s, t = torch.tensor([student], dtype=torch.float64), torch.tensor([teacher], dtype=torch.float64)
    assert float(divergence(s, t, temperature=temperature)) >= -1e-15
    assert float(divergence(s + 3, s, temperature=temperature)) == pytest.approx(0, abs=1e-14)


def test_two_classes_have_the_closed_form_of_a_coin() -> None:
    s, t = torch.tensor([[0.0, 0.0]], dtype=torch.float64), torch.tensor([[math.log(3), 0.0]], dtype=torch.float64)
    expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert float(divergence(s, t)) == pytest.approx(expected, rel=1e-12)


def test_half_precision_logits_are_compared_in_single_precision() -> None:
    s, t = torch.randn(4, 5, dtype=torch.bfloat16), torch.randn(4, 5, dtype=torch.bfloat16)
    found = divergence(s, t, temperature=2.0)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, divergence(s.double(), t.double(), temperature=2.0).float())


def test_alpha_zero_is_plain_training_bit_by_bit_and_runs_no_teacher() -> None:
    calls: list[int] = []
    teacher = large_teacher()
    teacher.register_forward_hook(lambda *_: calls.append(1))
    plainly, _ = fit(num_steps=5, batch_size=16)
    method = Distillation(teacher, alpha=0.0)
    taught, _ = fit(method, num_steps=5, batch_size=16)
    assert all(torch.equal(value, taught.state_dict()[name]) for name, value in plainly.state_dict().items())
    assert calls == []
    assert method.teacher_passes == 0


class Gaps(SupervisedTask):
    """Classes of four positions, some of which have no label."""

    def loss(self, model: nn.Module, batch: dict[str, Tensor], reduction: str = "mean") -> Tensor:
        logits = model(batch["inputs"])
        return F.cross_entropy(logits.flatten(0, 1), batch["targets"].flatten(), reduction=reduction)

    def metrics(self, model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        labelled = batch["targets"] != -100
        return {"accuracy": (model(batch["inputs"]).argmax(-1) == batch["targets"])[labelled].float()}

    def logits(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        return model(batch["inputs"])


def positions() -> Gaps:
    stream = torch.Generator().manual_seed(3)
    inputs = torch.randn(12, 4, 6, generator=stream, dtype=torch.float64)
    targets = torch.randint(0, 3, (12, 4), generator=stream)
    targets[torch.rand(12, 4, generator=stream) < 0.4] = -100
    data = (inputs, targets)
    return Gaps(partial(nn.Linear, 6, 3, dtype=torch.float64), train=data, evaluation=data, test=data)


def test_positions_without_a_label_teach_nothing() -> None:
    torch.manual_seed(5)
    teacher = nn.Linear(6, 3, dtype=torch.float64)
    trained, _ = fit(Distillation(teacher, alpha=0.6, temperature=3.0), task=positions(), batch_size=12)
    trainer = Trainer(positions(), plain(12), seed=4)
    model, batch = trainer.model(), trainer.train_set.batch(torch.arange(12))
    labelled = batch["targets"] != -100
    assert 0 < labelled.sum() < labelled.numel()
    inputs, targets = batch["inputs"][labelled], batch["targets"][labelled]
    loss = by_hand(model(inputs), teacher(inputs), targets, alpha=0.6, temperature=3.0)
    assert_stepped(trained, stepped(model, loss), 1e-12)


def test_a_language_model_learns_the_next_token_distribution_of_its_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(6)
    task = make_task()
    teacher = task.model()
    seen: list[dict[str, Tensor]] = []
    prepare = task.prepare

    def kept(*given: Any, **more: Any) -> Any:
        seen.append(prepare(*given, **more))
        return seen[-1]

    monkeypatch.setattr(task, "prepare", kept)
    trained, _ = fit(Distillation(teacher, alpha=0.7, temperature=2.0), task=task, batch_size=8)
    model = Trainer(task, plain(8), seed=4).model()
    batch = seen[0]
    student, soft = model(batch["inputs"]).flatten(0, 1), teacher.eval()(batch["inputs"]).flatten(0, 1)
    loss = by_hand(student, soft, batch["targets"].flatten(), alpha=0.7, temperature=2.0)
    assert_stepped(trained, stepped(model, loss), 1e-6)


@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_matched_features_add_two_minus_two_cosines(weight: float) -> None:
    torch.manual_seed(2)
    teacher = Student()
    method = Distillation(teacher, alpha=0.5, features=["first", "norm"], feature_weight=weight)
    trained, _ = fit(method)
    model, inputs, targets = start()
    teacher.eval()
    kept: dict[Any, Tensor] = {}
    for who in (model, teacher):
        for name in ("first", "norm"):
            getattr(who, name).register_forward_hook(lambda _m, _i, out, key=(who, name): kept.update({key: out}))
    logits, soft = model(inputs), teacher(inputs)
    cosines = [F.cosine_similarity(kept[model, n], kept[teacher, n].detach(), dim=1) for n in ("first", "norm")]
    matched = torch.stack([2 * (1 - c).mean() for c in cosines]).mean()
    loss = by_hand(logits, soft, targets, alpha=0.5, temperature=4.0) + weight * matched
    assert_stepped(trained, stepped(model, loss), 1e-12)


def test_features_are_matched_in_direction_and_not_in_scale() -> None:
    ours, theirs = torch.randn(5, 2, 3, dtype=torch.float64), torch.randn(5, 2, 3, dtype=torch.float64)
    found = feature_distance({"a": ours}, {"a": theirs})
    scales = torch.rand(5, 1, 1, dtype=torch.float64) + 0.5
    torch.testing.assert_close(feature_distance({"a": scales * ours}, {"a": theirs}), found)
    assert float(feature_distance({"a": ours}, {"a": 3 * ours})) == pytest.approx(0, abs=1e-15)
    assert float(feature_distance({"a": ours}, {"a": -ours})) == pytest.approx(4)


def test_features_alone_leave_the_labels_loss_whole() -> None:
    torch.manual_seed(2)
    teacher = Student()
    trained, _ = fit(Distillation(teacher, alpha=0.0, features=["last"]))
    model, inputs, targets = start()
    logits = model(inputs)
    matched = 2 * (1 - F.cosine_similarity(logits, teacher.eval()(inputs).detach(), dim=1)).mean()
    assert_stepped(trained, stepped(model, F.cross_entropy(logits, targets) + matched), 1e-12)


def test_features_that_are_zero_have_finite_gradients() -> None:
    zeros = torch.zeros(2, 3, requires_grad=True)
    feature_distance({"a": zeros}, {"a": torch.ones(2, 3)}).backward()
    assert torch.isfinite(zeros.grad).all()
