"""The one trainer: step-indexed, deterministic given a seed, resumable at any step; it knows no method by name."""

import copy
import math
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from paretorch.errors import InputError
from paretorch.measurement.energy.found import energy_meter
from paretorch.measurement.energy.meter import Window
from paretorch.methods.method import Method, implements
from paretorch.training.devices import autocast, make_accelerator, repeatable_cudnn
from paretorch.training.evaluate import evaluate
from paretorch.training.interrupt import stop_on_signal
from paretorch.training.loop import Loop
from paretorch.training.progress import progress
from paretorch.training.run import RunDirectory
from paretorch.training.sampler import ShuffledEpochs
from paretorch.training.seeding import seed_global, stream_seed
from paretorch.training.settings import ADAPTIVE, OptimizerFactory, OptimizerSpec, TrainSettings
from paretorch.training.state import TrainingRun, load_optimizer
from paretorch.training.task import Task


@dataclass(frozen=True, kw_only=True)
class PhaseResult:
    """What a phase leaves behind.

    Attributes:
        phase: its name.
        steps, samples: optimizer steps and training examples.
        epochs: passes over the training set, possibly fractional.
        seconds: training time without evaluation and checkpoints, summed over resumptions.
        step_time: "p10_s", "p50_s", "p90_s" and "n" of the last steps; {} if there were none.
        overhead: "evaluation_s" and "checkpoint_s" between steps, summed over resumptions.
        energy: of the whole phase, evaluations between steps included; {} where it was not measured or only in part.
        validation: metrics on the evaluation set after `finish`.
        curve: points with step, epoch, lr, train_loss, validation (None between evaluations), seconds.
        optimizer_state: of the main optimizer, for a next phase that keeps it.
    """

    phase: str
    steps: int
    samples: int
    epochs: float
    seconds: float
    step_time: dict[str, Any]
    overhead: dict[str, float]
    energy: dict[str, Any]
    validation: dict[str, float]
    curve: list[dict[str, Any]]
    optimizer_state: dict[str, Any] = field(repr=False)


