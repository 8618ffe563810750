"""Published methods that change the training algorithm: optimizers, schedules, synchronisation, search."""

from paretorch.methods.published.entry import published

CARDS = (
    published(
        "adafactor", 2018, "Adafactor", "Keeps row and column sums of the second moment instead of the whole.",
        "Shazeer and Stern, ICML 2018", cells="algorithm:remove, algorithm:restrict", relieves=("memory capacity",),
        stateful=True,
    ),
    published(
        "sm3", 2019, "SM3", "Keeps one second-moment accumulator per row and column of a tensor.",
        "Anil, Gupta, Koren and Singer, NeurIPS 2019", cells="algorithm:remove, algorithm:restrict",
        relieves=("memory capacity",), stateful=True,
    ),
    published(
        "adam-mini", 2025, "Adam-mini", "Keeps one second moment per block of parameters.", "Zhang et al., ICLR 2025",
        cells="algorithm:remove", relieves=("memory capacity", "optimizer step"), stateful=True,
    ),
    published(
        "lag", 2018, "Lazily aggregated gradients", "Workers send a gradient only when it has changed enough.",
        "Chen, Giannakis, Sun and Yin, NeurIPS 2018", cells="algorithm:remove, derived data:remove",
        relieves=("communication",), worsens=("memory capacity",), stateful=True,
    ),
    published(
        "eight-bit-optimizers", 2022, "8-bit optimizers", "Stores optimizer states in 8 bits, quantised by blocks.",
        "Dettmers, Lewis, Shleifer and Zettlemoyer, ICLR 2022", cells="algorithm:restrict",
        relieves=("memory capacity", "optimizer step"), stateful=True, quality_risk="low",
    ),
    published(
        "gradient-clipping", 2013, "Gradient clipping by norm", "Bounds the norm of the gradient.",
        "Pascanu, Mikolov and Bengio, ICML 2013", cells="algorithm:restrict", relieves=("steps to target",),
        worsens=("memory bandwidth",), quality_risk="low",
    ),
    published(
        "lars", 2017, "LARS", "Scales each layer's step by the ratio of the norms of weight and gradient.",
        "You, Gitman and Ginsburg, arXiv 1708.03888, 2017", cells="algorithm:replace, algorithm:restrict",
        relieves=("steps to target",), stateful=True, caveat="fewer steps by larger batches",
    ),
    published(
        "lamb", 2020, "LAMB", "Layer-wise scaled Adam for large batches.", "You et al., ICLR 2020",
        cells="algorithm:replace, algorithm:restrict", relieves=("steps to target",), stateful=True,
        caveat="fewer steps by larger batches",
    ),
    published(
        "cyclical-rates", 2017, "Cyclical learning rates", "Lets the learning rate rise and fall between two bounds.",
        "Smith, WACV 2017", cells="algorithm:reorder", relieves=("steps to target", "tuning cost"), quality_risk="low",
        caveat="bounds come from a range test, which is charged", charges=("search",),
    ),
    published(
        "super-convergence", 2019, "One-cycle policy", "One cycle with a large peak and a final decay.",
        "Smith and Topin, arXiv 1708.07120, 2017; SPIE 2019", cells="algorithm:reorder", relieves=("steps to target",),
        needs_total_duration=True, schedule_params=(("beginning", 0.0), ("end", 1.0)),
    ),
    published(
        "sgdr", 2017, "Warm restarts (SGDR)", "Restarts a cosine schedule in cycles of growing length.",
        "Loshchilov and Hutter, ICLR 2017", cells="algorithm:reorder", relieves=("steps to target",),
        quality_risk="low",
    ),
    published(
        "large-batch-warmup", 2017, "Linear scaling and warm-up", "Scales the learning rate with the batch and ramps "
        "it up.", "Goyal et al., arXiv 1706.02677, 2017", cells="algorithm:reorder",
        relieves=("steps to target", "synchronisation"), quality_risk="low",
    ),
    published(
        "batch-growth", 2018, "Growing the batch instead of decaying the rate", "Raises the batch where a schedule "
        "would lower the learning rate.", "Smith, Kindermans, Ying and Le, ICLR 2018", cells="algorithm:reorder",
        relieves=("synchronisation", "communication"), worsens=("memory capacity",), needs_total_duration=True,
        schedule_params=(("beginning", 0.0),),
    ),
    published(
        "budgeted-training", 2020, "Budgeted training", "Decays the learning rate linearly to zero within the budget, "
        "whatever it is.", "Li, Yumer and Ramanan, ICLR 2020", cells="algorithm:reorder", relieves=("steps to target",),
        needs_total_duration=True, schedule_params=(("end", 1.0),), quality_risk="low",
    ),
    published(
        "warmup-stable-decay", 2024, "Warm-up, stable, decay (WSD)", "Branches a short decay from a constant learning "
        "rate for every budget.", "Hu et al., arXiv 2404.06395, 2024", cells="algorithm:reorder",
        relieves=("tuning cost",), needs_total_duration=True, schedule_params=(("end", 1.0),), quality_risk="low",
    ),
    published(
        "local-sgd", 2019, "Local SGD", "Workers take several steps between averages.", "Stich, ICLR 2019",
        cells="algorithm:reorder, algorithm:remove", relieves=("communication", "synchronisation"),
    ),
    published(
        "post-local-sgd", 2020, "Post-local SGD", "Synchronises every step first, and rarely later.",
        "Lin, Stich, Patel and Jaggi, ICLR 2020", cells="algorithm:reorder, algorithm:remove",
        relieves=("communication", "synchronisation"), needs_total_duration=True, schedule_params=(("end", 1.0),),
    ),
    published(
        "diloco", 2023, "DiLoCo", "Local AdamW steps and an outer Nesterov step on their difference.",
        "Douillard et al., arXiv 2311.08105, 2023", cells="algorithm:reorder, algorithm:retrofit",
        relieves=("communication", "synchronisation"), worsens=("memory capacity",), stateful=True,
    ),
    published(
        "hyperband", 2018, "Hyperband", "Gives many settings a small budget and the better ones more.",
        "Li, Jamieson, DeSalvo, Rostamizadeh and Talwalkar, JMLR 18, 2018", cells="algorithm:reorder",
        relieves=("tuning cost",), charges=("search",), quality_risk="low",
    ),
    published(
        "asha", 2020, "ASHA", "Asynchronous successive halving on many workers.", "Li et al., MLSys 2020",
        cells="algorithm:reorder", relieves=("tuning cost", "stragglers"), charges=("search",), quality_risk="low",
    ),
    published(
        "population-based-training", 2017, "Population-based training", "A population copies its best members and "
        "perturbs their settings while it trains.", "Jaderberg et al., arXiv 1711.09846, 2017",
        cells="algorithm:reorder, parameters:replace", relieves=("tuning cost",), worsens=("compute",),
        charges=("search", "extra models"), stochastic=True,
    ),
    published(
        "mu-transfer", 2021, "Maximal update parametrisation and transfer", "Scales initialisation and rates with "
        "width, so that settings of a small model hold for the large one.", "Yang et al., NeurIPS 2021",
        cells="algorithm:replace, parameters:replace", phase=("init", "dense_train"), relieves=("tuning cost",),
        charges=("search",), quality_risk="low",
    ),
    published(
        "adam", 2015, "Adam", "Scales the step by running moments of the gradient.", "Kingma and Ba, ICLR 2015",
        cells="algorithm:replace", relieves=("steps to target", "tuning cost"), worsens=("memory capacity",),
        stateful=True,
    ),
    published(
        "adamw", 2019, "AdamW", "Adam with weight decay beside the gradient.", "Loshchilov and Hutter, ICLR 2019",
        cells="algorithm:replace", relieves=("steps to target", "tuning cost"), worsens=("memory capacity",),
        stateful=True,
    ),
    published(
        "lion", 2023, "Lion", "Steps by the sign of an interpolated momentum; found by program search.",
        "Chen et al., NeurIPS 2023", cells="algorithm:replace, algorithm:remove",
        relieves=("memory capacity", "optimizer step", "steps to target"), stateful=True,
    ),
    published(
        "sophia", 2024, "Sophia", "Preconditions by a clipped estimate of the diagonal Hessian.",
        "Liu, Li, Hall, Liang and Ma, ICLR 2024", cells="algorithm:replace", relieves=("steps to target",),
        worsens=("memory capacity", "optimizer step"), stateful=True, stochastic=True,
    ),
    published(
        "shampoo", 2018, "Shampoo", "Preconditions each side of a weight matrix by roots of accumulated products.",
        "Gupta, Koren and Singer, ICML 2018", cells="algorithm:replace", relieves=("steps to target",),
        worsens=("memory capacity", "optimizer step"), stateful=True,
    ),
    published(
        "soap", 2025, "SOAP", "Runs Adam in the eigenbasis of Shampoo's preconditioner.", "Vyas et al., ICLR 2025",
        cells="algorithm:replace", relieves=("steps to target", "tuning cost"),
        worsens=("memory capacity", "optimizer step"), stateful=True,
    ),
    published(
        "k-fac", 2015, "K-FAC", "Approximates natural gradient by Kronecker factors of each layer.",
        "Martens and Grosse, ICML 2015", cells="algorithm:replace", relieves=("steps to target",),
        worsens=("memory capacity", "optimizer step"), stateful=True,
    ),
    published(
        "frank-wolfe-training", 2020, "Training by stochastic Frank-Wolfe", "Steps towards the extreme point of a "
        "feasible region that the gradient picks.", "Pokutta, Spiegel and Zimmer, arXiv 2010.07243, 2020",
        cells="algorithm:replace, parameters:restrict", worsens=("optimizer step", "tuning cost"),
        relieves=("steps to target",), reference_implementation="ZIB-IOL/StochasticFrankWolfe",
    ),
    published(
        "schedule-free", 2024, "Schedule-free learning", "Replaces the schedule by averages of iterates, so that the "
        "duration need not be known.", "Defazio et al., NeurIPS 2024", cells="algorithm:replace, parameters:retrofit",
        relieves=("tuning cost", "steps to target"), stateful=True,
    ),
    published(
        "d-adaptation", 2023, "D-Adaptation", "Estimates the distance to the solution and sets the learning rate by "
        "it.", "Defazio and Mishchenko, ICML 2023", cells="algorithm:replace", relieves=("tuning cost",),
        worsens=("memory capacity",), stateful=True,
    ),
    published(
        "prodigy", 2024, "Prodigy", "A faster estimate of D-Adaptation's distance.",
        "Mishchenko and Defazio, ICML 2024", cells="algorithm:replace", relieves=("tuning cost",),
        worsens=("memory capacity",), stateful=True,
    ),
    published(
        "hypergradient", 2018, "Hypergradient descent", "Updates the learning rate by its own gradient.",
        "Baydin, Cornish, Martinez Rubio, Schmidt and Wood, ICLR 2018", cells="algorithm:replace",
        relieves=("tuning cost",), worsens=("memory capacity",), stateful=True,
    ),
    published(
        "extreme-learning-machine", 2006, "Extreme learning machine", "Random hidden layer and an output layer by "
        "least squares.", "Huang, Zhu and Siew, Neurocomputing 70, 2006", cells="algorithm:replace, objective:replace",
        phase="init", relieves=("steps to target", "tuning cost"), worsens=("memory capacity",), stochastic=True,
        quality_risk="high", caveat="memory grows with the square of the width",
    ),
    published(
        "analytic-learning", 2018, "Analytic network learning", "Fits the layers one after the other by least squares.",
        "Toh, arXiv 1811.08227, 2018", cells="algorithm:replace, objective:replace", phase="init",
        relieves=("steps to target", "tuning cost"), worsens=("memory capacity",), quality_risk="high",
    ),
    published(
        "momentum", 2013, "Nesterov momentum for deep networks", "Adds a decaying sum of past gradients to the step.",
        "Sutskever, Martens, Dahl and Hinton, ICML 2013", cells="algorithm:retrofit", relieves=("steps to target",),
        worsens=("memory capacity",), stateful=True, quality_risk="low",
    ),
    published(
        "lookahead", 2019, "Lookahead", "Interpolates slow weights towards every k-th fast iterate.",
        "Zhang, Lucas, Ba and Hinton, NeurIPS 2019", cells="algorithm:retrofit, parameters:retrofit",
        relieves=("steps to target", "tuning cost"), worsens=("memory capacity",), stateful=True, quality_risk="low",
    ),
)  # fmt: skip
