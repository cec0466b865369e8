"""An instruction's record under way, and what every form of encoding does with its fields."""

from __future__ import annotations

from dataclasses import dataclass, field

from . import insn

Fields = dict[str, int]
"""By name, as encoded. A form takes out what it understands."""


@dataclass(slots=True)
class Record:
    """An `Insn` under way: what the forms fill in."""

    flags: int = 0
    imm: int = 0
    dpp: int = 0
    row_mask: int = 0
    bank_mask: int = 0
    extra: int = 0
    dst: bytes = insn.ABSENT
    dst2: bytes = insn.ABSENT
    src: list[bytes] = field(default_factory=list)
    needs: int = 0  # ALLOWS_*: what the operation must allow
    jump: int | None = None  # dwords from the next instruction


def signed(value: int, bits: int) -> int:
    """A two's complement field of `bits` bits."""
    return value - (1 << bits) if value >> (bits - 1) else value
