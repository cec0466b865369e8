"""What an operand code means: register, inline constant, literal, in the width and type its operation reads.

Sources: "AMD Instinct MI300 Instruction Set Architecture", chapter on operands; how 16-bit operations read inline
constants: LLVM, AMDGPUBaseInfo.cpp, `getInlineEncodingV216` ("the actual HW behavior").
"""

from __future__ import annotations

import re
import struct
from functools import cache
from typing import Final

from . import insn
from .encoding import Spec

_FLOATS: Final = {240: 0.5, 241: -0.5, 242: 1.0, 243: -1.0, 244: 2.0, 245: -2.0, 246: 4.0, 247: -4.0}
_INVERSE_TWO_PI: Final = 248
_INVERSE_TWO_PI_BITS: Final = {"F16": 0x3118, "BF16": 0x3E22, "F32": 0x3E22F983, "F64": 0x3FC45F306DC9C882}
_STATUS: Final = {253: 0, 251: 1, 252: 2}  # SCC, VCCZ, EXECZ -> index of an OPERAND_SCC
_NAMED: Final = {
    102: "flat_scratch_lo",
    103: "flat_scratch_hi",
    104: "xnack_mask_lo",
    105: "xnack_mask_hi",
    235: "src_shared_base",
    236: "src_shared_limit",
    237: "src_private_base",
    238: "src_private_limit",
    239: "src_pops_exiting_wave_id",
    254: "src_lds_direct",
}
LITERAL: Final = 255
FIRST_VGPR: Final = 256
_MASK: Final = 0xFFFFFFFF


class OperandError(ValueError):
    """An operand that the machine does not model, or whose reading is not documented."""


def dwords(spec: Spec) -> int:
    """Registers that an operand of this type takes."""
    return max(1, -(-spec.bits // 32))


def element(spec: Spec) -> str:
    """Type of one element, F16 of PK2_F16."""
    return re.sub(r"^PK\d+_", "", spec.number)


def scalar_register(code: int, count: int) -> bytes:
    """`count` scalar registers from `code` on.

    Raises:
        OperandError: registers that a wave on this machine does not have.
    """
    last = code + count - 1
    if last <= 101 or (code >= 106 and last <= 107) or code == insn.M0 == last or (code >= 126 and last <= 127):
        return insn.operand(insn.SGPR, code, count)
    raise OperandError(f"scalar register {_NAMED.get(code, code)} of {count} dwords")


def vector_register(code: int, spec: Spec, *, accumulator: bool = False, modifiers: int = 0, select: int = 6) -> bytes:
    """VGPR `code` (0 to 255), or that AGPR."""
    count = dwords(spec)
    if code + count > 256:
        raise OperandError(f"{count} registers from v{code} on")
    index = code + (insn.FIRST_AGPR if accumulator else 0)
    return insn.operand(insn.VGPR, index, count, modifiers=modifiers, select=select)


@cache
def source(
    code: int,
    spec: Spec,
    literal: int | None = None,
    *,
    accumulator: bool = False,
    modifiers: int = 0,
    select: int = insn.DWORD,
) -> bytes:
    """The operand that a 9-bit source code names.

    Args:
        code: 0 to 511, as encoded.
        spec: what the operation reads here.
        literal: the 32 bits behind the instruction.
        accumulator: the ACC bit: VGPR codes name AGPRs.
        modifiers, select: go into the operand as they are.

    Raises:
        OperandError: see there.
    """
    if code >= FIRST_VGPR:
        return vector_register(code - FIRST_VGPR, spec, accumulator=accumulator, modifiers=modifiers, select=select)
    if accumulator:
        raise OperandError("an accumulation register that is none")
    if spec.type in ("OPR_VGPR", "OPR_SRC_VGPR", "OPR_SRC_VGPR_OR_ACCVGPR", "OPR_SRC_ACCVGPR", "OPR_VGPR_OR_LDS"):
        raise OperandError(f"source code {code} where a vector register must stand")
    count = dwords(spec)
    if code < 128:
        register = scalar_register(code, count)
        if not modifiers and select == insn.DWORD:
            return register
        return insn.operand(insn.SGPR, code, count, modifiers=modifiers, select=select)
    if code in _STATUS:
        if count != 1 or modifiers or select != insn.DWORD:
            raise OperandError(f"a status bit read as {spec.number} or with modifiers")
        return insn.operand(insn.SCC, _STATUS[code])
    if spec.type == "OPR_SREG":
        raise OperandError(f"source code {code} where a scalar register must stand")
    value, upper = _literal(literal, spec) if code == LITERAL else _inline(code, spec)
    if spec.number in ("PK2_F32", "PK2_B32") and value and modifiers & (insn.OPSEL | insn.OPSEL_HI):
        raise OperandError("the upper half of a constant in packed 32-bit arithmetic")
    return insn.operand(insn.CONSTANT, 0, count, modifiers=modifiers, select=select, value=value, value_hi=upper)


def _literal(literal: int | None, spec: Spec) -> tuple[int, int]:
    if literal is None:
        raise OperandError("a literal in an encoding that has none")
    if spec.bits != 64:
        return literal, 0
    if spec.number == "F64":
        return 0, literal
    if literal >> 31 and spec.number != "I64":
        # LLVM takes both 0xffffffff80000000 and 0x80000000 for these bits.
        raise OperandError(f"literal {literal:#x} in a 64-bit operand, which may be sign- or zero-extended")
    return literal, _MASK if literal >> 31 else 0


def _inline(code: int, spec: Spec) -> tuple[int, int]:
    if 128 <= code <= 192:
        return code - 128, 0
    if 193 <= code <= 208:
        return (192 - code) & _MASK, _MASK
    if code not in _FLOATS and code != _INVERSE_TWO_PI:
        raise OperandError(f"source {_NAMED.get(code, code)}")
    bits = _float_bits(code, _constant_type(spec))
    return bits & _MASK, bits >> 32


def _constant_type(spec: Spec) -> str:
    kind = element(spec)
    if kind in ("F16", "BF16", "F64"):
        return kind
    if re.fullmatch(r"(FP|BF)\d", kind):
        raise OperandError(f"a floating-point constant as {spec.number}")
    # Integers of 16 and 32 bits read the single-precision bits; those of 64 bits the double-precision ones.
    return "F64" if spec.bits == 64 and not spec.number.startswith("PK") else "F32"


def _float_bits(code: int, kind: str) -> int:
    if code == _INVERSE_TWO_PI:
        return _INVERSE_TWO_PI_BITS[kind]
    value = _FLOATS[code]
    if kind == "BF16":
        return int.from_bytes(struct.pack("<f", value), "little") >> 16
    return int.from_bytes(struct.pack({"F16": "<e", "F32": "<f", "F64": "<d"}[kind], value), "little")
