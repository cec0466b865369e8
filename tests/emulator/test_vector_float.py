"""Floating-point vector instructions against exact arithmetic with one rounding, and against the ISA's pseudocode."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from exact import (
    INF,
    NAN,
    added,
    divided,
    extreme,
    fused,
    is_inf,
    is_nan,
    maximum,
    minimum,
    multiplied,
    number,
    rounded,
    same_floats,
    subtracted,
    value,
)
from lanes import F16, F32, F64, LANES, execute, masks, show, tuples, wide, words

EDGES = {16: F16, 32: F32, 64: F64}
TYPES = {16: np.uint16, 32: np.uint32, 64: np.uint64}
OLD = 0xDEADBEEF
Function = Callable[..., int]


def result_of(state, size: int) -> np.ndarray:
    if size == 64:
        return wide(state, 8)
    got = words(state, 8)
    return (got & np.uint32(0xFFFF)).astype(np.uint16) if size == 16 else got


def register(number_: int, size: int) -> str:
    return f"v[{number_}:{number_ + 1}]" if size == 64 else f"v{number_}"


def check(
    name: str, size: int, arity: int, function: Function, sources: list[np.ndarray], arch: str = "gfx942"
) -> None:
    text = f"{name} " + ", ".join(register(r, size) for r in (8, 2, 4, 6)[: arity + 1])
    got = result_of(execute(text, arch, sources), size)
    lanes = zip(*(s.tolist() for s in sources), strict=True)
    wanted = np.array([function(size, *lane) for lane in lanes], TYPES[size])
    good = same_floats(got, wanted, size)
    assert good.all(), show(got, wanted, good, sources)


# ---- sums and products ---------------------------------------------------------------------------------------------


SUMS: dict[str, tuple[int, Function]] = {
    "v_add_f32": (2, added),
    "v_sub_f32": (2, subtracted),
    "v_subrev_f32": (2, lambda size, a, b: subtracted(size, b, a)),
    "v_mul_f32": (2, multiplied),
    "v_fma_f32": (3, fused),
    "v_add_f16": (2, added),
    "v_sub_f16": (2, subtracted),
    "v_subrev_f16": (2, lambda size, a, b: subtracted(size, b, a)),
    "v_mul_f16": (2, multiplied),
    "v_fma_f16": (3, fused),
    "v_add_f64": (2, added),
    "v_mul_f64": (2, multiplied),
    "v_fma_f64": (3, fused),
}


def size_of(name: str) -> int:
    return int(name[-2:])


@pytest.mark.parametrize("name", SUMS)
def test_sums_and_products_round_once(name: str) -> None:
    size = size_of(name)
    arity, function = SUMS[name]
    check(name, size, arity, function, tuples(EDGES[size], arity, TYPES[size]))


def near(size: int, seed: int) -> list[np.ndarray]:
    """Three operands of like magnitude, so that products and addends meet bit by bit and cancel."""
    rng = np.random.default_rng(seed)
    count, (_, fraction) = 1024, {16: (5, 10), 32: (8, 23), 64: (11, 52)}[size]
    one = {16: 0x3C00, 32: 0x3F800000, 64: 0x3FF0000000000000}[size]
    exponents = rng.integers(-4, 5, (3, count)) << fraction
    exponents[2] += rng.integers(-2 * fraction, 3, count) << fraction
    fractions = rng.integers(0, 1 << fraction, (3, count))
    signs = rng.integers(0, 2, (3, count)).astype(np.uint64) << np.uint64(size - 1)
    magnitude = np.clip(one + exponents + fractions, 0, INF[size] - 1).astype(np.uint64)
    return [row.astype(TYPES[size]) for row in magnitude | signs]


@pytest.mark.parametrize("name", ["v_fma_f16", "v_fma_f32", "v_fma_f64"])
def test_fused_sums_that_nearly_cancel(name: str) -> None:
    check(name, size_of(name), 3, fused, near(size_of(name), 3))


@pytest.mark.parametrize(("name", "size"), [("v_fmac_f32", 32), ("v_fmac_f64", 64)])
def test_accumulation_reads_its_destination(name: str, size: int) -> None:
    a, b, c = near(size, 4)
    state = execute(f"{name} {register(6, size)}, {register(2, size)}, {register(4, size)}", "gfx942", [a, b, c])
    got = wide(state, 6) if size == 64 else words(state, 6)
    lanes = zip(a.tolist(), b.tolist(), c.tolist(), strict=True)
    wanted = np.array([fused(size, *lane) for lane in lanes], TYPES[size])
    assert same_floats(got, wanted, size).all()


def test_fused_sums_with_a_literal() -> None:
    a, b = tuples(F32, 2, np.uint32)
    state = execute("v_fmamk_f32 v8, v2, 0x40490fdb, v4\nv_fmaak_f32 v9, v2, v4, 0x40490fdb", "gfx942", [a, b])
    pairs = list(zip(a.tolist(), b.tolist(), strict=True))
    multiplied_by = np.array([fused(32, x, 0x40490FDB, y) for x, y in pairs], np.uint32)
    added_to = np.array([fused(32, x, y, 0x40490FDB) for x, y in pairs], np.uint32)
    assert same_floats(words(state, 8), multiplied_by, 32).all()
    assert same_floats(words(state, 9), added_to, 32).all()


def test_legacy_product_with_zero_is_zero() -> None:
    def legacy(size: int, a: int, b: int) -> int:
        zero = any(not is_nan(x, size) and not is_inf(x, size) and value(x, size) == 0 for x in (a, b))
        return 0 if zero else multiplied(size, a, b)

    check("v_mul_legacy_f32", 32, 2, legacy, tuples(F32, 2, np.uint32))


# ---- minimum and maximum: the ISA's pseudocode, line by line --------------------------------------------------------


def minimum3(size: int, a: int, b: int, c: int) -> int:
    return minimum(size, minimum(size, a, b), c)


def maximum3(size: int, a: int, b: int, c: int) -> int:
    return maximum(size, maximum(size, a, b), c)


def median(size: int, a: int, b: int, c: int) -> int:
    if any(is_nan(x, size) for x in (a, b, c)):
        return minimum3(size, a, b, c)
    most = number(maximum3(size, a, b, c), size)
    if most == number(a, size):
        return maximum(size, b, c)
    if most == number(b, size):
        return maximum(size, a, c)
    return maximum(size, a, b)


EXTREMES: dict[str, tuple[int, Function]] = {
    f"v_{kind}_f{size}": (arity, function)
    for size in (16, 32, 64)
    for kind, arity, function in (
        ("min", 2, minimum),
        ("max", 2, maximum),
        ("min3", 3, minimum3),
        ("max3", 3, maximum3),
        ("med3", 3, median),
    )
    if size < 64 or arity == 2
}


@pytest.mark.parametrize("name", EXTREMES)
def test_minimum_and_maximum(name: str) -> None:
    size = size_of(name)
    arity, function = EXTREMES[name]
    check(name, size, arity, function, tuples(EDGES[size], arity, TYPES[size]))


@pytest.mark.parametrize("ieee", [False, True])
@pytest.mark.parametrize("most", [False, True])
def test_which_nan_comes_out_of_a_minimum(most: bool, ieee: bool) -> None:
    a, b = tuples(F32, 2, np.uint32)
    state = execute(f"v_{'max' if most else 'min'}_f32 v8, v2, v4", "gfx942", [a, b], mode=0xF0 | 0x200 * ieee)
    pairs = zip(a.tolist(), b.tolist(), strict=True)
    wanted = np.array([extreme(32, x, y, most=most, ieee=ieee) for x, y in pairs], np.uint32)
    got = words(state, 8)
    good = got == wanted
    assert good.all(), show(got, wanted, good, [a, b])


@pytest.mark.parametrize("most", [False, True])
def test_minimum3_of_gfx950_lets_nan_through(most: bool) -> None:
    def one(size: int, a: int, b: int) -> int:
        return NAN[size] if is_nan(a, size) or is_nan(b, size) else extreme(size, a, b, most=most)

    def three(size: int, a: int, b: int, c: int) -> int:
        return one(size, one(size, a, b), c)

    name = "v_maximum3_f32" if most else "v_minimum3_f32"
    check(name, 32, 3, three, tuples(F32, 3, np.uint32), arch="gfx950")


# ---- parts of a number ---------------------------------------------------------------------------------------------


def integral(how: Callable[[Fraction], int]) -> Function:
    def apply(size: int, a: int) -> int:
        if is_nan(a, size) or is_inf(a, size):
            return a
        return rounded(Fraction(how(value(a, size))), size, negative_zero=bool(a >> size - 1))

    return apply


def fraction_part(size: int, a: int) -> int:
    if is_nan(a, size) or is_inf(a, size):
        return NAN[size]
    below_one = {16: 0x3BFF, 32: 0x3F7FFFFF, 64: 0x3FEFFFFFFFFFFFFF}[size]
    exact = value(a, size) - math.floor(value(a, size))
    return min(rounded(exact, size), below_one)


def mantissa(size: int, a: int) -> int:
    if is_nan(a, size) or is_inf(a, size) or value(a, size) == 0:
        return a
    exact = value(a, size)
    power = abs(exact.numerator).bit_length() - exact.denominator.bit_length()
    exact /= Fraction(2) ** power
    if abs(exact) >= 1:
        exact /= 2
    elif abs(exact) < Fraction(1, 2):
        exact *= 2
    return rounded(exact, size)


PARTS: dict[str, Function] = {
    "trunc": integral(math.trunc),
    "ceil": integral(math.ceil),
    "floor": integral(math.floor),
    "rndne": integral(round),
    "fract": fraction_part,
    "frexp_mant": mantissa,
}


@pytest.mark.parametrize("size", [16, 32, 64])
@pytest.mark.parametrize("part", PARTS)
def test_parts(part: str, size: int) -> None:
    sources = tuples(EDGES[size], 1, TYPES[size])
    extra = near(size, 5)[2]
    check(f"v_{part}_f{size}", size, 1, PARTS[part], [np.concatenate([sources[0], extra])])


@pytest.mark.parametrize("size", [16, 32, 64])
def test_exponent_of_frexp(size: int) -> None:
    def exponent(a: int) -> int:
        if is_nan(a, size) or is_inf(a, size) or value(a, size) == 0:
            return 0
        ratio = abs(value(a, size)) / abs(value(mantissa(size, a), size))
        power = ratio.numerator.bit_length() - ratio.denominator.bit_length()
        return power & (0xFFFF if size == 16 else 0xFFFFFFFF)

    sources = tuples(EDGES[size], 1, TYPES[size])
    name = "v_frexp_exp_i16_f16" if size == 16 else f"v_frexp_exp_i32_f{size}"
    got = words(execute(f"{name} v8, {register(2, size)}", "gfx942", sources), 8)
    assert got.tolist() == [exponent(a) for a in sources[0].tolist()]


@pytest.mark.parametrize("size", [16, 32, 64])
def test_scale_by_a_power_of_two_rounds_denormals_once(size: int) -> None:
    rng = np.random.default_rng(6)
    numbers = np.concatenate([tuples(EDGES[size], 1, TYPES[size])[0], near(size, 7)[0]])
    steps = np.concatenate([rng.integers(-60, 60, len(numbers) // 2), rng.integers(-2200, 2200, len(numbers))])
    steps = steps[: len(numbers)].astype(np.int32)
    steps[:4] = (2**31 - 1, -(2**31), 32767, -32768)
    wanted = []
    for a, n in zip(numbers.tolist(), steps.tolist(), strict=True):
        if size == 16:
            n = (n + 0x8000) % 0x10000 - 0x8000  # a half's exponent is 16 bits
        special = is_nan(a, size) or is_inf(a, size)
        small = max(-6000, min(6000, n))
        exact = None if special else value(a, size) * Fraction(2) ** small
        wanted.append(a if exact is None else rounded(exact, size, negative_zero=bool(a >> size - 1)))
    text = f"v_ldexp_f{size} {register(8, size)}, {register(2, size)}, v4"
    got = result_of(execute(text, "gfx942", [numbers, steps.view(np.uint32)]), size)
    good = same_floats(got, np.array(wanted, TYPES[size]), size)
    assert good.all(), show(got, np.array(wanted, TYPES[size]), good, [numbers, steps])


# ---- functions, to half a unit in the last place and a little -------------------------------------------------------


def units_off(got: np.ndarray, exact: np.ndarray, size: int) -> np.ndarray:
    """Distance in units of the last place of the exact value, in long double."""
    floats = got.view({16: np.float16, 32: np.float32, 64: np.float64}[size]).astype(np.longdouble)
    bits = {16: 10, 32: 23, 64: 52}[size]
    smallest = {16: -14, 32: -126, 64: -1022}[size]
    _, exponent = np.frexp(exact)
    unit = np.ldexp(np.longdouble(1), np.maximum(exponent - 1, smallest) - bits)
    return np.abs(floats - exact) / unit


FUNCTIONS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float, float]] = {  # exact, from, to
    "exp": (np.exp2, -120.0, 120.0),
    "log": (np.log2, 1e-30, 1e30),
    "rcp": (lambda x: 1 / x, 1e-30, 1e30),
    "rsq": (lambda x: 1 / np.sqrt(x), 1e-30, 1e30),
    "sqrt": (np.sqrt, 1e-30, 1e30),
    "sin": (
        lambda x: np.sin((x - np.rint(x)) * 2 * np.longdouble("3.14159265358979323846264338327950288")),
        -255.0,
        255.0,
    ),
    "cos": (
        lambda x: np.cos((x - np.rint(x)) * 2 * np.longdouble("3.14159265358979323846264338327950288")),
        -255.0,
        255.0,
    ),
}
IN_THE_ISA = [(name, size) for size in (16, 32) for name in FUNCTIONS]
IN_THE_ISA += [("rcp", 64), ("rsq", 64), ("sqrt", 64)]


@pytest.mark.parametrize(("name", "size"), IN_THE_ISA)
def test_functions_within_the_last_place(name: str, size: int) -> None:
    exact_function, low, high = FUNCTIONS[name]
    if size == 16:
        low, high = max(low, 1e-4 if low > 0 else -12.0), min(high, 1e4 if low > 0 else 12.0)
    rng = np.random.default_rng(8)
    spread = rng.uniform(low, high, 2048) if low < 0 else np.exp(rng.uniform(np.log(low), np.log(high), 2048))
    if name == "log":
        spread[:512] = 1 + rng.uniform(-1e-3, 1e-3, 512)  # where the result nearly vanishes
    inputs = spread.astype({16: np.float16, 32: np.float32, 64: np.float64}[size])
    text = f"v_{name}_f{size} {register(8, size)}, {register(2, size)}"
    got = result_of(execute(text, "gfx942", [inputs.view(TYPES[size])]), size)
    off = units_off(got, exact_function(inputs.astype(np.longdouble)), size)
    if name in ("sin", "cos"):  # relative to 1: near a zero the argument's own rounding shows
        off = np.where(np.abs(exact_function(inputs.astype(np.longdouble))) < 2e-7, 0, off)
    assert off.max() < (1.5 if size == 64 else 0.51)


SPECIALS = {  # function: results for +0, -0, +inf, -inf, -1, NaN
    "exp": (1.0, 1.0, math.inf, 0.0, 0.5, math.nan),
    "log": (-math.inf, -math.inf, math.inf, math.nan, math.nan, math.nan),
    "rcp": (math.inf, -math.inf, 0.0, -0.0, -1.0, math.nan),
    "rsq": (math.inf, -math.inf, 0.0, math.nan, math.nan, math.nan),
    "sqrt": (0.0, -0.0, math.inf, math.nan, math.nan, math.nan),
    "sin": (0.0, -0.0, math.nan, math.nan, 0.0, math.nan),
    "cos": (1.0, 1.0, math.nan, math.nan, 1.0, math.nan),
}


@pytest.mark.parametrize("size", [16, 32])
@pytest.mark.parametrize("name", SPECIALS)
def test_functions_at_their_special_points(name: str, size: int) -> None:
    dtype = {16: np.float16, 32: np.float32}[size]
    inputs = np.resize(np.array([0.0, -0.0, math.inf, -math.inf, -1.0, math.nan], dtype), LANES)
    wanted = np.resize(np.array(SPECIALS[name], dtype), LANES)
    got = result_of(execute(f"v_{name}_f{size} v8, v2", "gfx942", [inputs.view(TYPES[size])]), size)
    assert same_floats(got, wanted.view(TYPES[size]), size).all(), got.view(dtype)[:6]


def test_sine_and_cosine_out_of_their_range() -> None:
    inputs = np.resize(np.array([256.5, -1e20, 300.25], np.float32), LANES)
    state = execute("v_sin_f32 v8, v2\nv_cos_f32 v9, v2", "gfx942", [inputs.view(np.uint32)])
    assert (words(state, 8).view(np.float32) == 0).all()
    assert (words(state, 9).view(np.float32) == 1).all()


@pytest.mark.parametrize("name", ["exp", "log", "rcp", "rsq", "sqrt"])
def test_single_precision_functions_know_no_denormals(name: str) -> None:
    """Whatever MODE says: a denormal goes in as 0, and comes out as 0 (LLVM scales around both)."""
    zero_in = {"exp": 1.0, "log": -math.inf, "rcp": math.inf, "rsq": math.inf, "sqrt": 0.0}[name]
    inputs = np.full(LANES, 1e-39, np.float32)
    got = words(execute(f"v_{name}_f32 v8, v2", "gfx942", [inputs.view(np.uint32)]), 8).view(np.float32)
    assert (got == np.float32(zero_in)).all()
    small = {"exp": -127.5, "rcp": 2.0**127}.get(name)
    if small is not None:
        inputs = np.full(LANES, small, np.float32)
        got = words(execute(f"v_{name}_f32 v8, v2", "gfx942", [inputs.view(np.uint32)]), 8)
        assert (got == 0).all()


def test_half_precision_reciprocal_keeps_denormals() -> None:
    inputs = np.full(LANES, 2.0**15 * 1.5, np.float16)
    got = result_of(execute("v_rcp_f16 v8, v2", "gfx942", [inputs.view(np.uint16)]), 16).view(np.float16)
    assert (got == np.float16(1 / (2.0**15 * 1.5))).all()
    assert (got > 0).all()


# ---- halves of registers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "upper"), [("v_add_f16 v8, v2, v4", 0), ("v_fma_f16 v8, v2, v4, v6", OLD & 0xFFFF0000)]
)
def test_upper_half_of_the_result(text: str, upper: int) -> None:
    """VOP1's and VOP2's 16-bit operations put zeros there, VOP3's own leave it as it is."""
    sources = tuples(F16, 3, np.uint16)
    got = words(execute(text, "gfx942", sources, vgprs={8: OLD}), 8)
    assert (got & np.uint32(0xFFFF0000) == upper).all()


