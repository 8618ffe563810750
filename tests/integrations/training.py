"""One small training problem, and the same pruned training of it in every kind of loop."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import paretorch as pt
from paretorch.integrations.host import HostRun
from paretorch.methods.schedules import LLR

BATCH, STEPS = 16, 24
CLIP_NORM = 0.05  # far below the gradient norms here, so that every step is clipped


def network() -> nn.Module:
    """Convolution, batch norm and linear layers, the same at every call."""
    torch.manual_seed(7)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 6 * 6, 20),
        nn.ReLU(),
        nn.Linear(20, 4),
    )


def examples(num: int = BATCH * STEPS) -> tuple[Tensor, Tensor]:
    """Images (num, 1, 6, 6) and classes (num,), the same at every call."""
    generator = torch.Generator().manual_seed(3)
    return torch.randn(num, 1, 6, 6, generator=generator), torch.randint(4, (num,), generator=generator)


def optimizer_for(kind: str, model: nn.Module) -> torch.optim.Optimizer:
    if kind == "sgd":
        return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-2)
    return torch.optim.AdamW(model.parameters(), lr=0.05, weight_decay=1e-2)


def schedule_for(kind: str, num_steps: int = STEPS) -> LLR:
    return LLR(num_steps=num_steps, peak=0.05 if kind == "sgd" else 0.003)


def masks_for(model: nn.Module) -> pt.Masks:
    return pt.magnitude_masks(model, sparsity=0.8)


@dataclass
class Trained:
    """What is compared between loops: the final weights and buffers, the masks and the learning rates used."""

    model: nn.Module
    masks: pt.Masks
    lrs: list[float]


def raw_loop(kind: str, *, clip_norm: float | None = CLIP_NORM, accumulate: int = 1) -> Trained:
    """The reference: a plain loop with the masks attached."""
    model = network()
    masks = masks_for(model)
    optimizer = optimizer_for(kind, model)
    scheduler = pt.as_scheduler(schedule_for(kind, STEPS // accumulate), optimizer)
    lrs = []
    inputs, targets = examples()
    with masks.attach(model, optimizer):
        for step, (x, y) in enumerate(zip(inputs.split(BATCH), targets.split(BATCH), strict=True), start=1):
            (F.cross_entropy(model(x), y) / accumulate).backward()
            if step % accumulate:
                continue
            if clip_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
            lrs.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
    return Trained(model, masks, lrs)


def host_run(kind: str, methods: list[pt.Method], *, clip_norm: float | None = CLIP_NORM) -> nn.Module:
    """The same loop, driven through a HostRun."""
    model = network()
    optimizer = optimizer_for(kind, model)
    scheduler = pt.as_scheduler(schedule_for(kind), optimizer)
    inputs, targets = examples()
    with HostRun(model, optimizer, methods=methods, num_steps=STEPS, clip_norm=clip_norm) as run:
        for x, y in zip(inputs.split(BATCH), targets.split(BATCH), strict=True):
            run.before_forward()
            F.cross_entropy(model(x), y).backward()
            run.update()
            scheduler.step()
    return model


def assert_same_weights(first: nn.Module, second: nn.Module) -> None:
    """Bitwise, every parameter and buffer."""
    expected, actual = first.state_dict(), second.state_dict()
    assert list(expected) == list(actual)
    differing = [name for name in expected if not torch.equal(expected[name], actual[name])]
    assert differing == []


def assert_exact_zeros(model: nn.Module, masks: pt.Masks) -> None:
    """Every pruned weight is +0.0, bit for bit, and the masks prune something everywhere."""
    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        pruned = parameters[name].detach()[~mask]
        assert not pruned.view(torch.int32).any(), name
    assert masks.num_pruned == round(0.8 * masks.num_weights)


class Recorder(pt.Method):
    """Writes down every hook with the run's counters; changes nothing."""

    name = "recorder"
    allows_early_clipping = True

    def __init__(self) -> None:
        self.seen: list[tuple[str, int, int]] = []
        self.totals: tuple[int, int] | None = None

    def _note(self, hook: str, run) -> None:
        self.seen.append((hook, run.step, run.epoch))

    def start(self, run) -> None:
        self.totals = run.num_steps, run.steps_per_epoch
        self._note("start", run)

    def before_forward(self, run) -> None:
        self._note("before_forward", run)

    def before_update(self, run) -> None:
        self._note("before_update", run)

    def after_update(self, run) -> None:
        self._note("after_update", run)

    def epoch_end(self, run) -> None:
        self._note("epoch_end", run)

    def finish(self, run) -> None:
        self._note("finish", run)

    @staticmethod
    def expected(num_steps: int, steps_per_epoch: int) -> list[tuple[str, int, int]]:
        """The order that our own trainer keeps."""
        seen = [("start", 0, 0)]
        for step in range(num_steps):
            epoch = step // steps_per_epoch
            seen += [(hook, step, epoch) for hook in ("before_forward", "before_update", "after_update")]
            if (step + 1) % steps_per_epoch == 0:
                seen.append(("epoch_end", step + 1, epoch + 1))
        return [*seen, ("finish", num_steps, num_steps // steps_per_epoch)]


class SignGradients(pt.Method):
    """Replaces gradients by their signs: an effect on the weights that depends on whether clipping came first."""

    name = "signs"

    def before_update(self, run) -> None:
        for parameter in run.model.parameters():
            if parameter.grad is not None:
                parameter.grad.sign_()


class MovingMasks(pt.MaskEnforcement):
    """Swaps its masks for others at a given step, so that what is resumed differs from what was given at first."""

    def __init__(self, masks: pt.Masks, *, then: pt.Masks, at: int) -> None:
        super().__init__(masks)
        self.then, self.at = then, at

    def before_forward(self, run) -> None:
        if run.step == self.at and self.masks != self.then:
            self.update(run, self.then)
        super().before_forward(run)
