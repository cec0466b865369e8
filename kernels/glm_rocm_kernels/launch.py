"""Launch choices as data, and the launch itself.

A choice is found by its address: operator, dtype and shape in `configs/<arch>.json`. The first entry that matches
counts. Where an architecture has no file, or its file no entry that matches, the first matching entry of
`configs/default.json` is the stated fallback; `LaunchChoice.origin` says which it was. An entry may refuse instead of
choose: that is how a kernel says that an architecture cannot have it, and why. Choices handed to `use_tuned` are looked
at before all files.

The first launch of each choice compiles it and holds the result to the architecture: LDS within its limit and no
register spilled to memory. What does not fit is refused before it is launched.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from glm_rocm_kernels._triton import INTERPRET, Kernel
from glm_rocm_kernels.errors import LaunchDataError, LaunchRefusedError

CONFIGS = Path(__file__).parent / "configs"
DEFAULT = "default"
AMD_OPTIONS = ("matrix_instr_nonkdim", "waves_per_eu", "kpack")
OPTIONS = ("num_warps", "num_stages", *AMD_OPTIONS)
"""The compiler's options that a choice may name; every other name is a constant of the kernel, in capitals."""
FUSION = {"enable_fp_fusion": True}
"""Multiply-adds round once. Said at each launch: Triton 3.10 has another default than 3.9."""

_SPILLS = re.compile(r"^[\s-]*\.vgpr_spill_count:\s*(\d+)", re.MULTILINE)
_fitting: set[tuple[Any, ...]] = set()
_tuned: dict[str, tuple[Entry, ...]] = {}


@dataclass(frozen=True)
class Device:
    """What a plan needs to know of an architecture.

    Attributes:
        compute_units: of the card that the choices were made for.
        lds_bytes: shared memory that one workgroup may have.
    """

    arch: str
    compute_units: int
    lds_bytes: int


@dataclass(frozen=True)
class LaunchChoice:
    """How one kernel is launched.

    Attributes:
        arch: of the launch, also where the choice is the fallback.
        constants: the kernel's constants by name, such as `BLOCK_M`.
        options: the compiler's options that this architecture's backend knows.
        origin: file and entry.
    """

    op: str
    arch: str
    constants: Mapping[str, int]
    options: Mapping[str, int | bool]
    origin: str

    def __getitem__(self, name: str) -> int:
        """A constant; LaunchDataError where the entry lacks it."""
        if name not in self.constants:
            raise LaunchDataError(f"{self.origin}: `{self.op}` needs `{name}`; found {sorted(self.constants)}")
        return self.constants[name]


@dataclass(frozen=True)
class Entry:
    """One entry of a file, checked. `where` holds, by dimension, a value or an inclusive range (None: open)."""

    op: str
    dtypes: tuple[str, ...]
    where: Mapping[str, int | str | tuple[int | None, int | None]]
    choice: Mapping[str, int]
    refused: str
    origin: str

    def matches(self, op: str, dtype: str, shape: Mapping[str, int | str]) -> bool:
        """Whether this entry is for the problem. A dimension that the problem does not state matches nothing."""
        if op != self.op or (self.dtypes and dtype not in self.dtypes):
            return False
        return all(name in shape and _holds(limit, shape[name]) for name, limit in self.where.items())


@dataclass(frozen=True)
class Table:
    """One file of `configs/`."""

    device: Device
    entries: tuple[Entry, ...]


@lru_cache(maxsize=4096)
def choose(op: str, arch: str, dtype: str, **shape: int | str) -> LaunchChoice:
    """The launch choice of a problem.

    Args:
        op: the operator, or one kernel of it: `linear`, `moe.gate_up`, ...
        arch: as `current_arch()` says it.
        dtype: torch's name of the dtype that the kernel multiplies in: `bfloat16`, `float8_e4m3fnuz`, ...
        shape: the dimensions that entries are told apart by, such as `M`, `N`, `K`.

    Raises:
        LaunchRefusedError: the architecture cannot have this kernel.
        LaunchDataError: a file breaks the schema, or not even the fallback has an entry.
    """
    tables = [load(CONFIGS / f"{name}.json") for name in (arch, DEFAULT) if (CONFIGS / f"{name}.json").is_file()]
    for entry in itertools.chain(_tuned.get(arch, ()), *(table.entries for table in tables)):
        if entry.matches(op, dtype, shape):
            if entry.refused:
                raise LaunchRefusedError(op, arch, entry.refused, entry.origin)
            constants = {name: value for name, value in entry.choice.items() if name not in OPTIONS}
            known = [name for name in OPTIONS if arch.startswith("gfx") or name not in AMD_OPTIONS]
            options = FUSION | {name: entry.choice[name] for name in known if name in entry.choice}
            return LaunchChoice(op, arch, MappingProxyType(constants), MappingProxyType(options), entry.origin)
    raise LaunchDataError(f"no entry of `{DEFAULT}.json` is for `{op}`, dtype {dtype}, {dict(shape)}")


def use_tuned(arch: str, entries: tuple[Entry, ...]) -> None:
    """Look at these choices before the shipped ones, from now on in this process; none: at the shipped ones alone."""
    _tuned[arch] = entries
    choose.cache_clear()


