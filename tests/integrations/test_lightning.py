"""Methods in Lightning's Trainer: bitwise the raw loop, exact zeros, resumed checkpoints, manual optimization."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

import paretorch as pt
from paretorch.errors import InputError

from .training import (
    BATCH,
    CLIP_NORM,
    STEPS,
    MovingMasks,
    Recorder,
    SignGradients,
    Trained,
    assert_exact_zeros,
    assert_same_weights,
    examples,
    host_run,
    masks_for,
    network,
    optimizer_for,
    raw_loop,
    schedule_for,
)

pytest.importorskip("lightning", reason="needs the lightning extra")
from lightning.pytorch import Callback, LightningModule, Trainer

from paretorch.integrations.lightning import MethodCallback

pytestmark = [
    pytest.mark.slow,
    # Lightning's own use of torch, and its advice on workers; nothing of ours causes them or could avoid them.
    pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The '.*dataloader' does not have many workers"),
]


class Classifier(LightningModule):
    def __init__(self, kind: str, num_steps: int = STEPS) -> None:
        super().__init__()
        self.net, self.kind, self.num_steps = network(), kind, num_steps

    def training_step(self, batch, batch_idx):
        inputs, targets = batch
        return F.cross_entropy(self.net(inputs), targets)

    def configure_optimizers(self):
        optimizer = optimizer_for(self.kind, self)
        scheduler = pt.as_scheduler(schedule_for(self.kind, self.num_steps), optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class ManualClassifier(Classifier):
    """Takes its steps itself, and clips before them."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(super().training_step(batch, batch_idx))
        self.clip_gradients(optimizer, gradient_clip_val=CLIP_NORM, gradient_clip_algorithm="norm")
        optimizer.step()
        self.lr_schedulers().step()


class LearningRates(Callback):
    def __init__(self) -> None:
        self.lrs = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.lrs.append(optimizer.param_groups[0]["lr"])


class Interrupt(Callback):
    """Saves after the given step, then fails."""

    def __init__(self, step: int, file) -> None:
        self.step, self.file = step, file

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.file)
            raise ZeroDivisionError


def trainer_for(folder, callbacks, **options) -> Trainer:
    settings = {
        "accelerator": "cpu",
        "devices": 1,
        "max_epochs": 1,
        "gradient_clip_val": CLIP_NORM,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": folder,
    }
    return Trainer(callbacks=callbacks, **{**settings, **options})


def loader() -> DataLoader:
    return DataLoader(TensorDataset(*examples()), batch_size=BATCH)


