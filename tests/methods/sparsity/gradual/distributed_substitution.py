"""Trains with each method that substitutes weights, in each of several processes, and writes what came of it.

python -m torch.distributed.run --nproc-per-node=2 -m tests.methods.sparsity.gradual.distributed_substitution FOLDER
"""

import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.methods.sparsity.gradual.reparametrised import METHODS, Watch, fit


def trained(name: str) -> dict[str, Tensor]:
    """Weights and thresholds after every fifth step, and the finished model."""
    method = METHODS[name]()
    watch = Watch(method)
    model, _ = fit(method, watch, clip_norm=0.5, accumulate=2, num_steps=20, evaluate_epochs=1000)
    every = {f"{step} {key}": value for step in range(0, 20, 5) for key, value in watch.seen[step].items()}
    return every | {f"end {key}": value for key, value in model.state_dict().items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    for each in METHODS:
        save_file(trained(each), Path(sys.argv[1]) / f"{each}-{os.environ['RANK']}.safetensors")
    torch.distributed.destroy_process_group()
