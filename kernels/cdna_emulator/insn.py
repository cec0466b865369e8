"""The machine's instruction record, field for field as core/cdna.h lays it out.

`INSN` is what `cdna_run` reads: 160 bytes, two destinations and six sources of 16 bytes each. The names of kinds,
modifiers, selects and flags are those of cdna.h without their prefix where that reads well; tests/emulator/
test_decode.py asks a C compiler whether both agree.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import Final

import numpy as np

MAX_SOURCES: Final = 6
FIRST_AGPR: Final = 256
VCC: Final = 106
M0: Final = 124
EXEC: Final = 126

# Operand.kind
NONE: Final = 0
VGPR: Final = 1
SGPR: Final = 2
CONSTANT: Final = 3
SCC: Final = 4

# Operand.modifiers
NEG: Final = 1
ABS: Final = 2
SEXT: Final = 4
NEG_HI: Final = 8
OPSEL: Final = 16
OPSEL_HI: Final = 32

# Operand.select
DWORD: Final = 6

# Insn.flags
CLAMP: Final = 1
DPP: Final = 2
SDWA: Final = 4
DPP_BOUND_CTRL: Final = 8
OMOD_X2: Final = 16
OMOD_X4: Final = 32
OMOD_HALF: Final = 64
OPSEL_DST: Final = 128
LDS: Final = 256
OFFEN: Final = 512
IDXEN: Final = 1024
RETURN: Final = 2048
SDWA_PRESERVE: Final = 4096
SDWA_SEXT: Final = 8192

# OperationEntry.allows
ALLOWS_NEG_ABS: Final = 1
ALLOWS_CLAMP: Final = 2
ALLOWS_OMOD: Final = 4
ALLOWS_DPP: Final = 8
ALLOWS_SDWA: Final = 16
ALLOWS_OPSEL: Final = 32
ALLOWS_EXTRA: Final = 64

OPERAND: Final = np.dtype(
    [
        ("kind", "u1"),
        ("modifiers", "u1"),
        ("select", "u1"),
        ("dwords", "u1"),
        ("index", "<u4"),
        ("value", "<u4"),
        ("value_hi", "<u4"),
    ]
)
INSN: Final = np.dtype(
    [
        ("operation", "<u2"),
        ("sources", "u1"),
        ("size", "u1"),
        ("flags", "<u4"),
        ("pc", "<u4"),
        ("imm", "<i4"),
        ("target", "<i4"),
        ("dpp", "<u2"),
        ("row_mask", "u1"),
        ("bank_mask", "u1"),
        ("extra", "<u4"),
        ("reserved", "<u4"),
        ("dst", OPERAND),
        ("dst2", OPERAND),
        ("src", OPERAND, (MAX_SOURCES,)),
    ]
)
HEADER: Final = struct.Struct("<HBBIIiiHBBII")
_OPERAND: Final = struct.Struct("<BBBBIII")


@cache
def operand(
    kind: int,
    index: int = 0,
    dwords: int = 1,
    *,
    modifiers: int = 0,
    select: int = DWORD,
    value: int = 0,
    value_hi: int = 0,
) -> bytes:
    """One `Operand` as its 16 bytes.

    Args:
        kind: NONE, VGPR, SGPR, CONSTANT or SCC.
        index: first register (AGPRs from `FIRST_AGPR` on); SCC: 0 SCC, 1 VCCZ, 2 EXECZ.
        dwords: registers read or written here.
        modifiers: NEG, ABS ... or-ed together.
        select: SDWA's part of the register.
        value, value_hi: the lower and the upper half of a constant.
    """
    return _OPERAND.pack(kind, modifiers, select, dwords, index, value, value_hi)


ABSENT: Final = operand(NONE, dwords=0)
