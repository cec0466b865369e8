"""Each encoding of the ISA, field by field, as the one record that the machine executes.

A form takes the fields it understands out of the dictionary; what is left must be zero, and so must every bit that
no field claims. So nothing in an instruction is passed over in silence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from . import insn
from .encoding import Encoded, Form, Spec
from .operand import FIRST_VGPR, OperandError, dwords, scalar_register, source, vector_register

_NO_ADDRESS: Final = 127  # SADDR: off
_VCC: Final = insn.operand(insn.SGPR, insn.VCC, 2)
_BIT: Final = Spec("B32", 32, "OPR_VGPR")
_READS_VCC: Final = {"v_cndmask_b32", "v_addc_co_u32", "v_subb_co_u32", "v_subbrev_co_u32"}
_ACCUMULATES: Final = ("v_fmac_", "v_mac_", "v_dot2c_", "v_dot4c_", "v_dot8c_", "v_pk_fmac_")
_READS_SDST: Final = ("s_cmpk_", "s_addk_", "s_mulk_", "s_setreg_b32")
_F8F6F4_DWORDS: Final = {0: 8, 1: 8, 2: 6, 3: 6, 4: 4}  # FP8, BF8, FP6, BF6, FP4
_OMOD: Final = {0: 0, 1: insn.OMOD_X2, 2: insn.OMOD_X4, 3: insn.OMOD_HALF}

Fields = dict[str, int]


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


def record(encoded: Encoded) -> Record:
    """The record of one instruction, without its operation, pc and target.

    Raises:
        OperandError: an operand, modifier or bit that is not understood; the text names it.
    """
    form, fields = encoded.form, dict(encoded.fields)
    fill = _FORMS.get(form.encoding.removesuffix("_LIT"))
    if fill is None:
        raise OperandError(f"encoding {form.encoding}")
    made = Record()
    fill(form, fields, made)
    fields.pop("literal", None)
    for name, value in fields.items():
        if value:
            raise OperandError(f"{name}={value}")
    if encoded.unclaimed:
        raise OperandError(f"reserved bits {encoded.unclaimed:#x}")
    return made


# ---- scalar --------------------------------------------------------------------------------------------------


def _sop(form: Form, f: Fields, r: Record) -> None:
    """SOP1, SOP2, SOPC."""
    literal = f.get("literal")
    destination = form.specs.get("sdst")
    if destination:
        r.dst = scalar_register(f.pop("sdst"), dwords(destination))
    for name in ("ssrc0", "ssrc1"):
        if name in form.specs:
            r.src.append(source(f.pop(name), form.specs[name], literal))


def _sopk(form: Form, f: Fields, r: Record) -> None:
    bits = f.pop("simm16")
    r.imm = _signed(bits, 16)
    kind = form.specs["simm16"].type
    if kind == "OPR_HWREG":
        r.extra = bits
    if kind == "OPR_LABEL":
        r.jump = r.imm
    if form.mnemonic == "s_setreg_imm32_b32":
        r.src.append(source(255, Spec("B32", 32, "OPR_SIMM32"), f.pop("literal")))
        return
    register = scalar_register(f.pop("sdst"), dwords(form.specs["sdst"]))
    if not form.mnemonic.startswith(("s_cmpk_", "s_setreg_")):
        r.dst = register
    if form.mnemonic.startswith(_READS_SDST):
        r.src.append(register)


def _sopp(form: Form, f: Fields, r: Record) -> None:
    bits = f.pop("simm16")
    r.imm = _signed(bits, 16)
    kind = form.specs["simm16"].type if form.specs else ""
    if kind == "OPR_LABEL":
        r.jump = r.imm
    elif kind == "OPR_WAITCNT":
        r.extra = bits


def _smem(form: Form, f: Fields, r: Record) -> None:
    if "sdata" in form.specs:
        r.dst = scalar_register(f.pop("sdata"), dwords(form.specs["sdata"]))
    if "sbase" not in form.specs:
        return
    f.pop("glc")  # a cache hint of loads; atomics have no entry in the core
    base = scalar_register(2 * f.pop("sbase"), dwords(form.specs["sbase"]))
    offset, immediate, enabled = f.pop("offset"), f.pop("imm"), f.pop("soffset_en")
    register = f.pop("soffset") if enabled else None
    if immediate:
        r.imm = _signed(offset, 21)
    elif not enabled:
        register = offset
    elif offset:
        raise OperandError(f"offset={offset} without imm")
    r.src = [base, insn.ABSENT if register is None else scalar_register(register, 1)]


# ---- vector --------------------------------------------------------------------------------------------------


def _destination(form: Form, f: Fields, r: Record, *, select: int = insn.DWORD) -> None:
    spec = form.specs.get("vdst")
    if spec is None:
        return
    code = f.pop("vdst")
    if spec.type.startswith(("OPR_SREG", "OPR_SDST")):
        r.dst = scalar_register(code, dwords(spec))
    else:
        r.dst = vector_register(code, spec, accumulator=spec.type == "OPR_ACCVGPR", select=select)


def _implied(form: Form, r: Record) -> None:
    """What VOP1, VOP2 and VOPC read and write without a field for it."""
    name = form.mnemonic
    if name.startswith(("v_cmp_", "v_cmpx_")) and r.dst == insn.ABSENT:
        r.dst = _VCC
    if name in _READS_VCC:
        r.src.append(_VCC)
    if "_co_u32" in name:
        r.dst2 = _VCC
    _accumulated(form, r)


def _accumulated(form: Form, r: Record) -> None:
    if form.mnemonic.startswith(_ACCUMULATES):
        r.src.append(r.dst)


def _accumulator(spec: Spec) -> bool:
    return spec.type == "OPR_SRC_ACCVGPR"


def _vop_e32(form: Form, f: Fields, r: Record) -> None:
    """VOP1, VOP2, VOPC in 4 bytes, or 8 with a literal."""
    literal = f.get("literal")
    _destination(form, f, r)
    if "src0" in form.specs:
        spec = form.specs["src0"]
        r.src.append(source(f.pop("src0"), spec, literal, accumulator=_accumulator(spec)))
    if "vsrc1" in form.specs:
        r.src.append(vector_register(f.pop("vsrc1"), form.specs["vsrc1"]))
    if form.mnemonic.startswith(("v_fmaak_", "v_fmamk_")):
        constant = source(255, form.specs["src0"], f["literal"])
        r.src.insert(1 if "fmamk" in form.mnemonic else 2, constant)
    _implied(form, r)


def _modifiers(f: Fields, number: int, r: Record) -> int:
    """src0_neg, src0_abs ... of DPP and SDWA."""
    bits = (insn.NEG if f.pop(f"src{number}_neg") else 0) | (insn.ABS if f.pop(f"src{number}_abs") else 0)
    if bits:
        r.needs |= insn.ALLOWS_NEG_ABS
    return bits


def _vop_dpp(form: Form, f: Fields, r: Record) -> None:
    r.flags |= insn.DPP
    r.needs |= insn.ALLOWS_DPP
    r.dpp, r.row_mask, r.bank_mask = f.pop("dpp"), f.pop("row_mask"), f.pop("bank_mask")
    if not _valid_dpp(r.dpp):
        raise OperandError(f"dpp={r.dpp:#x}")
    if f.pop("bc"):
        r.flags |= insn.DPP_BOUND_CTRL
    del f["src0"]
    _destination(form, f, r)
    code = f.pop("vsrc0")
    r.src.append(vector_register(code, form.specs["src0"], modifiers=_modifiers(f, 0, r)))
    if "vsrc1" in form.specs:
        r.src.append(vector_register(f.pop("vsrc1"), form.specs["vsrc1"], modifiers=_modifiers(f, 1, r)))
    _implied(form, r)


def _valid_dpp(control: int) -> bool:
    if control <= 0xFF or 0x150 <= control <= 0x15F:  # quad_perm, row_newbcast
        return True
    if 0x101 <= control <= 0x12F:  # row_shl, row_shr, row_ror by 1 to 15
        return control & 15 != 0
    return control in (0x130, 0x134, 0x138, 0x13C, 0x140, 0x141, 0x142, 0x143)


def _vop_sdwa(form: Form, f: Fields, r: Record) -> None:
    r.flags |= insn.SDWA
    r.needs |= insn.ALLOWS_SDWA
    del f["src0"]
    if "dst_sel" in f:
        select, unused = f.pop("dst_sel"), f.pop("dst_unused")
        if select > insn.DWORD or unused > 2:
            raise OperandError(f"dst_sel={select} dst_unused={unused}")
        if select != insn.DWORD:  # a whole register leaves nothing unused
            r.flags |= {0: 0, 1: insn.SDWA_SEXT, 2: insn.SDWA_PRESERVE}[unused]
        _destination(form, f, r, select=select)
        _output(f, r)
    elif f.pop("sd"):
        r.dst = scalar_register(f.pop("sdst"), 2)
    for number, name in ((0, "vsrc0"), (1, "vsrc1")):
        key = "src0" if number == 0 else name
        if key not in form.specs:
            _no_sdwa_source(f, number)
            continue
        r.src.append(_sdwa_source(f, number, name, form.specs[key], r))
    _implied(form, r)


def _sdwa_source(f: Fields, number: int, name: str, spec: Spec, r: Record) -> bytes:
    select, modifiers = f.pop(f"src{number}_sel"), _modifiers(f, number, r)
    if select > insn.DWORD:
        raise OperandError(f"src{number}_sel={select}")
    if f.pop(f"src{number}_sext"):
        modifiers |= insn.SEXT
    scalar = f.pop(f"s{number}")  # then the 8 bits are a scalar register or an inline constant
    code = f.pop(name) + (0 if scalar else FIRST_VGPR)
    anywhere = Spec(spec.number, spec.bits, "OPR_SRC")
    return source(code, anywhere, modifiers=modifiers, select=select)


def _no_sdwa_source(f: Fields, number: int) -> None:
    if f[f"src{number}_sel"] in (0, insn.DWORD):  # either is written where there is no source
        del f[f"src{number}_sel"]


def _output(f: Fields, r: Record) -> None:
    """Clamp and output modifier."""
    if f.pop("clmp"):
        r.flags |= insn.CLAMP
        r.needs |= insn.ALLOWS_CLAMP
    omod = f.pop("omod", 0)
    if omod:
        r.flags |= _OMOD[omod]
        r.needs |= insn.ALLOWS_OMOD


def _vop3(form: Form, f: Fields, r: Record) -> None:
    """VOP3, VOP3_SDST (comparisons) and VOP3SD (a second, scalar destination)."""
    if form.mnemonic.startswith("v_bitop3_"):
        r.extra = f.pop("omod") << 6 | f.pop("abs") << 3 | f.pop("neg")
        negated = absolute = 0
    else:
        negated, absolute = f.pop("neg"), f.pop("abs", 0)
        r.extra = f.get("opsel", 0)
    halves = f.pop("opsel", 0)
    _output(f, r)
    _destination(form, f, r)
    if "sdst" in form.specs:
        r.dst2 = scalar_register(f.pop("sdst"), 2)
    names = [name for name in ("src0", "src1", "src2") if name in form.specs]
    if (negated | absolute) >> len(names):
        raise OperandError(f"neg={negated} abs={absolute} of {len(names)} sources")
    for number, name in enumerate(names):
        modifiers = _bit(negated, number, insn.NEG) | _bit(absolute, number, insn.ABS)
        modifiers |= _bit(halves, number, insn.OPSEL)
        spec = form.specs[name]
        r.src.append(source(f.pop(name), spec, accumulator=_accumulator(spec), modifiers=modifiers))
    r.flags |= insn.OPSEL_DST if halves & 8 else 0
    r.needs |= insn.ALLOWS_NEG_ABS if negated | absolute else 0
    r.needs |= insn.ALLOWS_OPSEL if halves else 0
    _accumulated(form, r)


def _bit(field_value: int, number: int, flag: int) -> int:
    return flag if field_value >> number & 1 else 0


def _vop3p(form: Form, f: Fields, r: Record) -> None:
    negated, negated_high, low = f.pop("neg"), f.pop("neg_hi"), f.pop("opsel")
    high = f.pop("opsel_hi") | f.pop("opsel_hi2") << 2
    accumulators = form.mnemonic.startswith("v_accvgpr_")
    _output(f, r)
    _destination(form, f, r)
    names = [name for name in ("src0", "src1", "src2") if name in form.specs]
    present = (1 << len(names)) - 1
    if (negated | negated_high | low) & ~present:
        raise OperandError(f"neg={negated} neg_hi={negated_high} op_sel={low} of {len(names)} sources")
    if negated | negated_high | low or high & present != present:
        r.needs |= insn.ALLOWS_OPSEL
    for number, name in enumerate(names):
        modifiers = 0
        if not accumulators:
            modifiers = _bit(negated, number, insn.NEG) | _bit(negated_high, number, insn.NEG_HI)
            modifiers |= _bit(low, number, insn.OPSEL) | _bit(high, number, insn.OPSEL_HI)
        spec = form.specs[name]
        r.src.append(source(f.pop(name), spec, accumulator=_accumulator(spec), modifiers=modifiers))


def _mfma(form: Form, f: Fields, r: Record) -> None:
    """MFMA in 8 bytes, or 16 with scales (VOP3PX2)."""
    accumulators, result = f.pop("acc"), bool(f.pop("acc_cd"))
    a_format, block, b_format = f.pop("cbsz"), f.pop("abid"), f.pop("blgp")
    specs = dict(form.specs)
    if form.mnemonic.endswith("_f8f6f4"):
        for name, number in (("src0", a_format), ("src1", b_format)):
            if number not in _F8F6F4_DWORDS:
                raise OperandError(f"format {number} of {name}")
            specs[name] = specs[name]._replace(bits=32 * _F8F6F4_DWORDS[number])
    scaled = "scale_src0" in f
    if scaled:  # the bit of ABID says that there are scales
        if block != 1:
            raise OperandError(f"abid={block}")
        block = 0
    r.extra = a_format | block << 3 | b_format << 7
    r.needs |= insn.ALLOWS_EXTRA if r.extra else 0
    r.dst = vector_register(f.pop("vdst"), specs["vdst"], accumulator=result)
    r.src = [
        source(f.pop("src0"), specs["src0"], accumulator=bool(accumulators & 1)),
        source(f.pop("src1"), specs["src1"], accumulator=bool(accumulators & 2)),
    ]
    third = f.pop("src2")
    r.src.append(source(third, specs["src2"], accumulator=result and third >= FIRST_VGPR))
    if scaled:
        low, high = f.pop("opsel"), f.pop("opsel_hi")
        for number, name in enumerate(("scale_src0", "scale_src1")):
            modifiers = _bit(low, number, insn.OPSEL) | _bit(high, number, insn.OPSEL_HI)
            r.src.append(source(f.pop(name), specs[name], modifiers=modifiers))
        if low >> 2:
            raise OperandError(f"op_sel={low} of two scales")
        r.needs |= insn.ALLOWS_OPSEL if low | high else 0


# ---- memory --------------------------------------------------------------------------------------------------


def _cache_hints(f: Fields, r: Record, form: Form) -> None:
    """sc0, sc1, nt order and cache; memory here is one and instantaneous. For atomics sc0 asks for the old value."""
    f.pop("sc1")
    f.pop("nt")
    if f.pop("sc0") and "_atomic_" in form.mnemonic:
        r.flags |= insn.RETURN


def _mubuf(form: Form, f: Fields, r: Record) -> None:
    name = form.mnemonic
    _cache_hints(f, r, form)
    if "vdata" not in form.specs:  # buffer_inv, buffer_wbl2
        return
    r.imm = f.pop("offset")
    address = f.pop("offen") + 2 * f.pop("idxen")
    r.flags |= (insn.OFFEN if address & 1 else 0) | (insn.IDXEN if address & 2 else 0)
    where = insn.ABSENT
    if address:
        where = vector_register(f.pop("vaddr"), Spec("B32", 64 if address == 3 else 32, "OPR_VGPR"))
    base = scalar_register(4 * f.pop("srsrc"), 4)
    offset = source(f.pop("soffset"), form.specs["soffset"])
    spec, accumulator = form.specs["vdata"], bool(f.pop("acc"))
    data = insn.ABSENT
    if f.pop("lds"):
        r.flags |= insn.LDS
        if "_load_" not in name:
            raise OperandError("lds=1 of what does not load")
    else:
        register = f.pop("vdata")
        if "_load_" not in name:
            data = vector_register(register, spec, accumulator=accumulator)
        if "_load_" in name or r.flags & insn.RETURN:
            halved = spec._replace(bits=spec.bits // 2) if "_cmpswap" in name else spec
            r.dst = vector_register(register, halved, accumulator=accumulator)
    r.src = [where, data, base, offset]


def _flat(form: Form, f: Fields, r: Record) -> None:
    """FLAT, GLOBAL, SCRATCH."""
    _cache_hints(f, r, form)
    kind, vector_enabled, scalar = form.encoding, f.pop("sve"), f.pop("saddr")
    r.imm = f.pop("offset") if kind == "FLAT" else _signed(f.pop("offset"), 13)
    base, where = insn.ABSENT, insn.ABSENT
    if kind == "FLAT":
        if scalar not in (0, _NO_ADDRESS) or vector_enabled:
            raise OperandError(f"saddr={scalar} sve={vector_enabled} of a flat address")
    elif scalar != _NO_ADDRESS:
        base = scalar_register(scalar, 2 if kind == "GLOBAL" else 1)
    if kind == "GLOBAL" and vector_enabled:
        raise OperandError("sve=1 of a global address")
    if kind != "SCRATCH" or vector_enabled:
        wide = kind != "SCRATCH" and base == insn.ABSENT
        where = vector_register(f.pop("addr"), Spec("B32", 64 if wide else 32, "OPR_VGPR"))
    accumulator, data = bool(f.pop("acc")), insn.ABSENT
    if "data" in form.specs:
        data = vector_register(f.pop("data"), form.specs["data"], accumulator=accumulator)
    if "_load_lds_" in form.mnemonic:
        r.flags |= insn.LDS
    elif "_load_" in form.mnemonic or r.flags & insn.RETURN:
        r.dst = vector_register(f.pop("vdst"), form.specs["vdst"], accumulator=accumulator)
    r.src = [where, data, base]


def _ds(form: Form, f: Fields, r: Record) -> None:
    r.imm = f.pop("offset0") | f.pop("offset1") << 8
    accumulator = bool(f.pop("acc"))
    if "vdst" in form.specs:
        r.dst = vector_register(f.pop("vdst"), form.specs["vdst"], accumulator=accumulator)
    for name in ("addr", "data0", "data1"):
        if name in form.specs:
            r.src.append(vector_register(f.pop(name), form.specs[name], accumulator=accumulator and name != "addr"))
        else:
            r.src.append(insn.ABSENT)


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value


_FORMS: Final[dict[str, Callable[[Form, Fields, Record], None]]] = {
    "SOP1": _sop,
    "SOP2": _sop,
    "SOPC": _sop,
    "SOPK": _sopk,
    "SOPP": _sopp,
    "SMEM": _smem,
    "VOP1": _vop_e32,
    "VOP2": _vop_e32,
    "VOPC": _vop_e32,
    "VOP1_DPP16": _vop_dpp,
    "VOP2_DPP16": _vop_dpp,
    "VOP1_SDWA": _vop_sdwa,
    "VOP2_SDWA": _vop_sdwa,
    "VOPC_SDWA_SDST": _vop_sdwa,
    "VOP3": _vop3,
    "VOP3_SDST": _vop3,
    "VOP3SD": _vop3,
    "VOP3P": _vop3p,
    "VOP3P_MFMA": _mfma,
    "VOP3PX2": _mfma,
    "MUBUF": _mubuf,
    "FLAT": _flat,
    "GLOBAL": _flat,
    "SCRATCH": _flat,
    "DS": _ds,
}
