"""Optimizers whose learning rates per weight do not depend on the gradient that they scale."""

from paretorch.methods.optim.avagrad import AvaGrad, AvaGradW
from paretorch.methods.optim.delayed_adam import DelayedAdam

__all__ = ["AvaGrad", "AvaGradW", "DelayedAdam"]
