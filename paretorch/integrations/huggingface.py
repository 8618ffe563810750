"""Any method in Hugging Face's `Trainer`, by a callback.

    trainer = Trainer(model, args, train_dataset=data, callbacks=[MethodCallback([MaskEnforcement(masks)])],
                      optimizers=(optimizer, as_scheduler(schedule, optimizer)))

Hooks: on_train_begin -> start, on_step_begin -> before_forward, on_pre_optimizer_step -> before_update, the optimizer's
own step -> after_update and epoch_end, on_train_end -> finish. With gradient accumulation a step is an optimizer step.

Hugging Face clips gradients before on_pre_optimizer_step. Masks act earlier, on each gradient as it is accumulated, so
they need no care: weights are bitwise those of a raw loop with `Masks.attach`. Other methods that change gradients need
`TrainingArguments(max_grad_norm=0)` and `MethodCallback(..., clip_norm=...)`, which clips after them.

A checkpoint gets one more file, `paretorch_methods.safetensors`; with resume_from_checkpoint the methods go on from it.
"""

import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer

from paretorch.artefacts.tree import load_tree, save_tree
from paretorch.errors import ArtefactError, InputError, RunError
from paretorch.integrations.host import HostRun, checked_methods
from paretorch.methods.method import Method, implements

try:
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
except ModuleNotFoundError as error:
    if error.name != "transformers":
        raise
    raise ImportError(
        'paretorch.integrations.huggingface needs transformers, which is not installed: pip install "paretorch[hf]"'
    ) from error

METHODS_FILE = "paretorch_methods.safetensors"
RUN_KEY = "paretorch"  # under which trainer_state.json says which run a checkpoint belongs to


class MethodCallback(TrainerCallback):
    """Drives methods in a Hugging Face `Trainer`.

    Args:
        methods: in the order in which their hooks run.
        submodule: name of the part of the trainer's model that the methods work on, where masks were made for a part;
            "" is all of it.
        clip_norm: bound on the global gradient norm, applied after the methods; needs `max_grad_norm=0` in the
            trainer's arguments.

    Raises:
        InputError: for methods that need a hook this host does not offer.
    """

    def __init__(self, methods: Iterable[Method], *, submodule: str = "", clip_norm: float | None = None) -> None:
        self.methods = checked_methods(methods, host="Hugging Face's Trainer")
        self.submodule, self.clip_norm = submodule, clip_norm
        self.run: HostRun | None = None

    def close(self) -> None:
        """Remove what an interrupted training left on the model; not needed after one that ended or starts again."""
        if self.run is not None:
            self.run.close()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the methods on the unwrapped model and the inner optimizer, or resume them."""
        self.close()
        model, optimizer, loader = kwargs["model"], kwargs["optimizer"], kwargs["train_dataloader"]
        self.run = self._run(args, state, model, optimizer, loader)
        if state.global_step == 0:
            state.stateful_callbacks[RUN_KEY] = {"args": {}, "attributes": {"run": secrets.token_hex(8)}}
            self.run.start()
        else:
            self.run.start(self._saved(args, state))

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Before the first forward pass of an optimizer step."""
        self._running().before_forward()

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Let the methods change the gradients, then clip to `clip_norm`, if that is ours to do."""
        self._running().before_update()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Add what the methods logged to the trainer's history."""
        run = self._running()
        if run.logged:
            state.log_history.append({**run.logged, "step": state.global_step})
            run.logged = {}

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Put the methods' state into the checkpoint that was just written.

        Raises:
            RunError: if the checkpoint is not in `output_dir`, as in a hyper-parameter search.
        """
        if not args.should_save:
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if not folder.is_dir():
            raise RunError(
                f"the state of {[method.name for method in self.methods]} belongs into {folder}, which does not exist; "
                "hyper-parameter searches save elsewhere: use save_strategy='no' there"
            )
        save_tree(folder / METHODS_FILE, {"run": run_of(state), "state": self._running().state_dict()})

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Finish the methods: masks prove their zeros here."""
        self._running().finish()

    def _run(
        self, args: TrainingArguments, state: TrainerState, model: nn.Module, optimizer: Optimizer, loader: Any
    ) -> HostRun:
        early = args.max_grad_norm > 0
        late = [m.name for m in self.methods if implements(m, "before_update") and not m.allows_early_clipping]
        if early and self.clip_norm is not None:
            raise InputError(
                f"gradients would be clipped twice, to max_grad_norm={args.max_grad_norm} by the trainer and to "
                f"clip_norm={self.clip_norm} by MethodCallback; write TrainingArguments(max_grad_norm=0)"
            )
        if early and late:
            raise InputError(
                f"{late} change gradients, and Hugging Face clips before they can, here to max_grad_norm="
                f"{args.max_grad_norm}. Write TrainingArguments(max_grad_norm=0) and MethodCallback(..., "
                f"clip_norm={args.max_grad_norm}) to clip after them."
            )
        return HostRun(
            model.get_submodule(self.submodule),
            optimizer,
            methods=self.methods,
            num_steps=state.max_steps,
            steps_per_epoch=steps_per_epoch(loader, args.gradient_accumulation_steps),
            clip_norm=self.clip_norm,
            seed=args.seed,
            clips_before_update=early,
        )

    def _saved(self, args: TrainingArguments, state: TrainerState) -> dict[str, Any]:
        """The methods' state from the checkpoint that is being resumed."""
        named = args.resume_from_checkpoint  # often "True" or left out, and the folder given to train() instead
        default = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        file = (Path(named) if named and Path(named).is_dir() else default) / METHODS_FILE
        if not file.is_file():
            raise ArtefactError(
                f"{file} does not exist, so the methods cannot go on at step {state.global_step}. If the checkpoint "
                "is in another folder, give it as TrainingArguments(resume_from_checkpoint=...); if it was written "
                "without MethodCallback, or the process was killed while it was written, resume from an earlier one"
            )
        saved = load_tree(file)
        if saved["run"] != run_of(state):
            raise ArtefactError(
                f"{file} belongs to another run than the checkpoint that is being resumed; give the folder of that "
                "checkpoint as TrainingArguments(resume_from_checkpoint=...)"
            )
        return saved["state"]

    def _running(self) -> HostRun:
        if self.run is None:
            raise RunError("MethodCallback was added to a trainer that is training already; pass it as callbacks=[...]")
        return self.run


def run_of(state: TrainerState) -> str | None:
    """Which run the trainer's state belongs to: the token drawn at its first step."""
    return state.stateful_callbacks.get(RUN_KEY, {}).get("attributes", {}).get("run")


def steps_per_epoch(loader: Any, accumulate: int) -> int | None:
    """Optimizer steps of one pass, as the trainer counts them; None for a stream without a length."""
    try:
        return max(1, -(-len(loader) // accumulate))
    except TypeError:
        return None
