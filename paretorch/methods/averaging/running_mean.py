"""The mean of a model's weights at several moments of its training, for any loop.

    mean = cast((w_1 + ... + w_n) / n)        added up in float64; 0 where the weights of the moment are exactly 0

The second rule keeps pruned weights pruned, also where masks grew after the first moment. Buffers are not averaged:
batch-norm statistics belong to weights and must be re-estimated for the mean. Costs 8 bytes per weight.

Source: Izmailov et al. 2018 (SWA), algorithm 1. Deviations: a float64 sum in the place of a running mean in the
weights' own dtype, so that equal float32 weights have themselves as their mean, bitwise; and the rule for zeros, which
is ours.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from paretorch.errors import InputError


class RunningMean:
    """Adds up the parameters of a model, moment by moment.

    Attributes:
        count: moments added so far.
    """

    def __init__(self) -> None:
        self.count = 0
        self._sums: dict[str, Tensor] = {}

    def add(self, model: nn.Module) -> None:
        """Take the weights of this moment.

        Raises:
            InputError: if the model has other parameters or shapes than at the first moment.
        """
        parameters = self._matching(model)
        for name, parameter in parameters.items():
            if self.count:
                self._sums[name] += parameter
            else:
                wide = torch.promote_types(parameter.dtype, torch.float64)
                self._sums[name] = parameter.to(wide, copy=True)
        self.count += 1

    def weights(self, model: nn.Module) -> dict[str, Tensor]:
        """Name -> mean, with the dtype of the parameter; at least one moment was added.

        Args:
            model: gives the zeros; left as it is.

        Raises:
            InputError: as `add`, or if no moment was added.
        """
        if not self.count:
            raise InputError("there is no mean of no moments; call add(model) at least once")
        return {
            name: (self._sums[name] / self.count).to(parameter.dtype).masked_fill_(parameter == 0, 0)
            for name, parameter in self._matching(model).items()
        }

    def apply_(self, model: nn.Module) -> None:
        """Put the mean in the place of the weights.

        Raises:
            InputError: as `weights`.
        """
        means = self.weights(model)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(means[name])

    def state_dict(self) -> dict[str, object]:
        """Count and sums."""
        return {"count": self.count, "sums": dict(self._sums)}

    def load_state_dict(self, state: Mapping[str, object], device: torch.device) -> None:
        """Take them back, on a device."""
        count, sums = state["count"], state["sums"]
        assert isinstance(count, int)
        assert isinstance(sums, dict)
        self.count = count
        self._sums = {name: value.to(device, copy=True) for name, value in sums.items()}

    def _matching(self, model: nn.Module) -> dict[str, Tensor]:
        """The parameters, which must be those of the first moment."""
        found = {name: parameter.detach() for name, parameter in model.named_parameters()}
        if self.count and (
            differing := sorted(
                name
                for name in found.keys() | self._sums.keys()
                if name not in found or name not in self._sums or found[name].shape != self._sums[name].shape
            )
        ):
            raise InputError(
                f"parameters came, went or changed their shape since the first moment of the mean: {differing[:3]}. "
                "Weights of different models have no mean; begin after the last change of shape"
            )
        return found
