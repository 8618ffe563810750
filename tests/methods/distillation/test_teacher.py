"""A teacher in a training run: what it may not touch, what is refused before a weight moves, and resumption."""

import copy
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from paretorch.errors import InputError
from paretorch.methods.distillation.settings import DistillationSettings
from paretorch.methods.distillation.teacher import Distillation
from paretorch.methods.method import Method, Run
from paretorch.methods.sparsity.enforcement import MaskEnforcement
from paretorch.methods.sparsity.magnitude import magnitude_masks
from paretorch.methods.width.elastic import ElasticTraining
from paretorch.training.run import RunDirectory
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.supervised import SupervisedTask
from paretorch.training.task import Task
from paretorch.training.trainer import Trainer
from tests.methods.distillation.lessons import Student, classes, fit, large_teacher
from tests.training.problems import linear_task, normed_task, plain


def states(model: nn.Module) -> dict[str, Tensor]:
    return copy.deepcopy(model.state_dict())


def test_a_teacher_changes_what_is_learned() -> None:
    alone, _ = fit(num_steps=3)
    taught, _ = fit(Distillation(large_teacher()), num_steps=3)
    assert not torch.equal(alone.first.weight, taught.first.weight)


def test_a_teacher_in_training_mode_answers_in_evaluation_mode() -> None:
    """Batch norm of the batch and dropout would give another lesson in every call."""
    fresh, once = large_teacher(), large_teacher().eval()
    assert fresh.training
    weights = [fit(Distillation(teacher), num_steps=3)[0].first.weight for teacher in (fresh, once)]
    assert torch.equal(*weights)
    assert fresh.training
    assert not once.training


def test_a_teacher_that_is_changed_in_mid_run_goes_on_teaching_as_it_was() -> None:
    class Meddles(Method):
        name = "meddles"

        def after_update(self, run: Run) -> None:
            with torch.no_grad():
                teacher[0].weight.mul_(-1)

    expected, _ = fit(Distillation(large_teacher()), num_steps=4)
    teacher = large_teacher()
    found, _ = fit(Distillation(teacher), Meddles(), num_steps=4)
    assert torch.equal(found.first.weight, expected.first.weight)


def test_the_students_own_model_may_teach_it_as_it_was_at_the_start() -> None:
    """The pipelines hand over the dense model; a copy of it is trained."""
    trainer = Trainer(classes(), plain(48), seed=4)
    model = trainer.model()
    trainer.fit(model, phase="only", num_steps=3, methods=[Distillation(model)])
    other = trainer.model()
    trainer.fit(other, phase="only", num_steps=3, methods=[Distillation(trainer.model())])
    assert torch.equal(model.first.weight, other.first.weight)


def test_no_hook_is_left_behind_and_evaluations_are_not_watched() -> None:
    method = Distillation(Student(), features=["norm"])
    model, _ = fit(method, num_steps=6, batch_size=16)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert method._teacher is None


def test_a_method_can_be_used_again() -> None:
    method = Distillation(large_teacher())
    first, _ = fit(method, num_steps=3)
    second, _ = fit(method, num_steps=3)
    assert torch.equal(first.first.weight, second.first.weight)


def test_masks_clipping_and_micro_batches_hold_beside_a_teacher() -> None:
    teacher = large_teacher()
    settings = TrainSettings(
        batch_size=16, optimizer=OptimizerSpec(lr=0.2, momentum=0.9), device="cpu", accumulate=2, clip_norm=0.1
    )
    trainer = Trainer(classes(), settings, seed=4)
    model = trainer.model()
    masks = magnitude_masks(model, sparsity=0.6)
    norms: list[float] = []

    class Looks(Method):
        name = "looks"

        def before_update(self, run: Run) -> None:
            for name, mask in masks.items():
                assert not run.model.get_parameter(name).grad[~mask].any()
            norms.append(sum(float(p.grad.square().sum()) for p in run.model.parameters()) ** 0.5)

        def after_update(self, run: Run) -> None:
            for name, mask in masks.items():
                assert not run.model.get_parameter(name)[~mask].any()

    before = states(model)
    trainer.fit(model, phase="only", num_steps=6, methods=[MaskEnforcement(masks), Distillation(teacher), Looks()])
    masks.check(model)
    assert max(norms) > 0.1, "clipping had something to do"
    assert any(not torch.equal(value, before[name]) for name, value in model.named_parameters())


class Interrupts(Method):
    name = "interrupts"

    def __init__(self, at: int | None) -> None:
        self.at = at

    def before_update(self, run: Run) -> None:
        if run.step == self.at:
            os.kill(os.getpid(), signal.SIGINT)


