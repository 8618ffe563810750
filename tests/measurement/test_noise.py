import pytest

from paretorch.measurement.noise import noise_verdict

QUIET = {"mean_s": 1.0, "median_s": 1.0, "threads": 2, "cpu_per_wall": 1.98, "load": 0.4, "cores": 2}


def test_a_quiet_machine_passes_without_a_reason() -> None:
    verdict = noise_verdict(**QUIET)
    assert verdict.quiet
    assert verdict.reason is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"cpu_per_wall": 1.79}, r"CPU time was 1\.79 of wall time, below 0\.9 x 2"),
        ({"mean_s": 1.51}, r"the mean call took 1\.51 times the median"),
        ({"load": 2.6}, r"load average was 2\.6 on 2 core"),
    ],
)
def test_each_sign_of_neighbours_is_enough_and_is_named(change: dict[str, float], reason: str) -> None:
    verdict = noise_verdict(**{**QUIET, **change})
    assert not verdict.quiet
    assert verdict.reason is not None
    assert verdict.reason.startswith("not certified: ")
    assert len(verdict.reason.split(";")) == 1
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(verdict.reason)


@pytest.mark.parametrize("change", [{"cpu_per_wall": 1.8}, {"mean_s": 1.5}, {"load": 2.5}])
def test_the_thresholds_themselves_still_pass(change: dict[str, float]) -> None:
    assert noise_verdict(**{**QUIET, **change}).quiet


def test_all_broken_rules_are_listed() -> None:
    verdict = noise_verdict(mean_s=2.0, median_s=1.0, threads=1, cpu_per_wall=0.5, load=9.0, cores=2)
    assert verdict.reason is not None
    assert verdict.reason.count(";") == 2


def test_one_thread_beside_a_neighbour_on_another_core_passes() -> None:
    assert noise_verdict(mean_s=1.0, median_s=1.0, threads=1, cpu_per_wall=0.99, load=2.1, cores=2).quiet


def test_unknown_cpu_share_and_load_skip_their_rules() -> None:
    assert noise_verdict(mean_s=1.0, median_s=1.0, threads=4, cpu_per_wall=None).quiet
