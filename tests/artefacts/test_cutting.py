"""A cut model computes what the uncut one computes with the same channels set to zero."""

import copy
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from paretorch.artefacts.cut_edit import CutEdit, cut_pair, cut_parameters
from paretorch.artefacts.cutting import plan_cut
from paretorch.errors import InputError
from paretorch.measurement.macs import count_macs


def mlp() -> tuple[nn.Module, CutEdit, Tensor]:
    model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3))
    return model, CutEdit(producer="0", consumer="3", keep=(0, 3, 4, 7), norms=("1",)), torch.randn(4, 5)


def convolutions() -> tuple[nn.Module, CutEdit, Tensor]:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 4, 3, bias=False)
    )
    return model, CutEdit(producer="0", consumer="4", keep=(1, 2, 6), norms=("1",)), torch.randn(2, 3, 8, 8)


def flattened() -> tuple[nn.Module, CutEdit, Tensor]:
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.GELU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(6 * 3 * 2, 5)
    )
    return model, CutEdit(producer="0", consumer="5", keep=(0, 5), norms=("1",)), torch.randn(3, 1, 8, 6)


def pooled() -> tuple[nn.Module, CutEdit, Tensor]:
    model = nn.Sequential(
        nn.Conv1d(2, 6, 3), nn.BatchNorm1d(6, affine=False, track_running_stats=False), nn.Flatten(), nn.Linear(24, 2)
    )
    return model, CutEdit(producer="0", consumer="3", keep=(2,), norms=("1",)), torch.randn(3, 2, 6)


def two_norms_3d() -> tuple[nn.Module, CutEdit, Tensor]:
    model = nn.Sequential(nn.Conv3d(1, 4, 2), nn.BatchNorm3d(4), nn.ReLU(), nn.BatchNorm3d(4), nn.Conv3d(4, 2, 1))
    return model, CutEdit(producer="0", consumer="4", keep=(0, 1, 3), norms=("1", "3")), torch.randn(2, 1, 3, 3, 3)


CASES = [mlp, convolutions, flattened, pooled, two_norms_3d]


