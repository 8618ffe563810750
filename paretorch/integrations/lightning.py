"""Any method in a Lightning `Trainer`, by a callback.

    trainer = Trainer(max_epochs=10, callbacks=[MethodCallback([MaskEnforcement(masks)], submodule="net")])

Hooks: on_train_start -> start, on_train_batch_start -> before_forward, on_before_optimizer_step -> before_update (which
is before Lightning clips), the optimizer's own step -> after_update and epoch_end, on_train_end -> finish. With
gradient accumulation a step is an optimizer step. Checkpoints carry the methods' state; `fit(ckpt_path=...)` goes on
from it. A schedule goes into `configure_optimizers`::

    scheduler = as_scheduler(schedule, optimizer)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

With manual optimization, `before_update` comes where the module calls the optimizer's `step`, thus after a clipping of
its own; masks act earlier there, on each gradient as it is accumulated.
"""

import math
from collections.abc import Iterable
from typing import Any

from torch.optim import Optimizer

from paretorch.errors import InputError, RunError
from paretorch.integrations.host import HostRun, checked_methods
from paretorch.methods.method import Method

try:
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.callbacks import Callback
except ModuleNotFoundError as error:
    if error.name != "lightning":
        raise
    raise ImportError(
        'paretorch.integrations.lightning needs lightning, which is not installed: pip install "paretorch[lightning]"'
    ) from error


class MethodCallback(Callback):
    """Drives methods in a Lightning `Trainer`.

    Args:
        methods: in the order in which their hooks run.
        submodule: name of the part of the LightningModule that the methods work on, "net" for `self.net`; "" is all of
            it, and parameter names then begin with the attribute's name.

    Raises:
        InputError: for methods that need a hook this host does not offer.
    """

    def __init__(self, methods: Iterable[Method], *, submodule: str = "") -> None:
        self.methods = checked_methods(methods, host="Lightning's Trainer")
        self.submodule = submodule
        self.run: HostRun | None = None
        self._restored: dict[str, Any] | None = None

    @property
    def state_key(self) -> str:
        """One entry of the checkpoint per set of methods."""
        return self._generate_state_key(methods=[method.name for method in self.methods])

    def close(self) -> None:
        """Remove all hooks without finishing."""
        if self.run is not None:
            self.run.close()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget state that an earlier `fit`, `validate` or `test` loaded; comes before this one's is."""
        self._restored = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the methods on the unwrapped module and its optimizers, or resume them."""
        self.close()
        num_steps = trainer.estimated_stepping_batches
        if math.isinf(num_steps):
            raise InputError("methods need to know how long the training is; give the Trainer max_epochs or max_steps")
        batches, accumulate = trainer.num_training_batches, trainer.accumulate_grad_batches
        first, *others = trainer.optimizers
        self.run = HostRun(
            pl_module.get_submodule(self.submodule),
            {"main": first} | {f"optimizer-{i}": optimizer for i, optimizer in enumerate(others, start=1)},
            methods=self.methods,
            num_steps=int(num_steps),
            steps_per_epoch=None if math.isinf(batches) else max(1, math.ceil(batches / accumulate)),
            clips_before_update=not pl_module.automatic_optimization,
        )
        self.run.start(self._restored)
        self._restored = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Before the first forward pass of an optimizer step."""
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._running().before_forward()

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Let the methods change the gradients, before Lightning clips them."""
        self._running().before_update()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log what the methods logged."""
        run = self._running()
        if run.logged:
            pl_module.log_dict(run.logged)
            run.logged = {}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Finish the methods: masks prove their zeros here."""
        self._running().finish()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Remove all hooks."""
        self.close()

    def state_dict(self) -> dict[str, Any]:
        """The methods' state, for Lightning's checkpoint."""
        return {} if self.run is None else self.run.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state until the training starts; weights and optimizers are loaded before that."""
        self._restored = state_dict

    def _running(self) -> HostRun:
        if self.run is None:
            raise RunError("MethodCallback was added to a Trainer that is training already; pass it as callbacks=[...]")
        return self.run
