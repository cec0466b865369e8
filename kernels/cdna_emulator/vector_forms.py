"""The encodings of the vector and the matrix unit: VOP1, VOP2, VOPC, VOP3, VOP3P, with SDWA and DPP, and MFMA."""

from __future__ import annotations

from typing import Final

from . import insn
from .encoding import Form, Spec
from .operand import FIRST_VGPR, LITERAL, OperandError, dwords, scalar_register, source, vector_register
from .record import Fields, Record

_VCC: Final = insn.operand(insn.SGPR, insn.VCC, 2)
_READS_VCC: Final = {"v_cndmask_b32", "v_addc_co_u32", "v_subb_co_u32", "v_subbrev_co_u32"}
_ACCUMULATES: Final = ("v_fmac_", "v_mac_", "v_dot2c_", "v_dot4c_", "v_dot8c_", "v_pk_fmac_")
_F8F6F4_DWORDS: Final = {0: 8, 1: 8, 2: 6, 3: 6, 4: 4}  # FP8, BF8, FP6, BF6, FP4
_OMOD: Final = {0: 0, 1: insn.OMOD_X2, 2: insn.OMOD_X4, 3: insn.OMOD_HALF}


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


def vop_e32(form: Form, f: Fields, r: Record) -> None:
    """VOP1, VOP2, VOPC in 4 bytes, or 8 with a literal."""
    literal = f.get("literal")
    _destination(form, f, r)
    if "src0" in form.specs:
        spec = form.specs["src0"]
        r.src.append(source(f.pop("src0"), spec, literal, accumulator=_accumulator(spec)))
    if "vsrc1" in form.specs:
        r.src.append(vector_register(f.pop("vsrc1"), form.specs["vsrc1"]))
    if form.mnemonic.startswith(("v_fmaak_", "v_fmamk_")):
        constant = source(LITERAL, form.specs["src0"], f["literal"])
        r.src.insert(1 if "fmamk" in form.mnemonic else 2, constant)
    _implied(form, r)


def _modifiers(f: Fields, number: int, r: Record) -> int:
    """src0_neg, src0_abs ... of DPP and SDWA."""
    bits = (insn.NEG if f.pop(f"src{number}_neg") else 0) | (insn.ABS if f.pop(f"src{number}_abs") else 0)
    if bits:
        r.needs |= insn.ALLOWS_NEG_ABS
    return bits


def vop_dpp(form: Form, f: Fields, r: Record) -> None:
    if "src0" not in form.specs:
        raise OperandError("DPP of an operation without sources")
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


def vop_sdwa(form: Form, f: Fields, r: Record) -> None:
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


def vop3(form: Form, f: Fields, r: Record) -> None:
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


def vop3p(form: Form, f: Fields, r: Record) -> None:
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


def mfma(form: Form, f: Fields, r: Record) -> None:
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
