"""Published methods that change the architecture."""

from paretorch.methods.card import Reported
from paretorch.methods.published.entry import published

CARDS = (
    published(
        "stochastic-depth", 2016, "Stochastic depth", "Skips residual blocks at random while training.",
        "Huang, Sun, Liu, Sedra and Weinberger, ECCV 2016", cells="architecture:remove",
        relieves=("compute", "memory capacity"), stochastic=True,
    ),
    published(
        "layerdrop", 2020, "LayerDrop", "Drops transformer layers at random, so that shallower models can be taken out "
        "later.", "Fan, Grave and Joulin, ICLR 2020", cells="architecture:remove",
        relieves=("compute", "inference size", "inference latency", "inference compute"), stochastic=True,
    ),
    published(
        "progressive-layer-dropping", 2020, "Progressive layer dropping", "Drops more layers with depth and with time.",
        "Zhang and He, NeurIPS 2020", cells="architecture:remove, architecture:reorder", relieves=("compute",),
        stochastic=True, needs_total_duration=True, schedule_params=(("end", 1.0),),
    ),
    published(
        "nf-nets", 2021, "Normaliser-free networks", "Trains deep networks without batch norm by scaled weights and "
        "adaptive clipping.", "Brock, De, Smith and Simonyan, ICML 2021",
        cells="architecture:remove, algorithm:restrict", relieves=("memory bandwidth", "synchronisation"),
    ),
    published(
        "mixture-of-depths", 2024, "Mixture of depths", "A router lets only some tokens pass through a block.",
        "Raposo et al., arXiv 2404.02258, 2024", cells="architecture:remove, derived data:remove",
        relieves=("compute", "inference compute"),
    ),
    published(
        "branchynet", 2016, "BranchyNet", "Adds exits along the depth and stops at the first that is sure.",
        "Teerapittayanon, McDanel and Kung, ICPR 2016", cells="architecture:retrofit, architecture:remove",
        phase=("dense_train", "inference"), relieves=("inference compute", "inference latency"), caveat="a batch waits "
        "for its slowest example",
    ),
    published(
        "slimmable", 2019, "Slimmable networks", "One network runs at several widths, with batch norms of its own for "
        "each.", "Yu, Yang, Xu, Yang and Huang, ICLR 2019, arXiv 1812.08928", cells="architecture:restrict",
        relieves=("inference compute", "inference latency", "tuning cost"), worsens=("compute",),
        charges=("extra forward passes",),
    ),
    published(
        "autoslim", 2019, "AutoSlim", "Slims a trained slimmable network greedily, layer by layer.",
        "Yu and Huang, arXiv 1903.11728, 2019", cells="architecture:restrict, architecture:remove",
        phase=("dense_train", "prune", "retrain"),
        relieves=("inference compute", "inference latency", "inference size"), charges=("search", "retraining epochs"),
    ),
    published(
        "once-for-all", 2020, "Once-for-all", "Trains one network whose depth, width, kernel and resolution can be "
        "chosen afterwards.", "Cai, Gan, Wang, Zhang and Han, ICLR 2020, arXiv 1908.09791",
        cells="architecture:restrict, architecture:reorder, objective:retrofit",
        relieves=("tuning cost", "inference latency", "inference compute"), worsens=("compute",), charges=("search",),
        reference_implementation="mit-han-lab/once-for-all",
    ),
    published(
        "bignas", 2020, "BigNAS", "Trains one set of shared weights for many sizes, without retraining.",
        "Yu et al., ECCV 2020, arXiv 2003.11142", cells="architecture:restrict, objective:retrofit",
        relieves=("tuning cost", "inference latency", "inference compute"), worsens=("compute",), charges=("search",),
    ),
    published(
        "matformer", 2024, "MatFormer", "Nests feed-forward widths of a transformer in one another.",
        "Devvrit et al., NeurIPS 2024, arXiv 2310.07707", cells="architecture:restrict",
        relieves=("inference compute", "inference latency", "tuning cost"), charges=("extra forward passes",),
    ),
    published(
        "flexrank", 2026, "FlexRank", "Finds nested rank profiles by dynamic programming and trains them jointly.",
        "Zaccone, Laskaridis, Ciccone and Horvath, ICML 2026, arXiv 2602.02680",
        cells="architecture:restrict, parameters:restrict, objective:retrofit", phase="finetune",
        relieves=("inference size", "inference compute", "tuning cost"), charges=("calibration passes", "search"),
    ),
    published(
        "sparse-transformer", 2019, "Sparse transformer", "Attention over strided and local positions only.",
        "Child, Gray, Radford and Sutskever, arXiv 1904.10509, 2019", cells="architecture:restrict", phase="init",
        relieves=("compute", "memory capacity", "inference compute"), realised_by="a block-sparse attention kernel",
    ),
    published(
        "longformer", 2020, "Longformer", "Attention within a window, plus a few global tokens.",
        "Beltagy, Peters and Cohan, arXiv 2004.05150, 2020", cells="architecture:restrict", phase="init",
        relieves=("compute", "memory capacity", "inference compute"), realised_by="a banded attention kernel",
    ),
    published(
        "multi-query-attention", 2019, "Multi-query attention", "All heads share one set of keys and values.",
        "Shazeer, arXiv 1911.02150, 2019", cells="architecture:restrict, parameters:restrict", phase="init",
        relieves=("inference latency", "inference size"), caveat="saves memory traffic of generation token by token",
    ),
    published(
        "grouped-query-attention", 2023, "Grouped-query attention", "Groups of heads share keys and values; converted "
        "from a trained model.", "Ainslie et al., EMNLP 2023", cells="architecture:restrict, parameters:restrict",
        phase=("init", "finetune"), relieves=("inference latency", "inference size"),
    ),
    published(
        "progressive-stacking", 2019, "Progressive stacking", "Doubles the depth by copying trained layers on top.",
        "Gong, He, Li, Qin, Wang and Liu, ICML 2019", cells="architecture:reorder, parameters:replace",
        relieves=("compute",), needs_total_duration=True,
        schedule_params=(("first stack", 0.125), ("second stack", 0.3)), caveat="the moments given are those of a "
        "later comparison at fixed budget",
    ),
    published(
        "staged-training", 2022, "Staged training of transformers", "Grows depth and width in stages that preserve "
        "loss and training dynamics.", "Shen et al., ICML 2022", cells="architecture:reorder, parameters:replace",
        relieves=("compute",), needs_total_duration=True, schedule_params=(("beginning", 0.0),), caveat="the moments "
        "of growth are settings",
    ),
    published(
        "progressive-gan", 2018, "Progressive growing", "Adds layers for higher resolutions while a generator trains.",
        "Karras, Aila, Laine and Lehtinen, ICLR 2018", cells="architecture:reorder, training data:restrict",
        relieves=("compute", "steps to target"), needs_total_duration=True, schedule_params=(("beginning", 0.0),),
        caveat="the moments of growth are settings",
    ),
    published(
        "sandwich-transformer", 2020, "Sandwich transformer", "Reorders attention and feed-forward sublayers.",
        "Press, Smith and Levy, ACL 2020", cells="architecture:reorder", phase="init", relieves=("steps to target",),
        quality_risk="low",
    ),
    published(
        "pre-norm", 2020, "Pre-norm transformer", "Normalises before each sublayer, so that no warm-up is needed.",
        "Xiong et al., ICML 2020", cells="architecture:reorder", phase="init",
        relieves=("steps to target", "tuning cost"), quality_risk="low",
    ),
    published(
        "mobilenet", 2017, "Depthwise separable convolutions (MobileNet)", "Replaces convolutions by a depthwise and a "
        "pointwise one.", "Howard et al., arXiv 1704.04861, 2017", cells="architecture:replace", phase="init",
        relieves=("inference size", "inference compute", "compute"), worsens=("memory bandwidth",),
        realised_by="a fast depthwise kernel",
    ),
    published(
        "efficientnet", 2019, "EfficientNet", "Scales depth, width and resolution together from a searched base.",
        "Tan and Le, ICML 2019", cells="architecture:replace", phase="init",
        relieves=("inference size", "inference compute"), worsens=("memory bandwidth",), charges=("search",),
        caveat="fewer operations, which depthwise layers turn into less than as much time",
    ),
    published(
        "linear-transformer", 2020, "Linear attention", "Attention by feature maps, linear in the length.",
        "Katharopoulos, Vyas, Pappas and Fleuret, ICML 2020", cells="architecture:replace", phase="init",
        relieves=("compute", "memory capacity", "inference compute", "inference latency"), quality_risk="high",
    ),
    published(
        "performer", 2021, "Performer", "Approximates softmax attention by positive random features.",
        "Choromanski et al., ICLR 2021", cells="architecture:replace", phase="init", stochastic=True,
        relieves=("compute", "memory capacity", "inference compute"), quality_risk="high",
    ),
    published(
        "fnet", 2022, "FNet", "Replaces attention by Fourier transforms.",
        "Lee-Thorp, Ainslie, Eckstein and Ontanon, NAACL 2022", cells="architecture:replace", phase="init",
        relieves=("compute", "inference compute", "inference size"), quality_risk="high",
    ),
    published(
        "revnet", 2017, "Reversible residual networks", "Recomputes activations from the layer's output instead of "
        "storing them.", "Gomez, Ren, Urtasun and Grosse, NIPS 2017", cells="architecture:replace, derived data:remove",
        phase="init", relieves=("memory capacity",), worsens=("compute",),
    ),
    published(
        "ghost-batch-norm", 2017, "Ghost batch norm", "Normalises over small parts of a large batch.",
        "Hoffer, Hubara and Soudry, NIPS 2017", cells="architecture:replace", relieves=("steps to target",),
        worsens=("launch overhead",), quality_risk="low",
    ),
    published(
        "residual-connections", 2016, "Residual connections", "Adds each block's input to its output.",
        "He, Zhang, Ren and Sun, CVPR 2016", cells="architecture:retrofit", phase="init", relieves=("steps to target",),
        worsens=("memory capacity",), quality_risk="none",
    ),
    published(
        "batch-norm", 2015, "Batch normalisation", "Normalises activations over the batch.",
        "Ioffe and Szegedy, ICML 2015", cells="architecture:retrofit", phase="init", relieves=("steps to target",),
        worsens=("memory bandwidth", "launch overhead"), stateful=True, quality_risk="low",
    ),
    published(
        "squeeze-excite", 2018, "Squeeze-and-excitation", "Weighs channels by a small network on their means.",
        "Hu, Shen and Sun, CVPR 2018", cells="architecture:retrofit", phase="init", relieves=("steps to target",),
        worsens=("memory bandwidth", "launch overhead", "inference latency"), quality_risk="none",
    ),
    published(
        "blurpool", 2019, "BlurPool", "Blurs before it subsamples, so that small shifts change little.",
        "Zhang, ICML 2019", cells="architecture:retrofit", phase="init", relieves=("steps to target",),
        worsens=("compute", "memory bandwidth", "inference latency"), quality_risk="none", cost="a blur before the "
        "convolution keeps its MACs; one behind it multiplies them by the square of the stride",
        reported=(
            Reported(
                workload="ResNet-50, ImageNet", environment="as published with the curves",
                metric="speed-up, averaged over quality", value=1.324, tag="C", seeds=1,
            ),
        ),
    ),
    published(
        "alibi", 2022, "ALiBi", "Biases attention by distance instead of adding position embeddings, and so "
        "extrapolates to longer inputs.", "Press, Smith and Lewis, ICLR 2022",
        cells="architecture:retrofit, training data:restrict", phase="init", relieves=("compute", "memory capacity"),
        quality_risk="low", caveat="saves where it lets one train on shorter sequences",
    ),
    published(
        "rezero", 2021, "ReZero", "Scales each residual branch by a learned number that begins at zero.",
        "Bachlechner, Majumder, Mao, Cottrell and McAuley, UAI 2021", cells="architecture:retrofit, parameters:replace",
        phase="init", relieves=("steps to target",), quality_risk="low",
    ),
    published(
        "mixture-of-experts", 2017, "Sparsely gated mixture of experts", "A router sends each token to few of many "
        "experts.", "Shazeer et al., ICLR 2017", "Fedus, Zoph and Shazeer, JMLR 23, 2022",
        cells="architecture:retrofit, parameters:retrofit", phase="init", relieves=("compute", "inference compute"),
        worsens=("memory capacity", "communication", "stragglers", "inference size"), caveat="parameters grow while "
        "products do not: compare both",
    ),
)  # fmt: skip
