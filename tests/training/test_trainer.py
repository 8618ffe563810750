"""The trainer as a whole: the same seed gives the same bits, hooks run in the documented order, and phases add up."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.methods.method import Method, Run, StepResult
from paretorch.training.data import Batch
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.supervised import SupervisedTask
from paretorch.training.trainer import Trainer
from tests.training.problems import Normed, Recorder, linear_task, normed_task, plain


def trained(*, seed: int = 0, phase: str = "dense", num_steps: int = 12, **settings: Any) -> dict[str, Tensor]:
    trainer = Trainer(normed_task(), plain(16, momentum=0.9, **settings), seed=seed)
    model = trainer.model()
    trainer.fit(model, phase=phase, num_steps=num_steps)
    return model.state_dict()


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_same_seed_gives_the_same_bits_whatever_the_global_generators_were() -> None:
    first = trained(seed=4)
    torch.manual_seed(99)
    torch.rand(17)
    assert equal(first, trained(seed=4))


def test_other_seed_gives_another_model_and_another_order() -> None:
    assert not equal(trained(seed=4), trained(seed=5))
    assert not equal(trained(seed=4, num_steps=0), trained(seed=5, num_steps=0))


def test_other_phase_draws_other_random_numbers() -> None:
    assert not equal(trained(phase="dense"), trained(phase="retrain"))


def test_two_phases_of_one_trainer_do_not_disturb_each_other() -> None:
    trainer = Trainer(normed_task(), plain(16))
    first = trainer.model()
    trainer.fit(first, phase="a", num_steps=5)
    second = trainer.model()
    trainer.fit(second, phase="b", num_steps=5)
    alone = trainer.model()
    Trainer(normed_task(), plain(16)).fit(alone, phase="b", num_steps=5)
    assert equal(second.state_dict(), alone.state_dict())


def test_method_that_draws_random_numbers_leaves_the_other_steps_alone() -> None:
    class Draws(Method):
        def after_update(self, run: Run) -> None:
            torch.rand(1000 * run.step)

    trainer = Trainer(normed_task(), plain(16))
    model = trainer.model()
    trainer.fit(model, phase="dense", num_steps=12, methods=[Draws()])
    plainly = trainer.model()
    trainer.fit(plainly, phase="dense", num_steps=12)
    assert equal(model.state_dict(), plainly.state_dict())


def test_every_step_and_every_micro_batch_draws_numbers_of_its_own() -> None:
    class Draws(Method):
        def before_forward(self, run: Run) -> None:
            drawn.append(float(torch.rand(())))

    class Augments(SupervisedTask):
        def prepare(self, batch: Batch, *, training: bool, generator: torch.Generator) -> Batch:
            if training:
                drawn.append(float(torch.rand((), generator=generator)))
            return batch

    usual = normed_task()
    parts = {"train": usual.train_set(), "evaluation": usual.eval_set(), "test": usual.test_set()}
    runs: list[list[float]] = []
    for _ in range(2):
        drawn: list[float] = []
        trainer = Trainer(Augments(Normed, **parts), plain(16, accumulate=2))
        trainer.fit(trainer.model(), phase="dense", num_steps=6, methods=[Draws()])
        runs.append(drawn)
    assert len(set(runs[0])) == 6 * 3
    assert runs[0] == runs[1]


def test_hooks_run_in_the_documented_order_and_methods_in_theirs() -> None:
    calls: list[tuple[str, str, int]] = []
    trainer = Trainer(normed_task(num_examples=32), plain(16))  # two steps per epoch
    methods = [Recorder("a", calls), Recorder("b", calls)]
    trainer.fit(trainer.model(), phase="dense", num_steps=3, methods=methods)
    step = ["before_forward", "weigh", "penalty", "before_update", "after_update"]
    expected = [("start", 0), ("data", 0)]
    expected += [(hook, 0) for hook in step] + [(hook, 1) for hook in step] + [("epoch_end", 2)]
    expected += [(hook, 2) for hook in step] + [("finish", 3)]
    assert calls == [(name, hook, at) for hook, at in expected for name in ("a", "b")]


def test_epoch_counts_finished_passes() -> None:
    seen: list[tuple[int, int]] = []

    class Epochs(Method):
        def after_update(self, run: Run) -> None:
            seen.append((run.step, run.epoch))

        def epoch_end(self, run: Run) -> None:
            seen.append((run.step, run.epoch))

    trainer = Trainer(normed_task(num_examples=32), plain(16))
    trainer.fit(trainer.model(), phase="dense", num_steps=5, methods=[Epochs()])
    assert seen == [(0, 0), (1, 0), (2, 1), (2, 1), (3, 1), (4, 2), (4, 2)]


def test_gradients_never_live_from_one_step_to_the_next() -> None:
    """A checkpoint does not hold them, so a resumed run would differ."""
    found: list[bool] = []

    class Leaves(Method):
        def start(self, run: Run) -> None:
            self.extra = nn.Parameter(torch.ones(3))
            run.optimizers["extra"] = torch.optim.SGD([self.extra], lr=0.1)

        def before_forward(self, run: Run) -> None:
            found.append(any(p.grad is not None for p in [self.extra, *run.model.parameters()]))

        def training_step(self, run: Run, batch: Any) -> StepResult:
            loss = run.task.loss(run.wrapped, batch) + self.extra.sum()
            run.backward(loss)
            return StepResult(loss=loss.detach(), updated=True)  # without an update, so nothing was cleared

    trainer = Trainer(normed_task(), plain(16))
    trainer.fit(trainer.model(), phase="dense", num_steps=3, methods=[Leaves()])
    assert found == [False, False, False]


def test_two_owners_of_the_step_are_refused() -> None:
    class First(Method):
        name = "first"

        def training_step(self, run: Run, batch: Any) -> None:
            return None

    class Second(First):
        name = "second"

    trainer = Trainer(linear_task(), plain(8))
    with pytest.raises(InputError, match=r"at most one method may own.*'first', 'second'"):
        trainer.fit(trainer.model(), phase="dense", num_steps=1, methods=[First(), Second()])


def test_owner_of_the_step_with_accumulation_is_refused() -> None:
    class Owner(Method):
        name = "owner"

        def training_step(self, run: Run, batch: Any) -> None:
            return None

    trainer = Trainer(linear_task(), plain(8, accumulate=2))
    with pytest.raises(InputError, match=r"'owner' owns the training step.*accumulate"):
        trainer.fit(trainer.model(), phase="dense", num_steps=1, methods=[Owner()])


def test_methods_of_one_name_are_refused() -> None:
    trainer = Trainer(linear_task(), plain(8))
    with pytest.raises(InputError, match="share a name"):
        trainer.fit(trainer.model(), phase="dense", num_steps=1, methods=[Method(), Method()])


def test_method_that_leaves_another_module_in_place_of_the_model_is_refused() -> None:
    class Wraps(Method):
        name = "wraps"

        def start(self, run: Run) -> None:
            run.model = run.wrapped = nn.Sequential(run.model)

    trainer = Trainer(linear_task(), plain(8))
    with pytest.raises(InputError, match=r"'wraps'.*put it back in `finish`"):
        trainer.fit(trainer.model(), phase="dense", num_steps=1, methods=[Wraps()])


def test_no_steps_only_evaluate() -> None:
    trainer = Trainer(normed_task(), plain(16))
    model = trainer.model()
    before = copy.deepcopy(model.state_dict())
    result = trainer.fit(model, phase="dense", num_steps=0)
    assert equal(before, model.state_dict())
    assert (result.steps, result.samples, result.epochs, result.curve) == (0, 0, 0.0, [])
    assert result.validation == trainer.evaluate(model)


def test_result_counts_steps_samples_and_epochs() -> None:
    trainer = Trainer(normed_task(num_examples=64), plain(16))
    result = trainer.fit(trainer.model(), phase="dense", num_steps=trainer.num_steps(1.5))
    assert (result.phase, result.steps, result.samples, result.epochs) == ("dense", 6, 96, 1.5)
    assert result.seconds > 0


def test_negative_epochs_are_refused() -> None:
    with pytest.raises(InputError, match=r"must not be negative; got -1"):
        Trainer(linear_task(), plain(8)).num_steps(-1)


def test_trained_model_is_left_in_evaluation_mode() -> None:
    trainer = Trainer(normed_task(), plain(16))
    model = trainer.model()
    trainer.fit(model, phase="dense", num_steps=1)
    assert not any(module.training for module in model.modules())


def test_curve_ends_at_the_last_step_and_validates_at_the_ends_of_epochs_and_of_the_phase() -> None:
    trainer = Trainer(normed_task(num_examples=64), plain(16, evaluate_epochs=2))  # four steps per epoch
    result = trainer.fit(trainer.model(), phase="dense", num_steps=20, schedule=lambda step: 0.1 - 0.001 * step)
    curve = result.curve
    assert [point["step"] for point in curve] == list(range(1, 21))
    assert [point["step"] for point in curve if point["validation"] is not None] == [8, 16, 20]
    assert curve[-1]["validation"] == result.validation[trainer.task.metric]
    assert [point["lr"] for point in curve] == [0.1 - 0.001 * step for step in range(20)]
    assert curve[7]["epoch"] == 2.0


def test_curve_of_a_long_phase_has_about_a_hundred_points_whose_losses_average_all_steps() -> None:
    trainer = Trainer(linear_task(), plain(8, lr=1e-12))  # standing still: every epoch has the same three losses
    model = trainer.model()
    curve = trainer.fit(model, phase="dense", num_steps=300).curve
    assert len(curve) == 100
    mean = trainer.evaluate(model)["mse"]
    assert curve[50]["train_loss"] == pytest.approx(mean, rel=1e-6)


def test_logged_numbers_are_in_the_next_point_of_the_curve_only() -> None:
    class Logs(Method):
        def after_update(self, run: Run) -> None:
            if run.step == 1:
                run.log(sparsity=0.5)

    trainer = Trainer(linear_task(), plain(8))
    curve = trainer.fit(trainer.model(), phase="dense", num_steps=3, methods=[Logs()]).curve
    assert [point.get("sparsity") for point in curve] == [None, 0.5, None]


def test_validation_uses_the_evaluation_weights_of_methods() -> None:
    class Zeros(Method):
        @contextmanager
        def evaluation_weights(self, run: Run) -> Iterator[None]:
            before = copy.deepcopy(run.model.state_dict())
            for weight in run.model.parameters():
                weight.data.zero_()
            yield
            run.model.load_state_dict(before)

    task = linear_task()
    trainer = Trainer(task, plain(8))
    model, plainly = trainer.model(), trainer.model()
    curve = trainer.fit(model, phase="dense", num_steps=6, methods=[Zeros()]).curve
    of_zero = float(task.eval_set().batch(torch.arange(24))["targets"].square().mean())
    assert curve[2]["validation"] == pytest.approx(of_zero, rel=1e-12)
    trainer.fit(plainly, phase="dense", num_steps=6)
    assert equal(model.state_dict(), plainly.state_dict())


def test_optimizer_state_is_carried_on_and_never_written_to() -> None:
    trainer = Trainer(linear_task(), plain(8, momentum=0.9))
    start = trainer.model()
    state = trainer.fit(start, phase="first", num_steps=3).optimizer_state
    kept = copy.deepcopy(state)

    def go_on(optimizer_state: dict[str, Any] | None) -> dict[str, Tensor]:
        model = copy.deepcopy(start)
        trainer.fit(model, phase="second", num_steps=3, optimizer_state=optimizer_state)
        return model.state_dict()

    once, twice, fresh = go_on(state), go_on(state), go_on(None)
    assert equal(once, twice), "the first continuation wrote into the state it was given"
    assert not equal(once, fresh)
    assert torch.equal(state["state"][0]["momentum_buffer"], kept["state"][0]["momentum_buffer"])


def test_optimizer_state_of_other_parameters_is_refused() -> None:
    trainer = Trainer(linear_task(), plain(8))
    state = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1).state_dict()
    with pytest.raises(InputError, match="the given optimizer state does not fit"):
        trainer.fit(trainer.model(), phase="dense", num_steps=1, optimizer_state=state)


def test_batch_larger_than_the_training_set_is_refused() -> None:
    with pytest.raises(InputError, match="between 1 and the 24 training examples; got 25"):
        Trainer(linear_task(), plain(25))


def test_finish_draws_from_a_stream_of_its_own() -> None:
    """So a run that was stopped at its last step finishes as it would have without the stop."""
    drawn: list[float] = []

    class Draws(Method):
        def finish(self, run: Run) -> None:
            drawn.append(float(torch.rand(())))

    for steps in (0, 2, 3):
        trainer = Trainer(normed_task(), plain(16))
        trainer.fit(trainer.model(), phase="dense", num_steps=steps, methods=[Draws()])
    assert drawn[0] == drawn[1] == drawn[2]


def test_sgd_and_adamw_by_name_equal_the_optimizers_of_torch() -> None:
    for spec, make in (
        (OptimizerSpec(lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.1), torch.optim.SGD),
        (OptimizerSpec(name="adam", lr=0.05, weight_decay=0.1), torch.optim.Adam),
        (OptimizerSpec(name="adamw", lr=0.05, weight_decay=0.1), torch.optim.AdamW),
    ):
        task = linear_task()
        trainer = Trainer(task, TrainSettings(batch_size=24, optimizer=spec, device="cpu"))
        model, by_hand = trainer.model(), trainer.model()
        trainer.fit(model, phase="dense", num_steps=10)
        momentum = {"momentum": 0.9, "nesterov": True} if make is torch.optim.SGD else {}
        optimizer = make(by_hand.parameters(), lr=0.05, weight_decay=0.1, **momentum)
        batch = task.train_set().batch(torch.arange(24))
        for _ in range(10):
            optimizer.zero_grad()
            task.loss(by_hand, batch).backward()
            optimizer.step()
        torch.testing.assert_close(model.weight, by_hand.weight, rtol=1e-9, atol=1e-12)
