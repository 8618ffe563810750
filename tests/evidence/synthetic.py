"""Records of invented runs with known truth: saturating curves, seed noise, and times that follow from the steps."""

import numpy as np

from paretorch.evidence.families import Family, families_of
from paretorch.evidence.records import RunRecord

EPOCHS = (1, 2, 4, 8, 16, 32)
STEPS, BATCH = 100, 64  # of one epoch


def run(family, seed, epochs, quality, *, step_s=0.01, role="", steps=STEPS, batch=BATCH, dense=0, **more):
    """One run of `epochs` epochs, `steps` steps each, after `dense` epochs of dense training."""
    names = [("dense", dense), ("retrain-0", epochs)] if dense else [("dense", epochs)]
    phases = [
        {
            "phase": name,
            "steps": e * steps,
            "epochs": float(e),
            "samples": e * steps * batch,
            "seconds": 1.1 * e * steps * (step_s or 0.01),
        }
        | ({} if step_s is None else {"step_s": step_s})
        for name, e in names
    ]
    fields = {
        "run_id": f"{family}-{epochs}ep-s{seed}",
        "arm": family,
        "group": {},
        "seed": seed,
        "workload": "digits",
        "metric": "accuracy",
        "quality": quality,
        "family": family,
        "role": role,
        "phases": phases,
        "duration": {"epochs": float(epochs), "steps": epochs * steps, "samples": epochs * steps * batch},
        "env": {"host": "ab12cd34", "cpu": "a processor", "threads": 1, "packages": {"torch": "2.13.0"}},
    }
    return RunRecord(**fields | more)


def truth(epochs, *, gain=1.0, rate=0.7):
    """Accuracy after so many epochs; a method with `gain` needs `gain` times fewer."""
    return 0.95 - 0.25 * (gain * epochs) ** -rate


def runs(family, *, gain=1.0, seeds=range(5), epochs=EPOCHS, rng=None, between=0.004, within=0.003, **more):
    """The runs of a family; without a generator every seed is the truth, a little shifted per seed."""
    made = []
    for seed in seeds:
        shift = 0.001 * seed if rng is None else rng.normal(0, between)
        for e in epochs:
            noise = 0.0 if rng is None else rng.normal(0, within)
            made.append(run(family, seed, e, truth(e, gain=gain) + shift + noise, **more))
    return made


def family(label, **options) -> Family:
    """The same as a family."""
    return families_of(runs(label, **options))[label]


def noisy_pair(seed, *, gain=1.0, step_ratio=1.0, jitter=0.01, **options):
    """Candidate and baseline whose true speed-up is gain * step_ratio, each run with its own noise."""
    rng = np.random.default_rng(seed)
    records = []
    for label, g, step_s in (("new", gain, 0.01), ("old", 1.0, 0.01 * step_ratio)):
        for record in runs(label, gain=g, rng=rng, **options):
            record.phases[0]["step_s"] = step_s * float(np.exp(rng.normal(0, jitter)))
            records.append(record)
    found = families_of(records)
    return found["new"], found["old"]
