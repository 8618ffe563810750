"""What goes wrong with masks elsewhere must not go wrong here: copies, compilers, export, averages, files, processes.

The traps are those measured on torch.nn.utils.prune and on masks kept by gradient hooks alone: doubled state dicts,
failing deepcopy, products left in exported graphs, zeros lost to old momentum.
"""

import copy
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim import SGD, AdamW
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from paretorch.errors import InputError
from paretorch.methods.sparsity.binding import bind
from paretorch.methods.sparsity.masks import Masks

WORKER = Path(__file__).with_name("distributed_worker.py")
spec = importlib.util.spec_from_file_location("distributed_worker", WORKER)
assert spec is not None
assert spec.loader is not None
worker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(worker)

needs_compiler = pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None, reason="torch.compile on a CPU needs a C++ compiler (g++)"
)


def masked(optimizer_type=SGD, **settings) -> tuple[nn.Module, torch.optim.Optimizer, Masks]:
    """A model after two dense steps, with masks attached."""
    net = worker.model()
    optimizer = optimizer_type(net.parameters(), lr=0.05, **settings)
    worker.train(net, optimizer, range(2), slice(None))
    masks = worker.masks_of(net)
    masks.attach(net, optimizer)
    return net, optimizer, masks


def test_state_dict_is_not_doubled_and_no_name_changes():
    dense, (net, _, _) = worker.model(), masked()
    shapes = {name: value.shape for name, value in net.state_dict().items()}
    assert shapes == {name: value.shape for name, value in dense.state_dict().items()}
    assert [name for name, _ in net.named_parameters()] == [name for name, _ in dense.named_parameters()]
    assert not list(net.buffers())


def test_nothing_is_added_to_the_forward_pass():
    dense, (net, _, _) = worker.model(), masked()
    assert [(name, type(m)) for name, m in net.named_modules()] == [(n, type(m)) for n, m in dense.named_modules()]
    for module in net.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._backward_hooks
        assert not torch.nn.utils.parametrize.is_parametrized(module)
        assert all(type(parameter) is nn.Parameter for parameter in module.parameters())


def test_a_forward_in_grad_mode_then_deepcopy_gives_a_plain_and_independent_model():
    net, _, masks = masked()
    net(worker.batch(0)[0]).sum().backward()
    twin = copy.deepcopy(net)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), twin.parameters(), strict=True))
    assert not any(p._post_accumulate_grad_hooks for p in twin.parameters())
    masks.check(twin)
    optimizer = SGD(twin.parameters(), lr=0.05)
    worker.train(twin, optimizer, range(1), slice(None))
    assert masks.violations(twin)  # the copy is free: nothing holds its zeros
    masks.check(net)
    masks.attach(twin, optimizer)  # and may be masked on its own
    worker.train(twin, optimizer, range(1), slice(None))
    masks.check(twin)


@pytest.mark.parametrize(
    ("optimizer_type", "settings"), [(SGD, {"momentum": 0.9}), (AdamW, {}), (AdamW, {"weight_decay": 0.1})]
)
def test_old_momentum_revives_no_weight_pruned_in_mid_training(optimizer_type, settings):
    net, optimizer, masks = masked(optimizer_type, **settings)
    loose = copy.deepcopy(net)  # the same zeros, with gradients masked but without projection and purged state
    loose_optimizer = optimizer_type(loose.parameters(), lr=0.05, **settings)
    fresh = worker.model()
    history = optimizer_type(fresh.parameters(), lr=0.05, **settings)
    worker.train(fresh, history, range(2), slice(None))
    loose_optimizer.load_state_dict(history.state_dict())
    nn.functional.cross_entropy(loose(worker.batch(2)[0]), worker.batch(2)[1]).backward()
    masks.mask_gradients_(loose)
    loose_optimizer.step()
    assert sum(masks.violations(loose).values()) > 0.9 * masks.num_pruned  # the trap is real
    worker.train(net, optimizer, range(2, 6), slice(None))
    assert masks.violations(net) == {}


