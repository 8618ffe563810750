"""Run a recipe's comparison in parallel and say what may be claimed: arms x seeds x durations -> records -> verdict.

Every run is a unit of its own in a local process; one that is killed is run again, and a comparison that is stopped
goes on where it was. Training steps are timed first, in turns and with nothing else running, and the seconds that count
are steps times these: how many runs share the machine afterwards changes nothing but the moment that pruning takes.
"""

import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from paretorch.errors import InputError, RunError
from paretorch.evidence.claims import Verdict, claim
from paretorch.evidence.families import Family, Scope, families_of
from paretorch.evidence.records import FILE_NAME, RunRecord, load_record
from paretorch.evidence.speedup import Speedup, compare_families
from paretorch.pipelines.comparison import Comparison
from paretorch.recipes import CompareTable, load_recipe
from paretorch.training.executor import Job, LocalProcesses
from paretorch.training.run import RunDirectory

logger = logging.getLogger("paretorch")


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A comparison that has been run.

    Attributes:
        families: by name, controls too.
        speedup: of the candidate over its baseline.
        controls: role -> the candidate compared with that control; None for one that was left out.
        verdict: what may be claimed.
    """

    families: Mapping[str, Family]
    speedup: Speedup
    controls: Mapping[str, Speedup | None]
    verdict: Verdict

    def write_page(self, path: Path, *, title: str, command: str) -> Path:
        """Write the report.

        Args:
            path: the HTML file.
            title: its heading.
            command: repeats the comparison.
        """
        from paretorch.evidence.report import write_speedup_page

        families = list(self.families.values())
        return write_speedup_page(self.speedup, self.verdict, path, families=families, title=title, command=command)


def compare(
    reference: str,
    out: Path,
    *,
    overrides: Mapping[str, Any] | None = None,
    data: Path | None = None,
    workers: int = 1,
    resume: bool = False,
    command: str = "",
) -> Compared:
    """Run, or finish, the comparison of a recipe.

    Args:
        reference: a TOML file with a `[compare]` table, or the name of a recipe that ships.
        out: the output folder.
        overrides: top-level keys of the recipe to replace.
        data: the data folder, for tasks that need one.
        workers: runs at the same time, each on one thread.
        resume: go on in a folder that holds this comparison.
        command: repeats it, for the records.

    Raises:
        InputError: for a bad recipe, or a folder that holds something else.
        RunError: if runs failed; the others are complete, and the failed ones are run again with `resume`.
        KeyboardInterrupt: after SIGINT or SIGTERM, with the state of all runs saved.
    """
    recipe = load_recipe(reference, overrides=overrides)
    comparison = recipe.comparison(data=data, command=command)
    comparison.check()
    assert recipe.compare is not None
    processes = LocalProcesses(workers)  # refuses a bad number of workers before the folder is made
    with RunDirectory(out, recipe=comparison.recipe, resume=resume), processes:
        arguments = {
            "reference": reference,
            "overrides": json.dumps(dict(overrides or {})),
            "data": None if data is None else str(data),
            "command": command,
            "out": str(out),
        }
        _run(processes, comparison, arguments)
    return judge(comparison.records(out), recipe.compare)


def judge(records: Iterable[RunRecord], table: CompareTable) -> Compared:
    """What the records of a comparison let one claim.

    Args:
        records: of all its runs.
        table: who is the candidate, who the baseline, and what was left out.

    Raises:
        NotComparableError: as `compare_families`.
    """
    families = families_of(records)
    candidate, baseline = families[table.candidate], families[table.baseline]

    def against(other: Family, scope: Scope, *, asked: bool) -> Speedup:
        qualities = table.qualities if asked and table.qualities else None
        return compare_families(candidate, other, axis=table.axis, scope=scope, qualities=qualities)

    by_role = {family.role: family for family in families.values() if family.role.startswith("control:")}
    controls: dict[str, Speedup | None] = {
        role: against(family, "after_dense" if _share_dense(candidate, family) else "total", asked=False)
        for role, family in by_role.items()
    }
    absent = [*table.left_out, *([] if _prunes(candidate) else ["random"])]
    if table.mode == "screening":
        absent = ["smaller", "random"]
    controls |= {f"control:{name}": None for name in absent}
    speedup = against(baseline, "after_dense" if _share_dense(candidate, baseline) else "total", asked=True)
    verdict = claim(speedup, mode=table.mode, controls=controls)
    reasons = [f"The control {name} was left out: {reason}" for name, reason in table.left_out.items()]
    if not _prunes(candidate) and "random" not in table.left_out:
        reasons.append("The control random does not apply: the candidate removes nothing.")
    verdict = replace(verdict, warnings=(*verdict.warnings, *reasons))
    return Compared(families=families, speedup=speedup, controls=controls, verdict=verdict)


def load_comparison(out: Path) -> Compared | None:
    """The comparison that a folder holds, judged again; None if it holds none.

    Args:
        out: the output folder of `compare`.

    Raises:
        InputError: if its runs have not all finished, or its recipe cannot be read any more.
    """
    kept = out / "recipe.toml"
    if not kept.is_file() or not (out / "runs").is_dir():
        return None
    recipe = load_recipe(str(kept))
    if (table := recipe.compare) is None:
        return None
    records = [load_record(path) for path in sorted((out / "runs").glob(f"*/{FILE_NAME}"))]
    expected = len(recipe.seeds) * len(table.durations)
    finished = dict.fromkeys((table.candidate, table.baseline), 0)
    finished |= Counter(record.family for record in records)
    if lacking := [f"{expected - count} of {name!r}" for name, count in finished.items() if count < expected]:
        raise InputError(
            f"{out} lacks runs: {', '.join(lacking)}, of {expected} each; finish the comparison with "
            f"`paretorch compare RECIPE --out {out} --resume`"
        )
    return judge(records, table)


def run_unit(*, reference: str, overrides: str, data: str | None, command: str, out: str, unit: str) -> None:
    """Run one unit; called in worker processes."""
    comparison = _comparison(reference, overrides, data, command, out)
    found = next(one for one in [*comparison.starts(), *comparison.units()] if one.id == unit)
    comparison.run_unit(found, Path(out))


def time_steps(*, reference: str, overrides: str, data: str | None, command: str, out: str) -> None:
    """Time the training steps of all families in turns; called in a worker process that is alone."""
    _comparison(reference, overrides, data, command, out).time_steps(Path(out))


@cache
def _comparison(reference: str, overrides: str, data: str | None, command: str, out: str) -> Comparison:
    """Built once per process, because a task holds its data in memory.

    Raises:
        InputError: if it is no longer the comparison that `out` holds.
    """
    recipe = load_recipe(reference, overrides=json.loads(overrides))
    comparison = recipe.comparison(data=None if data is None else Path(data), command=command)
    kept = Path(out) / "recipe.toml"
    if kept.read_bytes() != comparison.recipe.encode():
        raise InputError(
            f"recipe {reference} or its task was changed while the comparison was running; {kept} holds what was "
            "started: restore it and go on with --resume, or choose another directory"
        )
    return comparison


def _run(processes: LocalProcesses, comparison: Comparison, arguments: Mapping[str, Any]) -> None:
    _collect(processes, [Job("timing", "paretorch.comparisons:time_steps", dict(arguments))])
    for units in (comparison.starts(), comparison.units()):
        jobs = [Job(unit.id, "paretorch.comparisons:run_unit", {**arguments, "unit": unit.id}) for unit in units]
        _collect(processes, jobs)


def _collect(processes: LocalProcesses, jobs: Sequence[Job]) -> None:
    """Run the jobs, and raise at the end what went wrong in any of them."""
    for job in jobs:
        processes.submit(job)
    failures = []
    for number, outcome in enumerate(processes.collect(), start=1):
        logger.info("%s (%d of %d): %s", outcome.job.id, number, len(jobs), "failed" if outcome.error else "done")
        if outcome.error_class == "InputError":
            raise InputError(f"{outcome.job.id}: {outcome.error}")
        if outcome.error is not None:
            failures.append(f"{outcome.job.id}: {outcome.error}")
    if failures:
        raise RunError(
            f"{len(failures)} of {len(jobs)} runs failed and the others are complete; --resume runs these again. "
            + "\n".join(failures)
        )


def _share_dense(first: Family, second: Family) -> bool:
    return first.shares_dense and second.shares_dense


def _prunes(family: Family) -> bool:
    return any(phase.get("kind") in ("prune", "cut") for run in family.runs for phase in run.phases)
