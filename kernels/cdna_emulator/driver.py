"""A Triton driver whose device is the emulator: `kernel[grid](cpu_tensors, ...)` runs unmodified.

Triton's JIT asks the active driver for a target, compiles for it, loads the binary through `utils` and launches through
`launcher_cls`. Written for Triton 3.9.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.backends.driver import DriverBase, decompose_descriptor, expand_signature, wrap_handle_tensordesc_impl
from triton.runtime import _allocation

from .arguments import Value
from .core import ARCHES
from .counters import LDS_BYTES, LaunchRecord
from .errors import LaunchError
from .memory import extent
from .program import Options, Program, Sample

_COMPUTE_UNITS: Final = {"gfx942": 304, "gfx950": 256}  # MI300X, MI355X
_CLOCK_KHZ: Final = {"gfx942": 2_100_000, "gfx950": 2_400_000}
_MEMORY_KHZ: Final = {"gfx942": 1_300_000, "gfx950": 2_000_000}
_MOST_THREADS: Final = 1024
_LOCK: Final = threading.RLock()
"""Launches are one stream: the next starts when the last has ended, whoever asks."""


class Device:
    """The emulator as Triton's device while the context is open; see `cdna_emulator.device`."""

    def __init__(self, arch: str, options: Options, history: int | None = None) -> None:
        if arch not in ARCHES:
            raise LaunchError(f"device `{arch}`", required=" or ".join(f"`{each}`" for each in ARCHES))
        self.arch, self.options, self.history = arch, options, history
        self.launches: list[LaunchRecord] = []
        """What was launched since the context was opened, in order: the last `history` of it. An autotuner's
        trial runs are left out."""
        self._instructions = 0  # of all launches so far
        self._exposed: dict[str, Any] = {}
        self._written: dict[int, npt.NDArray[np.uint8]] = {}
        self._kept: list[Any] = []  # marked storages: their addresses stay theirs
        self._previous: list[Any] = []

    def __enter__(self) -> Self:
        if triton.knobs.runtime.interpret:
            raise LaunchError(
                "Triton is in its interpreter (TRITON_INTERPRET=1)",
                required="compiled kernels",
                hint="unset TRITON_INTERPRET",
            )
        self._previous.append(triton.runtime.driver._active)
        triton.runtime.driver.set_active(EmulatorDriver(self))
        return self

    def __exit__(self, *_: object) -> None:
        triton.runtime.driver._active = self._previous.pop()  # None where no driver was chosen yet

    def undefined(self, *tensors: torch.Tensor) -> None:
        """Take the storages of these tensors for never written (with `check_undefined`), as torch.empty leaves them.

        What kernels write is defined from then on; what torch writes meanwhile is not seen, see `defined`.
        """
        for tensor in tensors:
            lo, hi = extent(tensor, "tensor")
            self._written[lo] = np.zeros(hi - lo, np.uint8)
            self._kept.append(tensor)

    def defined(self, *tensors: torch.Tensor) -> None:
        """Take the storages of these tensors for written as a whole."""
        for tensor in tensors:
            self._written.pop(extent(tensor, "tensor")[0], None)

    def expose(self, **tensors: torch.Tensor) -> None:
        """Let kernels touch tensors that are no arguments but are reached through pointers in memory."""
        self._exposed.update(tensors)

    def run(
        self, program: Program, grid: tuple[int, int, int], values: Sequence[Value], warps: int, shared: int
    ) -> None:
        """Launch and record."""
        with _LOCK:
            record = program.launch(
                grid,
                values,
                num_warps=warps,
                shared=shared,
                options=self.options,
                expose=self._exposed.items(),
                written=self._written,
            )
            self._instructions += record.estimate.instructions
            self.launches.append(record)
            if self.history is not None:
                del self.launches[: max(0, len(self.launches) - self.history)]

    def instructions(self, call: Callable[[], object]) -> int:
        """Wave-instructions of all that `call` launches, none of which is kept in `launches`."""
        with _LOCK:
            before, kept = self._instructions, self.launches
            self.launches = []
            try:
                call()
            finally:
                self.launches = kept
            return self._instructions - before


