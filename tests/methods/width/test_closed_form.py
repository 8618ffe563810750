"""What ordered dropout learns where that is known exactly: truncated singular vectors, and which sampler orders what.

For a linear map A, inputs of covariance C and one hidden layer trained at all widths, the sub-network of every width k
is the best map of rank k:

    U_:k V_:k^T = (A C^(1/2))_k C^(-1/2)        (subscript: singular values cut off after k)

Source: the claim is of Horvath et al., "FjORD", NeurIPS 2021, section 3, for isotropic inputs; with a covariance it
follows from E |(A - M) x|^2 = |(A - M) C^(1/2)|_F^2 and Eckart-Young.
"""

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from paretorch.methods.width.ordered import OrderedModel
from paretorch.methods.width.samplers import Sampler, SingleLayer, Uniform
from tests.methods.width.handmade import perceptron_groups


def linear_net(*sizes: int, seed: int) -> OrderedModel:
    """Linear layers without biases, in float64, and their groups."""
    torch.manual_seed(seed)
    layers = [nn.Linear(a, b, bias=False, dtype=torch.float64) for a, b in pairwise(sizes)]
    for layer in layers:
        nn.init.orthogonal_(layer.weight)
    model = nn.Sequential()
    for number, layer in enumerate(layers):  # the groups are written for layers 0, 2, 4, ... with something between
        model.append(layer)
        if number < len(layers) - 1:
            model.append(nn.Identity())
    written = perceptron_groups(*sizes)
    axes = tuple(axis for axis in written.axes if axis.tensor.endswith("weight"))
    return OrderedModel(model, type(written)(written.groups, axes, written.sizes))


def rank(matrix: Tensor, k: int) -> Tensor:
    """The best approximation of rank k."""
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    return u[:, :k] * s[:k] @ v[:k]


def test_all_widths_of_a_hidden_layer_become_the_best_maps_of_their_rank() -> None:
    inputs, outputs = 7, 5
    ordered = linear_net(inputs, outputs, outputs, seed=1)
    mixing = torch.randn(inputs, inputs, dtype=torch.float64) / inputs**0.5 + torch.eye(inputs, dtype=torch.float64)
    values, vectors = torch.linalg.eigh(mixing @ mixing.T)
    root = vectors * values.sqrt() @ vectors.T  # C^(1/2), symmetric
    u, _, v = torch.linalg.svd(torch.randn(outputs, inputs, dtype=torch.float64), full_matrices=False)
    spread = u * torch.arange(outputs, 0, -1, dtype=torch.float64) @ v  # A C^(1/2), its singular values distinct
    target = spread @ torch.linalg.inv(root)

    def error(k: int) -> Tensor:
        """E |A x - f(x; k)|^2 exactly: the columns of C^(1/2) stand for the inputs."""
        with ordered.at((k,)) as model:
            return (model(root) - root @ target.T).square().sum()

    optimizer = torch.optim.LBFGS(
        ordered.model.parameters(), max_iter=4000, history_size=50, tolerance_grad=1e-12, tolerance_change=0,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def objective() -> Tensor:
        optimizer.zero_grad()
        total = sum((error(k) for k in range(1, outputs + 1)), torch.zeros((), dtype=torch.float64))
        total.backward()
        return total

    optimizer.step(objective)
    for k in range(1, outputs + 1):
        with ordered.at((k,)) as model:
            found = model(torch.eye(inputs, dtype=torch.float64)).detach().T
        expected = rank(spread, k) @ torch.linalg.inv(root)
        assert float((found - expected).norm()) < 1e-5, k


def excess(ordered: OrderedModel, target: Tensor, profile: tuple[int, ...]) -> float:
    """Squared error at `profile` above that of the best map of its narrowest rank, isotropic inputs."""
    size = len(target)
    with torch.no_grad(), ordered.at(profile) as model:
        found = model(torch.eye(size, dtype=torch.float64)).T
    best = (rank(target, min(profile)) - target).square().sum()
    return float((found - target).square().sum() - best)


def trained(sampler: Sampler, *, seed: int, hidden: int = 3, num_steps: int = 2000) -> tuple[OrderedModel, Tensor]:
    """A deep linear network and the map that it was trained on, with the exact loss of isotropic inputs."""
    size, peak = 8, 0.03
    ordered = linear_net(*[size] * (hidden + 2), seed=seed)
    u, _, v = torch.linalg.svd(torch.randn(size, size, dtype=torch.float64))
    target = u * torch.linspace(2, 0.5, size, dtype=torch.float64) @ v
    sampler.bind([range(1, size + 1)] * hidden, seed=seed)
    optimizer = torch.optim.Adam(ordered.model.parameters(), lr=peak)
    inputs = torch.eye(size, dtype=torch.float64)
    for step in range(num_steps):
        optimizer.param_groups[0]["lr"] = peak * (1 - step / num_steps)
        (profile,) = sampler.draw()
        with ordered.at(profile) as model:
            (model(inputs) - target.T).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return ordered, target


def single_cuts(ordered: OrderedModel, target: Tensor) -> float:
    """Mean excess over all profiles in which one layer is narrowed."""
    full = ordered.groups.full
    cuts = [(*full[:g], k, *full[g + 1 :]) for g in range(len(full)) for k in range(1, full[g])]
    return sum(excess(ordered, target, profile) for profile in cuts) / len(cuts)


def joint_cuts(ordered: OrderedModel, target: Tensor) -> float:
    """Mean excess over all profiles in which all layers have one width."""
    full = ordered.groups.full
    return sum(excess(ordered, target, (k,) * len(full)) for k in range(1, full[0])) / (full[0] - 1)


@pytest.mark.slow
def test_each_sampler_orders_best_what_it_samples() -> None:
    """A solution that is best at every profile exists (balanced factors), so that the gaps are of the optimisation."""
    found = {kind: [trained(kind(), seed=seed) for seed in range(3)] for kind in (SingleLayer, Uniform)}
    single = {kind: sum(single_cuts(*made) for made in runs) / 3 for kind, runs in found.items()}
    joint = {kind: sum(joint_cuts(*made) for made in runs) / 3 for kind, runs in found.items()}
    assert 10 * single[SingleLayer] < single[Uniform]
    assert 10 * joint[Uniform] < joint[SingleLayer]
