"""Published methods that change activations, gradients and messages."""

from paretorch.methods.published.entry import published

CARDS = (
    published(
        "freezeout", 2017, "FreezeOut", "Stops training layers one by one from the input, each after its own annealed "
        "learning rate.", "Brock, Lim, Ritchie and Weston, arXiv 1706.04983, 2017",
        cells="derived data:remove, algorithm:reorder", relieves=("compute", "memory capacity", "communication"),
        needs_total_duration=True, schedule_params=(("last layer frozen", 1.0),),
    ),
    published(
        "autofreeze", 2021, "AutoFreeze", "Freezes layers of a fine-tuned language model whose gradients have settled, "
        "and caches their outputs.", "Liu, Agarwal and Venkataraman, arXiv 2102.01386, 2021",
        cells="derived data:remove, derived data:retrofit", phase="finetune", relieves=("compute",), stateful=True,
    ),
    published(
        "pipetransformer", 2021, "PipeTransformer", "Freezes layers while training and repacks the pipeline for more "
        "replicas.", "He, Li, Soltanolkotabi and Avestimehr, ICML 2021",
        cells="derived data:remove, derived data:retrofit", relieves=("compute", "communication", "stragglers"),
    ),
    published(
        "meprop", 2017, "meProp", "Keeps only the largest entries of each layer's gradient in the backward pass.",
        "Sun, Ren, Ma and Wang, ICML 2017", cells="derived data:remove", relieves=("compute",),
        realised_by="kernels that skip the dropped rows",
    ),
    published(
        "token-dropping", 2022, "Token dropping for BERT", "Lets unimportant tokens skip the middle layers.",
        "Hou et al., ACL 2022", cells="derived data:remove", relieves=("compute",), stateful=True,
    ),
    published(
        "random-ltd", 2022, "Random layerwise token dropping", "Drops random tokens at each middle layer, fewer with "
        "time.", "Yao et al., arXiv 2211.11586, 2022", cells="derived data:remove, derived data:reorder",
        relieves=("compute",), stochastic=True, needs_total_duration=True, schedule_params=(("all tokens", 1.0),),
    ),
    published(
        "token-merging", 2023, "Token merging", "Merges similar tokens between transformer layers.",
        "Bolya et al., ICLR 2023", cells="derived data:remove", phase=("dense_train", "inference"),
        relieves=("compute", "inference compute", "inference latency"),
    ),
    published(
        "gradient-dropping", 2017, "Sparse communication by dropping gradients", "Sends the largest entries of the "
        "gradient and keeps the rest for later.", "Aji and Heafield, EMNLP 2017",
        cells="derived data:remove, derived data:retrofit", relieves=("communication",), worsens=("memory capacity",),
        stateful=True, charges=("codec time",),
    ),
    published(
        "dgc", 2018, "Deep gradient compression", "Sends few gradient entries, with momentum correction and a warm-up "
        "of the sparsity.", "Lin, Han, Mao, Wang and Dally, ICLR 2018",
        cells="derived data:remove, derived data:retrofit", relieves=("communication",),
        worsens=("memory capacity", "memory bandwidth"), stateful=True, charges=("codec time",),
    ),
    published(
        "mixed-precision", 2018, "Mixed precision", "Computes in half precision, with float32 weights and a scaled "
        "loss.", "Micikevicius et al., ICLR 2018", cells="derived data:restrict",
        relieves=("compute", "memory bandwidth", "memory capacity", "communication"), stateful=True, quality_risk="low",
        realised_by="hardware with fast half precision",
    ),
    published(
        "fp8", 2022, "FP8 formats", "Computes in two 8-bit floating-point formats, one for each pass.",
        "Micikevicius et al., arXiv 2209.05433, 2022", cells="derived data:restrict",
        relieves=("compute", "memory bandwidth", "memory capacity"), stateful=True, realised_by="FP8 tensor cores",
    ),
    published(
        "one-bit-sgd", 2014, "1-bit SGD", "Sends one bit per gradient entry and keeps the error for the next step.",
        "Seide, Fu, Droppo, Li and Yu, Interspeech 2014", cells="derived data:restrict, derived data:retrofit",
        relieves=("communication",), worsens=("memory capacity",), stateful=True, charges=("codec time",),
    ),
    published(
        "qsgd", 2017, "QSGD", "Rounds gradients at random to few levels, without bias, and codes them.",
        "Alistarh, Grubic, Li, Tomioka and Vojnovic, NIPS 2017", cells="derived data:restrict",
        relieves=("communication",), stochastic=True, charges=("codec time",),
    ),
    published(
        "terngrad", 2017, "TernGrad", "Sends gradients of three levels.", "Wen et al., NIPS 2017",
        cells="derived data:restrict", relieves=("communication",), stochastic=True, charges=("codec time",),
    ),
    published(
        "signsgd", 2018, "signSGD", "Sends the sign of each gradient entry; workers vote.",
        "Bernstein, Wang, Azizzadenesheli and Anandkumar, ICML 2018", cells="derived data:restrict, algorithm:replace",
        relieves=("communication",), quality_risk="high",
    ),
    published(
        "powersgd", 2019, "PowerSGD", "Sends low-rank factors of each gradient matrix, with error feedback.",
        "Vogels, Karimireddy and Jaggi, NeurIPS 2019", cells="derived data:restrict, derived data:retrofit",
        relieves=("communication",), worsens=("memory capacity",), stateful=True,
    ),
    published(
        "adaptive-weight-coding", 2015, "Quantised and coded exchange of weights", "Quantises the exchanged weights to "
        "few bits and codes them.", "Oland and Raj, ICASSP 2015", cells="derived data:restrict",
        relieves=("communication",), charges=("codec time",),
    ),
    published(
        "one-bit-adam", 2021, "1-bit Adam", "Freezes the second moment after a warm-up and sends the momentum in one "
        "bit.", "Tang et al., ICML 2021", cells="derived data:restrict, algorithm:replace, derived data:retrofit",
        relieves=("communication",), worsens=("memory capacity",), stateful=True, charges=("codec time",),
    ),
    published(
        "galore", 2024, "GaLore", "Runs the optimizer on gradients projected to a low rank.", "Zhao et al., ICML 2024",
        cells="derived data:restrict, algorithm:restrict", relieves=("memory capacity",), worsens=("optimizer step",),
        stateful=True,
    ),
    published(
        "gist", 2018, "Gist", "Stores activations in encodings made for the layer that reads them.",
        "Jain, Phanishayee, Mars, Tang and Pekhimenko, ISCA 2018", cells="derived data:restrict",
        relieves=("memory capacity",), worsens=("memory bandwidth",), charges=("codec time",),
    ),
    published(
        "actnn", 2021, "ActNN", "Stores activations in two bits, rounded at random.", "Chen et al., ICML 2021",
        cells="derived data:restrict", relieves=("memory capacity",), worsens=("compute",), stochastic=True,
        charges=("codec time",),
    ),
    published(
        "greedy-layerwise", 2019, "Greedy layer-wise learning", "Trains one block after the other with an auxiliary "
        "classifier, the earlier ones frozen.", "Belilovsky, Eickenberg and Oyallon, ICML 2019",
        cells="derived data:remove, algorithm:reorder, objective:retrofit", relieves=("memory capacity",),
        needs_total_duration=True, schedule_params=(("last block", 1.0),), quality_risk="high",
    ),
    published(
        "decoupled-greedy", 2020, "Decoupled greedy learning", "Trains all blocks at once on local losses, with "
        "buffers between them.", "Belilovsky, Eickenberg and Oyallon, ICML 2020",
        cells="derived data:reorder, derived data:remove, objective:retrofit",
        relieves=("memory capacity", "communication", "synchronisation"), quality_risk="high",
    ),
    published(
        "local-error-signals", 2019, "Local error signals", "Trains each layer by a local prediction and similarity "
        "loss.", "Nokland and Eidnes, ICML 2019", cells="derived data:reorder, objective:retrofit",
        relieves=("memory capacity",), worsens=("compute",),
    ),
    published(
        "infopro", 2021, "InfoPro", "Local losses that ask each module to keep information about its input.",
        "Wang, Ni, Song, Yang and Huang, ICLR 2021", cells="derived data:reorder, objective:retrofit",
        relieves=("memory capacity",), worsens=("compute",),
    ),
    published(
        "greedy-infomax", 2019, "Greedy InfoMax", "Trains modules in isolation by a contrastive loss.",
        "Lowe, O'Connor and Veeling, NeurIPS 2019", cells="derived data:reorder, objective:replace",
        relieves=("memory capacity",),
    ),
    published(
        "auglocal", 2024, "AugLocal", "Builds each local head from the layers that follow it in the network.",
        "Ma, Wu, Si and Tan, ICLR 2024", cells="derived data:reorder, objective:retrofit",
        relieves=("memory capacity",), worsens=("compute",),
    ),
    published(
        "hogwild", 2011, "Hogwild", "Workers update shared weights without locks.",
        "Recht, Re, Wright and Niu, NIPS 2011", cells="derived data:reorder",
        relieves=("synchronisation", "stragglers"),
    ),
    published(
        "downpour-sgd", 2012, "Downpour SGD", "Workers send and fetch at their own pace through parameter servers.",
        "Dean et al., NIPS 2012", cells="derived data:reorder", relieves=("synchronisation", "stragglers"),
        caveat="gradients are stale",
    ),
    published(
        "pipedream", 2019, "PipeDream", "Pipelines batches over stages without flushing, each stage with stored weight "
        "versions.", "Narayanan et al., SOSP 2019", cells="derived data:reorder",
        relieves=("synchronisation", "communication"), worsens=("memory capacity",), stateful=True,
    ),
    published(
        "feedback-alignment", 2016, "Feedback alignment", "Sends errors back through fixed random weights.",
        "Lillicrap, Cownden, Tweed and Akerman, Nature Communications 7, 2016", cells="derived data:replace",
        relieves=("communication",), quality_risk="high",
    ),
    published(
        "direct-feedback-alignment", 2016, "Direct feedback alignment", "Sends the output error straight to every "
        "layer through random weights.", "Nokland, NIPS 2016", cells="derived data:replace, derived data:reorder",
        relieves=("synchronisation",), quality_risk="high",
    ),
    published(
        "synthetic-gradients", 2017, "Synthetic gradients", "Small networks predict the gradient, so that layers need "
        "not wait.", "Jaderberg et al., ICML 2017", cells="derived data:replace, derived data:reorder",
        relieves=("synchronisation",), worsens=("compute",), quality_risk="high",
    ),
    published(
        "forward-gradient", 2022, "Forward gradients", "Estimates the gradient by a forward-mode derivative in a "
        "random direction.", "Baydin, Pearlmutter, Syme, Wood and Torr, arXiv 2202.08587, 2022",
        cells="derived data:replace", relieves=("memory capacity",), worsens=("steps to target",), stochastic=True,
        quality_risk="high",
    ),
    published(
        "mezo", 2023, "MeZO", "Fine-tunes language models by two forward passes and no gradient.",
        "Malladi et al., NeurIPS 2023", cells="derived data:replace, algorithm:replace", phase="finetune",
        relieves=("memory capacity",), worsens=("steps to target",), stochastic=True,
    ),
    published(
        "error-feedback", 2019, "Error feedback", "Adds what compression lost to the next message.",
        "Karimireddy, Rebjock, Stich and Jaggi, ICML 2019", cells="derived data:retrofit",
        relieves=("steps to target",), worsens=("memory capacity",), stateful=True, quality_risk="low",
        caveat="makes biased compression converge; saves nothing by itself",
    ),
    published(
        "data-echoing", 2019, "Data echoing", "Uses each loaded batch several times while the loader is slower than "
        "the device.", "Choi, Passos, Shallue and Dahl, arXiv 1907.05550, 2019",
        cells="derived data:retrofit, training data:reorder", relieves=("data loading",), worsens=("steps to target",),
    ),
)  # fmt: skip
