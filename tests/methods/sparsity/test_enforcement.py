"""Masks in a training loop: exact zeros whatever the optimizer, and the reparametrised model's kept weights bitwise."""

import copy

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import SGD, Adam, AdamW

from paretorch.errors import InputError, RunError
from paretorch.methods.sparsity.masks import Masks
from tests.methods.sparsity.masked_training import OPTIMIZERS, assert_exact_zeros, batch, model, random_masks, train


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_pruned_in_mid_training_weights_are_positive_zero_after_every_step(name):
    net = model()
    optimizer = OPTIMIZERS[name](list(net.parameters()))
    train(net, optimizer, range(5))
    masks = random_masks(net)
    masks.attach(net, optimizer)
    assert_exact_zeros(net, masks)
    before = {n: p.detach().clone() for n, p in net.named_parameters()}
    for step in range(5, 12):
        train(net, optimizer, range(step, step + 1), clip=0.5)
        assert_exact_zeros(net, masks)
    for n, mask in masks.items():
        assert (net.get_parameter(n).detach() != before[n])[mask].all()  # the kept ones did move


@pytest.mark.parametrize("dense_steps", [0, 6])
@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("name", ["sgd-nesterov-decay", "adam", "adamw-foreach", "adamw-fused"])
def test_kept_weights_are_bitwise_those_of_the_reparametrised_model(name, clip, dense_steps):
    """The oracle trains w in f(w * m) and never touches its zeros; `dense_steps` of both come first."""
    masked, original = model(), model()
    optimizer = OPTIMIZERS[name](list(masked.parameters()))
    oracle_optimizer = OPTIMIZERS[name](list(original.parameters()))
    train(masked, optimizer, range(dense_steps), clip=clip)
    train(original, oracle_optimizer, range(dense_steps), clip=clip)
    masks = random_masks(masked)
    masks.attach(masked, optimizer)
    train(masked, optimizer, range(dense_steps, dense_steps + 30), clip=clip)
    for step in range(dense_steps, dense_steps + 30):
        x, y = batch(step)
        weights = {n: p * masks[n] if n in masks else p for n, p in original.named_parameters()}
        nn.functional.cross_entropy(functional_call(original, weights, (x,)), y).backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(original.parameters(), clip)
        oracle_optimizer.step()
        oracle_optimizer.zero_grad()
    for n, parameter in masked.named_parameters():
        kept = masks.get(n, torch.ones_like(parameter, dtype=torch.bool))
        expected = original.get_parameter(n).detach()
        assert torch.equal(parameter.detach().view(torch.int32)[kept], expected.view(torch.int32)[kept]), n
        if n in masks and (dense_steps or "sgd" not in name):
            assert expected[~kept].any()  # the oracle's pruned entries are not zero: only the forward hides them


def test_projection_without_masked_gradients_is_another_run_once_gradients_are_clipped():
    """Why gradients are masked: the pruned ones would enter the norm. Guards the bitwise test against being vacuous."""
    masked, projected = model(), model()
    masks = random_masks(masked)
    optimizer, other = SGD(masked.parameters(), lr=0.1), SGD(projected.parameters(), lr=0.1)
    masks.attach(masked, optimizer)
    masks.apply_(projected)
    for step in range(10):
        train(masked, optimizer, range(step, step + 1), clip=0.1)
        train(projected, other, range(step, step + 1), clip=0.1)
        masks.apply_(projected)
    assert (masked[0].weight - projected[0].weight).abs().max() > 1e-3


def test_gradients_are_masked_before_anything_can_clip_them():
    net = model()
    optimizer = SGD(net.parameters(), lr=0.1)
    masks = random_masks(net)
    masks.attach(net, optimizer)
    for step in range(2):  # accumulated gradients too
        x, y = batch(step)
        nn.functional.cross_entropy(net(x), y).backward()
        for name, mask in masks.items():
            gradient = net.get_parameter(name).grad
            assert not gradient.view(torch.int32)[~mask].any()
            assert gradient[mask].all()


def test_a_gradient_present_at_attach_is_masked_too():
    net = model()
    masks = random_masks(net)
    nn.functional.cross_entropy(net(batch(0)[0]), batch(0)[1]).backward()
    masks.attach(net, SGD(net.parameters(), lr=0.1))
    assert not net[0].weight.grad[~masks["0.weight"]].any()
    assert net[0].weight.grad[masks["0.weight"]].all()


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("sgd-nesterov-decay", {"momentum_buffer"}),
        ("adam-amsgrad", {"exp_avg", "exp_avg_sq", "max_exp_avg_sq"}),
        ("adamw-fused", {"exp_avg", "exp_avg_sq"}),
    ],
)
def test_state_of_pruned_entries_is_cleared_and_the_rest_is_left_alone(name, keys):
    net = model()
    optimizer = OPTIMIZERS[name](list(net.parameters()))
    train(net, optimizer, range(3))
    before = copy.deepcopy(optimizer.state_dict()["state"])
    masks = random_masks(net)
    masks.attach(net, optimizer)
    after = optimizer.state_dict()["state"]
    names = [n for n, _ in net.named_parameters()]
    seen = set()
    for index, entry in after.items():
        kept = masks.get(names[index], torch.ones_like(net.get_parameter(names[index]), dtype=torch.bool))
        for key, value in entry.items():
            old = before[index][key]
            if isinstance(value, Tensor) and value.dim():
                seen.add(key)
                assert torch.equal(value, old.where(kept, torch.zeros(())))
            else:
                assert value == old  # the step counter
    assert seen == keys


