"""Launch choices that a user measured on a card with `glm-rocm tune`: where they lie, and their use by our kernels."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType


def default_path(arch: str, environment: Mapping[str, str] = os.environ) -> Path:
    """`$XDG_CONFIG_HOME/glm-rocm/tuned/<arch>.json`, else below `~/.config`."""
    base = environment.get("XDG_CONFIG_HOME")
    folder = Path(base) if base else Path(environment.get("HOME", "/")) / ".config"
    return folder / "glm-rocm" / "tuned" / f"{arch}.json"


def use(arch: str, path: Path) -> str:
    """Have our Triton kernels look at the file's choices first. A line on what came of it; empty where no file is."""
    if not path.is_file():
        return ""
    launch, tuned = kernels_launch(), kernels_tuned()
    try:
        found = tuned.read(path, arch)
    except ValueError as error:
        return f"tuned choices are not used: {error}; `rm {path}` or `glm-rocm tune`"
    if isinstance(found, tuned.Stale):
        return f"tuned choices are not used: `{path}` was {found}; `glm-rocm tune` measures anew"
    launch.use_tuned(arch, found)
    return f"{len(found)} tuned choices from `{path}`"


def kernels_launch() -> ModuleType:
    """Our kernels' launch data; Triton is imported now."""
    from glm_rocm_kernels import launch

    return launch


def kernels_tuned() -> ModuleType:
    """The reader of tuned files."""
    from glm_rocm_kernels import tuned

    return tuned
