"""What compression does to each class: a mean that holds can hide a class that is lost.

    accuracy of class k = right answers among the test examples of class k / their number      (recall of class k)

Hooker et al. 2019 ("What do compressed deep neural networks forget?") compare the recall of each class before and after
compression over many models; this is the comparison for one pair of models. Among several classes the worst change lies
below the mean change by chance alone.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def per_class(labels: Tensor, *, dense: Tensor, candidate: Tensor, names: Sequence[str] = ()) -> dict[str, Any]:
    """Accuracies by class, and how the worst class and all examples together change.

    Args:
        labels: (n,) int64, the right classes.
        dense, candidate: (n,) int64, the predicted ones.
        names: of the classes by number; a class without one is called by its number.

    Returns:
        "per_class": lists over the classes that occur in `labels`, by number: "labels", "dense", "candidate" (fractions
            right), "counts" (examples), "lost" (right before, wrong now) and "gained" (the other way round).
        "worst_class": "label" and "change" (candidate minus dense) of the class that changes most for the worse, the
            first of several.
        "mean_change": of the accuracy over all examples.
    """
    classes, place = labels.unique(return_inverse=True)
    before, after = dense == labels, candidate == labels

    def count(which: Tensor) -> Tensor:
        return torch.bincount(place[which], minlength=len(classes))

    counts, lost, gained = count(torch.ones_like(before)), count(before & ~after), count(after & ~before)
    changes = (gained - lost).double() / counts
    worst = int(changes.argmin())
    called = [names[k] if 0 <= k < len(names) else str(k) for k in classes.tolist()]
    return {
        "per_class": {
            "labels": called,
            "dense": (count(before).double() / counts).tolist(),
            "candidate": (count(after).double() / counts).tolist(),
            "counts": counts.tolist(),
            "lost": lost.tolist(),
            "gained": gained.tolist(),
        },
        "worst_class": {"label": called[worst], "change": float(changes[worst])},
        "mean_change": float((gained - lost).sum()) / len(labels),
    }
