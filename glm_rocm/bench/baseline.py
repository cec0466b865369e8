"""The committed counts of our kernels, one file an architecture, and what has risen against them.

Counts of machine code do not depend on the machine that counts, so a rise is a change of the kernels, of their launch
choices or of the compiler; the file names the compiler.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glm_rocm.bench.count import Counts
from glm_rocm.errors import UsageError

ALLOWED = 1.03
"""A count may rise by 3 %."""
COUNTED = (
    "instructions",
    "mfma_flops",
    "load_bytes",
    "store_bytes",
    "lds_read_bytes",
    "lds_write_bytes",
    "bank_conflicts",
    "barriers",
    "launches",
)
"""What may not rise. `workgroups` is written beside them and may not fall: a launch of one workgroup counts least."""
GROUPS = "workgroups"


@dataclass(frozen=True)
class Rise:
    """A count that went the wrong way."""

    case: str
    count: str
    was: int
    now: int

    def __str__(self) -> str:
        change = f"{self.now / self.was - 1:+.1%}" if self.was else "from nothing"
        return f"{self.case}: {self.count} {self.was} -> {self.now} ({change})"


def summary(counts: Counts) -> dict[str, int]:
    """What the file keeps of a row."""
    return {GROUPS: max(counts.workgroups), **{name: int(getattr(counts, name)) for name in COUNTED}}


def write(path: Path, arch: str, rows: Mapping[str, Counts]) -> None:
    """Put the rows into the file; those of other cases stay, unless another compiler counted them."""
    kept: dict[str, Any] = {}
    if path.is_file():
        before = _load(path, arch)
        kept = before["cases"] if before["triton"] == _triton() else {}
    cases = kept | {name: summary(counts) for name, counts in rows.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    body = ",\n".join(f"    {json.dumps(name)}: {json.dumps(cases[name])}" for name in cases)
    head = f'  "arch": {json.dumps(arch)},\n  "triton": {json.dumps(_triton())},\n'
    path.write_text(f'{{\n{head}  "cases": {{\n{body}\n  }}\n}}\n', encoding="utf-8")


def read(path: Path, arch: str, names: Iterable[str]) -> dict[str, dict[str, int]]:
    """The file's counts by case.

    Args:
        names: of cases that it must have.

    Raises:
        UsageError: the file is missing, no baseline, of another architecture or compiler, or has not a case.
    """
    before = _load(path, arch)
    if before["triton"] != _triton():
        raise UsageError(
            f"`{path}` was counted with triton {before['triton']}",
            required=f"triton {_triton()}, which is installed",
            hint=_rewrite(path, arch),
        )
    cases: dict[str, dict[str, int]] = before["cases"]
    for name in names:
        if name not in cases:
            raise UsageError(f"`{path}` has no case `{name}`", required="every case", hint=_rewrite(path, arch))
    return cases


def risen(before: Mapping[str, Mapping[str, int]], rows: Mapping[str, Counts]) -> list[Rise]:
    """Counts above the baseline's by more than 3 %, and workgroups below it by as much."""
    return [rise for name, counts in rows.items() for rise in _worse(name, before[name], summary(counts))]


def _worse(case: str, was: Mapping[str, int], now: Mapping[str, int]) -> Iterable[Rise]:
    for name in (GROUPS, *COUNTED):
        wrong = now[name] * ALLOWED < was[name] if name == GROUPS else now[name] > was[name] * ALLOWED
        if wrong:
            yield Rise(case, name, was[name], now[name])


def _load(path: Path, arch: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        entries = found["cases"].values()
        complete = all(set(entry) == {GROUPS, *COUNTED} for entry in entries)
        whole = complete and isinstance(found["triton"], str)
    except FileNotFoundError:
        raise UsageError(f"no baseline `{path}`", required="a file of counts", hint=_rewrite(path, arch)) from None
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"`{path}` is no baseline ({error})", hint=f"rm {path} && {_rewrite(path, arch)}") from error
    if not whole:
        raise UsageError(f"`{path}` lacks a count", required="all of them", hint=f"rm {path} && {_rewrite(path, arch)}")
    if found.get("arch") != arch:
        raise UsageError(
            f"`{path}` is of {found.get('arch')}", required=arch, hint=f"glm-rocm bench --target {found.get('arch')}"
        )
    return found


def _rewrite(path: Path, arch: str) -> str:
    return f"glm-rocm bench --target {arch} --baseline {path} --write-baseline"


def _triton() -> str:
    return importlib.metadata.version("triton")
