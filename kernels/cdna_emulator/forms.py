"""Each encoding of the ISA, field by field, as the one record that the machine executes.

A form takes the fields it understands out of the dictionary; what is left must be zero, and so must every bit that
no field claims. So nothing in an instruction is passed over in silence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from . import memory_forms, scalar_forms, vector_forms
from .encoding import Encoded, Form
from .operand import OperandError
from .record import Fields, Record

_FORMS: Final[dict[str, Callable[[Form, Fields, Record], None]]] = {
    "SOP1": scalar_forms.sop,
    "SOP2": scalar_forms.sop,
    "SOPC": scalar_forms.sop,
    "SOPK": scalar_forms.sopk,
    "SOPP": scalar_forms.sopp,
    "SMEM": scalar_forms.smem,
    "VOP1": vector_forms.vop_e32,
    "VOP2": vector_forms.vop_e32,
    "VOPC": vector_forms.vop_e32,
    "VOP1_DPP16": vector_forms.vop_dpp,
    "VOP2_DPP16": vector_forms.vop_dpp,
    "VOP1_SDWA": vector_forms.vop_sdwa,
    "VOP2_SDWA": vector_forms.vop_sdwa,
    "VOPC_SDWA_SDST": vector_forms.vop_sdwa,
    "VOP3": vector_forms.vop3,
    "VOP3_SDST": vector_forms.vop3,
    "VOP3SD": vector_forms.vop3,
    "VOP3P": vector_forms.vop3p,
    "VOP3P_MFMA": vector_forms.mfma,
    "VOP3PX2": vector_forms.mfma,
    "MUBUF": memory_forms.mubuf,
    "FLAT": memory_forms.flat,
    "GLOBAL": memory_forms.flat,
    "SCRATCH": memory_forms.flat,
    "DS": memory_forms.ds,
}


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
