"""What compression broke, on whole models: real digits, classes broken on purpose, and what must not change."""

import copy
import json
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from paretorch.errors import InputError, NotFiniteError
from paretorch.evidence.records import RunRecord
from paretorch.training.data import ArrayExamples, Batch, Head, Selected
from paretorch.training.side_effects import side_effects
from paretorch.training.supervised import SupervisedTask
from paretorch.training.tasks.digits import digits
from paretorch.training.tasks.regression import regression
from paretorch.training.trainer import Trainer
from tests.training.problems import Normed, normed_task, plain
from tests.training.tiny_gan import TinyGAN


class Lookup(nn.Module):
    """Answers with the class that its first input holds, where a table has no other answer for that input."""

    def __init__(self, answers: dict[int, int], classes: int = 4) -> None:
        super().__init__()
        self.answers, self.classes = answers, classes

    def forward(self, inputs: Tensor) -> Tensor:
        chosen = [self.answers.get(int(place), int(label)) for place, label in inputs]
        return 9.0 * nn.functional.one_hot(torch.tensor(chosen), self.classes).float()


def lookup_task(counts: tuple[int, ...]) -> SupervisedTask:
    """Inputs are (place, class), `counts` of each class; a plain Lookup is always right."""
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    inputs = torch.stack([torch.arange(len(labels)), labels], 1)
    examples = ArrayExamples(inputs=inputs, targets=labels)
    return SupervisedTask(
        partial(Lookup, {}),
        train=examples,
        evaluation=examples,
        test=examples,
        classes=("cat", "dog", "hen", "owl"),
    )


def trained_digits() -> tuple[SupervisedTask, Trainer, nn.Module]:
    task = digits()
    trainer = Trainer(task, plain(64, lr=0.2))
    model = trainer.model()
    trainer.fit(model, phase="dense", num_steps=150)
    return task, trainer, model


def test_model_beside_itself_changes_nothing() -> None:
    task, trainer, model = trained_digits()
    found = side_effects(task, trainer, dense=model, candidate=model)
    assert found["warnings"] == []
    assert found["mean_change"] == found["worst_class"]["change"] == found["disagreement"]["rate"] == 0.0
    assert found["per_class"]["dense"] == found["per_class"]["candidate"]
    assert found["calibration"]["dense"] == found["calibration"]["candidate"] > 0


def test_accuracies_by_class_of_real_digits_average_to_what_the_trainer_reports() -> None:
    task, trainer, model = trained_digits()
    candidate = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in candidate.parameters():
            parameter[parameter.abs() < 0.1] = 0.0
    found = side_effects(task, trainer, dense=model, candidate=candidate)
    table = found["per_class"]
    assert (found["examples"], table["labels"]) == (400, [str(digit) for digit in range(10)])
    reported = {}
    for name, one in (("dense", model), ("candidate", candidate)):
        reported[name] = trainer.evaluate(one, task.test_set())["accuracy"]
        weighted = sum(a * n for a, n in zip(table[name], table["counts"], strict=True)) / sum(table["counts"])
        assert weighted == pytest.approx(reported[name], rel=1e-12)
    assert reported["dense"] != reported["candidate"]
    assert found["mean_change"] == pytest.approx(reported["candidate"] - reported["dense"], abs=1e-12)