def test_exported_graph_of_a_masked_model_holds_no_product_for_the_masks():
    net, _, _ = masked()
    program = torch.export.export(net, (worker.batch(0)[0],))
    targets = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert targets == ["aten.linear.default", "aten.tanh.default", "aten.linear.default"]
    assert set(program.state_dict) == set(net.state_dict())


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=[pytest.mark.slow, needs_compiler])])
def test_a_compiled_model_trains_in_one_graph_and_keeps_its_zeros(backend):
    net = worker.model()
    compiled = torch.compile(net, fullgraph=True, backend=backend)
    optimizer = SGD(compiled.parameters(), lr=0.05, momentum=0.9)
    worker.train(compiled, optimizer, range(2), slice(None))
    masks = Masks({f"_orig_mod.{name}": mask for name, mask in worker.masks_of(net).items()})
    assert list(masks) == ["0.weight", "2.weight"]
    masks.attach(compiled, optimizer)
    worker.train(compiled, optimizer, range(2, 5), slice(None))
    masks.check(compiled)
    masks.check(net)
    eager, eager_optimizer, _ = masked(momentum=0.9)
    worker.train(eager, eager_optimizer, range(2, 5), slice(None))
    for a, b in zip(net.parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)  # fused kernels may round differently


def test_a_compiled_layer_inside_a_model_is_found_under_its_plain_name():
    net, plain = worker.model(), worker.model()
    net[2] = torch.compile(net[2], backend="eager")
    worker.masks_of(plain).apply_(net)
    assert "2._orig_mod.weight" in dict(net.named_parameters())
    assert worker.masks_of(plain).violations(net) == {}
    assert bool((net[2].weight == 0).any())


def test_an_exponential_moving_average_of_masked_weights_has_the_same_exact_zeros():
    net, optimizer, masks = masked(AdamW)
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for step in range(2, 8):
        worker.train(net, optimizer, range(step, step + 1), slice(None))
        average.update_parameters(net)
    assert masks.violations(average) == {}
    for name, mask in masks.items():
        weight = average.module.get_parameter(name)
        assert not weight.detach().view(torch.int32)[~mask].any()
        assert not torch.equal(weight, net.get_parameter(name))


def test_weights_and_masks_survive_a_safetensors_round_trip_and_training_goes_on(tmp_path):
    net, optimizer, masks = masked()
    worker.train(net, optimizer, range(2, 4), slice(None))
    save_file(net.state_dict(), tmp_path / "model.safetensors")
    save_file(masks.state_dict(), tmp_path / "masks.safetensors")
    again = worker.model()
    again.load_state_dict(load_file(tmp_path / "model.safetensors"))
    loaded = Masks.from_state_dict(load_file(tmp_path / "masks.safetensors"))
    assert loaded == masks
    assert loaded.hash() == masks.hash()
    loaded.check(again)
    for resumed, by in ((net, optimizer), (again, SGD(again.parameters(), lr=0.05))):
        if resumed is again:
            loaded.attach(again, by)
        worker.train(resumed, by, range(4, 6), slice(None))
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))


def test_weights_loaded_into_a_masked_model_are_zeroed_at_the_next_step_and_seen_before():
    net, optimizer, masks = masked()
    net.load_state_dict(worker.model().state_dict())
    assert sum(masks.violations(net).values()) == masks.num_pruned
    worker.train(net, optimizer, range(1), slice(None))
    masks.check(net)


def test_a_model_cast_to_double_after_attaching_keeps_its_masks():
    net, optimizer, masks = masked()
    net.double()
    x, y = worker.batch(3)
    nn.functional.cross_entropy(net(x.double()), y).backward()
    optimizer.step()
    assert net[0].weight.dtype == torch.float64
    masks.check(net)


