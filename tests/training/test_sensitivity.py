"""One layer pruned at a time: the same numbers as by brute force, exact counts, and a model that is left as found."""

import copy
import json
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from paretorch.errors import InputError, NotFiniteError
from paretorch.methods.averaging.batchnorm import reestimate_batchnorm
from paretorch.training.data import ArrayExamples, Batch
from paretorch.training.seeding import generator
from paretorch.training.sensitivity import BATCH_SIZE, Sensitivity, sensitivity
from paretorch.training.supervised import SupervisedTask
from tests.training.problems import normed_task

LEVELS = (0.5, 0.75, 0.9)


class Small(nn.Module):
    """A convolution, a batch norm, layers without weights, and two linear layers, the last without a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 6), nn.ReLU()
        )
        self.head = nn.Linear(6, 3, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.layers(inputs))


class Unread:
    """Examples that nobody may read."""

    def __len__(self) -> int:
        return 10

    def batch(self, index: Tensor) -> Batch:
        raise AssertionError("the test set was read")


def small_task(model: type[nn.Module] = Small, shape: tuple[int, ...] = (1, 6, 6)) -> SupervisedTask:
    stream = torch.Generator().manual_seed(3)
    inputs = torch.randn(90, *shape, generator=stream)
    targets = torch.randint(0, 3, (90,), generator=stream)
    whole = ArrayExamples(inputs=inputs, targets=targets)
    train, evaluation = torch.arange(90).split([50, 40])
    task = SupervisedTask(model, train=whole.subset(train), evaluation=whole.subset(evaluation), test=whole)
    task._test = Unread()
    return task


def small() -> tuple[SupervisedTask, nn.Module]:
    task = small_task()
    torch.manual_seed(1)
    return task, task.model()


def with_smallest_zeroed(model: nn.Module, name: str, count: int) -> nn.Module:
    """A copy in which the `count` smallest magnitudes of one weight are zero, found by sorting in float64."""
    found = copy.deepcopy(model)
    weight = found.get_parameter(name)
    with torch.no_grad():
        order = sorted(range(weight.numel()), key=lambda i: (abs(float(weight.view(-1)[i])), i))
        weight.view(-1)[order[:count]] = 0.0
    return found


def accuracy_of(task: SupervisedTask, model: nn.Module) -> float:
    """Without our evaluation loop."""
    examples = task.eval_set().batch(torch.arange(len(task.eval_set())))
    with torch.no_grad():
        return float((model.eval()(examples["inputs"]).argmax(1) == examples["targets"]).double().mean())


def bits(model: nn.Module) -> list[Tensor]:
    return [tensor.detach().clone().view(torch.uint8) for tensor in model.state_dict().values() if tensor.dim()] + [
        tensor.clone() for tensor in model.state_dict().values() if not tensor.dim()
    ]


def same_bits(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_every_value_is_that_of_a_copy_pruned_by_hand() -> None:
    task, model = small()
    found = sensitivity(model, task, sparsities=LEVELS)
    assert [layer.name for layer in found.layers] == ["layers.0.weight", "layers.5.weight", "head.weight"]
    assert found.dense == accuracy_of(task, copy.deepcopy(model))
    values = []
    for layer in found.layers:
        for level, count, quality in zip(LEVELS, layer.pruned, layer.quality, strict=True):
            assert count == round(level * model.get_parameter(layer.name).numel())
            assert quality == accuracy_of(task, with_smallest_zeroed(model, layer.name, count))
            values.append(quality)
    assert len(set(values)) > 3  # else a function that returns a constant would pass


def test_counts_of_weights_and_macs_are_those_of_the_shapes() -> None:
    task, model = small()
    found = sensitivity(model, task, sparsities=(0.5,), examples=4)
    # A 3x3 kernel at 4 x 4 places for 4 channels; then each linear weight once.
    assert [(layer.weights, layer.macs) for layer in found.layers] == [(36, 36 * 16), (96, 96), (18, 18)]
    assert found.examples == 4


def test_the_model_is_left_bitwise_as_it_was_with_its_modes_and_the_random_state() -> None:
    task, model = small()
    model.train()
    model.layers[1].eval()
    weight = model.get_parameter("head.weight")
    with torch.no_grad():
        weight[0, 0] = -0.0  # a zero whose sign a product with a mask would lose
    before, modes = bits(model), [module.training for module in model.modules()]
    objects = {name: id(tensor) for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
    state = torch.get_rng_state()
    sensitivity(model, task, sparsities=LEVELS, reestimate_batches=2)
    assert same_bits(bits(model), before)
    assert [module.training for module in model.modules()] == modes
    assert {name: id(tensor) for name, tensor in [*model.named_parameters(), *model.named_buffers()]} == objects
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert torch.signbit(weight[0, 0])


class Interrupted(SupervisedTask):
    """Raises on a call of its metrics, after which it is asked no more."""

    after: int
    error: type[BaseException]

    def metrics(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        self.after -= 1
        if self.after < 0:
            raise self.error("stop")
        return super().metrics(model, batch)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("after", [0, 1, 4])
def test_an_interruption_leaves_the_model_as_it_was(error: type[BaseException], after: int) -> None:
    task, model = small()
    task.__class__ = Interrupted
    task.after, task.error = after, error
    before = bits(model.train())
    with pytest.raises(error, match="stop"):
        sensitivity(model, task, sparsities=LEVELS, reestimate_batches=1)
    assert same_bits(bits(model), before)
    assert all(module.training for module in model.modules())


def test_batch_norm_statistics_are_taken_anew_for_every_pruned_model_and_for_the_dense_one() -> None:
    task = normed_task(160)
    torch.manual_seed(2)
    model = task.model()
    found = sensitivity(model, task, sparsities=(0.5, 0.9), reestimate_batches=1, seed=5)
    order = torch.randperm(160, generator=generator(5, "sensitivity"))[:BATCH_SIZE]
    inputs = task.train_set().batch(order)["inputs"]

    def expected(one: nn.Module) -> float:
        reestimate_batchnorm(one, [inputs])
        return accuracy_of(task, one)

    assert found.dense == expected(copy.deepcopy(model))
    stale = sensitivity(model, task, sparsities=(0.5, 0.9))
    for layer in found.layers:
        for count, quality in zip(layer.pruned, layer.quality, strict=True):
            assert quality == expected(with_smallest_zeroed(model, layer.name, count))
    assert [layer.quality for layer in stale.layers] != [layer.quality for layer in found.layers]
    assert found.reestimate_batches == 1


def test_re_estimation_without_batch_norm_changes_nothing() -> None:
    task = small_task(lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 3)))
    torch.manual_seed(0)
    model = task.model()
    one, other = (sensitivity(model, task, sparsities=LEVELS, reestimate_batches=n) for n in (0, 3))
    assert one.layers == other.layers


class Tied(nn.Module):
    """Two linear layers with one weight, and a third."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 3)
        self.second.weight = self.first.weight

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(torch.tanh(self.second(torch.tanh(self.first(inputs)))))


