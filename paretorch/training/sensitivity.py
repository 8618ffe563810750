"""Which layers bear pruning: one layer at a time is pruned to several sparsities, evaluated, and put back bitwise.

    quality(l, s) = metric on the evaluation set with the round(s n_l) smallest |w| of layer l at zero, no retraining

Costs (layers x sparsities + 1) evaluations, each with its own batch-norm statistics if they are re-estimated; memory
for a copy of the largest layer. Source: Han et al. 2015 ("Learning both weights and connections"), figure 6.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from paretorch.errors import InputError, NotFiniteError
from paretorch.evidence.sensitivity import PrunedLayer, SensitivityRecord
from paretorch.evidence.words import percent
from paretorch.measurement.environment import environment
from paretorch.measurement.inputs import device_of, left_as_found
from paretorch.measurement.macs import MacCount, count_macs
from paretorch.methods.averaging.batchnorm import reestimate_batchnorm
from paretorch.methods.sparsity.binding import unwrapped
from paretorch.methods.sparsity.masks import Masks
from paretorch.methods.sparsity.prunable import Patterns, Prunable, find_prunable
from paretorch.methods.sparsity.ranking import require_finite, tensor_of
from paretorch.methods.sparsity.selection import check_sparsity, select, target_count
from paretorch.methods.sparsity.zeroing import local
from paretorch.training.data import Batch, Examples, sampled
from paretorch.training.evaluate import evaluate
from paretorch.training.progress import progress
from paretorch.training.seeding import generator
from paretorch.training.task import Task

SPARSITIES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
BATCH_SIZE = 128  # of the training batches for batch-norm statistics


@dataclass(frozen=True, kw_only=True)
class Sensitivity(SensitivityRecord):
    """Quality against sparsity by layer, which can draw itself."""

    def write_page(self, path: str | Path, *, title: str | None = None, tolerance: float | None = None) -> Path:
        """Draw it: one HTML file that works offline, with a curve per layer, the losses shaded, and all numbers.

        Args:
            path: the file to write; an existing one is replaced atomically.
            title: heading; made from the task by default.
            tolerance: the loss up to which a layer's largest sparsity is told, in units of the metric; None: 1 % of
                the dense value.

        Returns:
            The path.

        Raises:
            InputError: for a tolerance below 0.
        """
        # Here and not above, because training works without the packages that draw.
        from paretorch.evidence.report.sensitivity_page import write_sensitivity_page

        return write_sensitivity_page(self, Path(path), title=title, tolerance=tolerance)


def sensitivity(
    model: nn.Module,
    task: Task,
    *,
    sparsities: Sequence[float] = SPARSITIES,
    include: Patterns = None,
    exclude: Patterns = None,
    reestimate_batches: int = 0,
    examples: int | None = None,
    seed: int = 0,
) -> Sensitivity:
    """Prune one layer at a time by magnitude, and evaluate; nothing is retrained, and the test set is not read.

    Args:
        model: of the task; weights, buffers, modes and torch's random state are bitwise as before afterwards, also
            after an error or Ctrl-C.
        task: gives the evaluation set, the metric, and training batches for batch-norm statistics.
        sparsities: fractions removed of the layer, in [0, 1), each once; exactly round(s n) weights of n are zeroed.
        include, exclude: which layers, as in `prunable_parameters`; a tied weight is one layer.
        reestimate_batches: training batches of 128 from which the statistics of all batch-norm layers are taken anew
            after each pruning, and for the dense value; 0 keeps them.
        examples: evaluate on so many of the evaluation set, chosen at random; None takes all.
        seed: of that choice and of these batches, which are the same for all layers and sparsities.

    Returns:
        A `Sensitivity`.

    Raises:
        InputError: for a sparsity outside [0, 1) or given twice, patterns that match nothing, a model without prunable
            layers, NaN or infinite weights, or counts that are no counts; before anything is evaluated.
        NotFiniteError: if a metric comes out as NaN or infinite; with the layer and the sparsity at fault.

    Example:
        >>> import paretorch as pt
        >>> inputs = torch.eye(8)
        >>> examples = (inputs, torch.arange(8) // 4)
        >>> task = pt.SupervisedTask(lambda: nn.Linear(8, 2), train=examples, evaluation=examples, test=examples)
        >>> found = sensitivity(task.model(), task, sparsities=(0.5, 0.9))
        >>> found.layers[0].name, found.layers[0].weights, found.layers[0].pruned
        ('weight', 16, (8, 14))
    """
    levels = _checked(model, sparsities, reestimate_batches, examples)
    layers = find_prunable(model, include=include, exclude=exclude)
    for layer in layers:
        require_finite(layer.name, tensor_of(layer.values))
    evaluated = task.eval_set() if examples is None else sampled(task.eval_set(), examples, seed=seed)
    counted = count_macs(unwrapped(model), task.example_inputs())
    measured = _Measured(model, task, evaluated, reestimate_batches, seed)
    dense = measured.quality("the dense model")
    found: list[PrunedLayer] = []
    with progress("sensitivity", len(layers) * len(levels)) as advance:
        for layer in layers:
            pruned, quality = [], []
            for level in levels:
                count = target_count(layer.weight.numel(), level)
                mask = select({layer.name: layer.values}, count, absolute=True)
                with _zeroed(model, layer, Masks(mask, copy=False)):
                    quality.append(measured.quality(f"{layer.name} at {percent(level)} sparsity"))
                pruned.append(count)
                advance(len(found) * len(levels) + len(pruned), layer.name)
            found.append(
                PrunedLayer(
                    name=layer.name,
                    aliases=layer.aliases,
                    weights=layer.weight.numel(),
                    macs=_macs(layer, counted),
                    pruned=tuple(pruned),
                    quality=tuple(quality),
                )
            )
    return Sensitivity(
        task=task.name,
        metric=task.metric,
        higher_is_better=task.higher_is_better,
        dense=dense,
        sparsities=levels,
        layers=tuple(found),
        examples=len(evaluated),
        reestimate_batches=reestimate_batches,
        seed=seed,
        include=_named(include),
        exclude=_named(exclude),
        env=environment(),
    )


class _Measured:
    """The metric of the model as it is now, after which everything but its parameters is as before."""

    def __init__(self, model: nn.Module, task: Task, examples: Examples, batches: int, seed: int) -> None:
        self.model, self.task, self.examples, self.batches, self.seed = model, task, examples, batches, seed

    def quality(self, what: str) -> float:
        with left_as_found(self.model):
            if self.batches:
                reestimate_batchnorm(self.model, self._training_batches(), forward=self.task.loss)
            try:
                return evaluate(self.task, self.model, self.examples)[self.task.metric]
            except NotFiniteError as error:
                raise NotFiniteError(
                    f"{what}: {error}; leave the layer out (exclude=...) or give smaller sparsities"
                ) from error

    def _training_batches(self) -> Iterator[Batch]:
        examples, device = self.task.train_set(), device_of(self.model)
        order = torch.randperm(len(examples), generator=generator(self.seed, "sensitivity"))
        for position, index in enumerate(order.split(BATCH_SIZE)[: self.batches]):
            batch = {name: tensor.to(device) for name, tensor in examples.batch(index).items()}
            stream = generator(self.seed, "sensitivity", position)
            yield self.task.prepare(batch, training=True, generator=stream)


@contextmanager
def _zeroed(model: nn.Module, layer: Prunable, masks: Masks) -> Iterator[None]:
    """The layer's pruned weights are zero inside, and what they were before afterwards."""
    weight = local(layer.weight)
    before = weight.clone()
    try:
        masks.apply_(model)
        yield
    finally:
        weight.copy_(before)


def _macs(layer: Prunable, counted: MacCount) -> int | None:
    """Of all modules that hold the weight; None where none was seen at work or some arithmetic has no formula."""
    modules = {name.removesuffix("weight").removesuffix(".") for name in (layer.name, *layer.aliases)}
    seen = [macs.dense for name, macs in counted.per_layer.items() if name in modules]
    if not seen or any(operation.layer in modules for operation in counted.uncounted):
        return None
    return sum(seen)


def _checked(
    model: nn.Module, sparsities: Sequence[float], reestimate_batches: int, examples: int | None
) -> tuple[float, ...]:
    """The sparsities in ascending order."""
    if not isinstance(model, nn.Module):
        raise InputError(f"the model is a {type(model).__name__}; expected a torch.nn.Module, such as task.model()")
    if not sparsities:
        raise InputError(f"sparsities is empty; give at least one fraction in [0, 1), such as {SPARSITIES}")
    for one in sparsities:
        check_sparsity(one, where="each of sparsities")
    if len(set(sparsities)) < len(sparsities):
        raise InputError(f"sparsities = {list(sparsities)} holds a value twice; give each once")
    if reestimate_batches < 0:
        raise InputError(f"reestimate_batches is a number of batches, 0 for none; got {reestimate_batches}")
    if examples is not None and examples < 1:
        raise InputError(f"examples is how many are evaluated, at least 1, or None for all; got {examples}")
    return tuple(sorted(float(one) for one in sparsities))


def _named(patterns: Patterns) -> tuple[str, ...]:
    return (patterns,) if isinstance(patterns, str) else tuple(patterns or ())
