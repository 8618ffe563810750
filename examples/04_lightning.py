"""Masks and a retraining schedule in Lightning's Trainer. Needs `pip install "paretorch[lightning]"`."""

import logging
import tempfile

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import paretorch as pt
from paretorch.integrations.lightning import MethodCallback

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
torch.manual_seed(0)
inputs = torch.randn(2048, 20)
targets = torch.stack([inputs[:, i] * inputs[:, i + 4] for i in range(4)], dim=1).argmax(dim=1)
batches = DataLoader(TensorDataset(inputs, targets), batch_size=64)


class Classifier(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(20, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 4))
        self.lrs: list[float] = []

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        self.lrs.append(self.optimizers().param_groups[0]["lr"])
        return F.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> dict:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
        scheduler = pt.as_scheduler(schedule, optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


module = Classifier()  # in earnest: trained already
masks = pt.magnitude_masks(module.net, sparsity=0.9)
schedule = pt.LLR(num_steps=6 * len(batches), peak=0.1)
with tempfile.TemporaryDirectory() as folder:
    trainer = Trainer(
        max_epochs=6, accelerator="cpu", gradient_clip_val=1.0, default_root_dir=folder, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=[MethodCallback([pt.MaskEnforcement(masks)], submodule="net")],
    )  # fmt: skip
    trainer.fit(module, batches)

masks.check(module.net)
cost = pt.measure(module.net, inputs[:1], latency=False)
print(f"{masks.num_pruned} of {masks.num_weights} weights are exactly zero.")
print(f"The model: {cost.params} weights, {cost.nonzeros} of them not zero.")
print(f"Learning rates: {len(module.lrs)} steps, the schedule's own: {module.lrs == list(schedule.trace())}")
