"""Supervised tasks from arrays and datasets, evaluation, and naming a model's constructor."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from paretorch.errors import InputError, NotFiniteError
from paretorch.training.data import ArrayExamples
from paretorch.training.evaluate import evaluate
from paretorch.training.models.mlp import lenet_300_100, mlp
from paretorch.training.models.resnet_cifar import CifarResNet
from paretorch.training.settings import TrainSettings
from paretorch.training.supervised import SupervisedTask, constructor_of
from paretorch.training.tasks.registry import make_task
from paretorch.training.trainer import Trainer
from tests.training.problems import Normed, normed_task, plain


def arrays(count: int = 50) -> tuple[np.ndarray, np.ndarray]:
    stream = np.random.default_rng(0)
    return stream.normal(size=(count, 6)).astype(np.float32), stream.integers(0, 3, count)


def test_a_tenth_of_the_training_arrays_is_held_out_when_no_evaluation_set_is_given() -> None:
    inputs, targets = arrays()
    inputs[:, 0] = np.arange(50)
    task = SupervisedTask(Normed, train=(inputs, targets), test=arrays(5))
    parts = [examples.batch(torch.arange(len(examples))) for examples in (task.train_set(), task.eval_set())]
    assert [len(part["inputs"]) for part in parts] == [45, 5]
    together = torch.cat([part["inputs"][:, 0] for part in parts]).long()
    assert together.sort().values.tolist() == list(range(50))
    assert torch.cat([part["targets"] for part in parts]).tolist() == [int(targets[i]) for i in together]


def test_dataset_needs_its_own_evaluation_set() -> None:
    dataset = TensorDataset(*map(torch.from_numpy, arrays()))
    with pytest.raises(InputError, match="`evaluation` is needed with a dataset"):
        SupervisedTask(Normed, train=dataset, test=dataset)


def test_dataset_trains_like_the_arrays_it_holds() -> None:
    first, second = arrays(48), arrays(10)
    as_arrays = SupervisedTask(Normed, train=first, evaluation=second, test=second)
    as_dataset = SupervisedTask(
        Normed, train=TensorDataset(*map(torch.from_numpy, first)), evaluation=second, test=second
    )
    weights = []
    for task in (as_arrays, as_dataset):
        trainer = Trainer(task, plain(16))
        model = trainer.model()
        trainer.fit(model, phase="dense", num_steps=6)
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*weights)


def test_module_in_the_place_of_its_factory_is_refused() -> None:
    with pytest.raises(InputError, match=r"a function that builds a fresh model.*got Normed"):
        SupervisedTask(Normed(), train=arrays(), test=arrays())  # type: ignore[arg-type]


def test_unknown_loss_is_refused() -> None:
    with pytest.raises(InputError, match=r"loss 'hinge' is unknown; choose from \['cross_entropy', 'mse'\]"):
        SupervisedTask(Normed, train=arrays(), test=arrays(), loss="hinge")  # type: ignore[arg-type]


def test_squared_error_refuses_shapes_that_would_broadcast() -> None:
    inputs = torch.randn(8, 3)
    task = SupervisedTask(partial(nn.Linear, 3, 1), train=(inputs, torch.randn(8)), test=(inputs, inputs), loss="mse")
    batch = task.train_set().batch(torch.arange(4))
    with pytest.raises(InputError, match=r"output has shape \(4, 1\), its targets \(4,\)"):
        task.loss(task.model(), batch)


@pytest.mark.parametrize("kind", ["cross_entropy", "mse"])
def test_loss_per_example_has_the_mean_loss_as_its_mean(kind: Any) -> None:
    inputs, labels = (torch.from_numpy(part) for part in arrays())
    targets = labels if kind == "cross_entropy" else torch.randn(50, 3)
    task = SupervisedTask(partial(nn.Linear, 6, 3), train=(inputs, targets), test=(inputs, targets), loss=kind)
    model, batch = task.model(), task.train_set().batch(torch.arange(45))
    each = task.loss(model, batch, "none")
    assert each.shape == (45,)
    torch.testing.assert_close(each.mean(), task.loss(model, batch))
    by_hand = (
        F.cross_entropy(model(batch["inputs"][:1]), batch["targets"][:1])
        if kind == "cross_entropy"
        else (model(batch["inputs"][0]) - batch["targets"][0]).square().mean()
    )
    torch.testing.assert_close(each[0], by_hand)
    assert (task.metric, task.higher_is_better) == (("accuracy", True) if kind == "cross_entropy" else ("mse", False))


def test_better_follows_the_direction_of_the_metric() -> None:
    classify = normed_task()
    regress = SupervisedTask(Normed, train=arrays(), test=arrays(), loss="mse")
    assert (classify.better(0.9, 0.8), classify.better(0.8, 0.9), classify.better(0.9, 0.9)) == (True, False, False)
    assert (regress.better(0.9, 0.8), regress.better(0.8, 0.9), regress.better(0.9, 0.9)) == (False, True, False)


def test_example_inputs_hold_one_example() -> None:
    (inputs,) = normed_task().example_inputs()
    assert inputs.shape == (1, 6)


class Builder:
    @classmethod
    def build(cls) -> nn.Module:
        return Normed()

    def make(self) -> nn.Module:
        return Normed()


def nested() -> Callable[[], nn.Module]:
    def inner() -> nn.Module:
        return Normed()

    return inner


@pytest.mark.parametrize(
    ("factory", "expected"),
    [
        (lenet_300_100, ("paretorch.training.models.mlp:lenet_300_100", {})),
        (CifarResNet, ("paretorch.training.models.resnet_cifar:CifarResNet", {})),
        (partial(mlp, sizes=[3, 2]), ("paretorch.training.models.mlp:mlp", {"sizes": [3, 2]})),
        (
            partial(partial(CifarResNet, depth=20), depth=56),
            ("paretorch.training.models.resnet_cifar:CifarResNet", {"depth": 56}),
        ),
        (Builder.build, (f"{__name__}:Builder.build", {})),
        (Builder().make, None),
        (partial(mlp, [3, 2]), None),
        (lambda: Normed(), None),
        (nested(), None),
    ],
)
def test_constructor_is_named_only_if_another_process_can_find_it(factory: Any, expected: Any) -> None:
    assert constructor_of(factory) == expected


def test_function_of_a_script_or_of_a_task_file_has_no_constructor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = ModuleType("__main__")
    exec("def net(): ...", script.__dict__)
    monkeypatch.setitem(sys.modules, "__main__", script)
    assert constructor_of(script.net) is None
    source = """
