"""The steps of one phase, in order, and what a checkpoint keeps of them.

Every random draw of a step is a function of (seed, phase, step) alone, so a checkpoint holds weights, optimizers and
method state but no generator state, and a resumed phase is bitwise the uninterrupted one.
"""

import logging
import operator
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import reduce
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from paretorch.errors import ArtefactError, InputError, NotFiniteError
from paretorch.methods.method import Method, implements
from paretorch.training.data import Batch, Examples
from paretorch.training.devices import autocast
from paretorch.training.interrupt import StopRequest
from paretorch.training.progress import Advance
from paretorch.training.run import RunDirectory
from paretorch.training.seeding import generator, seed_global
from paretorch.training.settings import TrainSettings
from paretorch.training.state import TrainingRun
from paretorch.training.stopwatch import Stopwatch

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger("paretorch")

CURVE_POINTS = 100
ACCELERATOR_CHECK_STEPS = 10  # on an accelerator, reading the loss every step would stall its queue


class Surroundings(Protocol):
    """What the steps of a phase need of the trainer that runs them."""

    settings: TrainSettings
    accelerator: "Accelerator"
    train_set: Examples
    directory: RunDirectory | None

    def evaluate(self, model: nn.Module) -> dict[str, float]: ...


class Loop:
    """The steps of one phase, and what a checkpoint keeps of them."""

    def __init__(
        self, trainer: Surroundings, run: TrainingRun, *, phase: str, schedule: Callable[[int], float] | None
    ) -> None:
        self.trainer, self.run, self.phase, self.schedule = trainer, run, phase, schedule
        self.accelerator = trainer.accelerator
        self.owner = next((method for method in run.methods if implements(method, "training_step")), None)
        self.weighers = [method for method in run.methods if implements(method, "weigh")]
        self.penalisers = [method for method in run.methods if implements(method, "penalty")]
        self.curve: list[dict[str, Any]] = []
        self.watch = Stopwatch()
        self.loss_sum, self.loss_count = 0.0, 0
        self.unread: list[tuple[int, dict[str, Tensor]]] = []
        self.check_steps = 1 if run.device.type == "cpu" else ACCELERATOR_CHECK_STEPS

    def train(self, stop: StopRequest, advance: Advance) -> None:
        run, settings = self.run, self.trainer.settings
        saved = time.monotonic()
        while run.step < run.num_steps:
            with self.watch.step():
                self._step()
                run.step += 1
                if len(self.unread) >= self.check_steps or self._point_is_due():
                    self._read_losses()  # within the time of training: on an accelerator this waits for the steps
            if run.step % run.steps_per_epoch == 0:
                run.epoch += 1
                for method in run.methods:
                    method.epoch_end(run)
            self._record()
            advance(run.step, f"loss {self.curve[-1]['train_loss']:.4g}" if self.curve else "")
            if stop.requested:
                self.save()
                raise KeyboardInterrupt
            if time.monotonic() - saved >= settings.checkpoint_seconds and run.step < run.num_steps:
                with self.watch.aside("checkpoint_s"):
                    self.save()
                saved = time.monotonic()
        run.share_buffers()

    def _step(self) -> None:
        run = self.run
        if self.schedule is not None:
            lr = self.schedule(run.step)
            for group in run.optimizer.param_groups:
                group["lr"] = lr * group.get("lr_scale", 1.0)
        seed_global(run.seed, "step", run.step, self.accelerator.process_index)
        index = run.sampler.batch(run.step)
        for method in run.methods:
            method.before_forward(run)
        if self.owner is None or not self._owned_step(self.owner, index):
            self._default_step(index)
        run.clear_gradients()
        run.batch = None

    def _owned_step(self, owner: Method, index: Tensor) -> bool:
        """The step of the method that owns it; False if it left this one to the trainer."""
        with self._autocast():
            result = owner.training_step(self.run, self._fetch(index))
        if result is None:
            return False
        terms = {"loss": result.loss.detach()}
        others = self.weighers + (self.penalisers if result.updated else [])
        if unheard := [method for method in others if method is not owner]:
            raise InputError(
                f"method {owner.name!r} owns the training step and leaves no room for the weights or the penalty of "
                f"{[method.name for method in unheard]}; use them in different phases"
            )
        if not result.updated and (penalties := self._penalties()):
            self.run.backward(reduce(operator.add, penalties.values()))
            terms |= {name: term.detach() for name, term in penalties.items()}
        self._note(terms)
        if not result.updated:
            self.run.update()
        return True

    def _default_step(self, index: Tensor) -> None:
        run = self.run
        terms: dict[str, Tensor] = {}
        micro_batches = index.chunk(self.trainer.settings.accumulate)
        for position, micro in enumerate(micro_batches):
            last = position == len(micro_batches) - 1
            share = len(micro) / len(index)
            with nullcontext() if last else run.no_sync():
                for name, term in self._forward_backward(self._fetch(micro), share).items():
                    terms[name] = terms[name] + term if name in terms else term
        self._note(terms)
        run.update()

    def _forward_backward(self, batch: Batch, share: float) -> dict[str, Tensor]:
        """Backward of loss plus penalties over one micro-batch, times its share of the batch; its detached terms."""
        run = self.run
        with self._autocast():
            if self.weighers:
                losses = run.task.loss(run.wrapped, batch, "none")
                terms = {"loss": self._weighted(losses, batch["index"]).mean()}
            else:
                terms = {"loss": run.task.loss(run.wrapped, batch, "mean")}
            terms |= self._penalties()
        if share != 1:
            terms = {name: term * share for name, term in terms.items()}
        run.backward(reduce(operator.add, terms.values()))
        return {name: term.detach() for name, term in terms.items()}

    def _penalties(self) -> dict[str, Tensor]:
        """The terms that methods add to the loss, by name."""
        with self._autocast():
            found = {f"penalty of {method.name!r}": method.penalty(self.run) for method in self.penalisers}
        return {name: term for name, term in found.items() if term is not None}

    def _weighted(self, losses: Tensor, index: Tensor) -> Tensor:
        seen = losses.detach()
        for method in self.weighers:
            weights = method.weigh(self.run, index, seen)
            if weights is None:
                continue
            if weights.shape != losses.shape:
                raise InputError(
                    f"method {method.name!r} gave weights of shape {tuple(weights.shape)} for losses of shape "
                    f"{tuple(losses.shape)}; there must be one weight per example"
                )
            losses = losses * weights
        return losses

    def _autocast(self) -> AbstractContextManager[object]:
        return autocast(self.run.device, self.trainer.settings.precision)

    def _fetch(self, index: Tensor) -> Batch:
        """The examples of this process, on the device and prepared."""
        share = index[self.accelerator.process_index :: self.accelerator.num_processes]
        batch = self.trainer.train_set.batch(share)
        batch = {name: tensor.to(self.run.device, non_blocking=True) for name, tensor in batch.items()}
        stream = generator(self.run.seed, "prepare", self.run.step, int(share[0]))
        self.run.batch = self.run.task.prepare(batch, training=True, generator=stream)
        return self.run.batch

    def _note(self, terms: dict[str, Tensor]) -> None:
        """Keep the terms of this step; on the CPU read them before the weights are touched.

        Processes share their terms first, so that all of them see a loss that is not finite in the same step.
        """
        if self.accelerator.num_processes > 1:
            terms = {name: self.accelerator.reduce(term, "mean") for name, term in terms.items()}
        self.unread.append((self.run.step, terms))
        if self.check_steps == 1:
            self._read_losses()

    def _read_losses(self) -> None:
        for step, terms in self.unread:
            values = {name: float(term) for name, term in terms.items()}
            if bad := {name: value for name, value in values.items() if not abs(value) < float("inf")}:
                raise self._not_finite(step, bad, values)
            self.loss_sum += sum(values.values())
            self.loss_count += 1
        self.unread.clear()

    def _not_finite(self, step: int, bad: dict[str, float], values: dict[str, float]) -> NotFiniteError:
        saved = "nothing was saved, because the run has no directory"
        if self.trainer.directory is not None:
            # The forward pass has moved the buffers; the weights stand as before the step, if nobody else updated them.
            if self.check_steps == 1 and self.owner is None and not self._not_finite_weights():
                self._write()
            held = self.trainer.directory.checkpoint_path("current")
            saved = f"the last good state is in {held}" if held.exists() else "no checkpoint had been written yet"
        blamed = " and ".join(f"{name} = {value}" for name, value in bad.items())
        return NotFiniteError(
            f"{blamed} at step {step} of phase {self.phase!r} (all terms: {values}). {saved[0].upper()}{saved[1:]}. "
            "A lower learning rate, a warm-up or clip_norm usually helps; if a penalty is named, look at its method"
        )

    def _not_finite_weights(self) -> list[str]:
        """Names of parameters with a NaN or infinite entry, and of buffers with a NaN (a mask may hold -inf)."""
        bad = [name for name, weight in self.run.model.named_parameters() if not torch.isfinite(weight).all()]
        return bad + [name for name, buffer in self.run.model.named_buffers() if torch.isnan(buffer).any()]

    def _evaluation_is_due(self) -> bool:
        return self.run.step % (self.run.steps_per_epoch * self.trainer.settings.evaluate_epochs) == 0

    def _point_is_due(self) -> bool:
        run = self.run
        regular = run.step % max(1, run.num_steps // CURVE_POINTS) == 0
        return regular or run.step == run.num_steps or self._evaluation_is_due()

    def _record(self) -> None:
        """A point of the curve every hundredth of the phase, with validation at the ends of epochs."""
        if not self._point_is_due():
            return
        run, validation = self.run, None
        if self._evaluation_is_due() and run.step != run.num_steps:
            run.share_buffers()
            with ExitStack() as stack:
                stack.enter_context(self.watch.aside("evaluation_s"))
                for method in run.methods:
                    stack.enter_context(method.evaluation_weights(run))
                validation = self.trainer.evaluate(run.model)[run.task.metric]
        self.curve.append(
            {
                "step": run.step,
                "epoch": run.step / run.steps_per_epoch,
                "lr": run.optimizer.param_groups[0]["lr"],
                "train_loss": self.loss_sum / max(1, self.loss_count),
                "validation": validation,
                "seconds": self.watch.seconds,
                **run.logged,
            }
        )
        run.logged = {}
        self.loss_sum, self.loss_count = 0.0, 0

    def save(self, name: str = "current") -> None:
        """Write the state after the last finished step as the checkpoint `name`.

        Raises:
            NotFiniteError: if the loss or the weights are NaN or infinite; the earlier checkpoint stays.
        """
        if self.trainer.directory is None:
            return
        self._read_losses()
        if bad := self._not_finite_weights():
            raise NotFiniteError(
                f"{', '.join(bad[:3])} became NaN or infinite by step {self.run.step} of phase {self.phase!r}, while "
                "the loss was still finite. No checkpoint was written over the last good one. A lower learning rate, a "
                "warm-up or clip_norm usually helps"
            )
        self._write(name)

    def _write(self, name: str = "current") -> None:
        directory = self.trainer.directory
        if directory is None or not self.accelerator.is_main_process:
            return
        progress_made = {
            "step": self.run.step,
            "curve": self.curve,
            "watch": self.watch.state_dict(),
            "loss": [self.loss_sum, self.loss_count],
            "logged": self.run.logged,
        }
        directory.save(name, {"plan": self._plan(), "progress": progress_made, "state": self.run.state_dict()})

    def resume(self) -> None:
        """Go on from the last step of this phase, or from its newest checkpoint, if the directory holds one.

        Raises:
            ArtefactError: if the checkpoint is damaged, or was not written by a trainer.
            InputError: if it was written with another seed, other settings or other methods.
        """
        directory = self.trainer.directory
        if directory is None:
            return
        self.accelerator.wait_for_everyone()  # the first process may still be clearing the last phase away
        name = self.phase if directory.checkpoint_path(self.phase).exists() else "current"
        tree = directory.load(name)
        if tree is None:
            return
        if not isinstance(tree, dict) or not {"plan", "progress", "state"} <= set(tree):
            raise ArtefactError(f"{directory.checkpoint_path(name)} is no checkpoint of a training phase")
        if tree["plan"]["phase"] != self.phase:
            if name == self.phase:
                raise ArtefactError(f"{directory.checkpoint_path(name)} holds phase {tree['plan']['phase']!r}")
            return
        self._check_plan(tree["plan"])
        self.run.load_state_dict(tree["state"])
        made = tree["progress"]
        self.run.step, self.run.epoch = made["step"], made["step"] // self.run.steps_per_epoch
        self.curve, self.run.logged = made["curve"], made["logged"]
        self.watch.load_state_dict(made["watch"])
        self.loss_sum, self.loss_count = made["loss"]
        if self.run.step < self.run.num_steps:
            logger.info("resumed phase %s at step %d of %d", self.phase, self.run.step, self.run.num_steps)

    def _plan(self) -> dict[str, Any]:
        return {
            "phase": self.phase,
            "seed": self.run.seed,
            "num_steps": self.run.num_steps,
            "settings": self.trainer.settings.describe(),
            "machine": {
                "torch": str(torch.__version__),
                "threads": torch.get_num_threads(),
                "processes": self.accelerator.num_processes,
                "device": self.run.device.type,
            },
        }

    def _check_plan(self, saved: dict[str, Any]) -> None:
        now = self._plan()
        for key in ("seed", "num_steps", "settings"):
            if saved[key] != now[key]:
                raise InputError(f"the checkpoint of phase {self.phase!r} has {key} {saved[key]}, this run {now[key]}")
        if saved["machine"] != now["machine"]:
            warnings.warn(
                f"the checkpoint was written with {saved['machine']}, this process has {now['machine']}: the run goes "
                "on, but its result may differ in the last bits from an uninterrupted one",
                stacklevel=4,
            )
