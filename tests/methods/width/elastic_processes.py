"""Elastic training in each of several processes: `python -m torch.distributed.run ... elastic_processes FOLDER`.

Each process writes `rank-N.json`: the profiles it drew and its final weights.
"""

import os
import sys
from pathlib import Path

from paretorch.artefacts.files import write_json
from paretorch.methods.width.elastic import ElasticTraining
from paretorch.methods.width.groups import Profile
from paretorch.methods.width.samplers import Sandwich
from paretorch.training.trainer import Trainer
from tests.methods.width.test_elastic import GROUPS, Cuts, classes_task
from tests.training.problems import plain


class Noted(Sandwich):
    """A sandwich that writes down what it drew."""

    def __init__(self) -> None:
        super().__init__(samples=3, between="independent")
        self.drawn: list[list[Profile]] = []

    def draw(self) -> tuple[Profile, ...]:
        profiles = super().draw()
        self.drawn.append(list(profiles))
        return profiles


def main(folder: Path) -> None:
    trainer = Trainer(classes_task(), plain(16, momentum=0.9), seed=6)
    model, sampler = trainer.model(), Noted()
    elastic = ElasticTraining(sampler, groups=GROUPS, quantum=1, full_pass=True)
    trainer.fit(model, phase="only", num_steps=8, methods=[elastic, Cuts(elastic, {4: (6, 3)})])
    weights = [value.flatten().tolist() for value in model.parameters()]
    write_json(folder / f"rank-{os.environ.get('RANK', '0')}.json", {"weights": weights, "drawn": sampler.drawn})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