def test_step_counter_of_a_scalar_parameter_is_not_mistaken_for_a_moment():
    scalar = nn.Module()
    scalar.gain = nn.Parameter(torch.tensor(2.0))
    optimizer = Adam(scalar.parameters(), lr=0.1)
    scalar.gain.square().backward()
    optimizer.step()
    masks = Masks({"gain": torch.tensor(False)})
    masks.attach(scalar, optimizer)
    assert optimizer.state[scalar.gain]["step"] == 1
    scalar.gain.square().backward()
    optimizer.step()
    assert scalar.gain == 0


@pytest.mark.parametrize("scaled", [False, True])
def test_zeros_are_exact_under_bfloat16_autocast_with_and_without_a_gradient_scaler(scaled):
    net = model()
    optimizer = AdamW(net.parameters(), lr=0.01)
    scaler = torch.amp.GradScaler("cpu", enabled=scaled, init_scale=2.0**10)
    masks = random_masks(net)
    masks.attach(net, optimizer)
    before = net[0].weight.detach().clone()
    for step in range(6):
        x, y = batch(step)
        with torch.autocast("cpu", torch.bfloat16):
            loss = nn.functional.cross_entropy(net(x), y)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        assert_exact_zeros(net, masks)
    assert (net[0].weight != before)[masks["0.weight"]].all()


def test_a_model_in_bfloat16_keeps_exact_zeros():
    net = model().bfloat16()
    optimizer = AdamW(net.parameters(), lr=0.01)
    masks = random_masks(net)
    masks.attach(net, optimizer)
    for _ in range(3):
        net(batch(0)[0].bfloat16()).square().sum().backward()
        optimizer.step()
    assert not net[0].weight.detach().view(torch.int16)[~masks["0.weight"]].any()


def test_a_pruned_gradient_that_is_not_finite_does_no_harm():
    net = model()
    optimizer = Adam(net.parameters(), lr=0.01)
    masks = random_masks(net)
    masks.attach(net, optimizer)
    net[0].weight.register_hook(lambda g: g.where(masks["0.weight"], torch.tensor(float("nan"))))
    train(net, optimizer, range(2), clip=1.0)
    assert_exact_zeros(net, masks)
    assert all(p.isfinite().all() for p in net.parameters())


def test_update_prunes_more_at_once_and_lets_readmitted_weights_start_from_zero():
    net = model()
    optimizer = SGD(net.parameters(), lr=0.1, momentum=0.9)
    first, second = random_masks(net, seed=1, density=0.5), random_masks(net, seed=2, density=0.5)
    attachment = first.attach(net, optimizer)
    train(net, optimizer, range(4))
    attachment.update(second)
    assert attachment.masks is second
    assert_exact_zeros(net, second)
    readmitted = second["0.weight"] & ~first["0.weight"]
    assert readmitted.any()
    assert not net[0].weight[readmitted].any()
    assert not optimizer.state[net[0].weight]["momentum_buffer"][readmitted | ~second["0.weight"]].any()
    train(net, optimizer, range(4, 6))
    assert_exact_zeros(net, second)
    assert net[0].weight[readmitted].all()


def test_an_update_that_does_not_fit_leaves_the_old_masks_in_force():
    net = model()
    optimizer = SGD(net.parameters(), lr=0.1)
    masks = random_masks(net)
    attachment = masks.attach(net, optimizer)
    with pytest.raises(InputError, match=r"'9.weight' is no parameter"):
        attachment.update(Masks({"9.weight": torch.ones(2, dtype=torch.bool)}))
    train(net, optimizer, range(2))
    assert attachment.masks is masks
    assert_exact_zeros(net, masks)


def test_removing_leaves_model_and_optimizer_without_hooks_and_free_to_be_attached_again():
    net = model()
    optimizer = SGD(net.parameters(), lr=0.1)
    masks = random_masks(net)
    attachment = masks.attach(net, optimizer)
    attachment.remove()
    attachment.remove()
    assert not attachment.active
    assert not optimizer._optimizer_step_post_hooks
    assert not any(p._post_accumulate_grad_hooks for p in net.parameters())
    train(net, optimizer, range(1))
    assert masks.violations(net)["0.weight"] == int((~masks["0.weight"]).sum())
    with pytest.raises(RunError, match="was removed"):
        attachment.update(masks)
    with masks.attach(net, optimizer) as again:
        train(net, optimizer, range(2))
        assert_exact_zeros(net, masks)
    assert not again.active
    assert_exact_zeros(net, masks)


