"""Published methods that change how a result is computed, not which: their gains are those of an implementation.

They occupy no cell of the grid. A comparison that credits them to an algorithm is mistaken.
"""

from paretorch.methods.card import Reported
from paretorch.methods.published.entry import published

CARDS = (
    published(
        "channels-last", 2021, "Channels-last memory format", "Stores images with channels innermost.",
        "MosaicML, Composer library, method card", cells="", semantic_class="math_equivalent",
        relieves=("memory bandwidth",), quality_risk="none", realised_by="convolution kernels for that layout",
        reported=(
            Reported(
                workload="ResNet-50, ImageNet", environment="as published with the curves",
                metric="speed-up, averaged over quality", value=1.331, tag="C", seeds=1,
            ),
        ),
    ),
    published(
        "activation-checkpointing", 2016, "Activation checkpointing", "Stores few activations and computes the others "
        "again.", "Chen, Xu, Zhang and Guestrin, arXiv 1604.06174, 2016", cells="", semantic_class="math_equivalent",
        relieves=("memory capacity",), worsens=("compute",), quality_risk="none", charges=("extra forward passes",),
    ),
    published(
        "flash-attention", 2022, "FlashAttention", "Computes attention in tiles without storing its matrix.",
        "Dao, Fu, Ermon, Rudra and Re, NeurIPS 2022", cells="", semantic_class="math_equivalent",
        relieves=("memory bandwidth", "memory capacity", "inference latency"), quality_risk="none",
        realised_by="a fused kernel",
    ),
    published(
        "zero", 2020, "ZeRO", "Shards optimizer state, gradients and parameters over data-parallel workers.",
        "Rajbhandari, Rasley, Ruwase and He, SC 2020", cells="", semantic_class="math_equivalent",
        relieves=("memory capacity",), worsens=("communication",), quality_risk="none",
    ),
    published(
        "gpipe", 2019, "GPipe", "Pipelines micro-batches over stages and recomputes activations.",
        "Huang et al., NeurIPS 2019", cells="", semantic_class="math_equivalent", relieves=("memory capacity",),
        worsens=("synchronisation", "compute"), quality_risk="none", caveat="batch norm sees micro-batches",
    ),
    published(
        "megatron", 2019, "Tensor parallelism (Megatron-LM)", "Splits the matrix products of a layer over devices.",
        "Shoeybi et al., arXiv 1909.08053, 2019", cells="", semantic_class="math_equivalent",
        relieves=("memory capacity", "compute"), worsens=("communication",), quality_risk="none",
    ),
    published(
        "overlapped-ddp", 2020, "Bucketed data parallelism", "Reduces gradients in buckets while the backward pass "
        "runs.", "Li et al., VLDB 2020", cells="", semantic_class="math_equivalent", relieves=("communication",),
        worsens=("memory capacity",), quality_risk="none",
    ),
    published(
        "winograd", 2016, "Winograd convolution", "Computes small convolutions with fewer multiplications.",
        "Lavin and Gray, CVPR 2016", cells="", semantic_class="math_equivalent", phase=("dense_train", "inference"),
        relieves=("compute", "inference latency"), worsens=("memory bandwidth",), quality_risk="none",
        realised_by="the kernel library's own choice",
    ),
    published(
        "speculative-decoding", 2023, "Speculative decoding", "A small model drafts tokens that the large one accepts "
        "or rejects, with the large one's distribution.", "Leviathan, Kalman and Matias, ICML 2023", cells="",
        phase="inference", semantic_class="distribution_preserving", relieves=("inference latency",),
        worsens=("inference compute", "inference size"), stochastic=True, charges=("extra models",),
        quality_risk="none",
    ),
)  # fmt: skip
