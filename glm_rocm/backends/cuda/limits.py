"""Limits that a library or a card sets: which version is installed, whether it is whole, what its wheel was built for.

Nothing is imported to find out: package metadata and the files of a wheel are read. What shows only when the library
is imported or run, the probe at launch finds.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.version import InvalidVersion, Version

from glm_rocm.ops.kernel import Limit, Reason
from glm_rocm.target import Target


def capability(arch: str) -> tuple[int, int] | None:
    """The compute capability of an architecture's word: `sm90` -> (9, 0); None of another vendor's."""
    digits = arch.removeprefix("sm")
    return (int(digits[:-1]), int(digits[-1])) if arch.startswith("sm") and digits.isdigit() else None


def at_least(major: int, minor: int, *, cure: str = "") -> Limit:
    """The card's compute capability reaches (major, minor)."""

    def limit(problem: Any, target: Target) -> Reason | None:
        found = capability(target.arch)
        if found is not None and found >= (major, minor):
            return None
        return Reason(f"arch {target.arch}", f"compute capability {major}.{minor} or above", cure)

    return limit


def library(requirement: str, module: str) -> Limit:
    """One whole copy of a distribution in a version that the calls are made for.

    Planning for a stated target does not ask, as with `module_present`.

    Args:
        requirement: as pip takes it, `flashinfer-python>=0.6.13,<0.8`.
        module: its top-level module.
    """
    wanted = Requirement(requirement)
    cure = f"pip install '{requirement}'"

    def limit(problem: Any, target: Target) -> Reason | None:
        if target.stated:
            return None
        versions = installed(wanted.name)
        if not versions:
            return Reason(f"no `{wanted.name}`", f"`{wanted.name}` {wanted.specifier}", cure)
        if len(versions) > 1:
            twice = f"pip uninstall -y {wanted.name} as often as there are, then {cure}"
            return Reason(f"`{wanted.name}` {' and '.join(versions)} side by side", "one of them", twice)
        if not _contains(wanted, versions[0]):
            return Reason(f"`{wanted.name}` {versions[0]}", f"version {wanted.specifier}", cure)
        if importlib.util.find_spec(module) is None:
            again = f"pip install --force-reinstall --no-deps '{requirement}'"
            return Reason(f"`{wanted.name}` {versions[0]} without its module `{module}`", "a whole installation", again)
        return None

    return limit


def installed(name: str) -> tuple[str, ...]:
    """Every version of a distribution that the import path holds, the first one found first."""
    found = importlib.metadata.distributions(name=name)
    return tuple(dict.fromkeys(str(item.version) for item in found))


def _contains(wanted: Requirement, version: str) -> bool:
    try:
        # A local build (0.6.13+cu130) counts as the release that it is made from.
        return wanted.specifier.contains(Version(version).public, prereleases=True)
    except InvalidVersion:
        return False


def wheel_has_code(module: str, record: str, *, cure: str) -> Limit:
    """A binary wheel holds code for the card: its own, or PTX of an older one, which the driver compiles.

    Args:
        module: the top-level module, whose folder is looked into.
        record: file in that folder with `env.TORCH_CUDA_ARCH_LIST`, as PyTorch's extension builder reads it.
        cure: what to do where it has none.
    """

    def limit(problem: Any, target: Target) -> Reason | None:
        spec = None if target.stated else importlib.util.find_spec(module)
        card = capability(target.arch)
        if spec is None or card is None or not spec.submodule_search_locations:
            return None
        archs = _built_for(Path(next(iter(spec.submodule_search_locations))) / record)
        if archs is None or runs_on(archs, card):
            return None
        return Reason(f"`{module}` built for `{archs}`", f"code for {target.arch}", cure)

    return limit


def _built_for(path: Path) -> str | None:
    """The list of architectures in a wheel's record; None where there is none, as in a build from source."""
    try:
        archs = json.loads(path.read_text(encoding="utf-8"))["env"]["TORCH_CUDA_ARCH_LIST"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return archs if isinstance(archs, str) else None


def runs_on(archs: str, card: tuple[int, int]) -> bool:
    """Whether a list such as `8.0+PTX 9.0a` has code that the card runs.

    Code of a capability runs on later ones of the same major number; a letter (`9.0a`) binds it to exactly that one;
    PTX runs on every later card (CUDA C++ Programming Guide, 3.1.2 to 3.1.4).
    """
    for word in re.split(r"[\s;]+", archs.strip()):
        match = re.fullmatch(r"(\d+)\.(\d+)([a-z]?)(\+PTX)?", word)
        if match is None:
            continue
        built, bound, ptx = (int(match[1]), int(match[2])), bool(match[3]), bool(match[4])
        if built == card or (not bound and built <= card and (built[0] == card[0] or ptx)):
            return True
    return False