def resumable(folder: Path | None, teacher: nn.Module, at: int | None = None) -> dict[str, Tensor]:
    """Weights after ten steps on a student with dropout, whose random draws a teacher must not move."""
    directory = None if folder is None else RunDirectory(folder, recipe="", resume=True)
    try:
        trainer = Trainer(normed_task(), plain(16, momentum=0.9, checkpoint_seconds=0), seed=1, directory=directory)
        model = trainer.model()
        methods = [Distillation(teacher), Interrupts(at)]
        trainer.fit(model, phase="only", num_steps=10, methods=methods)
        return states(model)
    finally:
        if directory is not None:
            directory.close()


@pytest.mark.parametrize("at", [0, 6, 9])
def test_interrupted_and_resumed_equals_the_uninterrupted_run(tmp_path: Path, at: int) -> None:
    teacher = large_teacher(torch.float32)
    expected = resumable(None, teacher)
    with pytest.raises(KeyboardInterrupt):
        resumable(tmp_path / "run", teacher, at)
    resumed = resumable(tmp_path / "run", teacher)
    assert all(torch.equal(value, resumed[name]) for name, value in expected.items())


def test_resuming_with_another_teacher_is_refused(tmp_path: Path) -> None:
    teacher = large_teacher(torch.float32)
    with pytest.raises(KeyboardInterrupt):
        resumable(tmp_path / "run", teacher, 4)
    with torch.no_grad():
        teacher[1].running_mean[0] += 1
    with pytest.raises(InputError, match="written with another teacher"):
        resumable(tmp_path / "run", teacher)


def test_dropout_of_the_student_draws_what_it_draws_without_a_teacher() -> None:
    drawn: list[list[Tensor]] = []
    for methods in ([], [Distillation(large_teacher(torch.float32))]):
        trainer = Trainer(normed_task(), plain(16, accumulate=2), seed=1)
        model, seen = trainer.model(), []
        model.layers[3].register_forward_hook(lambda _m, _i, out, seen=seen: seen.append(out.detach().clone()))
        trainer.fit(model, phase="only", num_steps=1, methods=methods)
        drawn.append(seen[:2])
    assert all(torch.equal(alone, taught) for alone, taught in zip(*drawn, strict=True))


def test_a_step_in_half_precision_is_near_the_one_in_single_precision() -> None:
    weights = []
    for precision in ("no", "bf16"):
        trainer = Trainer(classes(torch.float32), plain(16, precision=precision), seed=4)
        model = trainer.model()
        start = states(model)["first.weight"]
        trainer.fit(model, phase="only", num_steps=5, methods=[Distillation(large_teacher(torch.float32))])
        weights.append(states(model)["first.weight"])
    assert 0 < (weights[0] - weights[1]).norm() < 0.1 * (weights[0] - start).norm()


class Checkpointed(Student):
    """Runs its first layers again in the backward pass."""

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = checkpoint(lambda x: torch.tanh(self.norm(self.first(x))), inputs, use_reentrant=False)
        return self.last(hidden)


def test_layers_that_run_again_in_the_backward_pass_are_matched_once() -> None:
    torch.manual_seed(2)
    teacher = Student()
    found = [
        fit(Distillation(teacher, features=["first"]), task=classes(model=model), num_steps=3, accumulate=2)[0]
        for model in (Student, Checkpointed)
    ]
    torch.testing.assert_close(found[0].first.weight, found[1].first.weight, rtol=1e-12, atol=1e-12)


def test_two_runs_of_a_module_in_one_pass_are_refused_by_its_name() -> None:
    class Twice(Student):
        def forward(self, inputs: Tensor) -> Tensor:
            return self.last(torch.tanh(self.norm(torch.tanh(self.norm(self.first(inputs))))))

    with pytest.raises(InputError, match="module 'norm' runs 2 times in one forward pass of the loss"):
        fit(Distillation(Student(), features=["norm"]), task=classes(model=Twice))


def test_a_module_that_gives_no_tensor_is_refused_by_its_name() -> None:
    class Pair(nn.Module):
        def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
            return values, values

    class Paired(Student):
        def __init__(self) -> None:
            super().__init__()
            self.pair = Pair()

        def forward(self, inputs: Tensor) -> Tensor:
            return self.last(self.pair(torch.tanh(self.norm(self.first(inputs))))[0])

    with pytest.raises(InputError, match="module 'pair' gives a tuple"):
        fit(Distillation(Paired(), features=["pair"]), task=classes(model=Paired))


class Restless(SupervisedTask):
    """A loss that calls the model twice."""

    def loss(self, model: nn.Module, batch: dict[str, Tensor], reduction: str = "mean") -> Tensor:
        model(batch["inputs"])
        return super().loss(model, batch, reduction)


def restless() -> Restless:
    data = (torch.randn(48, 6, dtype=torch.float64), torch.randint(0, 3, (48,)))
    return Restless(Student, train=data, evaluation=data, test=data)


