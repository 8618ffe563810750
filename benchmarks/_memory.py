"""Peak memory of one call, each figure in a process of its own: what ran before must not count, nor hide the peak.

The child prepares, so that inputs are in memory and code has run once, then makes the call:

    extra = (largest resident set during the call) - (resident set just before it)

The kernel keeps only the largest resident set so far. Freed memory is therefore handed back first, and the rest of the
way to the old peak is filled with bytes, so that any further byte is a new peak. Pages are counted in batches and code
is read in as it is used, so repeated figures differ by a megabyte or two: take several processes where that matters.
Linux with glibc. For the peak of a whole process see `paretorch.measurement.memory.peak_rss_bytes`, for tensors alone
`AllocationTracker`.
"""

import ctypes
import importlib.util
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from paretorch.errors import InputError, RunError

SPARE_BYTES = 4 << 20  # written beyond the old peak, so that a small call shows


def memory_in_subprocess(prepare: Callable[..., Callable[[], object]], /, **parameters: Any) -> int:
    """Bytes that one call needs on top of what was there before it, measured in a fresh process.

    Args:
        prepare: a function at the top of a script; `prepare(**parameters)` returns the call to be measured. What the
            call returns is alive at its peak, so its bytes are included.
        parameters: what JSON can hold.

    Raises:
        InputError: a function that another process cannot find, or parameters without a JSON form.
        RunError: the child failed; its last words are in the message.
    """
    file = getattr(sys.modules.get(prepare.__module__), "__file__", None)
    if file is None or "." in prepare.__qualname__:
        raise InputError(
            f"{prepare.__qualname__} must be a function at the top of a file, for another process to find."
        )
    try:
        given = json.dumps(parameters)
    except TypeError as error:
        raise InputError(f"the parameters of {prepare.__qualname__} have no JSON form: {error}.") from error
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "bytes.json"
        command = [sys.executable, __file__, file, prepare.__qualname__, given, str(answer)]
        child = subprocess.run(command, capture_output=True, text=True, check=False)
        if child.returncode or not answer.exists():
            last = child.stderr.strip().splitlines()[-1:] or ["no message"]
            raise RunError(f"the process that measured {prepare.__qualname__} ended with {child.returncode}: {last[0]}")
        return int(json.loads(answer.read_text(encoding="utf-8")))


def peak_above_now(call: Callable[[], object]) -> int:
    """Bytes by which the process grew at most during the call, 0 when it did not grow.

    Raises:
        RunError: the process could not be filled up to its old peak, so that a smaller growth would not show.
    """
    ctypes.CDLL(None).malloc_trim(0)  # memory freed before would be used again and not show
    filler = np.ones(max(0, _peak_bytes() - _resident_bytes()) + SPARE_BYTES, dtype=np.uint8)
    peak_before, resident = _peak_bytes(), _resident_bytes()
    if peak_before - resident > SPARE_BYTES:
        raise RunError(
            f"the process once was {peak_before - resident} bytes larger, so its peak says nothing about a call"
        )
    result = call()
    peak = _peak_bytes()
    del result, filler
    return peak - resident if peak > peak_before else 0


def _peak_bytes() -> int:
    """Largest resident set of this process so far (Linux: ru_maxrss in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _resident_bytes() -> int:
    """Resident set of this process now."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


def _measure(file: str, function: str, given: str, answer: str) -> None:
    """What the child does."""
    sys.path.insert(0, str(Path(file).parent))
    spec = importlib.util.spec_from_file_location("measured_script", file)
    if spec is None or spec.loader is None:
        raise InputError(f"{file} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    call = getattr(module, function)(**json.loads(given))
    Path(answer).write_text(json.dumps(peak_above_now(call)), encoding="utf-8")


if __name__ == "__main__":
    _measure(*sys.argv[1:])
