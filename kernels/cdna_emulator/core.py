"""The C core as Python sees it: mirrors of its structures (core/cdna.h, core/run.h) and the calls into it."""

from __future__ import annotations

import ctypes
import enum
from ctypes import POINTER, c_bool, c_char, c_int, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass
from functools import cache
from typing import Final

from . import build
from .insn import INSN, OPERAND

MAX_USER_SGPRS: Final = 32
MAX_WAVES: Final = 32
LANES: Final = 64
REGISTERS: Final = 512
ARCHES: Final = {"gfx942": 942, "gfx950": 950}


class OperationClass(enum.IntEnum):
    """What unit an instruction goes to; the index into Counters.by_class."""

    VALU = 0
    SALU = 1
    VMEM = 2
    LDS = 3
    MFMA = 4
    SMEM = 5
    BRANCH = 6
    BARRIER = 7
    WAIT = 8
    SCRATCH = 9


class Order(enum.IntEnum):
    """In which order workgroups, and the waves of one between two barriers, run."""

    FORWARD = 0
    REVERSE = 1
    SEEDED = 2


class Status(enum.IntEnum):
    """What a launch ended with."""

    OK = 0
    END = 1
    BARRIER = 2
    OUT_OF_BOUNDS = 3
    LDS_OUT_OF_BOUNDS = 4
    UNDEFINED_READ = 5
    RACE = 6
    USE_BEFORE_WAIT = 7
    UNSUPPORTED = 8
    DEADLOCK = 9
    TRAP = 10
    MISALIGNED = 11


class Allocation(ctypes.Structure):
    """Memory that a kernel may touch; an array of them is sorted by `lo` and does not overlap."""

    _fields_ = (
        ("lo", c_uint64),
        ("hi", c_uint64),
        ("written", c_void_p),
        ("lines", c_void_p),
        ("load_bytes", c_uint64),
        ("store_bytes", c_uint64),
    )


class RawCounters(ctypes.Structure):
    """What a launch did; see `counters.Counters`."""

    _fields_ = (
        ("by_class", c_uint64 * len(OperationClass)),
        ("workgroups", c_uint64),
        ("waves", c_uint64),
        ("mfma_flops", c_uint64),
        ("load_bytes", c_uint64),
        ("store_bytes", c_uint64),
        ("atomic_bytes", c_uint64),
        ("instruction_lines", c_uint64),
        ("lds_read_bytes", c_uint64),
        ("lds_write_bytes", c_uint64),
        ("lds_bank_conflicts", c_uint64),
        ("barriers", c_uint64),
    )


class Fault(ctypes.Structure):
    """Where and what, when a launch did not end well."""

    _fields_ = (
        ("instruction", c_uint32),
        ("lane", c_uint32),
        ("wave", c_uint32),
        ("group", c_uint32 * 3),
        ("address", c_uint64),
        ("bytes", c_uint32),
        ("other_wave", c_uint32),
        ("store", c_bool),
        ("what", c_char * 160),
    )


class Launch(ctypes.Structure):
    """A program and all that its waves share."""

    _fields_ = (
        ("arch", c_int),
        ("code", c_void_p),
        ("length", c_uint32),
        ("entry", c_uint32),
        ("allocation", POINTER(Allocation)),
        ("allocations", c_uint32),
        ("lds_bytes", c_uint32),
        ("scratch_bytes", c_uint32),
        ("check_races", c_bool),
        ("check_undefined", c_bool),
        ("check_waits", c_bool),
        ("limit", c_uint64),
        ("executed", c_void_p),
        ("counters", RawCounters),
        ("fault", Fault),
        ("hint", c_uint32),
        ("text", c_uint64),
        ("steps", c_uint64),
    )


class Start(ctypes.Structure):
    """Where the waves of a launch start, and which of them run."""

    _fields_ = (
        ("grid", c_uint32 * 3),
        ("threads", c_uint32 * 3),
        ("sample", c_void_p),
        ("samples", c_uint64),
        ("order", c_uint32),
        ("user_sgprs", c_uint32),
        ("seed", c_uint64),
        ("user_sgpr", c_uint32 * MAX_USER_SGPRS),
        ("group_ids", c_uint32),
        ("mode", c_uint32),
        ("vgprs", c_uint32),
        ("agprs", c_uint32),
        ("fill", c_uint32),
        ("reserved", c_uint32),
    )


class Lab(ctypes.Structure):
    """One workgroup whose whole state the caller gives and gets back."""

    _fields_ = (
        ("waves", c_uint32),
        ("mode", c_uint32),
        ("order", c_uint32),
        ("reserved", c_uint32),
        ("seed", c_uint64),
        ("v", c_void_p),  # uint32 [waves, 512, 64]
        ("s", c_void_p),  # uint32 [waves, 128]
        ("scc", c_void_p),  # uint32 [waves]
        ("lds", c_void_p),
        ("scratch", c_void_p),  # uint8 [waves, 64, scratch_bytes]
    )


@dataclass(frozen=True, slots=True)
class Operation:
    """What the core says about an operation that it has."""

    index: int
    allows: int
    """ALLOWS_* of insn.py."""
    cls: OperationClass


@cache
def library() -> ctypes.CDLL:
    """The core with the types of its functions set, and its structures held to the mirrors here."""
    core = build.load()
    core.cdna_operation_name.restype = ctypes.c_char_p
    core.cdna_run.argtypes = (POINTER(Launch), POINTER(Start))
    core.cdna_run_lab.argtypes = (POINTER(Launch), POINTER(Lab))
    sizes = (c_uint32 * 8)()
    core.cdna_sizes(sizes)
    mirrored = [ctypes.sizeof(each) for each in (Launch, Start, Lab, RawCounters, Fault, Allocation)]
    if list(sizes) != [OPERAND.itemsize, INSN.itemsize, *mirrored]:
        raise AssertionError("core.py and core/*.h disagree about a structure")
    return core


@cache
def operations() -> dict[str, Operation]:
    """The joint table of operations by mnemonic (without _e32, _e64, _dpp, _sdwa)."""
    core = library()
    table = {}
    for index in range(core.cdna_operations()):
        cls = OperationClass(core.cdna_operation_class(index))
        table[core.cdna_operation_name(index).decode()] = Operation(index, core.cdna_operation_allows(index), cls)
    return table


@cache
def operation_names() -> tuple[str, ...]:
    """Mnemonics by index."""
    core = library()
    return tuple(core.cdna_operation_name(index).decode() for index in range(core.cdna_operations()))


def run(launch: Launch, start: Start) -> Status:
    """Execute a launch; `launch.counters` and `launch.fault` hold what came of it. Releases the GIL meanwhile."""
    return Status(library().cdna_run(ctypes.byref(launch), ctypes.byref(start)))


def run_lab(launch: Launch, lab: Lab) -> Status:
    """Execute one workgroup from a given state, which is updated in place."""
    return Status(library().cdna_run_lab(ctypes.byref(launch), ctypes.byref(lab)))
