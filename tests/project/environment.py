"""Checks an environment: no installed extra may move torch, and every extra's modules must import.

    python environment.py record FILE            note torch and the packages that come with it, before the rest
    python environment.py check FILE [EXTRA ...]  compare with the note, then import each extra's modules on their own

torch is moved by a package that requires another build of it (torchvision does), which then brings CUDA packages along.
"""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

MODULES = {
    "hf": ("transformers", "tokenizers", "datasets", "peft"),
    "lightning": ("lightning",),
    "export": ("onnx", "onnxscript", "onnxruntime", "openvino", "nncf", "executorch.exir", "executorch.runtime"),
    "quantize": ("torchao", "torchao.quantization"),
    "cluster": ("ray",),
    "search": ("optuna",),
    "track": ("tensorboard", "torch.utils.tensorboard", "mlflow"),
    "comm": ("zstandard",),
    "gpu": ("pynvml",),
    "docs": ("sphinx", "myst_parser", "furo", "sphinx_copybutton"),
    "browser": ("playwright.sync_api",),
    "peers": ("torch_pruning", "pytorch_optimizer", "moocore", "zipnn"),
}

COMES_WITH_CUDA = re.compile(r"(nvidia|cuda|triton|pytorch-triton)(-|$)", re.IGNORECASE)
NOT_PART_OF_TORCH = {"nvidia-ml-py"}


def torch_state() -> dict[str, object]:
    """The version of torch that a fresh interpreter imports, and the CUDA packages installed beside it."""
    code = "import torch; assert torch.ones(2).sum().item() == 2; print(torch.__version__)"
    version = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    names = {distribution.metadata["Name"].lower() for distribution in metadata.distributions()}
    cuda = sorted(name for name in names if COMES_WITH_CUDA.match(name) and name not in NOT_PART_OF_TORCH)
    return {"torch": version, "cuda_packages": cuda}


def differences(before: dict[str, object], after: dict[str, object]) -> list[str]:
    """One sentence for each thing that changed."""
    return [f"{key} was {before[key]} and is now {after[key]}" for key in before if before[key] != after[key]]


def import_problem(module: str) -> str | None:
    """The last line of the traceback when `module` does not import in a fresh interpreter, else None."""
    done = subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"import {module}: {done.stderr.strip().splitlines()[-1]}"


def main(arguments: Sequence[str]) -> int:
    """Run one of the two commands; the exit status is 0 when nothing is wrong, 1 otherwise."""
    command, note, *extras = arguments
    state = torch_state()
    if command == "record":
        Path(note).write_text(json.dumps(state), encoding="utf-8")
        return 0
    moved = differences(json.loads(Path(note).read_text(encoding="utf-8")), state)
    problems = [f"torch moved: {change}" for change in moved]
    for extra in extras:
        found = [problem for module in MODULES[extra] if (problem := import_problem(module))]
        problems += [f"extra {extra}: {problem}" for problem in found]
        sys.stdout.write(f"extra {extra}: {'does not import' if found else 'imports'}, torch {state['torch']}\n")
    for problem in problems:
        sys.stderr.write(problem + "\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
