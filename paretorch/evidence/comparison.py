"""Sweeps side by side: the runs of one workload from several folders, each with its own dense baseline.

Seeds are never pooled over folders: two folders are two recipes, or two repetitions. Arms of equal name in two folders
are compared like any two arms, paired over the seeds they share; each arm is also compared with its own dense model.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from paretorch.errors import InputError, NotComparableError
from paretorch.evidence.arms import Arm, arms_of, baseline_of, difference
from paretorch.evidence.difference_words import difference_words
from paretorch.evidence.front import Front, Point
from paretorch.evidence.grids import leading
from paretorch.evidence.names import name_of, ordered
from paretorch.evidence.quantities import cost_field
from paretorch.evidence.records import RunRecord
from paretorch.evidence.reference_words import reference_sentences
from paretorch.evidence.verdict import verdict
from paretorch.evidence.words import Metric, listing, plural


@dataclass(kw_only=True)
class Workload:
    """What can be compared by one metric.

    Args:
        name: of the workload.
        metric: how its quality is written.
        folders: name of a folder -> its arms.
        left_out: why a folder's runs are not shown, in words.
    """

    name: str
    metric: Metric
    folders: dict[str, list[Arm]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    @property
    def arms(self) -> list[Arm]:
        """The arms of all folders; those of a name that several folders use are told apart by the folder."""
        shared = {label for label, count in _counts(self.folders).items() if count > 1}
        return [
            replace(arm, label=f"{arm.label} [{folder}]") if arm.label in shared else arm
            for folder, arms in self.folders.items()
            for arm in arms
        ]

    def pairs(self) -> list[tuple[Arm, Arm, str, str]]:
        """(arm, reference, folder of the arm, folder of the reference) for arms of equal name, against the first."""
        found: dict[str, tuple[Arm, str]] = {}
        pairs = []
        for folder, arms in self.folders.items():
            for arm in arms:
                if arm.quality is None:
                    continue
                if arm.label in found:
                    pairs.append((arm, found[arm.label][0], folder, found[arm.label][1]))
                else:
                    found[arm.label] = (arm, folder)
        return pairs


def workloads_of(sources: Mapping[str, Iterable[RunRecord]]) -> list[Workload]:
    """The workloads of all folders, in order of appearance.

    Raises:
        InputError: there are no records.
        NotComparableError: no folder's runs can be compared with each other; the message gives every reason.
    """
    groups: dict[tuple[str, str, bool], dict[str, list[RunRecord]]] = {}
    for folder, records in sources.items():
        for record in records:
            key = record.workload, record.metric, record.higher_is_better
            groups.setdefault(key, {}).setdefault(folder, []).append(record)
    if not groups:
        raise InputError("no run records were given; a report needs at least one finished run")
    found = []
    for (name, metric, higher_is_better), folders in groups.items():
        workload = Workload(name=name, metric=Metric(metric, higher_is_better=higher_is_better))
        for folder, records in folders.items():
            try:
                arms = ordered(arms_of(records))
                baseline_of(arms)
            except NotComparableError as error:
                workload.left_out.append(f"{folder}: {error}")
            else:
                workload.folders[folder] = arms
        found.append(workload)
    if not any(workload.folders for workload in found):
        raise NotComparableError("; ".join(reason for workload in found for reason in workload.left_out))
    return found


def findings(workload: Workload) -> list[str]:
    """What may be said of a workload in several folders: the main finding of each, then of all together."""
    mains = [
        f"{folder}: {verdict(run for arm in arms for run in arm.runs)[0]}" for folder, arms in workload.folders.items()
    ]
    if workload.folders and not workload.pairs():
        mains.append("No arm has the same name in two folders, so the fronts can be compared and single arms cannot.")
    arms = [arm for found in workload.folders.values() for arm in found]
    return [*mains, *_joint_front(workload), *reference_sentences(arms, None)[:1]]


def between_folders(workload: Workload) -> list[str]:
    """One sentence per pair of arms of equal name."""
    sentences = []
    for arm, reference, folder, other in workload.pairs():
        assert arm.quality is not None
        name = "the dense model" if arm.is_baseline else name_of(arm)
        words = difference_words(arm, difference(arm, reference), f"in {other}")
        sentences.append(f"In {folder}, {name} reaches {arm.metric.mean(arm.quality)}, {words}.")
    return sentences


def _joint_front(workload: Workload) -> list[str]:
    points = []
    for folder, arms in workload.folders.items():
        for arm in leading(arms):  # validation has chosen among the points of a grid; test data must not do it again
            size, quality = arm.interval(lambda run: cost_field(run, "nonzeros")), arm.quality
            if size is not None and quality is not None:
                points.append(Point(folder, size.mean, quality.mean))
    if len({point.label for point in points}) < 2:
        return []
    best = [point.label for point in Front(points, higher_is_better=workload.metric.higher_is_better).optimal]
    shares = [f"{best.count(folder)} from {folder}" for folder in workload.folders]
    chosen = any(arm.is_whole for arms in workload.folders.values() for arm in arms)
    of_grids = "; of every optimizer's grid it knows the setting that validation chose" if chosen else ""
    return [
        f"By the means alone, the joint front of test {workload.metric.name} and non-zero parameters holds "
        f"{plural(len(best), 'arm')}: {listing(shares)}{of_grids}."
    ]


def _counts(folders: Mapping[str, Sequence[Arm]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for arms in folders.values():
        for arm in arms:
            counts[arm.label] = counts.get(arm.label, 0) + 1
    return counts
