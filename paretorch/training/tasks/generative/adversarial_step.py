"""The step of a generative adversarial network: one update of the discriminator, then one of the generator.

    discriminator:   mean softplus(-D(x)) + mean softplus(D(G(z)))
    generator:       mean softplus(-D(G(z)))            the non-saturating loss, Goodfellow et al. 2014, section 3

with softplus(-v) = -log sigmoid(v). Both use Adam with beta1 = 0.5 (Radford et al. 2016, section 4), and one z per step
for both turns. The generator is the model that is trained, pruned and saved. The
discriminator is only a tool of its training and belongs to this method: its optimizer is one of the run's, its weights
are in the method's state, and at the end of a phase it stays at hand in `model.opponents`, from where the next phase
takes it. A pruned generator thus goes on against the discriminator it was trained with; a fresh one would have to learn
first, at the cost of the generator (Chen et al. 2021, GANs Can Play Lottery Tickets Too).
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.methods.method import Method, Run, StepResult
from paretorch.training.models.dcgan import Generator

LOG_POINTS = 100


class AdversarialStep(Method):
    """Owns the step. Batches hold real images under `inputs` and the generator's random numbers under `latent`.

    Args:
        discriminator: builds a fresh one, for a generator that has none yet.
        beta1: of both optimizers, where they are Adam's.

    The discriminator's optimizer is Adam, and starts afresh in every phase. Its learning rate in a step is that of the
    main optimizer, so one schedule drives both.
    """

    name = "adversarial"
    OPTIMIZER = "discriminator"

    def __init__(self, discriminator: Callable[[], nn.Module], *, beta1: float = 0.5) -> None:
        self.build, self.beta1 = discriminator, beta1

    def start(self, run: Run) -> None:
        """Take or make the discriminator.

        Raises:
            InputError: for several processes, among which its gradients would not be shared, or a model that is no
                `Generator`.
        """
        together = torch.distributed.is_available() and torch.distributed.is_initialized()
        if together and (count := torch.distributed.get_world_size()) > 1:
            raise InputError(f"an adversarial step trains in one process; this run has {count}")
        if not isinstance(run.model, Generator):
            raise InputError(f"an adversarial step trains a Generator; this model is a {type(run.model).__name__}")
        self.discriminator = (run.model.opponents[0] if run.model.opponents else self.build()).to(run.device).train()
        run.model.opponents = (self.discriminator,)
        for group in run.optimizer.param_groups:
            if "betas" in group:
                group["betas"] = (self.beta1, group["betas"][1])
        lr = run.optimizer.param_groups[0]["lr"]
        run.optimizers[self.OPTIMIZER] = torch.optim.Adam(
            self.discriminator.parameters(), lr=lr, betas=(self.beta1, 0.999)
        )

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
