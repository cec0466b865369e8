"""Compile for an architecture that is not here: a Triton driver that stands for a device and runs nothing.

The wrappers are called as ever, so the shapes, the specialisation and the launch choice are those of a real launch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import triton
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.backends.driver import DriverBase

from glm_rocm_kernels import launch

ARCHS = ("gfx942", "gfx950", "gfx90a", "gfx1201", "sm90", "sm100")
CDNA = ("gfx90a", "gfx942", "gfx950")
"""Those of `ARCHS` with waves of 64."""


class CompilingDriver(DriverBase):  # type: ignore[misc]  # Triton comes without types
    """A device that kernels are compiled for and never run on."""

    def __init__(self, arch: str) -> None:
        self.arch = arch
        self.utils = self
        self.launcher_cls = lambda src, metadata: lambda *args: None

    @classmethod
    def is_active(cls) -> bool:
        return True

    def map_python_to_cpp_type(self, ty: str) -> str:
        return ty

    def get_current_target(self) -> GPUTarget:
        if self.arch.startswith("sm"):
            return GPUTarget("cuda", int(self.arch[2:]), 32)
        return GPUTarget("hip", self.arch, 64 if self.arch in CDNA else 32)

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")

    def get_device_interface(self) -> Any:
        return torch.cpu

    def get_current_device(self) -> int:
        """A number for each architecture, and none that another driver of this process uses: Triton caches by it."""
        return 100 + ARCHS.index(self.arch)

    def set_current_device(self, device: int) -> None: ...

    def get_current_stream(self, device: int | None = None) -> int:
        return 0

    def get_device_capability(self, device: int | None = None) -> tuple[int, int]:
        return (int(self.arch[2:-1]), 0) if self.arch.startswith("sm") else (9, 0)

    def get_benchmarker(self) -> Callable[..., float]:
        return lambda call, **_: 0.0

    def load_binary(self, name: str, kernel: bytes, shared: int, device: int) -> tuple[None, None, int, int, int]:
        return None, None, 0, 0, 1024

    def unload_module(self, module: Any) -> None: ...

    def get_device_properties(self, device: int) -> dict[str, Any]:
        return {"max_shared_mem": launch.device(self.arch).lds_bytes, "warpSize": self.get_current_target().warp_size}


@contextmanager
def compiling(arch: str) -> Iterator[None]:
    """Launches within the block compile for `arch`, one of `ARCHS`, and run nothing; the tensors stay on the CPU."""
    active = triton.runtime.driver._active
    triton.runtime.driver.set_active(CompilingDriver(arch))
    try:
        yield
    finally:
        triton.runtime.driver._active = active


@dataclass
class Count:
    """Kernels by where they came from: compiled anew, or found in Triton's cache."""

    compiled: int = 0
    found: int = 0


@contextmanager
def counted() -> Iterator[Count]:
    """Counts what Triton compiles and what it finds in its cache within the block."""
    count = Count()

    def heard(*, cache_hit: bool, **_: Any) -> None:
        if cache_hit:
            count.found += 1
        else:
            count.compiled += 1

    before = knobs.compilation.listener
    knobs.compilation.listener = heard
    try:
        yield count
    finally:
        knobs.compilation.listener = before