def test_a_tied_weight_is_one_layer_that_is_pruned_in_both_places() -> None:
    task = small_task(Tied, (5,))
    torch.manual_seed(3)
    model = task.model()
    found = sensitivity(model, task, sparsities=LEVELS)
    assert [(layer.name, layer.aliases) for layer in found.layers] == [
        ("first.weight", ("second.weight",)),
        ("last.weight", ()),
    ]
    tied = found.layers[0]
    assert (tied.weights, tied.macs, tied.pruned) == (25, 50, (12, 19, 22))
    for count, quality in zip(tied.pruned, tied.quality, strict=True):
        pruned = with_smallest_zeroed(model, "first.weight", count)
        assert int((pruned.second.weight == 0).sum()) == count
        assert quality == accuracy_of(task, pruned)
    assert model.first.weight is model.second.weight
    assert found.layer("second.weight") is tied


def test_a_metric_of_which_lower_is_better_loses_when_it_rises() -> None:
    inputs = torch.eye(4)
    examples = ArrayExamples(inputs=inputs, targets=inputs @ torch.diag(torch.tensor([1.0, 2.0, 3.0, 4.0])))
    task = SupervisedTask(
        lambda: nn.Linear(4, 4, bias=False), train=examples, evaluation=examples, test=examples, loss="mse"
    )
    model = task.model()
    with torch.no_grad():
        model.weight.copy_(torch.diag(torch.tensor([1.0, 2.0, 3.0, 4.0])))
    found = sensitivity(model, task, sparsities=(0.75, 13 / 16, 14 / 16))
    # 12 of 16 weights are zero already; then the weights 1 and 2 go, whose squares are means over 16 outputs.
    assert found.layers[0].pruned == (12, 13, 14)
    assert found.layers[0].quality == (0.0, 1 / 16, 5 / 16)
    assert [found.loss("weight", level) for level in found.sparsities] == [0.0, 1 / 16, 5 / 16]
    assert found.largest_sparsities(1 / 16) == {"weight": 13 / 16}


def test_the_cap_on_examples_takes_some_of_the_evaluation_set_chosen_by_the_seed() -> None:
    task, model = small()
    one, again, other = (sensitivity(model, task, sparsities=(0.9,), examples=11, seed=seed) for seed in (0, 0, 1))
    assert one == again
    chosen = [torch.randperm(40, generator=torch.Generator().manual_seed(seed))[:11] for seed in (0, 1)]
    batches = [task.eval_set().batch(index) for index in chosen]
    with torch.no_grad():
        right = [float((model.eval()(b["inputs"]).argmax(1) == b["targets"]).double().mean()) for b in batches]
    assert [one.dense, other.dense] == pytest.approx(right, rel=1e-12)
    assert sensitivity(model, task, sparsities=(0.9,), examples=1000).examples == 40


