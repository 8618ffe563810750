"""Checks of what the cards of pruning, masks and batch-norm re-estimation promise."""

import copy

import torch
from torch import Tensor, nn
from torch.func import functional_call

from paretorch.methods.averaging.batchnorm import reestimate_batchnorm
from paretorch.methods.sparsity.magnitude import magnitude_masks
from paretorch.methods.sparsity.patterns import filter_masks, nm_masks
from tests.methods.invariants import invariant
from tests.methods.sparsity.masked_training import OPTIMIZERS, assert_exact_zeros, batch, model, random_masks, train
from tests.methods.sparsity.shapes import small_network


@invariant("magnitude", "exactly round(sparsity * N) weights are pruned")
def count_is_exact() -> None:
    network = small_network()
    total = sum(p.numel() for p in network.parameters() if p.dim() > 1)
    for sparsity in (0.0, 0.1, 1 / 3, 0.5, 0.9, 0.999):
        for allocation in ("global", "uniform", "erk", "lamp", "random"):
            assert magnitude_masks(network, sparsity=sparsity, allocation=allocation).num_pruned == round(
                sparsity * total
            )


@invariant("magnitude", "no kept weight is smaller than a pruned one of the same ranking")
def kept_are_largest() -> None:
    network = small_network()
    weights = {n: p.detach().abs() for n, p in network.named_parameters() if p.dim() > 1}
    masks = magnitude_masks(network, sparsity=0.6)
    kept = torch.cat([weights[n][mask] for n, mask in masks.items()])
    pruned = torch.cat([weights[n][~mask] for n, mask in masks.items()])
    assert kept.min() > pruned.max()
    for name, mask in magnitude_masks(network, sparsity=0.6, allocation="uniform").items():
        assert weights[name][mask].min() > weights[name][~mask].max()


@invariant("magnitude", "masks built on previous masks are nested")
def masks_are_nested() -> None:
    network = small_network()
    before = magnitude_masks(network, sparsity=0.3)
    with torch.no_grad():
        for name, mask in before.items():
            network.get_parameter(name)[~mask] = 100.0  # what was pruned is now largest
    after = magnitude_masks(network, sparsity=0.7, previous=before)
    assert after.is_subset_of(before)
    assert not magnitude_masks(network, sparsity=0.7).is_subset_of(before)


@invariant("magnitude", "equal magnitudes are pruned in the order of parameters and flat index")
def ties_go_to_the_lower_index() -> None:
    network = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(-0.5)
    masks = magnitude_masks(network, sparsity=14 / 18)
    flat = torch.cat([masks["0.weight"].flatten(), masks["1.weight"].flatten()])
    assert flat.tolist() == [False] * 14 + [True] * 4


def _groups(mask: Tensor, m: int) -> Tensor:
    """Groups of m along the inputs, which are dimension 1."""
    return mask.movedim(1, -1).reshape(-1, m)


@invariant("nm-pattern", "exactly n of every m weights are kept")
def groups_keep_n() -> None:
    network = small_network()
    for n, m in ((1, 4), (2, 4), (3, 8)):
        for mask in nm_masks(network, n=n, m=m, exclude=["0.weight"]).values():
            assert (_groups(mask, m).sum(dim=1) == n).all()


@invariant("nm-pattern", "equal magnitudes are pruned in index order")
def tied_groups_prune_from_the_left() -> None:
    network = nn.Sequential(nn.Linear(8, 3))
    with torch.no_grad():
        network[0].weight.fill_(2.0)
    assert nm_masks(network, n=1, m=4)["0.weight"].tolist() == [[False, False, False, True] * 2] * 3


@invariant("filter-norm", "exactly round(sparsity * F) filters are pruned")
def filter_count_is_exact() -> None:
    network = small_network()
    filters = sum(p.shape[0] for p in network.parameters() if p.dim() > 1)
    for sparsity in (0.0, 0.2, 0.5, 0.7):
        masks = filter_masks(network, sparsity=sparsity)
        lost = sum(int((~mask.flatten(1).any(dim=1)).sum()) for mask in masks.values())
        assert lost == round(sparsity * filters)


@invariant("filter-norm", "a filter is kept or pruned as a whole")
def filters_are_whole() -> None:
    for norm in ("l1", "l2"):
        for mask in filter_masks(small_network(), sparsity=0.4, norm=norm).values():
            rows = mask.flatten(1)
            assert torch.equal(rows.all(dim=1), rows.any(dim=1))


