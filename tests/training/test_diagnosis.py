"""What a diagnosis makes of times: shares, bounds, predictions, words."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretorch.errors import InputError
from paretorch.methods.catalogue import all_cards
from paretorch.training.diagnosis import Diagnosis, diagnosis_of

RESOURCES = ("data loading", "host-to-device copy", "optimizer step")
seconds = st.floats(1e-4, 10.0)


@st.composite
def diagnoses(draw: st.DrawFn) -> Diagnosis:
    """From any times: also such as noise makes, where less work takes longer."""
    count = draw(st.integers(1, 7))
    rounds = st.lists(seconds, min_size=count, max_size=count)
    return made(draw(rounds), {name: draw(rounds) for name in RESOURCES})


def made(whole: list[float], without: dict[str, list[float]]) -> Diagnosis:
    return diagnosis_of(whole, without, forward=0.3, steps=10, device="cpu")  # type: ignore[arg-type]


@given(diagnoses())
def test_shares_sum_to_one(found: Diagnosis) -> None:
    assert all(0 <= stage.share <= 1 for stage in found.stages)
    assert math.fsum(stage.share for stage in found.stages) == pytest.approx(1.0)


@given(diagnoses(), st.sampled_from([*RESOURCES, "compute"]), st.floats(1e-3, math.inf))
def test_no_prediction_exceeds_the_bound(found: Diagnosis, resource: str, factor: float) -> None:
    predicted = found.predicted(resource, factor)
    assert predicted <= found.stage(resource).bound
    assert (predicted >= 1 - 1e-9) if factor >= 1 else (predicted <= 1 + 1e-9)


@given(diagnoses())
def test_the_dominant_stage_has_the_largest_bound_that_is_told_from_noise(found: Diagnosis) -> None:
    clear = {s.resource: s.bound for s in found.stages if s.interval and s.bound >= 1.1 and s.interval[0] > 1}
    if clear:
        assert clear[found.dominant] == max(clear.values())
    else:
        assert found.dominant == "compute"


@given(st.lists(st.floats(1e-3, 1.0), min_size=4, max_size=4))
def test_stages_one_after_the_other_get_their_shares_back(parts: list[float]) -> None:
    """Serial stages without noise: shares and bounds are those of the parts, for "compute" too."""
    total = math.fsum(parts)
    found = made([total], {name: [total - part] for name, part in zip(RESOURCES, parts, strict=False)})
    assert [stage.share for stage in found.stages] == pytest.approx([part / total for part in parts], abs=1e-9)
    for stage, part in zip(found.stages, parts, strict=True):
        assert stage.bound == pytest.approx(total / (total - part))
        assert found.predicted(stage.resource, math.inf) == pytest.approx(stage.bound)
        assert found.predicted(stage.resource, 1.3) == pytest.approx(total / (total - part + part / 1.3))


def test_a_stage_that_others_hide_is_no_bottleneck() -> None:
    """6 s of compute beside 5 s of reading, then an update of 2 s: no loader helps, and the share of reading is 0."""
    found = made([8.0], {"data loading": [8.0], "optimizer step": [6.0]})
    assert found.stage("data loading").bound == found.predicted("data loading", 100.0) == 1.0
    assert found.stage("compute").share == pytest.approx(0.75)
    assert found.dominant == "optimizer step"


def test_bounds_are_medians_of_pairs() -> None:
    """The machine slows down tenfold in mid-measurement, and one round is disturbed: pairs do not care."""
    whole, without = [2.0, 2.0, 20.0, 20.0, 90.0], [1.0, 1.0, 10.0, 10.0, 10.0]
    assert made(whole, {"data loading": without}).stage("data loading").bound == pytest.approx(2.0)


def test_a_bound_that_noise_explains_is_not_dominant() -> None:
    whole, without = [1.0, 1.0, 1.0], [0.8, 0.8, 1.1]
    found = made(whole, {"data loading": without})
    assert found.stage("data loading").bound == pytest.approx(1.25)
    assert found.dominant == "compute"
    assert any("cannot tell data loading from noise" in line for line in found.lines())


@pytest.mark.parametrize(("without", "dominant"), [(1 / 1.11, "data loading"), (1 / 1.09, "compute")])
def test_below_a_tenth_nothing_is_advised(without: float, dominant: str) -> None:
    assert made([1.0], {"data loading": [without]}).dominant == dominant


def test_the_sentences_carry_the_numbers() -> None:
    found = made([0.016] * 6, {"data loading": [0.008] * 6, "optimizer step": [0.012] * 6})
    assert found.lines()[:5] == [
        "A training step takes 16 ms on cpu (median of 6 rounds of 10 steps).",
        "data loading: 50% of the step; without it a step is 2.00 times as fast (97% interval 2.00 to 2.00).",
        "optimizer step: 25% of the step; without it a step is 1.33 times as fast (97% interval 1.33 to 1.33).",
        "compute: 25% of the step, of which forward pass and loss take 30%; no ablation removes it.",
        "What binds first: data loading. No relief of it makes a step more than 2.00 times as fast. Diagnose again "
        "after relieving it, because the bottleneck migrates.",
    ]
    assert made([1.0], {"data loading": [1.0]}).lines()[-2].startswith("Compute binds")


def test_methods_are_those_whose_cards_relieve_what_binds() -> None:
    found = made([2.0], {"optimizer step": [1.0]})
    built, published = found.relieved_by()
    cards = all_cards()
    assert {*built, *published} == {name for name, card in cards.items() if "optimizer step" in card.relieves}
    assert all(cards[name].implemented for name in built)
    assert published
    assert not any(cards[name].implemented for name in published)
    assert f"{len(published)} (`paretorch methods --relieves 'optimizer step'`" in found.lines()[-1]


def test_an_unknown_stage_or_factor_is_refused() -> None:
    found = made([2.0], {"optimizer step": [1.0]})
    with pytest.raises(InputError, match=r"no stage 'communication'; it has \['optimizer step', 'compute'\]"):
        found.predicted("communication", 2.0)
    for factor in (0.0, -1.0, math.nan):
        with pytest.raises(InputError, match="is not above 0"):
            found.predicted("compute", factor)


@pytest.mark.parametrize(("whole", "without"), [([], []), ([1.0], [1.0, 1.0]), ([1.0], [0.0]), ([math.nan], [1.0])])
def test_times_that_are_no_pairs_are_refused(whole: list[float], without: list[float]) -> None:
    with pytest.raises(InputError, match="positive numbers of seconds"):
        made(whole, {"data loading": without})
