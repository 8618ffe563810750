"""A residual network with batch norm through the whole pipeline: what is left of it, counted by other code."""

import pytest
import torch
from torch import Tensor, nn

from paretorch.measurement.macs import count_macs
from paretorch.methods.schedules import DenseSchedule, Linear
from paretorch.methods.width.dpod_events import ShrinkPlan
from paretorch.pipelines.dense import DenseResult
from paretorch.pipelines.elastic import Budgets, Elastic, ElasticRun, Widths
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.supervised import SupervisedTask
from paretorch.training.trainer import Trainer


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(outputs) for _ in range(3))
        self.short = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        inner = self.norms[0](self.first(inputs)).relu()
        return (self.norms[1](self.second(inner)) + self.norms[2](self.short(inputs))).relu()


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.blocks = nn.Sequential(Block(16, 16, 1), Block(16, 32, 2))
        self.head = nn.Linear(32, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(images).relu()).mean((2, 3)))


@pytest.mark.slow
def test_the_macs_and_parameters_of_each_member_are_those_of_its_ledger_and_within_its_budget() -> None:
    stream = torch.Generator().manual_seed(0)
    images = torch.randn(260, 3, 8, 8, generator=stream)
    targets = (images.mean((2, 3)) @ torch.randn(3, 4, generator=stream)).argmax(1)
    parts = [(images[i], targets[i]) for i in torch.arange(260).split([200, 30, 30])]
    task = SupervisedTask(Residual, train=parts[0], evaluation=parts[1], test=parts[2])
    settings = TrainSettings(batch_size=20, optimizer=OptimizerSpec(lr=0.05, momentum=0.9), device="cpu")
    trainer = Trainer(task, settings, seed=0)
    plan = ShrinkPlan(target=0.25, key="macs", keep_at=(0.5,))
    run = ElasticRun(epochs=5, shrink=plan, widths=Widths(quantum=4), calibration_examples=60)
    members = [Elastic(run=run, budgets=Budgets(macs=part), epochs=1) for part in (0.5, 0.25)]
    schedule = DenseSchedule.of(Linear(num_steps=50, peak=0.05))
    full = count_macs(trainer.model(), task.example_inputs()).dense
    for member in members:
        member.check(trainer, trainer.model(), dense=schedule)
    start = members[0].train_shared(trainer, DenseResult(model=trainer.model(), schedule=schedule, entry={}))
    for member, part in zip(members, (0.5, 0.25), strict=True):
        made = member.run_from(trainer, start)
        cut = made.entries[0]
        assert cut["batchnorm_layers"] == 6
        assert cut["macs_full"] == full
        assert count_macs(made.model, task.example_inputs()).dense == cut["macs"] <= part * full
        assert sum(p.numel() for p in made.model.parameters()) == cut["params"]
        fresh = trainer.model()
        for edit in made.edits:
            edit.apply(fresh)
        fresh.load_state_dict(made.model.state_dict())
        torch.testing.assert_close(fresh.eval()(images[:4]), made.model.eval()(images[:4]))
