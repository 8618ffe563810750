"""Wide residual networks whose stages share templates: SWRN-d-w-k (Savarese and Maire 2019).

Each of the three stages has a bank of k templates for its L = 2(n - 1) convolutions of one shape, d = 6n + 4: all 3x3
convolutions but the two of the first block. The first convolution, first blocks, 1x1 shortcuts, norms and classifier
are nobody's but their layer's. Every layer keeps its own batch norms.

    parameters = those of WRN-d-w - sum over stages of ((L - k) 9 c^2 - L k),    c = 16w, 32w, 64w channels

Products are those of WRN-d-w, and making the weights comes on top.
"""

from paretorch.errors import InputError
from paretorch.methods.sharing.templates import share_
from paretorch.training.models.wide_resnet import WideResNet


def shared_wide_resnet(
    *, depth: int = 28, widen: int = 10, templates: int = 2, dropout: float = 0.0, num_classes: int = 10
) -> WideResNet:
    """A wide residual network for 32x32 images with shared templates.

    Args:
        depth: 16, 22, 28, 34, ...: 6n + 4, with at least two blocks per stage.
        widen: the factor on the channels 16, 32, 64 of the stages.
        templates: k, per stage, from 1 to 2(n - 1).
        dropout: probability between the convolutions of a block.
        num_classes: outputs.

    Raises:
        InputError: as `WideResNet` does, for a depth of 10, or a number of templates out of range.
    """
    model = WideResNet(depth=depth, widen=widen, dropout=dropout, num_classes=num_classes)
    blocks = (depth - 4) // 6
    if blocks < 2:
        raise InputError(
            f"at depth {depth} a stage has one block, whose convolutions differ in shape; share from depth 16 on"
        )
    groups = {
        stage: [f"{stage}.{block}.conv{number}" for block in range(1, blocks) for number in (1, 2)]
        for stage in ("layer1", "layer2", "layer3")
    }
    share_(model, templates=templates, groups=groups)
    return model
