"""Decodes a text section into the records that the machine executes; refuses what it does not understand.

The sweep is linear, as compilers lay code out. Bytes that do not decode (padding) are passed over if no path from the
kernel's entry reaches them; otherwise the program is refused as a whole, before anything runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from . import insn
from .encoding import Encoded, UnknownEncodingError, split
from .errors import UnsupportedInstruction
from .forms import record
from .operand import OperandError
from .record import Record

_ALLOWED_NAMES: Final = {
    insn.ALLOWS_NEG_ABS: "neg or abs",
    insn.ALLOWS_CLAMP: "clamp",
    insn.ALLOWS_OMOD: "an output modifier",
    insn.ALLOWS_DPP: "DPP",
    insn.ALLOWS_SDWA: "SDWA",
    insn.ALLOWS_OPSEL: "op_sel, op_sel_hi, neg_lo or neg_hi",
    insn.ALLOWS_EXTRA: "cbsz, abid or blgp",
}
SOURCES: Final = [
    "insn",
    "encoding",
    "operand",
    "record",
    "scalar_forms",
    "vector_forms",
    "memory_forms",
    "forms",
    "decode",
]
"""The modules on which a decoded program depends."""
_LEAVES: Final = {"s_endpgm", "s_branch", "s_setpc_b64", "s_endpgm_saved"}  # never go on to the next instruction
_COMPUTED_JUMPS: Final = {"s_setpc_b64", "s_swappc_b64", "s_call_b64"}


class Operation(Protocol):
    """What the core says about an operation that it has (`core.Operation`)."""

    @property
    def index(self) -> int:
        """What `Insn.operation` holds."""

    @property
    def allows(self) -> int:
        """ALLOWS_* or-ed together."""


@cache
def decoder_version() -> str:
    """Changes whenever this decoder may decode differently: part of the key of decoded programs on disk."""
    digest = hashlib.sha256(version("tinygrad").encode())
    for name in SOURCES:
        digest.update(Path(__file__).with_name(name + ".py").read_bytes())
    return digest.hexdigest()


class _Refused(Exception):
    """One instruction that is not understood; becomes an error if it can be reached."""

    def __init__(self, mnemonic: str, pc: int, reason: str, size: int = 4) -> None:
        super().__init__(reason)
        self.mnemonic, self.pc, self.reason, self.size = mnemonic, pc, reason, size

    def error(self, kernel: str) -> UnsupportedInstruction:
        return UnsupportedInstruction(self.mnemonic, self.pc, kernel, self.reason)


class Decoder:
    """Decodes for one table of operations; remembers what it has decoded.

    Args:
        operations: what the core can do, by mnemonic without _e32, _e64, _dpp, _sdwa.
    """

    def __init__(self, operations: Mapping[str, Operation]) -> None:
        self._operations = operations
        self._known: dict[bytes, tuple[bytes, int | None, str]] = {}

    def decode(self, text: bytes, *, entry: int = 0, kernel: str = "") -> npt.NDArray[np.void]:
        """Decode a text section.

        Args:
            text: machine code.
            entry: byte offset at which the kernel starts.
            kernel: its name, for errors.

        Returns:
            Array [instructions] of `INSN` in ascending pc; `index_of` finds an instruction in it.

        Raises:
            UnsupportedInstruction: an instruction that can be reached from the entry is not in the core's table, or has
                an operand form, a modifier or a bit that is not understood.
        """
        heads: list[bytes] = []
        names: list[str] = []
        jumps: dict[int, int] = {}  # pc -> pc
        faults: dict[int, _Refused] = {}
        pcs: list[int] = []
        at = 0
        while at < len(text):
            try:
                packed, jump, name = self._one(text, at)
            except _Refused as fault:
                faults[at] = fault
                at += fault.size
                continue
            size = packed[3]
            if jump is not None:
                jumps[at] = at + size + 4 * jump
            pcs.append(at)
            heads.append(packed)
            names.append(name)
            at += size
        code = np.frombuffer(bytearray(b"".join(heads)), dtype=insn.INSN)
        code["pc"] = pcs
        _set_targets(code, jumps, names, faults)
        if faults:
            reached = _reached_fault(code, names, entry, faults)
            if reached:
                raise reached.error(kernel)
        return code

    def _one(self, text: bytes, at: int) -> tuple[bytes, int | None, str]:
        window = text[at : at + 16]
        try:
            encoded = split(window, 0)
        except UnknownEncodingError as error:
            raise _Refused(f".long {window[:4].hex()}", at, str(error)) from None
        raw = window[: encoded.size]
        known = self._known.get(raw)
        if known is None:
            known = self._known[raw] = self._pack(encoded, at)
        return known

    def _pack(self, encoded: Encoded, at: int) -> tuple[bytes, int | None, str]:
        name = encoded.form.mnemonic

        def refuse(reason: str) -> _Refused:
            return _Refused(name, at, reason, encoded.size)

        operation = self._operations.get(name)
        if operation is None:
            raise refuse("the emulator does not have this operation")
        try:
            made = record(encoded)
        except OperandError as error:
            raise refuse(str(error)) from None
        missing = made.needs & ~operation.allows
        if missing:
            raise refuse(", ".join(text for bit, text in _ALLOWED_NAMES.items() if missing & bit))
        return _bytes(made, operation.index, encoded.size), made.jump, name


def index_of(code: npt.NDArray[np.void], pc: int) -> int:
    """Index of the instruction at byte offset `pc`.

    Raises:
        ValueError: no instruction starts there.
    """
    index = int(np.searchsorted(code["pc"], pc))
    if index == len(code) or code["pc"][index] != pc:
        raise ValueError(f"no instruction starts at {pc:#x}")
    return index


def _bytes(made: Record, operation: int, size: int) -> bytes:
    sources = made.src
    while sources and sources[-1] == insn.ABSENT:
        sources = sources[:-1]
    head = insn.HEADER.pack(
        operation,
        len(sources),
        size,
        made.flags,
        0,
        made.imm,
        -1,
        made.dpp,
        made.row_mask,
        made.bank_mask,
        made.extra,
        0,
    )
    absent = [insn.ABSENT] * (insn.MAX_SOURCES - len(sources))
    return b"".join([head, made.dst, made.dst2, *sources, *absent])


def _set_targets(
    code: npt.NDArray[np.void],
    jumps: dict[int, int],
    names: list[str],
    faults: dict[int, _Refused],
) -> None:
    for pc, target in jumps.items():
        index = index_of(code, pc)
        try:
            code["target"][index] = index_of(code, target)
        except ValueError as error:
            if target not in faults:  # a jump to what does not decode fails there
                faults[pc] = _Refused(names[index], pc, f"jumps where {error}")


def _reached_fault(
    code: npt.NDArray[np.void], names: list[str], entry: int, faults: dict[int, _Refused]
) -> _Refused | None:
    """A fault that a path from `entry` meets; with computed jumps, which may lead anywhere, the first fault of all."""
    if not _COMPUTED_JUMPS.isdisjoint(names):
        return faults[min(faults)]
    at = {int(pc): number for number, pc in enumerate(code["pc"])}
    jumps = _jumps(code, names)
    seen: set[int] = set()
    todo = [entry]
    while todo:
        pc = todo.pop()
        if pc in seen:
            continue
        seen.add(pc)
        if pc in faults:
            return faults[pc]
        number = at.get(pc)
        if number is None:
            continue  # past the end of the text: the machine reports it when it gets there
        if number in jumps:
            todo.append(jumps[number])
        if names[number] not in _LEAVES:
            todo.append(pc + int(code["size"][number]))
    return None


def _jumps(code: npt.NDArray[np.void], names: list[str]) -> dict[int, int]:
    """By index: the pc jumped to, whether or not it decodes."""
    found: dict[int, int] = {}
    for number, name in enumerate(names):
        if name == "s_branch" or name.startswith("s_cbranch_"):
            row = code[number]
            found[number] = int(row["pc"]) + int(row["size"]) + 4 * int(row["imm"])
    return found