def test_pack_of_two_halves() -> None:
    a, b = (s | np.uint32(0xABCD0000) for s in tuples(F16, 2, np.uint32))
    state = execute("v_pack_b32_f16 v8, v2, v4\nv_pack_b32_f16 v9, v2, -v4 op_sel:[1,0,0]", "gfx942", [a, b])
    assert (words(state, 8) == (a & 0xFFFF | b << 16)).all()
    assert (words(state, 9) == (a >> 16 | (b ^ 0x8000) << 16)).all()


# ---- division ------------------------------------------------------------------------------------------------------


def division(size: int) -> str:
    """LLVM's sequence for an IEEE division of v2 by v4, result in v8 (AMDGPULegalizerInfo, legalizeFDIV)."""

    def r(number_: int) -> str:
        return register(number_, size)

    n, d, f = r(2), r(4), f"f{size}"
    lines = [
        f"v_div_scale_{f} {r(10)}, s[4:5], {d}, {d}, {n}",
        f"v_div_scale_{f} {r(12)}, vcc, {n}, {d}, {n}",
        f"v_rcp_{f} {r(14)}, {r(10)}",
        f"v_fma_{f} {r(16)}, -{r(10)}, {r(14)}, 1.0",
        f"v_fma_{f} {r(14)}, {r(16)}, {r(14)}, {r(14)}",
    ]
    if size == 64:
        lines += [f"v_fma_{f} {r(16)}, -{r(10)}, {r(14)}, 1.0", f"v_fma_{f} {r(14)}, {r(16)}, {r(14)}, {r(14)}"]
    lines += [f"v_mul_{f} {r(18)}, {r(12)}, {r(14)}", f"v_fma_{f} {r(16)}, -{r(10)}, {r(18)}, {r(12)}"]
    if size == 32:
        lines += [f"v_fma_{f} {r(18)}, {r(16)}, {r(14)}, {r(18)}", f"v_fma_{f} {r(16)}, -{r(10)}, {r(18)}, {r(12)}"]
    lines += [f"v_div_fmas_{f} {r(16)}, {r(16)}, {r(14)}, {r(18)}", f"v_div_fixup_{f} {r(8)}, {r(16)}, {d}, {n}"]
    return "\n".join(lines)


