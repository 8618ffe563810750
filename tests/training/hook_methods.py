"""Five methods that between them use every hook hard, and the small task they train.

They stand for what the library's methods will need: more than one optimizer, more than one backward pass, blocks with
losses of their own, samples chosen by their past losses, and a layer that loses half its width in mid-phase.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretorch.methods.method import Method, Run, StepResult
from paretorch.training.data import ArrayExamples, Batch
from paretorch.training.sampler import ShuffledEpochs
from paretorch.training.seeding import generator
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.supervised import SupervisedTask

FEATURES, CLASSES, NUM_STEPS = 8, 4, 10


class Stack(nn.Module):
    """Two blocks with dropout and an output layer."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(inputs, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.2))
            for inputs in (FEATURES, 12)
        )
        self.output = nn.Linear(12, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        for block in self.blocks:
            inputs = block(inputs)
        return self.output(inputs)


class NoisyTask(SupervisedTask):
    """Classification with random augmentation, so that the random stream of every step matters."""

    def prepare(self, batch: Batch, *, training: bool, generator: torch.Generator) -> Batch:
        if not training:
            return batch
        noise = torch.randn(batch["inputs"].shape, generator=generator)
        return batch | {"inputs": batch["inputs"] + 0.1 * noise}


def small_task() -> NoisyTask:
    """80 training examples of four classes, which a linear rule with noise decides."""
    stream = torch.Generator().manual_seed(1)
    inputs = torch.randn(120, FEATURES, generator=stream)
    targets = (inputs @ torch.randn(FEATURES, CLASSES, generator=stream)).argmax(1)
    parts = [ArrayExamples(inputs=inputs[i], targets=targets[i]) for i in torch.arange(120).split([80, 20, 20])]
    return NoisyTask(Stack, train=parts[0], evaluation=parts[1], test=parts[2])


class GANStep(Method):
    """Owns the step: one update of a discriminator, then one of the model, which plays the generator.

    Backward through the discriminator in the generator's turn leaves gradients on it. They are not cleared here on
    purpose: the trainer must not carry them into the next step, since no checkpoint holds them.
    """

    name = "gan"

    def start(self, run: Run) -> None:
        self.discriminator = nn.Sequential(nn.Linear(CLASSES, 16), nn.LeakyReLU(), nn.Linear(16, 1))
        run.optimizers["discriminator"] = torch.optim.AdamW(self.discriminator.parameters(), lr=0.01)

    def training_step(self, run: Run, batch: Batch) -> StepResult:
        real = F.one_hot(batch["targets"], CLASSES).float()
        fake = run.wrapped(torch.randn(len(real), FEATURES))
        verdicts = self.discriminator(torch.cat([real, fake.detach()])).squeeze(1)
        truth = torch.cat([torch.ones(len(real)), torch.zeros(len(real))])
        run.backward(F.binary_cross_entropy_with_logits(verdicts, truth))
        run.update("discriminator")
        loss = -F.logsigmoid(self.discriminator(fake)).mean()
        run.backward(loss)
        run.update()
        return StepResult(loss=loss.detach())

    def state_dict(self) -> dict[str, Any]:
        return {"discriminator": self.discriminator.state_dict()}

    def load_state_dict(self, run: Run, state: dict[str, Any]) -> None:
        self.discriminator.load_state_dict(state["discriminator"])


class TwoBackwards(Method):
    """Sharpness-aware minimisation (Foret et al. 2021): climb along the gradient, take a new one there, come back."""

    name = "two-backwards"
    radius = 0.05

    def training_step(self, run: Run, batch: Batch) -> StepResult:
        loss = run.task.loss(run.wrapped, batch)
        run.backward(loss)
        weights = list(run.model.parameters())
        norm = torch.stack([w.grad.norm() for w in weights]).norm()
        climbs = [self.radius * w.grad / norm for w in weights]
        with torch.no_grad():
            torch._foreach_add_(weights, climbs)
        run.optimizer.zero_grad()
        run.backward(run.task.loss(run.wrapped, batch))
        with torch.no_grad():
            torch._foreach_sub_(weights, climbs)
        return StepResult(loss=loss.detach(), updated=False)


class LocalBlocks(Method):
    """Each block learns from a head of its own behind a stop-gradient; the output layer learns on the last block."""

    name = "local-blocks"

    def start(self, run: Run) -> None:
        self.heads = nn.ModuleList(nn.Linear(12, CLASSES) for _ in run.model.blocks)
        run.optimizers["heads"] = torch.optim.SGD(self.heads.parameters(), lr=0.05, momentum=0.9)

    def training_step(self, run: Run, batch: Batch) -> StepResult:
        features, losses = batch["inputs"], []
        for block, head in zip(run.model.blocks, self.heads, strict=True):
            features = block(features)
            losses.append(F.cross_entropy(head(features), batch["targets"]))
            features = features.detach()
        losses.append(F.cross_entropy(run.model.output(features), batch["targets"]))
        for loss in losses:
            run.backward(loss)
        run.update("heads")
        run.update()
        return StepResult(loss=losses[-1].detach())

    def state_dict(self) -> dict[str, Any]:
        return {"heads": self.heads.state_dict()}

    def load_state_dict(self, run: Run, state: dict[str, Any]) -> None:
        self.heads.load_state_dict(state["heads"])


class WeightedDraws:
    """A sampler that draws with replacement, in proportion to weights that change while training goes on."""

    def __init__(self, num_examples: int, *, batch_size: int, seed: int) -> None:
        self.weights = torch.ones(num_examples)
        self.batch_size, self.seed = batch_size, seed

    def batch(self, step: int) -> Tensor:
        stream = generator(self.seed, "draw", step)
        return torch.multinomial(self.weights, self.batch_size, replacement=True, generator=stream)

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.weights = state["weights"].clone()


class ReweightedSampler(Method):
    """Draws examples by their last loss, and weighs each loss by the inverse of how likely it was drawn."""

    name = "reweighted-sampler"

    def data(self, run: Run) -> None:
        assert isinstance(run.sampler, ShuffledEpochs)
        sampler = run.sampler
        run.sampler = WeightedDraws(sampler.num_examples, batch_size=sampler.batch_size, seed=run.seed)

    def weigh(self, run: Run, index: Tensor, losses: Tensor) -> Tensor:
        weights = run.sampler.weights
        corrections = weights.mean() / weights[index]
        weights[index] = losses.float() + 0.1
        return corrections


class HalfCut(Method):
    """Halfway through the phase the first hidden layer loses the half of its units that have the smallest weights.

    The survivors keep their momentum: `run.replace_parameters` is given the matching rows of the optimizer's state.
    """

    name = "half-cut"

    def start(self, run: Run) -> None:
        self.kept: Tensor | None = None

    def after_update(self, run: Run) -> None:
        if run.step == run.num_steps // 2:
            norms = run.model.blocks[0][0].weight.detach().norm(dim=1)
            self.cut(run, norms.topk(len(norms) // 2).indices.sort().values)

    def cut(self, run: Run, kept: Tensor) -> None:
        first, norm, second = run.model.blocks[0][0], run.model.blocks[0][1], run.model.blocks[1][0]
        rows: Callable[[Tensor], Tensor] = lambda tensor: tensor[kept].clone()  # noqa: E731
        columns: Callable[[Tensor], Tensor] = lambda tensor: tensor[:, kept].clone()  # noqa: E731
        slices = {
            "blocks.0.0.weight": (first.weight, rows),
            "blocks.0.0.bias": (first.bias, rows),
            "blocks.0.1.weight": (norm.weight, rows),
            "blocks.0.1.bias": (norm.bias, rows),
            "blocks.1.0.weight": (second.weight, columns),
        }
        new = {name: nn.Parameter(take(old.detach())) for name, (old, take) in slices.items()}
        state = {
            name: {
                key: take(value) if isinstance(value, Tensor) and value.shape == old.shape else value
                for key, value in run.optimizer.state[old].items()
            }
            for name, (old, take) in slices.items()
        }
        run.replace_parameters(new, state)
        norm.running_mean, norm.running_var = rows(norm.running_mean), rows(norm.running_var)
        first.out_features = norm.num_features = second.in_features = len(kept)
        self.kept = kept

    def state_dict(self) -> dict[str, Any]:
        return {"kept": self.kept}

    def load_state_dict(self, run: Run, state: dict[str, Any]) -> None:
        if state["kept"] is not None:
            self.cut(run, state["kept"])


SGD = OptimizerSpec(lr=0.1, momentum=0.9, weight_decay=1e-3)
ADAMW = OptimizerSpec(name="adamw", lr=0.01, weight_decay=0.01)
SCENARIOS: dict[str, tuple[type[Method], OptimizerSpec]] = {
    "gan": (GANStep, ADAMW),
    "two-backwards": (TwoBackwards, SGD),
    "local-blocks": (LocalBlocks, SGD),
    "reweighted-sampler": (ReweightedSampler, ADAMW),
    "half-cut-sgd": (HalfCut, SGD),
    "half-cut-adamw": (HalfCut, ADAMW),
}


def settings(optimizer: OptimizerSpec) -> TrainSettings:
    """A checkpoint after every step."""
    return TrainSettings(batch_size=16, optimizer=optimizer, clip_norm=5.0, checkpoint_seconds=0, device="cpu")
