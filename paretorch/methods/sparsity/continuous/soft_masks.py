"""Training through soft masks: the forward pass sees c w sigma(beta s), and w and s are learned by two optimizers.

    f(w) = c w m,    m = sigma(beta s),    c = 1 / sigma(s_0), or 1
    dL/dw = g c m,    dL/ds = (g w + k) c beta m (1 - m)                   g = dL/df(w)
    loss + penalty mean(c m) + 4 strength / (T beta) gap sum(m),                 k = what the last two terms give
    gap = (d - density) / min(density, 1 - density), at most 1 either way, a constant;     d = mean(1[s > 0])

With c the network begins as the one without masks. w is moved by the run's optimizer, s by an SGD of its own with
Nesterov momentum 0.9 and no weight decay, whose rate follows the course of the main one. The first term is the paper's
lambda ||m||_1 with lambda = penalty / N. The second is signed by what is missing or too many, as in CSQ. It moves an
undecided logit by up to strength / T per unit of learning rate and leaves decided ones, so that the order of the logits
is left to the task; this normalisation, by the gap's size, by beta and by the number of steps T, is ours.

Sources: Savarese, Silva and Maire, NeurIPS 2020, equation 4; c, the two optimizers and their settings are those of the
authors' code; the signed pull: CSQ, arXiv 2212.02770, and its code. Masks are computed in float32, also in a mixed
precision run.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import SGD, Optimizer

from paretorch.errors import InputError
from paretorch.methods.method import Run
from paretorch.methods.sparsity.continuous.logits import MaskLogits, inverse_temperature
from paretorch.methods.sparsity.enforcement import MaskEnforcement
from paretorch.methods.sparsity.gradual.base import GradualMethod
from paretorch.methods.sparsity.gradual.substitution import SubstitutedWeights
from paretorch.methods.sparsity.gradual.trained import refuse_sharding
from paretorch.methods.sparsity.masks import Masks
from paretorch.methods.sparsity.prunable import Patterns
from paretorch.methods.sparsity.zeroing import zero_pruned_

Ending = Literal["top-k", "threshold"]
MOMENTUM = 0.9
MOST_INITIAL = 80.0


class SoftMasks(SubstitutedWeights):
    """Base of what trains through soft masks; a subclass writes `finish`.

    Logs after every epoch the fraction of weights with s <= 0 as "sparsity", and the fraction of gates that would be
    "undecided" at the final beta. Validation sees hard masks.

    Args:
        sparsity: fraction of the prunable weights that hard masks prune, in [0, 1), and that `strength` pulls to.
        initial: s_0. Farther below 0 leaves fewer weights; near 0 leaves gates that nothing moved undecided.
        final_beta: beta_T at the last step, at least 1; 1 keeps the temperature fixed.
        strength: of the pull towards the density 1 - `sparsity`; 0 leaves the density to s_0, penalty and task.
        penalty: of the mean open gate; 0 is none. The authors' lambda of 1e-8 is a penalty of 1e-8 N.
        ending: hard masks keep "top-k", the exact number of largest s, or what is above the "threshold" of 0.
        scaled: c = 1 / sigma(s_0), folded into the weights in the end, or c = 1; None takes c where the model has batch
            normalisation, which undoes it.
        mask_lr: learning rate of s while the main optimizer is at the rate that it was made with.
        include, exclude: name patterns of prunable parameters.

    Attributes:
        logits: s; after `start`.
        scale: c; after `start`.

    Raises:
        InputError: for a number out of range.
    """

    even_steps = True

    logits: MaskLogits
    scale: float

    def __init__(
        self,
        *,
        sparsity: float,
        initial: float = -0.1,
        final_beta: float = 200.0,
        strength: float = 1.0,
        penalty: float = 0.0,
        ending: Ending = "top-k",
        scaled: bool | None = None,
        mask_lr: float = 0.1,
        include: Patterns = None,
        exclude: Patterns = None,
    ) -> None:
        super().__init__(sparsity=sparsity, include=include, exclude=exclude)
        if not abs(initial) <= MOST_INITIAL:
            raise InputError(
                f"initial, the mask logit that all weights begin at, must lie within {MOST_INITIAL:g} of 0, beyond "
                f"which its gate is 0 or 1 in float32; got {initial}"
            )
        if not 1 <= final_beta < math.inf:
            raise InputError(f"final_beta must be finite and at least 1; got {final_beta}")
        if not (0 <= strength < math.inf and 0 <= penalty < math.inf):
            raise InputError(f"strength and penalty must be finite and not negative; got {strength} and {penalty}")
        if ending not in get_args(Ending):
            raise InputError(f"ending is 'top-k' or 'threshold'; got {ending!r}")
        if not 0 < mask_lr < math.inf:
            raise InputError(f"mask_lr must be positive and finite; got {mask_lr}")
        self.initial, self.final_beta, self.strength, self.open_penalty = initial, final_beta, strength, penalty
        self.ending, self.scaled, self.mask_lr = ending, scaled, mask_lr
        self.exact = ending == "top-k"
        if strength:
            self.step_key += ", pulled"  # counts what is open in every step

    def check(self, model: nn.Module, *, num_steps: int, steps_per_epoch: int) -> None:
        """Refuse what `start` would refuse.

        Raises:
            InputError: also for weights that are frozen or sharded over processes.
        """
        super().check(model, num_steps=num_steps, steps_per_epoch=steps_per_epoch)
        refuse_sharding(self.name, model)
        if frozen := [name for name, weight in self.parameters(model).items() if not weight.requires_grad]:
            raise InputError(
                f"{self.name!r} learns masks from the gradients of the weights, and {', '.join(frozen[:3])} have none "
                "(requires_grad=False); train them, or pass them as exclude"
            )

    def check_optimizer(self, optimizer: Optimizer) -> None:
        """Refuse an optimizer whose learning rate the masks' cannot follow.

        Raises:
            InputError: if it was made with no positive rate.
        """
        made_with = optimizer.defaults.get("lr")
        if made_with is None or not float(made_with) > 0:
            raise InputError(
                f"the rate of the masks follows the main optimizer's, and {type(optimizer).__name__} was made with "
                f"lr={made_with}; make it with the highest rate of the run"
            )

    def start(self, run: Run) -> None:
        """Begin with all logits at s_0.

        Raises:
            InputError: as `check` and `check_optimizer`, and beside a method that makes zeros of the same weights.
        """
        super().start(run)
        self._refuse_company(run)
        self.scale = self._scale(run.model)
        self.logits = MaskLogits.constant({name: weight.detach() for name, weight in self._weights()}, self.initial)
        self._gates = {name: torch.empty_like(s) for name, s in self.logits.items()}
        self._hard: Masks | None = None
        run.optimizers["masks"] = SGD(self.logits.values(), lr=self.mask_lr, momentum=MOMENTUM, nesterov=True)

    def beta(self, run: Run) -> float:
        """The inverse temperature of the present step."""
        return inverse_temperature(run.step, run.num_steps, final=self.final_beta)

    def hard_masks(self, model: nn.Module) -> Masks:
        """What the end would keep now."""
        return self.logits.masks(self.num_pruned(model) if self.ending == "top-k" else None)

    def prepare(self, run: Run) -> None:
        """c m of the step, and k."""
        if self._hard is not None:
            return
        self._beta = beta = self.beta(run)
        for name, s in self.logits.items():
            torch.mul(s.detach(), beta, out=self._gates[name]).sigmoid_().mul_(self.scale)
        pull = 4 * self.strength / (run.num_steps * beta * self.scale)
        self._k = self.open_penalty / self.logits.num_weights() + (pull * self._gap() if pull else 0.0)

    def write(self, name: str, weight: Tensor) -> None:
        if self._hard is None:
            weight.mul_(self._gates[name])
        else:
            zero_pruned_(weight, self._hard[name])
            weight.mul_(self.scale)

    def chain(self, name: str, weight: Tensor, gradient: Tensor) -> None:
        product = gradient.to(self._gates[name].dtype) * weight
        self.logits[name].grad = product.add_(self._k).mul_(self._slope(name))
        gradient.mul_(self._gates[name])

    @torch.no_grad()
    def before_update(self, run: Run) -> None:
        super().before_update(run)
        if self._inside:
            return
        for name, s in self.logits.items():  # also of a layer that the loss did not reach
            if s.grad is None:
                s.grad = self._slope(name).mul_(self._k)

    @torch.no_grad()
    def after_update(self, run: Run) -> None:
        """Move s, unless the gradients overflowed, in which case a loss scaler has skipped the weights' step too."""
        if self._inside:
            return
        optimizer, main = run.optimizers["masks"], run.optimizer
        total = torch.stack([s.grad.sum() for s in self.logits.values() if s.grad is not None]).sum()
        if bool(torch.isfinite(total)):
            for group in optimizer.param_groups:
                group["lr"] = self.mask_lr * _course(main)
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    @contextmanager
    def evaluation_weights(self, run: Run) -> Iterator[None]:
        """Validation during training sees hard masks."""
        with self._hardened(run), super().evaluation_weights(run):
            yield

    def present_sparsity(self, run: Run) -> float:
        return 1 - self.logits.open_fraction()

    def epoch_end(self, run: Run) -> None:
        super().epoch_end(run)
        run.log(undecided=self.logits.undecided(self.final_beta))

    def state_dict(self) -> dict[str, Any]:
        """All s; beta follows from the step, and the momentum is in the optimizer's state.

        Raises:
            NotFiniteError: naming the layers whose s became NaN or infinite.
        """
        self.logits.check()
        return super().state_dict() | {"logits": self.logits.state_dict()}

    def load_state_dict(self, run: Run, state: dict[str, Any]) -> None:
        self.logits.load_state_dict(state["logits"])

    def harden(self, run: Run) -> None:
        """Leave c w under the hard masks, and drop the optimizer of s; what `finish` of a subclass does.

        Raises:
            NotFiniteError: if an s became NaN or infinite; the model is then as it was.
        """
        self.logits.check()
        with torch.no_grad(), self._hardened(run) as masks:
            self._enter(run)
            self._inside, self._held = False, {}
            self.leave(run.model, masks)
        del run.optimizers["masks"]

    def details(self) -> dict[str, Any]:
        """The fractions of s > 0 and of undecided gates at the final beta, and c."""
        return {
            "open": self.logits.open_fraction(),
            "undecided": self.logits.undecided(self.final_beta),
            "scale": self.scale,
        }

    @contextmanager
    def _hardened(self, run: Run) -> Iterator[Masks]:
        """A context in which f(w) is c w under hard masks."""
        self._hard = self.hard_masks(run.model)
        try:
            yield self._hard
        finally:
            self._hard = None

    def _gap(self) -> Tensor:
        """How many weights are open beyond the wanted ones, relative to what is rarer, in [-1, 1]; 0-d."""
        opened = torch.stack([(s.detach() > 0).sum().to(s.dtype) for s in self.logits.values()]).sum()
        density = 1 - self.sparsity
        rarer = max(min(density, self.sparsity), 1 / self.logits.num_weights())
        return ((opened / self.logits.num_weights() - density) / rarer).clamp(-1, 1)

    def _slope(self, name: str) -> Tensor:
        """c beta m (1 - m), from c m."""
        gate = self._gates[name]
        return torch.mul(gate, -self._beta / self.scale).add_(self._beta).mul_(gate)

    def _refuse_company(self, run: Run) -> None:
        own = self.parameters(run.model)
        for other in getattr(run, "methods", ()):  # of our trainer; other loops refuse the method by name
            names: Iterable[str] = ()
            if isinstance(other, MaskEnforcement):
                names = other.masks
            elif isinstance(other, GradualMethod) and other is not self:
                names = other.parameters(run.model)
            if shared := [name for name in names if name in own]:
                raise InputError(
                    f"{self.name!r} and {other.name!r} both make zeros of {', '.join(shared[:3])} in one phase, and "
                    "zeros of one would count as weights that the other keeps; use one of them, or give them different "
                    "weights by include and exclude"
                )

    def _scale(self, model: nn.Module) -> float:
        normed = any(isinstance(module, _BatchNorm) for module in model.modules())
        if not (normed if self.scaled is None else self.scaled):
            return 1.0
        return 1 + math.exp(-self.initial)


def _course(optimizer: Optimizer) -> float:
    """The main optimizer's rate over that which it was made with, read from a group that is not held still."""
    groups = optimizer.param_groups
    group = next((one for one in groups if one.get("lr_scale", 1.0) > 0), groups[0])
    return float(group["lr"]) / float(group.get("lr_scale", 1.0) or 1.0) / float(optimizer.defaults["lr"])