def over_all_exponents(size: int, seed: int) -> list[np.ndarray]:
    """Numerators and denominators of every magnitude, and quotients around the ends of the range."""
    rng = np.random.default_rng(seed)
    _, fraction = {32: (8, 23), 64: (11, 52)}[size]
    count, top = 2048, INF[size] >> fraction
    first = rng.integers(0, top, count)
    near_ends = np.clip(first + rng.choice([-top // 2, top // 2, 0], count) + rng.integers(-60, 60, count), 0, top - 1)
    exponents = np.stack([first, np.where(rng.random(count) < 0.5, near_ends, rng.integers(0, top, count))])
    bits = (exponents.astype(np.uint64) << np.uint64(fraction)) | rng.integers(0, 1 << fraction, (2, count)).astype(
        np.uint64
    )
    signs = rng.integers(0, 2, (2, count)).astype(np.uint64) << np.uint64(size - 1)
    return [row.astype(TYPES[size]) for row in bits | signs]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("size", [32, 64])
def test_division_is_correctly_rounded_over_all_exponents(size: int, seed: int) -> None:
    sources = over_all_exponents(size, seed) if seed else tuples(EDGES[size], 2, TYPES[size])
    got = result_of(execute(division(size), "gfx942", sources), size)
    lanes = zip(sources[0].tolist(), sources[1].tolist(), strict=True)
    wanted = np.array([divided(size, *lane) for lane in lanes], TYPES[size])
    good = same_floats(got, wanted, size)
    assert good.all(), show(got, wanted, good, sources)


def test_half_precision_division_fixup() -> None:
    d, n = tuples(F16, 2, np.uint16)
    with np.errstate(all="ignore"):
        quotient = (n.view(np.float16).astype(np.float32) / d.view(np.float16).astype(np.float32)).astype(np.float16)
    got = result_of(execute("v_div_fixup_f16 v8, v2, v4, v6", "gfx942", [quotient.view(np.uint16), d, n]), 16)
    wanted = np.array([divided(16, *lane) for lane in zip(n.tolist(), d.tolist(), strict=True)], np.uint16)
    good = same_floats(got, wanted, 16)
    assert good.all(), show(got, wanted, good, [d, n])


def test_division_scale_says_in_its_mask_when_the_quotient_is_extreme() -> None:
    n = np.resize(np.array([1e30, 1.0, 1e-30, 3.0], np.float32), LANES)
    d = np.resize(np.array([1e-8, 3.0, 1e15, 0.0], np.float32), LANES)
    state = execute("v_div_scale_f32 v8, s[10:11], v2, v4, v2", "gfx942", [n.view(np.uint32), d.view(np.uint32)])
    assert masks(state, 10).tolist() == [True, False, True, False] * 16
    scaled = words(state, 8).view(np.float32)[:4]
    assert scaled[:3].tolist() == [n[0], n[1], n[2] * np.float32(2) ** 64]
    assert np.isnan(scaled[3])


def test_segments_of_two_over_pi() -> None:
    """Segments in turn give back 2/pi, to what a sum of 53-bit pieces can hold."""
    text = "\n".join(f"v_trig_preop_f64 v[{8 + 2 * n}:{9 + 2 * n}], v[2:3], {n}" for n in range(4))
    state = execute(text, "gfx942", [np.full(LANES, 1.0, np.float64).view(np.uint64)])
    total = sum(Fraction(float(wide(state, 8 + 2 * n).view(np.float64)[0])) for n in range(4))
    digits = "3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534211706798"
    assert abs(total - 2 / Fraction(digits)) < Fraction(1, 2**205)
    large = np.full(LANES, 2.0**200, np.float64).view(np.uint64)
    shifted = wide(execute("v_trig_preop_f64 v[8:9], v[2:3], 0", "gfx942", [large]), 8).view(np.float64)[0]
    skipped = 1023 + 200 - 1077
    whole = 2 / Fraction(digits) * 2**skipped
    piece = Fraction(math.floor((whole - math.floor(whole)) * 2**53), 2 ** (53 + skipped))
    assert Fraction(float(shifted)) == piece
