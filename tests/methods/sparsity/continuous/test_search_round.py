"""A round of a ticket search: what it takes from the one before it leaves as it was."""

import copy

import torch

from paretorch.methods.sparsity.continuous.search_round import SearchRound
from tests.methods.sparsity.gradual.problems import NAMES, trainer


def test_two_rounds_can_go_on_from_one_and_end_with_the_same_bits() -> None:
    own = trainer()
    model, first = own.model(), SearchRound(sparsity=0.5)
    state = own.fit(model, phase="search-0", num_steps=20, methods=[first]).optimizer_state
    kept = copy.deepcopy(first.left)
    seen = []
    for _ in range(2):
        following, twin = SearchRound(sparsity=0.75, previous=first.left), copy.deepcopy(model)
        own.fit(twin, phase="search-1", num_steps=20, methods=[following], optimizer_state=state)
        seen.append(following.left)
    for name in NAMES:
        assert torch.equal(seen[0].weights[name], seen[1].weights[name])
        assert torch.equal(seen[0].logits[name], seen[1].logits[name])
        assert not torch.equal(seen[0].logits[name], kept.logits[name])
        assert torch.equal(first.left.weights[name], kept.weights[name])
        assert torch.equal(first.left.logits[name], kept.logits[name])
    for number, before in kept.optimizer["state"].items():
        assert torch.equal(first.left.optimizer["state"][number]["momentum_buffer"], before["momentum_buffer"])
