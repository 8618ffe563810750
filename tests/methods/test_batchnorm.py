"""Batch-norm re-estimation: the closed form, and everything it must leave alone."""

import copy

import pytest
import torch
from torch import nn

from paretorch.errors import InputError
from paretorch.methods.averaging.batchnorm import reestimate_batchnorm


def batches(n=5, size=16, shape=(3, 6, 6), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(size, *shape, generator=generator) * (1 + j) + j for j in range(n)]


def convnet():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4, momentum=0.9),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Conv2d(4, 5, 3),
        nn.BatchNorm2d(5),
    )


def buffers_of(model):
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert first[name].dtype == second[name].dtype
        assert torch.equal(first[name], second[name]), name


@pytest.mark.parametrize(
    ("layer", "shape", "axes"),
    [
        (nn.BatchNorm1d(3), (3,), (0,)),
        (nn.BatchNorm2d(3), (3, 6, 6), (0, 2, 3)),
        (nn.BatchNorm3d(3), (3, 2, 4, 4), (0, 2, 3, 4)),
    ],
)
def test_statistics_are_the_means_over_batches_of_mean_and_unbiased_variance(layer, shape, axes):
    layer.running_mean.fill_(77)
    layer.num_batches_tracked.fill_(1234)
    data = batches(shape=shape)
    assert reestimate_batchnorm(layer, data) == 1
    means = torch.stack([x.double().mean(axes) for x in data])
    variances = torch.stack([x.double().var(axes, unbiased=True) for x in data])
    torch.testing.assert_close(layer.running_mean.double(), means.mean(0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(layer.running_var.double(), variances.mean(0), rtol=1e-5, atol=1e-5)
    assert layer.num_batches_tracked == 5


def test_synchronised_layers_and_own_subclasses_are_found():
    class Own(nn.BatchNorm2d):
        pass

    # A synchronised layer needs a GPU to run, so it is only counted as not reached.
    model = nn.ModuleDict({"own": Own(3), "sync": nn.SyncBatchNorm(3)})
    with pytest.warns(UserWarning, match=r"no batch reached 1 of 2 batch-norm layers \(sync"):
        assert reestimate_batchnorm(model, batches(), forward=lambda model, x: model["own"](x)) == 1


def test_a_deeper_layer_sees_what_the_earlier_ones_do_to_the_batch():
    model, data = convnet(), batches()
    assert reestimate_batchnorm(model, data) == 2
    expected = []
    for x in data:
        hidden = model[0](x)
        normal = (hidden - hidden.mean((0, 2, 3), keepdim=True)) / (
            hidden.var((0, 2, 3), unbiased=False, keepdim=True) + 1e-5
        ).sqrt()
        expected.append(model[4](normal.relu()).mean((0, 2, 3)))
    torch.testing.assert_close(model[5].running_mean, torch.stack(expected).mean(0), rtol=1e-4, atol=1e-5)


def test_stale_statistics_are_repaired():
    model, data = convnet(), batches(n=1, size=64)
    with torch.no_grad():
        model[0].weight.mul_(50)
    reestimate_batchnorm(model, data)
    output = model.eval()(data[0])
    torch.testing.assert_close(output.mean((0, 2, 3)), torch.zeros(5), rtol=0, atol=1e-3)
    torch.testing.assert_close(output.var((0, 2, 3)), torch.ones(5), rtol=0, atol=1e-2)


def test_parameters_modes_momentum_dtypes_and_random_numbers_are_left_alone():
    model = convnet().train()
    model[5].eval()
    parameters = {name: p.detach().clone() for name, p in model.named_parameters()}
    dtypes = {name: buffer.dtype for name, buffer in model.named_buffers()}
    modes = [module.training for module in model.modules()]
    random_state = torch.get_rng_state()
    reestimate_batchnorm(model, batches())
    assert_same(parameters, {name: p.detach() for name, p in model.named_parameters()})
    assert [module.training for module in model.modules()] == modes
    assert [model[1].momentum, model[5].momentum] == [0.9, 0.1]
    assert {name: buffer.dtype for name, buffer in model.named_buffers()} == dtypes
    assert model[1].num_batches_tracked.dtype == torch.int64
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(p.grad is None for p in model.parameters())


def test_no_graph_is_built():
    seen = []
    reestimate_batchnorm(convnet(), batches(), forward=lambda model, x: seen.append(model(x).requires_grad))
    assert seen == [False] * 5


def test_the_same_batches_give_the_same_statistics_again():
    model, data = convnet(), batches()
    reestimate_batchnorm(model, data)
    first = buffers_of(model)
    reestimate_batchnorm(model, data)
    assert_same(first, buffers_of(model))
    reestimate_batchnorm(model, data[:3])
    assert not torch.equal(first["1.running_mean"], model[1].running_mean)


def test_the_momentum_of_the_layers_does_not_matter():
    model = convnet()
    other = copy.deepcopy(model)
    other[1].momentum, other[5].momentum = 0.1, None
    reestimate_batchnorm(model, batches())
    reestimate_batchnorm(other, batches())
    assert_same(buffers_of(model), buffers_of(other))
    assert other[5].momentum is None


def test_a_model_without_batch_norm_is_left_alone_and_reads_no_batch():
    def unread():
        raise AssertionError("a batch was read")
        yield

    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3), nn.BatchNorm1d(3, track_running_stats=False))
    assert reestimate_batchnorm(model, unread()) == 0


