"""Iterative magnitude pruning in a plain PyTorch loop: the pruning is ten lines, marked with #."""

import torch
import torch.nn.functional as F
from torch import nn

import paretorch as pt

STEPS = 150

torch.manual_seed(0)
inputs = torch.randn(4096, 20)
targets = torch.stack([inputs[:, i] * inputs[:, i + 4] for i in range(4)], dim=1).argmax(dim=1)
model = nn.Sequential(nn.Linear(20, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 4))


def train(optimizer: torch.optim.Optimizer, scheduler: torch.optim.lr_scheduler.LRScheduler, num_steps: int) -> None:
    """An ordinary loop that knows nothing of pruning."""
    for _ in range(num_steps):
        batch = torch.randint(len(inputs), (64,))
        optimizer.zero_grad()
        F.cross_entropy(model(inputs[batch]), targets[batch]).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()


def accuracy() -> float:
    with torch.no_grad():
        return float((model(inputs).argmax(dim=1) == targets).float().mean())


schedule = pt.LLR(num_steps=600, peak=0.2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
train(optimizer, pt.as_scheduler(schedule, optimizer), schedule.num_steps)
print(f"{'sparsity':>8} {'peak lr':>8} {'pruned':>7} {'retrained':>10}   accuracy on the training data")
print(f"{0:8.1%} {schedule.peak:8.3f} {'':7} {accuracy():10.3f}")

dense, masks = pt.DenseSchedule.of(schedule), None  #
for sparsity in (0.6, 0.8, 0.9):  #
    previous, masks = masks, pt.magnitude_masks(model, sparsity=sparsity, previous=masks)  #
    drop = pt.norm_drop_of(model, masks=masks, previous=previous)  #
    retraining = pt.retraining_schedule("ALLR", num_steps=STEPS, dense=dense, norm_drop=drop)  #
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)  #
    with masks.attach(model, optimizer):  #
        damaged = accuracy()
        train(optimizer, pt.as_scheduler(retraining, optimizer), STEPS)  #
    masks.check(model)  #
    print(f"{masks.sparsity:8.1%} {max(retraining.trace()):8.3f} {damaged:7.3f} {accuracy():10.3f}")

zeros = sum(int((p == 0).sum()) for name, p in model.named_parameters() if name in masks)
print(
    f"{zeros} of {masks.num_weights} weights are exactly zero; the model is still an ordinary {type(model).__name__}."
)
