"""Packed halves, packed single precision and dot products, with every choice of halves and signs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from exact import NAN, added, fused, is_nan, maximum, minimum, multiplied, same_floats
from lanes import F16, F32, LANES, WORD, execute, show, tuples, words

from cdna_emulator.lab import LabFault

Function = Callable[..., int]
HALF_WORDS = (
    0,
    1,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x1234_8765,
    0x8000_7FFF,
    0xFFFF_FFFF,
    0x0001_FFFF,
    0x7FFF_8000,
    0x000F_0010,
)


def signed(a: int, bits: int = 16) -> int:
    return (a & (1 << bits) - 1) - (1 << bits) * (a >> bits - 1 & 1)


def clamped(a: int, low: int, high: int) -> int:
    return max(low, min(high, a))


INTEGERS: dict[str, tuple[int, Function]] = {
    "v_pk_mad_i16": (3, lambda a, b, c: a * b + c),
    "v_pk_mad_u16": (3, lambda a, b, c: a * b + c),
    "v_pk_add_i16": (2, lambda a, b: a + b),
    "v_pk_sub_i16": (2, lambda a, b: a - b),
    "v_pk_add_u16": (2, lambda a, b: a + b),
    "v_pk_sub_u16": (2, lambda a, b: a - b),
    "v_pk_mul_lo_u16": (2, lambda a, b: a * b),
    "v_pk_lshlrev_b16": (2, lambda a, b: b << a % 16),
    "v_pk_lshrrev_b16": (2, lambda a, b: b >> a % 16),
    "v_pk_ashrrev_i16": (2, lambda a, b: signed(b) >> a % 16),
    "v_pk_max_i16": (2, lambda a, b: max(signed(a), signed(b))),
    "v_pk_min_i16": (2, lambda a, b: min(signed(a), signed(b))),
    "v_pk_max_u16": (2, max),
    "v_pk_min_u16": (2, min),
}
CLAMPED: dict[str, tuple[int, Function]] = {
    "v_pk_mad_i16": (3, lambda a, b, c: clamped(signed(a) * signed(b) + signed(c), -0x8000, 0x7FFF)),
    "v_pk_mad_u16": (3, lambda a, b, c: clamped(a * b + c, 0, 0xFFFF)),
    "v_pk_add_i16": (2, lambda a, b: clamped(signed(a) + signed(b), -0x8000, 0x7FFF)),
    "v_pk_sub_i16": (2, lambda a, b: clamped(signed(a) - signed(b), -0x8000, 0x7FFF)),
    "v_pk_add_u16": (2, lambda a, b: clamped(a + b, 0, 0xFFFF)),
    "v_pk_sub_u16": (2, lambda a, b: clamped(a - b, 0, 0xFFFF)),
}


def minimum3(size: int, *values: int) -> int:
    if any(is_nan(x, size) for x in values):
        return NAN[size]
    return minimum(size, minimum(size, values[0], values[1]), values[2])


def maximum3(size: int, *values: int) -> int:
    if any(is_nan(x, size) for x in values):
        return NAN[size]
    return maximum(size, maximum(size, values[0], values[1]), values[2])


FLOATS: dict[str, tuple[int, Function]] = {
    "v_pk_fma_f16": (3, lambda *s: fused(16, *s)),
    "v_pk_add_f16": (2, lambda *s: added(16, *s)),
    "v_pk_mul_f16": (2, lambda *s: multiplied(16, *s)),
    "v_pk_min_f16": (2, lambda *s: minimum(16, *s)),
    "v_pk_max_f16": (2, lambda *s: maximum(16, *s)),
    "v_pk_minimum3_f16": (3, lambda *s: minimum3(16, *s)),
    "v_pk_maximum3_f16": (3, lambda *s: maximum3(16, *s)),
}
SELECTIONS = [  # op_sel, op_sel_hi of the sources
    ((0, 0, 0), (1, 1, 1)),
    ((1, 1, 1), (0, 0, 0)),
    ((1, 0, 1), (1, 0, 1)),
    ((0, 1, 0), (0, 1, 1)),
]


def modifiers(arity: int, **fields: tuple[int, ...]) -> str:
    return " ".join(f"{name}:[{','.join(map(str, bits[:arity]))}]" for name, bits in fields.items())


def halves(row: tuple[int, ...], low: tuple[int, ...], high: tuple[int, ...]) -> tuple[list[int], list[int]]:
    pick = [
        [word >> 16 if upper else word & 0xFFFF for word, upper in zip(row, bits, strict=False)] for bits in (low, high)
    ]
    return pick[0], pick[1]


def random_words(count: int, arity: int, values: tuple[int, ...], seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    chosen = rng.choice(np.array(values, np.uint32), (arity, 2, count)) & 0xFFFF
    noise = rng.integers(0, 2**16, (arity, 2, count), dtype=np.uint32)
    mixed = np.where(rng.random((arity, 2, count)) < 0.8, chosen, noise).astype(np.uint32)
    return [np.ascontiguousarray(pair[0] | pair[1] << 16) for pair in mixed]


@pytest.mark.parametrize(("low", "high"), SELECTIONS)
@pytest.mark.parametrize("name", INTEGERS)
def test_packed_integers(name: str, low: tuple[int, ...], high: tuple[int, ...]) -> None:
    arity, function = INTEGERS[name]
    check_integers(name, arity, function, low, high, "")


@pytest.mark.parametrize("name", CLAMPED)
def test_packed_integers_clamped(name: str) -> None:
    arity, function = CLAMPED[name]
    check_integers(name, arity, function, (0, 0, 0), (1, 1, 1), " clamp")


def check_integers(
    name: str, arity: int, function: Function, low: tuple[int, ...], high: tuple[int, ...], clamp: str
) -> None:
    sources = random_words(1024, arity, HALF_WORDS + tuple(w >> 16 for w in HALF_WORDS), 1)
    text = f"{name} v8, {', '.join(('v2', 'v4', 'v6')[:arity])} {modifiers(arity, op_sel=low, op_sel_hi=high)}{clamp}"
    got = words(execute(text, "gfx942", sources), 8)
    wanted = []
    for row in zip(*(s.tolist() for s in sources), strict=True):
        first, second = halves(row, low, high)
        wanted.append(function(*first) & 0xFFFF | (function(*second) & 0xFFFF) << 16)
    expected = np.array(wanted, np.uint32)
    good = got == expected
    assert good.all(), show(got, expected, good, sources)


@pytest.mark.parametrize(("low", "high"), SELECTIONS)
@pytest.mark.parametrize("name", FLOATS)
def test_packed_halves(name: str, low: tuple[int, ...], high: tuple[int, ...]) -> None:
    arity, function = FLOATS[name]
    negated, negated_high = (1, 0, 1), (0, 1, 1)
    sources = random_words(1024, arity, F16, 2)
    extra = modifiers(arity, op_sel=low, op_sel_hi=high, neg_lo=negated, neg_hi=negated_high)
    arch = "gfx950" if "imum" in name else "gfx942"
    got = words(execute(f"{name} v8, {', '.join(('v2', 'v4', 'v6')[:arity])} {extra}", arch, sources), 8)
    for part, signs in ((0, negated), (1, negated_high)):
        wanted = []
        for row in zip(*(s.tolist() for s in sources), strict=True):
            chosen = halves(row, low, high)[part]
            wanted.append(function(*(h ^ 0x8000 * s for h, s in zip(chosen, signs, strict=False))))
        half = (got >> np.uint32(16 * part)).astype(np.uint16)
        expected = np.array(wanted, np.uint16)
        good = same_floats(half, expected, 16)
        assert good.all(), show(half, expected, good, sources)


def test_packed_accumulation() -> None:
    a, b, c = random_words(1024, 3, F16, 3)
    got = words(execute("v_pk_fmac_f16 v6, v2, v4", "gfx942", [a, b, c]), 6)
    for part in (0, 16):
        rows = zip(*((s >> np.uint32(part) & 0xFFFF).tolist() for s in (a, b, c)), strict=True)
        expected = np.array([fused(16, *row) for row in rows], np.uint16)
        assert same_floats((got >> np.uint32(part)).astype(np.uint16), expected, 16).all()


def test_packed_halves_clamped_to_one() -> None:
    a = random_words(1024, 1, F16, 4)[0]
    got = words(execute("v_pk_add_f16 v8, v2, 0 clamp", "gfx942", [a], mode=0x3F0), 8)
    inputs = np.stack([a & 0xFFFF, a >> 16]).astype(np.uint16).view(np.float16)
    results = np.stack([got & 0xFFFF, got >> 16]).astype(np.uint16).view(np.float16)
    # The second half reads the upper half of the constant, which is 0 as well.
    assert (results == np.clip(np.nan_to_num(inputs, nan=0.0, posinf=2.0, neginf=-2.0), 0, 1)).all()


PACKED_F32: dict[str, tuple[int, Function]] = {
    "v_pk_fma_f32": (3, lambda *s: fused(32, *s)),
    "v_pk_mul_f32": (2, lambda *s: multiplied(32, *s)),
    "v_pk_add_f32": (2, lambda *s: added(32, *s)),
}


@pytest.mark.parametrize(("low", "high"), SELECTIONS)
@pytest.mark.parametrize("name", PACKED_F32)
def test_packed_single_precision(name: str, low: tuple[int, ...], high: tuple[int, ...]) -> None:
    arity, function = PACKED_F32[name]
    first, second = tuples(F32, arity, np.uint32, seed=5), tuples(F32, arity, np.uint32, seed=6)
    order = np.random.default_rng(7).permutation(len(first[0]))
    second = [s[order] for s in second]
    pairs = [a.astype(np.uint64) | b.astype(np.uint64) << np.uint64(32) for a, b in zip(first, second, strict=True)]
    negated, negated_high = (0, 1, 1), (1, 0, 1)
    extra = modifiers(arity, op_sel=low, op_sel_hi=high, neg_lo=negated, neg_hi=negated_high)
    registers = ", ".join(("v[2:3]", "v[4:5]", "v[6:7]")[:arity])
    state = execute(f"{name} v[8:9], {registers} {extra}", "gfx942", pairs)
    for part, (choice, signs) in enumerate(((low, negated), (high, negated_high))):
        chosen = [
            (b if upper else a) ^ np.uint32(s << 31)
            for a, b, upper, s in zip(first, second, choice, signs, strict=False)
        ]
        expected = np.array([function(*row) for row in zip(*(c.tolist() for c in chosen), strict=True)], np.uint32)
        got = words(state, 8 + part)
        good = same_floats(got, expected, 32)
        assert good.all(), show(got, expected, good, chosen)


def test_packed_single_precision_in_place_with_crossed_registers() -> None:
    """The result overwrites what the other half still needs: both must be read before either is written."""
    a = np.arange(LANES, dtype=np.float32)
    state = execute(
        "v_pk_add_f32 v[2:3], v[2:3], v[2:3] op_sel:[1,0] op_sel_hi:[0,1]",
        "gfx942",
        [a.view(np.uint32)],
        vgprs={3: a * 10},
    )
    assert (words(state, 2).view(np.float32) == a * 11).all()
    assert (words(state, 3).view(np.float32) == a * 11).all()


def test_packed_single_precision_with_scalars_and_constants() -> None:
    a = tuples(F32, 2, np.uint32)
    pair = a[0].astype(np.uint64) | a[1].astype(np.uint64) << np.uint64(32)
    text = "v_pk_mul_f32 v[8:9], v[2:3], s[4:5]\nv_pk_add_f32 v[10:11], v[2:3], 1.0 op_sel_hi:[1,0]"
    state = execute(text, "gfx942", [pair], sgprs={4: 0x40000000, 5: 0xBF000000})
    for part, factor in ((0, 0x40000000), (1, 0xBF000000)):
        scaled = np.array([multiplied(32, x, factor) for x in a[part].tolist()], np.uint32)
        plus_one = np.array([added(32, x, 0x3F800000) for x in a[part].tolist()], np.uint32)
        assert same_floats(words(state, 8 + part), scaled, 32).all()
        assert same_floats(words(state, 10 + part), plus_one, 32).all()


@pytest.mark.parametrize(("first", "second"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_packed_move(first: int, second: int) -> None:
    rng = np.random.default_rng(9)
    a, b = rng.integers(0, 2**64, (2, LANES), dtype=np.uint64)
    state = execute(f"v_pk_mov_b32 v[8:9], v[2:3], v[4:5] op_sel:[{first},{second}]", "gfx942", [a, b])
    assert (words(state, 8) == (a >> np.uint64(32 * first)).astype(np.uint32)).all()
    assert (words(state, 9) == (b >> np.uint64(32 * second)).astype(np.uint32)).all()


# ---- mixed precision -----------------------------------------------------------------------------------------------


def as_half(bits: np.ndarray) -> np.ndarray:
    return (bits & 0xFFFF).astype(np.uint16).view(np.float16).astype(np.float32).view(np.uint32)


def test_mixed_sources() -> None:
    """op_sel_hi says which sources are halves, op_sel which half; neg_hi is the absolute value."""
    words_in = [
        np.where(np.random.default_rng(n).random(1024) < 0.5, s, t)
        for n, (s, t) in enumerate(zip(random_words(1024, 3, F16, 10), random_words(1024, 3, F16, 11), strict=True))
    ]
    text = "v_fma_mix_f32 v8, -v2, |v4|, v6 op_sel:[0,1,0] op_sel_hi:[1,1,0]"
    got = words(execute(text, "gfx942", words_in), 8)
    a = as_half(words_in[0]) ^ np.uint32(1 << 31)
    b = as_half(words_in[1] >> np.uint32(16)) & np.uint32(0x7FFFFFFF)
    rows = zip(a.tolist(), b.tolist(), words_in[2].tolist(), strict=True)
    expected = np.array([fused(32, *row) for row in rows], np.uint32)
    good = same_floats(got, expected, 32)
    assert good.all(), show(got, expected, good, words_in)


def test_mixed_constant_that_is_one_number_in_either_width() -> None:
    """How LLVM adds a half to a float."""
    halves, floats = random_words(1024, 2, F16, 13)
    for constant, factor in (("1.0", 1.0), ("-4.0", -4.0), ("0", 0.0)):
        got = words(execute(f"v_fma_mix_f32 v8, v2, {constant}, v4 op_sel_hi:[1,1,0]", "gfx942", [halves, floats]), 8)
        scale = int(np.float32(factor).view(np.uint32))
        rows = zip(as_half(halves).tolist(), floats.tolist(), strict=True)
        expected = np.array([fused(32, half, scale, single) for half, single in rows], np.uint32)
        assert same_floats(got, expected, 32).all()


@pytest.mark.parametrize("constant", ["7", "0.15915494"])
def test_mixed_constant_that_is_not_is_refused(constant: str) -> None:
    with pytest.raises(LabFault, match="a constant as a half"):
        execute(f"v_fma_mix_f32 v8, v2, {constant}, v4 op_sel_hi:[1,1,0]", "gfx942", random_words(64, 2, F16, 14))


@pytest.mark.parametrize(("name", "shift"), [("v_fma_mixlo_f16", 0), ("v_fma_mixhi_f16", 16)])
def test_mixed_result_in_one_half(name: str, shift: int) -> None:
    sources = random_words(1024, 3, F16, 12)
    got = words(execute(f"{name} v8, v2, v4, v6 op_sel_hi:[1,1,1]", "gfx942", sources, vgprs={8: 0xDEADBEEF}), 8)
    rows = zip(*(as_half(s).tolist() for s in sources), strict=True)
    single = np.array([fused(32, *row) for row in rows], np.uint32).view(np.float32)
    with np.errstate(all="ignore"):
        expected = single.astype(np.float16).view(np.uint16)
    assert same_floats((got >> np.uint32(shift)).astype(np.uint16), expected, 16).all()
    kept = np.uint32(0xFFFF << 16 - shift)
    assert (got & kept == np.uint32(0xDEADBEEF) & kept).all()


# ---- dot products --------------------------------------------------------------------------------------------------


def parts(word: int, bits: int, is_signed: bool) -> list[int]:
    fields = [word >> at & (1 << bits) - 1 for at in range(0, 32, bits)]
    return [signed(f, bits) for f in fields] if is_signed else fields


DOTS = {
    "v_dot2_i32_i16": (16, True),
    "v_dot2_u32_u16": (16, False),
    "v_dot4_i32_i8": (8, True),
    "v_dot4_u32_u8": (8, False),
    "v_dot8_i32_i4": (4, True),
    "v_dot8_u32_u4": (4, False),
}


@pytest.mark.parametrize("clamp", ["", " clamp"])
@pytest.mark.parametrize("name", DOTS)
def test_integer_dot_products(name: str, clamp: str) -> None:
    bits, is_signed = DOTS[name]
    values = (0, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7F7F7F7F, 0x80808080, 0x12345678, 0x80007FFF)
    sources = tuples(values, 3, np.uint32)
    got = words(execute(f"{name} v8, v2, v4, v6{clamp}", "gfx942", sources), 8)
    wanted = []
    for a, b, c in zip(*(s.tolist() for s in sources), strict=True):
        start = signed(c, 32) if is_signed else c
        exact = start + sum(x * y for x, y in zip(parts(a, bits, is_signed), parts(b, bits, is_signed), strict=True))
        if clamp:
            exact = clamped(exact, -(2**31), 2**31 - 1) if is_signed else clamped(exact, 0, WORD)
        wanted.append(exact & WORD)
    expected = np.array(wanted, np.uint32)
    good = got == expected
    assert good.all(), show(got, expected, good, sources)


@pytest.mark.parametrize(("name", "bits"), [("v_dot2c_i32_i16", 16), ("v_dot4c_i32_i8", 8), ("v_dot8c_i32_i4", 4)])
def test_integer_dot_products_that_accumulate(name: str, bits: int) -> None:
    sources = tuples((0, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x12345678, 0x80007FFF), 3, np.uint32)
    got = words(execute(f"{name} v6, v2, v4", "gfx942", sources), 6)
    rows = zip(*(s.tolist() for s in sources), strict=True)
    wanted = [
        c + sum(x * y for x, y in zip(parts(a, bits, True), parts(b, bits, True), strict=True)) & WORD
        for a, b, c in rows
    ]
    assert got.tolist() == wanted


FLOAT_DOTS = [
    ("v_dot2_f32_f16 v6, v2, v4, v6", "gfx942", "f16"),
    ("v_dot2c_f32_f16 v6, v2, v4", "gfx942", "f16"),
    ("v_dot2_f32_bf16 v6, v2, v4, v6", "gfx950", "bf16"),
    ("v_dot2c_f32_bf16 v6, v2, v4", "gfx950", "bf16"),
]


@pytest.mark.parametrize(("text", "arch", "kind"), FLOAT_DOTS)
def test_float_dot_products(text: str, arch: str, kind: str) -> None:
    """Within the rounding of three sums: which order the card takes is not public."""
    rng = np.random.default_rng(13)
    values = rng.normal(size=(2, 2, 1024)).astype(np.float32)
    if kind == "f16":
        bits = values.astype(np.float16).view(np.uint16).astype(np.uint32)
        exact = values.astype(np.float16).astype(np.float64)
    else:
        bits = values.view(np.uint32) >> 16
        exact = (bits << 16).view(np.float32).astype(np.float64)
    a, b = (np.ascontiguousarray(pair[0] | pair[1] << 16) for pair in bits)
    c = rng.normal(size=1024).astype(np.float32)
    got = words(execute(text, arch, [a, b, c.view(np.uint32)]), 6).view(np.float32)
    terms = np.stack([exact[0, 0] * exact[1, 0], exact[0, 1] * exact[1, 1], c.astype(np.float64)])
    assert (np.abs(got - terms.sum(0)) <= 3 * 2.0**-24 * np.abs(terms).sum(0)).all()


def test_float_dot_product_with_negated_halves() -> None:
    a, b = (np.full(LANES, x, np.uint32) for x in (0x40003C00, 0x44004200))  # (1, 2) and (3, 4)
    text = "v_dot2_f32_f16 v8, v2, v4, v6 neg_lo:[1,0,1] neg_hi:[1,1,0]"
    state = execute(text, "gfx942", [a, b], vgprs={6: np.float32(100)})
    assert (words(state, 8).view(np.float32) == -100 - 1 * 3 + 2 * 4).all()