def test_attaching_over_other_masks_is_refused_and_leaves_them_in_force():
    net = model()
    optimizer = SGD(net.parameters(), lr=0.1)
    masks = random_masks(net)
    masks.attach(net, optimizer)
    with pytest.raises(InputError, match=r"already attached to \['0.weight', '2.weight'\]"):
        random_masks(net, seed=5).attach(net, optimizer)
    train(net, optimizer, range(2))
    assert_exact_zeros(net, masks)


def test_a_parameter_that_no_optimizer_holds_is_refused_before_anything_is_pruned():
    net = model()
    before = net[0].weight.detach().clone()
    masks = random_masks(net)
    with pytest.raises(InputError, match=r"no optimizer given to attach\(\) holds \['2.weight'\]"):
        masks.attach(net, SGD(net[0].parameters(), lr=0.1))
    with pytest.raises(InputError, match="needs the optimizer"):
        masks.attach(net)
    assert torch.equal(net[0].weight, before)
    assert not net[0].weight._post_accumulate_grad_hooks


def test_two_optimizers_each_keep_the_zeros_of_what_they_hold():
    net = model()
    first, second = SGD(net[0].parameters(), lr=0.1, momentum=0.9), AdamW(net[2].parameters(), lr=0.01)
    train(net, first, range(2))
    masks = random_masks(net)
    masks.attach(net, first, second)
    for step in range(4):
        x, y = batch(step)
        nn.functional.cross_entropy(net(x), y).backward()
        first.step()
        second.step()
        net.zero_grad()
        assert_exact_zeros(net, masks)


def test_frozen_parameters_may_be_masked_and_stay_masked_once_they_are_unfrozen():
    net = model()
    net[2].weight.requires_grad_(False)
    optimizer = SGD(net[0].parameters(), lr=0.1, momentum=0.9)
    masks = random_masks(net)
    masks.attach(net, optimizer)
    assert not net[2].weight.requires_grad
    train(net, optimizer, range(2))
    net[2].weight.requires_grad_(True)
    optimizer.add_param_group({"params": [net[2].weight]})
    before = net[2].weight.detach().clone()
    nn.functional.cross_entropy(net(batch(3)[0]), batch(3)[1]).backward()
    assert not net[2].weight.grad[~masks["2.weight"]].any()
    with torch.no_grad():
        net[2].weight[~masks["2.weight"]] = 1.0  # only the projection can undo this
    optimizer.step()
    assert_exact_zeros(net, masks)
    assert (net[2].weight != before)[masks["2.weight"]].all()


def test_replacing_a_masked_parameter_behind_the_attachment_is_noticed_at_the_next_step():
    net = model()
    optimizer = SGD(net.parameters(), lr=0.1)
    random_masks(net).attach(net, optimizer)
    net[2].weight = nn.Parameter(torch.ones(3, 8))
    with pytest.raises(RunError, match=r"'2.weight' was replaced in the model"):
        train(net, optimizer, range(1))


def test_a_sparse_gradient_is_refused_by_name():
    net = nn.Sequential(nn.Embedding(5, 3, sparse=True))
    masks = random_masks(net)
    masks.attach(net, SGD(net.parameters(), lr=0.1))
    with pytest.raises(RunError, match=r"'0.weight' has layout torch.sparse_coo"):
        net(torch.tensor([1, 2])).sum().backward()


def test_tied_parameters_are_hooked_and_projected_once():
    net = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    net[2].weight = net[0].weight
    optimizer = SGD(net.parameters(), lr=0.1, momentum=0.9)
    mask = torch.eye(4, dtype=torch.bool)
    Masks({"0.weight": mask, "2.weight": mask}).attach(net, optimizer)
    assert len(net[0].weight._post_accumulate_grad_hooks) == 1
    for _ in range(3):
        net(torch.randn(5, 4)).square().sum().backward()
        optimizer.step()
        assert torch.equal(net[2].weight != 0, mask)


def test_an_optimizer_wrapped_by_accelerate_is_seen_through():
    net = model()
    wrapped = Accelerator(cpu=True).prepare(SGD(net.parameters(), lr=0.1, momentum=0.9))
    train(net, wrapped, range(3))
    masks = random_masks(net)
    masks.attach(net, wrapped)
    assert not wrapped.state[net[0].weight]["momentum_buffer"][~masks["0.weight"]].any()
    train(net, wrapped, range(3, 6))
    assert_exact_zeros(net, masks)


def test_a_large_layer_that_is_worked_on_in_blocks_keeps_exact_zeros():
    net = nn.Sequential(nn.Conv2d(64, 128, 3), nn.Conv2d(128, 4, 1)).to(memory_format=torch.channels_last)
    optimizer = AdamW(net.parameters(), lr=0.01)
    masks = random_masks(net)
    masks.attach(net, optimizer)
    for _ in range(2):
        net(torch.randn(2, 64, 5, 5)).square().mean().backward()
        optimizer.step()
    assert_exact_zeros(net, masks)
    assert net[0].weight.detach()[masks["0.weight"]].all()
