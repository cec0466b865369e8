"""MessagePack, as far as the notes of AMDGPU code objects use it.

Source: the MessagePack specification; "Code Object V5 Metadata" in LLVM's AMDGPUUsage.
"""

from __future__ import annotations

import struct
from typing import Any, Final

_FIXED: Final = {
    0xCA: ">f",
    0xCB: ">d",
    0xCC: ">B",
    0xCD: ">H",
    0xCE: ">I",
    0xCF: ">Q",
    0xD0: ">b",
    0xD1: ">h",
    0xD2: ">i",
    0xD3: ">q",
}
_LENGTHS: Final = {  # tag -> what it starts, format of its length
    0xC4: ("binary", ">B"),
    0xC5: ("binary", ">H"),
    0xC6: ("binary", ">I"),
    0xD9: ("text", ">B"),
    0xDA: ("text", ">H"),
    0xDB: ("text", ">I"),
    0xDC: ("list", ">H"),
    0xDD: ("list", ">I"),
    0xDE: ("map", ">H"),
    0xDF: ("map", ">I"),
}
_CONSTANTS: Final = {0xC0: None, 0xC2: False, 0xC3: True}


def unpack(data: bytes) -> Any:
    """The one value at the start of `data`.

    Raises:
        ValueError: it is cut off, or of a kind that metadata does not have.
    """
    try:
        return _Reader(data).value()
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ValueError(f"damaged MessagePack: {error}") from error


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def number(self, form: str) -> Any:
        (value,) = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return value

    def value(self) -> Any:
        tag = self.number(">B")
        if tag <= 0x7F:
            return tag
        if tag >= 0xE0:
            return tag - 256
        if tag <= 0x8F:
            return self.sequence("map", tag & 15)
        if tag <= 0x9F:
            return self.sequence("list", tag & 15)
        if tag <= 0xBF:
            return self.sequence("text", tag & 31)
        if tag in _CONSTANTS:
            return _CONSTANTS[tag]
        if tag in _FIXED:
            return self.number(_FIXED[tag])
        if tag in _LENGTHS:
            kind, form = _LENGTHS[tag]
            return self.sequence(kind, self.number(form))
        raise ValueError(f"damaged MessagePack: tag {tag:#x}")

    def sequence(self, kind: str, length: int) -> Any:
        if kind == "map":
            return {self.value(): self.value() for _ in range(length)}
        if kind == "list":
            return [self.value() for _ in range(length)]
        part = self.data[self.at : self.at + length]
        if len(part) != length:
            raise ValueError("damaged MessagePack: it is cut off")
        self.at += length
        return part if kind == "binary" else part.decode()
