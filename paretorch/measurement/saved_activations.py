"""Count the bytes that autograd keeps for the backward pass: what limits the batch that fits into memory.

    bytes = largest sum, at any moment, of the storages saved for backward and alive, without those of the model

seen through `torch.autograd.graph.saved_tensors_hooks`. Parameters and buffers are there anyway; a storage saved twice
counts once and whole; the input counts where its layer saves it. Independent of the device. Tensors that the caller
keeps, gradients, optimizer state and scratch memory are not in it (`memory.AllocationTracker` sees what is allocated).
"""

import weakref
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from paretorch.measurement.inputs import check_model
from paretorch.measurement.memory import stored_parts


class SavedActivations:
    """Context manager that counts what autograd saves inside it, in one forward pass or a whole training step.

        with SavedActivations(model) as saved:
            loss(model(x), y).backward()
        saved.peak_bytes

    peak_bytes: largest sum alive at one moment. current_bytes: alive now. Activations that checkpointing computes again
    are freed one segment at a time and are not counted.
    """

    def __init__(self, model: nn.Module) -> None:
        check_model(model)
        self.current_bytes = 0
        self.peak_bytes = 0
        self._model = model
        self._own: set[int] = set()
        self._alive: dict[int, int] = {}
        self._inside = ExitStack()

    def __enter__(self) -> "SavedActivations":
        self._own = {key for t in (*self._model.parameters(), *self._model.buffers()) for key, _ in _storages(t)}
        self._inside.enter_context(saved_tensors_hooks(self._save, lambda tensor: tensor))
        return self

    def __exit__(self, *error: Any) -> None:
        self._inside.close()

    def _save(self, tensor: Tensor) -> Tensor:
        if torch._C._current_graph_task_id() == -1:  # else a backward pass runs and computes activations again
            for key, storage in _storages(tensor):
                if key not in self._own and key not in self._alive:
                    self._alive[key] = storage.nbytes()
                    self.current_bytes += self._alive[key]
                    weakref.finalize(storage, self._free, key).atexit = False
            self.peak_bytes = max(self.peak_bytes, self.current_bytes)
        return tensor

    def _free(self, key: int) -> None:
        self.current_bytes -= self._alive.pop(key)


def _storages(tensor: Tensor) -> list[tuple[int, torch.UntypedStorage]]:
    values, indices = stored_parts(tensor)
    return [(part.untyped_storage()._cdata, part.untyped_storage()) for part in (*values, *indices)]