def test_a_mask_follows_the_values_it_meets_to_their_device():
    net = worker.model()
    binding = bind(net, worker.masks_of(net))[0]
    assert binding.placed.device.type == "cpu"
    binding.zero_(torch.ones(9, 6, device="meta"))  # would raise if the mask stayed behind
    assert binding.placed.device.type == "meta"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_model_moved_to_the_gpu_after_attaching_keeps_exact_zeros():
    net = worker.model()
    optimizer = SGD(net.parameters(), lr=0.05, momentum=0.9)
    masks = worker.masks_of(net)
    masks.attach(net, optimizer)
    net.cuda()
    for step in range(3):
        x, y = worker.batch(step)
        nn.functional.cross_entropy(net(x.cuda()), y.cuda()).backward()
        optimizer.step()
    assert net[0].weight.is_cuda
    assert masks.violations(net) == {}


@pytest.mark.filterwarnings("ignore:Using backward.. with create_graph=True")
def test_a_gradient_that_is_differentiated_again_can_be_masked():
    net, _, masks = masked()
    net(worker.batch(0)[0]).square().sum().backward(create_graph=True)
    gradient = net[0].weight.grad
    assert not gradient[~masks["0.weight"]].any()
    assert gradient[masks["0.weight"]].all()
    for parameter in net.parameters():
        parameter.grad = None  # a gradient that holds its own graph would keep the model alive in a cycle


def in_two_processes(kind: str, folder: Path) -> list[dict[str, torch.Tensor]]:
    environment = dict(os.environ, OMP_NUM_THREADS="1", GLOO_SOCKET_IFNAME="lo")
    outputs = [folder / f"{rank}.safetensors" for rank in range(worker.WORLD_SIZE)]
    processes = [
        subprocess.Popen(
            [sys.executable, str(WORKER), kind, str(rank), str(folder / "rendezvous"), str(output)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, output in enumerate(outputs)
    ]
    try:
        errors = [process.communicate(timeout=180)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert all(process.returncode == 0 for process in processes), "\n".join(errors)
    return [load_file(output) for output in outputs]


@pytest.mark.skipif(sys.platform != "linux", reason="the loopback device is named for Linux")
@pytest.mark.parametrize("kind", ["ddp", pytest.param("fsdp", marks=pytest.mark.slow)])
def test_two_processes_hold_the_same_weights_and_clip_alike_and_match_one_process(kind, tmp_path):
    first, second = in_two_processes(kind, tmp_path)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    net = worker.model()
    masks = worker.masks_of(net)
    for name, mask in masks.items():
        assert not first[name].view(torch.int32)[~mask].any()
        assert first[name][mask].any()
    optimizer = worker.optimizer_of(net)
    norms = worker.train(net, optimizer, range(worker.STEPS), slice(None))
    masks.attach(net, optimizer)
    norms += worker.train(net, optimizer, range(worker.STEPS, 2 * worker.STEPS), slice(None))
    # The mean of two half-batch means is the mean of the batch up to rounding.
    torch.testing.assert_close(first["norms"], torch.stack(norms), rtol=1e-4, atol=1e-6)
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(first[name], parameter.detach(), rtol=1e-4, atol=1e-5)
    last_rows = masks["2.weight"][2:] if kind == "fsdp" else masks["2.weight"]  # process 1 holds row 2 of 3
    assert first["violations"].tolist() == [0, int((~last_rows).sum())]


@pytest.mark.slow
def test_a_parameter_sharded_for_tensor_parallelism_in_an_unknown_way_is_refused(tmp_path):
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Partial

    dist.init_process_group("gloo", init_method=(tmp_path / "one").as_uri(), rank=0, world_size=1)
    try:
        net = nn.Sequential(nn.Linear(3, 2, bias=False))
        mesh = init_device_mesh("cpu", (1,))
        net[0].weight = nn.Parameter(DTensor.from_local(net[0].weight.detach(), mesh, [Partial()]))
        with pytest.raises(InputError, match=r"sharded with \[Partial\(sum\)\]"):
            Masks({"0.weight": torch.ones(2, 3, dtype=torch.bool)}).apply_(net)
    finally:
        dist.destroy_process_group()
