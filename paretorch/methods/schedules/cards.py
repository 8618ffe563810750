"""The cards of the six retraining schedules; their formulas are in `retraining.py`."""

from paretorch.methods.card import Card

_COST_MODEL = "no cost per step; the same accuracy after fewer retraining steps, or a higher one after as many"
_COMPARED = ("ft", "llr", "allr")
_REALISED_BY = "a shorter retraining phase at the accuracy that is asked for"


def _card(name: str, title: str, summary: str, invariants: tuple[str, ...], reference: str) -> Card:
    return Card(
        id=name,
        title=title,
        summary=summary,
        cells=(("algorithm", "replace"),),
        phase=("retrain",),
        semantic_class="semantic",
        relieves=("retraining steps",),
        worsens=(),
        cost_model=_COST_MODEL,
        realised_by=_REALISED_BY,
        invariants=invariants,
        reference=reference,
        evidence=("retraining_schedules", "published_resnets") if name in _COMPARED else (),
    )


CARDS = (
    _card(
        "ft",
        "Fine-tuning (FT)",
        "Retrains at the lowest learning rate of the dense run.",
        ("the learning rate is the same at every step",),
        "Han, Pool, Tran and Dally, NeurIPS 2015",
    ),
    _card(
        "lrw",
        "Learning-rate rewinding (LRW)",
        "Replays the end of the dense run's learning-rate sequence.",
        ("as many steps as the dense run replay all of it", "more steps than the dense run are refused"),
        "Renda, Frankle and Carbin, ICLR 2020",
    ),
    _card(
        "slr",
        "Scaled learning-rate restarting (SLR)",
        "Squeezes the dense run's whole learning-rate sequence into the retraining phase.",
        ("without warm-up and with as many steps as the dense run it is the dense schedule",),
        "Le and Hua, ICLR 2021; generalised to any dense schedule by Zimmer, Spiegel and Pokutta, ICLR 2023",
    ),
    _card(
        "clr",
        "Cyclic learning-rate restarting (CLR)",
        "Falls from the dense run's peak to its lowest learning rate along a cosine.",
        ("the learning rate is never above the peak or, after the ramp, below the floor",),
        "Le and Hua, ICLR 2021",
    ),
    _card(
        "llr",
        "Linear learning-rate restarting (LLR)",
        "Falls from the dense run's peak to 0 in a straight line.",
        ("with a ramp of at least one step the learning rates sum to peak * steps / 2",),
        "Zimmer, Spiegel and Pokutta, ICLR 2023",
    ),
    _card(
        "allr",
        "Adaptive linear learning-rate restarting (ALLR)",
        "LLR with a peak that follows the norm lost by pruning and the retraining budget.",
        (
            "the peak is min(1, max(norm drop, budget ratio)) times the dense peak",
            "with a factor of 1 it is LLR",
            "the norm drop is unchanged by scaling or permuting the weights",
        ),
        "Zimmer, Spiegel and Pokutta, ICLR 2023, equation (1)",
    ),
)
