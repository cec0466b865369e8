"""v_cvt_* between integers and floats, and the scaled and stochastic conversions of gfx950."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from stream import stream

from cdna_emulator import lab

Array = npt.NDArray[Any]
BOTH = ("gfx942", "gfx950")
RNG = np.random.default_rng(21)
EDGES = [
    0.0,
    -0.0,
    0.5,
    -0.5,
    0.99999994,
    -0.99999994,
    1.5,
    -1.5,
    2.5,
    127.5,
    65535.0,
    65536.0,
    2147483520.0,
    2147483648.0,
]
EDGES += [-2147483648.0, -2147483904.0, 4294967040.0, 4294967296.0, 1e30, -1e30, np.inf, -np.inf, np.nan, 1e-42, -1e-42]
INTEGERS = np.concatenate(
    [
        RNG.integers(0, 1 << 32, 100_000, dtype=np.uint64).astype(np.uint32),
        np.array([0, 1, 255, 0x7FFFFFFF, 0x80000000, 0x80000001, 0xFFFFFFFF, 0x01000001, 0x01000003], np.uint32),
    ]
)


def floats() -> Array:
    bits = RNG.integers(0, 1 << 32, 100_000, dtype=np.uint64).astype(np.uint32).view(np.float32)
    near = (RNG.standard_normal(100_000) * 2.0 ** RNG.integers(-3, 34, 100_000)).astype(np.float32)
    return np.concatenate([bits, near, np.array(EDGES, np.float32)])


def clipped(values: Array, low: float, high: float) -> Array:
    numbers = np.where(np.isnan(values), 0, values).astype(np.float64)
    return np.clip(np.trunc(numbers), low, high).astype(np.int64)


# ---- integers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arch", BOTH)
def test_floats_to_integers_truncate_and_saturate(arch: str) -> None:
    values = floats()
    signed, unsigned = clipped(values, -(2**31), 2**31 - 1), clipped(values, 0, 2**32 - 1)
    assert np.array_equal(stream("v_cvt_i32_f32 v10, v1", arch, values)[0].view(np.int32), signed)
    assert np.array_equal(stream("v_cvt_u32_f32 v10, v1", arch, values)[0], unsigned)
    negative = clipped(-np.abs(values), -(2**31), 0)
    assert np.array_equal(stream("v_cvt_i32_f32 v10, -|v1|", arch, values)[0].view(np.int32), negative)


@pytest.mark.parametrize("arch", BOTH)
def test_floor_and_round_half_up_to_integers(arch: str) -> None:
    values = floats()
    values = values[~np.isnan(values)]
    floor = np.clip(np.floor(values.astype(np.float64)), -(2**31), 2**31 - 1).astype(np.int64)
    with np.errstate(over="ignore"):
        half_up = np.floor(values + np.float32(0.5)).astype(np.float64)
    assert np.array_equal(stream("v_cvt_flr_i32_f32 v10, v1", arch, values)[0].view(np.int32), floor)
    got = stream("v_cvt_rpi_i32_f32 v10, v1", arch, values)[0].view(np.int32)
    assert np.array_equal(got, np.clip(half_up, -(2**31), 2**31 - 1).astype(np.int64))


@pytest.mark.parametrize("arch", BOTH)
def test_integers_to_floats_round_to_even(arch: str) -> None:
    signed = INTEGERS.view(np.int32)
    assert np.array_equal(
        stream("v_cvt_f32_i32 v10, v1", arch, INTEGERS).view(np.float32)[0], signed.astype(np.float32)
    )
    assert np.array_equal(
        stream("v_cvt_f32_u32 v10, v1", arch, INTEGERS).view(np.float32)[0], INTEGERS.astype(np.float32)
    )
    for byte in range(4):
        got = stream(f"v_cvt_f32_ubyte{byte} v10, v1", arch, INTEGERS).view(np.float32)[0]
        assert np.array_equal(got, (INTEGERS >> 8 * byte & 255).astype(np.float32))
    got = stream("v_cvt_off_f32_i4 v10, v1", arch, INTEGERS).view(np.float32)[0]
    nibble = (INTEGERS & 15).astype(np.int64)
    assert np.array_equal(got, (nibble - 16 * (nibble > 7)) / np.float32(16))


@pytest.mark.parametrize("arch", BOTH)
def test_doubles(arch: str) -> None:
    bits = RNG.integers(0, 1 << 64, 100_000, dtype=np.uint64).view(np.float64)
    near = RNG.standard_normal(100_000) * 2.0 ** RNG.integers(-140, 130, 100_000)
    edges = np.array(
        [*EDGES, 2147483647.5, -2147483648.5, 4294967295.5, 2.0**-149, 2.0**-150, 3 * 2.0**-150], np.float64
    )
    values = np.concatenate([bits, near, edges])
    narrow = torch.from_numpy(values).float().numpy()
    signed, unsigned = clipped(values, -(2**31), 2**31 - 1), clipped(values, 0, 2**32 - 1)
    got = stream("v_cvt_f32_f64 v10, v[2:3]", arch, values).view(np.float32)[0]
    assert np.array_equal(got.view(np.uint32)[~np.isnan(narrow)], narrow.view(np.uint32)[~np.isnan(narrow)])
    assert np.isnan(got[np.isnan(narrow)]).all()
    assert np.array_equal(stream("v_cvt_i32_f64 v10, v[2:3]", arch, values)[0].view(np.int32), signed)
    assert np.array_equal(stream("v_cvt_u32_f64 v10, v[2:3]", arch, values)[0], unsigned)


@pytest.mark.parametrize("arch", BOTH)
def test_to_doubles(arch: str) -> None:
    def joined(words: Array) -> Array:
        return (words[0].astype(np.uint64) | words[1].astype(np.uint64) << np.uint64(32)).view(np.float64)

    got = joined(stream("v_cvt_f64_i32 v[10:11], v1", arch, INTEGERS, results=2))
    assert np.array_equal(got, INTEGERS.view(np.int32).astype(np.float64))
    got = joined(stream("v_cvt_f64_u32 v[10:11], v1", arch, INTEGERS, results=2))
    assert np.array_equal(got, INTEGERS.astype(np.float64))
    values = floats()
    got = joined(stream("v_cvt_f64_f32 v[10:11], -v1", arch, values, results=2))
    numbers = ~np.isnan(values)
    assert np.array_equal(got[numbers].view(np.uint64), (-values[numbers].astype(np.float64)).view(np.uint64))
    assert np.isnan(got[~numbers]).all()


@pytest.mark.parametrize("arch", BOTH)
def test_halves_and_16_bit_integers(arch: str) -> None:
    codes = np.arange(65536, dtype=np.uint32)
    halves = codes.astype(np.uint16).view(np.float16)
    garbage = codes | 0x12340000
    assert np.array_equal(stream("v_cvt_u16_f16 v10, v1", arch, garbage)[0], clipped(halves, 0, 65535))
    got = stream("v_cvt_i16_f16 v10, v1", arch, garbage)[0]
    assert np.array_equal(got.astype(np.uint16).view(np.int16), clipped(halves, -32768, 32767))
    assert not np.any(got >> 16)
    with np.errstate(over="ignore"):
        from_unsigned = codes.astype(np.float32).astype(np.float16)
        from_signed = codes.astype(np.uint16).view(np.int16).astype(np.float32).astype(np.float16)
    got = stream("v_cvt_f16_u16 v10, v1", arch, garbage)[0]
    assert np.array_equal(got, from_unsigned.view(np.uint16))
    assert np.array_equal(stream("v_cvt_f16_i16 v10, v1", arch, garbage)[0], from_signed.view(np.uint16))


@pytest.mark.parametrize("arch", BOTH)
def test_pairs_of_integers_saturate(arch: str) -> None:
    other = INTEGERS[::-1].copy()
    small = (INTEGERS & 0x1FFFF) - np.uint32(0x8000)
    for values in (INTEGERS, small):
        got = stream("v_cvt_pk_u16_u32 v10, v1, v2", arch, values, other)[0]
        assert np.array_equal(got & 0xFFFF, np.minimum(values, 0xFFFF))
        assert np.array_equal(got >> 16, np.minimum(other, 0xFFFF))
        got = stream("v_cvt_pk_i16_i32 v10, v1, v2", arch, values, other)[0]
        signed = np.clip(values.view(np.int32), -32768, 32767)
        assert np.array_equal((got & 0xFFFF).astype(np.uint16).view(np.int16), signed)


# ---- modifiers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arch", BOTH)
def test_parts_dpp_clamp_and_exec(arch: str) -> None:
    lane = np.arange(64, dtype=np.uint32)
    words = lane * np.uint32(0x01030507) ^ np.uint32(0x80FF0001)
    state = lab.run("v_cvt_f32_i32_sdwa v10, sext(v1) src0_sel:BYTE_2", arch, vgprs={1: words})
    assert np.array_equal(state.f32(10), words.view(np.int8).reshape(64, 4)[:, 2].astype(np.float32))
    state = lab.run("v_cvt_f32_u32_dpp v10, v1 row_ror:1", arch, vgprs={1: lane})
    assert np.array_equal(state.f32(10), (lane & ~np.uint32(15)) + (lane - 1 & 15))
    state = lab.run("v_cvt_f32_u32_e64 v10, v1 clamp", arch, vgprs={1: lane}, exec=0xFFFF, mode=0x2F0)
    assert np.array_equal(state.f32(10), np.where(lane < 16, np.minimum(lane, 1), 0))
    halves = np.array([1.5, -2.0] * 32, np.float32)
    text = "v_cvt_f16_f32_sdwa v10, v1 dst_sel:WORD_1 dst_unused:UNUSED_PRESERVE"
    state = lab.run(text, arch, vgprs={1: halves, 10: 0xAAAA5555})
    assert np.array_equal(state.v[10], halves.astype(np.float16).view(np.uint16).astype(np.uint32) << 16 | 0x5555)


@pytest.mark.parametrize("arch", BOTH)
def test_denormals_follow_mode(arch: str) -> None:
    flush_out = lab.MODE_AS_COMPILED & ~(1 << 7)
    state = lab.run("v_cvt_f16_f32 v10, v1", arch, vgprs={1: 2.0**-20}, mode=flush_out)
    assert not state.v[10].any()
    state = lab.run("v_cvt_f32_f16 v10, v1", arch, vgprs={1: 0x8001}, mode=lab.MODE_AS_COMPILED & ~(1 << 6))
    assert np.array_equal(state.v[10], np.full(64, 0x80000000))
    state = lab.run(
        "v_cvt_f32_f64 v10, v[2:3]", arch, vgprs={2: np.full(64, 2.0**-140)}, mode=lab.MODE_AS_COMPILED & ~(1 << 5)
    )
    assert not state.v[10].any()


@pytest.mark.parametrize("arch", BOTH)
def test_a_rounding_mode_that_is_not_modelled_stops(arch: str) -> None:
    with pytest.raises(lab.LabFault, match="FP_ROUND"):
        lab.run("v_cvt_f32_u32 v10, v1", arch, mode=lab.MODE_AS_COMPILED | 3)


# ---- scaled ---------------------------------------------------------------------------------------------------


def codes_of(kind: str) -> Array:
    """Values of the codes of one sign, ascending from 0; without NaN and infinity. Stated here format by format."""
    if kind in ("fp8", "bf8"):
        dtype = {"fp8": torch.float8_e4m3fn, "bf8": torch.float8_e5m2}[kind]
        values = torch.arange(128).to(torch.uint8).view(dtype).double().numpy()
        return values[np.isfinite(values)]
    if kind == "fp4":
        return np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    if kind == "fp6":
        return np.concatenate([np.arange(8) / 8, 1 + np.arange(8) / 8, 2 + np.arange(8) / 4, 4 + np.arange(8) / 2])
    groups = [np.arange(4) / 16, *(2.0 ** (e - 3) * (1 + np.arange(4) / 4) for e in range(1, 8))]
    return np.concatenate(groups)  # bf6


SIGN = {"fp8": 0x80, "bf8": 0x80, "fp6": 0x20, "bf6": 0x20, "fp4": 0x8}
OVERFLOW = {"fp8": 0x7F, "bf8": 0x7C, "fp6": 0x1F, "bf6": 0x1F, "fp4": 0x7}  # without FP16_OVFL


def nearest_code(values: Array, kind: str) -> Array:
    """To nearest, ties to the even code, by searching among all numbers of the format."""
    table, magnitude = codes_of(kind), np.abs(values)
    step = table[-1] - table[-2]
    points = (np.append(table, table[-1] + step)[1:] + table) / 2
    code = np.searchsorted(points, magnitude, side="left")  # a tie goes down ...
    tie = np.isin(magnitude, points)
    code = np.where(tie & (code % 2 == 1), code + 1, code)  # ... unless the lower code is odd
    code = np.where(code >= len(table), OVERFLOW[kind], code)
    return np.where(np.signbit(values), code | SIGN[kind], code).astype(np.uint32)


def wide(kind: str, values: Array) -> Array:
    """The values as 32-bit words that hold one number of the kind at the bottom."""
    if kind == "f32":
        return values.astype(np.float32).view(np.uint32)
    return (
        torch.from_numpy(values)
        .to(torch.float16 if kind == "f16" else torch.bfloat16)
        .view(torch.uint16)
        .numpy()
        .astype(np.uint32)
    )


def of_wide(kind: str, words: Array) -> Array:
    if kind == "f32":
        return words.view(np.float32).astype(np.float64)
    if kind == "f16":
        return (words & 0xFFFF).astype(np.uint16).view(np.float16).astype(np.float64)
    return (words << 16).view(np.float32).astype(np.float64)


def scaled_input(count: int = 40_000) -> tuple[Array, Array, Array, Array]:
    """Two arrays of values, the exponents of their scale, and the scale as float32 with a fraction to be ignored."""
    exponent = RNG.integers(-10, 11, count)
    a, b = (RNG.standard_normal((2, count)) * 2.0 ** RNG.integers(-6, 8, (2, count))).astype(np.float16)
    a[: count // 2] = np.round(a[: count // 2] * 4) / 4  # ties
    scale = (2.0**exponent * RNG.uniform(1, 2, count)).astype(np.float32)
    return a, b, exponent, scale


@pytest.mark.parametrize("source", ["f32", "f16", "bf16"])
@pytest.mark.parametrize("kind", ["fp8", "bf8", "fp4"])
def test_pairs_divided_by_the_scale_and_put_where_op_sel_says(kind: str, source: str) -> None:
    a, b, exponent, scale = scaled_input()
    words = [wide(source, values.astype(np.float32)) for values in (a, b)]
    exact = [of_wide(source, each) * 2.0**-exponent for each in words]
    low, high = (nearest_code(each, kind) for each in exact)
    bits = 4 if kind == "fp4" else 8
    both = low | high << bits
    by_byte = [(f" op_sel:[0,0,{n & 1},{n >> 1}]", 8 * n) for n in range(4)]
    by_half = [("", 0), (" op_sel:[0,0,0,1]" if source == "f32" else " op_sel:[0,0,1]", 16)]
    if source != "f32":
        words = [words[0] | words[1] << 16]
    operands = "v1, v2, v3" if source == "f32" else "v1, v2"
    for modifier, shift in by_byte if bits == 4 else by_half:
        conversion = f"v_cvt_scalef32_pk_{kind}_{source} v10, {operands}{modifier}"
        text = f"v_mov_b32 v10, 0x12345678\n{conversion}"
        got = stream(text, "gfx950", *words, scale)[0]
        mask = np.uint32(((1 << 2 * bits) - 1) << shift)
        assert np.array_equal(got, np.uint32(0x12345678) & ~mask | both << np.uint32(shift))


@pytest.mark.parametrize("result", ["f32", "f16", "bf16"])
@pytest.mark.parametrize("kind", ["fp8", "bf8", "fp4"])
def test_pairs_multiplied_by_the_scale(kind: str, result: str) -> None:
    words = RNG.integers(0, 1 << 32, 20_000, dtype=np.uint64).astype(np.uint32)
    exponent = RNG.integers(-30, 20, len(words))
    scale = (2.0**exponent).astype(np.float32)
    bits = 4 if kind == "fp4" else 8
    table = np.full(1 << bits, np.nan)
    table[: len(codes_of(kind))] = codes_of(kind)
    if kind == "bf8":
        table[0x7C] = np.inf
    table[SIGN[kind] :] = -table[: SIGN[kind]]
    choices = (
        [(f" op_sel:[{n & 1},{n >> 1},0]", 8 * n) for n in range(4)]
        if bits == 4
        else [("", 0), (" op_sel:[1,0,0]", 16)]
    )
    for modifier, shift in choices:
        results = 2 if result == "f32" else 1
        target = "v[10:11]" if results == 2 else "v10"
        got = stream(
            f"v_cvt_scalef32_pk_{result}_{kind} {target}, v1, v2{modifier}", "gfx950", words, scale, results=results
        )
        halves = got if results == 2 else [got[0] & 0xFFFF, got[0] >> 16]
        for number, half in enumerate(halves):
            values = table[words >> np.uint32(shift + bits * number) & ((1 << bits) - 1)] * 2.0**exponent
            with np.errstate(over="ignore", under="ignore"):
                expected = of_wide(result, wide(result, values.astype(np.float32)))
            assert np.array_equal(of_wide(result, half), expected, equal_nan=True)


@pytest.mark.parametrize("kind", ["fp8", "bf8"])
@pytest.mark.parametrize("other", ["f32", "f16", "bf16"])
@pytest.mark.parametrize("mode", [lab.MODE_AS_COMPILED, lab.MODE_AS_COMPILED | 1 << 23], ids=["default", "saturating"])
def test_a_constant_scale_of_one_does_what_a_register_of_ones_does(kind: str, other: str, mode: int) -> None:
    words = np.concatenate([floats().view(np.uint32), INTEGERS])
    ones = np.ones(len(words), np.float32)
    operands = "v1, v2" if other == "f32" else "v1"
    narrow = f"v_cvt_scalef32_pk_{kind}_{other} v10, {operands}"
    from_constant = stream(f"v_mov_b32 v10, 0\n{narrow}, 1.0", "gfx950", words, words[::-1].copy(), mode=mode)
    from_register = stream(f"v_mov_b32 v10, 0\n{narrow}, v3", "gfx950", words, words[::-1].copy(), ones, mode=mode)
    assert np.array_equal(from_constant, from_register)
    results, target = (2, "v[10:11]") if other == "f32" else (1, "v10")
    widen = f"v_cvt_scalef32_pk_{other}_{kind} {target}, v1"
    from_constant = stream(f"{widen}, 1.0", "gfx950", words, results=results, mode=mode)
    from_register = stream(f"{widen}, v2", "gfx950", words, ones, results=results, mode=mode)
    assert np.array_equal(from_constant, from_register)


@pytest.mark.parametrize("kind", ["fp8", "bf8"])
def test_single_bytes_multiplied_by_the_scale(kind: str) -> None:
    words = RNG.integers(0, 1 << 32, 4096, dtype=np.uint64).astype(np.uint32)
    dtype = {"fp8": torch.float8_e4m3fn, "bf8": torch.float8_e5m2}[kind]
    values = torch.from_numpy(words.view(np.uint8).reshape(-1, 4)).view(dtype).double().numpy()
    scale = np.full(len(words), 0.25, np.float32)
    for byte in range(4):
        select = f"op_sel:[{byte & 1},{byte >> 1}"
        got = stream(f"v_cvt_scalef32_f32_{kind} v10, v1, v2 {select},0]", "gfx950", words, scale)[0]
        assert np.array_equal(of_wide("f32", got), values[:, byte] / 4, equal_nan=True)
        text = f"v_mov_b32 v10, 0x12345678\nv_cvt_scalef32_f16_{kind} v10, v1, v2 {select},1]"
        got = stream(text, "gfx950", words, scale)[0]
        assert np.array_equal(got & 0xFFFF, np.full(len(got), 0x5678))
        with np.errstate(under="ignore"):
            expected = (values[:, byte] / 4).astype(np.float16).astype(np.float64)
        assert np.array_equal(of_wide("f16", got >> 16), expected, equal_nan=True)


def packed_six(codes: Array) -> Array:
    """[32, 64] codes to [6, 64] words."""
    words = np.zeros((6, 64), np.uint64)
    for number, row in enumerate(codes.astype(np.uint64)):
        word, shift = divmod(6 * number, 32)
        words[word] |= row << np.uint64(shift)
        if shift > 26:
            words[word + 1] |= row >> np.uint64(32 - shift)
    return (words & np.uint64(0xFFFFFFFF)).astype(np.uint32)


@pytest.mark.parametrize("kind", ["fp6", "bf6"])
@pytest.mark.parametrize("wide_kind", ["f32", "f16", "bf16"])
def test_32_numbers_of_six_bits(kind: str, wide_kind: str) -> None:
    codes = RNG.integers(0, 64, (32, 64))
    table = np.concatenate([codes_of(kind), -codes_of(kind)])
    vgprs: dict[int, Any] = dict(enumerate(packed_six(codes)))
    count = 32 if wide_kind == "f32" else 16
    text = f"v_cvt_scalef32_pk32_{wide_kind}_{kind} v[10:{9 + count}], v[0:5], v6"
    state = lab.run(text, "gfx950", vgprs=vgprs | {6: 4.0})
    for number in range(32):
        half = state.v[10 + number] if count == 32 else state.v[10 + number // 2] >> (16 * (number % 2))
        assert np.array_equal(of_wide(wide_kind, half), table[codes[number]] * 4)


@pytest.mark.parametrize("kind", ["fp6", "bf6"])
@pytest.mark.parametrize("source", ["f32", "f16", "bf16"])
def test_32_numbers_to_six_bits(kind: str, source: str) -> None:
    values = (RNG.standard_normal((32, 64)) * 2.0 ** RNG.integers(-4, 5, (32, 64))).astype(np.float32)
    words = wide(source, values)
    exact = of_wide(source, words) / 2
    expected = packed_six(nearest_code(exact, kind))
    if source == "f32":  # two halves of 16 registers, elements in turn
        vgprs = {n: words[2 * n] for n in range(16)} | {16 + n: words[2 * n + 1] for n in range(16)}
        text = f"v_cvt_scalef32_2xpk16_{kind}_f32 v[0:5], v[0:15], v[16:31], v40"  # over its own source
    else:
        vgprs = {n: words[2 * n] | words[2 * n + 1] << 16 for n in range(16)}
        text = f"v_cvt_scalef32_pk32_{kind}_{source} v[0:5], v[0:15], v40"
    state = lab.run(text, "gfx950", vgprs=vgprs | {40: 2.0})
    assert np.array_equal(state.v[:6], expected)


def test_scale_without_a_value_makes_nan_and_a_subnormal_one_is_the_least_power() -> None:
    scale = np.array([np.inf, np.nan, 1e-40], np.float32)
    got = (
        stream("v_cvt_scalef32_pk_fp8_f32 v10, v1, v1, v2", "gfx950", np.full(3, 2.0**-120, np.float32), scale)[0]
        & 0xFF
    )
    assert list(got) == [0x7F, 0x7F, int(nearest_code(np.array([2.0**7]), "fp8")[0])]


# ---- stochastic rounding --------------------------------------------------------------------------------------

STOCHASTIC = [
    ("v_cvt_sr_fp8_f32 v10, v1, v2", BOTH, "fp8"),
    ("v_cvt_sr_bf8_f32 v10, v1, v2", BOTH, "bf8"),
    ("v_cvt_scalef32_sr_fp8_f32 v10, v1, v2, 1.0", ("gfx950",), "fp8"),
    ("v_cvt_scalef32_sr_bf8_f32 v10, v1, v2, 1.0", ("gfx950",), "bf8"),
]


def narrow_values(arch: str, kind: str, codes: Array) -> Array:
    dtype = getattr(
        torch,
        {"fp8": "float8_e4m3fn", "bf8": "float8_e5m2"}[kind]
        + ({"fp8": "uz", "bf8": "fnuz"}[kind] if arch == "gfx942" else ""),
    )
    return torch.from_numpy((codes & 0xFF).astype(np.uint8)).view(dtype).double().numpy()


@pytest.mark.parametrize(("text", "arch", "kind"), [(t, a, k) for t, archs, k in STOCHASTIC for a in archs])
def test_random_bits_decide_between_the_two_neighbours(text: str, arch: str, kind: str) -> None:
    values = (RNG.uniform(-200, 200, 50_000) * 2.0 ** RNG.integers(-12, 1, 50_000)).astype(np.float32)
    values = values[np.abs(values) > 2.0**-6]
    least, most, some = (
        narrow_values(arch, kind, stream(text, arch, values, random)[0])
        for random in (
            np.zeros(len(values), np.uint32),
            np.full(len(values), 0xFFFFFFFF, np.uint32),
            RNG.integers(0, 1 << 32, len(values), dtype=np.uint64).astype(np.uint32),
        )
    )
    assert np.all(np.abs(least) <= np.abs(values))
    assert np.all((np.abs(most) >= np.abs(values)) & (np.abs(most) > np.abs(least)) | (most == values))
    assert np.all((some == least) | (some == most))
    share = (values - least) / np.where(most == least, 1, most - least)
    assert abs(np.mean((some == most) & (most != least)) - np.mean(share)) < 0.01  # unbiased


def test_stochastic_bytes_and_halves_go_where_op_sel_says() -> None:
    for byte, select in enumerate(["", " op_sel:[0,0,1,0]", " op_sel:[0,0,0,1]", " op_sel:[0,0,1,1]"]):
        state = lab.run(f"v_cvt_sr_fp8_f32 v10, v1, v2{select}", "gfx950", vgprs={1: 1.0, 10: 0x12345678})
        assert state.v[10][0] == 0x12345678 & ~(255 << 8 * byte) | 0x38 << 8 * byte
    for name, one in (("f16", 0x3C00), ("bf16", 0x3F80)):
        state = lab.run(f"v_cvt_sr_{name}_f32 v10, v1, v2 op_sel:[0,0,1]", "gfx950", vgprs={1: 1.0, 10: 0x12345678})
        assert state.v[10][0] == one << 16 | 0x5678


def test_each_of_two_fp4_has_its_own_random_number() -> None:
    values = np.full(64, 1.25, np.float32)  # halfway: bit 31 of the random number decides
    seeds = np.arange(64, dtype=np.uint32) << 26
    text = "v_cvt_scalef32_sr_pk_fp4_f32 v10, v[2:3], v1, 1.0"
    got = lab.run(text, "gfx950", vgprs={2: values, 3: values, 1: seeds}).v[10] & 0xFF
    second = seeds << 1 ^ np.where(seeds >> 31, 197, 0)
    expected = 2 + (seeds >> 31) | 2 + (second.astype(np.uint32) >> 31) << 4
    assert np.array_equal(got, expected)


def test_conversions_of_gfx950_are_refused_on_gfx942() -> None:
    code = lab.assemble("v_cvt_scalef32_pk_fp8_f32 v10, v1, v2, 1.0", "gfx950")
    with pytest.raises(lab.LabFault, match="no such conversion"):
        lab.run(code, "gfx942")