class EmulatorDriver(DriverBase):  # type: ignore[misc]
    """What Triton's runtime asks of a driver."""

    def __init__(self, device: Device) -> None:
        super().__init__()
        self.device = device
        self.utils = _Utils(device.arch)
        self.launcher_cls = _Launcher

    @classmethod
    def is_active(cls) -> bool:
        return True

    def map_python_to_cpp_type(self, ty: str) -> str:
        return ty

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("hip", self.device.arch, 64)

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")

    def get_device_interface(self) -> Any:
        return torch.cpu

    def get_current_device(self) -> int:
        """A number for each architecture: Triton caches kernels and limits by it."""
        return ARCHES[self.device.arch]

    def set_current_device(self, device: int) -> None:
        if device != self.get_current_device():
            raise LaunchError(f"device {device}", required=f"{self.get_current_device()}, the only one there is")

    def get_current_stream(self, device: int | None = None) -> int:
        return 0

    def get_device_capability(self, device: int | None = None) -> tuple[int, int]:
        return (9, 4) if self.device.arch == "gfx942" else (9, 5)

    def get_benchmarker(self) -> Callable[..., Any]:
        return _count_instructions

    def get_empty_cache_for_benchmark(self) -> torch.Tensor:
        return torch.empty(0, dtype=torch.int)

    def clear_cache(self, cache: torch.Tensor) -> None:
        """There is none."""

    def allocate_default_profile_scratch(self, size: int, alignment: int, stream: int) -> torch.Tensor:
        return torch.zeros(size, dtype=torch.uint8)


def _active() -> Device:
    driver = triton.runtime.driver.active
    if not isinstance(driver, EmulatorDriver):
        raise LaunchError(
            "a kernel compiled for the emulator is launched outside its context",
            required="an open `cdna_emulator.device(...)`",
            hint='with cdna_emulator.device("gfx942"): kernel[grid](...)',
        )
    return driver.device


def _count_instructions(
    kernel_call: Callable[[], object], *, quantiles: Sequence[float] | None = None, **_: object
) -> Any:
    """Triton's benchmarker: there is no time here, so the autotuner goes by wave-instructions."""
    counted = float(_active().instructions(kernel_call))
    return [counted] * len(quantiles) if quantiles else counted


@lru_cache(maxsize=256)
def _program(digest: bytes, elf: bytes, name: str) -> Program:
    return Program.load(elf, name)


class _Utils:
    def __init__(self, arch: str) -> None:
        self._arch = arch

    def load_binary(self, name: str, kernel: bytes, shared: int, device: int) -> tuple[Any, Program, int, int, int]:
        program = _program(hashlib.sha256(kernel).digest(), kernel, name)
        registers = program.registers
        return program, program, registers.vgprs, registers.vgpr_spills, _MOST_THREADS

    def unload_module(self, module: Any) -> None:
        """Nothing to unload."""

    def get_device_properties(self, device: int) -> dict[str, Any]:
        return {
            "arch": self._arch,
            "warpSize": 64,
            "max_shared_mem": LDS_BYTES[self._arch],
            "max_num_regs": 512 * 4 * 64,
            "multiprocessor_count": _COMPUTE_UNITS[self._arch],
            "sm_clock_rate": _CLOCK_KHZ[self._arch],
            "mem_clock_rate": _MEMORY_KHZ[self._arch],
            "mem_bus_width": 8192,
            "cooperativeLaunch": 0,
        }


