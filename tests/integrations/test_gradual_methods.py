"""GSM, LC and RigL in other people's loops: bitwise a raw loop, resumed checkpoints, or refused by name."""

from collections.abc import Callable

import pytest

import paretorch as pt
from paretorch.errors import InputError, RunError
from paretorch.methods.sparsity.gradual.base import GradualMethod
from paretorch.methods.sparsity.gradual.gsm import GSM
from paretorch.methods.sparsity.gradual.lc import LC
from paretorch.methods.sparsity.gradual.rigl import RigL

from .training import CLIP_NORM, assert_same_weights, host_run

pytestmark = [
    pytest.mark.slow,
    # Lightning's own use of torch, and its advice on workers; nothing of ours causes them or could avoid them.
    pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The '.*dataloader' does not have many workers"),
]

METHODS: dict[str, Callable[[], GradualMethod]] = {
    "gsm": lambda: GSM(sparsity=0.8),
    "lc": lambda: LC(sparsity=0.8),
    "rigl": lambda: RigL(sparsity=0.8, interval=4),
}


def huggingface(folder, method: pt.Method, kind: str, **options):
    """Train the network there; `early` lets the trainer clip, otherwise the callback does."""
    from . import test_huggingface as hf

    early = options.pop("early", False)
    args = hf.arguments(folder, seed=0, max_grad_norm=CLIP_NORM if early else 0, **options)
    callback = hf.MethodCallback([method], submodule="net", clip_norm=None if early else CLIP_NORM)
    model = hf.Classifier()
    return hf.trainer_for(model, kind, args, [callback]), model.net


def lightning(method: pt.Method, kind: str):
    from torch.utils.data import DataLoader, TensorDataset

    from . import test_lightning as pl
    from .training import BATCH, examples

    model = pl.Classifier(kind)
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, gradient_clip_val=CLIP_NORM,
        callbacks=[pl.MethodCallback([method], submodule="net")],
    )  # fmt: skip
    trainer.fit(model, DataLoader(TensorDataset(*examples()), batch_size=BATCH))
    return model.net


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
@pytest.mark.parametrize("name", METHODS)
def test_in_hugging_face_s_trainer_the_weights_are_those_of_a_raw_loop(tmp_path, name, kind):
    pytest.importorskip("transformers", reason="needs the hf extra")
    trainer, model = huggingface(tmp_path, METHODS[name](), kind, early=name == "lc")
    trainer.train()
    assert_same_weights(host_run(kind, [METHODS[name]()]), model)


@pytest.mark.parametrize("name", ["gsm", "rigl"])
def test_where_hugging_face_clips_first_they_are_refused_by_name(tmp_path, name):
    pytest.importorskip("transformers", reason="needs the hf extra")
    trainer, _ = huggingface(tmp_path, METHODS[name](), "sgd", early=True)
    with pytest.raises(InputError, match=rf"\['{name}'\] change gradients.*max_grad_norm=0"):
        trainer.train()


@pytest.mark.parametrize("name", METHODS)
def test_a_resumed_run_of_hugging_face_is_bitwise_the_uninterrupted_one(tmp_path, name):
    pytest.importorskip("transformers", reason="needs the hf extra")
    trainer, whole = huggingface(tmp_path / "whole", METHODS[name](), "sgd", save_strategy="steps", save_steps=10)
    trainer.train()
    checkpoint = str(tmp_path / "whole" / "checkpoint-10")
    again, model = huggingface(tmp_path / "again", METHODS[name](), "sgd", resume_from_checkpoint=checkpoint)
    again.train(resume_from_checkpoint=checkpoint)
    assert_same_weights(whole, model)


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
@pytest.mark.parametrize("name", ["gsm", "rigl"])
def test_in_lightning_s_trainer_the_weights_are_those_of_a_raw_loop(name, kind):
    pytest.importorskip("lightning", reason="needs the lightning extra")
    assert_same_weights(host_run(kind, [METHODS[name]()]), lightning(METHODS[name](), kind))


def test_lc_is_refused_by_lightning_s_automatic_optimization():
    pytest.importorskip("lightning", reason="needs the lightning extra")
    with pytest.raises(RunError, match=r"'lc' decays weights before the optimizer's step.*Lightning's automatic"):
        lightning(METHODS["lc"](), "sgd")
