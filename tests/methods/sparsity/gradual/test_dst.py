"""DST: the gradients of a row against a sum written out, the restart of a layer, the penalty, and what is refused."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from paretorch.errors import InputError, NotFiniteError
from paretorch.methods.sparsity.gradual.dst import DST, by_channel, surrogate, threshold_gradients_
from tests.methods.sparsity.gradual.reparametrised import OPTIMIZERS, Seen, Started, Watch, fit, network


def test_thresholds_go_with_the_rows_of_a_weight():
    thresholds = torch.tensor([1.0, 2.0])
    for shape in ((2, 3), (2, 3, 5), (2, 3, 5, 4)):
        spread = by_channel(thresholds, torch.zeros(shape)).expand(shape)
        assert (spread[0] == 1).all()
        assert (spread[1] == 2).all()


def test_gradients_of_a_convolution_are_those_written_out_entry_by_entry():
    stream = torch.Generator().manual_seed(0)
    weight = torch.randn(3, 2, 2, 2, generator=stream, dtype=torch.float64)
    gradient = torch.randn(3, 2, 2, 2, generator=stream, dtype=torch.float64)
    thresholds = torch.tensor([0.2, 0.9, -0.3], dtype=torch.float64)

    def slope(x: float) -> float:
        return 2 - 4 * abs(x) if abs(x) <= 0.4 else 0.4 if abs(x) <= 1 else 0.0

    of_weight, of_threshold = torch.zeros_like(weight), [0.0, 0.0, 0.0]
    for index in torch.cartesian_prod(*map(torch.arange, weight.shape)).tolist():
        w, g, t = float(weight[tuple(index)]), float(gradient[tuple(index)]), float(thresholds[index[0]])
        x = abs(w) - t
        of_weight[tuple(index)] = g * ((x > 0) + abs(w) * slope(x))
        of_threshold[index[0]] -= g * w * slope(x)
    found = threshold_gradients_(gradient, weight, thresholds)
    assert found.tolist() == pytest.approx(of_threshold, rel=1e-12)
    torch.testing.assert_close(gradient, of_weight, rtol=1e-12, atol=1e-15)


def test_without_a_loss_the_penalty_alone_moves_the_thresholds():
    run, method = Started(partial(torch.optim.SGD, lr=0.5)), DST(sparsity=0.5, penalty=0.01)
    method.start(run)
    expected = 0.0
    for _ in range(4):
        method.before_forward(run)
        for parameter in run.model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        method.before_update(run)
        run.optimizer.step()
        expected += 0.5 * 0.01 * math.exp(-expected)
    for t in method.thresholds.values():
        assert t.tolist() == pytest.approx([expected] * len(t), rel=1e-12)


def test_the_penalty_acts_on_a_layer_that_has_no_gradient():
    run, method = Started(partial(torch.optim.SGD, lr=1.0)), DST(sparsity=0.5, penalty=0.1)
    method.start(run)
    method.before_forward(run)
    run.model[0].weight.grad = torch.zeros_like(run.model[0].weight)  # and none for the other two layers
    method.before_update(run)
    run.optimizer.step()
    assert all(t.tolist() == pytest.approx([0.1] * len(t)) for t in method.thresholds.values())


def test_a_layer_that_would_be_empty_starts_again_in_training_and_the_run_goes_on():
    class Restarts(Seen):
        def before_forward(self, run):
            super().before_forward(run)
            if run.step > 0 and not self.method.thresholds["3.weight"].any():
                self.steps = [*getattr(self, "steps", []), run.step]

    seen = Restarts(DST(sparsity=0.5, penalty=2.0))
    fit(seen.method, seen, num_steps=20)
    assert seen.steps
    for step in seen.steps:
        assert torch.equal(seen.weights[step]["3.weight"], seen.dense[step]["3.weight"]), "all weights are seen again"
    kept = [int(weights["3.weight"].count_nonzero()) for weights in seen.weights]
    assert min(kept) > 0.01 * 512


def test_thresholds_do_not_decay_and_weights_decay_once():
    class Groups(Watch):
        def after_update(self, run):
            self.seen.append(
                {str(i): torch.tensor(g["weight_decay"]) for i, g in enumerate(run.optimizer.param_groups)}
            )

    watch = Groups(DST(sparsity=0.5))
    fit(watch.watched, watch, num_steps=2)
    assert [{key: float(value) for key, value in state.items()} for state in watch.seen] == [
        {"0": pytest.approx(0.01), "1": 0.0}
    ] * 2


def test_the_surrogate_is_even_and_continuous_inside_and_ends_at_one():
    x = torch.linspace(-1.2, 1.2, 4801, dtype=torch.float64)
    h = surrogate(x)
    torch.testing.assert_close(h, h.flip(0), rtol=0, atol=1e-12)
    inside = h[x.abs() <= 1]
    assert (inside[1:] - inside[:-1]).abs().max() <= 4 * 2.4 / 4800 + 1e-12
    assert (h[x.abs() > 1] == 0).all()
    assert inside.min() == 0.4


@pytest.mark.parametrize("bad", [-1e-9, math.inf, math.nan])
def test_a_penalty_out_of_range_is_refused(bad: float):
    with pytest.raises(InputError, match="penalty on low thresholds must be finite and not negative"):
        DST(sparsity=0.5, penalty=bad)


def test_transposed_convolutions_are_refused_and_may_be_excluded():
    model = nn.Sequential(nn.ConvTranspose2d(2, 3, 2), nn.Flatten(), nn.Linear(27, 2))
    with pytest.raises(InputError, match=r"0.weight of transposed convolutions .* pass them as exclude"):
        DST(sparsity=0.5).check(model, num_steps=9, steps_per_epoch=1)
    DST(sparsity=0.5, exclude="0").check(model, num_steps=9, steps_per_epoch=1)


def test_thresholds_that_are_not_finite_are_in_no_checkpoint_and_no_model():
    run, method = Started(OPTIMIZERS["sgd"]), DST(sparsity=0.5)
    method.start(run)
    with torch.no_grad():
        method.thresholds["3.weight"][1] = torch.inf
    for act in (method.state_dict, lambda: method.finish(run)):
        with pytest.raises(NotFiniteError, match=r"thresholds of 3.weight became NaN"):
            act()
    assert torch.equal(run.model[3].weight, network()[3].weight)
