"""From the core's status and fault to an error that says which argument, where in the kernel, and what to do."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from .arguments import HOST_CALLS, HOST_CALLS_BYTES
from .code_object import CodeObject
from .core import Fault, Status, operation_names
from .errors import (
    DeadlockError,
    DeviceFault,
    EmulatorError,
    MisalignedError,
    OutOfBoundsError,
    Place,
    RaceError,
    TrapError,
    UndefinedReadError,
    UnsupportedInstruction,
    UseBeforeWaitError,
)
from .memory import Memory, Region
from .source_lines import line_of

_FAR: Final = 1 << 30
"""Bytes beyond an argument at which an address no longer has to do with it."""


def error_of(
    status: Status,
    fault: Fault,
    *,
    code_object: CodeObject,
    code: npt.NDArray[np.void],
    kernel: str,
    memory: Memory,
) -> EmulatorError:
    """The error that a launch ended with."""
    row = code[int(fault.instruction)]
    mnemonic, pc = operation_names()[int(row["operation"])], int(row["pc"])
    what = fault.what.decode(errors="replace")
    if status == Status.UNSUPPORTED:
        return UnsupportedInstruction(mnemonic, pc, kernel, what)
    group = (int(fault.group[0]), int(fault.group[1]), int(fault.group[2]))
    place = Place(kernel, mnemonic, pc, line_of(code_object.elf, pc), group, int(fault.wave), int(fault.lane))
    verb = "stores" if fault.store else "loads"
    access = f"{verb} {fault.bytes} bytes"
    match status:
        case Status.OUT_OF_BOUNDS if HOST_CALLS <= int(fault.address) < HOST_CALLS + HOST_CALLS_BYTES:
            return TrapError(
                "calls the host: a device_assert that failed, or a device_print",
                place,
                required="a kernel that does not, since no host listens here",
            )
        case Status.OUT_OF_BOUNDS:
            return _out_of_bounds(fault, access, what, memory, place)
        case Status.LDS_OUT_OF_BOUNDS:
            return _lds_out_of_bounds(fault, access, what, place)
        case Status.UNDEFINED_READ:
            where = what or f"{fault.bytes} bytes {_offset(fault.address, memory)}"
            return UndefinedReadError(
                f"reads what was never written: {where}", place, hint="write it first, or mask it"
            )
        case Status.RACE:
            return RaceError(
                f"races in LDS: {what}, at LDS byte {fault.address}",
                place,
                required="a barrier between the two",
                hint="tl.debug_barrier(), or let Triton place it",
            )
        case Status.USE_BEFORE_WAIT:
            return UseBeforeWaitError(f"uses what may not be there yet: {what}", place, required="an s_waitcnt before")
        case Status.MISALIGNED:
            found = f"{access} {_offset(fault.address, memory)} in an atomic that is not aligned to its size"
            return MisalignedError(found, place, required="an aligned address")
        case Status.TRAP:
            return TrapError(f"stopped itself: {what}", place, hint="a device_assert that failed, or llvm.trap")
        case _:
            return DeadlockError(
                what,
                place,
                required="workgroups that do not wait for later ones: they run one after another",
                hint="raise `limit` if the kernel is right and merely long",
            )


def _out_of_bounds(fault: Fault, access: str, what: str, memory: Memory, place: Place) -> DeviceFault:
    if what:  # scratch
        error = OutOfBoundsError(f"{access} at {what}: {_signed(fault.address)}", place)
        error.address = _signed(fault.address)
        return error
    address = int(fault.address)
    region = memory.nearest(address)
    near = region is not None and region.lo - _FAR < address < region.hi + _FAR
    required = "addresses inside the arguments' memory"
    if not near or region is None:
        at = "a null pointer" if address < 4096 else "no argument's memory"
        error = OutOfBoundsError(f"{access} at address {address:#x}, {at}", place, required=required)
    else:
        error = OutOfBoundsError(
            f"{access} {_offset(address, memory)}", place, required=required, hint="mask the access"
        )
        error.tensor, error.offset = region.owners[0].name, address - region.owners[0].start
    error.address = address
    return error


def _lds_out_of_bounds(fault: Fault, access: str, what: str, place: Place) -> DeviceFault:
    error = OutOfBoundsError(f"{access} at LDS offset {fault.address}; {what}", place)
    error.address = int(fault.address)
    return error


def _offset(address: int, memory: Memory) -> str:
    region = memory.nearest(address)
    if region is None:
        return f"at address {address:#x}"
    owner = region.owners[0]
    text = f"at byte {address - owner.start} of {owner}"
    if not region.lo <= address < region.hi:
        text += f", whose memory is bytes {region.lo - owner.start} to {region.hi - owner.start}"
    return text + _shared(region)


def _shared(region: Region) -> str:
    others = [owner.name for owner in region.owners[1:]]
    return f" (shared with {', '.join(f'`{name}`' for name in others)})" if others else ""


def _signed(value: int) -> int:
    return int(value) - (1 << 64) if int(value) >> 63 else int(value)
