"""From bytes to an encoding, its operation and its fields, through tinygrad's tables of the CDNA encodings.

The tables (field positions, operation enums, operand types) come from AMD's machine-readable ISA by way of
`tinygrad==0.14.0`, an internal interface that the version pin holds still. The choice of the encoding is made here:
tinygrad's own `decode_inst` takes two 4-byte instructions before a `v_mfma_*_f8f6f4` for one 16-byte scaled MFMA,
because it looks at the second half alone (0.14.0; the tests hold both against each other).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, NamedTuple


class Spec(NamedTuple):
    """What an operation says about one of its operands."""

    number: str  # element type: F32, PK2_F16, U64, M64 ..., or ANY
    bits: int
    type: str  # OPR_VGPR, OPR_SREG, OPR_SSRC ...


# What AMD's assembler calls an operation where the ISA's tables have another name.
_NAMES: Final = {
    "v_accvgpr_read": "v_accvgpr_read_b32",
    "v_accvgpr_write": "v_accvgpr_write_b32",
    "v_mad_mix_f32": "v_fma_mix_f32",
    "v_mad_mixlo_f16": "v_fma_mixlo_f16",
    "v_mad_mixhi_f16": "v_fma_mixhi_f16",
}
_SOURCE, _TARGET = "OPR_SRC_VGPR_OR_ACCVGPR", "OPR_VGPR_OR_ACCVGPR"
_XF32: Final = {  # gfx942's own: the tables, which are CDNA4's, have the opcodes without operands
    f"v_mfma_f32_{shape}_xf32": {
        "src0": Spec("PK2_F32", 64, _SOURCE),
        "src1": Spec("PK2_F32", 64, _SOURCE),
        "src2": Spec(number, bits, _SOURCE + "_OR_CONST"),
        "vdst": Spec(number, bits, _TARGET),
    }
    for shape, number, bits in (("16x16x8", "PK4_F32", 128), ("32x32x4", "PK16_F32", 512))
}
_LITERAL: Final = 0xFF
_SDWA: Final = 0xF9
_DPP: Final = 0xFA
_LOAD_SCALE: Final = 0xD3AC  # bits 31:16 of the first half of a scaled MFMA


class UnknownEncodingError(ValueError):
    """No CDNA encoding has these bits."""


@dataclass(frozen=True, slots=True)
class Form:
    """One encoding with one operation."""

    encoding: str  # VOP3, VOP2_SDWA, MUBUF ...
    mnemonic: str  # without _e32, _e64, _dpp, _sdwa
    specs: dict[str, Spec]  # by field name


class Encoded(NamedTuple):
    """An instruction taken apart."""

    form: Form
    fields: dict[str, int]  # every field but the encoding and the operation, as encoded
    unclaimed: int  # bits set that belong to no field
    size: int  # bytes


class _Layout(NamedTuple):
    fields: tuple[tuple[str, int, int], ...]  # name, lowest bit, mask
    opcode: tuple[int, int]  # lowest bit, mask
    operations: dict[int, Any]  # by opcode: tinygrad's enum
    claimed: int  # all bits that belong to a field
    size: int


@contextmanager
def _recursion_limit_kept() -> Iterator[None]:
    """Importing tinygrad raises the process's limit to 10,000 (schedule/rangeify.py), which is not ours to change."""
    limit = sys.getrecursionlimit()
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


@cache
def _layouts() -> dict[str, _Layout]:
    with _recursion_limit_kept():
        from tinygrad.renderer.amd.dsl import EnumBitField, FixedBitField, Inst
        from tinygrad.runtime.autogen.amd.cdna import ins

    found = {}
    classes: dict[str, Any] = vars(ins)
    for name, encoding in classes.items():
        if not (isinstance(encoding, type) and issubclass(encoding, Inst)) or encoding is Inst:
            continue
        table: Any = encoding
        fields: dict[str, Any] = dict(table._fields)
        if name == "VOP3P_MFMA":  # it inherits VOP3P's modifiers, whose bits it uses otherwise
            fields = {k: v for k, v in fields.items() if not k.startswith(("neg", "opsel", "clmp"))}
        claimed = 0
        for field in fields.values():
            claimed |= field.mask << field.lo
        plain = tuple(
            (key, field.lo, field.mask)
            for key, field in fields.items()
            if not isinstance(field, (EnumBitField, FixedBitField))
        )
        operation = fields["op"]
        by_opcode = {op.value: op for op in operation.allowed}
        if name == "VOP3P_MFMA":
            by_opcode |= {op.value: op for op in _xf32_operations(ins.VOP3P)}
        found[name] = _Layout(plain, (operation.lo, operation.mask), by_opcode, claimed, table._base_size)
    return found


