"""Floating-point numbers of 16, 32 and 64 bits as exact fractions, and arithmetic on them that rounds once.

All functions take the size in bits first (or last, where one number is asked about) and bit patterns as ints.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

Bits = npt.NDArray[Any]
NAN = {16: 0x7E00, 32: 0x7FC00000, 64: 0x7FF8000000000000}
INF = {16: 0x7C00, 32: 0x7F800000, 64: 0x7FF0000000000000}
_FORMATS = {16: (5, 10), 32: (8, 23), 64: (11, 52)}  # exponent and fraction bits


def is_nan(bits: int, size: int) -> bool:
    exponent, fraction = _FORMATS[size]
    return bits & ((1 << size - 1) - 1) > ((1 << exponent) - 1) << fraction


def is_inf(bits: int, size: int) -> bool:
    exponent, fraction = _FORMATS[size]
    return bits & ((1 << size - 1) - 1) == ((1 << exponent) - 1) << fraction


def is_signalling(bits: int, size: int) -> bool:
    return is_nan(bits, size) and not bits >> _FORMATS[size][1] - 1 & 1


def value(bits: int, size: int) -> Fraction:
    """Of a finite number."""
    exponent, fraction = _FORMATS[size]
    field = bits >> fraction & (1 << exponent) - 1
    mantissa = bits & (1 << fraction) - 1 | (1 << fraction if field else 0)
    magnitude = mantissa * Fraction(2) ** (max(field, 1) - ((1 << exponent - 1) - 1) - fraction)
    return -magnitude if bits >> size - 1 else magnitude


def number(bits: int, size: int) -> Fraction | float:
    """A Fraction, or a float where there is none."""
    if is_nan(bits, size):
        return math.nan
    if is_inf(bits, size):
        return -math.inf if bits >> size - 1 else math.inf
    return value(bits, size)


def rounded(exact: Fraction, size: int, *, negative_zero: bool = False) -> int:
    """Bits of the nearest number, ties to even; `negative_zero` is the sign of an exact zero."""
    exponent, fraction = _FORMATS[size]
    sign = 1 << size - 1 if exact < 0 or (exact == 0 and negative_zero) else 0
    exact = abs(exact)
    if exact == 0:
        return sign
    power = exact.numerator.bit_length() - exact.denominator.bit_length()
    if Fraction(2) ** power > exact:
        power -= 1
    smallest = 2 - (1 << exponent - 1)
    unit = Fraction(2) ** (max(power, smallest) - fraction)
    steps = round(exact / unit)  # Python rounds halves to even
    field = max(power, smallest) - smallest
    bits = (field << fraction) + steps
    return sign | min(bits, ((1 << exponent) - 1) << fraction)


def same_floats(got: Bits, wanted: Bits, size: int) -> npt.NDArray[np.bool_]:
    """Equal bits, or NaN on both sides: which NaN comes out of arithmetic is nobody's contract."""
    top = ((1 << _FORMATS[size][0]) - 1) << _FORMATS[size][1]
    magnitude = (1 << size - 1) - 1
    both = ((got & got.dtype.type(magnitude)) > top) & ((wanted & wanted.dtype.type(magnitude)) > top)
    return (got == wanted) | both


def sign_bit(size: int) -> int:
    return 1 << size - 1


def added(size: int, a: int, b: int) -> int:
    if is_nan(a, size) or is_nan(b, size):
        return NAN[size]
    if is_inf(a, size) or is_inf(b, size):
        clash = is_inf(a, size) and is_inf(b, size) and a != b
        return NAN[size] if clash else a if is_inf(a, size) else b
    both_negative = bool(a & b & sign_bit(size))
    return rounded(value(a, size) + value(b, size), size, negative_zero=both_negative)


def subtracted(size: int, a: int, b: int) -> int:
    return added(size, a, b ^ sign_bit(size))


def multiplied(size: int, a: int, b: int) -> int:
    sign = (a ^ b) & sign_bit(size)
    if is_nan(a, size) or is_nan(b, size):
        return NAN[size]
    if is_inf(a, size) or is_inf(b, size):
        other = b if is_inf(a, size) else a
        return NAN[size] if not is_inf(other, size) and value(other, size) == 0 else INF[size] | sign
    return rounded(value(a, size) * value(b, size), size, negative_zero=bool(sign))


def fused(size: int, a: int, b: int, c: int) -> int:
    sign = (a ^ b) & sign_bit(size)
    if any(is_nan(x, size) for x in (a, b, c)):
        return NAN[size]
    if is_inf(a, size) or is_inf(b, size):
        product = multiplied(size, a, b)
        return product if is_nan(product, size) else added(size, product, c)
    if is_inf(c, size):
        return c
    exact = value(a, size) * value(b, size)
    both_negative = bool(sign and c & sign_bit(size))
    return rounded(exact + value(c, size), size, negative_zero=both_negative)


def extreme(size: int, a: int, b: int, *, most: bool, ieee: bool = True) -> int:
    quiet = 1 << {16: 9, 32: 22, 64: 51}[size]
    if ieee and is_signalling(a, size):
        return a | quiet
    if ieee and is_signalling(b, size):
        return b | quiet
    if is_nan(a, size):
        return b
    if is_nan(b, size):
        return a
    x, y = number(a, size), number(b, size)
    if x == 0 and y == 0:
        negative = a if a >> size - 1 else b
        positive = b if a >> size - 1 else a
        return positive if most else negative
    if most:
        return a if x >= y else b
    return a if x < y else b


def minimum(size: int, a: int, b: int) -> int:
    return extreme(size, a, b, most=False)


def maximum(size: int, a: int, b: int) -> int:
    return extreme(size, a, b, most=True)


def divided(size: int, n: int, d: int) -> int:
    sign = (n ^ d) & sign_bit(size)
    if is_nan(n, size) or is_nan(d, size):
        return NAN[size]
    if is_inf(n, size):
        return NAN[size] if is_inf(d, size) else INF[size] | sign
    if is_inf(d, size):
        return sign
    if value(d, size) == 0:
        return NAN[size] if value(n, size) == 0 else INF[size] | sign
    return rounded(value(n, size) / value(d, size), size, negative_zero=bool(sign))