def test_class_whose_row_of_the_classifier_is_gone_is_the_worst_and_warned_of() -> None:
    """One digit of ten would move the mean by ten points, so it is tested beside many examples of the others."""
    task, trainer, model = trained_digits()
    broken = copy.deepcopy(model)
    last = [module for module in broken.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        last.weight[3] = 0.0
        last.bias[3] = -100.0
    labels = task.test_set().batch(torch.arange(400))["targets"]
    with torch.no_grad():
        predicted = model.eval()(task.test_set().batch(torch.arange(400))["inputs"]).argmax(1)
    threes = ((labels == 3) & (predicted == 3)).nonzero()[:3, 0]
    rest = (labels != 3).nonzero()[:, 0]
    rare = Selected(task.test_set(), torch.cat([rest, threes]))
    found = side_effects(task, trainer, dense=model, candidate=broken, examples=rare)
    assert found["worst_class"] == {"label": "3", "change": -1.0}
    (warning,) = found["warnings"]
    assert "class '3' falls from 100.0 % to 0.0 % on its 3 test examples (3 newly wrong, 0 newly right)" in warning
    assert "one of them is 33.3 points" in warning
    whole = side_effects(task, trainer, dense=model, candidate=broken)
    assert whole["worst_class"]["label"] == "3"
    assert whole["mean_change"] < -0.05
    assert whole["warnings"] == [], "the mean itself says it"


@pytest.mark.parametrize(
    ("wrong", "warned"),
    [
        (range(5), False),  # 5 of 100: five points, not more
        (range(6), True),
        ([*range(6), *range(100, 104)], True),  # 10 of 1,000: the mean falls by one point
        ([*range(6), *range(100, 105)], False),  # 11 of 1,000
    ],
)
def test_warning_begins_beyond_five_points_of_a_class_and_ends_beyond_one_of_the_mean(
    wrong: list[int], warned: bool
) -> None:
    task = lookup_task((100, 300, 300, 300))
    candidate = Lookup({place: 3 if place < 100 else 0 for place in wrong})
    found = side_effects(task, Trainer(task, plain(8)), dense=Lookup({}), candidate=candidate)
    assert found["worst_class"]["label"] == "cat"
    assert bool(found["warnings"]) == warned


def test_mean_that_rises_hides_a_lost_class_too() -> None:
    task = lookup_task((100, 300, 300, 300))
    dense = Lookup(dict.fromkeys(range(100, 150), 0))
    candidate = Lookup(dict.fromkeys(range(8), 1))
    found = side_effects(task, Trainer(task, plain(8)), dense=dense, candidate=candidate)
    assert found["mean_change"] == pytest.approx(0.042)
    assert "class 'cat' falls from 100.0 % to 92.0 %" in found["warnings"][0]
    assert "changes by +4.2 points" in found["warnings"][0]
    assert found["disagreement"]["rate"] == pytest.approx(0.058)


def test_models_are_read_in_evaluation_mode_and_left_as_they_were() -> None:
    task = normed_task()
    trainer = Trainer(task, plain(8))
    dense, candidate = Normed().train(), Normed().eval()
    dense.layers[1].eval()
    modes = {name: module.training for name, module in dense.named_modules()}
    before = copy.deepcopy(dense.state_dict())
    drawn = torch.get_rng_state()
    first = side_effects(task, trainer, dense=dense, candidate=candidate)
    assert first == side_effects(task, trainer, dense=dense, candidate=candidate), "dropout was on"
    assert {name: module.training for name, module in dense.named_modules()} == modes
    assert not candidate.training
    assert all(torch.equal(value, before[name]) for name, value in dense.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in dense.parameters())
    assert torch.equal(torch.get_rng_state(), drawn), "random numbers of others were used up"
    after = side_effects(task, trainer, dense=dense.eval(), candidate=dense)
    assert first["per_class"]["dense"] == after["per_class"]["candidate"]


def test_no_gradient_is_followed() -> None:
    class Watched(SupervisedTask):
        def logits(self, model: nn.Module, batch: Batch) -> Tensor | None:
            logits = super().logits(model, batch)
            assert logits is not None
            assert not logits.requires_grad
            return logits

    examples = ArrayExamples(inputs=torch.randn(8, 3), targets=torch.zeros(8, dtype=torch.long))
    task = Watched(partial(nn.Linear, 3, 2), train=examples, evaluation=examples, test=examples)
    assert side_effects(task, Trainer(task, plain(4)), dense=task.model(), candidate=task.model())


def test_given_examples_stand_in_the_place_of_the_test_set() -> None:
    task, trainer, model = trained_digits()
    few = Head(task.test_set(), 50)
    found = side_effects(task, trainer, dense=model, candidate=model, examples=few)
    assert found["examples"] == sum(found["per_class"]["counts"]) == 50
    assert {entry["examples"] for entry in found["corruptions"]} == {50}


def test_nothing_applies_to_regression() -> None:
    task = regression(num_examples=200)
    assert side_effects(task, Trainer(task, plain(8)), dense=task.model(), candidate=task.model()) == {}


def test_nothing_applies_to_a_generative_task_and_its_model_is_not_run() -> None:
    class Untouched(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            raise AssertionError("it was run")

    task = TinyGAN()
    model = Untouched()
    assert side_effects(task, Trainer(task, plain(8)), dense=model, candidate=model) == {}


def test_classes_of_pixels_are_no_classes_of_examples() -> None:
    examples = ArrayExamples(inputs=torch.randn(8, 2, 4, 4), targets=torch.zeros(8, 4, 4, dtype=torch.long))
    task = SupervisedTask(partial(nn.Conv2d, 2, 3, 1), train=examples, evaluation=examples, test=examples)
    assert side_effects(task, Trainer(task, plain(4)), dense=task.model(), candidate=task.model()) == {}


def test_models_with_different_classes_are_refused() -> None:
    task = lookup_task((5, 5, 5, 5))
    with pytest.raises(InputError, match=r"torch.Size\(\[4\]\) per example, the candidate's torch.Size\(\[5\]\)"):
        side_effects(task, Trainer(task, plain(4)), dense=Lookup({}), candidate=Lookup({}, classes=5))


def test_logits_of_another_form_are_refused_by_their_shape() -> None:
    class Odd(SupervisedTask):
        def logits(self, model: nn.Module, batch: Batch) -> Tensor | None:
            return batch["inputs"].view(-1, 1, 1, 3)

    examples = ArrayExamples(inputs=torch.ones(8, 3), targets=torch.zeros(8, dtype=torch.long))
    task = Odd(partial(nn.Linear, 3, 2), train=examples, evaluation=examples, test=examples)
    with pytest.raises(InputError, match=r"logits of task 'supervised' have shape \(1, 1, 3\) per example"):
        side_effects(task, Trainer(task, plain(4)), dense=task.model(), candidate=task.model())


def test_outputs_that_are_not_finite_are_refused() -> None:
    examples = ArrayExamples(inputs=torch.ones(8, 3), targets=torch.zeros(8, dtype=torch.long))
    task = SupervisedTask(partial(nn.Linear, 3, 2), train=examples, evaluation=examples, test=examples)
    broken = task.model()
    with torch.no_grad():
        broken.weight.fill_(float("nan"))
    with pytest.raises(NotFiniteError, match="the candidate's outputs are not finite on 8 of 8 examples"):
        side_effects(task, Trainer(task, plain(4)), dense=task.model(), candidate=broken)


def test_result_is_kept_by_a_record() -> None:
    task, trainer, model = trained_digits()
    found = side_effects(task, trainer, dense=model, candidate=model)
    record = RunRecord(
        run_id="one", arm="a", group={}, seed=0, workload="digits", metric="accuracy", side_effects=found
    )
    assert RunRecord.from_dict(json.loads(json.dumps(record.to_dict()))).side_effects == found
