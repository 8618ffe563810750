"""Made-up families of runs with known curves, and the page of their comparison."""

import math
from dataclasses import replace

from paretorch.evidence.claims import Verdict
from paretorch.evidence.families import families_of
from paretorch.evidence.report import write_speedup_page
from paretorch.evidence.speedup import compare_families
from tests.evidence.synthetic import STEPS, run

EPOCHS = (1, 2, 4, 8, 16)
SEEDS = (0, 1, 2, 3, 4)


def family(
    label, *, role="", methods=(), gain=1.0, step_s=0.01, seeds=SEEDS, epochs=EPOCHS, ceiling=0.98, luck=0.03, **more
):
    """Runs whose quality after d epochs is that of the baseline after gain * d, in steps of step_s seconds."""
    runs = []
    for seed in seeds:
        pace = gain * (1 + luck * math.sin(7 * seed + len(label)))
        for duration in epochs:
            fields = {
                "run_id": f"{label}-{duration}-s{seed}",
                "group": {"method": label},
                "validation": ceiling - 0.21 / (pace * duration),
                "command": f"paretorch compare digits.toml --family {label}",
                "recipe_hash": "c0ffee" * 10,
                "task": {"name": "digits"},
                "methods": list(methods),
                "phases": [
                    {"phase": "train", "steps": STEPS * duration, "epochs": duration, "seconds": 9.9, "step_s": step_s}
                ],
            }
            quality = ceiling - 0.2 / (pace * duration)
            runs.append(run(label, seed, duration, quality, role=role, **fields | more))
    return runs


BASE = family("FT", role="baseline", methods=["imp"], tuning={"trials": 3})
FAST = family("ALLR", role="candidate", methods=["imp", "allr"], gain=1.6, step_s=0.0125, tuning={"trials": 3})
VERDICT = Verdict(
    lines=("On digits, ALLR needs less time than FT.", "At 90.0 %: 1.28.", "Nothing else was tried."),
    claimed=True,
    refusals=(),
    warnings=(),
)
REFUSED = Verdict(
    lines=("No evidence: the baseline was not tuned.", "Why: nothing.", "Nothing stands beside it."),
    claimed=False,
    refusals=("The candidate was tuned with 3 trials and the baseline with 1.",),
    warnings=("The learning rate of <one run> had not come down.",),
)


def compared(records, candidate="ALLR", baseline="FT", **options):
    families = families_of(records)
    return compare_families(families[candidate], families[baseline], **options), list(families.values())


def write(folder, records, *, verdict=VERDICT, title="ALLR against FT", command="paretorch compare d", **options):
    speedup, families = compared(records, **options)
    path = write_speedup_page(speedup, verdict, folder / "page.html", families=families, title=title, command=command)
    return path.read_text(encoding="utf-8")


def diverged(runs, *, seed, above):
    """The runs of one seed longer than `above` epochs as diverged."""
    return [
        replace(run, quality=None, status="diverged") if run.seed == seed and run.duration["epochs"] > above else run
        for run in runs
    ]


def row(page, table, name):
    head, *rows = page.tables[table]
    return dict(zip(head, next(cells for cells in rows if cells[0] == name), strict=True))
