"""That the five methods do what they claim, so that resuming them bitwise means something."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from paretorch.methods.method import Method, Run
from paretorch.training.trainer import Trainer
from tests.training.hook_methods import (
    ADAMW,
    NUM_STEPS,
    SGD,
    GANStep,
    HalfCut,
    LocalBlocks,
    ReweightedSampler,
    TwoBackwards,
    settings,
    small_task,
)
from tests.training.problems import DoubleLinear, linear_task, plain


def trained(*methods: Method, model: nn.Module | None = None) -> nn.Module:
    trainer = Trainer(small_task(), settings(SGD), seed=3)
    made = trainer.model() if model is None else model
    trainer.fit(made, phase="only", num_steps=NUM_STEPS, methods=methods)
    return made


def test_no_gradient_crosses_from_one_local_block_to_the_one_before() -> None:
    trainer = Trainer(small_task(), settings(SGD), seed=3)
    usual, other = trainer.model(), trainer.model()
    nn.init.constant_(other.blocks[1][0].weight, 0.3)
    for model in (usual, other):
        trained(LocalBlocks(), model=model)
    assert torch.equal(usual.blocks[0][0].weight, other.blocks[0][0].weight)
    assert not torch.equal(usual.output.weight, other.output.weight)
    plainly, plainly_other = trainer.model(), trainer.model()
    nn.init.constant_(plainly_other.blocks[1][0].weight, 0.3)
    for model in (plainly, plainly_other):
        trained(model=model)
    assert not torch.equal(plainly.blocks[0][0].weight, plainly_other.blocks[0][0].weight)


def test_both_players_of_the_gan_are_trained_with_gradients_of_their_own_turn_only() -> None:
    method = GANStep()
    gradients: list[list[bool]] = []

    class Looks(Method):
        name = "looks"

        def before_update(self, run: Run) -> None:
            players = (method.discriminator, run.model)
            gradients.append([any(p.grad is not None for p in player.parameters()) for player in players])

    model = trained(method, Looks())
    untouched = Trainer(small_task(), settings(SGD), seed=3).model()
    assert not torch.equal(model.output.weight, untouched.output.weight)
    assert gradients[0] == [True, False], "the discriminator's turn"
    assert gradients[1::2] == [[True, True]] * NUM_STEPS, "the generator's turn passes through the discriminator"
    assert gradients[2::2] == [[True, False]] * (NUM_STEPS - 1)


def test_sharpness_aware_step_is_the_gradient_at_the_climbed_weights() -> None:
    trainer = Trainer(linear_task(), plain(24, lr=0.1))
    model = trainer.model()
    assert isinstance(model, DoubleLinear)
    weights = [p.detach().clone().requires_grad_() for p in model.parameters()]
    batch = trainer.train_set.batch(torch.arange(24))

    def loss(weight: Tensor, bias: Tensor) -> Tensor:
        return (batch["inputs"] @ weight.T + bias - batch["targets"]).square().mean()

    first = torch.autograd.grad(loss(*weights), weights)
    norm = torch.cat([g.flatten() for g in first]).norm()
    climbed = [
        (w + TwoBackwards.radius * g / norm).detach().requires_grad_() for w, g in zip(weights, first, strict=True)
    ]
    second = torch.autograd.grad(loss(*climbed), climbed)
    trainer.fit(model, phase="only", num_steps=1, methods=[TwoBackwards()])
    for weight, start, gradient in zip(model.parameters(), weights, second, strict=True):
        torch.testing.assert_close(weight.detach(), start.detach() - 0.1 * gradient, rtol=1e-10, atol=1e-12)


def test_draws_follow_weights_that_change_with_the_losses() -> None:
    seen: list[Any] = []

    class Looks(Method):
        name = "looks"

        def before_forward(self, run: Run) -> None:
            seen.append((run.sampler.weights.clone(), run.sampler.batch(run.step)))

    trained(ReweightedSampler(), Looks())
    for (before, drawn), (after, _) in pairwise(seen):
        changed = (before != after).nonzero().flatten().tolist()
        assert set(changed) == set(drawn.tolist()), "exactly the drawn examples have a new weight"


def test_cut_keeps_the_momentum_of_the_units_that_stay() -> None:
    for optimizer, keys in ((SGD, {"momentum_buffer"}), (ADAMW, {"step", "exp_avg", "exp_avg_sq"})):
        states: list[dict[str, Tensor]] = []
        shapes: list[tuple[int, ...]] = []

        class Looks(Method):
            def __init__(self, name: str) -> None:
                self.name = name

            def after_update(self, run: Run) -> None:
                if run.step == run.num_steps // 2:
                    weight = run.model.blocks[0][0].weight
                    states.append({key: value.clone() for key, value in run.optimizer.state[weight].items()})  # noqa: B023
                    shapes.append(tuple(weight.shape))  # noqa: B023

        trainer = Trainer(small_task(), settings(optimizer), seed=3)
        method, model = HalfCut(), trainer.model()
        trainer.fit(model, phase="only", num_steps=NUM_STEPS, methods=[Looks("before"), method, Looks("after")])
        before, after = states
        assert shapes == [(12, 8), (6, 8)]
        assert set(before) == set(after) == keys
        for key in keys:
            assert torch.equal(after[key], before[key] if key == "step" else before[key][method.kept])
        assert model.blocks[0][0].weight.shape == (6, 8)
        assert model(torch.randn(3, 8)).shape == (3, 4)