class Trainer:
    """Trains phases of a task.

    Args:
        task: what is learned.
        settings: how.
        seed: of initialisation, order, augmentation and dropout.
        directory: where checkpoints go; None keeps nothing on disk.
        metered: read the machine's energy counter, if it has one. It counts the work of other processes too, so only
            for training that has the machine to itself.
        workers: local processes, of one thread each, that a pipeline may use for phases that do not wait for one
            another; 1 trains them in this process, one after the other.
        label: what lines about progress call this training; None: its seed.

    Raises:
        InputError: if the batch cannot be divided among processes and micro-batches, or exceeds the training set; or
            if the settings' device or precision is not to be had.
    """

    def __init__(
        self,
        task: Task,
        settings: TrainSettings | None = None,
        *,
        seed: int = 0,
        directory: RunDirectory | None = None,
        metered: bool = False,
        workers: int = 1,
        label: str | None = None,
    ) -> None:
        self.metered, self.workers, self.label = metered, workers, label or f"seed {seed}"
        self.task, self.settings, self.seed, self.directory = task, settings or TrainSettings(), seed, directory
        self.train_set, self.eval_set = task.train_set(), task.eval_set()
        self.accelerator = make_accelerator(self.settings)
        self.device = self.accelerator.device
        size, world = self.settings.batch_size, self.accelerator.num_processes
        if size % (world * self.settings.accumulate):
            raise InputError(
                f"batch_size={size} must be divisible by {world} processes x accumulate={self.settings.accumulate}"
            )
        self.steps_per_epoch = ShuffledEpochs(len(self.train_set), batch_size=size, seed=seed).steps_per_epoch

    def in_directory(self, directory: RunDirectory | None) -> "Trainer":
        """The same trainer with another directory, for a part of a run that has one of its own."""
        return self._like(self.settings, directory)

    def with_settings(self, settings: TrainSettings) -> "Trainer":
        """The same trainer with other settings, for an arm that brings its own optimizer.

        Raises:
            InputError: as the class.
        """
        return self._like(settings, self.directory)

    def _like(self, settings: TrainSettings, directory: RunDirectory | None) -> "Trainer":
        return Trainer(
            self.task,
            settings,
            seed=self.seed,
            directory=directory,
            metered=self.metered,
            workers=self.workers,
            label=self.label,
        )

    def model(self) -> nn.Module:
        """A fresh model of the task, initialised from the seed."""
        seed_global(self.seed, "init")
        return self.task.model()

    def num_steps(self, epochs: float) -> int:
        """Optimizer steps of `epochs` passes.

        Raises:
            InputError: if `epochs` is negative or not finite.
        """
        if not (math.isfinite(epochs) and epochs >= 0):
            raise InputError(f"epochs must be finite and must not be negative; got {epochs}")
        return round(epochs * self.steps_per_epoch)

    def check_steps(self, steps: int, *, epochs: float, where: str = "") -> None:
        """Refuse a training without a step.

        Args:
            steps: what came of the epochs.
            epochs: as the user gave them.
            where: what the message begins with.

        Raises:
            InputError: if `steps` is 0.
        """
        if steps == 0:
            raise InputError(
                f"{where}{epochs:g} epochs are less than one optimizer step; an epoch has {self.steps_per_epoch}"
            )

    def evaluate(self, model: nn.Module, examples: Any = None) -> dict[str, float]:
        """Metrics of `model` on `examples`, by default the evaluation set."""
        model.to(self.device)
        return evaluate(
            self.task,
            model,
            self.eval_set if examples is None else examples,
            device=self.device,
            autocast=autocast(self.device, self.settings.precision),
        )

    def fit(
        self,
        model: nn.Module,
        *,
        phase: str,
        num_steps: int,
        schedule: Callable[[int], float] | None = None,
        methods: Sequence[Method] = (),
        optimizer_state: dict[str, Any] | None = None,
    ) -> PhaseResult:
        """Train `model` in place for `num_steps` optimizer steps.

        With a directory, the state after the last step is kept under the phase's name: the same call in a later process
        goes on from there, so that only `finish` and the evaluation are done again.

        Args:
            model: changed in place; methods may change its shapes.
            phase: names the checkpoint and the random streams; unique within a run.
            num_steps: may be 0.
            schedule: learning rate of the main optimizer as a function of the step; None keeps the optimizer's own.
                A parameter group's `lr_scale` (default 1) multiplies it.
            methods: in the order in which their hooks run.
            optimizer_state: of an earlier phase, to go on with instead of a fresh optimizer.

        Raises:
            NotFiniteError: on a NaN or infinite loss or penalty; the state before that step is saved.
            KeyboardInterrupt: after SIGINT or SIGTERM, with the state saved.
            InputError: for methods that cannot work together, or a checkpoint that does not fit.
        """
        _check_methods(methods, self.settings)
        run = self._start(model, phase, num_steps, methods, optimizer_state)
        loop = Loop(self, run, phase=phase, schedule=schedule)
        with ExitStack() as stack:
            stack.enter_context(repeatable_cudnn())
            loop.resume()
            resumed = run.step > 0
            run.wrap()
            stack.callback(run.unwrap)
            window = stack.enter_context(energy_meter(self.device).window()) if self.metered else None
            stop = stack.enter_context(stop_on_signal())
            advance = stack.enter_context(progress(f"{phase} ({self.label})", num_steps))
            loop.train(stop, advance)
        loop.save(phase)
        seed_global(run.seed, "finish")
        for method in methods:
            method.finish(run)
        if run.model is not model:
            raise InputError(
                f"a method of {[method.name for method in methods]} put another module in the place of the model and "
                "left it there; change the given module, or put it back in `finish`"
            )
        model.eval()
        validation = self.evaluate(model)
        if loop.curve:
            loop.curve[-1]["validation"] = validation[self.task.metric]
        return PhaseResult(
            phase=phase,
            steps=num_steps,
            samples=num_steps * self.settings.batch_size,
            epochs=num_steps / self.steps_per_epoch,
            seconds=loop.watch.seconds,
            step_time=loop.watch.step_time(),
            overhead=loop.watch.overhead,
            energy={} if window is None or resumed else _measured(window),
            validation=validation,
            curve=loop.curve,
            optimizer_state=run.optimizer.state_dict(),
        )

    def rehearse(self, model: nn.Module, *, num_steps: int, methods: Sequence[Method] = ()) -> float:
        """Seconds per training step over `num_steps` of them; nothing is evaluated and nothing is kept.

        The learning rate is 0, which takes as long as any other: a recipe that would diverge can be timed.

        Args:
            model: its weights are left as they are, but for what methods make of them; its batch-norm statistics are
                not.
            num_steps: at least 1.
            methods: as in `fit`.

        Raises:
            InputError: if there is no step to time; and as `fit`.
        """
        if num_steps < 1:
            raise InputError(f"num_steps = {num_steps} leaves nothing to time; give at least 1")
        _check_methods(methods, self.settings)
        own = Trainer(self.task, replace(self.settings, evaluate_epochs=sys.maxsize), seed=self.seed)
        run = own._start(model, "rehearsal", num_steps, methods, None)
        loop = Loop(own, run, phase="rehearsal", schedule=lambda _step: 0.0)
        with ExitStack() as stack:
            stack.enter_context(repeatable_cudnn())
            run.wrap()
            stack.callback(run.unwrap)
            loop.train(stack.enter_context(stop_on_signal()), lambda _step, _words: None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what came of the steps, which says nothing of a real run
            for method in methods:
                method.finish(run)
        return loop.watch.seconds / num_steps

    def _start(
        self,
        model: nn.Module,
        phase: str,
        num_steps: int,
        methods: Sequence[Method],
        optimizer_state: dict[str, Any] | None,
    ) -> TrainingRun:
        model.to(self.device).train()
        optimizer = self._optimizer_factory()(model.parameters())
        if optimizer_state is not None:  # copied, because torch would go on writing into the caller's tensors
            load_optimizer(optimizer, copy.deepcopy(optimizer_state), "the given optimizer state")
        run = TrainingRun(
            self.accelerator,
            self.task,
            model,
            optimizer,
            methods=methods,
            clip_norm=self.settings.clip_norm,
            seed=stream_seed(self.seed, phase),
        )
        run.num_steps, run.steps_per_epoch = num_steps, self.steps_per_epoch
        run.sampler = ShuffledEpochs(len(self.train_set), batch_size=self.settings.batch_size, seed=run.seed)
        seed_global(run.seed, "start")
        for method in methods:
            method.start(run)
        for method in methods:
            method.data(run)
        return run

    def _optimizer_factory(self) -> OptimizerFactory:
        """That of the settings, with the task's betas where it gives none."""
        factory = self.settings.optimizer
        if isinstance(factory, OptimizerSpec) and factory.name in ADAPTIVE and factory.betas is None:
            return replace(factory, betas=self.task.betas)
        return factory


def _measured(window: Window) -> dict[str, Any]:
    reading = window.reading
    return reading.to_dict() if reading is not None and reading.joules is not None else {}


def _check_methods(methods: Sequence[Method], settings: TrainSettings) -> None:
    names = [method.name for method in methods]
    if len(set(names)) != len(names):
        raise InputError(f"two methods of one phase share a name: {names}; give each its own `name`")
    owners = [method.name for method in methods if implements(method, "training_step")]
    if len(owners) > 1:
        raise InputError(f"at most one method may own the training step; {owners} all do")
    if owners and settings.accumulate > 1:
        raise InputError(f"{owners[0]!r} owns the training step and sees whole batches; set accumulate to 1")
