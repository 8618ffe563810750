"""A stack of equal convolutions over a grid, each of which sees one cell farther and the grid itself again.

    i = stem(x)        h_0 = relu(i)        h_{t+1} = relu(conv_t(h_t) + i)        logit of a cell = head(h_L)

All layers have one shape, so that they can share their weights. With one weight for all of them it is a recurrent
network that is given its input at every step. There are no norms, and nothing depends on the size of the grid.

Savarese and Maire, ICLR 2019, compare such stacks on an algorithmic task; layers and sizes of theirs are not known to
us, these are ours. That a recurrent network which sees its input at every step goes on better where it was not trained:
Bansal et al., NeurIPS 2022, arXiv 2202.05826.
"""

from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.training.models.initialise import initialise_convolutions_


class GridNet(nn.Module):
    """One number per cell.

    Args:
        inputs: channels of the grid.
        channels: of every layer.
        layers: how many there are; a cell's answer depends on cells up to `layers + 1` steps away.

    Raises:
        InputError: for a number below 1.
    """

    def __init__(self, *, inputs: int = 2, channels: int = 8, layers: int = 12) -> None:
        super().__init__()
        if min(inputs, channels, layers) < 1:
            raise InputError(f"inputs, channels and layers must be at least 1; got {inputs}, {channels} and {layers}")
        self.stem = nn.Conv2d(inputs, channels, 3, padding=1)
        self.layers = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(layers))
        self.head = nn.Conv2d(channels, 1, 1)
        initialise_convolutions_(self)

    def forward(self, grids: Tensor) -> Tensor:
        """Logits (batch, height, width) of grids (batch, inputs, height, width)."""
        grid = self.stem(grids)
        features = grid.relu()
        for layer in self.layers:
            features = (layer(features) + grid).relu()
        logits: Tensor = self.head(features)
        return logits.squeeze(1)
