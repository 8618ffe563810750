"""Short explanations of the words that appear in a report, for a reader who meets them for the first time."""

from collections.abc import Sequence

from paretorch.evidence.arms import Arm
from paretorch.evidence.families import Axis
from paretorch.evidence.quantities import have_parallel_phases, have_teachers

_ALWAYS = {
    "sparsity": "Fraction of the prunable weights that are exactly zero. 90 % sparsity keeps one weight in ten.",
    "±": "Half of the 95 % confidence interval of the mean over seeds (Student's t).",
    "low-n": "Fewer than five seeds: trust the direction more than the size.",
    "paired": "Two arms are compared seed by seed: same initial weights, same order of the data.",
    "front": "The points that no other point beats in both cost and quality.",
    "theoretical": "Counted on paper (multiply-accumulates with non-zero weights). Says nothing about time.",
    "measured": "Timed on the machine named below, baseline and candidate alternating.",
    "best dense path": "The fastest way that this machine has to run the dense model in fp32 with stock torch. A gain "
    "over eager alone may come from a kernel that the dense model could use too.",
    "reference": "A value of the metric on the test data that needs no model of ours, such as the majority class.",
    "certified": "The machine was quiet while it was timed. Other times are shown and marked.",
}
_COMPARISON = {
    "family": "The runs of one recipe at several durations and seeds, each a full training with its schedule scaled.",
    "envelope": "The best quality at most a given cost. Curves are not monotone: a long training can end below a "
    "shorter one.",
    "ratio at equal quality": "Cost of the baseline over cost of the candidate to reach the same quality. Above 1 the "
    "candidate costs less; it can be above 1 at one quality and below 1 at another.",
    "range": "The qualities that every seed of both families passes through.",
    "censored": "A seed that did not reach the quality with its longest run: its cost is known from below only.",
    "statistical": "How many times fewer steps the candidate needs.",
    "hardware": "How many times shorter a step of the candidate is.",
    "control": "A family that rules out a simpler explanation: a smaller model, a random variant of the method, dense "
    "training cut short.",
    "screening": "A quick look with fewer seeds or durations; nothing found in it is a claim.",
}
_SPEEDUP = {"speed-up": "The ratio at equal quality where the cost is measured time; no other ratio is called so."}
_SCHEDULES = {
    "FT": "Fine-tuning: retraining at the last learning rate of dense training, constant.",
    "LRW": "Learning-rate rewinding: the last part of the dense schedule again, as long as the budget.",
    "SLR": "Scaled learning-rate restarting: the whole dense schedule squeezed into the budget.",
    "CLR": "Cyclic: from the initial learning rate down to zero along a cosine.",
    "LLR": "Linear: from the initial learning rate straight down to zero.",
    "ALLR": "Adaptive linear: as LLR, from a rate scaled by how much norm pruning removed and how long retraining is.",
}
_LONGEST_PATH = {
    "longest path": "Training seconds of the longest chain of phases that wait for one another. Of phases that need "
    "not, such as the copies of a soup, only the slowest counts. It is the time with as many processes as copies, from "
    "each phase's own seconds; it is not a measurement of a parallel run, whose processes slow one another down.",
}
_TEACHER = {
    "teacher": "A trained model, here the dense one, whose outputs a model is trained to match. Its forward passes are "
    "counted apart from the training examples.",
}
_GRID = {
    "epsilon": "What an adaptive optimizer adds to the root of the second moment: large, it moves all weights alike, "
    "as SGD does; small, each at a rate of its own.",
    "expected best of n": "The mean, over all choices of n settings of a grid, of the best validation quality among "
    "them.",
}
_METHODS = {
    "IMP": "Iterative magnitude pruning: set the smallest weights to zero, retrain, in one or more cycles.",
    "cut": "Structured pruning: whole channels, heads or hidden units are removed and tensors become smaller; then "
    "the smaller model is retrained.",
    "dense": "The same network without compression, the baseline.",
}


_SENSITIVITY = {
    "sparsity": "Fraction of the weights of the one layer that are exactly zero: the smallest in absolute value.",
    "dense": "The same network with no layer pruned.",
    "loss": "How much worse the metric becomes when this one layer is pruned, without retraining.",
    "MACs": "Multiply-accumulates, counted on paper. Zeros in a dense tensor do not make a dense kernel faster.",
    "theoretical": _ALWAYS["theoretical"],
}


def terms(arms: Sequence[Arm]) -> dict[str, str]:
    """Word -> explanation: the general words, and those of the methods, schedules and costs of these arms."""
    used = [str(arm.group.get(name)) for name in ("method", "schedule") for arm in arms]
    known = _METHODS | _SCHEDULES
    found = {word: known[word] for word in dict.fromkeys(used) if word in known}
    runs = [run for arm in arms for run in arm.runs]
    found |= _LONGEST_PATH if have_parallel_phases(runs) else {}
    found |= _GRID if any(arm.is_whole for arm in arms) else {}
    return found | (_TEACHER if have_teachers(runs) else {}) | _ALWAYS


def comparison_terms(axis: Axis) -> dict[str, str]:
    """Word -> explanation for a comparison of families of durations, whose cost is counted on `axis`."""
    shared = {word: _ALWAYS[word] for word in ("±", "low-n", "paired", "measured", "theoretical")}
    return _COMPARISON | (_SPEEDUP if axis == "seconds" else {}) | shared


def sensitivity_terms() -> dict[str, str]:
    """Word -> explanation for the page of layers that were pruned one at a time."""
    return dict(_SENSITIVITY)
