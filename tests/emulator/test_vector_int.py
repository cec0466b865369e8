"""Integer vector instructions against Python integers, operand by operand from the ISA's words."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from lanes import DOUBLES, HALVES, LANES, WORD, WORDS, execute, masks, show, tuples, wide, words

OLD = 0xDEADBEEF


def signed(value: int, bits: int = 32) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> bits - 1 else value


def clamped(value: int, low: int, high: int) -> int:
    return max(low, min(high, value))


def reversed_bits(a: int) -> int:
    return int(f"{a:032b}"[::-1], 2)


def first_from_top(a: int) -> int:
    return 32 - a.bit_length() if a else WORD


def first_from_bottom(a: int) -> int:
    return (a & -a).bit_length() - 1 if a else WORD


def sign_run(a: int) -> int:
    text = f"{a:032b}"
    run = len(text) - len(text.lstrip(text[0]))
    return WORD if run == 32 else run


def field(a: int, offset: int, width: int) -> int:
    return a >> (offset & 31) & (1 << (width & 31)) - 1


def signed_field(a: int, offset: int, width: int) -> int:
    width &= 31
    return signed(signed(a) >> (offset & 31), width) if width else 0


def permuted(a: int, b: int, c: int) -> int:
    data = b.to_bytes(4, "little") + a.to_bytes(4, "little")
    result = []
    for selector in c.to_bytes(4, "little"):
        if selector < 8:
            result.append(data[selector])
        elif selector < 12:
            result.append(255 if data[(selector - 8) * 2 + 1] >> 7 else 0)
        else:
            result.append(0 if selector == 12 else 255)
    return int.from_bytes(bytes(result), "little")


def byte_pairs(a: int, b: int) -> list[tuple[int, int]]:
    return list(zip(a.to_bytes(4, "little"), b.to_bytes(4, "little"), strict=True))


def average(a: int, b: int, c: int) -> int:
    rounding = [byte & 1 for byte in c.to_bytes(4, "little")]
    return sum((x + y + r >> 1) << 8 * n for n, ((x, y), r) in enumerate(zip(byte_pairs(a, b), rounding, strict=True)))


def low24(a: int) -> int:
    return a & 0xFFFFFF


def median(*values: int) -> int:
    return sorted(values)[1]


Function = Callable[..., int]
WORD_OPERATIONS: dict[str, tuple[int, Function]] = {
    "v_not_b32": (1, lambda a: ~a),
    "v_bfrev_b32": (1, reversed_bits),
    "v_ffbh_u32": (1, first_from_top),
    "v_ffbl_b32": (1, first_from_bottom),
    "v_ffbh_i32": (1, sign_run),
    "v_add_u32": (2, lambda a, b: a + b),
    "v_sub_u32": (2, lambda a, b: a - b),
    "v_subrev_u32": (2, lambda a, b: b - a),
    "v_add_i32": (2, lambda a, b: a + b),
    "v_sub_i32": (2, lambda a, b: a - b),
    "v_mul_i32_i24": (2, lambda a, b: signed(a, 24) * signed(b, 24)),
    "v_mul_hi_i32_i24": (2, lambda a, b: signed(a, 24) * signed(b, 24) >> 32),
    "v_mul_u32_u24": (2, lambda a, b: low24(a) * low24(b)),
    "v_mul_hi_u32_u24": (2, lambda a, b: low24(a) * low24(b) >> 32),
    "v_mul_lo_u32": (2, lambda a, b: a * b),
    "v_mul_hi_u32": (2, lambda a, b: a * b >> 32),
    "v_mul_hi_i32": (2, lambda a, b: signed(a) * signed(b) >> 32),
    "v_min_i32": (2, lambda a, b: min(a, b, key=signed)),
    "v_max_i32": (2, lambda a, b: max(a, b, key=signed)),
    "v_min_u32": (2, min),
    "v_max_u32": (2, max),
    "v_lshrrev_b32": (2, lambda a, b: b >> a % 32),
    "v_ashrrev_i32": (2, lambda a, b: signed(b) >> a % 32),
    "v_lshlrev_b32": (2, lambda a, b: b << a % 32),
    "v_and_b32": (2, lambda a, b: a & b),
    "v_or_b32": (2, lambda a, b: a | b),
    "v_xor_b32": (2, lambda a, b: a ^ b),
    "v_xnor_b32": (2, lambda a, b: ~(a ^ b)),
    "v_bcnt_u32_b32": (2, lambda a, b: a.bit_count() + b),
    "v_bfm_b32": (2, lambda a, b: ((1 << a % 32) - 1) << b % 32),
    "v_mad_i32_i24": (3, lambda a, b, c: signed(a, 24) * signed(b, 24) + c),
    "v_mad_u32_u24": (3, lambda a, b, c: low24(a) * low24(b) + c),
    "v_mad_u32_u16": (3, lambda a, b, c: (a & 0xFFFF) * (b & 0xFFFF) + c),
    "v_mad_i32_i16": (3, lambda a, b, c: signed(a, 16) * signed(b, 16) + c),
    "v_bfe_u32": (3, field),
    "v_bfe_i32": (3, signed_field),
    "v_bfi_b32": (3, lambda a, b, c: a & b | ~a & c),
    "v_alignbit_b32": (3, lambda a, b, c: (a << 32 | b) >> c % 32),
    "v_alignbyte_b32": (3, lambda a, b, c: (a << 32 | b) >> 8 * (c % 4)),
    "v_perm_b32": (3, permuted),
    "v_min3_i32": (3, lambda *s: min(s, key=signed)),
    "v_max3_i32": (3, lambda *s: max(s, key=signed)),
    "v_med3_i32": (3, lambda *s: sorted(s, key=signed)[1]),
    "v_min3_u32": (3, lambda *s: min(s)),
    "v_max3_u32": (3, lambda *s: max(s)),
    "v_med3_u32": (3, median),
    "v_xad_u32": (3, lambda a, b, c: (a ^ b) + c),
    "v_lshl_add_u32": (3, lambda a, b, c: (a << b % 32) + c),
    "v_add_lshl_u32": (3, lambda a, b, c: (a + b) << c % 32),
    "v_add3_u32": (3, lambda a, b, c: a + b + c),
    "v_lshl_or_b32": (3, lambda a, b, c: a << b % 32 | c),
    "v_and_or_b32": (3, lambda a, b, c: a & b | c),
    "v_or3_b32": (3, lambda a, b, c: a | b | c),
    "v_lerp_u8": (3, average),
    "v_sad_u8": (3, lambda a, b, c: sum(abs(x - y) for x, y in byte_pairs(a, b)) + c),
    "v_sad_hi_u8": (3, lambda a, b, c: (sum(abs(x - y) for x, y in byte_pairs(a, b)) << 16) + c),
    "v_sad_u16": (3, lambda a, b, c: abs((a & 0xFFFF) - (b & 0xFFFF)) + abs((a >> 16) - (b >> 16)) + c),
    "v_sad_u32": (3, lambda a, b, c: abs(a - b) + c),
    "v_msad_u8": (3, lambda a, b, c: sum(abs(x - y) for x, y in byte_pairs(a, b) if y) + c),
}
CLAMPED_WORDS: dict[str, tuple[int, Function]] = {
    "v_add_u32": (2, lambda a, b: clamped(a + b, 0, WORD)),
    "v_sub_u32": (2, lambda a, b: clamped(a - b, 0, WORD)),
    "v_subrev_u32": (2, lambda a, b: clamped(b - a, 0, WORD)),
    "v_add_i32": (2, lambda a, b: clamped(signed(a) + signed(b), -(2**31), 2**31 - 1)),
    "v_sub_i32": (2, lambda a, b: clamped(signed(a) - signed(b), -(2**31), 2**31 - 1)),
    "v_mad_i32_i24": (
        3,
        lambda a, b, c: clamped(signed(a, 24) * signed(b, 24) + signed(c), -(2**31), 2**31 - 1),
    ),
    "v_mad_u32_u24": (3, lambda a, b, c: clamped(low24(a) * low24(b) + c, 0, WORD)),
    "v_mad_u32_u16": (3, lambda a, b, c: clamped((a & 0xFFFF) * (b & 0xFFFF) + c, 0, WORD)),
    "v_mad_i32_i16": (
        3,
        lambda a, b, c: clamped(signed(a, 16) * signed(b, 16) + signed(c), -(2**31), 2**31 - 1),
    ),
}
SELECTORS = (0x00010203, 0x07060504, 0x08090A0B, 0x0C0D0EFF, 0x03020100, 0x0B0A0908)


def check_words(text: str, arch: str, function: Function, sources: list[np.ndarray]) -> None:
    got = words(execute(text, arch, sources), 8)
    lanes = zip(*(s.tolist() for s in sources), strict=True)
    wanted = np.array([function(*lane) & WORD for lane in lanes], np.uint32)
    good = got == wanted
    assert good.all(), show(got, wanted, good, sources)


def operands(arity: int) -> str:
    return ", ".join(("v2", "v4", "v6")[:arity])


@pytest.mark.parametrize("name", WORD_OPERATIONS)
def test_32_bits(name: str) -> None:
    arity, function = WORD_OPERATIONS[name]
    check_words(f"{name} v8, {operands(arity)}", "gfx942", function, tuples(WORDS, arity, np.uint32))


@pytest.mark.parametrize("name", CLAMPED_WORDS)
def test_32_bits_clamped(name: str) -> None:
    arity, function = CLAMPED_WORDS[name]
    check_words(f"{name} v8, {operands(arity)} clamp", "gfx942", function, tuples(WORDS, arity, np.uint32))


def test_permutation_with_every_kind_of_selector() -> None:
    check_words("v_perm_b32 v8, v2, v4, v6", "gfx942", permuted, tuples(SELECTORS + WORDS[-4:], 3, np.uint32))


@pytest.mark.parametrize("selector", [*SELECTORS, 0x07060302, 0x05040100])
def test_permutation_alike_in_all_lanes(selector: int) -> None:
    def function(a: int, b: int) -> int:
        return permuted(a, b, selector)

    text = f"s_mov_b32 s4, {selector:#x}\nv_perm_b32 v8, v2, v4, s4"
    check_words(text, "gfx942", function, tuples(WORDS, 2, np.uint32))
    in_place = "\n".join([text.replace("v8", "v2"), "v_mov_b32 v8, v2"])
    check_words(in_place, "gfx942", function, tuples(WORDS, 2, np.uint32))


def test_pseudo_random_step_of_gfx950() -> None:
    def step(a: int) -> int:
        return a << 1 ^ (197 if a >> 31 else 0)

    check_words("v_prng_b32 v8, v2", "gfx950", step, tuples(WORDS, 1, np.uint32))


@pytest.mark.parametrize("table", [0x00, 0x01, 0x80, 0xFF, 0x6C, 0xCA, 0x96, 0xE8, 0x35])
def test_any_function_of_three_bits(table: int) -> None:
    def looked_up(a: int, b: int, c: int) -> int:
        return sum((table >> (4 * (a >> n & 1) + 2 * (b >> n & 1) + (c >> n & 1)) & 1) << n for n in range(32))

    sources = tuples(WORDS, 3, np.uint32)
    check_words(f"v_bitop3_b32 v8, v2, v4, v6 bitop3:{table:#x}", "gfx950", looked_up, sources)

    def lower_half(a: int, b: int, c: int) -> int:
        return looked_up(a, b, c) & 0xFFFF

    # The upper half of the destination stays; it is 0 in the lab.
    check_words(f"v_bitop3_b16 v8, v2, v4, v6 bitop3:{table:#x}", "gfx950", lower_half, sources)


@pytest.mark.parametrize(("name", "low", "high"), [("v_ashr_pk_i8_i32", -128, 127), ("v_ashr_pk_u8_i32", 0, 255)])
def test_shifts_that_saturate_to_two_bytes(name: str, low: int, high: int) -> None:
    def pair(a: int, b: int, c: int) -> int:
        first, second = (clamped(signed(x) >> c % 32, low, high) & 255 for x in (a, b))
        return first | second << 8

    check_words(f"{name} v8, v2, v4, v6", "gfx950", pair, tuples(WORDS, 3, np.uint32))


@pytest.mark.parametrize("exec_mask", [0xFFFFFFFFFFFFFFFF, 0x8000000000000001, 0xFFFFFFFF, 0])
def test_counting_the_lanes_below(exec_mask: int) -> None:
    text = "v_mbcnt_lo_u32_b32 v8, v2, v4\nv_mbcnt_hi_u32_b32 v9, v6, v8"
    sources = tuples(WORDS, 3, np.uint32)
    state = execute(text, "gfx942", sources, exec=exec_mask)
    for place in range(len(sources[0])):
        lane = place % LANES
        low, base, high = (int(s[place]) for s in sources)
        below = (1 << lane) - 1
        lower = base + (low & below & WORD).bit_count()
        wanted = [lower & WORD, lower + (high & below >> 32).bit_count() & WORD] if exec_mask >> lane & 1 else [0, 0]
        assert [int(words(state, 8)[place]), int(words(state, 9)[place])] == wanted


# ---- 16 bits -------------------------------------------------------------------------------------------------------

HALF_OPERATIONS: dict[str, tuple[int, bool, Function]] = {  # sources, whether the upper half stays
    "v_add_u16": (2, False, lambda a, b: a + b),
    "v_sub_u16": (2, False, lambda a, b: a - b),
    "v_subrev_u16": (2, False, lambda a, b: b - a),
    "v_mul_lo_u16": (2, False, lambda a, b: a * b),
    "v_lshlrev_b16": (2, False, lambda a, b: b << a % 16),
    "v_lshrrev_b16": (2, False, lambda a, b: b >> a % 16),
    "v_ashrrev_i16": (2, False, lambda a, b: signed(b, 16) >> a % 16),
    "v_max_u16": (2, False, max),
    "v_min_u16": (2, False, min),
    "v_max_i16": (2, False, lambda a, b: max(signed(a, 16), signed(b, 16))),
    "v_min_i16": (2, False, lambda a, b: min(signed(a, 16), signed(b, 16))),
    "v_add_i16": (2, True, lambda a, b: a + b),
    "v_sub_i16": (2, True, lambda a, b: a - b),
    "v_mad_u16": (3, True, lambda a, b, c: a * b + c),
    "v_mad_i16": (3, True, lambda a, b, c: a * b + c),
    "v_min3_u16": (3, True, lambda *s: min(s)),
    "v_max3_u16": (3, True, lambda *s: max(s)),
    "v_med3_u16": (3, True, median),
    "v_min3_i16": (3, True, lambda *s: min(signed(x, 16) for x in s)),
    "v_max3_i16": (3, True, lambda *s: max(signed(x, 16) for x in s)),
    "v_med3_i16": (3, True, lambda *s: median(*(signed(x, 16) for x in s))),
}
CLAMPED_HALVES: dict[str, tuple[int, bool, Function]] = {
    "v_add_u16": (2, False, lambda a, b: clamped(a + b, 0, 0xFFFF)),
    "v_sub_u16": (2, False, lambda a, b: clamped(a - b, 0, 0xFFFF)),
    "v_subrev_u16": (2, False, lambda a, b: clamped(b - a, 0, 0xFFFF)),
    "v_add_i16": (2, True, lambda a, b: clamped(signed(a, 16) + signed(b, 16), -0x8000, 0x7FFF)),
    "v_sub_i16": (2, True, lambda a, b: clamped(signed(a, 16) - signed(b, 16), -0x8000, 0x7FFF)),
    "v_mad_u16": (3, True, lambda a, b, c: clamped(a * b + c, 0, 0xFFFF)),
    "v_mad_i16": (
        3,
        True,
        lambda a, b, c: clamped(signed(a, 16) * signed(b, 16) + signed(c, 16), -0x8000, 0x7FFF),
    ),
}


def check_halves(text: str, keeps: bool, function: Function, halves: list[np.ndarray]) -> None:
    """What stands in the sources' upper halves must not matter."""
    noise = np.random.default_rng(1).integers(0, 2**16, len(halves[0]), dtype=np.uint32)
    sources = [half.astype(np.uint32) | noise << np.uint32(16) for half in halves]
    got = words(execute(text, "gfx942", sources, vgprs={8: OLD}), 8)
    upper = OLD & 0xFFFF0000 if keeps else 0
    lanes = zip(*(h.tolist() for h in halves), strict=True)
    wanted = np.array([function(*lane) & 0xFFFF | upper for lane in lanes], np.uint32)
    good = got == wanted
    assert good.all(), show(got, wanted, good, halves)


