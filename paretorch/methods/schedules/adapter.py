"""A pure schedule as a torch scheduler, for training loops outside this package."""

from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from paretorch.errors import InputError
from paretorch.methods.schedules.base import Schedule


def as_scheduler(schedule: Schedule, optimizer: Optimizer) -> LRScheduler:
    """A torch scheduler that sets every group's learning rate to `schedule(step) * lr_scale`.

    Step 0 is set at once; call `.step()` after each `optimizer.step()`. What an earlier phase left in the parameter
    groups (`lr`, `initial_lr`) has no influence, so one optimizer may see several phases. A group may carry its own
    `lr_scale`, a finite number >= 0, by default 1. The call after the last step leaves the learning rate as it is; one
    more raises, since the schedule has no value there. `state_dict` holds numbers only.

    Args:
        schedule: at least one step long.
        optimizer: any torch optimizer; learning rates that are tensors are written in place.

    Raises:
        InputError: for an empty schedule, a bad `lr_scale`, or (in `load_state_dict`) another schedule's state.
    """
    if schedule.num_steps == 0:
        raise InputError("a schedule of 0 steps has no learning rate to set; skip the phase")
    return PureScheduler(optimizer, schedule=schedule)


class PureScheduler(LRScheduler):
    """The scheduler behind `as_scheduler`; its only state is the step."""

    def __init__(self, optimizer: Optimizer, *, schedule: Schedule) -> None:
        self.schedule = schedule
        untouched = [group for group in optimizer.param_groups if "initial_lr" not in group]
        super().__init__(optimizer)
        # The base class leaves `initial_lr` behind, and a torch scheduler built later would start from it.
        for group in untouched:
            del group["initial_lr"]

    def get_lr(self) -> list[float | Tensor]:
        """The learning rate of each parameter group at the current step."""
        lr = self._lr_now()
        return [lr * _scale(number, group) for number, group in enumerate(self.optimizer.param_groups)]

    def state_dict(self) -> dict[str, Any]:
        """The step, and what identifies the schedule: its length and its learning rate there."""
        return {"step": self.last_epoch, "num_steps": self.schedule.num_steps, "lr": self._lr_now()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on at the saved step, and set the learning rates of that step.

        Raises:
            InputError: if the state belongs to a schedule of other length or with another learning rate at that step.
        """
        num_steps, step = state_dict["num_steps"], state_dict["step"]
        if num_steps != self.schedule.num_steps:
            raise InputError(f"the saved schedule had {num_steps} steps, this one has {self.schedule.num_steps}")
        lr = self.schedule(min(step, num_steps - 1))
        if lr != state_dict["lr"]:
            raise InputError(
                f"the saved schedule had a learning rate of {state_dict['lr']} at step {step}, this one has {lr}; "
                f"resume with the schedule that was saved"
            )
        self.last_epoch, self._step_count = step, step + 1
        self._last_lr = self.get_lr()
        for group, value in zip(self.optimizer.param_groups, self._last_lr, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(value)
            else:
                group["lr"] = value

    def _lr_now(self) -> float:
        step = self.last_epoch
        return self.schedule(step - 1 if step == self.schedule.num_steps else step)


def _scale(number: int, group: dict[str, Any]) -> float:
    scale = float(group.get("lr_scale", 1.0))
    if not 0 <= scale < float("inf"):
        raise InputError(f"lr_scale of parameter group {number} must be a finite number >= 0; got {scale}")
    return scale
