"""The hooks a method may implement, and what it sees of the run.

One optimizer step, in order::

    before_forward -> training_step (at most one owner) or: forward, weigh, loss, penalty, backward, unscale
                   -> before_update -> clip -> optimizer.step -> after_update

A method that owns the step calls `run.backward` and `run.update` itself, as often as it likes and with any of
`run.optimizers`; every other method's `before_update` and `after_update` still run inside `run.update`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What an owner of the step reports: the loss for the log (0-d, detached), and whether it updated the weights.

    With `updated=False` the trainer adds the gradients of the methods' penalties and runs `run.update()` after the hook
    returns. An owner that updates the weights itself cannot be combined with penalties, and none with weights.
    """

    loss: Tensor
    updated: bool = True


class Run(ABC):
    """What a method sees of a training run, in our trainer or in somebody else's loop.

    Attributes:
        model: the module being trained, not wrapped by DDP or a compiler.
        wrapped: what to call in a forward pass; equals `model` unless it is wrapped for distributed training.
        optimizers: by name; "main" is the one the learning-rate schedule drives.
        task: what is learned, or None outside our trainer.
        batch: the examples of the forward pass that comes or came last, as the model reads them (a micro-batch, and of
            this process); None outside our trainer.
        step: optimizer steps finished in this phase, from 0.
        epoch: passes over the data finished in this phase, from 0.
        num_steps: optimizer steps of the whole phase.
        steps_per_epoch: optimizer steps of one pass.
        sampler: which examples make up each batch; a method may replace it in `data`.
        seed: the run's seed.
        device: where batches are put.
        clips_before_update: True in loops that clip the gradients before `before_update` is called, as Hugging Face's
            does; a method whose effect depends on the order acts earlier there, by hooks, or is refused.
        handles: hooks that methods put on the model for that purpose; a foreign loop removes them at the end, also
            after an error.
    """

    model: nn.Module
    wrapped: nn.Module
    optimizers: dict[str, Optimizer]
    task: Any
    batch: Any = None
    step: int
    epoch: int
    num_steps: int
    steps_per_epoch: int
    sampler: Any
    seed: int
    device: torch.device
    clips_before_update: bool = False
    handles: list[RemovableHandle]

    @property
    def optimizer(self) -> Optimizer:
        """The main optimizer."""
        return self.optimizers["main"]

    @abstractmethod
    def backward(self, loss: Tensor) -> None:
        """Accumulate gradients of `loss` (0-d), scaled where mixed precision needs it."""

    @abstractmethod
    def update(self, name: str = "main") -> None:
        """One update of the named optimizer: `before_update` of all methods, clip, step, `after_update`, zero grad."""

    @abstractmethod
    def replace_parameters(self, mapping: Mapping[str, nn.Parameter], state: Mapping[str, Any] | None = None) -> None:
        """Put new parameters where old ones stood, in the module and in every optimizer.

        Args:
            mapping: full parameter name -> new parameter, whose shape may differ.
            state: full parameter name -> optimizer state (a dict of tensors and numbers) of the new parameter; a name
                that is left out starts with an empty state.
        """

    def share_buffers(self) -> None:
        """Give all processes the buffers of the first, as every forward pass of a wrapped model does."""
        together = torch.distributed.is_available() and torch.distributed.is_initialized()
        if together and torch.distributed.get_world_size() > 1:
            for buffer in self.model.buffers():
                torch.distributed.broadcast(buffer, 0)

    @abstractmethod
    def log(self, **scalars: float) -> None:
        """Attach numbers to the current step of the run's curve."""


class Method:
    """Base of all methods: every hook is a no-op, and a method overrides only what it needs.

    `name` identifies the method in checkpoints, ledgers and error messages. `allows_early_clipping` says that the
    method's `before_update` has the same effect where `run.clips_before_update` is True. `teacher_passes` is how many
    forward passes of other models every training example costs, which ledgers charge. `step_key` says what decides how
    long the method makes a step; steps of equal shapes and keys are timed once.
    """

    name: str = "method"
    allows_early_clipping: bool = False
    teacher_passes: int = 0
    step_key: str = ""

    def start(self, run: Run) -> None:
        """Before anything is wrapped: change model, optimizer, data or loss."""

    def data(self, run: Run) -> None:
        """Replace `run.sampler`."""

    def before_forward(self, run: Run) -> None:
        """Before the forward pass of every step."""

    def training_step(self, run: Run, batch: Any) -> StepResult | None:
        """Own the step, or return None for the default forward, loss and backward."""
        return None

    def weigh(self, run: Run, index: Tensor, losses: Tensor) -> Tensor | None:
        """Weights (n,) for the per-example losses (n,) of the examples `index` (n,); None leaves them alone."""
        return None

    def penalty(self, run: Run) -> Tensor | None:
        """A 0-d term added to the loss."""
        return None

    def before_update(self, run: Run) -> None:
        """After backward and unscaling, before clipping: gradients may be changed."""

    def after_update(self, run: Run) -> None:
        """After the optimizer step, before the next forward: weights may be changed."""

    def epoch_end(self, run: Run) -> None:
        """After every full pass over the data."""

    def evaluation_weights(self, run: Run) -> AbstractContextManager[None]:
        """A context in which the model holds the weights to evaluate (an average, say); the default changes nothing."""
        return nullcontext()

    def finish(self, run: Run) -> None:
        """Make the effect permanent: leave a plain module with no auxiliary tensors."""

    def details(self) -> dict[str, Any]:
        """Facts for the ledger line of the phase, after `finish`: plain numbers, strings, lists and dicts."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on after a kill: nested dicts and lists of tensors, numbers, strings and None."""
        return {}

    def load_state_dict(self, run: Run, state: dict[str, Any]) -> None:
        """Take the state back, after `start` and before weights and optimizer are loaded; may cut the model again."""


def implements(method: Method, hook: str) -> bool:
    """Whether the method's class overrides the named hook."""
    return getattr(type(method), hook) is not getattr(Method, hook)
