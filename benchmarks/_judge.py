"""The classifier that judges generated images: where it is, and how cells that it judged are told from others.

add_judge(parser)
arguments = parser.parse_args()
classifier = judge_of(parser, arguments)
Cell(..., parameters={..., **judge_parameter(classifier)})
"""

import argparse
from pathlib import Path

from recipe_runs import run as run_recipe

from paretorch.artefacts.manifest import WEIGHTS_FILE, file_sha256
from paretorch.training.tasks.generative.judge import DEFAULT_CLASSIFIER

RECIPE = "fashion-mnist-classifier"


def add_judge(parser: argparse.ArgumentParser) -> None:
    """The option `--classifier`."""
    parser.add_argument("--classifier", type=Path, help="folder of the saved classifier that judges generated images")


def judge_of(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> Path:
    """Its folder; the recipe makes it where none is named and none is there. `--quick` judges no images.

    Args:
        parser: ends the program where a named classifier, or with `--write-only` any, is missing.
        arguments: with `data`, `classifier`, `quick` and `write_only`.
    """
    folder: Path = arguments.classifier or Path(DEFAULT_CLASSIFIER)
    if not (arguments.quick or (folder / WEIGHTS_FILE).is_file()):
        if arguments.classifier or arguments.write_only:
            parser.error(
                f"{folder} holds no saved classifier ({WEIGHTS_FILE}), and cells of generated images are known by the "
                "one that judged them; give its folder as --classifier"
            )
        run_recipe(RECIPE, arguments.data)
    return folder


def judge_parameter(classifier: Path) -> dict[str, str]:
    """The SHA-256 of its weights, for the parameters of the cells that it judged."""
    return {"judge": file_sha256(classifier / WEIGHTS_FILE)}
