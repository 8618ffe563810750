"""A schedule that is stopped early is the beginning of the longer one, to the bit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretorch.errors import InputError
from paretorch.methods.schedules import Cosine, DenseSchedule, Linear, MultiStep, Schedule
from paretorch.methods.schedules.truncated import Truncated

WHOLE: list[Schedule] = [
    Linear(num_steps=40, peak=0.3, warmup=0.1),
    Cosine(num_steps=40, peak=0.3, floor=0.01),
    MultiStep(num_steps=40, peak=0.3, milestones=(0.5, 0.75)),
]


@given(st.sampled_from(WHOLE), st.integers(0, 40))
def test_it_is_the_exact_prefix_of_the_whole(whole: Schedule, num_steps: int) -> None:
    cut = Truncated(num_steps=num_steps, whole=whole)
    assert cut.trace() == whole.trace()[:num_steps]
    assert [cut(step) for step in range(num_steps)] == list(whole.trace()[:num_steps])


@pytest.mark.parametrize("whole", WHOLE)
def test_it_is_another_schedule_than_one_of_that_length(whole: Schedule) -> None:
    """Which is the point of it: its learning rate has not come down where it ends."""
    cut = Truncated(num_steps=10, whole=whole)
    own = type(whole)(**{**vars_of(whole), "num_steps": 10})
    assert cut.trace() != own.trace()
    assert cut(9) > own(9)


def vars_of(schedule: Schedule) -> dict[str, object]:
    return {name: getattr(schedule, name) for name in schedule.__dataclass_fields__}


def test_there_is_no_learning_rate_where_it_was_cut() -> None:
    cut = Truncated(num_steps=10, whole=WHOLE[0])
    with pytest.raises(InputError, match="step 10 is outside this Truncated schedule of 10 steps"):
        cut(10)


def test_a_cut_schedule_can_be_cut_again() -> None:
    once = Truncated(num_steps=20, whole=WHOLE[1])
    assert Truncated(num_steps=7, whole=once).trace() == WHOLE[1].trace()[:7]


def test_what_a_retraining_schedule_reads_of_it_is_what_was_used() -> None:
    cut = Truncated(num_steps=10, whole=WHOLE[2])
    assert DenseSchedule.of(cut) == DenseSchedule.of(MultiStep(num_steps=10, peak=0.3, milestones=(0.999,)))


def test_more_steps_than_the_whole_has_are_refused() -> None:
    with pytest.raises(InputError, match="num_steps = 41 is more than the 40 steps"):
        Truncated(num_steps=41, whole=WHOLE[0])


@pytest.mark.parametrize("num_steps", [-1, 2.5])
def test_a_number_of_steps_that_is_none_is_refused(num_steps: float) -> None:
    with pytest.raises(InputError, match="num_steps counts optimizer steps"):
        Truncated(num_steps=num_steps, whole=WHOLE[0])  # type: ignore[arg-type]
