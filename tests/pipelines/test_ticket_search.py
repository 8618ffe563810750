"""The search for a ticket: budget, what rounds carry over, rewinding, exact zeros, and resuming."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from paretorch.artefacts.model import load_artefact, save_model
from paretorch.errors import InputError, RunError
from paretorch.methods.method import Method, Run
from paretorch.methods.sparsity.continuous.search_round import RewindPoint, SearchRound
from paretorch.methods.sparsity.enforcement import MaskEnforcement
from paretorch.methods.sparsity.masks import Masks
from paretorch.pipelines.compression import Compressed, Start
from paretorch.pipelines.phases import train_phase
from paretorch.pipelines.ticket_search import TicketSearch, rewind_, without_weights
from paretorch.recipes.arm_methods import expand
from paretorch.training.run import RunDirectory
from paretorch.training.settings import OptimizerSpec
from tests.methods.sparsity.gradual.problems import NAMES, NUM_WEIGHTS, STEPS_PER_EPOCH, Small, trainer
from tests.pipelines.dying import assert_same_weights, killed_and_resumed
from tests.pipelines.test_gradual import SWEEP, zeros

SGD = OptimizerSpec(lr=0.1, weight_decay=1e-3)


def search(directory: RunDirectory | None = None, *, optimizer: OptimizerSpec = SGD, **settings: Any) -> Compressed:
    """Two rounds and a ticket, of an epoch each."""
    given = {"sparsity": 0.8, "epochs": 3, "rounds": 2, "rewind_epochs": 0.5, **settings}
    start = Start(model=Small(), schedule=SWEEP)
    return TicketSearch(**given).run_from(trainer(directory, optimizer=optimizer), start)


class Spy(Method):
    """The model at the beginning of every step; stands first."""

    name = "spy"

    def __init__(self) -> None:
        self.states: list[dict[str, Tensor]] = []

    def before_forward(self, run: Run) -> None:
        self.states.append({name: value.detach().clone() for name, value in run.model.state_dict().items()})


class After(Method):
    """The momentum of s and of w after the last update."""

    name = "after"

    def after_update(self, run: Run) -> None:
        states = {name: optimizer.state for name, optimizer in run.optimizers.items()}
        self.momentum = {
            name: [value["momentum_buffer"].clone() for value in state.values()] for name, state in states.items()
        }


def test_rounds_and_ticket_share_the_budget_and_all_of_it_is_trained() -> None:
    result = search()
    assert [entry["phase"] for entry in result.entries] == ["search-0", "search-1", "rewind", "ticket"]
    assert [entry["steps"] for entry in result.entries if "steps" in entry] == [STEPS_PER_EPOCH] * 3
    uneven = TicketSearch(sparsity=0.8, epochs=3.25, rounds=2, rewind_epochs=0.5)
    assert uneven.split(trainer()) == (13, 13)
    assert TicketSearch(sparsity=0.8, epochs=3.25, rounds=2, ticket_epochs=1).split(trainer()) == (13, 13)
    assert TicketSearch(sparsity=0.8, epochs=4, rounds=3, ticket_epochs=2).split(trainer()) == (8, 24)
    assert uneven.plan(trainer()) == (
        "search a ticket of 80 % sparsity in 2 x 13 steps, then train it from step 6, 13 steps", 39
    )  # fmt: skip


def test_the_ticket_has_exactly_the_wanted_zeros_and_they_are_those_of_the_last_round(tmp_path: Path) -> None:
    result = search()
    rewound = result.entries[2]
    assert zeros(result.model) == rewound["pruned"] == round(0.8 * NUM_WEIGHTS)
    assert rewound["mask_hash"] == rewound["rounds"][1]["mask_hash"] != rewound["rounds"][0]["mask_hash"]
    assert repr(result.model) == repr(Small())
    save_model(tmp_path / "model", result.model, constructor=Small, edits=list(result.edits))
    assert zeros(load_artefact(tmp_path / "model", constructor=Small).model) == rewound["pruned"]


def test_a_ticket_without_a_weight_is_said_before_it_is_trained_and_in_the_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trained: list[str] = []
    monkeypatch.setattr(
        "paretorch.pipelines.ticket_search.train_phase",
        lambda trainer, model, phase, **given: (
            trained.append(phase.name) or train_phase(trainer, model, phase, **given)
        ),
    )
    shut = partial(SearchRound, initial=-5.0)
    with pytest.raises(UserWarning, match="has no weight at all, so that its outputs are the same for every input"):
        search(sparsity=None, search=shut)
    assert trained == ["search-0", "search-1"]
    with pytest.warns(UserWarning, match="no weight at all"):
        result = search(sparsity=None, search=shut)
    assert zeros(result.model) == NUM_WEIGHTS
    assert [layer["kept"] for layer in result.entries[2]["layers"].values()] == [0] * len(NAMES)
    assert len(result.notes) == 1
    assert "higher initial" in result.notes[0]


def test_layers_without_a_weight_are_named() -> None:
    some, none = torch.tensor([[True, False]]), torch.zeros(2, 2, dtype=torch.bool)
    assert without_weights(Masks({"a": some, "b": some})) == ()
    (note,) = without_weights(Masks({"a": some, "b": none}))
    assert note.startswith("The ticket has no weight of b: what these layers put out")
    (note,) = without_weights(Masks({"a": some} | dict.fromkeys("bcdef", none)))
    assert "no weight of b, c, d and more:" in note


def test_without_a_sparsity_what_is_above_0_stays() -> None:
    result = search(sparsity=None, search=partial(SearchRound, initial=0.02))
    rewound = result.entries[2]
    assert zeros(result.model) == rewound["pruned"] == round((1 - rewound["rounds"][1]["open"]) * NUM_WEIGHTS)
    assert rewound["rounds"][1]["open"] <= rewound["rounds"][0]["open"] < 1


@pytest.mark.parametrize("legacy", [False, True])
def test_a_round_goes_on_with_weights_and_momentum_and_resets_the_logits(legacy: bool) -> None:
    own = trainer()
    model = own.model()
    first, after = SearchRound(sparsity=0.5), After()
    state = own.fit(model, phase="search-0", num_steps=20, methods=[first, after]).optimizer_state
    left = first.left
    assert not torch.equal(left.weights["hidden.weight"], model.hidden.weight), "the model holds hard masks"
    seen: dict[str, Any] = {}

    class Begin(Method):
        name = "begin"

        def start(self, run: Run) -> None:
            seen["logits"] = {name: s.detach().clone() for name, s in second.logits.items()}
            seen["weights"] = {name: run.model.get_parameter(name).detach().clone() for name in NAMES}
            seen["masks"] = [value["momentum_buffer"].clone() for value in run.optimizers["masks"].state.values()]
            seen["main"] = [value["momentum_buffer"].clone() for value in run.optimizer.state.values()]

    second = SearchRound(sparsity=0.75, previous=left, legacy_reset=legacy)
    own.fit(model, phase="search-1", num_steps=2, methods=[second, Begin()], optimizer_state=state)
    for name in NAMES:
        factor = 1.0 if legacy else 200.0
        assert torch.equal(seen["logits"][name], (factor * left.logits[name]).clamp(max=-0.1))
        assert torch.equal(seen["weights"][name], left.weights[name])
    for kind in ("masks", "main"):
        assert all(torch.equal(a, b) for a, b in zip(seen[kind], after.momentum[kind], strict=True))


def test_a_round_that_masks_other_weights_than_the_one_before_is_refused() -> None:
    own = trainer()
    model = own.model()
    first = SearchRound(sparsity=0.5)
    own.fit(model, phase="search-0", num_steps=20, methods=[first])
    second = SearchRound(sparsity=0.5, previous=first.left, exclude="output")
    with pytest.raises(InputError, match=r"masked \['hidden.weight', 'output.weight'\], and this one masks \['hidden"):
        own.fit(model, phase="search-1", num_steps=20, methods=[second])


def test_rewinding_restores_weights_and_running_statistics_of_the_step_with_c_in_the_ticket() -> None:
    own = trainer()
    model, spy, point, method = own.model(), Spy(), RewindPoint(7), SearchRound(sparsity=0.6)
    own.fit(model, phase="search-0", num_steps=20, methods=[spy, point, method])
    rewind_(model, point, method.masks, scale=method.scale)
    expected = spy.states[7]
    assert not torch.equal(expected["norm.running_mean"], spy.states[19]["norm.running_mean"])
    for name, value in model.state_dict().items():
        if name in NAMES:
            wanted = torch.where(method.masks[name], method.scale * expected[name], 0.0)
            assert torch.equal(value, wanted), name
        else:
            assert torch.equal(value, expected[name]), name


def test_the_ticket_is_trained_as_a_rewound_model_is_under_masks_and_by_nothing_else() -> None:
    result = search(epochs=2, rounds=1)
    own = trainer()
    model, point, method = own.model(), RewindPoint(6), SearchRound(sparsity=0.8)
    trace = SWEEP.trace
    assert trace is not None

    def rate(step: int) -> float:
        return trace[step * len(trace) // STEPS_PER_EPOCH]

    own.fit(model, phase="search-0", num_steps=STEPS_PER_EPOCH, methods=[point, method], schedule=rate)
    rewind_(model, point, method.masks, scale=method.scale)
    own.fit(model, phase="ticket", num_steps=STEPS_PER_EPOCH, methods=[MaskEnforcement(method.masks)], schedule=rate)
    for name, value in model.state_dict().items():
        assert torch.equal(value, result.model.state_dict()[name]), name


def test_a_point_that_was_never_passed_is_refused() -> None:
    own = trainer()
    model, point, method = own.model(), RewindPoint(20), SearchRound(sparsity=0.6)
    own.fit(model, phase="search-0", num_steps=20, methods=[point, method])
    with pytest.raises(RunError, match="never came to step 20"):
        rewind_(model, point, method.masks, scale=method.scale)


@pytest.mark.parametrize(
    "optimizer",
    [SGD, OptimizerSpec(name="adam", lr=0.01), OptimizerSpec(name="avagrad", lr=0.1)],
    ids=["sgd", "adam", "avagrad"],
)
@pytest.mark.parametrize("fatal_write", [4, 9, 20, 27, 30])
def test_a_search_that_dies_at_any_write_is_resumed_bitwise(
    tmp_path: Path, fatal_write: int, optimizer: OptimizerSpec
) -> None:
    own = partial(search, optimizer=optimizer)
    expected = own()
    resumed, phases = killed_and_resumed(own, tmp_path / "run", fatal_write=fatal_write)
    assert phases == ["search-0", "search-1", "rewind", "ticket"]
    assert_same_weights(resumed.model, expected.model)
    assert resumed.entries[2]["mask_hash"] == expected.entries[2]["mask_hash"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "positive, finite number of epochs; got 0"),
        ({"rounds": 0}, "rounds must be an integer of at least 1; got 0"),
        ({"ticket_epochs": 3}, "ticket_epochs are a part of epochs=3"),
        ({"rewind_epochs": -1}, "rewind_epochs must be finite and not negative; got -1"),
        ({"search": partial(SearchRound, final_beta=0.0)}, "final_beta must be finite and at least 1"),
        ({"sparsity": 1.5}, "in \\[0, 1\\); got 1.5"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TicketSearch(**{"sparsity": 0.8, "epochs": 3, "rounds": 2, **settings})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0.05}, "leave 0 steps for each of 2 rounds"),
        ({"rewind_epochs": 1}, "rewound to 1 epochs of the first round, which has only 1"),
        ({"sparsity": 0.9999}, "rounds to all of them"),
    ],
)
def test_what_the_task_cannot_do_is_refused_before_anything_is_trained(settings: dict[str, Any], message: str) -> None:
    compression = TicketSearch(**{"sparsity": 0.8, "epochs": 3, "rounds": 2, "rewind_epochs": 0.5, **settings})
    with pytest.raises(InputError, match=message):
        compression.check(trainer(), trainer().model(), dense=SWEEP)


def test_every_key_of_a_recipe_reaches_the_search_and_the_name() -> None:
    usual = {"method": "ticket-search", "sparsity": 0.9, "epochs": 12}
    changed: dict[str, Any] = {
        "rounds": 2, "ticket_epochs": 5, "rewind_epochs": 1, "lr": 0.2, "include": ["hidden"], "exclude": ["output"],
        "initial": 0.05, "final_beta": 100, "strength": 2, "penalty": 0.1, "scaled": True, "mask_lr": 1.0,
        "legacy_reset": True,
    }  # fmt: skip
    arms = [*expand([usual]), *(expand([usual | {key: value}])[0] for key, value in changed.items())]
    assert len({arm.label for arm in arms}) == len({arm.id for arm in arms}) == 1 + len(changed)
    made = expand([usual | changed])[0].compression
    assert isinstance(made, TicketSearch)
    assert (made.sparsity, made.epochs, made.rounds, made.ticket_epochs, made.rewind_epochs) == (0.9, 12, 2, 5, 1)
    method = made.search(sparsity=0.5)
    assert (made.lr, method.include, method.exclude, method.legacy_reset) == (0.2, ["hidden"], ["output"], True)
    assert (method.initial, method.final_beta, method.strength, method.open_penalty) == (0.05, 100, 2, 0.1)
    assert (method.scaled, method.mask_lr) == (True, 1.0)
    assert arms[0].label == "CS ticket 90 % 12 epochs 3 rounds"
    assert arms[0].factors == {"method": "CS ticket", "epochs in all": 12, "rounds": 3, "sparsity": 0.9}
    plain, bare = expand([usual])[0].compression.search(sparsity=0.5), SearchRound(sparsity=0.5)
    assert vars(plain) == vars(bare), "a table has the defaults of its method"


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"strength": 1.0}, "pulls to a sparsity, and none is given"),
        ({"lr": 0.1, "tune_lr": [0.1]}, "either `lr` or `tune_lr`"),
        ({"tune_lr": [0.1, 0.1]}, "holds a rate twice"),
    ],
)
def test_keys_that_exclude_one_another_are_refused(point: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        expand([{"method": "ticket-search", "epochs": 12, **point}])