class _Launcher:
    """Called with what a kernel was called with; one for each compiled kernel."""

    def __init__(self, src: Any, metadata: Any) -> None:
        descriptors = getattr(metadata, "tensordesc_meta", None)
        if descriptors:
            raise LaunchError(
                "tensor descriptors in hardware form", required=f"an architecture other than {metadata.arch}"
            )
        if metadata.launch_cooperative_grid:
            raise LaunchError(
                "a cooperative launch", required="workgroups that do not wait for each other: they run one by one"
            )
        self._types = expand_signature(src.signature.values(), None, "tensordesc")
        self._names = list(_expanded_names(src.signature.items()))
        self._metadata = metadata
        self._run = wrap_handle_tensordesc_impl(self._launch, src.signature, [], _decomposed)

    def __call__(
        self,
        x: int,
        y: int,
        z: int,
        stream: int,
        function: Program,
        kernel_metadata: Any,
        launch_metadata: Any,
        enter_hook: Any,
        exit_hook: Any,
        *args: Any,
    ) -> None:
        if x * y * z == 0:
            return
        if enter_hook is not None:
            enter_hook(launch_metadata)
        self._run((x, y, z), function, args)
        if exit_hook is not None:
            exit_hook(launch_metadata)

    def _launch(self, grid: tuple[int, int, int], program: Program, args: Sequence[Any]) -> None:
        device = _active()
        values = list(_values(self._names, self._types, args))
        values.append(Value("global_scratch", self._scratch(grid, "global", _allocation._allocator)))
        values.append(Value("profile_scratch", self._scratch(grid, "profile", _allocation._profile_allocator)))
        device.run(program, grid, values, self._metadata.num_warps, self._metadata.shared)

    def _scratch(self, grid: tuple[int, int, int], kind: str, allocator: Any) -> Any:
        size = getattr(self._metadata, f"{kind}_scratch_size")
        if not size:
            return None
        total = size * grid[0] * grid[1] * grid[2]
        if kind == "profile" and not _allocation.has_profile_allocator():
            return torch.zeros(total, dtype=torch.uint8)
        return allocator.get()(total, getattr(self._metadata, f"{kind}_scratch_align"), 0)


def _decomposed(descriptor: Any, metadata: Any, base_args: Any) -> list[Any]:
    """A tensor descriptor as pointer, shape, strides and flags."""
    return list(decompose_descriptor(descriptor))


def _expanded_names(items: Any) -> Iterator[Any]:
    """Names in the shape of the expanded signature: tuples nested, a descriptor one name for each of its parts."""
    for name, kind in items:
        if isinstance(kind, tuple):
            fields = getattr(kind, "_fields", None) or range(len(kind))
            yield list(_expanded_names((f"{name}[{each}]", part) for each, part in zip(fields, kind, strict=True)))
        elif isinstance(kind, str) and kind.startswith("tensordesc"):
            yield from [name] * len(expand_signature([kind], None, "tensordesc"))
        else:
            yield name


def _values(names: Sequence[Any], types: Sequence[Any], args: Sequence[Any]) -> Iterator[Value]:
    """The arguments that the compiled kernel takes: constants are none, tuples are their parts."""
    for name, kind, value in zip(names, types, args, strict=True):
        if isinstance(kind, tuple):
            yield from _values(name, kind, value)
        elif kind != "constexpr":
            yield Value(name, value, kind)


def device(
    arch: str,
    *,
    check_races: bool = False,
    check_undefined: bool = False,
    check_waits: bool = False,
    order: Literal["forward", "reverse", "seeded"] = "forward",
    seed: int = 0,
    sample: Sample = None,
    limit: int = Options.limit,
    history: int | None = None,
) -> Device:
    """A context in which Triton's kernels run as the machine code of `arch`, on CPU tensors.

    Args:
        arch: "gfx942" or "gfx950".
        check_races, check_undefined, check_waits, order, seed, sample, limit: see `Options`.
        history: how many launches are kept in `launches`; None: all. A process that lives long wants a bound.

    Raises:
        LaunchError: an unknown architecture or order; on entering, when Triton was imported as an interpreter.
    """
    return Device(arch, Options(check_races, check_undefined, check_waits, order, seed, sample, limit), history)
