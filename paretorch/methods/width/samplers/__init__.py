"""Which profiles a training step runs: one layer at a time, one ratio for all, each for itself, a sandwich, a chain.

    single layer    w = C, then w_g = v, with (g, v) from a shuffled list of all pairs, each once before any comes again
    uniform         one level for all groups (FjORD)
    independent     a level for each group
    sandwich        the widest, the narrowest, and some between them (universally slimmable networks)
    chain           one or more of given profiles (slimmable networks, MatFormer)

C is the centre, the greatest widths at present. Every draw is a pure function of (seed, number of recentrings, number
of draws since): all processes draw alike, and a checkpoint needs three numbers.

Source: Horvath et al., "FjORD", NeurIPS 2021, section 3 (uniform); `SamuelHorvath/Maestro-LoD`, `single_layer.py`, for
ranks (single layer: pairs without replacement, the full width among them, so that wide groups come more often); Yu and
Huang, "Universally slimmable networks", ICCV 2019, section 3 (sandwich); Yu and Huang, "AutoSlim", 2019 (independent).
"""

from paretorch.methods.width.samplers.base import Sampler
from paretorch.methods.width.samplers.chain import Chain
from paretorch.methods.width.samplers.random_profiles import Independent, Sandwich, Uniform
from paretorch.methods.width.samplers.single_layer import SingleLayer

__all__ = ["Chain", "Independent", "Sampler", "Sandwich", "SingleLayer", "Uniform"]
