"""Training with a teacher in each of several processes: `python -m torch.distributed.run ... taught_processes FOLDER`.

Each process writes `rank-N.json`: its final weights, the losses of its curve, and a hash of the teacher afterwards.
"""

import os
import sys
from pathlib import Path

import torch

from paretorch.artefacts.files import write_json
from paretorch.methods.distillation.teacher import Distillation, state_hash
from paretorch.methods.sparsity.enforcement import MaskEnforcement
from paretorch.methods.sparsity.magnitude import magnitude_masks
from paretorch.training.trainer import Trainer
from tests.methods.distillation.lessons import Plain, classes
from tests.training.problems import plain


def main(folder: Path) -> None:
    trainer = Trainer(classes(model=Plain), plain(16, momentum=0.9, accumulate=2, clip_norm=0.5), seed=6)
    model = trainer.model()
    torch.manual_seed(9)
    teacher = Plain()
    taught = Distillation(teacher, alpha=0.6, features=["first"])
    masks = MaskEnforcement(magnitude_masks(model, sparsity=0.5))
    result = trainer.fit(model, phase="only", num_steps=8, methods=[masks, taught])
    report = {
        "weights": [value.flatten().tolist() for value in model.parameters()],
        "losses": [point["train_loss"] for point in result.curve],
        "teacher": state_hash(teacher),
    }
    write_json(folder / f"rank-{os.environ.get('RANK', '0')}.json", report)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
