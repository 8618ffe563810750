"""Your own model, trained, pruned to 90 % zeros, retrained, measured and saved. Runs in seconds and needs no data."""

import tempfile

import torch
from torch import nn

import paretorch as pt


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(20, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 4))


def made_up_data(num: int) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = torch.randn(num, 20)
    return inputs, torch.stack([inputs[:, i] * inputs[:, i + 4] for i in range(4)], dim=1).argmax(dim=1)


def main() -> None:
    torch.manual_seed(0)
    task = pt.SupervisedTask(network, train=made_up_data(6000), test=made_up_data(2000))
    trainer = pt.Trainer(task, pt.TrainSettings(batch_size=64, optimizer=pt.OptimizerSpec(lr=0.1)))
    dense = pt.train_dense(trainer, pt.LLR(num_steps=trainer.num_steps(epochs=10), peak=0.1))
    rows = {"dense": row(trainer, dense.model)}

    pruned = pt.IMP(sparsity=0.9, epochs=5, cycles=2).run(trainer, dense.model, dense=dense.schedule)
    rows["pruned"] = row(trainer, pruned.model)

    with tempfile.TemporaryDirectory() as folder:
        pt.save_model(f"{folder}/model", pruned.model, constructor=network, edits=[pt.MaskEdit(pruned.masks)])
        loaded = pt.load_model(f"{folder}/model", constructor=network)
    rows["loaded"] = row(trainer, loaded)

    print(f"{'model':8} {'weights':>8} {'not zero':>9} {'MACs':>7} {'MACs not zero':>14} {'test accuracy':>14}")
    for name, (cost, accuracy) in rows.items():
        counts = f"{cost.params:8} {cost.nonzeros:9} {cost.macs_dense:7} {cost.macs_nonzero:14}"
        print(f"{name:8} {counts} {accuracy:14.3f}")
    zeros, total = pruned.masks.num_pruned, pruned.masks.num_weights
    print(f"{zeros} of {total} prunable weights are exactly zero, also after saving and loading.")
    print("The dense model had 10 epochs, the pruned one 5 more.")
    print("A dense kernel still multiplies by these zeros: fewer bytes to store, not less time.")


def row(trainer: pt.Trainer, model: nn.Module) -> tuple[pt.Cost, float]:
    """What the model costs, and its accuracy on the test set."""
    cost = pt.measure(model, trainer.task.example_inputs(), latency=False)
    return cost, trainer.evaluate(model, trainer.task.test_set())["accuracy"]


if __name__ == "__main__":
    main()