def narrow_teacher() -> nn.Module:
    return nn.Linear(6, 2, dtype=torch.float64)


REFUSED: list[tuple[Callable[[], Task], Callable[[], nn.Module], dict[str, Any], str]] = [
    (linear_task, lambda: nn.Linear(3, 1, dtype=torch.float64), {}, "`logits` of SupervisedTask are None; retrain wit"),
    (restless, Student, {}, "the loss of Restless calls the model 2 times"),
    (classes, narrow_teacher, {}, r"teacher's logits have shape \(48, 2\), the student's \(48, 3\)"),
    (
        classes,
        lambda: Student(9),
        {"features": ["norm"]},
        r"'norm' gives \(48, 7\) in the student and \(48, 9\) in the",
    ),
]


@pytest.mark.parametrize(("task", "teacher", "settings", "message"), REFUSED)
def test_what_cannot_be_taught_is_refused_before_a_weight_moves(
    task: Callable[[], Task], teacher: Callable[[], nn.Module], settings: dict[str, Any], message: str
) -> None:
    trainer = Trainer(task(), plain(24 if task is linear_task else 48), seed=4)
    model = trainer.model()
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(InputError, match=message):
        trainer.fit(model, phase="only", num_steps=2, methods=[Distillation(teacher(), **settings)])
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize(("task", "teacher", "settings", "message"), REFUSED)
def test_the_check_beforehand_refuses_the_same_and_leaves_the_models_alone(
    task: Callable[[], Task], teacher: Callable[[], nn.Module], settings: dict[str, Any], message: str
) -> None:
    trainer = Trainer(task(), plain(24 if task is linear_task else 48), seed=4)
    student, batch = trainer.model().train(), trainer.train_set.batch(torch.arange(len(trainer.train_set)))
    before = states(student)
    checked = DistillationSettings(teacher=teacher().train(), **settings)
    with pytest.raises(InputError, match=message):
        checked.check(trainer.task, student, student, batch, device=torch.device("cpu"))
    assert student.training
    assert checked.teacher.training
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


def test_a_task_without_class_scores_is_refused_by_its_name() -> None:
    class Silent(SupervisedTask):
        logits = None  # type: ignore[assignment]

    data = (torch.randn(48, 6, dtype=torch.float64), torch.randint(0, 3, (48,)))
    with pytest.raises(InputError, match="Silent has no `logits` and `labels`; retrain without a teacher"):
        fit(Distillation(Student()), task=Silent(Student, train=data, evaluation=data, test=data))


def test_a_method_that_weighs_examples_is_refused_beside_a_teacher() -> None:
    class Weighs(Method):
        name = "weighs"

        def weigh(self, run: Run, index: Tensor, losses: Tensor) -> Tensor:
            return torch.ones_like(losses)

    with pytest.raises(InputError, match=r"all examples alike.*\['weighs'\]"):
        fit(Distillation(large_teacher()), Weighs())


def test_a_method_that_owns_the_step_is_refused_beside_a_teacher() -> None:
    trainer = Trainer(classes(torch.float32), plain(48), seed=4)
    methods = [ElasticTraining(), Distillation(large_teacher(torch.float32))]
    with pytest.raises(InputError, match=r"the trainer's own step; \['elastic-training'\]"):
        trainer.fit(trainer.model(), phase="only", num_steps=1, methods=methods)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "temperature must be positive and finite; got 0.0"),
        ({"temperature": float("inf")}, "got inf"),
        ({"temperature": float("nan")}, "got nan"),
        ({"alpha": 1.1}, r"alpha is the teacher's part of the loss, in \[0, 1\]; got 1.1"),
        ({"alpha": -0.1}, "got -0.1"),
        ({"feature_weight": -1.0}, "must not be negative; got -1.0"),
        ({"features": "norm"}, "features is a list of module names; got the text 'norm'"),
        ({"features": ["norm", "norm"]}, "names a module twice"),
        ({"features": ["nrom"]}, "Student has no module 'nrom'; did you mean 'norm'"),
        ({"features": [""]}, "Student has no module ''; there are first, norm, last"),
        ({"teacher": "resnet"}, "the teacher must be a torch module; got str"),
    ],
)
def test_settings_out_of_range_are_refused_with_their_value(settings: dict[str, Any], message: str) -> None:
    given = {"teacher": Student()} | settings
    with pytest.raises(InputError, match=message):
        Distillation(**given)
    if "no module" not in message:  # the module is known only with the dense model
        with pytest.raises(InputError, match=message):
            DistillationSettings(**given)


def test_the_ledger_says_who_taught() -> None:
    assert DistillationSettings().details()["teacher"] == "dense"
    given = DistillationSettings(teacher=narrow_teacher()).details()
    assert given["teacher"] == "Linear, 14 parameters, whose own training is not counted"