def _xf32_operations(vop3p: Any) -> list[Any]:
    """They are MFMA, too, but the tables have them among the packed operations."""
    return [op for op in dict(vop3p._fields)["op"].allowed if op.name.lower() in _XF32]


def _has(encoding: str, word: int) -> bool:
    layout = _layouts()[encoding]
    low, mask = layout.opcode
    return (word >> low) & mask in layout.operations


def _encoding(word: int) -> str:
    """The name of the encoding that starts with the 32-bit `word`, without the variants SDWA, DPP16 and LIT."""
    if word >> 31 == 0:
        top = word >> 25
        return "VOP1" if top == 0x3F else "VOPC" if top == 0x3E else "VOP2"
    if word >> 30 == 2:
        by_nine = {0x17D: "SOP1", 0x17E: "SOPC", 0x17F: "SOPP"}
        return by_nine.get(word >> 23) or ("SOPK" if word >> 28 == 0xB else "SOP2")
    if word >> 16 == _LOAD_SCALE:
        return "VOP3PX2"
    if word >> 23 == 0x1A7:
        return "VOP3P_MFMA" if _has("VOP3P_MFMA", word) else "VOP3P"
    if word >> 26 == 0x34:
        return "VOP3SD" if _has("VOP3SD", word) else "VOP3_SDST" if _has("VOP3_SDST", word) else "VOP3"
    if word >> 26 == 0x37:
        return {0: "FLAT", 1: "SCRATCH", 2: "GLOBAL"}.get((word >> 14) & 3, "")
    return {0x30: "SMEM", 0x36: "DS", 0x38: "MUBUF"}.get(word >> 26, "")


def _variant(encoding: str, word: int) -> str:
    if encoding in ("VOP1", "VOP2", "VOPC"):
        special = {_SDWA: "_SDWA", _DPP: "_DPP16", _LITERAL: "_LIT"}.get(word & 0x1FF, "")
        if special == "_SDWA" and encoding == "VOPC":
            return "VOPC_SDWA_SDST"
        if not special and not _has(encoding, word):  # v_fmaak and v_fmamk always have their literal
            return encoding + "_LIT"
        return encoding + special
    if encoding in ("SOP1", "SOP2", "SOPC"):
        both = encoding != "SOP1" and (word >> 8) & 0xFF == _LITERAL
        return encoding + ("_LIT" if both or word & 0xFF == _LITERAL else "")
    if encoding == "SOPK" and not _has("SOPK", word):
        return "SOPK_LIT"
    return encoding


@cache
def _form(encoding: str, opcode: int) -> Form:
    with _recursion_limit_kept():
        from tinygrad.runtime.autogen.amd.cdna.operands import OPERANDS

    operation = _layouts()[encoding].operations.get(opcode)
    if operation is None:
        raise UnknownEncodingError(f"{encoding} has no operation {opcode:#x}")
    name = operation.name.lower().removesuffix("_e32").removesuffix("_e64")
    specs = {
        key: Spec(number.name.removeprefix("FMT_").removeprefix("NUM_"), bits, kind.name)
        for key, (number, bits, kind) in OPERANDS.get(operation, {}).items()
    }
    return Form(encoding, _NAMES.get(name, name), specs or _XF32.get(name, {}))


def split(code: bytes, at: int) -> Encoded:
    """Take apart the instruction at byte `at` of `code`.

    Raises:
        UnknownEncodingError: no CDNA encoding or operation has these bits, or the code ends within the instruction.
    """
    word = int.from_bytes(code[at : at + 4], "little")
    encoding = _encoding(word)
    if not encoding or at + 4 > len(code):
        raise UnknownEncodingError(f"no encoding starts with {word:#010x}")
    name = _variant(encoding, word)
    layout = _layouts().get(name)
    if layout is None:
        raise UnknownEncodingError(f"no encoding {name} of {word:#010x}")
    if at + layout.size > len(code):
        raise UnknownEncodingError(f"the code ends within an instruction of {layout.size} bytes")
    raw = int.from_bytes(code[at : at + layout.size], "little")
    if name == "VOP3PX2" and raw >> 87 & 0x1FF != 0x1A7:
        raise UnknownEncodingError("v_mfma_ld_scale_b32 without an MFMA behind it")
    low, mask = layout.opcode
    form = _form(name, (raw >> low) & mask)
    fields = {key: (raw >> low) & mask for key, low, mask in layout.fields}
    if name == "VOP3PX2":
        del fields["x2encoding"]
    return Encoded(form, fields, raw & ~layout.claimed, layout.size)