@pytest.mark.parametrize("name", HALF_OPERATIONS)
def test_16_bits(name: str) -> None:
    arity, keeps, function = HALF_OPERATIONS[name]
    check_halves(f"{name} v8, {operands(arity)}", keeps, function, tuples(HALVES, arity, np.uint16))


@pytest.mark.parametrize("name", CLAMPED_HALVES)
def test_16_bits_clamped(name: str) -> None:
    arity, keeps, function = CLAMPED_HALVES[name]
    check_halves(f"{name} v8, {operands(arity)} clamp", keeps, function, tuples(HALVES, arity, np.uint16))


# ---- carries and 64 bits -------------------------------------------------------------------------------------------

CARRIES: dict[str, tuple[bool, Function]] = {
    "v_add_co_u32": (False, lambda a, b, c: a + b),
    "v_sub_co_u32": (False, lambda a, b, c: a - b),
    "v_subrev_co_u32": (False, lambda a, b, c: b - a),
    "v_addc_co_u32": (True, lambda a, b, c: a + b + c),
    "v_subb_co_u32": (True, lambda a, b, c: a - b - c),
    "v_subbrev_co_u32": (True, lambda a, b, c: b - a - c),
}


@pytest.mark.parametrize("clamp", ["", " clamp"])
@pytest.mark.parametrize("exec_mask", [0xFFFFFFFFFFFFFFFF, 0x123456789ABCDEF0])
@pytest.mark.parametrize("name", CARRIES)
def test_carries_in_and_out(name: str, exec_mask: int, clamp: str) -> None:
    reads, function = CARRIES[name]
    carries = 0x5A5A_F00F_1234_8765
    text = f"{name} v8, s[10:11], v2, v4" + (", s[12:13]" if reads else "") + clamp
    a, b = tuples(WORDS, 2, np.uint32)
    state = execute(text, "gfx942", [a, b], sgprs={12: carries, 10: 2**64 - 1}, exec=exec_mask)
    results, flags = words(state, 8), masks(state, 10)
    for place, (x, y) in enumerate(zip(a.tolist(), b.tolist(), strict=True)):
        exact = function(x, y, carries >> place % LANES & 1)
        on = exec_mask >> place % LANES & 1
        wanted = clamped(exact, 0, WORD) if clamp else exact & WORD
        assert int(results[place]) == (wanted if on else 0)
        assert bool(flags[place]) == bool(on and not 0 <= exact <= WORD)


