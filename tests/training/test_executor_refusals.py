"""What an executor refuses before any work starts."""

import pytest

from paretorch.errors import InputError
from paretorch.training.executor import Job, LocalProcesses

HERE = "tests.training.executor_jobs"


def test_bad_numbers_are_refused() -> None:
    for workers in (0, -1, 1.5, True, "2"):
        with pytest.raises(InputError, match="workers must be an integer of at least 1; got"):
            LocalProcesses(workers)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="retries must be an integer of at least 0; got -1"):
        LocalProcesses(1, retries=-1)
    with pytest.raises(InputError, match="threads must be an integer of at least 1; got 0"):
        LocalProcesses(1, threads=0)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("double", "not of the form 'package.module:name'"),
        (f"{HERE}:double.twice", "not of the form 'package.module:name'"),
        (f"{HERE}:triple", f"{HERE} has no function 'triple'"),
        (f"{HERE}:__file__", "has no function '__file__'"),
        ("tests.training.no_such_module:run", "tests.training.no_such_module does not import: ModuleNotFoundError"),
        ("__main__:run", "move it to a module that can be imported"),
    ],
)
def test_function_that_a_worker_could_not_find_is_refused_before_work_starts(function: str, message: str) -> None:
    with LocalProcesses(1) as processes:
        with pytest.raises(InputError, match=message):
            processes.submit(Job("job", function))
        assert list(processes.collect()) == []
        assert not processes._workers


def test_repeated_id_and_arguments_without_a_json_form_are_refused() -> None:
    with LocalProcesses(1) as processes:
        with pytest.raises(InputError, match=r"job 'job': its arguments have no JSON form: .*set"):
            processes.submit(Job("job", f"{HERE}:double", {"number": {1}}))
        processes.submit(Job("job", f"{HERE}:double", {"number": 1}))
        with pytest.raises(InputError, match="there is a job 'job' already"):
            processes.submit(Job("job", f"{HERE}:double", {"number": 2}))
        assert [outcome.value for outcome in processes.collect()] == [{"twice": 2}]
        with pytest.raises(InputError, match="there is a job 'job' already"):
            processes.submit(Job("job", f"{HERE}:double", {"number": 3}))


def test_submission_outside_the_context_is_refused() -> None:
    processes = LocalProcesses(1)
    with pytest.raises(InputError, match="within `with LocalProcesses"):
        processes.submit(Job("job", f"{HERE}:double", {"number": 1}))
