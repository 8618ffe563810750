"""Masks and a retraining schedule in Hugging Face's Trainer. Needs `pip install "paretorch[hf]"`, downloads nothing."""

import tempfile

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

import paretorch as pt
from paretorch.integrations.huggingface import MethodCallback

torch.manual_seed(0)
tokens = torch.randint(2, 50, (256, 12))
data = [{"input_ids": row, "labels": int(row[0] > row[1])} for row in tokens]
config = BertConfig(vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
model = BertForSequenceClassification(config)  # in earnest: from_pretrained, fine-tuned already

masks = pt.magnitude_masks(model, sparsity=0.8, include=["bert.encoder.*"])
schedule = pt.LLR(num_steps=24, peak=3e-3)
optimizer = torch.optim.AdamW(model.parameters())

with tempfile.TemporaryDirectory() as folder:
    trainer = Trainer(
        model,
        TrainingArguments(
            folder, num_train_epochs=3, per_device_train_batch_size=32, logging_steps=8, report_to="none",
            save_strategy="no", disable_tqdm=True, use_cpu=True, dataloader_pin_memory=False, log_level="error",
        ),
        train_dataset=data,
        callbacks=[MethodCallback([pt.MaskEnforcement(masks)])],
        optimizers=(optimizer, pt.as_scheduler(schedule, optimizer)),
    )  # fmt: skip
    trainer.train()
    trainer.save_model(folder)
    loaded = BertForSequenceClassification.from_pretrained(folder)

masks.check(loaded)
logged = {e["step"]: e["learning_rate"] for e in trainer.state.log_history if "learning_rate" in e}
cost = pt.measure(loaded, {"input_ids": tokens[:1]}, latency=False)
print(
    f"{masks.num_pruned} of {masks.num_weights} encoder weights are exactly zero after save_model and from_pretrained."
)
print(f"The model: {cost.params} weights, {cost.nonzeros} of them not zero.")
same = all(lr == schedule(step - 1) for step, lr in logged.items())
print(f"Learning rates of steps {list(logged)} are the schedule's own: {same}")
