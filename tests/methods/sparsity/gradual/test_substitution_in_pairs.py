"""Methods that substitute weights beside one that owns the step: an adversarial pair, and steps without an update."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from paretorch.methods.method import Method, Run, StepResult
from paretorch.methods.sparsity.continuous.method import ContinuousSparsification
from paretorch.methods.sparsity.gradual.base import GradualMethod
from paretorch.methods.sparsity.gradual.dnw import DNW
from paretorch.training.data import Batch
from paretorch.training.trainer import Trainer
from tests.methods.sparsity.gradual.problems import trainer
from tests.methods.sparsity.gradual.reparametrised import METHODS
from tests.training.tiny_gan import ADAM, TinyGAN

EVERY: dict[str, Callable[[], GradualMethod]] = METHODS | {
    "continuous-sparsification": lambda: ContinuousSparsification(sparsity=0.7, strength=10.0, mask_lr=1.0)
}


class Look(Method):
    """Zeros of the generator's weights in every forward pass, and its weights after every update."""

    name = "look"

    def __init__(self, watched: GradualMethod) -> None:
        self.watched = watched
        self.zeros: list[int] = []

    def start(self, run: Run) -> None:
        def count(module: nn.Module, _inputs: Any) -> None:
            if module.training:
                self.zeros.append(sum(int((w == 0).sum()) for w in self.watched.parameters(module).values()))

        self.handle = run.model.register_forward_pre_hook(count)

    def finish(self, run: Run) -> None:
        self.handle.remove()


def generated(*methods: Method, steps: int = 6) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Generator and discriminator after some steps of both."""
    task = TinyGAN()
    own = Trainer(task, ADAM, seed=1)
    model = own.model()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*of the mask logits ended")
        own.fit(model, phase="train", num_steps=steps, methods=[*task.methods(), *methods])
    return model.state_dict(), model.opponents[0].state_dict()


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.slow
def test_gates_that_are_all_open_leave_both_networks_of_a_pair_as_they_are() -> None:
    plain = generated()
    opened = ContinuousSparsification(sparsity=0.0, initial=50.0, final_beta=1.0, strength=0.0, mask_lr=1e-6)
    for method in (opened, DNW(sparsity=0.0)):
        for one, other in zip(generated(method), plain, strict=True):
            assert same(one, other), method.name


def test_both_turns_of_a_pair_see_the_pruned_generator() -> None:
    method = DNW(sparsity=0.7)
    look = Look(method)
    generated(method, look)
    pruned = method.masks.num_pruned
    assert look.zeros == [pruned] * 12  # two forward passes in each of six steps


# DST has no thresholds for transposed convolutions
@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in EVERY if name != "dst"])
def test_a_pair_is_trained_to_the_end_and_leaves_the_zeros_that_the_method_names(name: str) -> None:
    method = EVERY[name]()
    generator, discriminator = generated(method, steps=24)
    assert method.masks.num_pruned == sum(int((generator[key] == 0).sum()) for key in method.masks)
    if method.exact:
        assert method.masks.num_pruned == round(0.7 * sum(mask.numel() for mask in method.masks.values()))
    assert not same(discriminator, generated(steps=24)[1]), "it was trained against another generator"


class EveryOther(Method):
    """Owns the step, and updates in every other one only."""

    name = "every-other"

    def training_step(self, run: Run, batch: Batch) -> StepResult:
        loss = run.task.loss(run.wrapped, batch)
        if run.step % 2:
            run.backward(loss)
            run.update()
        return StepResult(loss=loss.detach())


class Weights(Method):
    """The weights between steps, as `before_forward` finds them; stands before what substitutes them."""

    name = "weights"

    def __init__(self) -> None:
        self.seen: list[dict[str, Tensor]] = []

    def after_update(self, run: Run) -> None:
        self.seen.append({name: weight.detach().clone() for name, weight in run.model.named_parameters()})


@pytest.mark.parametrize("name", EVERY)
def test_a_step_without_an_update_leaves_the_weights_that_the_forward_pass_did_not_see(name: str) -> None:
    """The oracle does nothing at all in the steps without an update."""

    class Absent(Method):
        name = "absent"

        def training_step(self, run: Run, batch: Batch) -> StepResult:
            loss = run.task.loss(run.wrapped, batch)
            if run.step % 2 == 0:
                method.state_dict()  # puts the weights back at once
                return StepResult(loss=loss.detach())
            run.backward(loss)
            run.update()
            return StepResult(loss=loss.detach())

    seen = []
    for kind in (EveryOther, Absent):
        method, watch = EVERY[name](), Weights()
        own = trainer()
        model = own.model()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*of the mask logits ended")
            own.fit(model, phase="train", num_steps=24, methods=[kind(), method, watch])
        seen.append([*watch.seen, {key: value.clone() for key, value in model.state_dict().items()}])
    assert len(seen[0]) == 13
    for one, other in zip(*seen, strict=True):
        assert same(one, other)
