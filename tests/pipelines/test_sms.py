"""Sparse model soups: one copy is iterative pruning, masks are common, averages are means, every copy is charged."""

from pathlib import Path
from typing import Any

import pytest
import torch

from paretorch.artefacts.tree import load_tree
from paretorch.errors import InputError
from paretorch.pipelines.arm import Arm
from paretorch.pipelines.compression import Compressed
from paretorch.pipelines.imp import IMP
from paretorch.pipelines.pruning_step import Selection
from paretorch.pipelines.retraining import Retraining
from paretorch.pipelines.sms import SMS
from paretorch.pipelines.sms.variation import Variation
from paretorch.training.run import RunDirectory
from tests.pipelines.sms_problem import NUM_WEIGHTS, counted, dense, same, start, trainer

PRUNED = ("hidden.weight", "output.weight")


def soup(**settings: Any) -> SMS:
    return SMS(**{"sparsity": 0.7, "epochs": 2, "copies": 3, "guard": False, **settings})


def run(sms: SMS, directory: RunDirectory | None = None) -> Compressed:
    return sms.run_from(trainer(directory), start())


def kinds(result: Compressed, kind: str) -> list[dict[str, Any]]:
    return [line for line in result.entries if line["kind"] == kind]


def copies(folder: Path, cycle: int, number: int) -> list[dict[str, torch.Tensor]]:
    """The weights of finished copies, read by their place."""
    places = [folder / "copies" / f"cycle-{cycle}-copy-{position}" / "checkpoints" for position in range(number)]
    return [load_tree(place / "candidate.safetensors") for place in places]


@pytest.mark.parametrize("cycles", [1, 3])
@pytest.mark.parametrize("choice", ["uniform", "greedy", "best"])
def test_a_soup_of_one_copy_is_iterative_pruning_bit_for_bit(cycles: int, choice: Any) -> None:
    imp = IMP(sparsity=0.9, epochs=3, cycles=cycles).run(trainer(), start().model, dense=start().schedule)
    one = run(SMS(sparsity=0.9, epochs=3, cycles=cycles, copies=1, soup=choice))
    assert same(one.model, imp.model)
    assert one.edits[-1].masks == imp.masks
    mine, theirs = kinds(one, "retrain"), [line for line in imp.entries if line["kind"] == "retrain"]
    for key in ("steps", "epochs", "samples", "validation", "lr_peak", "d2", "zeros", "mask_hash"):
        assert [line[key] for line in mine] == [line[key] for line in theirs]
    assert [[point["train_loss"] for point in line["curve"]] for line in mine] == [
        [point["train_loss"] for point in line["curve"]] for line in theirs
    ]
    assert counted(kinds(one, "prune")) == counted(line for line in imp.entries if line["kind"] == "prune")
    assert one.entries[-1]["validation"] == imp.entries[-1]["validation"]


def test_the_soup_has_the_mask_of_its_copies_and_exactly_its_zeros(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "run", recipe="x") as directory:
        result = run(soup(sparsity=0.9, cycles=2), directory)
    masks = result.edits[-1].masks
    assert masks.num_pruned == round(0.9 * NUM_WEIGHTS)
    for state in [*copies(tmp_path / "run", 1, 3), result.model.state_dict()]:
        assert all(torch.equal(state[name] != 0, masks[name]) for name in PRUNED)
    assert {line["mask_hash"] for line in result.entries[-4:]} == {masks.hash()}


def test_a_uniform_soup_is_the_mean_of_copies_that_differ(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "run", recipe="x") as directory:
        result = run(soup(), directory)
    found = copies(tmp_path / "run", 0, 3)
    for name, value in result.model.named_parameters():
        mean = torch.stack([state[name].double() for state in found]).mean(0)
        torch.testing.assert_close(value.detach(), mean.float(), rtol=0, atol=1e-7)
        assert not torch.equal(found[0][name], found[1][name])
    assert kinds(result, "soup")[0]["members"] == ["copy 0", "copy 1", "copy 2"]


