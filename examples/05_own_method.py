"""A method of your own, written once, in our trainer and in a plain loop: gradual magnitude pruning."""

import torch
import torch.nn.functional as F
from torch import nn

import paretorch as pt


class GradualPruning(pt.Method):
    """Prune a little every ten steps: sparsity(t) = S (1 - (1 - t / T)^3), T half the run (Zhu and Gupta 2017)."""

    name = "gradual-pruning"

    def __init__(self, sparsity: float) -> None:
        self.sparsity, self.masks = sparsity, None

    def before_forward(self, run: pt.Run) -> None:
        if run.step % 10 == 0:
            left = max(0.0, 1 - 2 * run.step / run.num_steps)
            self.masks = pt.magnitude_masks(run.model, sparsity=self.sparsity * (1 - left**3), previous=self.masks)
            self.masks.apply_(run.model)
            self.masks.clear_state_(run.optimizer, run.model)

    def before_update(self, run: pt.Run) -> None:
        self.masks.mask_gradients_(run.model)

    def after_update(self, run: pt.Run) -> None:
        self.masks.apply_(run.model)

    def state_dict(self) -> dict:  # for resuming
        return {"masks": self.masks and self.masks.state_dict()}

    def load_state_dict(self, run: pt.Run, state: dict) -> None:
        self.masks = state["masks"] and pt.Masks.from_state_dict(state["masks"])


torch.manual_seed(0)
inputs = torch.randn(4096, 20)
targets = torch.stack([inputs[:, i] * inputs[:, i + 4] for i in range(4)], dim=1).argmax(dim=1)
train, test = (inputs[:3072], targets[:3072]), (inputs[3072:], targets[3072:])
task = pt.SupervisedTask(lambda: nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 4)), train=train, test=test)
trainer = pt.Trainer(task, pt.TrainSettings(batch_size=64, clip_norm=1.0))

in_trainer, first = GradualPruning(0.9), trainer.model()
trainer.fit(first, phase="train", num_steps=400, methods=[in_trainer])

in_loop, second = GradualPruning(0.9), trainer.model()
optimizer = torch.optim.SGD(second.parameters(), lr=0.1, momentum=0.9)
with pt.HostRun(second, optimizer, methods=[in_loop], num_steps=400, clip_norm=1.0) as run:
    for _ in range(400):
        batch = torch.randint(len(train[0]), (64,))
        run.before_forward()
        F.cross_entropy(second(train[0][batch]), train[1][batch]).backward()
        run.update()

for where, method, model in (("our trainer", in_trainer, first), ("plain loop", in_loop, second)):
    method.masks.check(model)
    print(f"{where}: {method.masks}, test accuracy {trainer.evaluate(model, task.test_set())['accuracy']:.3f}")
