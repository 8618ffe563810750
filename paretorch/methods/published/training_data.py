"""Published methods that change which training data are seen, in what form and in what order."""

from paretorch.methods.card import Reported
from paretorch.methods.published.entry import published

_IMAGENET = "ResNet-50, ImageNet"

CARDS = (
    published(
        "forgetting", 2019, "Forgetting events", "Drops examples that, once learned, are never forgotten.",
        "Toneva et al., ICLR 2019", cells="training data:remove", phase="data_prep",
        relieves=("compute", "data loading"), charges=("extra models",), caveat="scores come from a full training run, "
        "which pays only when its result is used again",
    ),
    published(
        "el2n", 2021, "Error norms early in training (EL2N, GraNd)", "Keeps the examples of largest error or gradient "
        "norm after a few epochs.", "Paul, Ganguli and Dziugaite, NeurIPS 2021", cells="training data:remove",
        phase="data_prep", relieves=("compute", "data loading"), charges=("extra models", "scoring passes"),
    ),
    published(
        "deduplication", 2022, "Deduplication of text", "Removes repeated documents and substrings.",
        "Lee et al., ACL 2022", cells="training data:remove", phase="data_prep", relieves=("compute", "data loading"),
        charges=("search",), quality_risk="low",
    ),
    published(
        "semdedup", 2023, "SemDeDup", "Removes examples that are near one another in an embedding.",
        "Abbas, Tirumala, Simig, Ganguli and Morcos, arXiv 2303.09540, 2023", cells="training data:remove",
        phase="data_prep", relieves=("compute", "data loading"), charges=("extra models", "search"),
    ),
    published(
        "craig", 2020, "CRAIG", "Trains on a weighted subset whose gradient sum is close to the full one.",
        "Mirzasoleiman, Bilmes and Leskovec, ICML 2020", cells="training data:remove",
        phase=("data_prep", "dense_train"), relieves=("compute", "data loading"), charges=("scoring passes", "search"),
    ),
    published(
        "selection-via-proxy", 2020, "Selection via proxy", "Selects data with a small, briefly trained model.",
        "Coleman et al., ICLR 2020", cells="training data:remove", phase="data_prep",
        relieves=("compute", "data loading"), charges=("extra models", "scoring passes"),
    ),
    published(
        "prototype-pruning", 2022, "Data pruning by prototypes", "Removes examples by their distance to cluster "
        "centres, without labels.", "Sorscher, Geirhos, Shekhar, Ganguli and Morcos, NeurIPS 2022",
        cells="training data:remove", phase="data_prep", relieves=("compute", "data loading"),
        charges=("extra models", "scoring passes"),
    ),
    published(
        "selective-backprop", 2019, "Selective backpropagation", "Draws examples for the backward pass by their loss "
        "in the forward pass.", "Jiang et al., arXiv 1910.00762, 2019",
        cells="training data:remove, training data:reorder", relieves=("compute",),
        charges=("scoring passes", "extra forward passes"), stochastic=True, caveat="pays in steps only if the "
        "fraction kept is below 1 - s^2 / 3, where s is the scale at which it scores",
        reported=(
            Reported(
                workload=_IMAGENET, environment="8 RTX 3090, 90 epochs", metric="seconds without the method",
                value=20588.0, tag="R",
            ),
            Reported(
                workload=_IMAGENET, environment="8 RTX 3090, 90 epochs", metric="seconds with the method",
                value=19334.0, tag="R",
            ),
        ),
    ),
    published(
        "rho-loss", 2022, "Reducible holdout loss (RHO-LOSS)", "Takes from each large batch the examples whose loss "
        "exceeds that of a model trained on held-out data most.", "Mindermann et al., ICML 2022",
        cells="training data:remove, training data:reorder", relieves=("steps to target",), worsens=("compute",),
        charges=("scoring passes", "extra models"), caveat="fewer steps are not less time: scoring is charged",
    ),
    published(
        "infobatch", 2024, "InfoBatch", "Drops low-loss examples at random, weighs the others up, and ends on all "
        "data.", "Qin et al., ICLR 2024", cells="training data:remove", relieves=("compute", "data loading"),
        stochastic=True, stateful=True, needs_total_duration=True, schedule_params=(("all data from", 0.875),),
        quality_risk="low",
    ),
    published(
        "colout", 2021, "ColOut", "Drops random rows and columns of images.", "MosaicML, Composer library, method card",
        cells="training data:remove, derived data:remove", relieves=("compute", "data loading"), stochastic=True,
        caveat="by batch on the device when the host is the bottleneck, by example on the host otherwise",
        reported=(
            Reported(
                workload=_IMAGENET, environment="not given", metric="top-1 difference in points", value=-0.2, tag="R",
            ),
        ),
    ),
    published(
        "low-resolution", 2019, "Training at lower resolution (FixRes)", "Trains on smaller images than it tests on, "
        "and adapts at the end.", "Touvron, Vedaldi, Douze and Jegou, NeurIPS 2019", cells="training data:restrict",
        phase=("dense_train", "finetune"), relieves=("compute", "memory capacity", "host-to-device copy"),
    ),
    published(
        "mixed-sizes", 2019, "Mix and match of image sizes", "Trains on several image sizes at random, with batch or "
        "gradients adapted.", "Hoffer et al., arXiv 1908.08986, 2019", cells="training data:restrict",
        relieves=("compute",), worsens=("stragglers",), stochastic=True,
    ),
    published(
        "progressive-learning", 2021, "Progressive learning (EfficientNetV2)", "Raises image size and regularisation "
        "together.", "Tan and Le, ICML 2021", cells="training data:restrict, training data:reorder",
        relieves=("compute",), worsens=("data loading",), needs_total_duration=True,
        schedule_params=(("beginning", 0.0), ("end", 1.0)), caveat="early epochs at small size are easily bound by the "
        "data loader",
    ),
    published(
        "shortformer", 2021, "Shortformer", "Trains on short subsequences first.", "Press, Smith and Lewis, ACL 2021",
        cells="training data:restrict, training data:reorder", relieves=("compute", "memory capacity"),
        needs_total_duration=True, schedule_params=(("beginning", 0.0),),
    ),
    published(
        "sequence-length-warmup", 2022, "Sequence length warm-up", "Lets the sequences grow, which also permits larger "
        "batches and learning rates.", "Li, Zhang and He, NeurIPS 2022",
        cells="training data:reorder, training data:restrict", relieves=("compute", "steps to target"),
        needs_total_duration=True, schedule_params=(("beginning", 0.0),),
    ),
    published(
        "curriculum", 2009, "Curriculum learning", "Shows easy examples first.",
        "Bengio, Louradour, Collobert and Weston, ICML 2009", cells="training data:reorder",
        relieves=("steps to target",), needs_total_duration=True, schedule_params=(("beginning", 0.0),),
    ),
    published(
        "self-paced", 2010, "Self-paced learning", "Takes in examples in the order in which the model finds them easy.",
        "Kumar, Packer and Koller, NIPS 2010", cells="training data:reorder, training data:remove",
        relieves=("steps to target",), stateful=True,
    ),
    published(
        "importance-sampling", 2018, "Importance sampling by gradient bounds", "Draws examples by a bound of their "
        "gradient norm and corrects the weights.", "Katharopoulos and Fleuret, ICML 2018",
        cells="training data:reorder", relieves=("steps to target",), charges=("scoring passes",), stochastic=True,
        quality_risk="low",
    ),
    published(
        "online-batch-selection", 2015, "Online batch selection", "Draws examples by the rank of their latest loss.",
        "Loshchilov and Hutter, arXiv 1511.06343, 2015", cells="training data:reorder", relieves=("steps to target",),
        charges=("scoring passes",), stochastic=True, stateful=True,
    ),
    published(
        "sequence-packing", 2021, "Packing of sequences", "Puts several short sequences into one row, with attention "
        "kept apart.", "Krell, Kosec, Perez and Fitzgibbon, arXiv 2107.02027, 2021", cells="training data:reorder",
        phase="data_prep", relieves=("compute", "stragglers"), quality_risk="low",
    ),
    published(
        "dataset-distillation", 2018, "Dataset distillation", "Learns a few synthetic examples that train as well as "
        "many.", "Wang, Zhu, Torralba and Efros, arXiv 1811.10959, 2018", cells="training data:replace",
        phase="data_prep", relieves=("compute", "data loading"), charges=("search", "extra models"),
        quality_risk="high", caveat="making the set costs far more than one training run",
    ),
    published(
        "gradient-matching", 2021, "Dataset condensation by gradient matching", "Learns examples whose gradients match "
        "those of the data.", "Zhao, Mopuri and Bilen, ICLR 2021", cells="training data:replace", phase="data_prep",
        relieves=("compute", "data loading"), charges=("search", "extra models"), quality_risk="high",
    ),
    published(
        "trajectory-matching", 2022, "Distillation by matching trajectories", "Learns examples that lead a network "
        "along the path of training on all data.", "Cazenavette, Wang, Torralba, Efros and Zhu, CVPR 2022",
        cells="training data:replace", phase="data_prep", relieves=("compute", "data loading"),
        charges=("search", "extra models"), quality_risk="high",
    ),
    published(
        "mixup", 2018, "MixUp", "Trains on convex combinations of pairs of examples and of their labels.",
        "Zhang, Cisse, Dauphin and Lopez-Paz, ICLR 2018", cells="training data:retrofit", relieves=("steps to target",),
        stochastic=True, quality_risk="low", caveat="helps long runs and delays short ones",
        reported=(
            Reported(
                workload=_IMAGENET, environment="as published with the curves", metric="speed-up to 75 % top-1",
                value=0.95, tag="C", seeds=1,
            ),
            Reported(
                workload=_IMAGENET, environment="as published with the curves", metric="speed-up to 76.8 % top-1",
                value=1.16, tag="C", seeds=1,
            ),
        ),
    ),
    published(
        "cutmix", 2019, "CutMix", "Pastes a patch of one image into another and mixes the labels by area.",
        "Yun, Han, Oh, Chun, Choe and Yoo, ICCV 2019", cells="training data:retrofit", relieves=("steps to target",),
        stochastic=True, quality_risk="low",
    ),
    published(
        "cutout", 2017, "Cutout", "Blanks a random square of each image.", "DeVries and Taylor, arXiv 1708.04552, 2017",
        cells="training data:retrofit", relieves=("steps to target",), stochastic=True, quality_risk="low",
    ),
    published(
        "randaugment", 2020, "RandAugment", "Applies a number of random transformations of one strength.",
        "Cubuk, Zoph, Shlens and Le, arXiv 1909.13719; CVPR workshops 2020", cells="training data:retrofit",
        relieves=("steps to target",), worsens=("data loading",), stochastic=True, quality_risk="low",
        caveat="free where the device is the bottleneck, and half the speed where the host is",
        reported=(
            Reported(
                workload=_IMAGENET, environment="V100, 8 CPU cores per GPU", metric="images/s without the method",
                value=612.0, tag="R",
            ),
            Reported(
                workload=_IMAGENET, environment="V100, 8 CPU cores per GPU", metric="images/s with the method",
                value=277.0, tag="R",
            ),
            Reported(
                workload=_IMAGENET, environment="T4, 12 CPU cores", metric="images/s with and without the method",
                value=212.0, tag="R",
            ),
        ),
    ),
    published(
        "augmix", 2020, "AugMix", "Mixes chains of augmentations and asks for consistent outputs.",
        "Hendrycks et al., ICLR 2020", cells="training data:retrofit, objective:retrofit",
        relieves=("steps to target",), worsens=("data loading", "compute"), stochastic=True, quality_risk="low",
        caveat="made for robustness to corruptions",
    ),
    published(
        "batch-augmentation", 2020, "Batch augmentation", "Puts several augmentations of an example into one batch.",
        "Hoffer et al., CVPR 2020", cells="training data:retrofit", relieves=("steps to target", "data loading"),
        worsens=("compute",), stochastic=True, quality_risk="low",
    ),
)  # fmt: skip