def test_identical_copies_average_to_the_copy_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Variation, "seed", lambda self, given, position: given.seed)
    with RunDirectory(tmp_path / "run", recipe="x") as directory:
        result = run(soup(), directory)
    first, *others = copies(tmp_path / "run", 0, 3)
    assert all(torch.equal(first[name], other[name]) for other in others for name in first)
    assert all(torch.equal(value, first[name]) for name, value in result.model.named_parameters())


def test_the_statistics_of_a_soup_are_those_of_its_own_activations() -> None:
    result = run(soup())
    inputs = trainer().train_set.tensors["inputs"]
    with torch.no_grad():
        expected = result.model.hidden(inputs).mean(0)
    torch.testing.assert_close(result.model.norm.running_mean, expected, atol=1e-5, rtol=1e-4)
    assert result.entries[-1]["batchnorm_layers"] == 1


def test_all_copies_are_charged_as_iterative_pruning_of_that_many_times_the_epochs() -> None:
    result = run(soup(epochs=4, cycles=2))
    long = IMP(sparsity=0.7, epochs=12, cycles=2).run(trainer(), start().model, dense=start().schedule)
    for key in ("epochs", "steps", "samples"):
        total = sum(line[key] for line in result.entries if "steps" in line)
        assert total == sum(line[key] for line in long.entries if "steps" in line)
    assert sum(line["epochs"] for line in result.entries if "epochs" in line) == 2 * 2 * 3
    assert soup(epochs=4, cycles=2).granted_epochs == 12


def test_copies_of_a_cycle_are_beside_one_another_and_know_their_seeds() -> None:
    lines = kinds(run(soup(epochs=1, cycles=2)), "retrain")
    assert [line["phase"] for line in lines] == [f"retrain-{j}-copy-{i}" for j in range(2) for i in range(3)]
    assert [line["beside"] for line in lines] == ["cycle-0"] * 3 + ["cycle-1"] * 3
    assert len({line["seed"] for line in lines}) == 3
    assert lines[0]["seed"] == trainer().seed


def test_arms_that_differ_in_the_last_merge_share_the_copies_and_others_do_not() -> None:
    key = soup().shared_key
    assert key == soup(soup="greedy").shared_key == soup(soup="best").shared_key == soup(guard=True).shared_key
    others = [soup(copies=2), soup(sparsity=0.8), soup(epochs=3), soup(cycles=2), soup(cycles=2, guard=True)]
    others += [soup(retraining=Retraining(schedule="LLR")), soup(selection=Selection(allocation="erk"))]
    others += [soup(vary="weight_decay", values=(0.0, 1e-4, 1e-3))]
    assert len({key, *(other.shared_key for other in others)}) == len(others) + 1


def test_copies_are_not_shared_where_another_pattern_is_the_first_to_fit_a_layer() -> None:
    orders = ({"hidden*": 0.5, "*": 0.9}, {"*": 0.9, "hidden*": 0.5})
    one, other = (soup(sparsity=None, selection=Selection(allocation=order)) for order in orders)
    assert one.shared_key != other.shared_key


def test_three_merges_of_shared_copies_are_those_of_copies_of_their_own(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "shared", recipe="x") as directory:
        shared = soup().train_shared(trainer(directory), dense())
        for choice in ("uniform", "greedy", "best"):
            with RunDirectory(tmp_path / choice, recipe="x") as own:
                merged = soup(soup=choice).run_from(trainer(own), shared)
            alone = run(soup(soup=choice))
            assert same(merged.model, alone.model)
            assert counted([*shared.entries, *merged.entries]) == counted(alone.entries)
            assert [line["phase"] for line in merged.entries] == ["soup-0"]