def test_a_layer_whose_tracking_was_switched_off_is_left_alone():
    layer = nn.BatchNorm2d(3)
    layer.track_running_stats = False
    layer.running_mean.fill_(4.0)
    assert reestimate_batchnorm(layer, batches()) == 0
    assert torch.equal(layer.running_mean, torch.full((3,), 4.0))


def test_no_batches_are_refused_and_change_nothing():
    model = convnet()
    reestimate_batchnorm(model, batches())
    before = buffers_of(model)
    with pytest.raises(InputError, match="no batch to re-estimate"):
        reestimate_batchnorm(model, iter(()))
    assert_same(before, buffers_of(model))
    assert [model[1].momentum, model[5].momentum] == [0.9, 0.1]


def test_an_error_in_the_middle_puts_everything_back():
    model = convnet().train()
    reestimate_batchnorm(model, batches())
    before = buffers_of(model)
    with pytest.raises(RuntimeError, match="channels"):
        reestimate_batchnorm(model, [batches()[0], torch.randn(2, 9, 6, 6)])
    assert_same(before, buffers_of(model))
    assert model.training
    assert model[1].momentum == 0.9


def test_a_layer_that_no_batch_reaches_keeps_its_statistics_and_is_named():
    model = nn.ModuleDict({"main": nn.BatchNorm2d(3), "aside": nn.BatchNorm2d(3)})
    model["aside"].running_mean.fill_(4.0)
    model["aside"].num_batches_tracked.fill_(9)
    with pytest.warns(UserWarning, match=r"1 of 2 batch-norm layers \(aside"):
        reestimate_batchnorm(model, batches(), forward=lambda model, x: model["main"](x))
    assert torch.equal(model["aside"].running_mean, torch.full((3,), 4.0))
    assert model["aside"].num_batches_tracked == 9


def test_batches_may_be_pairs_or_anything_that_forward_knows():
    plain, paired, named = convnet(), convnet(), convnet()
    data = batches()
    reestimate_batchnorm(plain, data)
    reestimate_batchnorm(paired, [(x, torch.zeros(16)) for x in data])
    reestimate_batchnorm(named, [{"image": x} for x in data], forward=lambda model, batch: model(batch["image"]))
    assert_same(buffers_of(plain), buffers_of(paired))
    assert_same(buffers_of(plain), buffers_of(named))


def test_a_batch_of_unknown_form_is_refused_with_its_keys():
    with pytest.raises(InputError, match=r"got dict with keys \['image'\].*forward=lambda"):
        reestimate_batchnorm(convnet(), [{"image": batches()[0]}])
    with pytest.raises(InputError, match="got list"):
        reestimate_batchnorm(convnet(), [[]])


def test_a_layer_that_does_not_count_its_batches_is_refused():
    model = convnet()
    model[5].num_batches_tracked = None
    with pytest.raises(InputError, match="'5' has no num_batches_tracked"):
        reestimate_batchnorm(model, batches())
