"""Choices measured on a user's own card, in a file of the user's that is read before the shipped ones.

A choice is good for the compiler and the kernels that it was measured with and for no others, so the file names them,
and one that names others is not read. Nothing here looks for a file: who serves says which one.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from glm_rocm_kernels.errors import LaunchDataError
from glm_rocm_kernels.launch import Entry, parse_entry

FORMAT = 1
FIELDS = {"format": int, "arch": str, "card": str, "measured": str, "versions": dict, "entries": list, "tried": list}


@dataclass(frozen=True)
class Stale:
    """Why a file is not read: what it was measured with, and what is here."""

    found: str
    required: str

    def __str__(self) -> str:
        return f"measured with {self.found}; here is {self.required}"


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """What a measured choice depends on: the compiler, torch, and a digest of every line of the kernels."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    found = {name: importlib.metadata.version(name).partition("+")[0] for name in ("triton", "torch")}
    return found | {"kernels": digest.hexdigest()[:12]}


def document(path: Path, arch: str) -> dict[str, Any] | Stale:
    """The file's content, its fields checked.

    Raises:
        LaunchDataError: it is no such file, or one for another architecture.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LaunchDataError(f"`{path}` cannot be read: {error}") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise LaunchDataError(f"`{path}` is no file of tuned choices of format {FORMAT}")
    for name, kind in FIELDS.items():
        if type(found.get(name)) is not kind:
            raise LaunchDataError(f"`{path}`: `{name}` is {found.get(name)!r}; required: {kind.__name__}")
    if found["arch"] != arch:
        raise LaunchDataError(f"`{path}` is for {found['arch']}; required: {arch}")
    here = versions()
    if found["versions"] != here:
        differing = [name for name in here if found["versions"].get(name) != here[name]]
        return Stale(_named(found["versions"], differing), _named(here, differing))
    return found


def read(path: Path, arch: str) -> tuple[Entry, ...] | Stale:
    """The file's choices, for `launch.use_tuned`.

    Raises:
        LaunchDataError: it is no such file, one for another architecture, or an entry breaks the schema.
    """
    found = document(path, arch)
    if isinstance(found, Stale):
        return found
    return tuple(parse_entry(entry, f"{path.name}, entry {i}") for i, entry in enumerate(found["entries"]))


def _named(versions: dict[str, Any], names: list[str]) -> str:
    return ", ".join(f"{name} {versions.get(name, 'unknown')}" for name in names)
