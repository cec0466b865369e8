"""Runs a few instructions from a given state: the laboratory of the unit tests, and a way to try an instruction out.

The text is assembled to real machine code, decoded and executed as any kernel's.

    >>> run("v_add_f32 v2, v0, v1", "gfx942", vgprs={0: 1.5, 1: np.arange(64, dtype=np.float32)}).f32(2)
    array([ 1.5,  2.5, ..., 64.5], dtype=float32)
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from . import core
from .assemble import assemble
from .decode import Decoder
from .insn import EXEC, FIRST_AGPR, VCC

MODE_AS_COMPILED: Final = 0x3F0
"""HW_REG_MODE as Triton's kernels start: round to nearest, denormals kept in all formats (bits 7:4), DX10_CLAMP
(bit 8: a NaN is clamped to 0) and IEEE mode (bit 9)."""
_FULL: Final = 2**64 - 1
_LIMIT: Final = 10_000_000

Words = npt.NDArray[np.uint32]
Memory = Any  # a numpy array or a torch tensor, contiguous


class LabFault(RuntimeError):
    """The run did not end at its last instruction.

    Attributes:
        status: why.
        instruction: index of the instruction.
        lane, wave, other_wave, address, bytes, store: as core/cdna.h's Fault has them.
    """

    def __init__(self, status: core.Status, fault: core.Fault) -> None:
        self.status = status
        self.instruction, self.lane, self.wave = int(fault.instruction), int(fault.lane), int(fault.wave)
        self.address, self.bytes, self.store = int(fault.address), int(fault.bytes), bool(fault.store)
        self.other_wave, self.what = int(fault.other_wave), fault.what.decode(errors="replace")
        super().__init__(f"{status.name}: {self.what} (instruction {self.instruction}, lane {self.lane})")


@dataclass(frozen=True)
class State:
    """What a run leaves behind; where nothing else is said, of wave 0.

    Attributes:
        waves_v: uint32 [waves, 512, 64]: VGPRs 0 to 255, AGPRs from 256 on.
        waves_s: uint32 [waves, 128].
        waves_scc: uint32 [waves].
        lds: uint8 [bytes].
        scratch: uint8 [waves, 64, scratch_bytes].
        mode: HW_REG_MODE.
        counters: of the run.
        allocations: (load_bytes, store_bytes) of each piece of memory, in the order given.
    """

    waves_v: Words
    waves_s: Words
    waves_scc: Words
    lds: npt.NDArray[np.uint8]
    scratch: npt.NDArray[np.uint8]
    mode: int
    counters: core.RawCounters
    allocations: list[tuple[int, int]] = field(default_factory=list)

    @property
    def v(self) -> Words:
        """uint32 [512, 64]"""
        v: Words = self.waves_v[0]
        return v

    @property
    def a(self) -> Words:
        """AGPRs, uint32 [256, 64]"""
        return self.waves_v[0, FIRST_AGPR:]

    @property
    def s(self) -> Words:
        """uint32 [128]"""
        s: Words = self.waves_s[0]
        return s

    @property
    def scc(self) -> int:
        return int(self.waves_scc[0])

    @property
    def vcc(self) -> int:
        return self.s64(VCC)

    @property
    def exec(self) -> int:
        return self.s64(EXEC)

    def s64(self, n: int) -> int:
        """The scalar register pair n."""
        return int(self.s[n]) | int(self.s[n + 1]) << 32

    def f32(self, n: int) -> npt.NDArray[np.float32]:
        """Register n as float32 [64]."""
        found: npt.NDArray[np.float32] = self.v[n].view(np.float32)
        return found

    def f16(self, n: int) -> npt.NDArray[np.float16]:
        """The lower half of register n as float16 [64]."""
        found: npt.NDArray[np.float16] = (self.v[n] & 0xFFFF).astype(np.uint16).view(np.float16)
        return found

    def u64(self, n: int) -> npt.NDArray[np.uint64]:
        """Registers n, n + 1 as uint64 [64]."""
        found: npt.NDArray[np.uint64] = self.v[n].astype(np.uint64) | self.v[n + 1].astype(np.uint64) << np.uint64(32)
        return found

    def f64(self, n: int) -> npt.NDArray[np.float64]:
        """Registers n, n + 1 as float64 [64]."""
        return self.u64(n).view(np.float64)


def run(
    text: str | bytes,
    arch: str,
    *,
    vgprs: Mapping[int, Any] | None = None,
    agprs: Mapping[int, Any] | None = None,
    sgprs: Mapping[int, int] | None = None,
    vcc: int = 0,
    exec: int = _FULL,
    memory: Sequence[Memory] = (),
    written: Sequence[npt.NDArray[np.uint8] | None] = (),
    lds: bytes | npt.NDArray[Any] | int = b"",
    scratch_bytes: int = 0,
    waves: int = 1,
    scc: int = 0,
    mode: int = MODE_AS_COMPILED,
    order: core.Order = core.Order.FORWARD,
    seed: int = 0,
    check_races: bool = False,
    check_undefined: bool = False,
    check_waits: bool = False,
) -> State:
    """Assemble and execute; ends behind the last instruction (an `s_endpgm` is appended).

    Args:
        text: assembly, or machine code.
        arch: "gfx942" or "gfx950".
        vgprs, agprs: by register number: a number, an array [64], or [waves, 64]. 32-bit types fill one register,
            16-bit types its lower half, 64-bit types two. A Python int is a 32-bit word, a Python float is float32. All
            other registers hold 0.
        sgprs: by register number; an int of more than 32 bits fills two registers: `{4: address(array)}`.
        vcc, exec: 64 bits.
        memory: arrays or tensors that the instructions may touch, at their own addresses.
        written: for each of memory, None or uint8 [bytes], 0 where it was never written (with `check_undefined`).
        lds: its content, or its size in bytes.
        scratch_bytes: for each lane.
        waves: how many run the same code in one workgroup; all start alike but for vgprs given as [waves, 64].
        scc, mode: status bit; HW_REG_MODE.
        order, seed: of the waves.
        check_races, check_undefined, check_waits: as `device()` has them.

    Raises:
        AssemblyError: the text does not assemble.
        UnsupportedInstruction: the decoder refused.
        LabFault: the run did not end well.
    """
    code = _decoded(text if isinstance(text, bytes) else assemble(text, arch), arch)
    v = np.zeros((waves, core.REGISTERS, core.LANES), np.uint32)
    for first, given in ((0, vgprs), (FIRST_AGPR, agprs)):
        for number, value in (given or {}).items():
            _fill(v, first + number, value)
    s = np.zeros((waves, 128), np.uint32)
    for number, word in {**(sgprs or {}), VCC: vcc | 1 << 64, EXEC: exec | 1 << 64}.items():
        _fill_scalar(s, number, word)
    sccs = np.full(waves, scc, np.uint32)
    shared = _bytes(lds)
    scratch = np.zeros((waves, core.LANES, scratch_bytes), np.uint8)
    lab = core.Lab(waves=waves, mode=mode, order=int(order), seed=seed)
    lab.v, lab.s, lab.scc = v.ctypes.data, s.ctypes.data, sccs.ctypes.data
    lab.lds, lab.scratch = shared.ctypes.data, scratch.ctypes.data if scratch_bytes else None
    launch = core.Launch(arch=core.ARCHES[arch], code=code.ctypes.data, length=len(code), entry=0, limit=_LIMIT)
    launch.lds_bytes, launch.scratch_bytes = len(shared), scratch_bytes
    launch.check_races, launch.check_undefined, launch.check_waits = check_races, check_undefined, check_waits
    table, order_of_table, bitmaps = _allocations(memory, written)
    launch.allocation, launch.allocations = table, len(memory)
    status = core.run_lab(launch, lab)
    del bitmaps
    if status != core.Status.OK:
        raise LabFault(status, launch.fault)
    touched = [(int(table[place].load_bytes), int(table[place].store_bytes)) for place in order_of_table]
    return State(v, s, sccs, shared, scratch, int(lab.mode), launch.counters, touched)


def address(memory: Memory) -> int:
    """Where an array or a tensor starts, marked as 64 bits: fills two scalar registers even if it is below 2**32."""
    start, _ = _extent(memory)
    return start | 1 << 64


@cache
def _decoder() -> Decoder:
    return Decoder(core.operations())


@cache
def _decoded(code: bytes, arch: str) -> npt.NDArray[np.void]:
    return _decoder().decode(code + assemble("s_endpgm", arch), kernel="lab")


def _words(value: Any) -> list[npt.NDArray[np.uint32]]:
    """As one or two arrays of words that broadcast to [waves, 64]."""
    if isinstance(value, bool):
        value = int(value)
    if isinstance(value, int):
        value = np.uint32(value & 0xFFFFFFFF)
    elif isinstance(value, float):
        value = np.float32(value)
    array = np.ascontiguousarray(value)
    bits = array.view(f"u{array.dtype.itemsize}")
    if array.dtype.itemsize == 8:
        return [(bits & np.uint64(0xFFFFFFFF)).astype(np.uint32), (bits >> np.uint64(32)).astype(np.uint32)]
    return [bits.astype(np.uint32)]


def _bytes(lds: bytes | npt.NDArray[Any] | int) -> npt.NDArray[np.uint8]:
    if isinstance(lds, int):
        return np.zeros(lds, np.uint8)
    content = lds if isinstance(lds, bytes) else lds.tobytes()
    return np.frombuffer(bytearray(content), np.uint8)


def _fill(v: Words, number: int, value: Any) -> None:
    for offset, words in enumerate(_words(value)):
        v[:, number + offset] = words


def _fill_scalar(s: Words, number: int, value: int) -> None:
    s[:, number] = value & 0xFFFFFFFF
    if value >> 32 > 0:
        s[:, number + 1] = value >> 32 & 0xFFFFFFFF


def _extent(memory: Memory) -> tuple[int, int]:
    """Address and bytes of an array or a tensor."""
    if isinstance(memory, np.ndarray):
        if not memory.flags.c_contiguous:
            raise ValueError("memory must be contiguous")
        return int(memory.ctypes.data), int(memory.nbytes)
    return int(memory.data_ptr()), int(memory.numel() * memory.element_size())


def _allocations(
    memory: Sequence[Memory], written: Sequence[npt.NDArray[np.uint8] | None]
) -> tuple[Any, list[int], list[npt.NDArray[np.uint64]]]:
    """The sorted table, the place in it of each of `memory`, and the bitmaps that it points to."""
    extents = [_extent(each) for each in memory]
    places = sorted(range(len(extents)), key=lambda number: extents[number])
    table = (core.Allocation * max(1, len(extents)))()
    bitmaps = []
    for place, number in enumerate(places):
        start, size = extents[number]
        bitmaps.append(np.zeros(size // 128 // 64 + 2, np.uint64))
        table[place].lo, table[place].hi = start, start + size
        table[place].lines = bitmaps[-1].ctypes.data
        marks = written[number] if number < len(written) else None
        if marks is not None:
            table[place].written = marks.ctypes.data
    order = [places.index(number) for number in range(len(places))]
    return ctypes.cast(table, ctypes.POINTER(core.Allocation)), order, bitmaps
