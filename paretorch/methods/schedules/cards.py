"""The cards of the six retraining schedules; their formulas are in `retraining.py`."""

from collections.abc import Mapping, Sequence
from typing import Any

from paretorch.methods.card import Card, HyperParameter
from paretorch.methods.cost_model import Effect, Effects, LayerShape
from paretorch.methods.schedules.retraining import WARMUP

_NAMES = ("ft", "lrw", "slr", "clr", "llr", "allr")
_COMPARED = ("ft", "llr", "allr")
_ZIMMER = "Zimmer, Spiegel and Pokutta, ICLR 2023"
_EPOCHS = HyperParameter(name="epochs", default=None, low=0, high=10_000)
_PEAK = HyperParameter(name="lr", default=0.1, low=1e-5, high=10.0, scale="log")
_RAMP = HyperParameter(name="warmup", default=WARMUP, low=0.0, high=1.0)


def _cost(_layers: Sequence[LayerShape], _batch: int, settings: Mapping[str, Any]) -> Effects:
    """A step costs what it did; the epochs of the phase are added to the dense run's."""
    return {"epochs": Effect(added=settings["epochs"])}


def _card(
    name: str,
    title: str,
    summary: str,
    *,
    year: int,
    references: tuple[str, ...],
    invariants: tuple[str, ...],
    moments: tuple[tuple[str, float], ...] = (("end of the ramp", WARMUP),),
    settings: tuple[HyperParameter, ...] = (_EPOCHS, _PEAK, _RAMP),
    tuned: bool = True,
) -> Card:
    return Card(
        id=name,
        title=title,
        summary=summary,
        year=year,
        references=references,
        cells=(("algorithm", "replace"),),
        phase=("retrain",),
        needs_total_duration=bool(moments),
        schedule_params=moments,
        hooks=("pre_step",),
        after=("magnitude", "nm-pattern", "filter-norm"),
        conflicts=tuple(other for other in _NAMES if other != name),
        composes_with=("masks", "bn-reestimate"),
        relieves=("steps to target",) if tuned else ("steps to target", "tuning cost"),
        cost="no cost per step; the same accuracy after fewer retraining steps, or a higher one after as many",
        cost_model=_cost,
        charges=("retraining epochs",),
        realised_by="a shorter retraining phase at the accuracy that is asked for",
        hyperparams=settings,
        tuning_cost=int(tuned),
        cost_scope="training",
        invariants=invariants,
        evidence=("retraining_schedules", "published_resnets") if name in _COMPARED else (),
    )


CARDS = (
    _card(
        "ft",
        "Fine-tuning (FT)",
        "Retrains at the lowest learning rate of the dense run.",
        year=2015,
        references=("Han, Pool, Tran and Dally, NeurIPS 2015",),
        invariants=("the learning rate is the same at every step",),
        moments=(),
        settings=(_EPOCHS, _PEAK),
    ),
    _card(
        "lrw",
        "Learning-rate rewinding (LRW)",
        "Replays the end of the dense run's learning-rate sequence.",
        year=2020,
        references=("Renda, Frankle and Carbin, ICLR 2020",),
        invariants=(
            "as many steps as the dense run replay all of it",
            "more steps than the dense run are refused",
        ),
        moments=(("beginning of the replay", 0.0),),
        settings=(_EPOCHS,),
        tuned=False,
    ),
    _card(
        "slr",
        "Scaled learning-rate restarting (SLR)",
        "Squeezes the dense run's whole learning-rate sequence into the retraining phase.",
        year=2021,
        references=("Le and Hua, ICLR 2021", f"generalised to any dense schedule: {_ZIMMER}"),
        invariants=("without warm-up and with as many steps as the dense run it is the dense schedule",),
    ),
    _card(
        "clr",
        "Cyclic learning-rate restarting (CLR)",
        "Falls from the dense run's peak to its lowest learning rate along a cosine.",
        year=2021,
        references=("Le and Hua, ICLR 2021",),
        invariants=("the learning rate is never above the peak or, after the ramp, below the floor",),
    ),
    _card(
        "llr",
        "Linear learning-rate restarting (LLR)",
        "Falls from the dense run's peak to 0 in a straight line.",
        year=2023,
        references=(_ZIMMER,),
        invariants=("with a ramp of at least one step the learning rates sum to peak * steps / 2",),
    ),
    _card(
        "allr",
        "Adaptive linear learning-rate restarting (ALLR)",
        "LLR with a peak that follows the norm lost by pruning and the retraining budget.",
        year=2023,
        references=(f"{_ZIMMER}, equation (1)",),
        invariants=(
            "the peak is min(1, max(norm drop, budget ratio)) times the dense peak",
            "with a factor of 1 it is LLR",
            "the norm drop is unchanged by scaling or permuting the weights",
        ),
        settings=(_EPOCHS, _RAMP),
        tuned=False,
    ),
)
