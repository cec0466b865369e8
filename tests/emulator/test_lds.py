"""The LDS instructions against numpy: widths, pairs, halves, permutations, and gfx950's transposing reads."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import triton
import triton.language as tl

import cdna_emulator
from cdna_emulator.lab import LabFault, run

LANES = np.arange(64, dtype=np.uint32)
ARCHS = ("gfx942", "gfx950")
LDS_BYTES = 16384
OFF_LANES = 0x5A5AF00F12345678
OLD = 0xDEADBEEF


def lds_image(seed: int = 0) -> bytes:
    return np.random.default_rng(seed).integers(0, 256, LDS_BYTES, dtype=np.uint8).tobytes()


def scattered(width: int, seed: int = 1) -> np.ndarray:
    """A place per lane, none overlapping another, in random order, aligned to 4 bytes at most."""
    places = np.random.default_rng(seed).permutation(64).astype(np.uint32)
    return places * max(width, 4) * 2 + (4 if width >= 8 else 0)


def active(mask: int) -> np.ndarray:
    return (mask >> LANES.astype(np.uint64) & np.uint64(1)).astype(bool) if mask != 2**64 - 1 else np.ones(64, bool)


def dwords_at(image: bytes, places: np.ndarray, count: int) -> np.ndarray:
    """[count, 64]: the dwords that each lane finds."""
    return np.array(
        [[int.from_bytes(image[p + 4 * i : p + 4 * i + 4], "little") for p in places] for i in range(count)]
    )


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("mask", [2**64 - 1, OFF_LANES])
@pytest.mark.parametrize(("name", "count"), [("b32", 1), ("b64", 2), ("b96", 3), ("b128", 4)])
def test_read_gives_each_active_lane_its_dwords(arch: str, name: str, count: int, mask: int) -> None:
    image, places = lds_image(), scattered(4 * count)
    registers = f"v[4:{3 + count}]" if count > 1 else "v4"
    old = {4 + i: np.full(64, OLD, np.uint32) for i in range(count)}
    state = run(f"ds_read_{name} {registers}, v0 offset:20", arch, vgprs={0: places, **old}, exec=mask, lds=image)
    expected = np.where(active(mask), dwords_at(image, places + 20, count), OLD)
    for i in range(count):
        np.testing.assert_array_equal(state.v[4 + i], expected[i])


@pytest.mark.parametrize("mask", [2**64 - 1, OFF_LANES])
@pytest.mark.parametrize(("name", "count"), [("b32", 1), ("b64", 2), ("b96", 3), ("b128", 4)])
def test_write_changes_the_active_lanes_dwords_and_nothing_else(name: str, count: int, mask: int) -> None:
    image, places = lds_image(), scattered(4 * count)
    data = {4 + i: np.random.default_rng(i).integers(0, 2**32, 64, dtype=np.uint32) for i in range(count)}
    registers = f"v[4:{3 + count}]" if count > 1 else "v4"
    state = run(f"ds_write_{name} v0, {registers} offset:8", "gfx942", vgprs={0: places, **data}, exec=mask, lds=image)
    expected = bytearray(image)
    for lane in np.flatnonzero(active(mask)):
        for i in range(count):
            start = int(places[lane]) + 8 + 4 * i
            expected[start : start + 4] = int(data[4 + i][lane]).to_bytes(4, "little")
    assert bytes(state.lds) == bytes(expected)


@pytest.mark.parametrize(("suffix", "scale"), [("", 1), ("st64", 64)])
@pytest.mark.parametrize(("name", "count"), [("b32", 1), ("b64", 2)])
def test_two_offsets_count_elements_or_64_of_them(suffix: str, scale: int, name: str, count: int) -> None:
    image, places = lds_image(), LANES * 8
    first, second = 3, 5
    step = 4 * count * scale
    low, high = f"v[4:{3 + 2 * count}]", [f"v[{8 + i * count}:{7 + (i + 1) * count}]" for i in range(2)]
    if count == 1:
        high = ["v8", "v9"]
    state = run(
        f"ds_read2{suffix}_{name} {low}, v0 offset0:{first} offset1:{second}", "gfx942", vgprs={0: places}, lds=image
    )
    expected = [*dwords_at(image, places + first * step, count), *dwords_at(image, places + second * step, count)]
    for i in range(2 * count):
        np.testing.assert_array_equal(state.v[4 + i], expected[i])

    data = {8 + i: LANES + 1000 * (i + 1) for i in range(2 * count)}
    base = np.array([0] + [OLD] * 63, np.uint32)  # only lane 0 writes
    text = f"ds_write2{suffix}_{name} v0, {high[0]}, {high[1]} offset0:{first} offset1:{second}"
    state = run(text, "gfx942", vgprs={0: base, **data}, exec=1, lds=bytes(LDS_BYTES))
    written = np.frombuffer(bytes(state.lds), np.uint32)
    wanted = np.zeros(LDS_BYTES // 4, np.uint32)
    for half, offset in enumerate((first, second)):
        for i in range(count):
            wanted[offset * step // 4 + i] = data[8 + half * count + i][0]
    np.testing.assert_array_equal(written, wanted)


def test_reading_over_the_address_register_uses_the_old_address() -> None:
    image, places = lds_image(), scattered(8)
    state = run("ds_read2_b32 v[0:1], v1 offset1:1", "gfx942", vgprs={1: places}, lds=image)
    np.testing.assert_array_equal(state.v[0], dwords_at(image, places, 1)[0])
    np.testing.assert_array_equal(state.v[1], dwords_at(image, places + 4, 1)[0])


PARTS = [
    ("u8", 1, False, None),
    ("i8", 1, True, None),
    ("u16", 2, False, None),
    ("i16", 2, True, None),
    ("u8_d16", 1, False, 0),
    ("u8_d16_hi", 1, False, 16),
    ("i8_d16", 1, True, 0),
    ("i8_d16_hi", 1, True, 16),
    ("u16_d16", 2, False, 0),
    ("u16_d16_hi", 2, False, 16),
]


@pytest.mark.parametrize(("name", "width", "signed", "half"), PARTS)
def test_part_of_a_dword_is_extended_or_put_into_a_half(name: str, width: int, signed: bool, half: int | None) -> None:
    image, places = lds_image(), scattered(width) + LANES % 2 * (2 if width == 2 else 1)
    state = run(
        f"ds_read_{name} v4, v0 offset:2", "gfx942", vgprs={0: places, 4: np.full(64, OLD, np.uint32)}, lds=image
    )
    values = [int.from_bytes(image[p + 2 : p + 2 + width], "little", signed=signed) for p in places.tolist()]
    if half is None:
        expected = [value & 0xFFFFFFFF for value in values]
    else:
        expected = [OLD & ~(0xFFFF << half) | (value & 0xFFFF) << half for value in values]
    np.testing.assert_array_equal(state.v[4], np.array(expected, np.uint32))


@pytest.mark.parametrize(
    ("name", "width", "shift"), [("b8", 1, 0), ("b16", 2, 0), ("b8_d16_hi", 1, 16), ("b16_d16_hi", 2, 16)]
)
def test_narrow_write_takes_the_low_or_the_high_half(name: str, width: int, shift: int) -> None:
    data, places = LANES * 0x01030507 + 0x89ABCDEF, LANES * 3
    state = run(f"ds_write_{name} v0, v1", "gfx942", vgprs={0: places, 1: data}, lds=bytes(LDS_BYTES))
    expected = bytearray(LDS_BYTES)
    for lane in range(64):  # a later lane overwrites the one before where they meet
        start = int(places[lane])
        expected[start : start + width] = (int(data[lane]) >> shift).to_bytes(4, "little")[:width]
    assert bytes(state.lds) == bytes(expected)


def test_accumulation_registers_hold_data_too() -> None:
    image = lds_image()
    state = run(
        "ds_read_b64 a[4:5], v0\ns_waitcnt lgkmcnt(0)\nds_write_b64 v1, a[4:5]",
        "gfx942",
        vgprs={0: LANES * 8, 1: LANES * 8 + 4096},
        lds=image,
    )
    assert bytes(state.lds)[4096 : 4096 + 512] == image[:512]


def test_addtid_takes_its_address_from_m0_and_the_lane() -> None:
    image = lds_image()
    state = run("ds_read_addtid_b32 v4 offset:16", "gfx942", sgprs={124: 0x10040}, lds=image)
    np.testing.assert_array_equal(state.v[4], dwords_at(image, 0x40 + 16 + 4 * LANES, 1)[0])
    state = run("ds_write_addtid_b32 v4 offset:16", "gfx942", vgprs={4: LANES}, sgprs={124: 0x40}, lds=bytes(LDS_BYTES))
    np.testing.assert_array_equal(np.frombuffer(bytes(state.lds), np.uint32)[20:84], LANES)


# ---- lanes to lanes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [2**64 - 1, OFF_LANES])
def test_bpermute_reads_zero_from_a_lane_that_is_off(mask: int) -> None:
    index = np.random.default_rng(3).integers(0, 2**32, 64, dtype=np.uint32)
    data = LANES + 100
    state = run(
        "ds_bpermute_b32 v4, v0, v1 offset:12",
        "gfx942",
        vgprs={0: index, 1: data, 4: np.full(64, OLD, np.uint32)},
        exec=mask,
    )
    source = (index + np.uint32(12)) // 4 % 64
    gathered = np.where(active(mask)[source], data[source], 0)
    np.testing.assert_array_equal(state.v[4], np.where(active(mask), gathered, OLD))


@pytest.mark.parametrize("mask", [2**64 - 1, OFF_LANES])
def test_permute_lets_the_highest_lane_win(mask: int) -> None:
    index = np.random.default_rng(4).integers(0, 64, 64, dtype=np.uint32) * 4
    data = LANES + 100
    state = run(
        "ds_permute_b32 v4, v0, v1", "gfx942", vgprs={0: index, 1: data, 4: np.full(64, OLD, np.uint32)}, exec=mask
    )
    scattered_to = np.zeros(64, np.uint32)
    for lane in np.flatnonzero(active(mask)):
        scattered_to[index[lane] // 4] = data[lane]
    np.testing.assert_array_equal(state.v[4], np.where(active(mask), scattered_to, OLD))


@pytest.mark.parametrize("mask", [2**64 - 1, OFF_LANES])
@pytest.mark.parametrize(
    ("pattern", "source"),
    [
        (0x8000 | 0b00_01_10_11, lambda lane: lane & ~3 | 3 - (lane & 3)),  # quad_perm 3, 2, 1, 0
        (0x041F, lambda lane: lane ^ 1),  # xor 1
        (0x401F, lambda lane: lane ^ 16),
        (0x0018 | 3 << 5, lambda lane: lane & 0x38 | 3),  # and 0x18, or 3: a broadcast within 8
        (0x0000, lambda lane: lane & 32),
    ],
)
def test_swizzle_follows_its_pattern(pattern: int, source: object, mask: int) -> None:
    data = LANES + 100
    state = run(
        f"ds_swizzle_b32 v4, v0 offset:{pattern}", "gfx942", vgprs={0: data, 4: np.full(64, OLD, np.uint32)}, exec=mask
    )
    origin = np.array([source(lane) for lane in range(64)])  # type: ignore[operator]
    expected = np.where(active(mask)[origin], data[origin], 0)
    np.testing.assert_array_equal(state.v[4], np.where(active(mask), expected, OLD))


def test_swizzle_pattern_that_is_not_modelled_stops() -> None:
    with pytest.raises(LabFault, match=r"UNSUPPORTED.*ds_swizzle"):
        run("ds_swizzle_b32 v4, v0 offset:0xe000", "gfx942", vgprs={0: LANES})


# ---- transposing reads ----------------------------------------------------------------------------------------


def elements_of(raw: bytes, bits: int) -> list[int]:
    number = int.from_bytes(raw, "little")
    return [number >> bits * i & (1 << bits) - 1 for i in range(len(raw) * 8 // bits)]


@pytest.mark.parametrize(
    ("name", "bits", "size"), [("b64_tr_b16", 16, 8), ("b64_tr_b8", 8, 8), ("b64_tr_b4", 4, 8), ("b96_tr_b6", 6, 12)]
)
def test_transposing_read_hands_lane_c_column_c(name: str, bits: int, size: int) -> None:
    image = lds_image()
    places = np.random.default_rng(5).permutation(64).astype(np.uint32) * 16
    count = size // 4
    state = run(f"ds_read_{name} v[4:{3 + count}], v0", "gfx950", vgprs={0: places}, lds=image)
    per_lane = size * 8 // bits
    for group in range(4):
        flat = [e for lane in range(16) for e in elements_of(image[places[group * 16 + lane] :][:size], bits)]
        matrix = np.array(flat).reshape(per_lane, 16)  # row-major rows of 16 columns
        for column in range(16):
            raw = b"".join(int(state.v[4 + i][group * 16 + column]).to_bytes(4, "little") for i in range(count))
            assert elements_of(raw, bits) == matrix[:, column].tolist()


@triton.jit
def _product(a, b, c, N: tl.constexpr, K: tl.constexpr):  # type: ignore[no-untyped-def]
    """[N, K] by [K, N], both along their second index in memory: the right operand has to be transposed in LDS."""
    n, k = tl.arange(0, N), tl.arange(0, K)
    left, right = tl.load(a + n[:, None] * K + k[None, :]), tl.load(b + k[:, None] * N + n[None, :])
    tl.store(c + n[:, None] * N + n[None, :], tl.dot(left, right))


@triton.jit
def _product_fp4(a, b, scale, c, N: tl.constexpr, K: tl.constexpr):  # type: ignore[no-untyped-def]
    """Two elements in a byte, of the left operand along K, of the right one along N."""
    n, k = tl.arange(0, N), tl.arange(0, K)
    left = tl.load(a + n[:, None] * (K // 2) + tl.arange(0, K // 2)[None, :])
    right = tl.load(b + k[:, None] * (N // 2) + tl.arange(0, N // 2)[None, :])
    ones = tl.load(scale + n[:, None] * (K // 32) + tl.arange(0, K // 32)[None, :])
    product = tl.dot_scaled(left, ones, "e2m1", right, ones, "e2m1", rhs_k_pack=False)
    tl.store(c + n[:, None] * N + n[None, :], product)


@pytest.mark.parametrize("shape", [16, 32])
@pytest.mark.parametrize(("dtype", "mnemonic"), [(torch.bfloat16, "tr_b16"), (torch.float8_e4m3fn, "tr_b8")])
def test_triton_multiplies_through_transposing_reads(dtype: torch.dtype, mnemonic: str, shape: int) -> None:
    a, b, c = torch.randn(64, 128).to(dtype), torch.randn(128, 64).to(dtype), torch.empty(64, 64)
    with cdna_emulator.device("gfx950") as gpu:
        _product[(1,)](a, b, c, 64, 128, num_warps=4, matrix_instr_nonkdim=shape)
    assert any(mnemonic in name for name in gpu.launches[0].mnemonics)
    torch.testing.assert_close(c, a.float() @ b.float(), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("shape", [16, 32])
def test_triton_multiplies_fp4_through_transposing_reads(shape: int) -> None:
    magnitudes = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    numbers = torch.cat([magnitudes, -magnitudes])
    a, b = torch.randint(0, 16, (64, 256)), torch.randint(0, 16, (256, 64))
    packed = [(each[:, ::2] | each[:, 1::2] << 4).to(torch.uint8) for each in (a, b)]
    scale, c = torch.full((64, 8), 127, dtype=torch.uint8), torch.empty(64, 64)  # 127 stands for 1.0
    with cdna_emulator.device("gfx950") as gpu:
        _product_fp4[(1,)](*packed, scale, c, 64, 256, num_warps=4, matrix_instr_nonkdim=shape)
    assert "ds_read_b64_tr_b4" in gpu.launches[0].mnemonics
    assert torch.equal(c, numbers[a] @ numbers[b])


def test_transposing_read_by_some_of_sixteen_lanes_stops() -> None:
    with pytest.raises(LabFault, match=r"UNSUPPORTED.*transposing"):
        run("ds_read_b64_tr_b16 v[4:5], v0", "gfx950", vgprs={0: LANES * 8}, exec=0xFFFE, lds=lds_image())


def test_transposing_read_by_whole_groups_leaves_the_others_alone() -> None:
    old = np.full(64, OLD, np.uint32)
    state = run(
        "ds_read_b64_tr_b16 v[4:5], v0",
        "gfx950",
        vgprs={0: LANES * 8, 4: old, 5: old},
        exec=0xFFFF0000,
        lds=lds_image(),
    )
    assert (state.v[4] == OLD).sum() == 48
    assert (state.v[4][16:32] != OLD).all()


# ---- bounds ---------------------------------------------------------------------------------------------------


def test_last_bytes_of_lds_may_be_read() -> None:
    places = np.full(64, LDS_BYTES - 16, np.uint32)
    assert run("ds_read_b128 v[4:7], v0", "gfx942", vgprs={0: places}, lds=lds_image()).v[7][0] != 0


@pytest.mark.parametrize("text", ["ds_read_b128 v[4:7], v0", "ds_write_b128 v0, v[4:7]", "ds_add_u32 v0, v4 offset:16"])
def test_access_beyond_lds_names_the_lane(text: str) -> None:
    places = np.zeros(64, np.uint32)
    places[37] = LDS_BYTES - 12
    with pytest.raises(LabFault, match=r"OUT_OF_BOUNDS.*lane 37"):
        run(text, "gfx942", vgprs={0: places}, lds=lds_image())
