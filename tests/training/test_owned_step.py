"""A method that owns the training step: what the trainer leaves to it, and what other methods still get to do."""

from typing import Any

import pytest
import torch
from torch import Tensor

from paretorch.errors import InputError
from paretorch.methods.method import Method, Run, StepResult
from paretorch.training.trainer import Trainer
from tests.training.problems import normed_task, plain


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


class Owner(Method):
    """Owns a step that is the trainer's own, and leaves the update to the trainer or not."""

    name = "owner"

    def __init__(self, *, updates: bool = False) -> None:
        self.updates = updates

    def training_step(self, run: Run, batch: Any) -> StepResult:
        loss = run.task.loss(run.wrapped, batch)
        run.backward(loss)
        if self.updates:
            run.update()
        return StepResult(loss=loss.detach(), updated=self.updates)


class Shrinks(Method):
    name = "shrinks"

    def penalty(self, run: Run) -> Tensor:
        return 0.1 * sum((p.square().sum() for p in run.model.parameters()), torch.zeros(()))


def test_owner_of_the_step_replaces_the_forward_but_not_the_hooks_of_others() -> None:
    calls: list[str] = []

    class Other(Method):
        name = "other"

        def before_forward(self, run: Run) -> None:
            calls.append("before_forward")

        def before_update(self, run: Run) -> None:
            calls.append("before_update")

        def after_update(self, run: Run) -> None:
            calls.append("after_update")

    trainer = Trainer(normed_task(num_examples=32), plain(16))
    model, plainly = trainer.model(), trainer.model()
    trainer.fit(model, phase="dense", num_steps=1, methods=[Other(), Owner()])
    assert calls == ["before_forward", "before_update", "after_update"]
    trainer.fit(plainly, phase="dense", num_steps=1)
    assert equal(model.state_dict(), plainly.state_dict())


def test_penalties_are_added_to_the_gradients_of_an_owner_that_leaves_the_update_to_the_trainer() -> None:
    trainer = Trainer(normed_task(num_examples=32), plain(16))
    owned, shrunk, plainly = trainer.model(), trainer.model(), trainer.model()
    result = trainer.fit(owned, phase="dense", num_steps=3, methods=[Owner(), Shrinks()])
    expected = trainer.fit(shrunk, phase="dense", num_steps=3, methods=[Shrinks()])
    trainer.fit(plainly, phase="dense", num_steps=3)
    for name, weight in owned.state_dict().items():
        torch.testing.assert_close(weight, shrunk.state_dict()[name])
    assert not equal(owned.state_dict(), plainly.state_dict())
    assert [p["train_loss"] for p in result.curve] == pytest.approx([p["train_loss"] for p in expected.curve])


def test_penalty_or_weights_that_an_owner_of_the_step_would_not_hear_are_refused() -> None:
    trainer = Trainer(normed_task(num_examples=32), plain(16))
    with pytest.raises(InputError, match=r"'owner' owns the training step and leaves no room .* \['shrinks'\]"):
        trainer.fit(trainer.model(), phase="dense", num_steps=1, methods=[Owner(updates=True), Shrinks()])
    with pytest.raises(InputError, match=r"leaves no room .* \['weighs'\]"):
        trainer.fit(trainer.model(), phase="dense", num_steps=1, methods=[Owner(), Weighs()])


class Weighs(Method):
    name = "weighs"

    def weigh(self, run: Run, index: Tensor, losses: Tensor) -> Tensor:
        return torch.ones_like(losses)


def test_owner_that_returns_none_leaves_the_step_to_the_trainer() -> None:
    class Shy(Method):
        def training_step(self, run: Run, batch: Any) -> None:
            return None

    trainer = Trainer(normed_task(), plain(16))
    model, plainly = trainer.model(), trainer.model()
    trainer.fit(model, phase="dense", num_steps=5, methods=[Shy()])
    trainer.fit(plainly, phase="dense", num_steps=5)
    assert equal(model.state_dict(), plainly.state_dict())
