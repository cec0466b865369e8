"""Which SGLang is installed, read from package metadata; SGLang itself is not imported."""

from __future__ import annotations

import importlib.metadata

RELEASE = "0.5.23"
SUPPORTED = f"=={RELEASE}.*"
"""The versions the plug-in is made for: one release and its post-releases, since SGLang's internals move with each."""


def found_version() -> str | None:
    """The installed SGLang's version; None where there is none."""
    try:
        return importlib.metadata.version("sglang")
    except importlib.metadata.PackageNotFoundError:
        return None


def is_supported(version: str) -> bool:
    """Whether `version` is the release, whatever its post-release and local part (`.post1`, `+rocm720`)."""
    return version == RELEASE or version.startswith((f"{RELEASE}.", f"{RELEASE}+"))
