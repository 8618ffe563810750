"""Samplers of profiles: what each may draw, how often, and that draws are functions of seed and count alone."""

import random
from collections import Counter
from collections.abc import Callable
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretorch.errors import InputError
from paretorch.methods.width.samplers import Chain, Independent, Sampler, Sandwich, SingleLayer, Uniform

GRIDS = ((2, 4, 6, 8), (3, 6), (1, 5, 10))
CENTRE = (8, 6, 10)
CHAIN = [(2, 3, 1), (4, 6, 5), (8, 6, 10)]
KINDS: dict[str, Callable[[], Sampler]] = {
    "single": SingleLayer,
    "single-layer-uniform": lambda: SingleLayer(layer_uniform=True),
    "uniform": Uniform,
    "independent": Independent,
    "sandwich": lambda: Sandwich(samples=4),
    "sandwich-independent": lambda: Sandwich(samples=3, between="independent"),
    "chain": lambda: Chain(CHAIN),
    "chain-two": lambda: Chain(CHAIN, samples=2),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def drawn(sampler: Sampler, times: int) -> list[tuple[tuple[int, ...], ...]]:
    return [sampler.draw() for _ in range(times)]


@given(
    sizes=st.lists(st.sets(st.integers(1, 40), min_size=1, max_size=6), min_size=1, max_size=5), seed=st.integers(0, 99)
)
def test_one_cycle_holds_every_pair_once_and_one_group_at_most_differs_from_the_centre(
    sizes: list[set[int]], seed: int
) -> None:
    sampler = SingleLayer().bind([sorted(widths) for widths in sizes], seed=seed)
    pairs = Counter((group, width) for group, widths in enumerate(sizes) for width in widths)
    for _ in range(3):
        seen: Counter[tuple[int, int]] = Counter()
        centres = 0
        for (profile,) in drawn(sampler, sampler.cycle_length):
            differs = [group for group, width in enumerate(profile) if width != sampler.centre[group]]
            assert len(differs) <= 1
            seen.update((group, profile[group]) for group in differs)
            centres += not differs
        assert centres == len(sizes), "the full width of every group is a pair of its own"
        seen.update(enumerate(sampler.centre))
        assert seen == pairs


def test_cycles_are_shuffled_anew() -> None:
    sampler = SingleLayer().bind(GRIDS, seed=3)
    cycles = [drawn(sampler, sampler.cycle_length) for _ in range(4)]
    assert all(sorted(cycle) == sorted(cycles[0]) for cycle in cycles)
    assert len({str(cycle) for cycle in cycles}) == 4


def test_layer_uniform_draws_groups_equally_often_and_then_widths() -> None:
    sampler = SingleLayer(layer_uniform=True).bind(((1, 2, 3, 4, 5, 6, 7, 8, 9, 10), (1, 2)), seed=0)
    draws = Counter(profile for (profile,) in drawn(sampler, 6000))
    narrow_first = sum(count for profile, count in draws.items() if profile[0] != 10)
    narrow_second = draws[10, 1]
    # P(group 0 below its full width) = 1/2 * 9/10, P(group 1 below) = 1/2 * 1/2; four standard deviations of a binomial
    for found, chance in ((narrow_first, 0.45), (narrow_second, 0.25)):
        assert abs(found - 6000 * chance) < 4 * (6000 * chance * (1 - chance)) ** 0.5


def test_uniform_gives_all_groups_one_level() -> None:
    sampler = Uniform().bind(((2, 4, 6, 8), (1, 2, 3, 4)), seed=0)
    draws = Counter(profile for (profile,) in drawn(sampler, 4000))
    assert set(draws) == {(2, 1), (4, 2), (6, 3), (8, 4)}
    assert all(abs(count - 1000) < 4 * (4000 * 0.25 * 0.75) ** 0.5 for count in draws.values())


def test_uniform_levels_of_a_shorter_grid_are_rounded_up_and_begin_at_its_narrowest() -> None:
    sampler = Uniform().bind(GRIDS, seed=0)
    assert {profile for (profile,) in drawn(sampler, 200)} == {(2, 3, 1), (4, 3, 5), (6, 6, 10), (8, 6, 10)}


def test_independent_draws_every_profile_equally_often() -> None:
    sampler = Independent().bind(GRIDS, seed=1)
    draws = Counter(profile for (profile,) in drawn(sampler, 4800))
    assert set(draws) == set(product(*GRIDS))
    assert all(abs(count - 200) < 5 * 200**0.5 for count in draws.values())


@pytest.mark.parametrize("between", ["uniform", "independent"])
def test_a_sandwich_has_the_widest_first_the_narrowest_last_and_others_between(between: str) -> None:
    sampler = Sandwich(samples=5, between=between).bind(GRIDS, seed=0)
    inner = set()
    for profiles in drawn(sampler, 200):
        assert (len(profiles), profiles[0], profiles[-1]) == (5, CENTRE, (2, 3, 1))
        assert list(map(sum, profiles)) == sorted(map(sum, profiles), reverse=True)
        inner.update(profiles[1:-1])
    assert len(inner) == (4 if between == "uniform" else 24)


def test_a_chain_draws_from_its_list_without_repeats_within_a_step() -> None:
    single, both = Chain(CHAIN).bind(GRIDS, seed=0), Chain(CHAIN, samples=3).bind(GRIDS, seed=0)
    assert {profile for (profile,) in drawn(single, 60)} == set(CHAIN)
    assert all(profiles == tuple(reversed(CHAIN)) for profiles in drawn(both, 20))


@every_kind
def test_nothing_wider_than_the_centre_is_drawn_after_it_moved(kind: str) -> None:
    sampler = KINDS[kind]().bind(GRIDS, seed=2)
    drawn(sampler, 5)
    sampler.recentre((5, 6, 4))
    assert sampler.grids == ((2, 4, 5), (3, 6), (1, 4))
    assert sampler.centre == (5, 6, 4)
    draws = [profile for profiles in drawn(sampler, 100) for profile in profiles]
    assert all(width <= most for profile in draws for width, most in zip(profile, (5, 6, 4), strict=True))
    assert (5, 6, 4) in draws


@pytest.mark.parametrize("make", [SingleLayer, Uniform, Independent])
def test_draws_after_a_move_are_fresh_even_if_the_grids_are_the_same(make: Callable[[], Sampler]) -> None:
    stays, moves = (make().bind(GRIDS, seed=2) for _ in range(2))
    moves.recentre(CENTRE)
    assert moves.grids == GRIDS
    assert drawn(moves, 30) != drawn(stays, 30)


@every_kind
def test_draws_are_a_function_of_the_seed_and_resume_where_they_were(kind: str) -> None:
    def fresh(seed: int = 7) -> Sampler:
        return KINDS[kind]().bind(GRIDS, seed=seed)

    first, second = fresh(), fresh()
    drawn(first, 13)
    assert drawn(second, 13) == drawn(fresh(), 13)
    first.recentre((6, 6, 5))
    drawn(first, 4)
    resumed = fresh()
    resumed.load_state_dict(first.state_dict())
    assert drawn(resumed, 40) == drawn(first, 40)
    assert drawn(fresh(7), 40) != drawn(fresh(8), 40)


@every_kind
def test_every_width_is_on_the_grid(kind: str) -> None:
    sampler = KINDS[kind]().bind(GRIDS, seed=0)
    for profiles in drawn(sampler, 50):
        for profile in profiles:
            assert all(width in widths for width, widths in zip(profile, GRIDS, strict=True))


def test_draws_do_not_touch_the_global_generators() -> None:
    random.seed(5)
    before = random.getstate()
    for make in KINDS.values():
        drawn(make().bind(GRIDS, seed=0), 10)
    assert random.getstate() == before


def test_a_sampler_that_is_not_bound_says_so() -> None:
    with pytest.raises(InputError, match="Independent is not bound to a model"):
        Independent().draw()


@pytest.mark.parametrize(
    ("centre", "message"),
    [
        ((8, 6), "the centre has 2 widths; this sampler has 3 groups"),
        ((9, 6, 10), "group 0 must be an integer from 1 to 8; got 9"),
        ((8, 0, 10), "group 1 must be an integer from 1 to 6; got 0"),
        ((8, 6, 2.5), r"group 2 must be an integer from 1 to 10; got 2\.5"),
    ],
)
def test_a_centre_that_does_not_fit_is_refused_and_changes_nothing(centre: tuple, message: str) -> None:
    sampler = SingleLayer().bind(GRIDS, seed=0)
    with pytest.raises(InputError, match=message):
        sampler.recentre(centre)
    assert sampler.grids == GRIDS


def test_state_of_another_sampler_or_of_other_groups_is_refused() -> None:
    saved = Uniform().bind(GRIDS, seed=0).state_dict()
    with pytest.raises(InputError, match="of a Uniform sampler; this one is Independent"):
        Independent().bind(GRIDS).load_state_dict(saved)
    with pytest.raises(InputError, match="of 3 groups; this sampler has 2"):
        Uniform().bind(GRIDS[:2]).load_state_dict(saved)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sandwich(samples=1), "at least 2 profiles.*samples=1"),
        (lambda: Sandwich(between="all"), "between must be one of.*'all'"),
        (lambda: Chain([]), "needs profiles of one length"),
        (lambda: Chain([(1, 2), (1,)]), "profiles of one length; got 2 of lengths"),
        (lambda: Chain(CHAIN, samples=4), "samples must be from 1 to 3.*got 4"),
        (lambda: Chain([(1, 2)]).bind(GRIDS), "is for 2 groups; there are 3"),
        (lambda: Chain([(1, 2, 11)]).bind(GRIDS), "group 2 must be an integer from 1 to 10; got 11"),
        (lambda: SingleLayer().bind([]), "no grids"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make: Callable[[], Sampler], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()