def test_carry_through_vcc() -> None:
    a, b = tuples(DOUBLES, 2, np.uint64)
    text = "v_add_co_u32 v8, vcc, v2, v4\nv_addc_co_u32 v9, vcc, v3, v5, vcc"
    state = execute(text, "gfx942", [a, b])
    assert (wide(state, 8) == a + b).all()
    assert (masks(state, 106) == (a + b < a)).all()


SHIFTS: dict[str, Function] = {
    "v_lshlrev_b64": lambda count, a: a << count % 64,
    "v_lshrrev_b64": lambda count, a: a >> count % 64,
    "v_ashrrev_i64": lambda count, a: signed(a, 64) >> count % 64,
}


@pytest.mark.parametrize("name", SHIFTS)
def test_shifts_of_64_bits(name: str) -> None:
    counts, values = tuples(DOUBLES, 2, np.uint64)
    counts = (counts ^ np.arange(len(counts), dtype=np.uint64)).astype(np.uint32)
    state = execute(f"{name} v[8:9], v2, v[4:5]", "gfx942", [counts, values])
    pairs = zip(counts.tolist(), values.tolist(), strict=True)
    wanted = np.array([SHIFTS[name](count, value) % 2**64 for count, value in pairs], np.uint64)
    assert (wide(state, 8) == wanted).all()


