"""The hierarchical penalty by its formula, and a training run in which ranks are cut and resumed."""

import copy
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.methods.method import Method
from paretorch.methods.rank.factored import factored_layers
from paretorch.methods.rank.factorize import factorise_
from paretorch.methods.rank.groups import rank_groups
from paretorch.methods.rank.lasso import RankLasso, hierarchical_lasso, rank_importance, tail_norms
from paretorch.methods.width.elastic import ElasticTraining
from paretorch.methods.width.ordered import OrderedModel
from paretorch.methods.width.samplers import SingleLayer
from paretorch.training.data import ArrayExamples
from paretorch.training.run import RunDirectory
from paretorch.training.supervised import SupervisedTask
from paretorch.training.trainer import Trainer
from tests.methods.rank.layers import network
from tests.training.problems import plain


def test_a_tail_norm_is_the_norm_of_all_later_ranks():
    ranks = torch.randn(5, 3, 2, dtype=torch.float64)
    expected = [float(ranks[start:].norm()) for start in range(5)]
    assert tail_norms(ranks).tolist() == pytest.approx(expected, rel=1e-12)


def test_the_penalty_is_the_sum_of_the_tail_norms_of_both_factors():
    model, _ = network()
    factorise_(model)
    expected = sum(
        layer.up.weight[:, start:].norm() + layer.down.weight[start:].norm()
        for layer in factored_layers(model).values()
        for start in range(layer.rank)
    )
    assert float(hierarchical_lasso(factored_layers(model)).detach()) == pytest.approx(float(expected.detach()))


def test_the_gradient_is_finite_where_a_tail_is_zero():
    model, _ = network()
    factorise_(model)
    layer = factored_layers(model)["0"]
    with torch.no_grad():
        layer.up.weight[:, 2:] = 0
        layer.down.weight.zero_()
    hierarchical_lasso(factored_layers(model)).backward()
    gradients = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    assert torch.isfinite(gradients).all()
    assert not layer.up.weight.grad[:, 2:].any(), "at zero, the middle of the subdifferential"


def test_after_factoring_the_importance_of_a_rank_is_the_sum_of_the_singular_values_from_it_on():
    """|tail of P sqrt(S)|^2 = sum of the tail of S, and the same for the other factor."""
    model, _ = network()
    singular = torch.linalg.svdvals(model[3].weight.detach().flatten(1))
    factorise_(model)
    found = rank_importance(factored_layers(model)["3"])
    torch.testing.assert_close(found, singular.flip(0).cumsum(0).flip(0), rtol=1e-10, atol=0)