from torch import nn
from paretorch.training.supervised import SupervisedTask
import torch

class Net(nn.Linear):
    def __init__(self):
        super().__init__(3, 2)

def task():
    data = (torch.randn(20, 3), torch.randint(0, 2, (20,)))
    return SupervisedTask(Net, train=data, test=data)
"""
    (tmp_path / "mine.py").write_text(source)
    assert make_task(f"{tmp_path / 'mine.py'}:task").constructor() is None


def test_metrics_do_not_depend_on_the_batch_size() -> None:
    task, model = normed_task(), Normed()
    values = [evaluate(task, model, task.train_set(), batch_size=size)["accuracy"] for size in (1, 7, 64, 1000)]
    assert values == [values[0]] * 4
    batch = task.train_set().batch(torch.arange(64))
    model.eval()
    by_hand = (model(batch["inputs"]).argmax(1) == batch["targets"]).double().mean()
    assert values[0] == pytest.approx(float(by_hand), rel=1e-12)


def test_evaluation_uses_running_statistics_and_leaves_modes_and_buffers_as_they_were() -> None:
    task, model = normed_task(), Normed()
    model.train()
    model.layers[1].eval()
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    first = evaluate(task, model, task.eval_set())
    assert {name: module.training for name, module in model.named_modules()} == {
        name: name != "layers.1" for name, _ in model.named_modules()
    }
    assert all(torch.equal(value, buffers[name]) for name, value in model.named_buffers())
    assert first == evaluate(task, model, task.eval_set()), "dropout was on"
    with torch.no_grad():
        model.layers[1].running_mean += 3.0
        model.layers[1].running_var *= 5.0
    batch = task.eval_set().batch(torch.arange(20))
    probabilities = evaluate_outputs(model, batch["inputs"])
    assert not torch.allclose(probabilities, evaluate_outputs(Normed(), batch["inputs"]))


def evaluate_outputs(model: nn.Module, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        return model.eval()(inputs)


def test_evaluation_builds_no_graph_and_counts_tokens_not_batches() -> None:
    class Tokens(SupervisedTask):
        """A batch's first example has two values, the others one: the mean is over values."""

        def metrics(self, model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            assert not model(batch["inputs"]).requires_grad
            index = batch["index"]
            return {"accuracy": torch.cat([(index == 0).float(), torch.zeros_like(index, dtype=torch.float32)[1:]])}

    task = Tokens(Normed, train=arrays(), test=arrays(), evaluation=arrays(10))
    # batches of 4, 4 and 2 give 7 + 7 + 3 values, of which one is 1
    assert evaluate(task, Normed(), task.eval_set(), batch_size=4) == {"accuracy": pytest.approx(1 / 17)}


def test_metrics_without_the_declared_one_are_refused() -> None:
    task = normed_task()
    task.metric = "f1"
    with pytest.raises(InputError, match=r"declares metric 'f1', but its metrics are \['accuracy'\]"):
        evaluate(task, Normed(), task.eval_set())


def test_metric_that_is_not_finite_is_refused() -> None:
    examples = ArrayExamples(inputs=torch.full((4, 3), float("inf")), targets=torch.zeros(4, 1))
    task = SupervisedTask(partial(nn.Linear, 3, 1), train=examples, evaluation=examples, test=examples, loss="mse")
    with pytest.raises(NotFiniteError, match=r"metric .'mse'. of task 'supervised' is not finite"):
        evaluate(task, task.model(), task.eval_set())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "must be at least 1"),
        ({"accumulate": 0}, "must be at least 1"),
        ({"evaluate_epochs": 0}, "must be at least 1"),
        ({"batch_size": 8, "accumulate": 3}, "accumulate=3 must divide batch_size=8"),
        ({"clip_norm": 0.0}, r"clip_norm must be positive or None; got 0\.0"),
        ({"clip_norm": float("nan")}, "clip_norm must be positive or None; got nan"),
        ({"precision": "fp8"}, "precision must be 'no', 'bf16' or 'fp16'; got 'fp8'"),
        ({"device": "gpu"}, "device 'gpu' is unknown to torch"),
        ({"checkpoint_seconds": -1.0}, r"must not be negative; got -1\.0"),
        ({"checkpoint_seconds": float("nan")}, "must not be negative; got nan"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainSettings(**settings)