@pytest.mark.parametrize("epochs", [0.5, 1, 3])
@pytest.mark.parametrize("sparsity", [0.8, 0.95])
def test_a_greedy_soup_is_never_worse_than_the_best_copy_nor_the_best_than_the_mean(
    epochs: float, sparsity: float
) -> None:
    greedy, best = (run(soup(epochs=epochs, sparsity=sparsity, soup=choice)) for choice in ("greedy", "best"))
    line = best.entries[-1]
    assert line["validation"] == line["best"] == max(line["candidates"].values())
    assert line["mean"] == pytest.approx(sum(line["candidates"].values()) / 3)
    assert greedy.entries[-1]["candidates"] == line["candidates"]
    assert greedy.entries[-1]["validation"] >= line["best"] >= line["mean"]


def test_the_guard_puts_the_best_copy_in_the_place_of_a_worse_average() -> None:
    wrong = {"sparsity": 0.9, "epochs": 3, "cycles": 2}
    with pytest.warns(UserWarning, match="worse than candidate 'copy"):
        result = run(soup(**wrong, guard=True))
    kept, plain = result.entries[-1], run(soup(**wrong))
    free = plain.entries[-1]
    assert result.notes[-1].startswith("soup-1: the average scored worse on validation than copy")
    assert plain.notes == ()
    assert kept["guarded"]
    assert kept["validation"] == kept["best"]
    assert len(kept["members"]) == 1
    assert not free["guarded"]
    assert len(free["members"]) == 3


def test_the_guard_leaves_a_soup_that_is_as_good_as_its_best_copy() -> None:
    line = run(soup(sparsity=0.3, epochs=0, guard=True)).entries[-1]  # without a step all copies are the same
    assert not line["guarded"]
    assert len(line["members"]) == 3
    assert line["validation"] == line["best"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"copies": 0}, "at least one copy; got copies = 0"),
        ({"soup": "stew"}, "soup = 'stew' is unknown; choose from uniform, greedy, best"),
        ({"vary": "data"}, "one of seed, weight_decay, lr, length; got vary = 'data'"),
        ({"values": (1.0, 2.0, 3.0)}, "vary = 'seed' with values.*seeds need none"),
        ({"vary": "lr"}, "vary = 'lr' with values = None: give one lr for each copy"),
        ({"vary": "lr", "values": (0.1, 0.2)}, "one lr for each of 3 copies"),
        ({"vary": "lr", "values": (0.1, 0.2, 0.1)}, "holds one twice"),
        ({"vary": "lr", "values": (0.1, 0.2, 0.0)}, "must be finite and positive; got 0"),
        ({"vary": "weight_decay", "values": (0.0, 1e-4, -1.0)}, "must be finite and not negative; got -1"),
        ({"vary": "length", "values": (1.0, 2.0, 4.0)}, "have the mean 2.33333, and epochs = 2"),
        ({"vary": "length", "values": (1.0, 2.0, 3.0), "epochs": None, "minutes": 1}, "and epochs = None"),
        ({"retraining": Retraining(keep_optimizer=True)}, "no optimizer to keep"),
        ({"vary": "lr", "values": (0.1, 0.2, 0.3), "retraining": Retraining(schedule="LLR", lr=0.1)}, "leave lr = 0.1"),
        ({"sparsity": 1.0}, r"in \[0, 1\); got 1.0"),
        ({"minutes": 1}, "got both"),
        ({"cycles": 0}, "cycles must be at least 1"),
    ],
)
def test_what_makes_no_soup_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        soup(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"vary": "lr", "values": (0.1, 0.2, 0.3)}, "ALLR takes its learning rate from the dense run"),
        ({"retraining": Retraining(schedule="LRW"), "epochs": 50}, "LRW"),
        ({"selection": Selection(include=["nothing"])}, "nothing"),
    ],
)
def test_what_could_not_be_trained_is_refused_before(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        soup(**settings).check(trainer(), trainer().model(), dense=start().schedule)


def test_rates_that_would_change_shared_copies_are_refused() -> None:
    arm = Arm(id="a", label="a soup", factors={}, compression=soup(), rates=(0.1, 0.01))
    with pytest.raises(InputError, match=r"arm .a soup.: rates = .* make an arm of each rate"):
        arm.check(trainer(), start().schedule)
