"""Kernel arguments as the launcher on a card writes them: by the types and places that the code object states.

Source: "Kernel argument segment" and the hidden_* arguments in LLVM's AMDGPUUsage; Triton's AMD launcher for scalars.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from .code_object import Argument, Kernel
from .errors import LaunchError

HOST_CALLS: Final = 0x7E57_0000_0000
"""Where kernels are told that the buffer for calls to the host (printf, failed assertions) is. Nothing is there."""
HOST_CALLS_BYTES: Final = 4096
_INTEGERS: Final = {f"{sign}{bits}" for sign in "iu" for bits in (1, 8, 16, 32, 64)}


class Value(NamedTuple):
    """One argument as the caller gave it."""

    name: str
    value: Any
    type: str | None = None
    """Triton's word for it: `*bf16`, `i32`, `fp32` ...; None: by the value and the size in the code object."""


def segment(kernel: Kernel, values: Sequence[Value], grid: Sequence[int], threads: Sequence[int]) -> bytearray:
    """The argument segment of a launch.

    Args:
        kernel: says where each argument stands.
        values: one for each visible argument. Triton's kernels end with two pointers to scratch memory that most never
            use: those may be left out, and are null then.
        grid: workgroups in x, y, z.
        threads: of a workgroup in x, y, z.

    Raises:
        LaunchError: the number of arguments or the size of one is wrong.
    """
    places = kernel.visible_arguments
    given = [*values]
    if len(places) - len(given) == 2 and all(place.kind == "global_buffer" for place in places[-2:]):
        given += [Value("global_scratch", None), Value("profile_scratch", None)]
    if len(given) != len(places):
        raise LaunchError(
            f"{len(values)} arguments for `{kernel.name}`",
            required=f"{len(places)} (or {len(places) - 2} without Triton's two scratch pointers)",
            hint="pass what the compiled kernel takes: constexpr arguments, and those specialised to 1, are none",
        )
    packed = bytearray(kernel.argument_bytes)
    for place, each in zip(places, given, strict=True):
        packed[place.offset : place.offset + place.size] = encoded(each, place, kernel.name)
    for place in kernel.arguments:
        if place.kind.startswith("hidden_"):
            hidden = _hidden(place, grid, threads)
            packed[place.offset : place.offset + place.size] = hidden.to_bytes(place.size, "little")
    return packed


def _hidden(place: Argument, grid: Sequence[int], threads: Sequence[int]) -> int:
    axis = {"x": 0, "y": 1, "z": 2}.get(place.kind[-1], 0)
    if place.kind.startswith("hidden_block_count_"):
        return grid[axis]
    if place.kind.startswith("hidden_group_size_"):
        return threads[axis]
    if place.kind == "hidden_grid_dims":
        return max((number + 1 for number in range(3) if grid[number] > 1), default=1)
    if place.kind == "hidden_hostcall_buffer":
        return HOST_CALLS
    return 0  # offsets, remainders (grids are whole workgroups), and services that are not there


def encoded(each: Value, place: Argument, kernel: str) -> bytes:
    """One argument as it stands in the segment.

    Raises:
        LaunchError: it does not fit the place, or its type.
    """
    pointer = place.kind == "global_buffer" and not isinstance(each.value, bytes)
    data = _by_type(Value(each.name, each.value, "*") if pointer else each, place.size)
    if data is None or len(data) != place.size:
        wanted = "an address or a tensor," if pointer else f"{each.type or 'a value'} of"
        raise LaunchError(
            f"argument `{each.name}` of `{kernel}` is {_described(each.value)}",
            required=f"{wanted} {place.size} bytes",
            hint="give a numpy scalar of the exact type where a Python number does not say which",
        )
    return data


def _described(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text[:60]}" if isinstance(value, (int, float)) else type(value).__name__


def address_of(value: Any) -> int | None:
    """The address that a pointer argument carries: of a tensor or array, of None (0), or a number; else None."""
    if value is None:
        return 0
    if hasattr(value, "data_ptr"):
        return int(value.data_ptr())
    if isinstance(value, np.ndarray):
        return int(value.ctypes.data)
    if isinstance(value, (int, np.integer)):
        return int(value)
    return None


def _by_type(each: Value, size: int) -> bytes | None:
    kind, value = each.type, each.value
    if kind is None:
        return _by_value(value, size)
    if kind.startswith("*"):
        address = address_of(value)
        return None if address is None else (address % 2**64).to_bytes(8, "little")
    try:
        if kind in _INTEGERS:
            bits = max(8, int(kind[1:]))
            return (int(value) % (1 << bits)).to_bytes(bits // 8, "little")
        return _float(kind, float(value))
    except (TypeError, ValueError):
        return None


def _float(kind: str, value: float) -> bytes | None:
    if kind in ("fp32", "f32"):
        return _float32(value)
    if kind == "fp64":
        return struct.pack("<d", value)
    if kind == "fp16":
        with np.errstate(over="ignore"):
            return bytes(np.float16(value).tobytes())
    return _float32(value)[2:] if kind == "bf16" else None  # cut off, as Triton's launcher for AMD does


def _float32(value: float) -> bytes:
    with np.errstate(over="ignore"):
        return bytes(np.float32(value).tobytes())


def _by_value(value: Any, size: int) -> bytes | None:
    if isinstance(value, bytes):
        return value
    if isinstance(value, np.generic):
        return bytes(value.tobytes())
    if isinstance(value, (bool, int)):
        inside = -(1 << (8 * size - 1)) <= value < 1 << 8 * size
        return (value % (1 << 8 * size)).to_bytes(size, "little") if inside else None
    if isinstance(value, float):
        return {4: _float32(value), 8: struct.pack("<d", value)}.get(size)
    address = address_of(value)
    return None if address is None else address.to_bytes(8, "little")