def test_patterns_choose_layers_and_sparsities_are_sorted() -> None:
    task, model = small()
    found = sensitivity(model, task, sparsities=(0.9, 0.5), include="layers", exclude=["layers.0"])
    assert [layer.name for layer in found.layers] == ["layers.5.weight"]
    assert found.sparsities == (0.5, 0.9)
    assert (found.include, found.exclude) == (("layers",), ("layers.0",))


def test_a_wrapped_model_has_the_names_of_the_module_inside() -> None:
    task, model = small()
    wrapped = torch.compile(model, backend="eager")
    assert sensitivity(wrapped, task, sparsities=LEVELS).layers == sensitivity(model, task, sparsities=LEVELS).layers


@settings(deadline=None, max_examples=25)
@given(st.lists(st.floats(0, 0.999), min_size=1, max_size=4, unique=True), st.integers(0, 10**6))
def test_any_sparsities_leave_any_weights_as_they_were(levels: list[float], seed: int) -> None:
    task = small_task(lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 3)))
    torch.manual_seed(seed)
    model = task.model()
    before = bits(model)
    found = sensitivity(model, task, sparsities=levels)
    assert same_bits(bits(model), before)
    assert found.layers[0].pruned == tuple(round(level * 108) for level in sorted(levels))
    assert Sensitivity.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False))) == found


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sparsities": ()}, "sparsities is empty; give at least one"),
        ({"sparsities": (0.5, 1.0)}, r"each of sparsities is the fraction .* got 1\.0"),
        ({"sparsities": (90,)}, r"For 90 % removed pass 0\.9"),
        ({"sparsities": (0.5, 0.5)}, "holds a value twice"),
        ({"include": "layer5"}, "no prunable parameter or module matches 'layer5'"),
        ({"exclude": "*"}, "leave none of the 3 prunable parameters"),
        ({"examples": 0}, "at least 1, or None for all; got 0"),
        ({"reestimate_batches": -1}, "0 for none; got -1"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_evaluated(options: dict, message: str) -> None:
    task, model = small()
    task.__class__ = Interrupted
    task.after, task.error = 0, AssertionError
    with pytest.raises(InputError, match=message):
        sensitivity(model, task, **options)


def test_nan_weights_are_refused_by_name() -> None:
    task, model = small()
    with torch.no_grad():
        model.head.weight[1, 2] = float("nan")
    with pytest.raises(InputError, match=r"head\.weight: 1 of 18 values are NaN"):
        sensitivity(model, task)


def test_a_model_without_prunable_layers_and_what_is_no_model_are_refused() -> None:
    task, _ = small()
    with pytest.raises(InputError, match="BatchNorm2d has no prunable layer"):
        sensitivity(nn.BatchNorm2d(1), task)
    with pytest.raises(InputError, match=r"the model is a function; expected a torch\.nn\.Module"):
        sensitivity(lambda inputs: inputs, task)  # type: ignore[arg-type]


def test_a_metric_that_overflows_names_the_layer_and_leaves_the_model_as_it_was() -> None:
    class Inverse(nn.Module):
        """One over its weights, which pruning makes infinite."""

        def __init__(self) -> None:
            super().__init__()
            self.fine, self.inner = nn.Linear(4, 4), nn.Linear(4, 4, bias=False)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.fine(inputs) / self.inner(torch.ones_like(inputs)).clamp(min=0)

    examples = ArrayExamples(inputs=torch.ones(8, 4), targets=torch.ones(8, 4))
    task = SupervisedTask(Inverse, train=examples, evaluation=examples, test=examples, loss="mse")
    model = task.model()
    with torch.no_grad():
        model.inner.weight.copy_(torch.rand(4, 4) + 0.5)
    before = bits(model)
    with pytest.raises(NotFiniteError, match=r"inner\.weight at 99\.9 % sparsity: metric .* leave the layer out"):
        sensitivity(model, task, sparsities=(0.999,))
    assert same_bits(bits(model), before)


def test_a_layer_that_the_model_does_not_call_has_no_known_macs() -> None:
    class Functional(nn.Module):
        """Uses the weight of a layer without calling it."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(36, 3)

        def forward(self, inputs: Tensor) -> Tensor:
            return nn.functional.linear(inputs.flatten(1), self.inner.weight)

    task = small_task(Functional)
    assert sensitivity(task.model(), task, sparsities=(0.5,)).layers[0].macs is None


@pytest.mark.slow
def test_measuring_loads_nothing_that_draws() -> None:
    code = (
        "import sys, torch, paretorch.training.sensitivity as s\n"
        "from tests.training.problems import normed_task\n"
        "task = normed_task(); s.sensitivity(task.model(), task, sparsities=(0.5,))\n"
        "print([name for name in ('plotly', 'jinja2', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
