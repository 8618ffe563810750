"""Decide whether a timing was taken on a quiet machine; a timing that was not is kept but not certified.

Three signs of neighbours, each enough on its own:

    cpu_s / wall_s < 0.9 * threads      somebody else had the cores while we waited
    mean > 1.5 * median                 a few calls stalled (a median alone hides a spin-barrier collapse)
    load > cores + 0.5                  more processes were runnable than there are cores when timing began

The first two thresholds come from a contention experiment (ResNet-20, batch 1, two threads): with one neighbour
the median stayed at 1.57 ms while the mean was 42 ms; with two it went from 1.5 to 590 ms at cpu/wall near 1.
"""

from dataclasses import dataclass

MIN_CPU_SHARE = 0.9
MAX_MEAN_OVER_MEDIAN = 1.5
LOAD_TOLERANCE = 0.5  # the load average of an otherwise idle machine hovers a little above the work it does


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`quiet` is True when nothing speaks against the timing; otherwise `reason` says in words what does."""

    quiet: bool
    reason: str | None


def noise_verdict(
    *,
    mean_s: float,
    median_s: float,
    threads: int,
    cpu_per_wall: float | None,
    load: float | None = None,
    cores: int | None = None,
) -> Verdict:
    """Judge one timing by the three rules of this module.

    Args:
        mean_s, median_s: mean and median wall seconds of one call.
        threads: intra-operator threads that the calls were allowed to use.
        cpu_per_wall: CPU seconds of this process per wall second over the timed calls; None where it says nothing
            (work on an accelerator), which skips the first rule.
        load, cores: one-minute load average when timing began and the cores this process may use; None skips the
            third rule.

    Returns:
        `Verdict(quiet=True, reason=None)`, or `quiet=False` with every broken rule named in `reason`.
    """
    reasons = []
    if cpu_per_wall is not None and cpu_per_wall < MIN_CPU_SHARE * threads:
        reasons.append(
            f"CPU time was {cpu_per_wall:.2f} of wall time, below {MIN_CPU_SHARE:g} x {threads} thread(s): other "
            "processes had the cores, or the work does not fill that many threads"
        )
    if mean_s > MAX_MEAN_OVER_MEDIAN * median_s:
        reasons.append(
            f"the mean call took {mean_s / median_s:.2f} times the median, above {MAX_MEAN_OVER_MEDIAN:g}: some calls "
            "stalled"
        )
    if load is not None and cores is not None and load > cores + LOAD_TOLERANCE:
        reasons.append(f"the load average was {load:.1f} on {cores} core(s) when timing began")
    if not reasons:
        return Verdict(quiet=True, reason=None)
    return Verdict(quiet=False, reason="not certified: " + "; ".join(reasons))