def settle(model: nn.Module, inputs: Tensor) -> nn.Module:
    """Give biases, affine parameters and running statistics values that show when they are mixed up."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) / 2)
        model.train()
        model(inputs)
    return model.eval()


def zero_channels(model: nn.Module, names: Sequence[str], keep: Sequence[int]) -> None:
    for name in names:
        for parameter in model.get_submodule(name).parameters(recurse=False):
            removed = [c for c in range(parameter.shape[0]) if c not in keep]
            with torch.no_grad():
                parameter[removed] = 0


@pytest.mark.parametrize("case", CASES)
def test_a_cut_model_gives_the_outputs_of_the_model_with_these_channels_zeroed(case) -> None:
    model, edit, inputs = case()
    settle(model, inputs)
    zero_channels(model, [edit.producer, *edit.norms], edit.keep)
    before, macs = model(inputs), count_macs(model, inputs).dense
    cut_pair(model, edit)
    torch.testing.assert_close(model(inputs), before, rtol=1e-6, atol=1e-6)
    assert count_macs(model, inputs).dense < macs
    # The zeros were not what made them equal: training goes on, in every layer that is left.
    model.train()(inputs).square().sum().backward()
    assert all(parameter.grad.shape == parameter.shape for parameter in model.parameters())


def test_the_sizes_that_a_cut_model_reports_are_those_of_a_model_built_so() -> None:
    model, edit, inputs = convolutions()
    cut_pair(model, edit)
    built = nn.Sequential(
        nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 3, bias=False)
    )
    assert repr(model) == repr(built)
    assert {k: v.shape for k, v in model.state_dict().items()} == {k: v.shape for k, v in built.state_dict().items()}
    assert count_macs(model, inputs).dense == count_macs(built, inputs).dense


def test_keeping_every_channel_changes_no_bit() -> None:
    model, _, inputs = flattened()
    settle(model, inputs)
    before = model(inputs)
    cut_pair(model, CutEdit(producer="0", consumer="5", keep=tuple(range(6)), norms=("1",)))
    assert model(inputs).equal(before)


def test_two_cuts_one_after_the_other_count_channels_as_they_are_then() -> None:
    model, _, inputs = mlp()
    settle(model, inputs)
    zero_channels(model, ["0", "1"], (3, 7))
    before = model(inputs)
    cut_pair(model, CutEdit(producer="0", consumer="3", keep=(0, 3, 5, 7), norms=("1",)))
    cut_pair(model, CutEdit(producer="0", consumer="3", keep=(1, 3), norms=("1",)))
    torch.testing.assert_close(model(inputs), before, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_with_its_optimizer_state_a_cut_model_takes_the_next_step_of_the_uncut_one(case) -> None:
    model, edit, inputs = case()
    # In double precision: a bias before a batch norm has gradient 0, and AdamW blows up float32's rounding of it.
    model, inputs = model.double(), inputs.double()
    settle(model, inputs).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)

    def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        model(inputs).square().sum().backward()
        optimizer.step()

    step(model, optimizer)
    zero_channels(model, [edit.producer, *edit.norms], edit.keep)
    twin = copy.deepcopy(model)
    cut = cut_pair(twin, edit)
    olds = dict(model.named_parameters())
    twin_optimizer = torch.optim.AdamW(twin.parameters(), lr=1e-2)
    for name, new in twin.named_parameters():
        state = optimizer.state[olds[name]]
        twin_optimizer.state[new] = cut[name].slice_state(state) if name in cut else copy.deepcopy(state)
    assert any(state["exp_avg"].any() for state in twin_optimizer.state.values())

    step(model, optimizer)
    step(twin, twin_optimizer)
    for name, new in twin.named_parameters():
        old = olds[name] if name not in cut else olds[name].index_select(cut[name].dim, cut[name].index)
        torch.testing.assert_close(new, old, rtol=1e-6, atol=1e-6)  # a step is 1e-2
        assert twin_optimizer.state[new]["step"] == 2


def test_the_returned_parameters_are_the_replaced_and_the_present_ones() -> None:
    model, edit, _ = mlp()
    before = dict(model.named_parameters())
    planned = cut_parameters(model, edit)
    assert dict(model.named_parameters()) == before
    cut = cut_pair(model, edit)
    assert list(planned) == list(cut) == ["0.weight", "0.bias", "1.weight", "1.bias", "3.weight"]
    for name, part in cut.items():
        assert part.old is before[name]
        assert part.new is model.get_parameter(name)
        assert part.new.equal(part.old.index_select(part.dim, part.index))
    assert cut["0.weight"].slice_state({"step": torch.tensor(3.0)}) == {"step": torch.tensor(3.0)}


def test_state_of_an_unknown_shape_is_refused_by_its_name_and_numbers_pass() -> None:
    model, edit, _ = mlp()
    part = cut_parameters(model, edit)["0.weight"]
    assert part.slice_state({"step": 3, "name": "x"}) == {"step": 3, "name": "x"}
    with pytest.raises(InputError, match=r"'row' has shape \(8,\), its parameter \(8, 5\)"):
        part.slice_state({"row": torch.zeros(8)})


def test_planning_changes_nothing_and_the_two_halves_make_the_whole_cut() -> None:
    model, edit, inputs = convolutions()
    settle(model, inputs)
    before, shown = model(inputs), repr(model)
    cut = plan_cut(model, producer="0", consumer="4", keep=[1, 2, 6], norms=["1"])
    assert repr(model) == shown
    assert model(inputs).equal(before)
    twin, _, _ = convolutions()
    twin.load_state_dict(model.state_dict())
    cut_pair(twin.eval(), edit)
    for name, part in cut.parameters.items():  # what a trainer's replace_parameters does
        setattr(model.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2], part.new)
    cut.resize_()
    assert model(inputs).equal(twin(inputs))
    assert repr(model) == repr(twin)


def test_frozen_parameters_stay_frozen() -> None:
    model, edit, _ = mlp()
    model.get_parameter("0.weight").requires_grad_(False)
    cut = cut_pair(model, edit)
    assert [part.new.requires_grad for part in cut.values()] == [False, True, True, True, True]


def refused(model: nn.Module, match: str, **fields: object) -> None:
    shown, state = repr(model), {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(InputError, match=match):
        cut_pair(model, CutEdit(**{"producer": "0", "consumer": "1", "keep": (0,), **fields}))
    assert repr(model) == shown
    assert all(model.state_dict()[k].equal(v) for k, v in state.items())


def test_a_pair_that_cannot_be_cut_is_refused_with_the_reason_and_left_alone() -> None:
    conv, linear, s = nn.Conv2d(4, 8, 3), nn.Linear(8, 8), nn.Sequential
    refused(s(conv, nn.Conv2d(8, 8, 3, groups=8)), r"consumer '1' has groups=8.*[Dd]epthwise")
    refused(s(nn.Conv2d(4, 8, 3, groups=2), nn.Conv2d(8, 8, 3)), "producer '0' has groups=2")
    refused(s(linear, nn.Conv1d(8, 2, 1)), "consumer '1' is a Conv1d behind the Linear '0'")
    refused(s(nn.ConvTranspose2d(4, 8, 3), conv), "producer '0' is a ConvTranspose2d")
    refused(s(nn.Bilinear(2, 2, 8), linear), "only Linear, Conv1d, Conv2d and Conv3d can be cut")
    refused(s(conv, nn.Linear(20, 2)), "makes 8 channels and '1' reads 20.*flatten")
    refused(s(linear, nn.Linear(16, 2)), "makes 8 channels and '1' reads 16: one cannot feed the other")
    refused(s(conv, nn.Conv2d(16, 2, 1)), "makes 8 channels and '1' reads 16: one cannot feed the other")
    refused(s(linear, nn.Linear(8, 2)), r"keep has channel 8, but '0' makes 8 \(counted", keep=(0, 8))


@pytest.mark.parametrize(
    ("norm", "match"),
    [
        (nn.GroupNorm(2, 8), "GroupNorm: its mean and variance run over several channels"),
        (nn.LayerNorm(8), "LayerNorm: its mean and variance run over several channels"),
        (nn.InstanceNorm1d(8), "InstanceNorm1d; expected a BatchNorm"),
        (nn.BatchNorm1d(4), "has 4 features and '0' makes 8 channels"),
        (nn.ReLU(), "is a ReLU; expected a BatchNorm"),
    ],
)
def test_a_norm_that_cannot_be_cut_is_refused_with_the_reason(norm: nn.Module, match: str) -> None:
    refused(nn.Sequential(nn.Linear(8, 8), norm, nn.Linear(8, 2)), match, consumer="2", norms=("1",))


def test_names_that_are_no_modules_are_refused_with_the_nearest() -> None:
    model = nn.Sequential()
    model.add_module("encoder", nn.Linear(4, 8))
    model.add_module("decoder", nn.Linear(8, 2))
    refused(model, "producer 'encodr' is no module of Sequential; did you mean 'encoder'", producer="encodr")
    refused(model, "consumer '' is no module", producer="encoder", consumer="")
    refused(model, "norm 'n' is no module", producer="encoder", consumer="decoder", norms=("n",))


def test_shared_parametrized_and_pruned_layers_are_refused() -> None:
    tied = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8))
    tied[2].weight = tied[0].weight
    refused(tied, "0.weight is shared with another layer")
    layer = nn.Linear(8, 8)
    refused(nn.Sequential(layer, layer), "shared|twice")
    normed = nn.Sequential(parametrizations.weight_norm(nn.Linear(8, 8)), nn.Linear(8, 8))
    with pytest.raises(InputError, match="ParametrizedLinear"):
        cut_pair(normed, CutEdit(producer="0", consumer="1", keep=(0,)))
    pruned = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    prune.l1_unstructured(pruned[0], "weight", 0.5)
    refused(pruned, r"'0' holds \['weight_mask', 'weight_orig'\]")
    same = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    refused(same, "cut twice|shared", consumer="0")


def test_a_lazy_layer_is_refused() -> None:
    model = nn.Sequential(nn.LazyLinear(8), nn.Linear(8, 2))
    with pytest.raises(InputError, match="producer '0' has no shapes yet"):
        cut_pair(model, CutEdit(producer="0", consumer="1", keep=(0,)))


@pytest.mark.parametrize(
    ("keep", "match"),
    [
        ((), "keep is empty"),
        ((1, 1), r"increase without repeats; got \(1, 1\)"),
        ((2, 1), "increase without repeats"),
        ((-1, 2), r"channel numbers from 0.*got \(-1, 2\)"),
        ((0, 1.0), "channel numbers"),
        ((False, True), "channel numbers"),
        ("01", "channel numbers"),
        (3, "channel numbers"),
        (torch.tensor([1, 2]), "channel numbers"),
    ],
)
def test_keep_must_be_increasing_channel_numbers(keep: object, match: str) -> None:
    with pytest.raises(InputError, match=match):
        CutEdit(producer="a", consumer="b", keep=keep)  # type: ignore[arg-type]


def test_names_must_be_texts() -> None:
    for wrong in ({"producer": 1}, {"consumer": None}, {"norms": "bn"}, {"norms": (1,)}):
        with pytest.raises(InputError, match="names of layers"):
            CutEdit(**{"producer": "a", "consumer": "b", "keep": (0,), **wrong})
