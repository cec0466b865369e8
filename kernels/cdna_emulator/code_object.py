"""What an AMDGPU code object (.hsaco) says about itself: kernels, their registers, memory and arguments, their code.

Sources: the System V ABI for ELF64; "Code Object" and "Kernel Descriptor" in LLVM's AMDGPUUsage.
"""

from __future__ import annotations

import functools
import struct
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from .errors import CodeObjectError
from .metadata import unpack

_EM_AMDGPU: Final = 224
_MACHINES: Final = {0x4C: "gfx942", 0x4F: "gfx950"}  # EF_AMDGPU_MACH
_PT_LOAD: Final = 1
_PT_NOTE: Final = 4
_SHT_RELA: Final = 4
_SHT_DYNSYM: Final = 11
_NT_AMDGPU_METADATA: Final = 32
_R_AMDGPU_RELATIVE64: Final = 13
_DESCRIPTOR_BYTES: Final = 64
_HINT: Final = "compile for gfx942 or gfx950, e.g. triton.compile(src, target=GPUTarget('hip', 'gfx942', 64))"
LOAD_ALIGNMENT: Final = 4096


@dataclass(frozen=True)
class Argument:
    """One entry of a kernel's argument segment."""

    offset: int
    size: int
    kind: str
    """by_value, global_buffer, or hidden_*: what the launcher fills in itself."""
    name: str | None


@dataclass(frozen=True)
class Kernel:
    """One kernel of a code object."""

    name: str
    entry: int
    """Byte offset in the text section."""
    arguments: tuple[Argument, ...]
    argument_bytes: int
    lds_bytes: int
    """Fixed in the code; a launch may ask for more."""
    scratch_bytes: int
    """Of each lane."""
    dynamic_stack: bool
    vgprs: int
    """Vector registers of a lane, accumulation registers included."""
    agprs: int
    sgprs: int
    vgpr_spills: int
    sgpr_spills: int
    most_threads: int
    rsrc1: int
    rsrc2: int
    properties: int

    @property
    def visible_arguments(self) -> tuple[Argument, ...]:
        """The arguments that a caller gives."""
        return tuple(argument for argument in self.arguments if not argument.kind.startswith("hidden_"))

    @property
    def mode(self) -> int:
        """HW_REG_MODE at the start: FLOAT_MODE, DX10_CLAMP, IEEE_MODE and FP16_OVFL of COMPUTE_PGM_RSRC1."""
        r = self.rsrc1
        return r >> 12 & 0xFF | (r >> 21 & 1) << 8 | (r >> 23 & 1) << 9 | (r >> 26 & 1) << 23

    @property
    def user_sgprs(self) -> int:
        """USER_SGPR_COUNT of COMPUTE_PGM_RSRC2."""
        return self.rsrc2 >> 1 & 31

    @property
    def group_ids(self) -> int:
        """Bits 0, 1, 2: the workgroup's number in x, y, z comes in a scalar register."""
        return self.rsrc2 >> 7 & 7


class _Segment(NamedTuple):
    type: int
    offset: int
    address: int
    file_bytes: int
    memory_bytes: int


class _Section(NamedTuple):
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    name: str


