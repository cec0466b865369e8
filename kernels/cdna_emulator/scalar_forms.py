"""The encodings of the scalar unit: SOP1, SOP2, SOPC, SOPK, SOPP, SMEM."""

from __future__ import annotations

from typing import Final

from . import insn
from .encoding import Form, Spec
from .operand import LITERAL, OperandError, dwords, scalar_register, source
from .record import Fields, Record, signed

_READS_SDST: Final = ("s_cmpk_", "s_addk_", "s_mulk_", "s_setreg_b32")


def sop(form: Form, f: Fields, r: Record) -> None:
    """SOP1, SOP2, SOPC."""
    literal = f.get("literal")
    destination = form.specs.get("sdst")
    if destination:
        r.dst = scalar_register(f.pop("sdst"), dwords(destination))
    for name in ("ssrc0", "ssrc1"):
        if name in form.specs:
            r.src.append(source(f.pop(name), form.specs[name], literal))


def sopk(form: Form, f: Fields, r: Record) -> None:
    bits = f.pop("simm16")
    r.imm = signed(bits, 16)
    kind = form.specs["simm16"].type
    if kind == "OPR_HWREG":
        r.extra = bits
    if kind == "OPR_LABEL":
        r.jump = r.imm
    if form.mnemonic == "s_setreg_imm32_b32":
        r.src.append(source(LITERAL, Spec("B32", 32, "OPR_SIMM32"), f.pop("literal")))
        return
    register = scalar_register(f.pop("sdst"), dwords(form.specs["sdst"]))
    if not form.mnemonic.startswith(("s_cmpk_", "s_setreg_")):
        r.dst = register
    if form.mnemonic.startswith(_READS_SDST):
        r.src.append(register)


def sopp(form: Form, f: Fields, r: Record) -> None:
    bits = f.pop("simm16")
    r.imm = signed(bits, 16)
    kind = form.specs["simm16"].type if form.specs else ""
    if kind == "OPR_LABEL":
        r.jump = r.imm
    elif kind == "OPR_WAITCNT":
        r.extra = bits


def smem(form: Form, f: Fields, r: Record) -> None:
    if "sdata" in form.specs:
        r.dst = scalar_register(f.pop("sdata"), dwords(form.specs["sdata"]))
    if "sbase" not in form.specs:
        return
    f.pop("glc")  # a cache hint of loads; atomics have no entry in the core
    base = scalar_register(2 * f.pop("sbase"), dwords(form.specs["sbase"]))
    offset, immediate, enabled = f.pop("offset"), f.pop("imm"), f.pop("soffset_en")
    register = f.pop("soffset") if enabled else None
    if immediate:
        r.imm = signed(offset, 21)
    elif not enabled:
        register = offset
    elif offset:
        raise OperandError(f"offset={offset} without imm")
    r.src = [base, insn.ABSENT if register is None else scalar_register(register, 1)]