def trained(folder, module: Classifier, **options) -> Trained:
    masks = masks_for(module.net)
    rates = LearningRates()
    callbacks = [MethodCallback([pt.MaskEnforcement(masks)], submodule="net"), rates]
    trainer_for(folder, callbacks, **options).fit(module, loader())
    return Trained(module.net, masks, rates.lrs)


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_weights_masks_and_learning_rates_are_those_of_the_raw_loop(tmp_path, kind, accumulate):
    raw = raw_loop(kind, accumulate=accumulate)
    ours = trained(tmp_path, Classifier(kind, STEPS // accumulate), accumulate_grad_batches=accumulate)
    assert ours.masks.hash() == raw.masks.hash()
    assert ours.lrs == raw.lrs == list(schedule_for(kind, STEPS // accumulate).trace())
    assert_same_weights(raw.model, ours.model)
    assert_exact_zeros(ours.model, ours.masks)


def test_manual_optimization_that_clips_by_itself_gives_the_weights_of_the_raw_loop(tmp_path):
    ours = trained(tmp_path, ManualClassifier("sgd"), gradient_clip_val=None)
    assert_same_weights(raw_loop("sgd").model, ours.model)


def test_gradients_are_clipped_after_the_methods_changed_them(tmp_path):
    module = Classifier("sgd")
    trainer_for(tmp_path, [MethodCallback([SignGradients()], submodule="net")]).fit(module, loader())
    assert_same_weights(host_run("sgd", [SignGradients()]), module.net)


def test_without_a_submodule_the_names_begin_with_the_attribute(tmp_path):
    module = Classifier("sgd")
    masks = masks_for(module)
    assert next(iter(masks)) == "net.0.weight"
    trainer_for(tmp_path, [MethodCallback([pt.MaskEnforcement(masks)])]).fit(module, loader())
    assert_same_weights(raw_loop("sgd").model, module.net)


def test_hooks_come_in_the_order_of_our_trainer_with_its_counters(tmp_path):
    recorder = Recorder()
    trainer = trainer_for(tmp_path, [MethodCallback([recorder])], accumulate_grad_batches=5, max_epochs=2)
    trainer.fit(Classifier("sgd", 10), loader())
    assert recorder.totals == (10, 5)  # 24 batches: four steps of five and one of four
    assert recorder.seen == Recorder.expected(10, 5)


class Logger(pt.Method):
    name = "logger"

    def after_update(self, run):
        run.log(seen=float(run.step))


def test_what_a_method_logs_is_among_the_trainers_metrics(tmp_path):
    trainer = trainer_for(tmp_path, [MethodCallback([Logger()])])
    trainer.fit(Classifier("sgd"), loader())
    assert trainer.logged_metrics["seen"] == STEPS - 1


def moving(module: Classifier) -> MovingMasks:
    first = masks_for(module.net)
    return MovingMasks(first, then=pt.Masks({name: mask.roll(1, -1) for name, mask in first.items()}), at=5)


def test_a_resumed_run_is_bitwise_the_uninterrupted_one_with_the_masks_of_the_checkpoint(tmp_path):
    whole = Classifier("sgd", 2 * STEPS)
    methods = moving(whole)
    trainer_for(tmp_path, [MethodCallback([methods], submodule="net")], max_epochs=2).fit(whole, loader())

    file = tmp_path / "killed.ckpt"
    killed = Classifier("sgd", 2 * STEPS)
    callbacks = [MethodCallback([moving(killed)], submodule="net"), Interrupt(STEPS, file)]
    with pytest.raises(ZeroDivisionError):
        trainer_for(tmp_path, callbacks, max_epochs=2).fit(killed, loader())
    assert callbacks[0].run.handles == []  # no hook was left on model or optimizer
    assert set(torch.load(file, weights_only=True)["callbacks"]) == {"MethodCallback{'methods': ['masks']}"}

    resumed = Classifier("sgd", 2 * STEPS)
    given = moving(resumed)
    trainer = trainer_for(tmp_path, [MethodCallback([given], submodule="net")], max_epochs=2)
    trainer.fit(resumed, loader(), ckpt_path=file)
    assert trainer.global_step == 2 * STEPS
    assert given.masks == given.then == methods.masks
    assert_same_weights(whole.net, resumed.net)
    assert_exact_zeros(resumed.net, given.masks)


def test_a_training_of_unknown_length_is_refused(tmp_path):
    trainer = trainer_for(tmp_path, [MethodCallback([Recorder()])], max_epochs=-1)
    with pytest.raises(InputError, match="give the Trainer max_epochs or max_steps"):
        trainer.fit(Classifier("sgd"), loader())


def test_a_method_that_needs_more_is_refused_when_the_callback_is_made():
    class Owner(pt.Method):
        name = "owner"

        def training_step(self, run, batch):
            return None

    with pytest.raises(InputError, match="'owner' needs training_step, which Lightning's Trainer does not offer"):
        MethodCallback([Owner()])


def test_state_loaded_for_something_else_does_not_leak_into_the_next_fit(tmp_path):
    recorder = Recorder()
    callback = MethodCallback([recorder])
    callback.load_state_dict({"step": 7, "methods": {"recorder": {}}})  # as trainer.validate(ckpt_path=...) does
    trainer_for(tmp_path, [callback]).fit(Classifier("sgd"), loader())
    assert recorder.seen == Recorder.expected(STEPS, STEPS)
