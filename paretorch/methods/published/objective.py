"""Published methods that change the objective."""

from paretorch.methods.card import Reported
from paretorch.methods.published.entry import published

CARDS = (
    published(
        "no-next-sentence", 2019, "BERT without next-sentence prediction (RoBERTa)", "Drops the second of BERT's two "
        "losses and trains on full sequences.", "Liu et al., arXiv 1907.11692, 2019",
        cells="objective:remove, training data:reorder", relieves=("steps to target",), quality_risk="low",
    ),
    published(
        "flooding", 2020, "Flooding", "Keeps the training loss from falling below a level.",
        "Ishida, Yamane, Sakai, Niu and Sugiyama, ICML 2020", cells="objective:restrict", worsens=("tuning cost",),
        relieves=("steps to target",), quality_risk="low",
    ),
    published(
        "constrained-sparsity", 2022, "Controlled sparsity by constraints", "Asks for a sparsity as a constraint with "
        "a multiplier instead of a penalty.",
        "Gallego-Posada, Ramirez, Erraqabi, Bengio and Lacoste-Julien, NeurIPS 2022",
        cells="objective:restrict, parameters:remove", relieves=("inference size", "inference compute", "tuning cost"),
        worsens=("memory bandwidth",), stateful=True, stochastic=True,
    ),
    published(
        "superloss", 2020, "SuperLoss", "Weighs each example's loss down when it is large, as a curriculum.",
        "Castells, Weinzaepfel and Revaud, NeurIPS 2020", cells="objective:reorder", relieves=("steps to target",),
        quality_risk="low",
    ),
    published(
        "cyclical-kl", 2019, "Cyclical annealing of the KL term", "Raises the weight of one term of the loss again and "
        "again.", "Fu, Li, Liu, Gao, Celikyilmaz and Carin, NAACL 2019", cells="objective:reorder",
        relieves=("steps to target",), needs_total_duration=True, schedule_params=(("beginning", 0.0), ("end", 1.0)),
    ),
    published(
        "early-stopped-distillation", 2019, "Distillation that stops early", "Drops the teacher's term before the end "
        "of training.", "Cho and Hariharan, ICCV 2019", cells="objective:reorder, objective:remove",
        relieves=("compute",), charges=("extra models", "extra forward passes"), needs_total_duration=True,
        schedule_params=(("beginning", 0.0),), caveat="the end of the teacher's term is a setting; saves against a "
        "teacher that acts throughout",
    ),
    published(
        "electra", 2020, "ELECTRA", "Learns to tell replaced tokens from original ones, at every position.",
        "Clark, Luong, Le and Manning, ICLR 2020", cells="objective:replace, derived data:retrofit",
        relieves=("steps to target",), worsens=("compute", "memory capacity"), charges=("extra forward passes",),
        caveat="the generator's passes are part of every step",
    ),
    published(
        "bce-for-ce", 2021, "Binary instead of categorical cross-entropy", "Each class is a decision of its own, which "
        "goes with mixed images.", "Wightman, Touvron and Jegou, arXiv 2110.00476, 2021", cells="objective:replace",
        relieves=("steps to target",), quality_risk="low",
    ),
    published(
        "square-loss", 2021, "Square loss for classification", "Fits one-hot targets by squared error on linear "
        "outputs.", "Hui and Belkin, ICLR 2021", cells="objective:replace", relieves=("memory bandwidth",),
        caveat="outputs are no probabilities",
    ),
    published(
        "linear-outputs", 2017, "Linear output activations", "Avoids squashing outputs and lets the error gradient "
        "grow exponentially.", "Oland, Bansal, Dannenberg and Raj, arXiv 1707.04199, 2017", cells="objective:replace",
        relieves=("steps to target", "memory bandwidth"), caveat="outputs are no probabilities",
    ),
    published(
        "focal-loss", 2017, "Focal loss", "Weighs down examples that are classified well.",
        "Lin, Goyal, Girshick, He and Dollar, ICCV 2017", cells="objective:replace", relieves=("steps to target",),
        quality_risk="low",
    ),
    published(
        "sampled-softmax", 2015, "Sampled softmax", "Normalises over a sample of a large vocabulary.",
        "Jean, Cho, Memisevic and Bengio, ACL 2015", cells="objective:replace",
        relieves=("compute", "memory bandwidth", "memory capacity"), stochastic=True,
    ),
    published(
        "adaptive-softmax", 2017, "Adaptive softmax", "Groups rare words in clusters with smaller projections.",
        "Grave, Joulin, Cisse, Grangier and Jegou, ICML 2017", cells="objective:replace, parameters:restrict",
        relieves=("compute", "memory bandwidth", "memory capacity", "inference compute"), quality_risk="low",
    ),
    published(
        "noise-contrastive", 2010, "Noise-contrastive estimation", "Learns to tell data from noise instead of "
        "normalising.", "Gutmann and Hyvarinen, AISTATS 2010", cells="objective:replace", relieves=("compute",),
        stochastic=True,
    ),
    published(
        "fitnets", 2015, "FitNets", "A thin student also matches hidden layers of its teacher.",
        "Romero et al., ICLR 2015", cells="objective:retrofit", worsens=("compute",),
        relieves=("inference size", "inference compute"), charges=("extra models", "extra forward passes"),
    ),
    published(
        "distilbert", 2019, "DistilBERT", "Distils BERT into half its layers during pre-training.",
        "Sanh, Debut, Chaumond and Wolf, arXiv 1910.01108, 2019", cells="objective:retrofit, architecture:remove",
        relieves=("inference size", "inference compute", "inference latency"),
        charges=("extra models", "extra forward passes"),
    ),
    published(
        "label-smoothing", 2016, "Label smoothing", "Mixes the target with the uniform distribution.",
        "Szegedy, Vanhoucke, Ioffe, Shlens and Wojna, CVPR 2016", cells="objective:retrofit",
        relieves=("steps to target",), quality_risk="low",
        reported=(
            Reported(
                workload="ResNet-50, ImageNet", environment="as published with the curves",
                metric="speed-up, averaged over quality", value=1.117, tag="C", seeds=1,
            ),
        ),
    ),
    published(
        "deep-supervision", 2015, "Deeply supervised nets", "Adds losses at hidden layers.",
        "Lee, Xie, Gallagher, Zhang and Tu, AISTATS 2015", cells="objective:retrofit, architecture:retrofit",
        relieves=("steps to target",), worsens=("compute",), quality_risk="low",
    ),
    published(
        "sam", 2021, "Sharpness-aware minimisation", "Takes the gradient at the worst point nearby.",
        "Foret, Kleiner, Mobahi and Neyshabur, ICLR 2021", cells="objective:retrofit", relieves=("steps to target",),
        worsens=("compute", "memory capacity"), charges=("extra forward passes",), quality_risk="low",
        caveat="two forward and two backward passes per step",
    ),
    published(
        "efficient-sam", 2022, "Efficient sharpness-aware minimisation", "Perturbs a part of the weights and uses a "
        "part of the examples.", "Du et al., ICLR 2022", cells="objective:retrofit, training data:remove",
        relieves=("steps to target",), worsens=("compute",), charges=("extra forward passes",), stochastic=True,
    ),
)  # fmt: skip