@dataclass(frozen=True, eq=False)
class CodeObject:
    """A code object taken apart. Make one with `CodeObject.parse`."""

    elf: bytes
    arch: str
    kernels: dict[str, Kernel]
    text: bytes
    text_address: int
    """Of the text section in the image."""
    segments: tuple[_Segment, ...]
    relocations: tuple[tuple[int, int], ...]
    """Place in the image, and offset in the image whose address stands there."""

    @classmethod
    def parse(cls, elf: bytes) -> CodeObject:
        """Take a code object apart.

        Raises:
            CodeObjectError: not an AMDGPU ELF64, not gfx942 or gfx950, damaged, or without a kernel.
        """
        if elf[:5] != b"\x7fELF\x02":
            raise CodeObjectError(f"{len(elf)} bytes that are no ELF64", required="an AMDGPU code object", hint=_HINT)
        try:
            return cls._parse(elf)
        except (struct.error, IndexError, KeyError, ValueError, StopIteration) as error:
            raise CodeObjectError(f"a damaged code object ({error!r})", hint=_HINT) from error

    @classmethod
    def _parse(cls, elf: bytes) -> CodeObject:
        machine, _ = struct.unpack_from("<HI", elf, 18)
        (flags,) = struct.unpack_from("<I", elf, 48)
        if machine != _EM_AMDGPU:
            raise CodeObjectError(f"an ELF for machine {machine}", required=f"AMDGPU, machine {_EM_AMDGPU}", hint=_HINT)
        arch = _MACHINES.get(flags & 0xFF)
        if arch is None:
            raise CodeObjectError(
                f"a code object for another architecture (ELF machine flags {flags & 0xFF:#x})",
                required="gfx942 or gfx950",
                hint=_HINT,
            )
        segments, sections = _segments(elf), _sections(elf)
        text = next(section for section in sections if section.name == ".text")
        described = _metadata(elf, segments)
        symbols = _symbols(elf, sections)
        image = _image(elf, segments)
        kernels = {}
        for entry in described["amdhsa.kernels"]:
            kernel = _kernel(entry, symbols[entry[".symbol"]], image, text.address)
            kernels[kernel.name] = kernel
        if not kernels:
            raise CodeObjectError("a code object without a kernel", hint=_HINT)
        code = elf[text.offset : text.offset + text.size]
        return cls(elf, arch, kernels, code, text.address, segments, _relocations(elf, sections))

    def kernel(self, name: str | None = None) -> Kernel:
        """The kernel of that name; without a name the only one.

        Raises:
            CodeObjectError: there is none of that name, or several and no name.
        """
        if name is None and len(self.kernels) == 1:
            return next(iter(self.kernels.values()))
        if name is None or name not in self.kernels:
            there = ", ".join(f"`{each}`" for each in self.kernels)
            raise CodeObjectError(
                f"no kernel `{name}`" if name else "no kernel named", required=f"one of {there}", hint=_HINT
            )
        return self.kernels[name]

    @functools.cached_property
    def image(self) -> npt.NDArray[np.uint8]:
        """The code object as it lies in memory, relocated: its own address is where it is loaded."""
        plain = _image(self.elf, self.segments)
        room = np.zeros(len(plain) + LOAD_ALIGNMENT, np.uint8)
        start = -room.ctypes.data % LOAD_ALIGNMENT
        loaded = room[start : start + len(plain)]
        loaded[:] = np.frombuffer(plain, np.uint8)
        for place, target in self.relocations:
            value = (loaded.ctypes.data + target).to_bytes(8, "little")
            loaded[place : place + 8] = np.frombuffer(value, np.uint8)
        return loaded


def _segments(elf: bytes) -> tuple[_Segment, ...]:
    (table,) = struct.unpack_from("<Q", elf, 32)
    (count,) = struct.unpack_from("<H", elf, 56)
    found = []
    for number in range(count):
        kind, _, offset, address, _, in_file, in_memory, _ = struct.unpack_from("<IIQQQQQQ", elf, table + 56 * number)
        found.append(_Segment(kind, offset, address, in_file, in_memory))
    return tuple(found)


def _sections(elf: bytes) -> list[_Section]:
    (table,) = struct.unpack_from("<Q", elf, 40)
    count, names = struct.unpack_from("<HH", elf, 60)
    rows = [struct.unpack_from("<IIQQQQI", elf, table + 64 * number) for number in range(count)]
    text = rows[names][4]
    return [
        _Section(kind, flags, address, offset, size, link, _text(elf, text + name))
        for name, kind, flags, address, offset, size, link in rows
    ]


def _text(elf: bytes, at: int) -> str:
    return elf[at : elf.index(b"\0", at)].decode()


