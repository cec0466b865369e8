"""Bounds: an argument's pointer is a tagged address of its own, so that it can never stray into another argument.

Each storage that a kernel is given gets a window of 2^44 bytes far above any address of the process, its first byte in
the middle. Loads, stores and atomics translate back and hold each lane to the storage that its pointer comes from.
An address without the tag (made from an integer that memory held) is held to all storages of the launch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import triton.language as tl
import triton.runtime.interpreter as interpreter
from triton.runtime.errors import InterpreterError

from exact_interpreter.errors import OutOfBoundsError
from exact_interpreter.floats import Array

TAG = 1 << 62
WINDOW = 44
MIDDLE = 1 << (WINDOW - 1)
PAGE = 4096
"""The offset in a page is kept, so that alignment is what it is."""

_installed = False


@dataclass
class Storages:
    """The storages of the launch under way, by number."""

    starts: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def add(self, tensor: torch.Tensor, name: str) -> int:
        """The number of a tensor's storage; a further name is remembered."""
        storage = tensor.untyped_storage()
        start = storage.data_ptr()
        if start in self.starts:
            number = self.starts.index(start)
            if name and name not in self.names[number].split(", "):
                self.names[number] = ", ".join(filter(None, (self.names[number], name)))
            return number
        self.starts.append(start)
        self.sizes.append(storage.nbytes())
        self.names.append(name)
        return len(self.starts) - 1

    def tagged(self, tensor: torch.Tensor) -> int:
        """The address of a tensor's first element as the kernel sees it."""
        number = self.add(tensor, "")
        return self._base(number) + tensor.data_ptr() - self.starts[number]

    def translate(self, pointers: Array, mask: Array, width: int, access: str, program: tuple[int, ...]) -> Array:
        """Addresses of the process for tagged ones.

        Args:
            pointers: uint64, any shape.
            mask: bool, of a shape that broadcasts with it; what is masked off may point anywhere.
            width: bytes of an element.

        Raises:
            OutOfBoundsError: a lane that is not masked off leaves its storage.
        """
        pointers, mask = np.broadcast_arrays(pointers, mask)
        if not mask.any() or not self.starts:
            return np.ascontiguousarray(pointers)
        address = pointers.astype(np.int64)
        is_tagged = address >= TAG
        number = (address - TAG) >> WINDOW
        if not is_tagged.all():
            number = np.where(is_tagged, number, self._owner(address))
        number = np.clip(number, 0, len(self.starts) - 1)
        starts, sizes = np.array(self.starts, np.int64)[number], np.array(self.sizes, np.int64)[number]
        bases = np.array([self._base(n) for n in range(len(self.starts))], np.int64)[number]
        offset = address - np.where(is_tagged, bases, starts)
        bad = mask & ((offset < 0) | (offset + width > sizes))
        if bad.any():
            first = tuple(int(i) for i in np.argwhere(bad)[0])
            raise OutOfBoundsError(
                access,
                self.names[int(number[first])] or "?",
                offset=int(offset[first]),
                size=int(sizes[first]),
                program=program,
                lanes=int(bad.sum()),
                first=first,
            )
        return np.where(mask, starts + offset, starts).astype(np.uint64)

    def _base(self, number: int) -> int:
        return TAG + (number << WINDOW) + MIDDLE + self.starts[number] % PAGE

    def _owner(self, address: Array) -> Array:
        """The storage that begins last at or before an address."""
        order = np.argsort(self.starts)
        place = np.searchsorted(np.array(self.starts, np.int64)[order], address, "right") - 1
        owner: Array = order[np.maximum(place, 0)]
        return owner


_storages = Storages()


def install() -> None:
    """Patch once."""
    global _installed
    if _installed:
        return
    _installed = True
    builder = interpreter.InterpreterBuilder
    interpreter.GridExecutor.__call__ = _launch(interpreter.GridExecutor.__call__)
    interpreter._implicit_cvt = _argument(interpreter._implicit_cvt)
    builder.create_masked_load = _masked(builder.create_masked_load, "load", mask_at=0)
    builder.create_masked_store = _masked(builder.create_masked_store, "store", mask_at=1)
    builder.create_atomic_cas = _masked(builder.create_atomic_cas, "atomic", mask_at=None)
    rmw = builder.create_atomic_rmw
    checked = _masked(
        lambda self, ptr, value, mask, op, sem, scope: rmw(self, op, ptr, value, mask, sem, scope), "atomic", 1
    )
    builder.create_atomic_rmw = lambda self, op, ptr, value, mask, sem, scope: checked(
        self, ptr, value, mask, op, sem, scope
    )


def _launch(original: Callable[..., Any]) -> Callable[..., Any]:
    def __call__(self: Any, *args: Any, **kwargs: Any) -> None:
        global _storages
        before, _storages = _storages, Storages()
        parameters = inspect.signature(self.fn).parameters
        named = [*zip(parameters, args, strict=False), *((key, kwargs[key]) for key in kwargs if key in parameters)]
        for name, argument in named:
            for tensor in _tensors(argument):
                _storages.add(tensor, name)
        try:
            with np.errstate(all="ignore"):  # a card does not warn of an overflow either
                original(self, *args, **kwargs)
        except InterpreterError as error:
            if (cause := _out_of_bounds(error)) is not None:
                raise cause from None
            raise
        finally:
            _storages = before

    return __call__


def _out_of_bounds(error: BaseException) -> OutOfBoundsError | None:
    """The access that an error was wrapped around, once for each device function on its way."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OutOfBoundsError):
        cause = cause.__cause__
    return cause


def _tensors(argument: Any) -> Iterator[torch.Tensor]:
    if isinstance(argument, tuple):
        for part in argument:
            yield from _tensors(part)
    elif isinstance(argument, interpreter.TensorDescriptor):
        yield from _tensors(argument.base)
    elif hasattr(argument, "data_ptr"):
        yield interpreter._unwrap_tensor(argument)


def _argument(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def _implicit_cvt(argument: Any) -> Any:
        if not hasattr(argument, "data_ptr"):
            return original(argument)
        pointer = original(argument)
        address = _storages.tagged(interpreter._unwrap_tensor(argument))
        pointer.handle.data = np.array([address], dtype=np.uint64)
        return pointer

    return _implicit_cvt


def _masked(original: Callable[..., Any], access: str, mask_at: int | None) -> Callable[..., Any]:
    """A memory operation behind the translation; `mask_at`: the place of its mask after the pointers, if it has one."""

    def operation(self: Any, pointers: Any, *others: Any) -> Any:
        mask = np.ones(1, bool) if mask_at is None else others[mask_at].data
        ty = pointers.get_element_ty()
        width = max(1, ty.primitive_bitwidth // 8) if not isinstance(ty, tl.pointer_type) else 8
        data = _storages.translate(pointers.data, mask, width, access, self.grid_idx)
        rest = list(others)
        if mask_at is not None:
            rest[mask_at] = interpreter.TensorHandle(np.ascontiguousarray(np.broadcast_to(mask, data.shape)), tl.int1)
        return original(self, interpreter.TensorHandle(data, pointers.dtype), *rest)

    return operation
