"""The grid-paths task: distances against graph search, and a network of one layer repeated that solves every grid."""

import numpy as np
import pytest
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import shortest_path
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.methods.sharing.tied import tie_by_name_
from paretorch.training.data import ArrayExamples
from paretorch.training.models.grid_net import GridNet
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.tasks.grids.drawing import distances, draw_grids
from paretorch.training.tasks.grids.grid_paths import GridPaths
from paretorch.training.tasks.registry import make_task
from paretorch.training.trainer import Trainer

SMALL = {"size": 5, "test_size": 8, "reach": 7, "layers": 7, "channels": 4, "num_examples": 200}


@pytest.fixture(scope="module")
def task() -> GridPaths:
    return GridPaths(**SMALL)


def by_graph_search(free: Tensor, start: Tensor) -> Tensor:
    """Distances in the graph whose edges join free cells that touch; -1 for infinity."""
    height, width = free.shape
    cell = np.arange(height * width).reshape(height, width)
    pairs = [(cell[:, :-1], cell[:, 1:]), (cell[:-1], cell[1:])]
    ends = np.concatenate([np.stack([a.ravel(), b.ravel()]) for a, b in pairs], axis=1)
    ends = ends[:, free.numpy().ravel()[ends].all(axis=0)]
    graph = coo_array((np.ones(ends.shape[1]), (ends[0], ends[1])), shape=(cell.size, cell.size))
    found = shortest_path(graph.tocsr(), directed=False, unweighted=True, indices=int(start.flatten().int().argmax()))
    return torch.from_numpy(np.where(np.isinf(found), -1, found)).long().view(height, width)


@pytest.mark.parametrize(("height", "width", "obstacles"), [(1, 9, 0.2), (6, 6, 0.4), (9, 5, 0.3), (12, 12, 0.45)])
def test_distances_are_those_of_a_graph_search(height: int, width: int, obstacles: float) -> None:
    stream = torch.Generator().manual_seed(height)
    start = torch.zeros(40, height * width, dtype=torch.bool)
    start[torch.arange(40), torch.randint(height * width, (40,), generator=stream)] = True
    start = start.view(40, height, width)
    free = (torch.rand(40, height, width, generator=stream) >= obstacles) | start
    for found, *grid in zip(distances(free, start), free, start, strict=True):
        assert torch.equal(found, by_graph_search(*grid))


def test_a_path_goes_around_obstacles_and_not_across_corners() -> None:
    free = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 0]]).bool()
    start = torch.zeros(3, 3, dtype=torch.bool)
    start[1, 0] = True
    assert distances(free[None], start[None])[0].tolist() == [[1, 2, 3], [0, -1, 4], [-1, -1, -1]]
    assert distances(free[None], start[None], limit=2)[0].tolist() == [[1, 2, -1], [0, -1, -1], [-1, -1, -1]]


def test_drawn_grids_are_within_reach_and_their_start_is_free_and_anywhere() -> None:
    free, start, steps = draw_grids(500, size=6, obstacles=0.4, reach=5, generator=torch.Generator().manual_seed(3))
    assert free.shape == start.shape == steps.shape == (500, 6, 6)
    assert int(steps.max()) == 5
    assert torch.equal(start.flatten(1).sum(1), torch.ones(500, dtype=torch.long))
    assert torch.equal(steps, distances(free, start))
    assert bool(start.any(0).all())
    assert float((~free).float().mean()) > 0.35


def test_grids_of_which_hardly_any_is_within_reach_are_refused() -> None:
    with pytest.raises(InputError, match=r"20 x 20 cells with 0.05 obstacles, 0 have .* within 3 steps; 50 are wanted"):
        draw_grids(50, size=20, obstacles=0.05, reach=3, generator=torch.Generator())


def test_grids_are_the_same_for_every_run_and_none_is_in_two_parts(task: GridPaths) -> None:
    again = GridPaths(**SMALL)
    assert torch.equal(task.train_set().tensors["inputs"], again.train_set().tensors["inputs"])
    train, evaluation, test = task.train_set(), task.eval_set(), task.test_set()
    assert [len(part) for part in (train, evaluation, test)] == [200, 50, 50]
    assert train.tensors["inputs"].shape == (200, 2, 5, 5)
    assert test.tensors["inputs"].shape == (50, 2, 8, 8)
    seen = {grid.numpy().tobytes() for grid in train.tensors["inputs"]}
    held = [grid.numpy().tobytes() for grid in evaluation.tensors["inputs"]]
    assert sum(grid in seen for grid in held) <= 1  # a start between obstacles on a grid of 5 x 5 may come twice


def test_only_free_cells_other_than_the_start_are_asked_for(task: GridPaths) -> None:
    found = task.test_set().tensors
    obstacles, start = found["inputs"].bool().unbind(1)
    assert torch.equal(found["asked"], ~obstacles & ~start)
    assert bool((found["targets"][obstacles] == 0).all())
    assert torch.equal(found["targets"] > 0, found["steps"] >= 0)


class Constant(nn.Module):
    """The same logit for every cell."""

    def __init__(self, logit: float) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.tensor(logit))

    def forward(self, grids: Tensor) -> Tensor:
        return self.logit.expand(len(grids), *grids.shape[2:])


