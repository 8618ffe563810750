"""Checks of what the card of distillation promises; the numbers stand in `distillation/`."""

import copy
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from paretorch.methods.distillation.objective import divergence
from paretorch.methods.distillation.teacher import Distillation
from paretorch.training.run import RunDirectory
from paretorch.training.trainer import Trainer
from tests.methods.distillation.lessons import by_hand, classes, fit, large_teacher, start, stepped, tensors
from tests.methods.invariants import invariant
from tests.training.problems import plain


@invariant("distillation", "gradients are those of the weighted sum of both terms, written out by hand")
def gradients_are_those_of_the_sum() -> None:
    teacher = large_teacher()
    trained, _ = fit(Distillation(teacher, alpha=0.7, temperature=3.0))
    model, inputs, targets = start()
    loss = by_hand(model(inputs), teacher.eval()(inputs), targets, alpha=0.7, temperature=3.0)
    expected = stepped(model, loss)
    for name, parameter in trained.named_parameters():
        torch.testing.assert_close(parameter.detach(), expected[name], rtol=1e-12, atol=1e-12)


@invariant("distillation", "for a high temperature the teacher's term matches centred logits")
def high_temperatures_match_logits() -> None:
    student = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(3, 5, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(1e8 * divergence(student, teacher, temperature=1e4), student)
    apart = (student - teacher).detach()
    torch.testing.assert_close(gradient, (apart - apart.mean(1, keepdim=True)) / (3 * 5), rtol=1e-3, atol=1e-5)


@invariant("distillation", "alpha = 0 without features is plain training, bit by bit, and runs no teacher")
def alpha_zero_is_plain() -> None:
    teacher, calls = large_teacher(), []
    teacher.register_forward_hook(lambda *_: calls.append(1))
    plainly, _ = fit(num_steps=4, batch_size=12)
    taught, _ = fit(Distillation(teacher, alpha=0), num_steps=4, batch_size=12)
    assert all(torch.equal(value, taught.state_dict()[name]) for name, value in plainly.state_dict().items())
    assert not calls


@invariant("distillation", "the student makes one forward pass per micro-batch")
def one_pass_per_micro_batch() -> None:
    trainer = Trainer(classes(), plain(24, accumulate=2), seed=4)
    model, calls = trainer.model(), []
    model.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    trainer.fit(model, phase="only", num_steps=5, methods=[Distillation(large_teacher(), features=())])
    assert calls.count(True) == 5 * 2


@invariant(
    "distillation", "the teacher keeps its weights, its buffers and its mode, and no checkpoint holds a tensor of it"
)
def the_teacher_stays() -> None:
    teacher = large_teacher()
    teacher[0].eval()
    before, modes = copy.deepcopy(teacher.state_dict()), [module.training for module in teacher.modules()]
    with TemporaryDirectory() as folder, RunDirectory(Path(folder) / "run", recipe="") as directory:
        trainer = Trainer(classes(), plain(12), seed=4, directory=directory)
        trainer.fit(trainer.model(), phase="only", num_steps=4, methods=[Distillation(teacher)])
        saved = list(tensors(directory.load("only")))
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert [module.training for module in teacher.modules()] == modes
    assert all(parameter.requires_grad for parameter in teacher.parameters())
    assert saved
    assert not any(same(value, kept) for value in saved for kept in before.values() if kept.numel() > 1)


def same(value: Tensor, other: Tensor) -> bool:
    return value.shape == other.shape and bool((value == other).all())
