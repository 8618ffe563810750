"""Describe the machine and the software that a number was measured with, as plain JSON values.

A timing without this is not comparable with any other. No host name, user name or path is recorded: the host appears
as a short hash, enough to see that two results come from the same machine.
"""

import hashlib
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from paretorch.measurement.timing import usable_cores

PACKAGES = (
    *("paretorch", "torch", "numpy", "scipy", "safetensors", "accelerate"),
    *("torchao", "triton", "onnxruntime", "openvino"),
)


def environment() -> dict[str, object]:
    """What must accompany a measured number.

    Returns:
        cpu (model name), cpu_capability (vector instructions torch uses), cores (usable by this process), memory_bytes,
        threads and interop_threads (torch), omp_wait_policy and omp_num_threads (None when unset), mkl and onednn
        (available to torch), accelerators (names), cuda (version torch was built for, or None), platform, python,
        packages (name -> version of those installed), host (8 hex digits). Values are JSON types.
    """
    return {
        "cpu": cpu_model(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": usable_cores(),
        "memory_bytes": memory_bytes(),
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "mkl": bool(torch.backends.mkl.is_available()),
        "onednn": bool(torch.backends.mkldnn.is_available()),
        "accelerators": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "cuda": torch.version.cuda,
        "platform": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": installed_versions(),
        "host": hashlib.sha256(platform.node().encode()).hexdigest()[:8],
    }


def cpu_model() -> str:
    """The processor's name, with family and model where the name alone is generic; "unknown" where none is told."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.is_file():
        return platform.processor() or "unknown"
    fields: dict[str, str] = {}
    for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    name = fields.get("model name", platform.machine() or "unknown")
    if "cpu family" in fields and "model" in fields:
        name += f" (family {fields['cpu family']}, model {fields['model']})"
    return name


def memory_bytes() -> int | None:
    """Installed memory, or None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not POSIX, or a name this system lacks: unknown, not zero
        return None


def installed_versions() -> dict[str, str]:
    """Versions of the packages that decide speed, by name; those that are not installed are left out."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
