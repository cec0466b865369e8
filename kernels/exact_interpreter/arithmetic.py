"""Casts, elementwise operations, products, reductions and scans of bf16 and FP8, patched into Triton's interpreter.

Each operation on a packed type is computed in fp32 and rounded once to the type, which is what torch does and what
compiled code does, gfx9 having no bf16 arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import triton.language as tl
import triton.runtime.interpreter as interpreter
from triton._C.libtriton import ir

from exact_interpreter.floats import Array, convert, decode, encode, is_packed

Builder = interpreter.InterpreterBuilder
Handle = interpreter.TensorHandle
Operation = Callable[..., Any]

_installed = False


def install() -> None:
    """Patch once."""
    global _installed
    if _installed:
        return
    _installed = True
    interpreter._convert_float = _convert_bits(interpreter._convert_float)
    Builder.cast_impl = _cast(Builder.cast_impl)
    Builder.create_fp_to_fp = _create_fp_to_fp
    Builder.create_dot = _dot(Builder.create_dot)
    for name in ("binary_op", "unary_op", "create_clampf", "create_fma", "create_rsqrt", "create_erf"):
        setattr(Builder, name, _in_fp32(getattr(Builder, name)))
    interpreter.ReduceOps.sum = _reduction_in_fp32(interpreter.ReduceOps.sum)
    interpreter.ReduceOps.min_max = _reduction_in_fp32(interpreter.ReduceOps.min_max)
    interpreter.ScanOps.cumsum = _reduction_in_fp32(interpreter.ScanOps.cumsum)
    interpreter.ScanOps.cumprod = _reduction_in_fp32(interpreter.ScanOps.cumprod)


def _convert_bits(original: Operation) -> Operation:
    """The function that widens operands of scaled products; it gives bit patterns."""

    def convert_float(data: Array, source: Any, target: Any, rounding: Any) -> Array:
        if not (is_packed(source) or is_packed(target)):
            given: Array = original(data, source, target, rounding)
            return given
        return convert(data, source, target).view(getattr(np, f"uint{target.primitive_bitwidth}"))

    return convert_float


def _cast(original: Operation) -> Operation:
    def cast_impl(self: Any, source: Any, target_type: Any) -> Any:
        ty, target = source.dtype.scalar, target_type.scalar
        if not (is_packed(ty) or is_packed(target)):
            return original(self, source, target_type)
        wide = decode(source.data, ty) if is_packed(ty) else source.data
        narrow = encode(wide, target) if is_packed(target) else wide.astype(interpreter._get_np_dtype(target))
        return Handle(narrow, target)

    return cast_impl


def _create_fp_to_fp(self: Any, source: Any, target_type: Any, rounding: Any) -> Any:
    if rounding not in (None, ir.ROUNDING_MODE.RTNE):
        raise NotImplementedError(f"a cast to {target_type} with rounding {rounding}; only to nearest even is known")
    target = target_type.scalar
    return Handle(convert(source.data, source.dtype.scalar, target), target)


def _dot(original: Operation) -> Operation:
    def create_dot(self: Any, a: Any, b: Any, accumulator: Any, precision: Any, imprecise: Any) -> Any:
        """Products are exact in fp32, and so is what is accumulated, as in the matrix units."""
        if not any(is_packed(x.dtype.scalar) or x.dtype.scalar == tl.float16 for x in (a, b)):
            return original(self, a, b, accumulator, precision, imprecise)
        wide = np.matmul(_wide(a).data.astype(np.float32), _wide(b).data.astype(np.float32))
        return Handle((wide + accumulator.data).astype(accumulator.data.dtype), accumulator.dtype.scalar)

    return create_dot


def _wide(handle: Any) -> Any:
    """A packed handle in fp32; any other (a pointer among them) as it is."""
    ty = handle.dtype
    if isinstance(ty, tl.pointer_type) or not is_packed(ty.scalar):
        return handle
    return Handle(decode(handle.data, ty.scalar), tl.float32)


def _in_fp32(original: Operation) -> Operation:
    """An elementwise operation whose operands have one type. A comparison's truth values stay truth values."""

    def operation(self: Any, *operands: Any) -> Any:
        handles = [x for x in operands if isinstance(x, Handle)]
        ty = handles[-1].dtype
        if isinstance(ty, tl.pointer_type) or not is_packed(ty.scalar):
            return original(self, *operands)
        result = original(self, *(_wide(x) if isinstance(x, Handle) else x for x in operands))
        if result.data.dtype == np.bool_:
            return Handle(result.data, tl.int1)
        return Handle(encode(result.data, ty.scalar), ty.scalar)

    return operation


def _reduction_in_fp32(original: Operation) -> Operation:
    """A reduction or scan along an axis, in fp32 with one rounding at its end; indices stay indices."""

    def reduction(self: Any, given: Any, *options: Any, **more: Any) -> Any:
        x = given[0] if isinstance(given, tuple) else given
        if not is_packed(x.dtype):
            return original(self, given, *options, **more)
        wide = decode(x.handle.data, x.dtype)
        block = tl.block_type(tl.float32, list(wide.shape))
        result = original(self, tl.core.tensor(Handle(wide, tl.float32), block), *options, **more)
        if isinstance(result, (tuple, list)):
            return type(result)(_narrow(part, x.dtype) for part in result)
        return _narrow(result, x.dtype)

    return reduction


def _narrow(x: Any, ty: Any) -> Any:
    """An fp32 tensor in a packed type; any other tensor as it is."""
    if x.dtype != tl.float32:
        return x
    shaped = tl.block_type(ty, list(x.handle.data.shape)) if x.type.is_block() else ty
    return tl.core.tensor(Handle(encode(x.handle.data, ty), ty), shaped)
