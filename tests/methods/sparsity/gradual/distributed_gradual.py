"""Trains with GSM, LC and RigL in each of several processes: `python -m torch.distributed.run ... FOLDER`.

Each process writes `rank-N.json` into the folder: the final weights of every method.
"""

import os
import sys
from pathlib import Path

import torch

from paretorch.artefacts.files import write_json
from paretorch.methods.sparsity.gradual.gsm import GSM
from paretorch.methods.sparsity.gradual.lc import LC
from paretorch.methods.sparsity.gradual.rigl import RigL
from paretorch.training.settings import TrainSettings
from paretorch.training.supervised import SupervisedTask
from paretorch.training.trainer import Trainer
from tests.methods.sparsity.gradual.loops import NESTEROV, network


def main(folder: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    data = torch.randn(64, 6, generator=generator, dtype=torch.float64), torch.randint(0, 3, (64,), generator=generator)
    task = SupervisedTask(network, train=data, evaluation=data, test=data)
    settings = TrainSettings(batch_size=16, optimizer=NESTEROV, accumulate=2, clip_norm=0.3, device="cpu")
    report: dict[str, list[list[float]]] = {}
    for method in (GSM(sparsity=0.6), LC(sparsity=0.6), RigL(sparsity=0.6, interval=2, alpha=1.0)):
        trainer = Trainer(task, settings)
        model = trainer.model()
        trainer.fit(model, phase="gradual", num_steps=12, methods=[method])
        report[method.name] = [parameter.flatten().tolist() for parameter in model.parameters()]
    write_json(folder / f"rank-{os.environ.get('RANK', '0')}.json", report)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
    torch.distributed.destroy_process_group()
