"""How a phase is trained, apart from what is learned and how long: optimizer, batch, precision, checkpoints."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any, Literal, get_args

import torch
from torch import nn

from paretorch.errors import InputError
from paretorch.methods.optim import AvaGrad, AvaGradW, DelayedAdam

OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
OptimizerName = Literal["sgd", "adam", "adamw", "avagrad", "avagradw", "delayed-adam"]

ADAPTIVE: Mapping[OptimizerName, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "avagrad": AvaGrad,
    "avagradw": AvaGradW,
    "delayed-adam": DelayedAdam,
}


@dataclass(frozen=True, kw_only=True)
class OptimizerSpec:
    """An optimizer by name: calling it with parameters builds it.

    Args:
        name: "sgd", "adam" or "adamw" of torch, or "avagrad", "avagradw", "delayed-adam" of `paretorch.methods.optim`.
        lr: peak learning rate; schedules start from it.
        momentum, nesterov: SGD only.
        weight_decay: as in torch.optim; beside the gradient for "adamw" and "avagradw", in it for the others.
        eps, betas: not of SGD; None: the default of the optimizer.

    Raises:
        InputError: for an unknown name, a number out of range, Nesterov without momentum, or eps or betas for SGD.
    """

    name: OptimizerName = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    eps: float | None = None
    betas: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.name not in get_args(OptimizerName):
            raise InputError(f"optimizer {self.name!r} is unknown; choose one of {', '.join(get_args(OptimizerName))}")
        if not (isfinite(self.lr) and self.lr > 0):
            raise InputError(f"lr = {self.lr} must be positive and finite")
        for name, value in (("momentum", self.momentum), ("weight_decay", self.weight_decay)):
            if not (isfinite(value) and value >= 0):
                raise InputError(f"{name} = {value} must be finite and must not be negative")
        if self.nesterov and (self.name != "sgd" or self.momentum == 0):
            raise InputError("nesterov=True needs sgd with momentum > 0")
        if self.name == "sgd" and (self.eps, self.betas) != (None, None):
            raise InputError("sgd has no eps and no betas; leave them out, or choose an adaptive optimizer")
        if self.eps is not None and not (isfinite(self.eps) and self.eps > 0):
            raise InputError(f"eps = {self.eps} must be positive and finite")
        if self.betas is not None and not (len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas)):
            raise InputError(f"betas = {self.betas} must be two numbers in [0, 1)")

    def __call__(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        if self.name == "sgd":
            return torch.optim.SGD(
                parameters,
                lr=self.lr,
                momentum=self.momentum,
                nesterov=self.nesterov,
                weight_decay=self.weight_decay,
            )
        own = {"eps": self.eps, "betas": self.betas}
        given = {key: value for key, value in own.items() if value is not None}
        return ADAPTIVE[self.name](parameters, lr=self.lr, weight_decay=self.weight_decay, **given)


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Settings shared by the phases of a run.

    Args:
        batch_size: examples per optimizer step, over all processes and micro-batches together.
        optimizer: builds the main optimizer from parameters, e.g. an `OptimizerSpec`.
        clip_norm: bound on the global gradient norm (after `before_update`), or None.
        accumulate: micro-batches per step.
        precision: "no" (fp32), "bf16" or "fp16" autocast.
        device: "cpu", "cuda", ..., or None for the best one there is.
        checkpoint_seconds: a checkpoint at most this often; 0 after every step.
        evaluate_epochs: validate every so many epochs, and at the end.

    Raises:
        InputError: for numbers out of range.
    """

    batch_size: int = 128
    optimizer: OptimizerFactory = field(default_factory=OptimizerSpec)
    clip_norm: float | None = None
    accumulate: int = 1
    precision: Literal["no", "bf16", "fp16"] = "no"
    device: str | None = None
    checkpoint_seconds: float = 30.0
    evaluate_epochs: int = 1

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.accumulate < 1 or self.evaluate_epochs < 1:
            raise InputError("batch_size, accumulate and evaluate_epochs must be at least 1")
        if self.batch_size % self.accumulate:
            raise InputError(f"accumulate={self.accumulate} must divide batch_size={self.batch_size}")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise InputError(f"clip_norm must be positive or None; got {self.clip_norm}")
        if self.precision not in ("no", "bf16", "fp16"):
            raise InputError(f"precision must be 'no', 'bf16' or 'fp16'; got {self.precision!r}")
        if self.device is not None:
            _check_device(self.device)
        if not self.checkpoint_seconds >= 0:
            raise InputError(f"checkpoint_seconds must not be negative; got {self.checkpoint_seconds}")

    def describe(self) -> dict[str, Any]:
        """Plain values for records."""
        if isinstance(self.optimizer, OptimizerSpec):
            optimizer: Any = {key: value for key, value in asdict(self.optimizer).items() if value is not None}
        else:  # without addresses in memory, which are others in the process that resumes
            optimizer = re.sub(r" at 0x[0-9a-fA-F]+", "", repr(self.optimizer))
        return {
            "batch_size": self.batch_size,
            "optimizer": optimizer,
            "clip_norm": self.clip_norm,
            "accumulate": self.accumulate,
            "precision": self.precision,
        }


def _check_device(name: str) -> None:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"device {name!r} is unknown to torch; use 'cpu', 'cuda', 'mps', 'xpu' or None") from error
    if device.index:
        raise InputError(
            f"device {name!r} names one of several; the launcher chooses among them, so make only that one visible "
            f"(CUDA_VISIBLE_DEVICES={device.index}) and give {device.type!r}"
        )
