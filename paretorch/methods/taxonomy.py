"""The words in which methods are described: the 6 x 5 grid of cells, phases, hooks, resources and charges.

A cell is a pair (component, action): what a method changes and how. Components and actions are those of Bartoldson,
Kailkhura and Blalock (JMLR 24(122), 2023); which method stands in which cell is our own assignment. "Derived data" is
everything computed from inputs during training: activations, gradients, messages between processes, labels of teachers.
"""

from collections.abc import Sequence
from difflib import get_close_matches
from itertools import product
from typing import Any, Literal, get_args

from paretorch.errors import InputError

Component = Literal["parameters", "architecture", "training data", "derived data", "objective", "algorithm"]
Action = Literal["remove", "restrict", "reorder", "replace", "retrofit"]
Cell = tuple[Component, Action]
Phase = Literal["data_prep", "init", "dense_train", "prune", "retrain", "finetune", "post_train", "inference"]
SemanticClass = Literal["bit_exact", "math_equivalent", "distribution_preserving", "semantic"]
Status = Literal["stable", "experimental"]
Scope = Literal["training", "inference", "both"]
Risk = Literal["none", "low", "medium", "high"]
Hook = Literal[
    "dataset", "batch", "model_surgery", "forward", "loss", "backward", "grad_ready", "grad_sync", "pre_step", "step",
    "post_step", "eval_swap", "epoch",
]  # fmt: skip
Resource = Literal[
    "data loading", "host-to-device copy", "launch overhead", "memory bandwidth", "compute", "memory capacity",
    "communication", "optimizer step", "synchronisation", "stragglers", "steps to target", "tuning cost",
    "inference size", "inference latency", "inference compute",
]  # fmt: skip
Charge = Literal[
    "retraining epochs", "scoring passes", "calibration passes", "extra forward passes", "extra models", "search",
    "codec time",
]  # fmt: skip
Exclusion = Literal["biases", "norms", "embeddings", "first layer", "last layer"]
Scale = Literal["linear", "log", "integer", "choice"]
Tag = Literal["R", "C"]

COMPONENTS: tuple[Component, ...] = get_args(Component)
ACTIONS: tuple[Action, ...] = get_args(Action)
CELLS: tuple[Cell, ...] = tuple(product(COMPONENTS, ACTIONS))
RESOURCES: tuple[Resource, ...] = get_args(Resource)

VOCABULARY: dict[str, tuple[Any, ...]] = {
    "phase": get_args(Phase),
    "semantic_class": get_args(SemanticClass),
    "status": get_args(Status),
    "cost_scope": get_args(Scope),
    "quality_risk": get_args(Risk),
    "hooks": get_args(Hook),
    "relieves": RESOURCES,
    "worsens": RESOURCES,
    "charges": get_args(Charge),
    "excludes": get_args(Exclusion),
}


def cell_name(cell: Cell) -> str:
    """The cell in one word pair, `parameters:remove`."""
    return ":".join(cell)


def parse_cell(text: str) -> Cell:
    """The cell of a text such as "parameters:remove" (spaces and capitals do not matter).

    Raises:
        InputError: if there is no such cell; it names the nearest.
    """
    component, _, action = (" ".join(part.split()).lower() for part in text.partition(":"))
    for cell in CELLS:
        if cell == (component, action):
            return cell
    raise InputError(unknown("cell", f"{component}:{action}" if action else component, [cell_name(c) for c in CELLS]))


def parse_resource(text: str) -> Resource:
    """The resource of that name, as in `RESOURCES`.

    Raises:
        InputError: if there is no such resource; it names the nearest.
    """
    wanted = " ".join(text.split()).lower()
    for resource in RESOURCES:
        if resource == wanted:
            return resource
    raise InputError(unknown("resource", wanted, RESOURCES))


def unknown(kind: str, given: str, known: Sequence[str]) -> str:
    """What to say to a word that is not among the known ones: the nearest, then all if there are few."""
    near = get_close_matches(given, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    listed = f"{'' if near else ';'} there are: {', '.join(map(repr, known))}" if len(known) <= 30 else ""
    return f"unknown {kind} {given!r}{hint}{listed}"
