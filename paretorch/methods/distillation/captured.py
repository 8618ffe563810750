"""What a forward pass leaves: the outputs of the model and of modules in it, read by hooks, without a second pass.

Hooks hang on the modules themselves, so that they fire beneath DistributedDataParallel as well. Only the last pass is
kept; what backward recomputes under activation checkpointing is not a pass of the model and is forgotten with it.
"""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from torch import Tensor, nn

from paretorch.errors import InputError


class Captured:
    """Hooks on a model, until `close`.

    Args:
        model: what is watched.
        names: modules whose outputs are kept too, as in `model.named_modules()`.

    Raises:
        InputError: for a module that the model does not have; it names the nearest.
    """

    def __init__(self, model: nn.Module, names: Sequence[str] = ()) -> None:
        modules = {name: submodule(model, name) for name in names}
        self._calls = 0
        self._output: Any = None
        self._found: dict[str, list[Any]] = {name: [] for name in names}
        self._handles = [model.register_forward_pre_hook(self._begin), model.register_forward_hook(self._end)]
        for name, module in modules.items():
            found = self._found[name]
            self._handles.append(module.register_forward_hook(lambda *called, found=found: found.append(called[-1])))

    def take(self, owner: str, *, remedy: str) -> tuple[Any, dict[str, Tensor]]:
        """The output of the one forward pass since the last call, and the outputs of the named modules in it.

        Args:
            owner: whose pass it was, for messages.
            remedy: how to do without distillation, as a clause.

        Raises:
            InputError: if the model was called more or less than once; or naming a module that was called more or less
                than once, or whose output is no tensor.
        """
        calls, output = self._calls, self._output
        found = {name: list(outputs) for name, outputs in self._found.items()}
        self._forget()
        if calls != 1:
            raise InputError(
                f"{owner} calls the model {calls} times; distillation compares the outputs of one forward pass; "
                f"{remedy}"
            )
        for name, outputs in found.items():
            if len(outputs) != 1 or not isinstance(outputs[0], Tensor):
                what = f"runs {len(outputs)} times" if len(outputs) != 1 else f"gives a {type(outputs[0]).__name__}"
                raise InputError(
                    f"features: module {name!r} {what} in one forward pass of {owner}; name a module that runs once "
                    "and gives one tensor"
                )
        return output, {name: outputs[0] for name, outputs in found.items()}

    def close(self) -> None:
        """Remove the hooks, and let go of what they kept; a second call does nothing."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._forget()

    def _begin(self, _module: nn.Module, _inputs: Any) -> None:
        for outputs in self._found.values():
            outputs.clear()

    def _end(self, _module: nn.Module, _inputs: Any, output: Any) -> None:
        self._calls += 1
        self._output = output

    def _forget(self) -> None:
        self._calls, self._output = 0, None
        for outputs in self._found.values():
            outputs.clear()


def submodule(model: nn.Module, name: str) -> nn.Module:
    """The module of that name.

    Raises:
        InputError: if there is none, or no name; it names the nearest.
    """
    modules = dict(model.named_modules())
    if not name or name not in modules:
        near = get_close_matches(name, [known for known in modules if known], n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(filter(None, modules)) or 'none'}"
        raise InputError(f"features: {type(model).__name__} has no module {name!r}; {hint}")
    return modules[name]
