"""The encodings of vector memory and LDS: MUBUF, FLAT, GLOBAL, SCRATCH, DS."""

from __future__ import annotations

from typing import Final

from . import insn
from .encoding import Form, Spec
from .operand import OperandError, scalar_register, source, vector_register
from .record import Fields, Record, signed

_NO_ADDRESS: Final = 127  # SADDR: off


def _cache_hints(f: Fields, r: Record, form: Form) -> None:
    """sc0, sc1, nt order and cache; memory here is one and instantaneous. For atomics sc0 asks for the old value."""
    f.pop("sc1")
    f.pop("nt")
    if f.pop("sc0") and "_atomic_" in form.mnemonic:
        r.flags |= insn.RETURN


def mubuf(form: Form, f: Fields, r: Record) -> None:
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


def flat(form: Form, f: Fields, r: Record) -> None:
    """FLAT, GLOBAL, SCRATCH."""
    _cache_hints(f, r, form)
    kind, vector_enabled, scalar = form.encoding, f.pop("sve"), f.pop("saddr")
    r.imm = f.pop("offset") if kind == "FLAT" else signed(f.pop("offset"), 13)
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


def ds(form: Form, f: Fields, r: Record) -> None:
    r.imm = f.pop("offset0") | f.pop("offset1") << 8
    accumulator = bool(f.pop("acc"))
    if "vdst" in form.specs:
        r.dst = vector_register(f.pop("vdst"), form.specs["vdst"], accumulator=accumulator)
    for name in ("addr", "data0", "data1"):
        if name in form.specs:
            r.src.append(vector_register(f.pop(name), form.specs[name], accumulator=accumulator and name != "addr"))
        else:
            r.src.append(insn.ABSENT)