def test_shift_in_place() -> None:
    values = tuples(DOUBLES, 1, np.uint64)[0]
    state = execute("v_lshlrev_b64 v[2:3], 4, v[2:3]", "gfx942", [values])
    assert (wide(state, 2) == values << np.uint64(4)).all()


def test_add_to_a_shifted_64_bit_number() -> None:
    a, c = tuples(DOUBLES, 2, np.uint64)
    counts = np.arange(len(a), dtype=np.uint32)
    state = execute("v_lshl_add_u64 v[8:9], v[2:3], v6, v[4:5]", "gfx942", [a, c, counts])
    assert (wide(state, 8) == (a << (counts & 7).astype(np.uint64)) + c).all()


@pytest.mark.parametrize(("name", "is_signed"), [("v_mad_u64_u32", False), ("v_mad_i64_i32", True)])
def test_64_bit_sum_of_a_product_with_its_65th_bit(name: str, is_signed: bool) -> None:
    a, b = tuples(WORDS, 2, np.uint32)
    c = np.resize(tuples(DOUBLES, 1, np.uint64)[0], len(a))
    state = execute(f"{name} v[8:9], s[10:11], v2, v4, v[6:7]", "gfx942", [a, b, c])
    results, flags = wide(state, 8), masks(state, 10)
    for place in range(len(a)):
        x, y, z = int(a[place]), int(b[place]), int(c[place])
        if is_signed:
            x, y, z = signed(x), signed(y), signed(z, 64)
        exact = x * y + z
        assert int(results[place]) == exact % 2**64
        assert bool(flags[place]) == bool(exact >> 64 & 1)


def test_scalars_and_constants_as_sources() -> None:
    a = tuples(WORDS, 1, np.uint32)[0]
    state = execute("v_add3_u32 v8, v2, s4, -16\nv_and_b32 v9, 0x12345678, v2", "gfx942", [a], sgprs={4: 0x80000001})
    assert (words(state, 8) == a + np.uint32(0x80000001) - np.uint32(16)).all()
    assert (words(state, 9) == (a & np.uint32(0x12345678))).all()
