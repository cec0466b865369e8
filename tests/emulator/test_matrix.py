"""MFMA against a product in float64, with the register layouts stated here from lane and register to row and column.

The layouts are those of "AMD Instinct MI300 Instruction Set Architecture" (matrix arithmetic instructions) and, for the
8-bit operands of `*_f8f6f4`, of ROCm Composable Kernel's register mapping (test/mx_mfma_op).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from cdna_emulator import lab

Array = npt.NDArray[Any]
LANES = np.arange(64)
BOTH, GFX942, GFX950 = ("gfx942", "gfx950"), ("gfx942",), ("gfx950",)
A, B, C, D = 0, 32, 64, 96  # first registers of the operands in these tests


@dataclass(frozen=True)
class Mfma:
    name: str
    archs: tuple[str, ...]
    m: int
    blocks: int
    k: int
    a: str
    b: str


CASES = [
    Mfma("f32_32x32x1_2b_f32", BOTH, 32, 2, 1, "f32", "f32"),
    Mfma("f32_16x16x1_4b_f32", BOTH, 16, 4, 1, "f32", "f32"),
    Mfma("f32_4x4x1_16b_f32", BOTH, 4, 16, 1, "f32", "f32"),
    Mfma("f32_32x32x2_f32", BOTH, 32, 1, 2, "f32", "f32"),
    Mfma("f32_16x16x4_f32", BOTH, 16, 1, 4, "f32", "f32"),
    Mfma("f32_32x32x4_xf32", GFX942, 32, 1, 4, "xf32", "xf32"),
    Mfma("f32_16x16x8_xf32", GFX942, 16, 1, 8, "xf32", "xf32"),
    *(
        Mfma(f"f32_{shape}_{kind}", archs, m, blocks, k, kind, kind)
        for kind in ("f16", "bf16")
        for shape, archs, m, blocks, k in (
            ("32x32x4_2b", BOTH, 32, 2, 4),
            ("16x16x4_4b", BOTH, 16, 4, 4),
            ("4x4x4_16b", BOTH, 4, 16, 4),
            ("32x32x8", BOTH, 32, 1, 8),
            ("16x16x16", BOTH, 16, 1, 16),
            ("32x32x16", GFX950, 32, 1, 16),
            ("16x16x32", GFX950, 16, 1, 32),
        )
    ),
    *(
        Mfma(f"f32_{shape}_{a}_{b}", BOTH, m, 1, k, a, b)
        for shape, m, k in (("32x32x16", 32, 16), ("16x16x32", 16, 32))
        for a in ("fp8", "bf8")
        for b in ("fp8", "bf8")
    ),
    Mfma("i32_32x32x4_2b_i8", BOTH, 32, 2, 4, "i8", "i8"),
    Mfma("i32_16x16x4_4b_i8", BOTH, 16, 4, 4, "i8", "i8"),
    Mfma("i32_4x4x4_16b_i8", BOTH, 4, 16, 4, "i8", "i8"),
    Mfma("i32_32x32x16_i8", BOTH, 32, 1, 16, "i8", "i8"),
    Mfma("i32_16x16x32_i8", BOTH, 16, 1, 32, "i8", "i8"),
    Mfma("i32_32x32x32_i8", GFX950, 32, 1, 32, "i8", "i8"),
    Mfma("i32_16x16x64_i8", GFX950, 16, 1, 64, "i8", "i8"),
    Mfma("f64_16x16x4_f64", BOTH, 16, 1, 4, "f64", "f64"),
    Mfma("f64_4x4x4_4b_f64", BOTH, 4, 4, 4, "f64", "f64"),
]
ON_ARCH = [pytest.param(case, arch, id=f"{case.name}-{arch}") for case in CASES for arch in case.archs]
BY_NAME = {case.name: case for case in CASES}
BITS = {
    "f64": 64,
    "f32": 32,
    "xf32": 32,
    "f16": 16,
    "bf16": 16,
    "fp8": 8,
    "bf8": 8,
    "i8": 8,
    "fp6": 6,
    "bf6": 6,
    "fp4": 4,
}
F8F6F4 = ("fp8", "bf8", "fp6", "bf6", "fp4")  # by code in cbsz and blgp


# ---- numbers --------------------------------------------------------------------------------------------------


def minifloat(codes: Array, exponent_bits: int, fraction_bits: int, bias: int) -> Array:
    """Values of a format without infinity and NaN (OCP Microscaling Formats, 5.3)."""
    sign = np.where(codes >> (exponent_bits + fraction_bits) & 1, -1.0, 1.0)
    exponent = (codes >> fraction_bits & ((1 << exponent_bits) - 1)).astype(np.int64)
    fraction = (codes & ((1 << fraction_bits) - 1)) / 2.0**fraction_bits
    return sign * np.where(exponent == 0, fraction * 2.0 ** (1 - bias), (1 + fraction) * 2.0 ** (exponent - bias))


def values(codes: Array, kind: str, arch: str) -> Array:
    """float64 of the codes (unsigned integers of the kind's width)."""
    if kind in ("fp6", "bf6", "fp4"):
        return minifloat(codes, *{"fp6": (2, 3, 1), "bf6": (3, 2, 3), "fp4": (2, 1, 1)}[kind])
    if kind in ("fp8", "bf8"):
        names = {"fp8": "float8_e4m3fn", "bf8": "float8_e5m2"}
        dtype = getattr(torch, names[kind] + (("fnuz" if kind == "bf8" else "uz") if arch == "gfx942" else ""))
        return torch.from_numpy(codes.astype(np.uint8)).view(dtype).double().numpy()
    if kind == "i8":
        return codes.astype(np.uint8).view(np.int8).astype(np.float64)
    if kind == "f16":
        return codes.astype(np.uint16).view(np.float16).astype(np.float64)
    if kind == "bf16":
        return (codes.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    if kind == "f64":
        return codes.view(np.float64)
    return codes.astype(np.uint32).view(np.float32).astype(np.float64)


def random_codes(kind: str, shape: tuple[int, ...], rng: np.random.Generator, arch: str) -> Array:
    """Finite numbers of every size, subnormal ones too, but no product near the end of the f32 range."""
    if kind in ("f32", "xf32"):
        codes = rng.standard_normal(shape).astype(np.float32).view(np.uint32)
        return codes & 0xFFFFE000 if kind == "xf32" else codes
    if kind == "f64":
        return rng.standard_normal(shape).view(np.uint64)
    if kind == "bf16":
        return rng.standard_normal(shape).astype(np.float32).view(np.uint32) >> 16
    codes = rng.integers(0, 1 << BITS[kind], shape, dtype=np.uint64)
    return np.where(np.isfinite(values(codes, kind, arch)), codes, 1)


# ---- layouts --------------------------------------------------------------------------------------------------


def place_of_factor(case: Mfma, lane: Array, item: Array, kind: str = "") -> tuple[Array, Array, Array]:
    """(row of A or column of B, k, block) of an item (number of the element in the lane)."""
    m, groups = case.m, 64 // case.m
    if case.name.endswith("f8f6f4"):
        if kind in ("fp8", "bf8"):  # 16 here, 16 half the k further on
            return lane % m, item // 16 * (case.k // 2) + 16 * (lane // m) + item % 16, 0 * lane
        return lane % m, 32 * (lane // m) + item, 0 * lane
    if case.blocks == 1:
        return lane % m, case.k // groups * (lane // m) + item, 0 * lane
    if case.a == "f64":
        return lane % 4, lane // 16, lane // 4 % 4
    return lane % m, item, lane // m


def place_of_result(case: Mfma, lane: Array, item: Array) -> tuple[Array, Array, Array]:
    """(row, column, block) of an element of C or D."""
    if case.a == "f64":
        return (4 * item + lane // 16, lane % 16, 0 * lane) if case.m == 16 else (lane // 4 % 4, lane % 4, lane // 16)
    if case.m == 32:
        return 8 * (item % 16 // 4) + 4 * (lane // 32) + item % 4, lane % 32, item // 16
    if case.m == 16:
        return 4 * (lane // 16) + item % 4, lane % 16, item // 4
    return item, lane % 4, lane // 4


def pack(codes: Array, bits: int) -> Array:
    """[items, lanes] codes to [registers, lanes] of 32 bits, lowest bits first."""
    spread = codes.astype(object) if bits == 64 else codes.astype(np.uint64)
    bit = np.array([(spread >> b & 1).astype(np.uint64) for b in range(bits)])  # [bits, items, lanes]
    stream = bit.transpose(1, 0, 2).reshape(-1, 64)
    words = np.zeros((-(-len(stream) // 32), 64), np.uint64)
    for position, row in enumerate(stream):
        words[position // 32] |= row << np.uint64(position % 32)
    return words.astype(np.uint32)


def factor_registers(case: Mfma, codes: Array, kind: str) -> Array:
    """[blocks, M, K] codes of A (or of B transposed) as registers."""
    items = np.arange(case.k * case.m * case.blocks // 64)[:, None]
    row, k, block = np.broadcast_arrays(*place_of_factor(case, LANES[None, :], items, kind))
    return pack(codes[block, row, k], BITS[kind])


def result_registers(case: Mfma, codes: Array) -> Array:
    """[blocks, M, N] of C as registers."""
    row, column, block = result_places(case)
    return pack(codes[block, row, column], 64 if case.a == "f64" else 32)


def result_places(case: Mfma) -> tuple[Array, ...]:
    items = np.arange(case.m * case.m * case.blocks // 64)[:, None]
    return tuple(np.broadcast_arrays(*place_of_result(case, LANES[None, :], items)))


def read_result(case: Mfma, registers: Array, dtype: Any) -> Array:
    """[blocks, M, N] out of the registers of D."""
    row, column, block = result_places(case)
    if case.a == "f64":
        registers = registers[::2].astype(np.uint64) | registers[1::2].astype(np.uint64) << np.uint64(32)
    result = np.empty((case.blocks, case.m, case.m), dtype)
    result[block, row, column] = registers.view(dtype)
    return result


# ---- running --------------------------------------------------------------------------------------------------


def span(name: str, first: int, count: int) -> str:
    return f"{name}{first}" if count == 1 else f"{name}[{first}:{first + count - 1}]"


def vgprs(**operands: Array) -> dict[int, Array]:
    first = {"a": A, "b": B, "c": C}
    return {first[name] + n: row for name, rows in operands.items() for n, row in enumerate(rows)}


def run_mfma(
    case: Mfma, arch: str, a: Array, b: Array, c: Array | None, *, constant: str = "0", modifiers: str = ""
) -> tuple[Array, lab.State]:
    """Registers of A, B and C (None: the constant) through the instruction; D as [blocks, M, N]."""
    count = case.m * case.m * case.blocks // 64 * (2 if case.a == "f64" else 1)
    third = constant if c is None else span("v", C, count)
    text = (
        f"v_mfma_{case.name} {span('v', D, count)}, {span('v', A, len(a))}, {span('v', B, len(b))}, {third}{modifiers}"
    )
    state = lab.run(text, arch, vgprs=vgprs(a=a, b=b) | ({} if c is None else vgprs(c=c)), exec=0x5)
    registers = np.array([state.v[D + n] for n in range(count)])
    dtype = {"i8": np.int32, "f64": np.float64}.get(case.a, np.float32)
    return read_result(case, registers, dtype), state


def reference(case: Mfma, a: Array, b: Array, c: Array) -> Array:
    return np.einsum("bik,bjk->bij", a, b) + c


def random_case(case: Mfma, arch: str, seed: int) -> tuple[Array, Array, Array, Array, Array, Array]:
    """Codes and values of A [blocks, M, K], B transposed, and C [blocks, M, N]."""
    rng = np.random.default_rng(seed)
    shape = (case.blocks, case.m, case.k)
    a, b = random_codes(case.a, shape, rng, arch), random_codes(case.b, shape, rng, arch)
    square = (case.blocks, case.m, case.m)
    if case.a == "i8":
        c = rng.integers(-(1 << 31), 1 << 31, square, dtype=np.int64).astype(np.int32)
        return a, b, c.view(np.uint32), values(a, "i8", arch), values(b, "i8", arch), c.astype(np.float64)
    if case.a == "f64":
        c64 = rng.standard_normal(square)
        return a, b, c64.view(np.uint64), values(a, "f64", arch), values(b, "f64", arch), c64
    c32 = rng.standard_normal(square).astype(np.float32)
    return a, b, c32.view(np.uint32), values(a, case.a, arch), values(b, case.b, arch), c32.astype(np.float64)


def assert_rounded_once(got: Array, exact: Array, magnitude: Array) -> None:
    """`got` is `exact` within half a unit of f32 and the error of sums of this magnitude in double."""
    bound = np.abs(exact) * 2.0**-24 + magnitude * 2.0**-45 + 2.0**-149
    assert np.all(np.abs(got.astype(np.float64) - exact) <= bound)


@pytest.mark.parametrize(("case", "arch"), ON_ARCH)
def test_product_of_random_numbers_in_every_layout(case: Mfma, arch: str) -> None:
    a, b, c, a_values, b_values, c_values = random_case(case, arch, 1)
    factors = factor_registers(case, a, case.a), factor_registers(case, b, case.b)
    got, state = run_mfma(case, arch, *factors, result_registers(case, c))
    exact = reference(case, a_values, b_values, c_values)
    if case.a == "i8":
        assert np.array_equal(got, exact.astype(np.int64).astype(np.int32))  # wraps
    elif case.a == "f64":
        assert np.allclose(got, exact, rtol=0, atol=1e-14)
    else:
        assert_rounded_once(got, exact, reference(case, np.abs(a_values), np.abs(b_values), np.abs(c_values)))
    assert state.counters.mfma_flops == 2 * case.m * case.m * case.k * case.blocks


@pytest.mark.parametrize("arch", BOTH)
def test_inline_constant_as_c(arch: str) -> None:
    for name, constant, value in (
        ("f32_32x32x8_f16", "1.0", 1.0),
        ("f32_16x16x4_f32", "-4.0", -4.0),
        ("i32_16x16x32_i8", "-3", -3),
        ("f64_16x16x4_f64", "0.5", 0.5),
    ):
        case = BY_NAME[name]
        a, b, _, a_values, b_values, _ = random_case(case, arch, 2)
        factors = factor_registers(case, a, case.a), factor_registers(case, b, case.b)
        got, _ = run_mfma(case, arch, *factors, None, constant=constant)
        assert np.allclose(got, reference(case, a_values, b_values, np.float64(value)), rtol=2e-7, atol=1e-6)


@pytest.mark.parametrize("arch", BOTH)
def test_accumulation_registers_and_a_result_over_its_own_factors(arch: str) -> None:
    case = BY_NAME["f32_32x32x8_bf16"]
    a, b, c, a_values, b_values, c_values = random_case(case, arch, 3)
    registers = vgprs(
        a=factor_registers(case, a, "bf16"), b=factor_registers(case, b, "bf16"), c=result_registers(case, c)
    )
    move = "\n".join(f"v_accvgpr_write_b32 a{n}, v{A + n}" for n in range(2))
    move += "\n" + "\n".join(f"v_accvgpr_write_b32 a{16 + n}, v{C + n}" for n in range(16))
    text = f"{move}\nv_mfma_f32_32x32x8_bf16 a[0:15], a[0:1], v[{B}:{B + 1}], a[16:31]\n"
    text += "\n".join(f"v_accvgpr_read_b32 v{D + n}, a{n}" for n in range(16))
    state = lab.run(text, arch, vgprs=registers)
    got = read_result(case, np.array([state.v[D + n] for n in range(16)]), np.float32)
    exact = reference(case, a_values, b_values, c_values)
    assert_rounded_once(got, exact, np.abs(exact) + 8.0)


@pytest.mark.parametrize("arch", BOTH)
def test_one_rounding_of_the_whole_sum(arch: str) -> None:
    case = BY_NAME["f32_16x16x16_f16"]
    one, tiny = 0x3C00, 0x1000  # 1.0, 2^-11
    a = np.full((1, 16, 16), tiny, np.uint64)
    b = np.full((1, 16, 16), 0x0400, np.uint64)  # 2^-14: each product is 2^-25, 15 of them more than half a unit of 1
    a[..., 0], b[..., 0] = one, one
    got, _ = run_mfma(case, arch, factor_registers(case, a, "f16"), factor_registers(case, b, "f16"), None)
    assert np.all(got == np.float32(1 + 15 * 2.0**-25))
    assert np.all(got > 1)


@pytest.mark.parametrize("arch", BOTH)
def test_subnormal_factors_and_results_are_kept(arch: str) -> None:
    case = BY_NAME["f32_16x16x16_bf16"]
    a = np.zeros((1, 16, 16), np.uint64)
    b = np.zeros((1, 16, 16), np.uint64)
    a[..., 3], b[..., 3] = 0x0001, 0x3F80  # 2^-133 * 1
    got, _ = run_mfma(case, arch, factor_registers(case, a, "bf16"), factor_registers(case, b, "bf16"), None)
    assert np.all(got == np.float32(2.0**-133))


@pytest.mark.parametrize("arch", BOTH)
def test_nan_and_infinity_stay_in_their_rows_and_columns(arch: str) -> None:
    case = BY_NAME["f32_16x16x16_f16"]
    rng = np.random.default_rng(4)
    a, b = (random_codes("f16", (1, 16, 16), rng, arch) for _ in range(2))
    a[0, 2, 5], a[0, 7, 1], b[0, 9, 3] = 0x7E00, 0x7C00, 0xFC00  # NaN; infinity; minus infinity
    with np.errstate(invalid="ignore"):
        a_values, b_values = values(a, "f16", arch), values(b, "f16", arch)
        exact = reference(case, a_values, b_values, np.float64(0))
    got, state = run_mfma(case, arch, factor_registers(case, a, "f16"), factor_registers(case, b, "f16"), None)
    assert np.array_equal(np.isnan(got), np.isnan(exact))
    assert np.isnan(got[0, 2]).all()
    assert np.array_equal(got[np.isinf(exact)], exact[np.isinf(exact)].astype(np.float32))
    assert set(got[np.isnan(got)].view(np.uint32)) == {0x7FC00000}
    assert state.counters.mfma_flops == 2 * 16**3


@pytest.mark.parametrize("arch", BOTH)
@pytest.mark.parametrize(("cbsz", "abid"), [(1, 0), (1, 1), (2, 3), (4, 9)])
def test_a_block_broadcast_to_its_group(arch: str, cbsz: int, abid: int) -> None:
    case = BY_NAME["f32_4x4x4_16b_f16"]
    a, b, c, a_values, b_values, c_values = random_case(case, arch, 5)
    shared = a_values[np.arange(16) >> cbsz << cbsz | abid]
    factors = factor_registers(case, a, "f16"), factor_registers(case, b, "f16")
    got, _ = run_mfma(case, arch, *factors, result_registers(case, c), modifiers=f" cbsz:{cbsz} abid:{abid}")
    exact = reference(case, shared, b_values, c_values)
    assert_rounded_once(got, exact, reference(case, np.abs(shared), np.abs(b_values), np.abs(c_values)))


@pytest.mark.parametrize("modifiers", [" cbsz:1 abid:2", " cbsz:2 abid:1", " blgp:1"])
def test_broadcast_beyond_the_blocks_and_b_patterns_are_refused(modifiers: str) -> None:
    case = BY_NAME["f32_32x32x4_2b_f16"]
    zeros = np.zeros((2, 64), np.uint32)
    with pytest.raises(lab.LabFault, match=r"cbsz|blgp"):
        run_mfma(case, "gfx942", zeros, zeros, None, modifiers=modifiers)


@pytest.mark.parametrize("arch", BOTH)
def test_f64_factors_and_c_negated(arch: str) -> None:
    for name in ("f64_16x16x4_f64", "f64_4x4x4_4b_f64"):
        case = BY_NAME[name]
        a, b, c, a_values, b_values, c_values = random_case(case, arch, 6)
        factors = factor_registers(case, a, "f64"), factor_registers(case, b, "f64")
        got, _ = run_mfma(case, arch, *factors, result_registers(case, c), modifiers=" neg:[1,0,1]")
        assert np.allclose(got, reference(case, -a_values, b_values, -c_values), rtol=0, atol=1e-14)


def test_xf32_keeps_ten_fraction_bits() -> None:
    case = BY_NAME["f32_16x16x8_xf32"]
    a = np.full((1, 16, 8), 0x3F800FFF, np.uint64)  # just below half a unit above 1
    b = np.full((1, 16, 8), 0x3F801001, np.uint64)  # just above
    got, _ = run_mfma(case, "gfx942", factor_registers(case, a, "xf32"), factor_registers(case, b, "xf32"), None)
    assert np.all(got == np.float32(8 * (1 + 2.0**-10)))


# ---- fp8, fp6 and fp4 with scales -----------------------------------------------------------------------------

SCALED = [
    Mfma("f32_16x16x128_f8f6f4", GFX950, 16, 1, 128, "f8f6f4", ""),
    Mfma("f32_32x32x64_f8f6f4", GFX950, 32, 1, 64, "f8f6f4", ""),
]


@pytest.mark.parametrize("case", SCALED, ids=lambda case: case.name)
@pytest.mark.parametrize("a_kind", F8F6F4)
@pytest.mark.parametrize("b_kind", F8F6F4)
def test_every_pair_of_narrow_formats(case: Mfma, a_kind: str, b_kind: str) -> None:
    rng = np.random.default_rng(7)
    shape = (1, case.m, case.k)
    a, b = random_codes(a_kind, shape, rng, "gfx950"), random_codes(b_kind, shape, rng, "gfx950")
    factors = factor_registers(case, a, a_kind), factor_registers(case, b, b_kind)
    codes = f" cbsz:{F8F6F4.index(a_kind)} blgp:{F8F6F4.index(b_kind)}"
    got, _ = run_mfma(case, "gfx950", *factors, None, modifiers=codes)
    a_values, b_values = values(a, a_kind, "gfx950"), values(b, b_kind, "gfx950")
    exact = reference(case, a_values, b_values, np.float64(0))
    magnitude = reference(case, np.abs(a_values), np.abs(b_values), np.float64(0))
    assert_rounded_once(got, exact, magnitude)


@pytest.mark.parametrize("case", SCALED, ids=lambda case: case.name)
@pytest.mark.parametrize(("a_kind", "b_kind"), [("fp8", "fp8"), ("fp8", "fp4"), ("bf6", "bf8"), ("fp4", "fp4")])
@pytest.mark.parametrize("byte", range(4))
def test_scale_of_each_row_and_32_k(case: Mfma, a_kind: str, b_kind: str, byte: int) -> None:
    rng = np.random.default_rng(8)
    shape = (1, case.m, case.k)
    a, b = random_codes(a_kind, shape, rng, "gfx950"), random_codes(b_kind, shape, rng, "gfx950")
    scales = rng.integers(117, 138, (2, 64), dtype=np.uint32)  # by lane: row lane % M, k from 32 (lane / M) on
    words = rng.integers(0, 1 << 32, (2, 64), dtype=np.uint32)
    words = words & ~np.uint32(255 << 8 * byte) | scales << np.uint32(8 * byte)
    factors = factor_registers(case, a, a_kind), factor_registers(case, b, b_kind)
    low, high = byte & 1, byte >> 1
    text = (
        f"v_mfma_scale_{case.name} {span('v', D, case.m * case.m // 64)}, {span('v', A, len(factors[0]))}, "
        f"{span('v', B, len(factors[1]))}, 0, v200, v201 op_sel:[{low},{low},0] op_sel_hi:[{high},{high},0] "
        f"cbsz:{F8F6F4.index(a_kind)} blgp:{F8F6F4.index(b_kind)}"
    )
    state = lab.run(text, "gfx950", vgprs=vgprs(a=factors[0], b=factors[1]) | {200: words[0], 201: words[1]})
    registers = np.array([state.v[D + n] for n in range(case.m * case.m // 64)])
    got = read_result(case, registers, np.float32)
    by_row = 2.0 ** (scales.astype(np.int64).reshape(2, -1, case.m).transpose(0, 2, 1) - 127.0)  # [2, M, K / 32]
    a_values = values(a, a_kind, "gfx950") * by_row[0].repeat(32, axis=1)
    b_values = values(b, b_kind, "gfx950") * by_row[1].repeat(32, axis=1)
    exact = reference(case, a_values, b_values, np.float64(0))
    assert_rounded_once(got, exact, reference(case, np.abs(a_values), np.abs(b_values), np.float64(0)))


def test_scale_255_is_nan() -> None:
    scales = np.full(64, 127, np.uint32)
    scales[5] = 255  # row 5, k from 0 to 31
    text = "v_mfma_scale_f32_16x16x128_f8f6f4 v[96:99], v[0:3], v[32:35], 0, v200, v201 op_sel_hi:[0,0,0] cbsz:4 blgp:4"
    state = lab.run(text, "gfx950", vgprs={200: scales, 201: np.full(64, 127, np.uint32)})
    got = read_result(SCALED[0], np.array([state.v[D + n] for n in range(4)]), np.float32)
    assert np.isnan(got[0, 5]).all()
    assert np.count_nonzero(np.isnan(got)) == 16
