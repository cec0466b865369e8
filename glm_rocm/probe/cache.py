"""What probes found, remembered by versions, card and problem in the user's cache."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glm_rocm import __version__
from glm_rocm.ops.kernel import Kernel
from glm_rocm.plan import records
from glm_rocm.probe.outcome import DEMOTES, Outcome
from glm_rocm.target import Target

FORMAT = 1
LIBRARIES = ("torch", "triton", "flashinfer-python", "flashinfer-cubin", "flashinfer-jit-cache", "xformers", "aiter")
TOOLS = ("nvcc", "ninja", "g++", "hipcc")
REMEMBERED = ("ran", *DEMOTES)
"""What stops a launch is found anew each time."""


def address(kernel: Kernel, request: str, target: Target, environment: Mapping[str, str]) -> str:
    """The name under which a probe is remembered: a digest of all that its result could depend on."""
    found: dict[str, Any] = {
        "format": FORMAT,
        "glm_rocm": __version__,
        "python": platform.python_version(),
        "kernel": kernel.name,
        "request": request,
        "card": [target.arch, target.device, target.memory_bytes],
        "libraries": {name: _versions(name) for name in LIBRARIES},
        "tools": {name: shutil.which(name, path=environment.get("PATH", "")) for name in TOOLS},
        "environment": {
            name: value
            for name, value in environment.items()
            if name.startswith(("FLASHINFER_", "XFORMERS_", "CUDA_", "TRITON_", "AITER_", "ROCM_", "HIP_"))
        },
    }
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:32]


def _versions(name: str) -> list[str]:
    return sorted({str(item.version) for item in importlib.metadata.distributions(name=name)})


def default_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """`$XDG_CACHE_HOME/glm-rocm/probes`, else below `~/.cache`."""
    base = environment.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path(environment.get("HOME", "/")) / ".cache") / "glm-rocm" / "probes"


def read(folder: Path, name: str) -> Outcome | None:
    """The remembered outcome; None where there is none, or none that can be read."""
    try:
        content = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        found = records.decode(Outcome, content, where="outcome")
    except (OSError, ValueError):
        return None
    return found if found.state in REMEMBERED else None


def write(folder: Path, name: str, outcome: Outcome) -> bool:
    """Remember an outcome, whole or not at all. False where the folder takes none: the next launch tries again."""
    if outcome.state not in REMEMBERED:
        return False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{name}-", dir=folder)
    except OSError:
        return False
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(records.encode(outcome), file)
        os.replace(temporary, folder / f"{name}.json")
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        return False
    return True