def test_loss_and_metrics_of_one_answer_for_all_cells_follow_from_counts(task: GridPaths) -> None:
    trainer = Trainer(task, TrainSettings(batch_size=20, device="cpu"))
    found = task.test_set().tensors
    asked, right = found["asked"], (found["targets"] > 0) & found["asked"]
    metrics = trainer.evaluate(Constant(2.0), task.test_set())
    assert metrics["accuracy"] == pytest.approx(int(right.sum()) / int(asked.sum()))
    assert metrics["solved"] == pytest.approx(float((right == asked).flatten(1).all(1).float().mean()))
    batch = task.test_set().batch(torch.arange(50))
    share = right.sum((1, 2)) / asked.sum((1, 2)).clamp(min=1)
    sigmoid = torch.tensor(2.0).sigmoid()
    expected = -(share * sigmoid.log() + (1 - share) * (1 - sigmoid).log()) * (asked.sum((1, 2)) > 0)
    assert torch.allclose(task.loss(Constant(2.0), batch, "none"), expected, atol=1e-6)
    assert torch.allclose(task.loss(Constant(2.0), batch), expected.mean(), atol=1e-6)


def test_the_reference_is_chosen_on_training_grids_also_where_larger_ones_have_another_answer_more_often(
    task: GridPaths,
) -> None:
    trainer = Trainer(task, TrainSettings(batch_size=20, device="cpu"))
    small = trainer.evaluate(Constant(2.0), task.train_set())["accuracy"]
    large = trainer.evaluate(Constant(2.0), task.test_set())["accuracy"]
    assert large < 0.5 < small
    assert task.references() == {"commonest answer": pytest.approx(large)}


def flood(layers: int) -> GridNet:
    """A network of two channels, what is reached and obstacles, whose layers are one layer: the step of the search."""
    model = GridNet(channels=2, layers=layers).eval()
    tie_by_name_(model, [[f"layers.{number}" for number in range(layers)]], scaled=())
    with torch.no_grad():
        nn.init.zeros_(model.stem.weight)
        model.stem.weight[0, 1, 1, 1] = model.stem.weight[1, 0, 1, 1] = 1  # reached: the start
        step = model.get_parameter("layers.0.weight").zero_()
        step[0, 0] = torch.tensor([[0, 1, 0], [1, 1, 1], [0, 1, 0]])
        step[0, 1, 1, 1] = -1e12  # more than 6 ** layers
        model.head.weight.copy_(torch.tensor([1.0, 0.0]).view(1, 2, 1, 1))
        nn.init.constant_(model.get_parameter("head.bias"), -0.5)
    return model


def test_one_layer_as_often_as_grids_reach_solves_small_and_large_grids(task: GridPaths) -> None:
    trainer = Trainer(task, TrainSettings(batch_size=20, device="cpu"))
    for examples in (task.train_set(), task.test_set(), task.grids("test", size=14, count=20)):
        assert trainer.evaluate(flood(7), examples) == {"accuracy": 1.0, "solved": 1.0}


def test_with_one_layer_less_exactly_the_farthest_cells_are_missed(task: GridPaths) -> None:
    found = task.test_set().tensors
    answers = flood(6)(found["inputs"]) > 0
    wrong = found["asked"] & (answers != (found["targets"] > 0))
    assert int(wrong.sum()) > 0
    assert torch.equal(wrong, found["steps"] == 7)


def test_a_cells_answer_depends_on_cells_as_far_as_there_are_layers_and_one_more() -> None:
    torch.manual_seed(0)
    model = GridNet(channels=3, layers=2).eval()
    grid = torch.rand(1, 2, 11, 11, requires_grad=True)
    model(grid)[0, 5, 5].backward()
    assert grid.grad is not None
    felt = grid.grad.abs().sum((0, 1)) > 0
    assert bool(felt[2:9, 2:9].any())
    assert torch.equal(felt.nonzero().amin(0), torch.tensor([2, 2]))
    assert torch.equal(felt.nonzero().amax(0), torch.tensor([8, 8]))


def test_a_network_learns_more_than_the_commonest_answer() -> None:
    task = make_task("grid-paths", options={**SMALL, "size": 4, "reach": 4, "layers": 4})
    optimizer = OptimizerSpec(name="adam", lr=0.03)
    trainer = Trainer(task, TrainSettings(batch_size=50, optimizer=optimizer, device="cpu", evaluate_epochs=100))
    model = trainer.model()
    found = trainer.fit(model, phase="dense", num_steps=60).validation["accuracy"]
    train = task.train_set()
    assert isinstance(train, ArrayExamples)
    share = float(train.tensors["targets"][train.tensors["asked"]].mean())
    assert found > max(share, 1 - share) + 0.05
    assert task.constructor() == (
        "paretorch.training.models.grid_net:GridNet",
        {"inputs": 2, "channels": 4, "layers": 4},
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 1}, "sides of at least 2 cells"),
        ({"num_examples": 3}, "4 examples"),
        ({"obstacles": 1.0}, r"obstacles in \(0, 1\); got 6, 10, 4000, 12, 1.0"),
        ({"obstacles": 0.999, "size": 2, "num_examples": 8}, "with 0.999 obstacles a set of grids has no free cell"),
        ({"layers": 9, "reach": 10}, "9 layers do not see cells 10 steps away"),
        ({"channels": 0}, "must be at least 1; got 2, 0 and 12"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_task("grid-paths", options=options)
