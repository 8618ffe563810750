"""The step of a generative adversarial network: one update of the discriminator, then one of the generator.

    discriminator:   mean softplus(-D(x)) + mean softplus(D(G(z)))
    generator:       mean softplus(-D(G(z)))            the non-saturating loss, Goodfellow et al. 2014, section 3

with softplus(-v) = -log sigmoid(v). Both use the optimizer of the run's settings, `BETAS` where these give none and it
is adaptive (Radford et al. 2016, section 4), and one z per step for both turns. The generator is the model that is
trained, pruned and saved. The discriminator is only a tool of its training and belongs to this method: its optimizer is
one of the run's, its weights are in the method's state, and at the end of a phase it stays at hand in
`model.opponents`, from where the next phase takes it. A pruned generator thus goes on against the discriminator it was
trained with; a fresh one would have to learn first, at the cost of the generator (Chen et al. 2021, GANs Can Play
Lottery Tickets Too).
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from paretorch.errors import InputError
from paretorch.methods.method import Method, Run, StepResult
from paretorch.training.models.dcgan import Generator

BETAS = (0.5, 0.999)  # for tasks that train by this step: their `betas`
LOG_POINTS = 100


class AdversarialStep(Method):
    """Owns the step. Batches hold real images under `inputs` and the generator's random numbers under `latent`.

    Args:
        discriminator: builds a fresh one, for a generator that has none yet.

    The discriminator's optimizer is of the main one's class and settings, and starts afresh in every phase. Its
    learning rate in a step is that of the main optimizer, so one schedule drives both.
    """

    name = "adversarial"
    OPTIMIZER = "discriminator"

    def __init__(self, discriminator: Callable[[], nn.Module]) -> None:
        self.build = discriminator

    def start(self, run: Run) -> None:
        """Take or make the discriminator.

        Raises:
            InputError: for several processes, among which its gradients would not be shared, a model that is no
                `Generator`, or an optimizer that `like` cannot build.
        """
        together = torch.distributed.is_available() and torch.distributed.is_initialized()
        if together and (count := torch.distributed.get_world_size()) > 1:
            raise InputError(f"an adversarial step trains in one process; this run has {count}")
        if not isinstance(run.model, Generator):
            raise InputError(f"an adversarial step trains a Generator; this model is a {type(run.model).__name__}")
        self.discriminator = (run.model.opponents[0] if run.model.opponents else self.build()).to(run.device).train()
        run.model.opponents = (self.discriminator,)
        run.optimizers[self.OPTIMIZER] = like(run.optimizer, self.discriminator.parameters())

    def training_step(self, run: Run, batch: dict[str, Tensor]) -> StepResult:
        with torch.no_grad():
            made = run.wrapped(batch["latent"])
        judged = F.softplus(-self.discriminator(batch["inputs"])) + F.softplus(self.discriminator(made))
        judgement = judged.mean()
        run.optimizers[self.OPTIMIZER].param_groups[0]["lr"] = run.optimizer.param_groups[0]["lr"]
        run.backward(judgement)
        run.update(self.OPTIMIZER)
        # In the generator's turn the gradients of the discriminator's weights would be computed for nothing. The images
        # are made again, because other methods may have written to the generator's weights in `run.update`.
        self.discriminator.requires_grad_(False)
        loss = generator_loss(self.discriminator, run.wrapped(batch["latent"])).mean()
        run.backward(loss)
        self.discriminator.requires_grad_(True)
        run.update()
        if (run.step + 1) % max(1, run.num_steps // LOG_POINTS) == 0:
            run.log(discriminator_loss=float(judgement.detach()))
        return StepResult(loss=loss.detach())

    def finish(self, run: Run) -> None:
        self.discriminator.eval()

    def state_dict(self) -> dict[str, Any]:
        return {"discriminator": self.discriminator.state_dict()}

    def load_state_dict(self, run: Run, state: dict[str, Any]) -> None:
        self.discriminator.load_state_dict(state["discriminator"])


def generator_loss(discriminator: nn.Module, made: Tensor) -> Tensor:
    """The non-saturating loss (n,) of generated images (n, ...), as their generator would lower it."""
    return F.softplus(-discriminator(made))


def like(optimizer: Optimizer, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """A fresh optimizer of the same class and settings, for other parameters.

    Raises:
        InputError: if the class is not made of parameters and lr alone, or the optimizer has several groups, whose
            settings have no counterpart among the others.
    """
    kind, group = type(optimizer), optimizer.param_groups[0]
    if (count := len(optimizer.param_groups)) > 1:
        raise InputError(
            f"the discriminator takes the settings of the generator's {kind.__name__}, and it has {count} groups of "
            "them; give all parameters the same"
        )
    try:
        made = kind(parameters, lr=group["lr"])  # type: ignore[call-arg]
    except TypeError as error:
        raise InputError(
            f"the discriminator cannot be given a {kind.__name__} like the generator's: {error}; give an OptimizerSpec"
        ) from error
    # What is no setting stays its own: parameters, and tensors such as AvaGrad's factor of the last step.
    own = {key for key, value in group.items() if key in ("params", "param_names") or isinstance(value, Tensor)}
    made.param_groups[0].update({key: value for key, value in group.items() if key not in own})
    return made