@lru_cache(maxsize=64)
def device(arch: str) -> Device:
    """What is known of an architecture; of an unknown one, the fallback's cautious figures under its name."""
    path = CONFIGS / f"{arch}.json"
    found = load(path if path.is_file() else CONFIGS / f"{DEFAULT}.json").device
    return Device(arch, found.compute_units, found.lds_bytes)


def launch(kernel: Kernel, grid: tuple[int, ...], choice: LaunchChoice, *args: Any, **constants: Any) -> None:
    """Launch `kernel` over `grid` with the choice's compiler options; an empty grid launches nothing.

    Raises:
        LaunchRefusedError: the choice, compiled for these constants, does not fit the architecture.
    """
    if 0 in grid:
        return
    if choice.arch != INTERPRET:
        dtypes = tuple(arg.dtype for arg in args if hasattr(arg, "dtype"))
        key = (kernel, choice.arch, *choice.options.values(), *constants.values(), *dtypes)
        if key not in _fitting:
            compiled = kernel.warmup(*args, grid=grid, **constants, **choice.options)
            refuse_unfit(compiled, kernel.__name__, choice)
            _fitting.add(key)
    kernel[grid](*args, **constants, **choice.options)


def refuse_unfit(compiled: Any, kernel: str, choice: LaunchChoice) -> None:
    """Raise LaunchRefusedError where a compiled kernel wants more LDS than there is, or spills registers.

    Spills are read off AMD's code. NVIDIA's shows them in the loaded binary only; tests/compile holds those to none.
    """
    limit = device(choice.arch).lds_bytes
    if compiled.metadata.shared > limit:
        reason = f"{compiled.metadata.shared} bytes of LDS; at most {limit}"
        raise LaunchRefusedError(kernel, choice.arch, reason, choice.origin)
    spilled = _SPILLS.search(compiled.asm.get("amdgcn", ""))
    if spilled and int(spilled[1]):
        reason = f"{spilled[1]} vector registers spilled to memory; none may be"
        raise LaunchRefusedError(kernel, choice.arch, reason, choice.origin)


@lru_cache(maxsize=64)
def load(path: Path) -> Table:
    """Read and check a file of choices.

    Raises:
        LaunchDataError: it is no JSON, or an entry breaks the schema.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise LaunchDataError(f"`{path.name}` is no JSON: {error}") from error
    _exactly(found, {"arch": str, "compute_units": int, "lds_bytes": int, "entries": list}, path.name)
    if found["arch"] != path.stem:
        raise LaunchDataError(f"`{path.name}` is for arch `{found['arch']}`; required: `{path.stem}`, its name")
    entries = tuple(parse_entry(entry, f"{path.name}, entry {i}") for i, entry in enumerate(found["entries"]))
    return Table(Device(found["arch"], found["compute_units"], found["lds_bytes"]), entries)


def parse_entry(found: Any, origin: str) -> Entry:
    """An entry as a file has it, checked.

    Raises:
        LaunchDataError: it breaks the schema.
    """
    refused = isinstance(found, dict) and "refused" in found
    fields = {"op": str, "dtype": list, "where": dict}
    _exactly(found, fields | ({"refused": str} if refused else {"choice": dict, "versions": dict}), origin)
    where = {name: _limit(value, f"{origin}: `where.{name}`") for name, value in found["where"].items()}
    for name, value in found.get("choice", {}).items():
        if not (name in OPTIONS or name.isupper()) or type(value) is not int:
            raise LaunchDataError(
                f"{origin}: `choice.{name}` is {value!r}; required: an integer, named in capitals or one of {OPTIONS}"
            )
    for name, value in found.get("versions", {}).items():
        if type(value) is not str:
            raise LaunchDataError(f"{origin}: `versions.{name}` is {value!r}; required: a string")
    return Entry(found["op"], tuple(found["dtype"]), where, found.get("choice", {}), found.get("refused", ""), origin)


def _limit(value: Any, place: str) -> int | str | tuple[int | None, int | None]:
    if type(value) in (int, str):
        return value  # type: ignore[no-any-return]
    if type(value) is list and len(value) == 2 and all(bound is None or type(bound) is int for bound in value):
        return value[0], value[1]
    raise LaunchDataError(f"{place} is {value!r}; required: an integer, a word, or [low, high] with null for open")


def _holds(limit: int | str | tuple[int | None, int | None], value: int | str) -> bool:
    if not isinstance(limit, tuple):
        return limit == value
    low, high = limit
    return isinstance(value, int) and (low is None or value >= low) and (high is None or value <= high)


def _exactly(found: Any, fields: Mapping[str, type], place: str) -> None:
    if not isinstance(found, dict) or set(found) != set(fields):
        has: Sequence[str] = sorted(found) if isinstance(found, dict) else [type(found).__name__]
        raise LaunchDataError(f"{place} has {has}; required: exactly {sorted(fields)}")
    for name, kind in fields.items():
        if type(found[name]) is not kind:
            raise LaunchDataError(f"{place}: `{name}` is {found[name]!r}; required: {kind.__name__}")
