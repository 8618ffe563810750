"""Published methods that restrict, reorder, replace or retrofit parameters."""

from paretorch.methods.published.entry import published

CARDS = (
    published(
        "hashed-nets", 2015, "HashedNets", "Weights that fall into the same hash bucket share one value.",
        "Chen, Wilson, Tyree, Weinberger and Chen, ICML 2015", cells="parameters:restrict", phase="init",
        relieves=("inference size", "memory capacity", "communication"), caveat="products are as many as before",
    ),
    published(
        "weight-tying", 2017, "Tied embeddings", "Input and output embeddings are one matrix.",
        "Press and Wolf, EACL 2017", "Inan, Khosravi and Socher, ICLR 2017", cells="parameters:restrict", phase="init",
        relieves=("inference size", "memory capacity", "communication"), quality_risk="low",
    ),
    published(
        "albert", 2020, "ALBERT", "All transformer layers share their parameters; embeddings are factorised.",
        "Lan et al., ICLR 2020", cells="parameters:restrict, objective:replace", phase="init",
        relieves=("inference size", "memory capacity", "communication"), caveat="products are as many as before",
    ),
    published(
        "low-rank-filters", 2014, "Low-rank expansions of convolutions", "Replaces trained filters by products of "
        "smaller ones.", "Jaderberg, Vedaldi and Zisserman, BMVC 2014",
        "Denton, Zaremba, Bruna, LeCun and Fergus, NIPS 2014", cells="parameters:restrict", phase="post_train",
        charges=("calibration passes",), relieves=("inference size", "inference compute", "inference latency"),
    ),
    published(
        "pufferfish", 2021, "Pufferfish", "Trains at full rank first and then in factors.",
        "Wang, Agarwal and Papailiopoulos, MLSys 2021", cells="parameters:restrict, algorithm:reorder",
        relieves=("compute", "communication", "inference size"), needs_total_duration=True,
        schedule_params=(("beginning of full rank", 0.0),), caveat="the moment of factorisation is a setting",
    ),
    published(
        "monarch", 2022, "Monarch matrices", "Weights are products of block-diagonal matrices and permutations.",
        "Dao et al., ICML 2022", cells="parameters:restrict", phase=("init", "dense_train"),
        relieves=("compute", "inference size", "inference compute"),
    ),
    published(
        "lora", 2022, "LoRA", "Fine-tunes a low-rank update of frozen weights.", "Hu et al., ICLR 2022",
        cells="parameters:restrict, derived data:remove", phase="finetune",
        relieves=("memory capacity", "optimizer step", "communication"), quality_risk="low",
    ),
    published(
        "perp", 2023, "PERP", "Retrains a small subset of the parameters, or low-rank adapters that merge into the "
        "mask.", "Zimmer, Andoni, Spiegel and Pokutta, arXiv 2312.15230, 2023",
        cells="parameters:restrict, derived data:remove", phase="retrain",
        relieves=("memory capacity", "optimizer step", "communication"), charges=("retraining epochs",),
        composes_with=("magnitude", "masks"), reference_implementation="ZIB-IOL/PERP", licence="none given",
        caveat="the forward pass costs what it did; merging must keep the mask",
    ),
    published(
        "sfw-compression-aware", 2022, "Compression-aware training by stochastic Frank-Wolfe", "Keeps the weights in a "
        "polytope or ball whose extreme points are sparse or of low rank.",
        "Zimmer, Spiegel and Pokutta, arXiv 2205.11921, 2022", cells="parameters:restrict, algorithm:replace",
        relieves=("inference size", "inference compute", "steps to target"), worsens=("optimizer step", "tuning cost"),
        reference_implementation="ZIB-IOL/compression-aware-SFW", licence="none given", caveat="no retraining is "
        "needed, but the radius of the region must be tuned",
    ),
    published(
        "binaryconnect", 2015, "BinaryConnect", "Weights are binary in forward and backward pass and real in the "
        "update.", "Courbariaux, Bengio and David, NIPS 2015", cells="parameters:restrict",
        relieves=("inference size", "inference compute"), quality_risk="high",
        realised_by="a kernel for binary weights",
    ),
    published(
        "xnor-net", 2016, "XNOR-Net", "Weights and activations are binary, with a scale each.",
        "Rastegari, Ordonez, Redmon and Farhadi, ECCV 2016", cells="parameters:restrict, derived data:restrict",
        relieves=("inference size", "inference compute", "inference latency"), quality_risk="high",
        realised_by="a kernel that counts equal bits",
    ),
    published(
        "integer-qat", 2018, "Quantisation-aware training for integer arithmetic", "Simulates 8-bit rounding in the "
        "forward pass while training in float.", "Jacob et al., CVPR 2018",
        cells="parameters:restrict, derived data:restrict", phase=("dense_train", "finetune"),
        relieves=("inference size", "inference latency", "inference compute"), worsens=("memory bandwidth",),
        realised_by="integer kernels",
    ),
    published(
        "lsq", 2020, "Learned step size quantisation", "Learns the step of each quantiser by its gradient.",
        "Esser, McKinstry, Bablani, Appuswamy and Modha, ICLR 2020", cells="parameters:restrict, derived data:restrict",
        phase=("dense_train", "finetune"), relieves=("inference size", "inference latency", "inference compute"),
        worsens=("memory bandwidth",), realised_by="low-bit kernels",
    ),
    published(
        "smol", 2022, "SMOL", "Learns the precision of every weight by the noise that it can bear.",
        "Savarese, Yuan, Li and Maire, NeurIPS 2022", cells="parameters:restrict, objective:retrofit",
        relieves=("inference size",), worsens=("memory bandwidth", "memory capacity"), stochastic=True,
        realised_by="kernels for mixed precision",
    ),
    published(
        "gptq", 2023, "GPTQ", "Quantises weights column by column and corrects those that are left.",
        "Frantar, Ashkboos, Hoefler and Alistarh, ICLR 2023", cells="parameters:restrict, parameters:replace",
        phase="post_train", relieves=("inference size", "inference latency"), charges=("calibration passes",),
        realised_by="a kernel that reads packed low-bit weights",
    ),
    published(
        "awq", 2024, "AWQ", "Scales channels before rounding so that the salient weights lose least.",
        "Lin et al., MLSys 2024", cells="parameters:restrict", phase="post_train",
        relieves=("inference size", "inference latency"), charges=("calibration passes",),
        realised_by="a kernel that reads packed low-bit weights",
    ),
    published(
        "deep-compression", 2016, "Deep compression", "Prunes, clusters the weights and gives them Huffman codes.",
        "Han, Mao and Dally, ICLR 2016", cells="parameters:remove, parameters:restrict",
        phase=("prune", "retrain", "post_train"), relieves=("inference size",),
        charges=("retraining epochs", "codec time"), realised_by="a decoder at load time",
    ),
    published(
        "sr-ste", 2021, "SR-STE", "Trains an N:M pattern from scratch with a straight-through estimator and a decay of "
        "pruned weights.", "Zhou et al., ICLR 2021", cells="parameters:restrict, parameters:remove",
        relieves=("inference size", "inference compute", "inference latency"), worsens=("memory bandwidth",),
        realised_by="sparse tensor cores", composes_with=("nm-pattern",),
    ),
    published(
        "gradual-unfreezing", 2018, "Gradual unfreezing", "Fine-tunes the last layer first and unfreezes the earlier "
        "ones one by one.", "Howard and Ruder, ACL 2018", cells="parameters:reorder, derived data:remove",
        phase="finetune", relieves=("compute", "memory capacity"), needs_total_duration=True,
        schedule_params=(("beginning", 0.0),), caveat="the pace of unfreezing is a setting",
    ),
    published(
        "channel-permutation", 2021, "Channel permutations for N:M sparsity", "Permutes input channels so that an N:M "
        "pattern keeps more magnitude.", "Pool and Yu, NeurIPS 2021", cells="parameters:reorder", phase="prune",
        relieves=("inference compute", "inference latency"), charges=("search",), realised_by="sparse tensor cores",
        before=("nm-pattern",),
    ),
    published(
        "git-re-basin", 2023, "Git Re-Basin", "Permutes the units of one network so that it can be averaged with "
        "another.", "Ainsworth, Hayase and Srinivasa, ICLR 2023", cells="parameters:reorder", phase="post_train",
        charges=("extra models", "search"), relieves=("inference compute",), caveat="saves against an ensemble of the "
        "two networks",
    ),
    published(
        "net2net", 2016, "Net2Net", "Starts a wider or deeper network from a trained one that computes the same.",
        "Chen, Goodfellow and Shlens, ICLR 2016", cells="parameters:replace, architecture:retrofit", phase="init",
        relieves=("steps to target", "compute"), charges=("extra models",),
    ),
    published(
        "bert2bert", 2022, "bert2BERT", "Starts a large language model from a trained small one.",
        "Chen et al., ACL 2022", cells="parameters:replace", phase="init", relieves=("steps to target",),
        charges=("extra models",),
    ),
    published(
        "ligo", 2023, "LiGO", "Learns the linear map from a small model's weights to those of the large one.",
        "Wang et al., ICLR 2023", cells="parameters:replace", phase="init", relieves=("steps to target",),
        charges=("extra models", "search"),
    ),
    published(
        "shrink-perturb", 2020, "Shrink and perturb", "Warm-starts from shrunken weights with added noise.",
        "Ash and Adams, NeurIPS 2020", cells="parameters:replace", phase="init", relieves=("steps to target",),
        stochastic=True,
    ),
    published(
        "lsuv", 2016, "Layer-sequential unit-variance initialisation", "Rescales orthonormal weights until every "
        "layer's output has unit variance.", "Mishkin and Matas, ICLR 2016", cells="parameters:replace", phase="init",
        relieves=("steps to target",), charges=("calibration passes",), stochastic=True, quality_risk="low",
    ),
    published(
        "fixup", 2019, "Fixup initialisation", "Trains deep residual networks without normalisation by rescaled "
        "initial weights.", "Zhang, Dauphin and Ma, ICLR 2019", cells="parameters:replace, architecture:remove",
        phase="init", relieves=("memory bandwidth", "launch overhead"),
    ),
    published(
        "polyak-averaging", 1992, "Averaging of iterates", "Evaluates the average of the weights over the steps.",
        "Polyak and Juditsky, SIAM Journal on Control and Optimization 30, 1992", cells="parameters:retrofit",
        relieves=("steps to target",), worsens=("memory capacity",), stateful=True, quality_risk="low",
    ),
    published(
        "lawa", 2022, "Latest weight averaging", "Averages the last k checkpoints of epochs.",
        "Kaddour, arXiv 2209.14981, 2022", cells="parameters:retrofit", relieves=("steps to target",),
        worsens=("memory capacity",), stateful=True, quality_risk="low",
    ),
    published(
        "gradmax", 2022, "GradMax", "Adds units whose gradient is as large as possible and whose output is zero.",
        "Evci, van Merrienboer, Unterthiner, Vladymyrov and Pedregosa, ICLR 2022",
        cells="parameters:retrofit, architecture:retrofit", relieves=("compute", "steps to target"),
    ),
    published(
        "sparse-upcycling", 2023, "Sparse upcycling", "Starts a mixture of experts from a trained dense model.",
        "Komatsuzaki et al., ICLR 2023", cells="parameters:retrofit, parameters:replace", phase="init",
        relieves=("steps to target",), worsens=("memory capacity", "inference size"),
    ),
)  # fmt: skip
