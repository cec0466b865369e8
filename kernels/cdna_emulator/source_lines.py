"""Source lines of a code object: the line program of its .debug_line section, read when an error needs it.

Source: DWARF Debugging Information Format, versions 4 and 5, section 6.2.
"""

from __future__ import annotations

import bisect
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

_TEXT: Final = b".text"
_BYTES: Final = {0x0B: 1, 0x05: 2, 0x06: 4, 0x07: 8}  # DW_FORM_data1, 2, 4, 8
_PATH: Final = 1  # DW_LNCT_path
_DIRECTORY: Final = 2  # DW_LNCT_directory_index


class _Row(NamedTuple):
    address: int
    file: str
    line: int  # 0: the compiler knows none
    ends: bool  # the first address behind a sequence


class _Reader:
    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at

    def number(self, size: int) -> int:
        self.at += size
        return int.from_bytes(self.data[self.at - size : self.at], "little")

    def unsigned(self) -> int:
        value = shift = 0
        while True:
            byte = self.number(1)
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def signed(self) -> int:
        start = self.at
        value = self.unsigned()
        bits = 7 * (self.at - start)
        return value - (1 << bits) if value >> (bits - 1) else value

    def text(self) -> str:
        end = self.data.index(b"\0", self.at)
        found = self.data[self.at : end].decode(errors="replace")
        self.at = end + 1
        return found


def line_of(elf: bytes, pc: int) -> tuple[str, int] | None:
    """The source line of an instruction.

    Args:
        elf: the code object.
        pc: byte offset of the instruction from the start of the text section.

    Returns:
        File and line; None where the code object holds no line for it.
    """
    base, rows = _table(elf)
    index = bisect.bisect_right(rows, base + pc, key=lambda row: row.address) - 1
    if index < 0 or rows[index].ends or rows[index].line == 0:
        return None
    return rows[index].file, rows[index].line


@lru_cache(maxsize=8)
def _table(elf: bytes) -> tuple[int, list[_Row]]:
    sections = _sections(elf)
    base = sections[_TEXT][0] if _TEXT in sections else 0
    lines = sections.get(b".debug_line")
    if lines is None:
        return base, []
    strings = {
        0x1F: sections.get(b".debug_line_str", (0, b""))[1],  # DW_FORM_line_strp
        0x0E: sections.get(b".debug_str", (0, b""))[1],  # DW_FORM_strp
    }
    rows: list[_Row] = []
    reader = _Reader(lines[1], 0)
    while reader.at < len(reader.data):
        rows += _unit(reader, strings)
    # At one address the end of a sequence comes before the start of the next.
    return base, sorted(rows, key=lambda row: (row.address, not row.ends))


def _sections(elf: bytes) -> dict[bytes, tuple[int, bytes]]:
    """By name: address and content of an ELF64's sections."""
    (table,) = struct.unpack_from("<Q", elf, 40)
    count, names = struct.unpack_from("<HH", elf, 60)
    heads = [struct.unpack_from("<IIQQQQ", elf, table + 64 * number) for number in range(count)]
    found = {}
    for name, _, _, address, offset, size in heads:
        start = heads[names][4] + name
        found[elf[start : elf.index(b"\0", start)]] = (address, elf[offset : offset + size])
    return found


def _unit(reader: _Reader, strings: dict[int, bytes]) -> list[_Row]:
    """One line program; the reader ends behind it."""
    wide = 4
    length = reader.number(4)
    if length == 0xFFFFFFFF:
        wide, length = 8, reader.number(8)
    end = reader.at + length
    version = reader.number(2)
    if version not in (4, 5):
        reader.at = end
        return []
    if version == 5:
        reader.at += 2  # address size, segment selector size
    header = reader.number(wide)
    program = reader.at + header
    minimum = reader.number(1)
    reader.at += 2  # operations per instruction (not VLIW), default is_stmt
    line_base, line_range, opcode_base = reader.number(1), reader.number(1), reader.number(1)
    line_base -= 256 if line_base > 127 else 0
    lengths = [reader.number(1) for _ in range(opcode_base - 1)]
    files = _files_5(reader, wide, strings) if version == 5 else _files_4(reader)
    reader.at = program
    rows = _run(reader, end, files, (minimum, line_base, line_range, opcode_base), lengths)
    reader.at = end
    return rows


def _files_4(reader: _Reader) -> list[str]:
    directories = [""]
    while name := reader.text():
        directories.append(name)
    files = [""]  # numbered from 1
    while name := reader.text():
        folder = directories[reader.unsigned()]
        reader.unsigned()  # time
        reader.unsigned()  # size
        files.append(f"{folder}/{name}" if folder else name)
    return files


def _files_5(reader: _Reader, wide: int, strings: dict[int, bytes]) -> list[str]:
    directories = [str(entry[_PATH]) for entry in _entries(reader, wide, strings)]
    files = []
    for entry in _entries(reader, wide, strings):
        name, folder = str(entry[_PATH]), directories[int(entry.get(_DIRECTORY, 0))]
        files.append(name if name.startswith("/") or not folder else f"{folder}/{name}")
    return files


def _entries(reader: _Reader, wide: int, strings: dict[int, bytes]) -> list[dict[int, str | int]]:
    formats = [(reader.unsigned(), reader.unsigned()) for _ in range(reader.number(1))]
    count = reader.unsigned()
    return [{kind: _form(reader, form, wide, strings) for kind, form in formats} for _ in range(count)]


def _form(reader: _Reader, form: int, wide: int, strings: dict[int, bytes]) -> str | int:
    if form in _BYTES:
        return reader.number(_BYTES[form])
    if form in strings:
        return _Reader(strings[form], reader.number(wide)).text()
    if form == 0x08:  # DW_FORM_string
        return reader.text()
    if form == 0x0F:  # DW_FORM_udata
        return reader.unsigned()
    if form == 0x1E:  # DW_FORM_data16: an MD5
        return reader.number(16)
    raise ValueError(f"DWARF form {form:#x} in a line table")


def _run(
    reader: _Reader, end: int, files: list[str], header: tuple[int, int, int, int], lengths: list[int]
) -> list[_Row]:
    minimum, line_base, line_range, opcode_base = header
    rows: list[_Row] = []
    address, file, line = 0, 1, 1

    def emit(ends: bool = False) -> None:
        rows.append(_Row(address, files[file] if file < len(files) else "", line, ends))

    skip: dict[int, Callable[[], object]] = {5: reader.unsigned, 12: reader.unsigned}  # column, ISA
    while reader.at < end:
        opcode = reader.number(1)
        if opcode >= opcode_base:
            address += (opcode - opcode_base) // line_range * minimum
            line += line_base + (opcode - opcode_base) % line_range
            emit()
        elif opcode == 0:
            size = reader.unsigned()
            after = reader.at + size
            kind = reader.number(1)
            if kind == 1:  # end of sequence
                emit(ends=True)
                address, file, line = 0, 1, 1
            elif kind == 2:  # set address
                address = reader.number(size - 1)
            reader.at = after
        elif opcode == 1:
            emit()
        elif opcode == 2:
            address += reader.unsigned() * minimum
        elif opcode == 3:
            line += reader.signed()
        elif opcode == 4:
            file = reader.unsigned()
        elif opcode == 8:
            address += (255 - opcode_base) // line_range * minimum
        elif opcode == 9:
            address += reader.number(2)
        elif opcode in skip:
            skip[opcode]()
        else:
            for _ in range(lengths[opcode - 1]):
                reader.unsigned()
    return rows
