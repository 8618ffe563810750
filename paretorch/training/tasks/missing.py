"""The folder of a task's data, or an error that says how to get them.

Nothing is downloaded here: a data folder holds one folder per data set, and the user fetches what a task needs once.
"""

from pathlib import Path

from paretorch.errors import InputError


def data_folder(data: Path | str | None, name: str, *, task: str, remedy: str) -> Path:
    """The folder `<data>/<name>`.

    Args:
        data: the data folder, from `--data` or PARETORCH_DATA; None where neither was given.
        name: of the folder within it.
        task: for the message.
        remedy: what to download, from where, to which place below `<data>`; starts with a verb, ends without a stop.

    Raises:
        InputError: with the remedy, if there is no such folder.
    """
    if data is None:
        raise InputError(
            f"{task} needs its data folder and none was given: {remedy}; pass --data <data> or set PARETORCH_DATA"
        )
    folder = Path(data) / name
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}: {remedy}")
    return folder


def hub_command(hub_id: str, name: str) -> str:
    """The command that writes a data set of the Hugging Face hub to `<data>/<name>`, for a remedy; needs extra `hf`."""
    load = f"from datasets import load_dataset; load_dataset('{hub_id}').save_to_disk('<data>/{name}')"
    return f'python -c "{load}" (extra hf)'
