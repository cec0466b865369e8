"""One kernel of a code object, ready to be launched on this process's own memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from . import core
from .arguments import Value, segment
from .code_object import CodeObject, Kernel
from .counters import LDS_BYTES, Counters, LaunchRecord, Registers
from .decode import index_of
from .decoded import decoded
from .errors import CodeObjectError, LaunchError
from .faults import error_of
from .memory import Memory

_PACKET_BYTES: Final = 64  # hsa_kernel_dispatch_packet_t
_QUEUE_BYTES: Final = 256  # amd_queue_t, of which kernels read nothing that is not 0 here
_DYNAMIC_STACK: Final = 16384
"""Bytes of scratch of each lane for a stack whose depth the compiler does not know."""
_POISON: Final = 0x7FC5BEEF
"""What registers, LDS and scratch hold at first when undefined reads are looked for: NaN in fp32 and in bf16."""

Sample = int | Callable[[int, int, int], bool] | None


@dataclass(frozen=True)
class Options:
    """How a launch is executed.

    Args:
        check_races: two waves that touch one piece of LDS, one writing, with no barrier between, are an error.
        check_undefined: reading LDS, or memory marked so, that was never written is an error.
        check_waits: using a load's result before the s_waitcnt for it is an error.
        order: of workgroups, and of the waves of one between two barriers. "seeded" mixes waves finely.
        seed: for "seeded".
        sample: run only every n-th workgroup, or those for which a function of (x, y, z) is true.
        limit: wave-instructions after which a launch counts as one that never ends; 0: none.
    """

    check_races: bool = False
    check_undefined: bool = False
    check_waits: bool = False
    order: Literal["forward", "reverse", "seeded"] = "forward"
    seed: int = 0
    sample: Sample = None
    limit: int = 2_000_000_000

    def __post_init__(self) -> None:
        if self.order.upper() not in core.Order.__members__:
            raise LaunchError(f"order `{self.order}`", required="`forward`, `reverse` or `seeded`")
        if isinstance(self.sample, int) and self.sample < 1:
            raise LaunchError(f"sample={self.sample}", required="at least 1: every n-th workgroup")


class Program:
    """A kernel, decoded. Make one with `Program.load`."""

    def __init__(self, code_object: CodeObject, kernel: Kernel) -> None:
        self.code_object, self.kernel = code_object, kernel
        self.code = decoded(code_object.text, kernel.entry, kernel.name)
        self._entry = index_of(self.code, kernel.entry)

    @classmethod
    def load(cls, source: bytes | str | os.PathLike[str], kernel: str | None = None) -> Program:
        """Take a code object apart and decode one of its kernels.

        Args:
            source: the code object, or the path of a .hsaco file.
            kernel: its name; may be left out where there is only one.

        Raises:
            CodeObjectError: no AMDGPU code object for gfx942 or gfx950, or no such kernel in it.
            UnsupportedInstruction: an instruction in the kernel's reach that the emulator does not have.
        """
        if not isinstance(source, bytes):
            try:
                elf = Path(source).read_bytes()
            except OSError as error:
                raise CodeObjectError(f"cannot read `{os.fspath(source)}` ({error.strerror})") from error
        else:
            elf = source
        code_object = CodeObject.parse(elf)
        return cls(code_object, code_object.kernel(kernel))

    @property
    def registers(self) -> Registers:
        """What a wave takes."""
        k = self.kernel
        return Registers(k.vgprs, k.agprs, k.sgprs, k.vgpr_spills, k.sgpr_spills, k.scratch_bytes)

    def launch(
        self,
        grid: int | Sequence[int],
        args: Sequence[Any],
        *,
        threads: int | Sequence[int] | None = None,
        num_warps: int | None = None,
        shared: int = 0,
        options: Options | None = None,
        expose: Iterable[tuple[str, Any]] = (),
        written: Mapping[int, npt.NDArray[np.uint8]] | None = None,
    ) -> LaunchRecord:
        """Run the kernel; the tensors are read and written where they are.

        Args:
            grid: workgroups, up to three numbers.
            args: CPU tensors, numpy arrays, numbers, None for a null pointer, bytes of the exact size, or `Value`s.
                A Python float fills 4 bytes as float32 and 8 as float64.
            threads: of a workgroup, up to three numbers. Default: what the kernel was compiled for.
            num_warps: the same in waves of 64.
            shared: bytes of LDS beyond what the code object fixes (Triton: `metadata.shared`).
            options: see `Options`.
            expose: more (name, tensor) that the kernel reaches through pointers in memory.
            written: see `Memory`.

        Returns:
            What it did.

        Raises:
            LaunchError: arguments, grid or resources do not fit the kernel or the architecture.
            DeviceFault: what the kernel did wrong.
            UnsupportedInstruction: a form that shows only when it runs.
        """
        options = options or Options()
        values = [each if isinstance(each, Value) else Value(f"argument {n}", each) for n, each in enumerate(args)]
        blocks = _three(grid, "grid", least=0)
        shape = self._threads(threads, num_warps)
        lds = self._lds(shared)
        own = _Own(self.kernel, values, blocks, shape, lds)
        tensors = [(each.name, each.value) for each in values if _has_memory(each.value)]
        buffers = [*own.buffers, ("the code object", self.code_object.image)]
        memory = Memory([*tensors, *expose], buffers, written if options.check_undefined else None)
        executed = np.zeros(len(self.code), np.uint64)
        launch = self._launch(options, lds, memory, executed)
        start, sample = self._start(options, blocks, shape, own)
        status = core.run(launch, start)
        del sample  # the core has read it
        if status != core.Status.OK:
            raise error_of(
                status,
                launch.fault,
                code_object=self.code_object,
                code=self.code,
                kernel=self.kernel.name,
                memory=memory,
            )
        return LaunchRecord(
            name=self.kernel.name,
            arch=self.code_object.arch,
            grid=blocks,
            warps=-(-shape[0] * shape[1] * shape[2] // core.LANES),
            shared=lds,
            registers=self.registers,
            counters=Counters.of(launch.counters),
            mnemonics=self._mnemonics(executed),
            traffic=memory.traffic(),
        )

    def _threads(self, threads: int | Sequence[int] | None, num_warps: int | None) -> tuple[int, int, int]:
        if threads is None:
            threads = num_warps * core.LANES if num_warps else self.kernel.most_threads
        shape = _three(threads, "threads", least=1)
        most = min(self.kernel.most_threads, core.MAX_WAVES * core.LANES)
        if shape[0] * shape[1] * shape[2] > most:
            raise LaunchError(f"{shape} threads for `{self.kernel.name}`", required=f"at most {most} in a workgroup")
        return shape

    def _lds(self, shared: int) -> int:
        total, most = self.kernel.lds_bytes + shared, LDS_BYTES[self.code_object.arch]
        if total > most:
            raise LaunchError(
                f"`{self.kernel.name}` wants {total} bytes of LDS",
                required=f"at most {most} on {self.code_object.arch}",
                hint="smaller tiles, or fewer pipeline stages (num_stages)",
            )
        return total

    def _launch(self, options: Options, lds: int, memory: Memory, executed: npt.NDArray[np.uint64]) -> core.Launch:
        launch = core.Launch(arch=core.ARCHES[self.code_object.arch], limit=options.limit, lds_bytes=lds)
        launch.code, launch.length, launch.entry = self.code.ctypes.data, len(self.code), self._entry
        launch.allocation, launch.allocations = memory.pointer(), len(memory)
        launch.scratch_bytes = self.kernel.scratch_bytes + (_DYNAMIC_STACK if self.kernel.dynamic_stack else 0)
        launch.check_races, launch.check_undefined = options.check_races, options.check_undefined
        launch.check_waits = options.check_waits
        launch.executed = executed.ctypes.data
        launch.text = self.code_object.image.ctypes.data + self.code_object.text_address
        return launch

    def _start(
        self, options: Options, grid: tuple[int, int, int], threads: tuple[int, int, int], own: _Own
    ) -> tuple[core.Start, npt.NDArray[np.uint64] | None]:
        kernel = self.kernel
        start = core.Start(order=core.Order[options.order.upper()], seed=options.seed, mode=kernel.mode)
        start.grid[:], start.threads[:] = grid, threads
        start.user_sgprs, start.group_ids = kernel.user_sgprs, kernel.group_ids
        for number, word in own.user_sgprs().items():
            start.user_sgpr[number] = word
        start.vgprs, start.agprs = min(256, kernel.vgprs), min(256, kernel.agprs)
        start.fill = _POISON if options.check_undefined else 0
        sample = _sampled(options.sample, grid)
        if sample is not None:
            start.sample, start.samples = sample.ctypes.data, len(sample)
        return start, sample

    def _mnemonics(self, executed: npt.NDArray[np.uint64]) -> dict[str, int]:
        names = core.operation_names()
        counts = np.bincount(self.code["operation"], weights=executed, minlength=len(names))
        return {names[number]: int(counts[number]) for number in np.flatnonzero(counts)}


class _Own:
    """What the launcher itself hands to a kernel: arguments, dispatch packet, queue."""

    def __init__(
        self,
        kernel: Kernel,
        values: Sequence[Value],
        grid: tuple[int, int, int],
        threads: tuple[int, int, int],
        lds: int,
    ) -> None:
        self._properties = kernel.properties
        self._arguments = _aligned(bytes(segment(kernel, values, grid, threads)))
        packet = bytearray(_PACKET_BYTES)
        sizes = np.array([*threads, 0], "<u2").tobytes()
        packet[4:12] = sizes
        packet[12:24] = np.array([a * b for a, b in zip(grid, threads, strict=True)], "<u4").tobytes()
        packet[24:32] = np.array([kernel.scratch_bytes, lds], "<u4").tobytes()
        packet[40:48] = int(self._arguments.ctypes.data).to_bytes(8, "little")
        self._packet, self._queue = _aligned(bytes(packet)), _aligned(bytes(_QUEUE_BYTES))

    @property
    def buffers(self) -> list[tuple[str, npt.NDArray[np.uint8]]]:
        """Name and memory of each."""
        return [("arguments", self._arguments), ("dispatch packet", self._packet), ("queue", self._queue)]

    def user_sgprs(self) -> dict[int, int]:
        """What the first scalar registers hold, by the bits of the kernel descriptor's properties."""
        found: dict[int, int] = {}
        at = 0
        for bit, size, buffer in (
            (0, 4, None),  # private segment buffer: unused where scratch has instructions of its own
            (1, 2, self._packet),
            (2, 2, self._queue),
            (3, 2, self._arguments),
            (4, 2, None),  # dispatch id
            (5, 2, None),  # flat scratch: the hardware holds it
            (6, 1, None),  # private segment size
        ):
            if not self._properties >> bit & 1:
                continue
            if buffer is not None:
                address = int(buffer.ctypes.data)
                found[at], found[at + 1] = address & 0xFFFFFFFF, address >> 32
            at += size
        return found


