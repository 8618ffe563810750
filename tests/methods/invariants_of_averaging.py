"""Checks of what the cards of soups and of weight averaging promise."""

from itertools import permutations
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from torch import nn

from paretorch.errors import InputError
from paretorch.methods.averaging.candidates import Candidate
from paretorch.methods.averaging.soup import greedy_soup, uniform_soup
from paretorch.methods.averaging.streaming import average_state_dicts
from paretorch.methods.averaging.swa import SWA
from paretorch.methods.method import Method, Run
from paretorch.methods.sparsity.enforcement import MaskEnforcement
from paretorch.methods.sparsity.magnitude import magnitude_masks
from paretorch.methods.sparsity.masks import Masks
from paretorch.pipelines.imp import IMP
from paretorch.pipelines.sms import SMS
from paretorch.training.run import RunDirectory
from paretorch.training.trainer import Trainer
from tests.methods.averaging.states import candidates, network, same_bits, state
from tests.methods.invariants import invariant
from tests.pipelines import sms_problem
from tests.training.problems import normed_task, plain


@invariant("model-soups", "equal candidates average to the candidate, bitwise")
def equal_candidates_average_to_themselves() -> None:
    for count in (1, 2, 3, 7, 10):
        average = average_state_dicts(candidates([state(0)] * count))
        assert all(same_bits(average[name], value) for name, value in state(0).items())


@invariant("model-soups", "the average has the same bits in any order of the candidates")
def order_changes_no_bit() -> None:
    named = candidates([state(seed) for seed in range(4)])
    average = average_state_dicts(named)
    for order in permutations(named):
        again = average_state_dicts(order)
        assert all(same_bits(again[name], value) for name, value in average.items())


@invariant("model-soups", "every entry of the average lies between the smallest and the largest of the candidates")
def the_average_is_in_between() -> None:
    states = [state(seed) for seed in range(5)]
    for name, value in uniform_soup(candidates(states)).state.items():
        if value.is_floating_point():
            found = torch.stack([s[name] for s in states])
            assert ((found.amin(0) <= value) & (value <= found.amax(0))).all()


@invariant("model-soups", "a greedy soup scores no worse than its best candidate, in any order of the candidates")
def greedy_is_never_worse() -> None:
    named = candidates([state(seed) for seed in range(4)])
    for target in range(5):
        goal = state(100 + target)["3.weight"]
        for order in permutations(named):
            soup = greedy_soup(
                order, score=lambda s, goal=goal: -float((s["3.weight"] - goal).norm()), higher_is_better=True
            )
            assert soup.score is not None
            assert soup.score >= max(soup.scores.values())


def _copy(name: str, seed: int, masks: Masks) -> Candidate:
    model = network(seed)
    masks.apply_(model)
    return Candidate(name, model.state_dict, masks)


@invariant("sms", "the average of copies with one mask has exactly that mask")
def the_mask_is_common() -> None:
    for sparsity in (0.0, 0.5, 0.98):
        masks = magnitude_masks(network(0), sparsity=sparsity)
        average = average_state_dicts([_copy(f"{seed}", seed, masks) for seed in range(3)])
        assert all(torch.equal(average[name] != 0, mask) for name, mask in masks.items())


@invariant("sms", "copies with differing masks are refused by the name of the copy")
def differing_masks_are_refused() -> None:
    first, second = (magnitude_masks(network(seed), sparsity=0.5) for seed in (0, 1))
    with pytest.raises(InputError, match="candidate 'third' has other masks than 'first'"):
        average_state_dicts([_copy("first", 0, first), _copy("second", 1, first), _copy("third", 2, second)])


@invariant("sms", "one copy is iterative magnitude pruning, bitwise")
def one_copy_is_iterative_pruning() -> None:
    start = sms_problem.start()
    imp = IMP(sparsity=0.9, epochs=2, cycles=2).run(sms_problem.trainer(), start.model, dense=start.schedule)
    soup = SMS(sparsity=0.9, epochs=2, cycles=2, copies=1).run_from(sms_problem.trainer(), sms_problem.start())
    assert sms_problem.same(soup.model, imp.model)


class _Watch(Method):
    """Keeps the parameters as they are before each step and at the end; fails once, if asked."""

    name = "watch"

    def __init__(self, fails_at: int | None = None) -> None:
        self.seen: list[dict[str, torch.Tensor]] = []
        self.fails_at = fails_at

    def before_forward(self, run: Run) -> None:
        if run.step == self.fails_at:
            raise OSError("out of order")
        self.finish(run)

    def finish(self, run: Run) -> None:
        self.seen.append({name: p.detach().clone() for name, p in run.model.named_parameters()})


def _masks() -> Masks:
    return magnitude_masks(Trainer(normed_task(), plain(16), seed=2).model(), sparsity=0.6)


def _fitted(*methods: Method, directory: RunDirectory | None = None) -> nn.Module:
    """Sixteen steps of a pruned network."""
    settings = plain(16, momentum=0.9, checkpoint_seconds=0.0)
    trainer = Trainer(normed_task(), settings, seed=2, directory=directory)
    model = trainer.model()
    trainer.fit(model, phase="only", num_steps=16, methods=[MaskEnforcement(_masks()), *methods])
    return model


@invariant("swa", "the average is the mean of the weights at the averaged steps, the last one included")
def the_mean_is_the_mean() -> None:
    watch = _Watch()
    model = _fitted(watch, SWA(begin=0.5, every=3))
    for name, parameter in model.named_parameters():
        mean = sum(watch.seen[step][name].double() for step in (10, 13, 16)) / 3
        assert torch.equal(parameter.detach(), mean.float())


@invariant("swa", "what is zero in the weights at the end is zero in the average")
def zeros_stay() -> None:
    for methods in ((SWA(begin=0.0, every=1), _Watch()), (_Watch(), SWA(begin=0.5))):
        model = _fitted(*methods)
        for name, mask in _masks().items():
            assert not model.get_parameter(name).detach().view(torch.int32)[~mask].any()


@invariant("swa", "the weights that are trained are bitwise those without averaging")
def training_is_untouched() -> None:
    alone, beside = _Watch(), _Watch()
    _fitted(alone)
    _fitted(beside, SWA(begin=0.0, every=1))
    for one, other in zip(alone.seen, beside.seen, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


@invariant("swa", "a resumed phase ends with the average of the uninterrupted one, bitwise")
def resuming_changes_nothing() -> None:
    whole = _fitted(_Watch(), SWA(begin=0.25, every=2)).state_dict()
    with TemporaryDirectory() as folder:
        place = Path(folder) / "run"
        with pytest.raises(OSError, match="out of order"), RunDirectory(place, recipe="r", resume=True) as directory:
            _fitted(_Watch(fails_at=11), SWA(begin=0.25, every=2), directory=directory)
        with RunDirectory(place, recipe="r", resume=True) as directory:
            resumed = _fitted(_Watch(), SWA(begin=0.25, every=2), directory=directory)
    assert all(same_bits(resumed.state_dict()[name], value) for name, value in whole.items())
