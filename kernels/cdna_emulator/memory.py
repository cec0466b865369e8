"""The memory that one launch may touch: the storages of its tensors, and what the launcher itself hands over."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from .core import Allocation
from .counters import LINE_BYTES, Traffic
from .errors import LaunchError


@dataclass
class Owner:
    """A tensor or array whose memory a kernel may touch."""

    name: str
    value: Any

    @property
    def start(self) -> int:
        """Address of its first element."""
        return int(self.value.data_ptr() if hasattr(self.value, "data_ptr") else self.value.ctypes.data)

    def __str__(self) -> str:
        """Name, dtype, shape, and strides where they are not the plain ones."""
        value = self.value
        if not hasattr(value, "shape"):
            return f"`{self.name}`"
        dtype = str(getattr(value, "dtype", "")).removeprefix("torch.")
        text = f"`{self.name}` ({dtype} {list(value.shape)}"
        if hasattr(value, "is_contiguous") and not value.is_contiguous():
            text += f", strides {list(value.stride())}"
        return text + ")"


@dataclass
class Region:
    """Addresses [lo, hi); several owners where they share storage."""

    lo: int
    hi: int
    owners: list[Owner] = field(default_factory=list)
    written: npt.NDArray[np.uint8] | None = None
    """uint8 [hi - lo], 0 where nothing was ever written; None: all of it is defined."""
    internal: bool = False
    """The launcher's own: arguments, code."""

    @property
    def name(self) -> str:
        """Names of the owners."""
        return ", ".join(dict.fromkeys(owner.name for owner in self.owners))


def extent(value: Any, name: str) -> tuple[int, int]:
    """Addresses [lo, hi) of the storage behind a tensor, or of a numpy array.

    Raises:
        LaunchError: the memory is not this process's own.
    """
    if isinstance(value, np.ndarray):
        low, high = np.lib.array_utils.byte_bounds(value)
        return int(low), int(high)
    value = getattr(value, "base", value)  # triton.reinterpret's wrapper
    if value.device.type != "cpu":
        raise LaunchError(
            f"argument `{name}` is on device `{value.device}`",
            required="a tensor on the CPU",
            hint=f"{name} = {name}.cpu()",
        )
    storage = value.untyped_storage()
    return int(storage.data_ptr()), int(storage.data_ptr() + storage.nbytes())


class Memory:
    """Regions of one launch, as the core wants them: sorted, none overlapping.

    Args:
        tensors: (name, tensor or array).
        buffers: (name, uint8 array): the launcher's own.
        written: marks by the address where a storage starts, see `Region.written`.
    """

    def __init__(
        self,
        tensors: Iterable[tuple[str, Any]],
        buffers: Iterable[tuple[str, npt.NDArray[np.uint8]]] = (),
        written: Mapping[int, npt.NDArray[np.uint8]] | None = None,
    ) -> None:
        found = []
        for name, value in tensors:
            lo, hi = extent(value, name)
            marks = (written or {}).get(lo)
            found.append(Region(lo, hi, [Owner(name, value)], marks))
        for name, buffer in buffers:
            start = int(buffer.ctypes.data)
            found.append(Region(start, start + buffer.nbytes, [Owner(name, buffer)], internal=True))
        self.regions = _merged([region for region in found if region.lo < region.hi])
        self.table = (Allocation * max(1, len(self.regions)))()
        self._lines = []
        for row, region in zip(self.table, self.regions, strict=False):
            lines = -(-(region.hi - region.lo) // LINE_BYTES)
            bitmap = np.zeros(-(-lines // 64), np.uint64)
            self._lines.append(bitmap)
            row.lo, row.hi, row.lines = region.lo, region.hi, bitmap.ctypes.data
            if region.written is not None:
                row.written = region.written.ctypes.data

    def __len__(self) -> int:
        return len(self.regions)

    def pointer(self) -> Any:
        """For Launch.allocation; valid as long as this object lives."""
        return ctypes.cast(self.table, ctypes.POINTER(Allocation))

    def traffic(self) -> dict[str, Traffic]:
        """What the launch asked of each region that is an argument's."""
        found = {}
        for row, region, bitmap in zip(self.table, self.regions, self._lines, strict=False):
            if not region.internal:
                lines = int(np.bitwise_count(bitmap).sum())
                found[region.name] = Traffic(int(row.load_bytes), int(row.store_bytes), lines * LINE_BYTES)
        return found

    def nearest(self, address: int) -> Region | None:
        """The region that holds or lies nearest to an address, if it is an argument's."""
        outside = [region for region in self.regions if not region.internal]
        return min(outside, key=lambda region: max(region.lo - address, address - region.hi + 1, 0), default=None)


def _merged(regions: list[Region]) -> list[Region]:
    merged: list[Region] = []
    for region in sorted(regions, key=lambda region: (region.lo, region.hi)):
        last = merged[-1] if merged else None
        if last is None or region.lo >= last.hi:
            merged.append(region)
            continue
        if region.written is not None and last.written is None and region.lo == last.lo and region.hi == last.hi:
            last.written = region.written
        last.hi = max(last.hi, region.hi)
        last.owners += region.owners
    return merged
