"""Narrow float formats, code by code and bit by bit: against torch where it has the format, else against the numbers
that the format's definition lists."""

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
SATURATE = lab.MODE_AS_COMPILED | 1 << 23  # FP16_OVFL
DTYPES = {
    ("gfx942", "fp8"): torch.float8_e4m3fnuz,
    ("gfx942", "bf8"): torch.float8_e5m2fnuz,
    ("gfx950", "fp8"): torch.float8_e4m3fn,
    ("gfx950", "bf8"): torch.float8_e5m2,
}
OF_ARCH = [pytest.param(arch, kind, id=f"{kind}-{arch}") for arch, kind in DTYPES]


def same_floats(got: Array, expected: Array) -> bool:
    """Bit for bit, but for the payload of NaN."""
    bits = f"u{expected.dtype.itemsize}"
    numbers = ~np.isnan(expected)
    same_nans = np.array_equal(np.isnan(got), np.isnan(expected))
    return same_nans and np.array_equal(got.view(bits)[numbers], expected.view(bits)[numbers])


def awkward_floats() -> Array:
    """A million float32 of every exponent, each followed by the end of its range, and what stands between two numbers
    of a narrow format, one bit more and one bit less."""
    rng = np.random.default_rng(11)
    bits = rng.integers(0, 1 << 32, 1_000_000, dtype=np.uint64).astype(np.uint32)
    moderate = rng.standard_normal(200_000).astype(np.float32) * np.float32(2.0) ** rng.integers(-20, 20, 200_000)
    steps = (np.arange(1 << 13, dtype=np.uint32) << 19)[:, None] + np.array([0, 1, 0xFFFFFFFF], np.uint32)
    return np.concatenate([bits.view(np.float32), moderate.astype(np.float32), steps.reshape(-1).view(np.float32)])


@pytest.fixture(scope="module")
def floats() -> Array:
    return awkward_floats()


# ---- reading --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("arch", "kind"), OF_ARCH)
def test_all_256_codes_of_fp8_and_bf8_widen_to_what_torch_says(arch: str, kind: str) -> None:
    codes = np.arange(256, dtype=np.uint32)
    expected = torch.arange(256).to(torch.uint8).view(DTYPES[arch, kind]).float().numpy()
    got = stream(f"v_cvt_f32_{kind} v10, v1", arch, codes | 0xABCDEF00).view(np.float32)[0]
    assert same_floats(got, expected)


@pytest.mark.parametrize(("arch", "kind"), OF_ARCH)
def test_bytes_and_pairs_that_sdwa_selects(arch: str, kind: str) -> None:
    rng = np.random.default_rng(12)
    words = rng.integers(0, 1 << 32, 4096, dtype=np.uint64).astype(np.uint32)
    expected = torch.from_numpy(words.view(np.uint8).reshape(-1, 4)).view(DTYPES[arch, kind]).float().numpy()
    for byte in range(4):
        got = stream(f"v_cvt_f32_{kind}_sdwa v10, v1 src0_sel:BYTE_{byte}", arch, words).view(np.float32)[0]
        assert same_floats(got, np.ascontiguousarray(expected[:, byte]))
    for half in range(2):
        text = f"v_cvt_pk_f32_{kind}_sdwa v[10:11], v1 src0_sel:WORD_{half}"
        got = stream(text, arch, words, results=2).view(np.float32)
        assert same_floats(got, np.ascontiguousarray(expected[:, 2 * half : 2 * half + 2].T))


@pytest.mark.parametrize("arch", BOTH)
def test_all_halves_widen_and_narrow_back(arch: str) -> None:
    codes = np.arange(65536, dtype=np.uint32)
    expected = codes.astype(np.uint16).view(np.float16).astype(np.float32)
    got = stream("v_cvt_f32_f16 v10, v1", arch, codes | 0xFFFF0000).view(np.float32)[0]
    assert same_floats(got, expected)
    back = stream("v_cvt_f16_f32 v10, v1", arch, expected)[0]
    assert same_floats(back.astype(np.uint16).view(np.float16), codes.astype(np.uint16).view(np.float16))


def test_all_bf16_widen_and_narrow_back() -> None:
    codes = np.arange(65536, dtype=np.uint32)
    expected = (codes << 16).view(np.float32)
    got = stream("v_cvt_f32_bf16 v10, v1", "gfx950", codes | 0xFFFF0000).view(np.float32)[0]
    assert same_floats(got, expected)
    pairs = stream("v_cvt_pk_bf16_f32 v10, v1, v2", "gfx950", expected, expected[::-1].copy())[0]
    for half in (pairs & 0xFFFF, (pairs >> 16)[::-1]):
        assert same_floats((half << 16).view(np.float32), expected)


# ---- writing, to nearest even ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("arch", "kind"), OF_ARCH)
def test_a_million_floats_to_fp8_and_bf8(arch: str, kind: str, floats: Array) -> None:
    got = stream(f"v_cvt_pk_{kind}_f32 v10, v1, v2", arch, floats, -floats)[0]
    dtype = DTYPES[arch, kind]
    for half, values in ((got & 0xFF, floats), (got >> 8 & 0xFF, -floats)):
        expected = torch.from_numpy(values).to(dtype).float().numpy()
        if dtype == torch.float8_e4m3fn:  # torch saturates here; without FP16_OVFL the card gives NaN
            expected = np.where(np.abs(values) > 464, np.float32(np.nan), expected)
        decoded = torch.from_numpy(half.astype(np.uint8)).view(dtype).float().numpy()
        assert same_floats(decoded, expected)


