"""Published methods that remove parameters: pruning before, during and after training."""

from paretorch.methods.published.entry import published
from paretorch.methods.taxonomy import Charge, Resource

_SMALLER: tuple[Resource, ...] = ("inference size", "inference compute")
_CUT: tuple[Resource, ...] = ("inference size", "inference compute", "inference latency")
_KERNEL = "a sparse kernel, or a format that does not store zeros"
_RETRAIN: tuple[Charge, ...] = ("retraining epochs",)

CARDS = (
    published(
        "obd", 1989, "Optimal brain damage", "Prunes the weights whose removal raises a diagonal quadratic model of "
        "the loss least.", "LeCun, Denker and Solla, NIPS 1989", cells="parameters:remove", phase=("prune", "retrain"),
        relieves=_SMALLER, charges=("calibration passes", *_RETRAIN), realised_by=_KERNEL,
    ),
    published(
        "obs", 1992, "Optimal brain surgeon", "Prunes by the full inverse Hessian and corrects the weights that stay.",
        "Hassibi and Stork, NIPS 1992", cells="parameters:remove, parameters:replace", phase="prune", relieves=_SMALLER,
        charges=("calibration passes",), realised_by=_KERNEL, caveat="memory of the inverse Hessian is quadratic in "
        "the number of weights treated together",
    ),
    published(
        "lottery-ticket", 2019, "Lottery tickets (iterative pruning with rewinding)", "Prunes in cycles and puts the "
        "weights back to their initial values after each.", "Frankle and Carbin, ICLR 2019, arXiv 1803.03635",
        cells="parameters:remove, parameters:replace, algorithm:reorder", phase=("dense_train", "prune", "retrain"),
        relieves=_SMALLER, worsens=("compute",), charges=_RETRAIN, realised_by=_KERNEL, composes_with=("masks",),
    ),
    published(
        "late-rewinding", 2020, "Late weight rewinding", "Puts the weights back to an early step of the dense run "
        "instead of to initialisation.", "Frankle, Dziugaite, Roy and Carbin, ICML 2020, arXiv 1912.05671",
        cells="parameters:remove, parameters:replace", phase=("prune", "retrain"), relieves=_SMALLER,
        worsens=("compute",), charges=_RETRAIN, realised_by=_KERNEL,
    ),
    published(
        "snip", 2019, "SNIP", "Prunes at initialisation by the sensitivity of the loss to each connection.",
        "Lee, Ajanthan and Torr, ICLR 2019", cells="parameters:remove", phase="init", relieves=_SMALLER,
        charges=("scoring passes",), realised_by=_KERNEL, quality_risk="high",
    ),
    published(
        "grasp", 2020, "GraSP", "Prunes at initialisation so that the gradient flow after pruning stays large.",
        "Wang, Zhang and Grosse, ICLR 2020", cells="parameters:remove", phase="init", relieves=_SMALLER,
        charges=("scoring passes",), realised_by=_KERNEL, quality_risk="high",
    ),
    published(
        "synflow", 2020, "SynFlow", "Prunes at initialisation without data, in many steps that conserve synaptic flow.",
        "Tanaka, Kunin, Yamins and Ganguli, NeurIPS 2020", cells="parameters:remove", phase="init", relieves=_SMALLER,
        charges=("scoring passes",), realised_by=_KERNEL, quality_risk="high",
    ),
    published(
        "set", 2018, "Sparse evolutionary training", "Trains with a fixed number of weights: the smallest are dropped "
        "and random ones are grown.", "Mocanu et al., Nature Communications 9, 2018",
        cells="parameters:remove, parameters:reorder", relieves=(*_SMALLER, "compute"), realised_by=_KERNEL,
        stochastic=True, stateful=True,
    ),
    published(
        "top-kast", 2020, "Top-KAST", "Keeps forward and backward pass sparse with two nested sets of weights.",
        "Jayakumar, Pascanu, Rae, Osindero and Elsen, NeurIPS 2020", cells="parameters:remove, derived data:remove",
        relieves=(*_SMALLER, "compute"), realised_by=_KERNEL,
    ),
    published(
        "movement", 2020, "Movement pruning", "Prunes during fine-tuning the weights that move towards zero.",
        "Sanh, Wolf and Rush, NeurIPS 2020", cells="parameters:remove", phase="finetune", relieves=_SMALLER,
        worsens=("memory capacity",), realised_by=_KERNEL,
    ),
    published(
        "l0-gates", 2018, "L0 regularisation by hard concrete gates", "Learns stochastic gates and penalises the "
        "expected number of open ones.", "Louizos, Welling and Kingma, ICLR 2018",
        cells="parameters:remove, objective:retrofit", relieves=_SMALLER, worsens=("memory bandwidth",),
        stochastic=True, realised_by=_KERNEL,
    ),
    published(
        "variational-dropout", 2017, "Sparse variational dropout", "Learns a dropout rate per weight and prunes those "
        "whose rate is high.", "Molchanov, Ashukha and Vetrov, ICML 2017",
        cells="parameters:remove, objective:retrofit", relieves=_SMALLER,
        worsens=("memory capacity", "memory bandwidth"), stochastic=True, realised_by=_KERNEL,
    ),
    published(
        "network-slimming", 2017, "Network slimming", "Penalises batch-norm scales and prunes channels whose scale is "
        "small.", "Liu, Li, Shen, Huang, Yan and Zhang, ICCV 2017", cells="parameters:remove, objective:retrofit",
        phase=("dense_train", "prune", "retrain"), relieves=_CUT, charges=_RETRAIN,
        realised_by="cutting the channels out",
    ),
    published(
        "structured-sparsity", 2016, "Structured sparsity learning", "Group-lasso penalties drive filters, channels "
        "and layers to zero.", "Wen, Wu, Wang, Chen and Li, NIPS 2016", cells="parameters:remove, objective:retrofit",
        relieves=_CUT, realised_by="cutting the zero groups out",
    ),
    published(
        "halp", 2022, "HALP", "Chooses channels by a knapsack over measured latencies.",
        "Shen, Yin, Molchanov, Mao, Liu and Alvarez, NeurIPS 2022", cells="parameters:remove",
        phase=("prune", "retrain"), relieves=_CUT, charges=("calibration passes", *_RETRAIN),
        realised_by="latency tables measured on the target machine", reference_implementation="NVlabs/HALP",
    ),
    published(
        "spdy", 2022, "SPDY", "Finds a sparsity per layer for a target time by dynamic programming.",
        "Frantar and Alistarh, ICML 2022, arXiv 2201.13096", cells="parameters:remove", phase="post_train",
        relieves=_CUT, charges=("calibration passes", "search"), realised_by="sparse kernels and their timings",
        reference_implementation="IST-DASLab/spdy",
    ),
    published(
        "ziplm", 2023, "ZipLM", "Removes the structures of smallest error per saved time, one after the other.",
        "Kurtic, Frantar and Alistarh, NeurIPS 2023, arXiv 2302.04089", cells="parameters:remove, parameters:replace",
        phase=("prune", "retrain"), relieves=_CUT, charges=("calibration passes", "search", *_RETRAIN),
        realised_by="latency tables measured on the target machine",
    ),
    published(
        "sparsegpt", 2023, "SparseGPT", "Prunes large language models at once, correcting the kept weights column by "
        "column.", "Frantar and Alistarh, ICML 2023", cells="parameters:remove, parameters:replace", phase="post_train",
        relieves=_SMALLER, charges=("calibration passes",), realised_by=_KERNEL,
        reference_implementation="IST-DASLab/sparsegpt", licence="Apache-2.0",
    ),
    published(
        "wanda", 2024, "Wanda", "Prunes by magnitude times the norm of the input, per output row.",
        "Sun, Liu, Bair and Kolter, ICLR 2024", cells="parameters:remove", phase="post_train", relieves=_SMALLER,
        charges=("calibration passes",), realised_by=_KERNEL, reference_implementation="locuslab/wanda", licence="MIT",
    ),
    published(
        "minitron", 2024, "Minitron", "Prunes width and depth by activations on a small set, then retrains by "
        "distillation.", "Muralidharan et al., NeurIPS 2024, arXiv 2407.14679",
        cells="parameters:remove, architecture:remove, objective:retrofit", phase=("prune", "retrain"), relieves=_CUT,
        charges=("calibration passes", "extra forward passes", *_RETRAIN), realised_by="the cut itself",
    ),
)  # fmt: skip
