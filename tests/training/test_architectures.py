"""What holds for every network that ships: masks, counts, copies, artefacts, gradients."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import paretorch as pt
from paretorch.methods.sparsity.prunable import LAYER_TYPES, prunable_parameters
from tests.architectures import ARCHITECTURES, Architecture

every_architecture = pytest.mark.parametrize("case", ARCHITECTURES.values(), ids=ARCHITECTURES)


def unsettled(model: nn.Module) -> nn.Module:
    """The model with noise on every parameter, so that no zero and no one hides what it is multiplied with."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def step(model: nn.Module, optimizer: torch.optim.Optimizer, inputs: tuple[Tensor, ...]) -> None:
    optimizer.zero_grad()
    model(*inputs).square().mean().backward()
    optimizer.step()


@every_architecture
def test_examples_of_a_batch_get_outputs_of_the_stated_shape_and_do_not_see_each_other(case: Architecture) -> None:
    model, inputs = unsettled(case.build()).eval(), case.inputs()
    together = model(*inputs)
    assert together.shape == (2, *case.output)
    assert not torch.allclose(together[0], together[1])
    alone = torch.cat([model(*(part[i : i + 1] for part in inputs)) for i in range(2)])
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-5)


@every_architecture
def test_every_parameter_changes_the_output(case: Architecture) -> None:
    # In evaluation mode: a bias before a batch norm has no gradient while the batch's own mean is subtracted.
    model = unsettled(case.build()).eval()
    output = model(*case.inputs())
    (output * torch.randn_like(output)).sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@every_architecture
def test_masked_weights_stay_zero_and_the_others_learn(case: Architecture) -> None:
    model, inputs = unsettled(case.build()), case.inputs()
    layers = {id(m.weight) for m in model.modules() if isinstance(m, LAYER_TYPES)}
    tied = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    assert {id(p) for p in prunable_parameters(model).values()} == layers - tied
    masks = pt.magnitude_masks(model, sparsity=0.6, allocation="uniform")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    step(model, optimizer, inputs)  # leaves momentum on what is pruned next
    with masks.attach(model, optimizer):
        before = {name: model.get_parameter(name).detach().clone() for name in masks}
        for _ in range(3):
            step(model, optimizer, inputs)
    masks.check(model)
    for name, mask in masks.items():
        weight = model.get_parameter(name)
        assert torch.count_nonzero(weight) <= mask.sum()
        assert not weight.equal(before[name])


@every_architecture
def test_counted_products_are_half_of_torchs_operations_and_nothing_is_left_out(case: Architecture) -> None:
    model, inputs = case.build().eval(), case.inputs()
    cost = pt.measure(model, inputs, latency=False)
    # Torch's counter has no formula for the fused attention of the CPU; the unfused one is made of matrix products.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(*inputs)
    assert 2 * len(inputs[0]) * cost.macs_dense == counter.get_total_flops()
    assert cost.uncounted == ()
    assert cost.params == sum(parameter.numel() for parameter in model.parameters())


@every_architecture
def test_pruned_layers_lower_the_nonzero_products_and_not_the_dense_ones(case: Architecture) -> None:
    model, inputs = unsettled(case.build()), case.inputs()
    dense = pt.measure(model, inputs, latency=False)
    pt.magnitude_masks(model, sparsity=0.5, allocation="uniform").apply_(model)
    pruned = pt.measure(model, inputs, latency=False)
    assert pruned.macs_dense == dense.macs_dense == dense.macs_nonzero
    assert pruned.macs_nonzero < 0.8 * dense.macs_nonzero  # the rest: attention, and what a tied layer multiplies
    assert pruned.nonzeros < dense.nonzeros == dense.params


@every_architecture
def test_a_masked_model_that_was_saved_loads_by_its_name_with_the_same_bits(case: Architecture, tmp_path: Path) -> None:
    model, inputs = unsettled(case.build()), case.inputs()
    with torch.no_grad():
        model.train()(*inputs)  # moves running statistics
    masks = pt.magnitude_masks(model, sparsity=0.5)
    masks.apply_(model)
    model.eval()
    path = pt.save_model(
        tmp_path / "model",
        model,
        constructor=case.constructor,
        kwargs=case.kwargs,
        edits=[pt.MaskEdit(masks)],
        example_inputs=inputs,
    )
    loaded = pt.load_model(path)
    assert loaded(*inputs).equal(model(*inputs))
    masks.check(loaded)
    assert list(loaded.state_dict()) == list(model.state_dict())


@every_architecture
def test_copies_and_state_dicts_carry_everything_and_share_nothing(case: Architecture) -> None:
    model, inputs = unsettled(case.build()), case.inputs()
    with torch.no_grad():
        model.train()(*inputs)
    expected = model.eval()(*inputs)
    twin, other = copy.deepcopy(model), case.build().eval()
    other.load_state_dict(model.state_dict())
    assert twin(*inputs).equal(expected)
    assert other(*inputs).equal(expected)
    with torch.no_grad():
        for parameter in (*twin.parameters(), *other.parameters()):
            parameter.zero_()
    assert model(*inputs).equal(expected)


@pytest.mark.slow
@every_architecture
def test_exported_programs_give_the_same_outputs(case: Architecture) -> None:
    model, inputs = unsettled(case.build()).eval(), case.inputs()
    exported = torch.export.export(model, inputs).module()
    torch.testing.assert_close(exported(*inputs), model(*inputs), rtol=1e-6, atol=1e-6)
