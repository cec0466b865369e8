"""Machine code from assembly text, through the LLVM inside Triton's AMD backend: for tests and experiments."""

from __future__ import annotations

import os
import struct
import tempfile
from functools import cache

_EXECUTABLE = 4  # SHF_EXECINSTR


class AssemblyError(ValueError):
    """The text does not assemble for the arch; LLVM's diagnostic is on stderr, the text is in the message."""


@cache
def assemble(text: str, arch: str) -> bytes:
    """Machine code of `text`, e.g. `assemble("v_add_f32 v0, v1, v2", "gfx942")`.

    Args:
        text: instructions in AMD's assembly syntax, one a line; labels are allowed.
        arch: "gfx942" or "gfx950".

    Raises:
        AssemblyError: LLVM refused the text.
    """
    return _text_section(_assemble_object(".text\n" + text + "\n", arch))


def assemble_kernel(text: str, arch: str) -> bytes:
    """A linked code object from a whole source with directives (.amdhsa_kernel, metadata), as Triton writes it.

    Raises:
        AssemblyError: LLVM refused the text.
    """
    from triton._C.libtriton import amd

    with tempfile.TemporaryDirectory() as folder:
        relocatable, linked = os.path.join(folder, "in.o"), os.path.join(folder, "out.hsaco")
        with open(relocatable, "wb") as file:
            file.write(_assemble_object(text, arch))
        amd.link_hsaco(relocatable, linked)
        with open(linked, "rb") as file:
            return file.read()


def _assemble_object(text: str, arch: str) -> bytes:
    from triton.backends.amd.compiler import assemble_amdgcn

    try:
        return bytes(assemble_amdgcn(text, arch, ""))
    except RuntimeError as error:
        raise AssemblyError(f"{arch} has no such instruction or operand:\n{text}") from error


def _text_section(elf: bytes) -> bytes:
    """The executable section of a relocatable ELF64 (header fields by the System V ABI)."""
    (table,) = struct.unpack_from("<Q", elf, 40)
    (count,) = struct.unpack_from("<H", elf, 60)
    for number in range(count):
        _, _, flags, _, offset, size = struct.unpack_from("<IIQQQQ", elf, table + 64 * number)
        if flags & _EXECUTABLE:
            return elf[offset : offset + size]
    raise AssemblyError("the object has no executable section")