@pytest.mark.parametrize(("arch", "kind"), OF_ARCH)
def test_fp16_ovfl_saturates_fp8_and_bf8_and_keeps_nan(arch: str, kind: str, floats: Array) -> None:
    got = stream(f"v_cvt_pk_{kind}_f32 v10, v1, v1", arch, floats, mode=SATURATE)[0] & 0xFF
    largest = torch.finfo(DTYPES[arch, kind]).max
    expected = torch.from_numpy(np.clip(floats, -largest, largest)).to(DTYPES[arch, kind]).float().numpy()
    assert same_floats(torch.from_numpy(got.astype(np.uint8)).view(DTYPES[arch, kind]).float().numpy(), expected)


@pytest.mark.parametrize(("arch", "kind"), OF_ARCH)
def test_codes_of_nan_infinity_and_overflow(arch: str, kind: str) -> None:
    values = np.array([np.nan, np.inf, -np.inf, 1e6, -1e6, 1e-30, -1e-30], np.float32)
    got = stream(f"v_cvt_pk_{kind}_f32 v10, v1, v1", arch, values)[0] & 0xFF
    if arch == "gfx942":
        assert list(got) == [0x80, 0x80, 0x80, 0x80, 0x80, 0, 0]
    else:
        top = {"fp8": 0x7F, "bf8": 0x7C}[kind]
        assert list(got) == [0x7F, top, top | 0x80, top, top | 0x80, 0, 0x80]


@pytest.mark.parametrize("arch", BOTH)
def test_a_million_floats_to_half(arch: str, floats: Array) -> None:
    got = stream("v_cvt_f16_f32 v10, v1", arch, floats)[0]
    assert not np.any(got >> 16)
    assert same_floats(got.astype(np.uint16).view(np.float16), torch.from_numpy(floats).half().numpy())


@pytest.mark.parametrize("arch", BOTH)
def test_fp16_ovfl_keeps_a_true_infinity_of_half(arch: str) -> None:
    values = np.array([np.inf, -np.inf, 65519.0, 65520.0, -1e30, 1.0], np.float32)
    got = stream("v_cvt_f16_f32 v10, v1", arch, values, mode=SATURATE)[0].astype(np.uint16).view(np.float16)
    assert list(got) == [np.inf, -np.inf, 65504, 65504, -65504, 1]


def test_a_million_floats_to_bf16(floats: Array) -> None:
    got = stream("v_cvt_pk_bf16_f32 v10, v1, -|v1|", "gfx950", floats)[0]
    for half, values in ((got << 16, floats), (got & 0xFFFF0000, -np.abs(floats))):
        assert same_floats(half.view(np.float32), torch.from_numpy(values).bfloat16().float().numpy())


def test_fp16_ovfl_saturates_bf16() -> None:
    values = np.array([3.4e38, -3.4e38, np.inf, np.nan, 1.0], np.float32)
    got = stream("v_cvt_pk_bf16_f32 v10, v1, v1", "gfx950", values, mode=SATURATE)[0] & 0xFFFF
    assert list(got[:3]) == [0x7F7F, 0xFF7F, 0x7F80]
    assert np.isnan((got[3:4] << 16).view(np.float32))
    assert got[4] == 0x3F80


def test_pairs_to_half(floats: Array) -> None:
    got = stream("v_cvt_pk_f16_f32 v10, v1, v2", "gfx950", floats, floats[::-1].copy())[0]
    expected = torch.from_numpy(floats).half().numpy()
    assert same_floats((got & 0xFFFF).astype(np.uint16).view(np.float16), expected)
    assert same_floats((got >> 16)[::-1].astype(np.uint16).view(np.float16), expected)


@pytest.mark.parametrize("arch", BOTH)
def test_pairs_to_half_towards_zero(arch: str, floats: Array) -> None:
    floats = np.where(np.isnan(floats), np.float32(np.nan), floats)  # numpy warns of signalling ones
    got = stream("v_cvt_pkrtz_f16_f32 v10, v1, -v1", arch, floats)[0]
    nearest = torch.from_numpy(np.clip(floats, -65504, 65504)).half().numpy()
    beyond = np.abs(nearest.astype(np.float64)) > np.abs(floats.astype(np.float64))
    expected = np.where(beyond, np.nextafter(nearest, np.float16(0)), nearest)
    expected[np.isinf(floats)] = np.sign(floats[np.isinf(floats)]) * np.float16(np.inf)
    expected[beyond] = np.copysign(expected[beyond], nearest[beyond])
    assert same_floats((got & 0xFFFF).astype(np.uint16).view(np.float16), expected)
    assert same_floats((got >> 16).astype(np.uint16).view(np.float16), -expected)


@pytest.mark.parametrize("arch", BOTH)
@pytest.mark.parametrize("rounding", [1, 2, 3])
def test_half_in_the_directed_modes(arch: str, rounding: int, floats: Array) -> None:
    floats = floats[np.isfinite(floats)][:200_000]
    mode = lab.MODE_AS_COMPILED | rounding << 2
    got = stream("v_cvt_f16_f32 v10, v1", arch, floats, mode=mode)[0].astype(np.uint16).view(np.float16)
    exact, made = floats.astype(np.float64), got.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        up = np.nextafter(got, np.float16(np.inf)).astype(np.float64)
        down = np.nextafter(got, np.float16(-np.inf)).astype(np.float64)
    above, below = (made >= exact) & (down < exact), (made <= exact) & (up > exact)
    expected = {1: above, 2: below, 3: np.where(exact > 0, below, above)}[rounding]
    ends = np.abs(exact) > 65504
    assert np.all(expected[~ends])
    towards_infinity = {1: exact > 0, 2: exact < 0, 3: np.zeros(len(exact), bool)}[rounding]
    assert np.array_equal(np.isinf(made[ends]), towards_infinity[ends])