def _aligned(data: bytes, alignment: int = 64) -> npt.NDArray[np.uint8]:
    room = np.zeros(len(data) + alignment, np.uint8)
    start = -int(room.ctypes.data) % alignment
    room[start : start + len(data)] = np.frombuffer(data, np.uint8)
    return room[start : start + len(data)]


def _has_memory(value: Any) -> bool:
    return isinstance(value, np.ndarray) or (hasattr(value, "data_ptr") and value.numel() > 0)


def _three(given: int | Sequence[int], name: str, *, least: int) -> tuple[int, int, int]:
    numbers = list(given) if isinstance(given, Sequence) else [given]
    if not 1 <= len(numbers) <= 3 or any(int(n) != n or not least <= n < 2**31 for n in numbers):
        raise LaunchError(f"{name}={given!r}", required=f"one to three whole numbers from {least} on")
    x, y, z = ([int(n) for n in numbers] + [1, 1])[:3]
    return x, y, z


def _sampled(sample: Sample, grid: tuple[int, int, int]) -> npt.NDArray[np.uint64] | None:
    if sample is None:
        return None
    x, y, z = grid
    if isinstance(sample, int):
        return np.arange(0, x * y * z, sample, dtype=np.uint64)
    chosen = [n for n in range(x * y * z) if sample(n % x, n // x % y, n // x // y)]
    return np.array(chosen, np.uint64)
