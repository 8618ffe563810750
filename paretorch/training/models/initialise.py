"""He initialisation of convolutions for networks with ReLU (He et al. 2015, section 2.2, backward form).

    weight ~ N(0, 2 / fan_out),   fan_out = out_channels / groups * kernel height * kernel width;   bias = 0

It keeps the variance of gradients through a layer. In grouped convolutions fan_out is that of one group, which is what
an input channel feeds; `torch.nn.init.kaiming_normal_` does not know of groups and divides by all output channels.
"""

from torch import nn


def initialise_convolutions_(model: nn.Module) -> None:
    """Draw the weights of every Conv2d of `model` anew, in place, from torch's global generator; set biases to 0."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.weight.numel() // module.weight.shape[1] // module.groups
            nn.init.normal_(module.weight, std=(2 / fan_out) ** 0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
