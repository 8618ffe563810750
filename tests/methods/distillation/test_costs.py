"""The cost model of distillation beside a count of the operations and bytes of a step with a teacher."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from paretorch.measurement.macs import count_macs
from paretorch.methods.catalogue import cards
from paretorch.methods.cost_model import layer_shapes
from paretorch.methods.distillation.teacher import Distillation
from paretorch.training.trainer import Trainer
from tests.methods.distillation.lessons import Student, classes, large_teacher
from tests.training.problems import plain


def weights(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.dim() > 1)


@pytest.mark.parametrize("teacher", [Student(), large_teacher()])
def test_a_step_with_a_teacher_has_the_predicted_operations_and_the_same_backward_pass(teacher: nn.Module) -> None:
    steps = {}
    for name, methods in {"plain": [], "taught": [Distillation(teacher)]}.items():
        trainer = Trainer(classes(), plain(48), seed=4)
        model = trainer.model()
        with FlopCounterMode(display=False) as counter:
            run = trainer._start(model, "only", 1, methods, None)
            batch = run.batch = trainer.train_set.batch(torch.arange(48))
            for method in methods:
                method.before_forward(run)
            loss = trainer.task.loss(model, batch)
            for method in methods:
                loss = loss + method.penalty(run)
            before = counter.get_total_flops()
            loss.backward()
        steps[name] = (before, counter.get_total_flops() - before)
    student, inputs = Student(), trainer.train_set.batch(torch.arange(1))["inputs"]
    ratio = count_macs(teacher.eval(), inputs).dense / count_macs(student, inputs).dense
    effects = cards()["distillation"].effects(
        layer_shapes(student, inputs), batch=48, teacher_macs=ratio, teacher_weights=weights(teacher) / weights(student)
    )
    assert round(effects["flops_forward"].of(steps["plain"][0])) == steps["taught"][0]
    assert steps["taught"][1] == steps["plain"][1]
    assert round(effects["param_bytes"].added) == 4 * weights(teacher)
    assert effects["epochs"].added == 0
