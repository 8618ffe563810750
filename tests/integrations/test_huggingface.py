"""Methods in Hugging Face's Trainer: bitwise the raw loop, exact zeros, resumed checkpoints, ordinary files."""

import shutil

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import paretorch as pt
from paretorch.errors import ArtefactError, InputError, RunError

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

transformers = pytest.importorskip("transformers", reason="needs the hf extra")
from transformers import (  # noqa: E402
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from paretorch.integrations.huggingface import METHODS_FILE, MethodCallback  # noqa: E402

pytestmark = pytest.mark.slow


class Classifier(nn.Module):
    """The network as Hugging Face's trainer wants it: the loss comes out of the forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.net = network()

    def forward(self, inputs, labels):
        logits = self.net(inputs)
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}


class LearningRates(TrainerCallback):
    """The learning rate of every optimizer step."""

    def __init__(self) -> None:
        self.lrs = []

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        self.lrs.append(kwargs["optimizer"].param_groups[0]["lr"])


class Interrupt(TrainerCallback):
    """Stops the process, as far as the trainer can tell, after the given step and its checkpoint."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise KeyboardInterrupt


def arguments(folder, **options) -> TrainingArguments:
    settings = {
        "per_device_train_batch_size": BATCH,
        "num_train_epochs": 1,
        "max_grad_norm": CLIP_NORM,
        "train_sampling_strategy": "sequential",
        "report_to": "none",
        "save_strategy": "no",
        "logging_strategy": "no",
        "disable_tqdm": True,
        "use_cpu": True,
        "dataloader_pin_memory": False,
    }
    return TrainingArguments(output_dir=str(folder), **{**settings, **options})


def trainer_for(model, kind, args, callbacks, *, num_steps: int = STEPS) -> Trainer:
    inputs, targets = examples()
    data = [{"inputs": x, "labels": y} for x, y in zip(inputs, targets, strict=True)]
    optimizer = optimizer_for(kind, model)
    scheduler = pt.as_scheduler(schedule_for(kind, num_steps), optimizer)
    return Trainer(model, args, train_dataset=data, callbacks=callbacks, optimizers=(optimizer, scheduler))


def trained(folder, kind, *, accumulate: int = 1, **options) -> Trained:
    model = Classifier()
    masks = masks_for(model.net)
    rates = LearningRates()
    callbacks = [MethodCallback([pt.MaskEnforcement(masks)], submodule="net"), rates]
    args = arguments(folder, gradient_accumulation_steps=accumulate, **options)
    trainer_for(model, kind, args, callbacks, num_steps=STEPS // accumulate).train()
    return Trained(model.net, masks, rates.lrs)


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_weights_masks_and_learning_rates_are_those_of_the_raw_loop(tmp_path, kind, accumulate):
    raw = raw_loop(kind, accumulate=accumulate)
    ours = trained(tmp_path, kind, accumulate=accumulate)
    assert ours.masks.hash() == raw.masks.hash()
    assert ours.lrs == raw.lrs == list(schedule_for(kind, STEPS // accumulate).trace())
    assert_same_weights(raw.model, ours.model)
    assert_exact_zeros(ours.model, ours.masks)


def test_without_clipping_the_weights_are_those_of_the_raw_loop_too(tmp_path):
    raw = raw_loop("sgd", clip_norm=None)
    assert_same_weights(raw.model, trained(tmp_path, "sgd", max_grad_norm=0).model)
    assert not torch.equal(raw.model[0].weight, raw_loop("sgd").model[0].weight)  # clipping does something


def test_a_method_that_changes_gradients_is_clipped_after_by_the_callback(tmp_path):
    model = Classifier()
    callback = MethodCallback([SignGradients()], submodule="net", clip_norm=CLIP_NORM)
    trainer_for(model, "sgd", arguments(tmp_path, max_grad_norm=0), [callback]).train()
    assert_same_weights(host_run("sgd", [SignGradients()]), model.net)


def test_a_method_that_changes_gradients_is_refused_where_they_are_clipped_first(tmp_path):
    trainer = trainer_for(Classifier(), "sgd", arguments(tmp_path), [MethodCallback([SignGradients()])])
    with pytest.raises(InputError, match=r"\['signs'\] change gradients.*max_grad_norm=0\).*clip_norm=0.05\)"):
        trainer.train()


def test_two_places_that_clip_are_refused(tmp_path):
    callback = MethodCallback([Recorder()], clip_norm=1.0)
    with pytest.raises(InputError, match=r"clipped twice, to max_grad_norm=0.05.*clip_norm=1.0"):
        trainer_for(Classifier(), "sgd", arguments(tmp_path), [callback]).train()


def test_hooks_come_in_the_order_of_our_trainer_with_its_counters(tmp_path):
    recorder = Recorder()
    args = arguments(tmp_path, gradient_accumulation_steps=5, num_train_epochs=2)
    trainer_for(Classifier(), "sgd", args, [MethodCallback([recorder])], num_steps=10).train()
    assert recorder.totals == (10, 5)  # 24 batches: four steps of five and one of four
    assert recorder.seen == Recorder.expected(10, 5)


class Logger(pt.Method):
    name = "logger"

    def after_update(self, run):
        if run.step == 3:
            run.log(mean=0.25)


def test_what_a_method_logs_is_in_the_history(tmp_path):
    trainer = trainer_for(Classifier(), "sgd", arguments(tmp_path), [MethodCallback([Logger()])])
    trainer.train()
    assert [entry for entry in trainer.state.log_history if "mean" in entry] == [{"mean": 0.25, "step": 4}]


def moving(model: Classifier) -> MovingMasks:
    first = masks_for(model.net)
    return MovingMasks(first, then=pt.Masks({name: mask.roll(1, -1) for name, mask in first.items()}), at=5)


def test_a_resumed_run_is_bitwise_the_uninterrupted_one_with_the_masks_of_the_checkpoint(tmp_path):
    whole = Classifier()
    methods = moving(whole)
    trainer_for(whole, "sgd", arguments(tmp_path / "whole"), [MethodCallback([methods], submodule="net")]).train()

    saving = arguments(tmp_path / "run", save_strategy="steps", save_steps=8)
    killed = Classifier()
    callback = MethodCallback([moving(killed)], submodule="net")
    with pytest.raises(KeyboardInterrupt):
        trainer_for(killed, "sgd", saving, [callback, Interrupt(18)]).train()
    callback.close()
    optimizer = optimizer_for("sgd", killed)
    masks_for(killed.net).attach(killed.net, optimizer).remove()  # the interrupted run left nothing on the model

    resumed = Classifier()
    given = moving(resumed)
    trainer = trainer_for(resumed, "sgd", saving, [MethodCallback([given], submodule="net")])
    trainer.train(resume_from_checkpoint=True)
    assert trainer.state.global_step == STEPS
    assert given.masks == given.then == methods.masks
    assert_same_weights(whole.net, resumed.net)
    assert_exact_zeros(resumed.net, given.masks)


def test_a_checkpoint_elsewhere_or_of_another_run_is_refused_until_its_folder_is_named(tmp_path):
    options = {"save_strategy": "steps", "save_steps": 12}
    for name in ("first", "second"):
        model = Classifier()
        callbacks = [MethodCallback([pt.MaskEnforcement(masks_for(model.net))], submodule="net")]
        trainer_for(model, "sgd", arguments(tmp_path / name, **options), callbacks).train()
    checkpoint = tmp_path / "first" / "checkpoint-12"

    def resume(folder, **more):
        model = Classifier()
        callbacks = [MethodCallback([pt.MaskEnforcement(masks_for(model.net))], submodule="net")]
        trainer = trainer_for(model, "sgd", arguments(folder, **options, **more), callbacks)
        trainer.train(resume_from_checkpoint=str(checkpoint))
        return trainer.state.global_step

    with pytest.raises(ArtefactError, match="does not exist, so the methods cannot go on at step 12"):
        resume(tmp_path / "third")
    with pytest.raises(ArtefactError, match="belongs to another run"):
        resume(tmp_path / "second")
    assert resume(tmp_path / "third", resume_from_checkpoint=str(checkpoint)) == STEPS


def test_a_checkpoint_that_is_not_where_it_should_be_is_an_error(tmp_path):
    class Remove(TrainerCallback):
        def on_save(self, args, state, control, **kwargs):
            shutil.rmtree(tmp_path / "checkpoint-12")

    args = arguments(tmp_path, save_strategy="steps", save_steps=12)
    with pytest.raises(RunError, match=r"state of \['recorder'\] belongs into .*checkpoint-12, which does not exist"):
        trainer_for(Classifier(), "sgd", args, [Remove(), MethodCallback([Recorder()])]).train()


def test_a_method_that_needs_more_is_refused_when_the_callback_is_made():
    class Penalty(pt.Method):
        name = "decay"

        def penalty(self, run):
            return None

    with pytest.raises(InputError, match="'decay' needs penalty, which Hugging Face's Trainer does not offer"):
        MethodCallback([Penalty()])


def test_a_pruned_bert_is_saved_with_ordinary_keys_and_loads_with_its_zeros(tmp_path):
    config = BertConfig(
        vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, num_labels=3
    )
    model = BertForSequenceClassification(config)
    keys = list(model.state_dict())
    masks = pt.magnitude_masks(model, sparsity=0.8)
    generator = torch.Generator().manual_seed(0)
    data = [
        {"input_ids": torch.randint(30, (7,), generator=generator), "labels": torch.tensor(number % 3)}
        for number in range(32)
    ]
    trainer = Trainer(
        model,
        arguments(tmp_path, max_grad_norm=1.0, save_strategy="epoch"),
        train_dataset=data,
        callbacks=[MethodCallback([pt.MaskEnforcement(masks)])],
    )
    trainer.train()
    assert_exact_zeros(model, masks)
    trainer.save_model(str(tmp_path / "final"))
    assert list(model.state_dict()) == keys
    assert {path.name for path in (tmp_path / "final").iterdir()} >= {"config.json", "model.safetensors"}
    for folder in ("final", "checkpoint-2"):
        loaded = BertForSequenceClassification.from_pretrained(tmp_path / folder)
        masks.check(loaded)
        assert_same_weights(model, loaded)
    assert (tmp_path / "checkpoint-2" / METHODS_FILE).is_file()