@invariant("masks", "pruned weights are +0.0 after every optimizer step")
def zeros_are_exact() -> None:
    for make in OPTIMIZERS.values():
        network = model()
        optimizer = make(list(network.parameters()))
        train(network, optimizer, range(2))
        masks = random_masks(network)
        with masks.attach(network, optimizer):
            for step in range(2, 6):
                train(network, optimizer, range(step, step + 1))
                assert_exact_zeros(network, masks)


@invariant("masks", "kept weights are bitwise those of the reparametrised model, with and without clipping")
def kept_weights_are_those_of_the_reparametrisation() -> None:
    for clip in (None, 0.5):
        masked, original = model(), model()
        optimizer, oracle = (OPTIMIZERS["adamw-foreach"](list(net.parameters())) for net in (masked, original))
        masks = random_masks(masked)
        with masks.attach(masked, optimizer):
            train(masked, optimizer, range(12), clip=clip)
        for step in range(12):
            x, y = batch(step)
            weights = {n: p * masks[n] if n in masks else p for n, p in original.named_parameters()}
            nn.functional.cross_entropy(functional_call(original, weights, (x,)), y).backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(original.parameters(), clip)
            oracle.step()
            oracle.zero_grad()
        for name, mask in masks.items():
            ours, theirs = (net.get_parameter(name).detach().view(torch.int32) for net in (masked, original))
            assert torch.equal(ours[mask], theirs[mask])


@invariant("masks", "state_dict keys, modules and forward pass are those of the dense model")
def nothing_is_reparametrised() -> None:
    network = model()
    before = copy.deepcopy(network)
    masks = random_masks(network)
    with masks.attach(network, torch.optim.SGD(network.parameters(), lr=0.1)):
        assert list(network.state_dict()) == list(before.state_dict())
        assert [type(m) for m in network.modules()] == [type(m) for m in before.modules()]
        masks.apply_(before)
        assert torch.equal(network(batch(0)[0]), before(batch(0)[0]))


def _normed() -> tuple[nn.Sequential, list[Tensor]]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(), nn.Flatten())
    with torch.no_grad():
        network[1].running_mean.fill_(9.0)
    return network, [torch.randn(n, 3, 6, 6) for n in (8, 8, 5)]


@invariant("bn-reestimate", "no parameter changes")
def parameters_stay() -> None:
    network, batches = _normed()
    before = {n: p.detach().clone() for n, p in network.named_parameters()}
    reestimate_batchnorm(network, batches)
    assert all(torch.equal(p, before[n]) for n, p in network.named_parameters())
    assert network[1].running_mean.max() < 9.0


@invariant("bn-reestimate", "running statistics are the means over batches of batch mean and unbiased batch variance")
def statistics_are_means_over_batches() -> None:
    network, batches = _normed()
    reestimate_batchnorm(network, batches)
    activations = [network[0](x).detach() for x in batches]
    means = torch.stack([a.mean(dim=(0, 2, 3)) for a in activations]).mean(dim=0)
    variances = torch.stack([a.transpose(0, 1).flatten(1).var(dim=1) for a in activations]).mean(dim=0)
    torch.testing.assert_close(network[1].running_mean, means)
    torch.testing.assert_close(network[1].running_var, variances)


@invariant("bn-reestimate", "train/eval modes, momentum and buffer dtypes are as before")
def modes_stay() -> None:
    network, batches = _normed()
    network[1].momentum = 0.3
    network.train()
    network[3].eval()
    before = [module.training for module in network.modules()]
    dtypes = {n: b.dtype for n, b in network.named_buffers()}
    reestimate_batchnorm(network, batches)
    assert [module.training for module in network.modules()] == before
    assert network[1].momentum == 0.3
    assert {n: b.dtype for n, b in network.named_buffers()} == dtypes


@invariant("bn-reestimate", "the same batches give the same statistics again")
def a_second_call_repeats_the_first() -> None:
    network, batches = _normed()
    reestimate_batchnorm(network, batches)
    first = copy.deepcopy(network.state_dict())
    reestimate_batchnorm(network, batches)
    assert all(torch.equal(value, first[name]) for name, value in network.state_dict().items())