class LowRank(nn.Module):
    """A linear map whose ranks are more than its targets need."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(6, 5)
        factorise_(self)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.map(inputs)


def low_rank_task() -> SupervisedTask:
    """Targets that a map of rank 2 gives exactly."""
    stream = torch.Generator().manual_seed(3)
    inputs = torch.randn(64, 6, generator=stream)
    matrix = torch.randn(5, 2, generator=stream) @ torch.randn(2, 6, generator=stream)
    examples = ArrayExamples(inputs=inputs, targets=inputs @ matrix.T)
    return SupervisedTask(LowRank, train=examples, evaluation=examples, test=examples, loss="mse")


def trained(method: RankLasso, folder: Path | None, **settings: Any) -> nn.Module:
    return trained_by([method], folder, **settings)


def trained_by(
    methods: Sequence[Method], folder: Path | None, *, num_steps: int, stop_at: int | None = None
) -> nn.Module:
    directory = None if folder is None else RunDirectory(folder, recipe="", resume=True)
    try:
        settings = plain(16, lr=0.05, momentum=0.9, checkpoint_seconds=0)
        trainer = Trainer(low_rank_task(), settings, directory=directory)
        model = trainer.model()
        schedule = partial(_stopping, stop_at=stop_at)
        trainer.fit(model, phase="dense", num_steps=num_steps, methods=methods, schedule=schedule)
        return model
    finally:
        if directory is not None:
            directory.close()


def _stopping(step: int, *, stop_at: int | None) -> float:
    if step == stop_at:
        raise RuntimeError("killed")
    return 0.05


@pytest.mark.slow
def test_training_with_the_penalty_leaves_the_ranks_that_the_task_has():
    method = RankLasso(strength=0.006, threshold=0.05)
    model = trained(method, None, num_steps=600)
    assert model.map.rank == 2
    assert (model.map.down.out_features, model.map.up.in_features) == (2, 2)
    examples = low_rank_task().eval_set()
    batch = examples.batch(torch.arange(len(examples)))
    with torch.no_grad():
        left = (model(batch["inputs"]) - batch["targets"]).square().mean()
    assert float(left) < 0.01 * float(batch["targets"].square().mean())


def test_killed_after_a_cut_and_resumed_the_weights_are_bitwise_the_same(tmp_path: Path):
    kwargs: dict[str, Any] = {"num_steps": 240}
    whole = trained(RankLasso(strength=0.01, threshold=0.3), None, **kwargs)
    with pytest.raises(RuntimeError, match="killed"):
        trained(RankLasso(strength=0.01, threshold=0.3), tmp_path / "run", stop_at=230, **kwargs)
    with RunDirectory(tmp_path / "run", recipe="", resume=True) as directory:
        saved = directory.load("current")["state"]
    assert saved["methods"]["rank-lasso"]["ranks"]["map"] == whole.map.rank < 5, "it was cut before it was killed"
    momentum = saved["optimizers"]["main"]["state"]
    assert sorted(tuple(entry["momentum_buffer"].shape) for entry in momentum.values()) == sorted(
        tuple(p.shape) for p in whole.parameters()
    )
    resumed = trained(RankLasso(strength=0.01, threshold=0.3), tmp_path / "run", **kwargs)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_a_threshold_above_everything_leaves_one_rank():
    model = trained(RankLasso(strength=1e-6, threshold=1e6), None, num_steps=4)
    assert model.map.rank == 1


@pytest.mark.parametrize(("strength", "threshold"), [(0.0, 0.1), (-1.0, 0.1), (math.nan, 0.1), (0.1, -1e-9)])
def test_a_strength_that_is_not_positive_or_a_negative_threshold_is_refused(strength: float, threshold: float):
    with pytest.raises(InputError, match="strength must be positive and threshold not negative"):
        RankLasso(strength=strength, threshold=threshold)


def test_a_model_without_factored_layers_is_refused_at_the_start():
    with pytest.raises(InputError, match="call factorise_ before training"):
        Trainer(low_rank_task(), plain(16)).fit(
            nn.Linear(6, 5), phase="dense", num_steps=1, methods=[RankLasso(strength=1.0)]
        )


def maestro(**settings: Any) -> tuple[ElasticTraining, RankLasso]:
    model = low_rank_task().model()
    elastic = ElasticTraining(groups=rank_groups(model, torch.ones(1, 6)), quantum=1, min_ratio=0.2)
    return elastic, RankLasso(elastic=elastic, **settings)


@pytest.mark.slow
def test_maestro_trains_one_rank_of_one_layer_per_step_and_cuts_what_the_penalty_emptied():
    methods = maestro(strength=0.006, threshold=0.05)
    model = trained_by(methods, None, num_steps=600)
    assert model.map.rank == 2
    assert methods[0].groups.full == (2,)
    assert methods[0].sampler.centre == (2,)


def test_a_step_of_maestro_adds_the_gradient_of_the_penalty_to_that_of_its_pass():
    elastic, lasso = maestro(strength=0.3, threshold=0.0)
    trainer = Trainer(low_rank_task(), plain(64, lr=1.0))  # one batch holds all examples
    model = trainer.model()
    twin = copy.deepcopy(model)
    trainer.fit(model, phase="dense", num_steps=1, methods=[elastic, lasso])
    (profile,) = SingleLayer().bind(elastic.sampler.grids, seed=elastic.sampler.seed).draw()
    examples = low_rank_task().train_set()
    with OrderedModel(twin, elastic.groups).at(profile):
        low_rank_task().loss(twin, examples.batch(torch.arange(64))).backward()
    (0.3 * hierarchical_lasso(factored_layers(twin))).backward()
    for name, p in twin.named_parameters():
        torch.testing.assert_close(model.get_parameter(name).detach(), (p - p.grad).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_maestro_killed_after_a_cut_and_resumed_is_bitwise_the_same(tmp_path: Path):
    settings: dict[str, Any] = {"strength": 0.01, "threshold": 0.3}
    whole = trained_by(maestro(**settings), None, num_steps=160)
    with pytest.raises(RuntimeError, match="killed"):
        trained_by(maestro(**settings), tmp_path / "run", num_steps=160, stop_at=150)
    resumed = trained_by(maestro(**settings), tmp_path / "run", num_steps=160)
    assert whole.map.rank < 5
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_an_elastic_method_that_comes_later_or_knows_no_ranks_is_refused():
    elastic, lasso = maestro(strength=0.1)
    with pytest.raises(InputError, match=r"the ranks of \['map'\] are no width groups of 'elastic-training'"):
        trained_by((lasso, elastic), None, num_steps=1)