def _symbols(elf: bytes, sections: list[_Section]) -> dict[str, int]:
    table = next(section for section in sections if section.type == _SHT_DYNSYM)
    names = sections[table.link].offset
    found = {}
    for at in range(table.offset, table.offset + table.size, 24):
        name, _, _, _, value, _ = struct.unpack_from("<IBBHQQ", elf, at)
        found[_text(elf, names + name)] = value
    return found


def _relocations(elf: bytes, sections: list[_Section]) -> tuple[tuple[int, int], ...]:
    found = []
    for section in sections:
        if section.type != _SHT_RELA or not section.flags & 2:  # SHF_ALLOC: the loader applies it
            continue
        for at in range(section.offset, section.offset + section.size, 24):
            place, info, addend = struct.unpack_from("<QQq", elf, at)
            if info & 0xFFFFFFFF != _R_AMDGPU_RELATIVE64:
                raise CodeObjectError(
                    f"a relocation of type {info & 0xFFFFFFFF}",
                    required="R_AMDGPU_RELATIVE64 alone: a code object that is linked completely",
                )
            found.append((place, addend))
    return tuple(found)


def _image(elf: bytes, segments: tuple[_Segment, ...]) -> bytes:
    loaded = [segment for segment in segments if segment.type == _PT_LOAD]
    image = bytearray(max(segment.address + segment.memory_bytes for segment in loaded))
    for segment in loaded:
        data = elf[segment.offset : segment.offset + segment.file_bytes]
        image[segment.address : segment.address + len(data)] = data
    return bytes(image)


def _metadata(elf: bytes, segments: tuple[_Segment, ...]) -> dict[str, Any]:
    for segment in segments:
        at, end = segment.offset, segment.offset + segment.file_bytes
        while segment.type == _PT_NOTE and at + 12 <= end:
            name, size, kind = struct.unpack_from("<III", elf, at)
            data = at + 12 + (name + 3) // 4 * 4
            if kind == _NT_AMDGPU_METADATA and elf[at + 12 : at + 18] == b"AMDGPU":
                described: dict[str, Any] = unpack(elf[data : data + size])
                return described
            at = data + (size + 3) // 4 * 4
    raise CodeObjectError("an ELF without AMDGPU metadata", required="code object version 3 or later", hint=_HINT)


def _kernel(entry: dict[str, Any], descriptor: int, image: bytes, text_address: int) -> Kernel:
    raw = image[descriptor : descriptor + _DESCRIPTOR_BYTES]
    (start,) = struct.unpack_from("<q", raw, 16)
    rsrc1, rsrc2, properties = struct.unpack_from("<IIH", raw, 48)
    if entry[".wavefront_size"] != 64:
        raise CodeObjectError(
            f"`{entry['.name']}` in waves of {entry['.wavefront_size']}", required="waves of 64", hint=_HINT
        )
    arguments = tuple(
        Argument(each[".offset"], each[".size"], each[".value_kind"], each.get(".name"))
        for each in entry.get(".args", ())
    )
    return Kernel(
        name=entry[".name"],
        entry=descriptor + start - text_address,
        arguments=arguments,
        argument_bytes=entry[".kernarg_segment_size"],
        lds_bytes=entry[".group_segment_fixed_size"],
        scratch_bytes=entry[".private_segment_fixed_size"],
        dynamic_stack=bool(entry.get(".uses_dynamic_stack", False)),
        vgprs=entry[".vgpr_count"],
        agprs=entry.get(".agpr_count", 0),
        sgprs=entry[".sgpr_count"],
        vgpr_spills=entry.get(".vgpr_spill_count", 0),
        sgpr_spills=entry.get(".sgpr_spill_count", 0),
        most_threads=entry[".max_flat_workgroup_size"],
        rsrc1=rsrc1,
        rsrc2=rsrc2,
        properties=properties,
    )
