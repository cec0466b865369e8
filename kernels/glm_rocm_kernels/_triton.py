"""Triton as this package sees it: a typed `jit`, and the architecture that a launch goes to."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Protocol, cast

import triton
from triton import knobs

INTERPRETING = bool(knobs.runtime.interpret)
"""Whether kernels run in Triton's interpreter. It holds for the process: `TRITON_INTERPRET` is read at import."""

INTERPRET = "interpret"
"""The architecture's name in the interpreter."""


class Kernel(Protocol):
    """A function of Triton's language: launched as `kernel[grid](...)`, called from other kernels by name."""

    __name__: str

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., Any]: ...

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

    def warmup(self, *args: Any, grid: tuple[int, ...], **kwargs: Any) -> Any:
        """Compile without a launch and return the compiled kernel (None from the interpreter)."""
        ...


def jit(function: Callable[..., Any]) -> Kernel:
    """`triton.jit`, typed."""
    return cast(Kernel, triton.jit(function))


def current_arch() -> str:
    """`gfx942`, `sm90`, ... of the device that a launch would go to, or `interpret`."""
    if INTERPRETING:
        return INTERPRET
    driver = triton.runtime.driver.active
    return _arch_of(driver, driver.get_current_device())


@lru_cache(maxsize=8)
def _arch_of(driver: Any, device: Any) -> str:
    """Cached: on a card the driver asks the runtime for every property of the device, which takes long."""
    target = driver.get_current_target()
    return f"sm{target.arch}" if target.backend == "cuda" else str(target.arch).split(":")[0]
