"""DPF and DNW: how much is masked when, ties, and what is refused."""

from functools import partial

import pytest
import torch
from torch import nn

from paretorch.errors import InputError
from paretorch.methods.sparsity.gradual.dnw import DNW
from paretorch.methods.sparsity.gradual.dpf import DPF
from paretorch.methods.sparsity.gradual.masked_forward import MaskedForward
from paretorch.methods.sparsity.gradual.schedule import Interval
from tests.methods.sparsity.gradual.reparametrised import WEIGHTS, Seen, Started, fit, network

TOTAL = sum(network().get_parameter(name).numel() for name in WEIGHTS)


def zeros(seen: Seen) -> list[int]:
    return [sum(int((values[name] == 0).sum()) for name in WEIGHTS) for values in seen.weights]


def test_the_sparsity_of_dpf_rises_at_the_interval_and_not_between():
    seen = Seen(DPF(sparsity=0.9, interval=Interval(steps=5)))
    fit(seen.method, seen, num_steps=28)  # four rises, after 5, 10, 15 and 20 steps
    expected = [round(0.9 * (1 - (1 - j / 4) ** 3) * TOTAL) for j in (0, 1, 2, 3, 4)]
    assert zeros(seen) == [expected[min(step // 5, 4)] for step in range(28)]
    assert expected[0] == 0
    assert expected[-1] == round(0.9 * TOTAL)
    assert seen.method.details() == {"rises": 4, "refresh_steps": 16}


def test_an_interval_in_epochs_counts_the_steps_of_an_epoch():
    seen = Seen(DPF(sparsity=0.9, interval=Interval(epochs=2)))
    fit(seen.method, seen, num_steps=12, batch_size=16)  # an epoch has two steps, so that rises come every four
    assert [step for step in range(1, 12) if zeros(seen)[step] != zeros(seen)[step - 1]] == [4, 8]


def test_dnw_keeps_its_selection_between_renewals():
    seen = Seen(DNW(sparsity=0.8, refresh_steps=5))
    fit(seen.method, seen, num_steps=17)
    masks = [torch.cat([values[name].flatten() != 0 for name in WEIGHTS]) for values in seen.weights]
    assert [step for step in range(1, 17) if not torch.equal(masks[step], masks[step - 1])] == [5, 10, 15]


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5])
def test_equal_weights_are_masked_in_the_order_of_position(sparsity: float):
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(-0.5)
    run, method = Started(partial(torch.optim.SGD, lr=0.1), model), DNW(sparsity=sparsity)
    method.start(run)
    method.before_forward(run)
    flat = torch.cat([model[0].weight.flatten(), model[1].weight.flatten()])
    count = round(sparsity * 18)
    assert flat.tolist() == [0.0] * count + [-0.5] * (18 - count)
    assert not torch.signbit(flat[:count]).any(), "+0.0"


def test_the_mask_of_a_weight_in_another_memory_format_prunes_the_same_entries():
    """Strides of the weights say nothing about the order of entries."""
    shown = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        model = network().to(memory_format=memory_format)
        run, method = Started(partial(torch.optim.SGD, lr=0.1), model), DNW(sparsity=0.6)
        method.start(run)
        method.before_forward(run)
        shown.append([model.get_parameter(name).detach().clone() for name in WEIGHTS])
    assert all(torch.equal(a, b) for a, b in zip(*shown, strict=True))


@pytest.mark.parametrize("make", [DPF, DNW])
@pytest.mark.parametrize("bad", [0, -1, 1.5, True, "16"])
def test_a_number_of_steps_that_is_none_is_refused(make: type[MaskedForward], bad: object):
    with pytest.raises(InputError, match="refresh_steps is a whole number of steps, at least 1; got"):
        make(sparsity=0.5, refresh_steps=bad)


@pytest.mark.parametrize("make", [DPF, DNW])
@pytest.mark.parametrize("bad", [1.0, -0.1, 90, "0.9"])
def test_a_sparsity_out_of_range_is_refused(make: type[MaskedForward], bad: object):
    with pytest.raises(InputError, match=r"fraction of weights removed, in \[0, 1\)"):
        make(sparsity=bad)


def test_a_run_without_room_for_two_rises_is_refused_before_it_begins():
    method = DPF(sparsity=0.5, interval=Interval(steps=10))
    with pytest.raises(InputError, match=r"room for 1 before the last 10"):
        method.check(network(), num_steps=29, steps_per_epoch=1)
    method.check(network(), num_steps=30, steps_per_epoch=1)


def test_weights_that_are_not_finite_cannot_be_ranked():
    run, method = Started(partial(torch.optim.SGD, lr=0.1)), DNW(sparsity=0.5)
    with torch.no_grad():
        run.model[3].weight[0, 0] = torch.nan
    method.start(run)
    with pytest.raises(InputError, match=r"3.weight: 1 of 512 values are NaN"):
        method.before_forward(run)
