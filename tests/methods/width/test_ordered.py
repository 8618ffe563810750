"""Ordered execution: the same numbers as a cut model and as a masked one, exact gradients, and no trace afterwards."""

import copy
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.checkpoint import checkpoint

from paretorch.errors import InputError
from paretorch.methods.averaging.batchnorm import reestimate_batchnorm
from paretorch.methods.width.extract import extract, masked
from paretorch.methods.width.groups import FIXED, Axis, WidthGroup, WidthGroups
from paretorch.methods.width.ordered import OrderedModel
from paretorch.methods.width.statistics import reestimate_at
from tests.methods.width.handmade import axis, perceptron, perceptron_groups
from tests.methods.width.mixed import INPUTS, Mixed, mixed, mixed_groups

PROFILES = [(1, 1, 1, 1), (6, 2, 3, 5), (3, 2, 1, 5), (6, 1, 4, 2), (5, 2, 4, 5)]
WIDTHS = st.tuples(*(st.integers(1, size) for size in mixed_groups().full))
CLOSE = {"rtol": 1e-12, "atol": 1e-12}


def inputs(seed: int = 1) -> torch.Tensor:
    return torch.randn(INPUTS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def everything(model: nn.Module) -> dict[str, object]:
    """All tensors and all public numbers of a model."""
    numbers = {
        f"{name}:{key}": value
        for name, module in model.named_modules()
        for key, value in vars(module).items()
        if isinstance(value, int | float | tuple)
    }
    return numbers | {name: tensor.clone() for name, tensor in model.state_dict(keep_vars=True).items()}


def assert_untouched(before: dict[str, object], model: nn.Module) -> None:
    after = everything(model)
    assert before.keys() == after.keys()
    for name, value in before.items():
        same = torch.equal(value, after[name]) if isinstance(value, torch.Tensor) else value == after[name]
        assert same, name
    assert all(isinstance(parameter, nn.Parameter) for _, parameter in model.named_parameters())


@given(profile=WIDTHS)
@settings(max_examples=20, deadline=None)
def test_a_profile_computes_what_the_cut_model_and_the_masked_model_compute(profile: tuple[int, ...]) -> None:
    groups, model = mixed_groups(), mixed().eval()
    with OrderedModel(model, groups).at(profile):
        sliced = model(inputs())
    torch.testing.assert_close(sliced, extract(model, groups, profile)(inputs()), **CLOSE)
    if profile[3] == 5:  # behind an RMS norm a removed unit of the masked model is not zero: it has a bias
        torch.testing.assert_close(sliced, masked(model, groups, groups.prefix(profile))(inputs()), **CLOSE)


def test_every_size_and_every_tensor_at_a_profile_is_that_of_the_cut_model() -> None:
    groups, model = mixed_groups(), mixed()
    ordered = OrderedModel(model, groups)
    for profile in PROFILES:
        cut = extract(model, groups, profile)
        with ordered.at(profile):
            for name, tensor in cut.state_dict().items():
                torch.testing.assert_close(model.state_dict()[name], tensor, **CLOSE)
            for size in groups.sizes:
                held = [getattr(made.get_submodule(size.module), size.attribute) for made in (model, cut)]
                assert held[0] == held[1] in (size.count.at(profile), (size.count.at(profile),))
            assert model.rms.eps == pytest.approx(0.1 * 5 / profile[3], rel=1e-15)
            assert model.twice.weight is model.again.weight


class Joined(nn.Module):
    """A layer that reads its hidden units and, behind them, the inputs, which are never cut."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.output = nn.Linear(3, 4), nn.Linear(4 + 3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.output(torch.cat([self.hidden(x), x], 1))


def test_entries_that_belong_to_no_group_stay_at_every_profile() -> None:
    model, x = Joined(), torch.randn(5, 3)
    group, unit = torch.tensor([0, 0, 0, 0, FIXED, FIXED, FIXED]), torch.tensor([0, 1, 2, 3, 0, 0, 0])
    axes = (axis("hidden.weight", 0, 4, 0), axis("hidden.bias", 0, 4, 0), Axis("output.weight", 1, group, unit))
    with OrderedModel(model, WidthGroups((WidthGroup("hidden", 4),), axes)).at((2,)):
        found = model(x)
    whole = torch.cat([model.hidden(x) * torch.tensor([1, 1, 0, 0]), x], 1)
    torch.testing.assert_close(found, model.output(whole))


def test_slices_of_neighbours_share_memory_with_the_parameters_and_gathers_do_not() -> None:
    model = mixed()
    weight, hidden = model.left.weight, model.hidden.weight
    with OrderedModel(model, mixed_groups()).at((3, 1, 2, 5)):
        assert model.left.weight.data_ptr() == weight.data_ptr()
        assert model.hidden.weight.shape == (5, 24)
        assert model.hidden.weight.data_ptr() != hidden.data_ptr()


@pytest.mark.parametrize("profile", PROFILES)
def test_the_gradient_is_that_of_the_cut_model_scattered_back_and_exactly_zero_elsewhere(profile: tuple) -> None:
    groups, model = mixed_groups(), mixed()
    ordered = OrderedModel(model, groups)
    cut = extract(model, groups, profile)
    with ordered.at(profile):
        model(inputs()).square().sum().backward()
    cut(inputs()).square().sum().backward()
    scale = (5 / profile[3]) ** 0.5  # by which a cut multiplies the weight of the RMS norm
    tied = {"twice.weight"}
    for name, small in cut.named_parameters():
        gradient = model.get_parameter(name).grad
        if any(axis.tensor == name for axis in groups.axes):
            used = ordered.used(name, profile)
            assert not gradient[~used].any()
            gradient = gradient[used].reshape(small.shape)
        assert name not in tied
        torch.testing.assert_close(gradient, small.grad * (scale if name == "rms.weight" else 1), **CLOSE)


def test_two_profiles_add_their_gradients() -> None:
    groups, model = perceptron_groups(3, 4, 5, 2), perceptron(3, 4, 5, 2).double()
    ordered, x = OrderedModel(model, groups), torch.randn(6, 3, dtype=torch.float64)
    apart = []
    for profile in ((2, 5), (4, 1)):
        with ordered.at(profile):
            apart.append(torch.autograd.grad(model(x).square().sum(), list(ordered.model.parameters())))
    wholes = [torch.zeros_like(p) for p in model.parameters()]
    for (name, _), whole, *parts in zip(model.named_parameters(), wholes, *apart, strict=True):
        for profile, part in zip(((2, 5), (4, 1)), parts, strict=True):
            if name == "4.bias":
                whole += part
            else:
                whole[ordered.used(name, profile)] += part.flatten()
    for profile in ((2, 5), (4, 1)):
        with ordered.at(profile):
            model(x).square().sum().backward()
    for parameter, whole in zip(model.parameters(), wholes, strict=True):
        torch.testing.assert_close(parameter.grad, whole, **CLOSE)


def test_the_full_profile_is_plain_training_bit_for_bit() -> None:
    plain, model = mixed(dtype=torch.float32), mixed(dtype=torch.float32)
    ordered = OrderedModel(model, mixed_groups())
    for net in (plain, model):
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
        for seed in range(3):
            with ordered.at(ordered.groups.full):
                net(inputs(seed).float()).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name
    assert int(model.stem_norm.num_batches_tracked) == 3


def test_everything_is_as_before_after_passes_and_after_errors() -> None:
    groups, model = mixed_groups(), mixed()
    ordered = OrderedModel(model, groups)
    before, keys = everything(model), list(model.state_dict())
    for training in (True, False):
        for profile in PROFILES:
            with ordered.at(profile):
                model.train(training)(inputs())
            assert_untouched(before, model.train())
            with pytest.raises(ZeroDivisionError), ordered.at(profile):
                _ = 1 / 0
            assert_untouched(before, model)
            with pytest.raises(RuntimeError, match="channels"), ordered.at(profile):
                model(torch.randn(2, 4, 2, 2, dtype=torch.float64))
            assert_untouched(before, model)
    assert list(model.state_dict()) == keys
    assert torch.equal(copy.deepcopy(model)(inputs()), model(inputs()))


def test_running_statistics_follow_the_full_profile_only() -> None:
    model, plain = mixed(), mixed()
    ordered = OrderedModel(model, mixed_groups())
    for profile in [*PROFILES, (6, 2, 4, 5), (6, 2, 4, 5)]:
        with ordered.at(profile):
            model(inputs())
    for _ in range(2):
        plain(inputs())
    for name in ordered.statistics(ordered.groups.full):
        assert torch.equal(model.get_buffer(name), plain.get_buffer(name)), name
    assert int(model.stem_norm.num_batches_tracked) == 2


def test_a_training_pass_normalises_by_its_batch_and_an_evaluation_by_slices_of_the_statistics() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, affine=False)).double()
    with torch.no_grad():
        model[1].running_mean.copy_(torch.arange(4.0))
        model[1].running_var.copy_(torch.arange(4.0) + 1)
    names = ("0.weight", "0.bias", "1.running_mean", "1.running_var")
    groups = WidthGroups((WidthGroup("0", 4),), tuple(axis(name, 0, 4, 0) for name in names))
    x = torch.randn(9, 3, dtype=torch.float64)
    values = model[0](x)[:, :2]
    ordered = OrderedModel(model, groups)
    with ordered.at((2,)):
        trained = model.train()(x)
    with ordered.at((2,)):
        evaluated = model.eval()(x)
    torch.testing.assert_close(trained, (values - values.mean(0)) / (values.var(0, unbiased=False) + 1e-5).sqrt())
    expected = (values - torch.tensor([0.0, 1.0])) / (torch.tensor([1.0, 2.0], dtype=torch.float64) + 1e-5).sqrt()
    torch.testing.assert_close(evaluated, expected)


@pytest.mark.parametrize("profile", PROFILES)
def test_reestimated_statistics_are_those_of_the_cut_model_and_the_model_keeps_its_own(profile: tuple) -> None:
    groups, model = mixed_groups(), mixed()
    ordered, batches = OrderedModel(model, groups), [inputs(seed) for seed in range(3)]
    before = everything(model)
    found = reestimate_at(ordered, profile, batches)
    assert_untouched(before, model)
    cut = extract(model, groups, profile)
    reestimate_batchnorm(cut, batches)
    assert found.keys() == {name for name, _ in cut.named_buffers()}
    for name, value in found.items():
        torch.testing.assert_close(value, cut.get_buffer(name), **CLOSE)
    with ordered.at(profile, statistics=found):
        judged = model.eval()(inputs(9))
    torch.testing.assert_close(judged, cut.eval()(inputs(9)), **CLOSE)
    assert_untouched(before, model.train())


def test_statistics_at_the_full_profile_can_be_estimated_beside_the_model_too() -> None:
    model = mixed()
    ordered = OrderedModel(model, mixed_groups())
    before = everything(model)
    found = reestimate_at(ordered, ordered.groups.full, [inputs()], forward=lambda net, x: net(x))
    assert_untouched(before, model)
    assert not torch.equal(found["stem_norm.running_mean"], model.stem_norm.running_mean)


def test_a_model_without_batch_norm_has_no_statistics_and_reads_no_batch() -> None:
    ordered = OrderedModel(perceptron(3, 4, 2), perceptron_groups(3, 4, 2))
    assert reestimate_at(ordered, (2,), iter(())) == {}


def test_statistics_of_another_profile_are_refused_by_name() -> None:
    model = mixed()
    ordered = OrderedModel(model, mixed_groups())
    found = ordered.statistics((3, 1, 1, 1))
    with pytest.raises(InputError, match=r"'depthwise_norm.running_mean' at profile \(4, .* \(3,\); expected \(4,\)"):
        ordered.at((4, 1, 1, 1), statistics=found).__enter__()
    with pytest.raises(InputError, match=r"'nothing' at profile .* expected None"):
        ordered.at((3, 1, 1, 1), statistics=found | {"nothing": torch.ones(1)}).__enter__()


def test_a_checkpointed_forward_pass_is_computed_again_inside() -> None:
    model = perceptron(3, 8, 8, 2).double()
    ordered, x = OrderedModel(model, perceptron_groups(3, 8, 8, 2)), torch.randn(5, 3, dtype=torch.float64)
    gradients = []
    for call in (model, lambda x: checkpoint(model, x, use_reentrant=False)):
        with ordered.at((3, 7)):
            call(x).square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
        model.zero_grad()
    for plain, again in zip(*gradients, strict=True):
        assert torch.equal(plain, again)


def test_no_grad_and_frozen_parameters_stay_so() -> None:
    model = perceptron(3, 4, 2)
    ordered = OrderedModel(model, perceptron_groups(3, 4, 2))
    model[0].weight.requires_grad_(False)
    with torch.no_grad(), ordered.at((2,)):
        assert not model(torch.ones(1, 3)).requires_grad
    with ordered.at((2,)):
        model(torch.ones(1, 3)).sum().backward()
    assert model[0].weight.grad is None
    assert model[2].weight.grad is not None


def test_a_distributed_wrapper_is_seen_through_and_reduces_whole_gradients(tmp_path: Path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        model, alone = mixed(dtype=torch.float32), mixed(dtype=torch.float32)
        wrapped = nn.parallel.DistributedDataParallel(model)
        ordered, x = OrderedModel(wrapped, mixed_groups()), inputs().float()
        for profile in ((3, 1, 2, 4), (6, 2, 4, 5), (1, 1, 1, 1)):
            with ordered.at(profile):
                wrapped(x).square().sum().backward()
            with OrderedModel(alone, mixed_groups()).at(profile):
                alone(x).square().sum().backward()
        for (name, parameter), other in zip(model.named_parameters(), alone.parameters(), strict=True):
            assert torch.equal(parameter.grad, other.grad), name
        assert torch.equal(model.stem_norm.running_mean, alone.stem_norm.running_mean)
    finally:
        torch.distributed.destroy_process_group()


def test_the_indices_of_a_width_are_worked_out_once() -> None:
    model = mixed()
    ordered = OrderedModel(model, mixed_groups())
    for _ in range(3):
        with ordered.at((3, 1, 2, 4)):
            model(inputs())
    found = ordered._index.cache_info()
    assert found.misses <= len(ordered.groups.axes)
    with ordered.at((3, 1, 2, 3)):  # only the axes of the last group are new
        pass
    assert 0 < ordered._index.cache_info().misses - found.misses < len(ordered.groups.axes) / 2


def test_which_entries_a_profile_uses() -> None:
    ordered = OrderedModel(mixed(), mixed_groups())
    used = ordered.used("hidden.weight", (6, 1, 2, 3))
    columns = torch.zeros(48, dtype=torch.bool)
    columns[:8], columns[16:32] = True, True  # one pair of 4 left channels, two pairs of 8 right ones, 4 pixels each
    assert torch.equal(used, columns & (torch.arange(5) < 3)[:, None])
    with pytest.raises(InputError, match=r"'output.bias' stands on no axis"):
        ordered.used("output.bias", (1, 1, 1, 1))


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        ((1, 2, 3), "has 4 widths.*got 3"),
        ((0, 1, 1, 1), "'stem' must be an integer from 1 to 6; got 0"),
        ((1, 1, 5, 1), "'right' must be an integer from 1 to 4; got 5"),
        ((1, 1, 1, 2.0), r"'hidden' must be an integer from 1 to 5; got 2\.0"),
    ],
)
def test_a_profile_that_does_not_fit_is_refused(profile: tuple, message: str) -> None:
    ordered = OrderedModel(mixed(), mixed_groups())
    with pytest.raises(InputError, match=message):
        ordered.at(profile).__enter__()


def test_a_profile_inside_a_profile_is_refused_and_the_outer_one_goes_on() -> None:
    model = perceptron(3, 4, 2)
    ordered, twin = (OrderedModel(model, perceptron_groups(3, 4, 2)) for _ in range(2))
    with ordered.at((2,)):
        with pytest.raises(InputError, match="this model is at a profile already"):
            ordered.at((1,)).__enter__()
        with pytest.raises(InputError, match="it is at a profile already"):
            twin.at((1,)).__enter__()
        assert model[0].weight.shape == (2, 3)
    with ordered.at((1,)):
        assert model[0].weight.shape == (1, 3)


def test_groups_of_another_model_are_refused() -> None:
    with pytest.raises(InputError, match=r"0\.weight has shape \(5, 3\).*4 entries along dimension 0"):
        OrderedModel(perceptron(3, 5, 2), perceptron_groups(3, 4, 2))
    with pytest.raises(InputError, match=r"'4\.weight' is no plain parameter"):
        OrderedModel(perceptron(3, 4, 2), perceptron_groups(3, 4, 5, 2))
    ordered = OrderedModel(perceptron(3, 4, 2), perceptron_groups(3, 4, 2))
    ordered.model[0].weight = nn.Parameter(torch.ones(3, 3))
    with pytest.raises(InputError, match="this one was cut since"):
        ordered.at((2,)).__enter__()


def test_an_rms_norm_without_a_weight_cannot_hold_its_scale() -> None:
    groups, model = mixed_groups(), Mixed()
    model.rms = nn.RMSNorm(5, elementwise_affine=False)
    without = type(groups)(
        groups.groups, tuple(a for a in groups.axes if a.tensor != "rms.weight"), groups.sizes, groups.rms
    )
    with pytest.raises(InputError, match="'rms' has no weight to hold a scale"):
        OrderedModel(model, without)
