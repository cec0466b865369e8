"""Vector memory against numpy: global, flat, buffer and scratch addresses, every width, and loads straight into LDS."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from cdna_emulator.lab import LabFault, run

LANES = np.arange(64, dtype=np.uint32)
OFF_LANES = 0x5A5AF00F12345678
EVERY = 2**64 - 1
OLD = 0xDEADBEEF
LOADS = [
    ("ubyte", 1, False, None),
    ("sbyte", 1, True, None),
    ("ushort", 2, False, None),
    ("sshort", 2, True, None),
    ("dword", 4, False, None),
    ("dwordx2", 8, False, None),
    ("dwordx3", 12, False, None),
    ("dwordx4", 16, False, None),
    ("ubyte_d16", 1, False, 0),
    ("ubyte_d16_hi", 1, False, 16),
    ("sbyte_d16", 1, True, 0),
    ("sbyte_d16_hi", 1, True, 16),
    ("short_d16", 2, False, 0),
    ("short_d16_hi", 2, False, 16),
]
STORES = [
    ("byte", 1, 0),
    ("byte_d16_hi", 1, 16),
    ("short", 2, 0),
    ("short_d16_hi", 2, 16),
    ("dword", 4, 0),
    ("dwordx2", 8, 0),
    ("dwordx3", 12, 0),
    ("dwordx4", 16, 0),
]
FORMS = ["global", "global saddr", "flat", "buffer offen", "buffer idxen"]
U32 = npt.NDArray[np.uint32]


def memory(seed: int = 0, size: int = 8192) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


def active(mask: int) -> npt.NDArray[np.bool_]:
    return np.array([mask >> lane & 1 for lane in range(64)], bool)


def resource(address: int, records: int, *, stride: int = 0, swizzle: bool = False) -> dict[int, int]:
    """A buffer resource in s[4:7]."""
    high = address >> 32 | stride << 16 | (1 << 31 if swizzle else 0)
    return {4: address & 0xFFFFFFFF, 5: high, 6: records, 7: 0x27000}


def registers(first: int, width: int) -> str:
    count = max(width, 4) // 4
    return f"v{first}" if count == 1 else f"v[{first}:{first + count - 1}]"


def instruction(form: str, operation: str, data: str, *, load: bool) -> str:
    """`operation` at the lanes' offsets, which are in v0 (v[0:1] as whole addresses), and 24 bytes more."""
    family, _, kind = form.partition(" ")
    if family == "buffer":
        return f"buffer_{operation} {data}, v0, s[4:7], s8 {kind} offset:20"
    where = "v0" if kind else "v[0:1]"
    base = "" if family == "flat" else ", s[4:5]" if kind else ", off"
    first, second = (data, where) if load else (where, data)
    return f"{family}_{operation} {first}, {second}{base} offset:24"


def addressed(form: str, array: npt.NDArray[np.uint8], offsets: U32) -> tuple[dict[int, U32], dict[int, int]]:
    """VGPRs and SGPRs with which `instruction` reaches array[offsets + 24]; buffers add 4 of it in soffset."""
    start = array.ctypes.data
    if form == "buffer offen":
        return {0: offsets}, {**resource(start, array.nbytes), 8: 4}
    if form == "buffer idxen":  # structures of 4 bytes; num_records counts them
        return {0: offsets // 4}, {**resource(start, array.nbytes // 4, stride=4), 8: 4}
    if form == "global saddr":
        return {0: offsets}, {4: start & 0xFFFFFFFF, 5: start >> 32}
    whole = np.uint64(start) + offsets.astype(np.uint64)
    return {0: (whole & np.uint64(0xFFFFFFFF)).astype(np.uint32), 1: (whole >> np.uint64(32)).astype(np.uint32)}, {}


def loaded(array: npt.NDArray[np.uint8], places: U32, width: int, signed: bool, half: int | None) -> U32:
    """[registers, 64]: what the lanes find, with `OLD` where a half is kept."""
    count = max(width, 4) // 4
    out = np.zeros((count, 64), np.uint32)
    for lane, place in enumerate(places.tolist()):
        raw = array[place : place + width].tobytes()
        if width < 4:
            value = int.from_bytes(raw, "little", signed=signed)
            out[0, lane] = value & 0xFFFFFFFF if half is None else OLD & ~(0xFFFF << half) | (value & 0xFFFF) << half
        else:
            out[:, lane] = np.frombuffer(raw, "<u4")
    return out


@pytest.mark.parametrize("mask", [EVERY, OFF_LANES])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("name", "width", "signed", "half"), LOADS)
def test_load(form: str, name: str, width: int, signed: bool, half: int | None, mask: int) -> None:
    array = memory()
    offsets = np.random.default_rng(1).integers(0, 2000, 64).astype(np.uint32) * (4 if "idxen" in form else 1)
    vgprs, sgprs = addressed(form, array, offsets)
    old = {4 + i: np.full(64, OLD, np.uint32) for i in range(max(width, 4) // 4)}
    text = instruction(form, f"load_{name}", registers(4, width), load=True)
    state = run(text, "gfx942", vgprs={**vgprs, **old}, sgprs=sgprs, exec=mask, memory=[array])
    expected = np.where(active(mask), loaded(array, offsets + 24, width, signed, half), OLD)
    for i, row in enumerate(expected):
        np.testing.assert_array_equal(state.v[4 + i], row)


@pytest.mark.parametrize("mask", [EVERY, OFF_LANES])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("name", "width", "shift"), STORES)
def test_store(form: str, name: str, width: int, shift: int, mask: int) -> None:
    array = memory()
    before = array.copy()
    offsets = np.random.default_rng(1).permutation(64).astype(np.uint32) * 20 + (0 if "idxen" in form else 3)
    vgprs, sgprs = addressed(form, array, offsets)
    data = {4 + i: np.random.default_rng(i).integers(0, 2**32, 64, dtype=np.uint32) for i in range(max(width, 4) // 4)}
    text = instruction(form, f"store_{name}", registers(4, width), load=False)
    run(text, "gfx950", vgprs={**vgprs, **data}, sgprs=sgprs, exec=mask, memory=[array])
    for lane in np.flatnonzero(active(mask)):
        raw = b"".join((int(row[lane]) >> shift).to_bytes(4, "little") for row in data.values())[:width]
        start = int(offsets[lane]) + 24
        before[start : start + width] = np.frombuffer(raw, np.uint8)
    np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize("offset", [-4096, -1, 0, 4095])
@pytest.mark.parametrize("base", ["off", "s[4:5]"])
def test_instruction_offset_is_signed(base: str, offset: int) -> None:
    array = memory(size=16384)
    start = array.ctypes.data + 8000
    low, high = start & 0xFFFFFFFF, start >> 32
    vgprs = {0: LANES * 4} if base != "off" else {0: LANES * 4 + np.uint32(low), 1: np.full(64, high, np.uint32)}
    where = "v0" if base != "off" else "v[0:1]"
    assert low + 256 < 2**32 or base != "off"
    state = run(f"global_load_dword v4, {where}, {base} offset:{offset}", "gfx942",
                vgprs=vgprs, sgprs={4: low, 5: high}, memory=[array])  # fmt: skip
    np.testing.assert_array_equal(state.v[4], loaded(array, 8000 + offset + 4 * LANES, 4, False, None)[0])


def test_lane_offset_from_a_scalar_base_is_unsigned() -> None:
    """2**31 bytes beyond a base that lies 2**31 before the array."""
    array = memory()
    base = array.ctypes.data - 2**31
    state = run("global_load_dword v4, v0, s[4:5]", "gfx942", vgprs={0: LANES * 4 + np.uint32(2**31)},
                sgprs={4: base & 0xFFFFFFFF, 5: base >> 32}, memory=[array])  # fmt: skip
    np.testing.assert_array_equal(state.v[4], array[:256].view(np.uint32))


def test_loading_over_the_address_registers_uses_the_old_address() -> None:
    array = memory()
    vgprs, sgprs = addressed("global", array, LANES * 16)
    state = run("global_load_dwordx4 v[0:3], v[0:1], off", "gfx942", vgprs=vgprs, sgprs=sgprs, memory=[array])
    np.testing.assert_array_equal(
        np.stack([state.v[i] for i in range(4)], 1), array[:1024].view(np.uint32).reshape(64, 4)
    )


def test_accumulation_registers_are_loaded_and_stored() -> None:
    array = memory()
    vgprs, sgprs = addressed("global saddr", array, LANES * 8)
    text = "global_load_dwordx2 a[6:7], v0, s[4:5]\ns_waitcnt vmcnt(0)\n"
    text += "global_store_dwordx2 v0, a[6:7], s[4:5] offset:1024"
    run(text, "gfx942", vgprs=vgprs, sgprs=sgprs, memory=[array])
    np.testing.assert_array_equal(array[1024:1536], array[:512])


@pytest.mark.parametrize("text", ["buffer_wbl2 sc1", "buffer_inv sc1", "buffer_wbl2 sc0 sc1", "buffer_inv sc0 sc1"])
def test_cache_control_changes_nothing(text: str) -> None:
    assert run(text, "gfx942").counters.load_bytes == 0


# ---- buffers: what is out of range ----------------------------------------------------------------------------


def test_buffer_reads_zeros_and_drops_stores_beyond_num_records() -> None:
    array = memory(size=4096)
    sgprs = {**resource(array.ctypes.data, 128), 8: 0}
    offsets = LANES * 4
    state = run("buffer_load_dword v4, v0, s[4:7], s8 offen", "gfx942", vgprs={0: offsets}, sgprs=sgprs, memory=[array])
    expected = np.where(offsets < 128, array[:256].view(np.uint32), 0)
    np.testing.assert_array_equal(state.v[4], expected)

    before = array.copy()
    run(
        "buffer_store_dword v4, v0, s[4:7], s8 offen",
        "gfx942",
        vgprs={0: offsets, 4: ~LANES},
        sgprs=sgprs,
        memory=[array],
    )
    before[:128] = (~LANES[:32]).view(np.uint8)
    np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize("offset", [0x80000000, 0xFFFFFFFC, 0xFFFFFFFF])
def test_masked_lane_with_a_huge_offset_is_out_of_range(offset: int) -> None:
    """How Triton masks: with the largest num_records, an offset of 2**31 touches nothing."""
    array = memory()
    offsets = LANES * 4
    offsets[::2] = offset
    sgprs = {**resource(array.ctypes.data, 0x7FFFFFFE), 8: 0}
    state = run(
        "buffer_load_dword v4, v0, s[4:7], s8 offen offset:8", "gfx942", vgprs={0: offsets}, sgprs=sgprs, memory=[array]
    )
    assert (state.v[4][::2] == 0).all()
    np.testing.assert_array_equal(state.v[4][1::2], array[8:264].view(np.uint32)[1::2])


def test_wide_buffer_access_is_judged_dword_by_dword() -> None:
    array = memory(size=4096)
    sgprs = {**resource(array.ctypes.data, 40), 8: 0}  # lane 2 has two dwords left of its four
    state = run(
        "buffer_load_dwordx4 v[4:7], v0, s[4:7], s8 offen", "gfx942", vgprs={0: LANES * 16}, sgprs=sgprs, memory=[array]
    )
    expected = np.zeros(256, np.uint32)
    expected[:10] = array[:40].view(np.uint32)
    np.testing.assert_array_equal(np.stack([state.v[4 + i] for i in range(4)], 1).ravel(), expected)

    before = array.copy()
    data = {4 + i: LANES + 100 * i for i in range(4)}
    run(
        "buffer_store_dwordx4 v[4:7], v0, s[4:7], s8 offen",
        "gfx942",
        vgprs={0: LANES * 16, **data},
        sgprs=sgprs,
        memory=[array],
    )
    before[:40] = np.stack(list(data.values()), 1).ravel()[:10].astype(np.uint32).view(np.uint8)
    np.testing.assert_array_equal(array, before)


def test_soffset_takes_from_the_range() -> None:
    array = memory(size=4096)
    sgprs = {**resource(array.ctypes.data, 128), 8: 64}
    state = run(
        "buffer_load_dword v4, v0, s[4:7], s8 offen", "gfx942", vgprs={0: LANES * 4}, sgprs=sgprs, memory=[array]
    )
    np.testing.assert_array_equal(state.v[4], np.where(LANES < 16, array[64:320].view(np.uint32), 0))


def test_index_beyond_num_records_is_out_of_range() -> None:
    array = memory(size=4096)
    sgprs = {**resource(array.ctypes.data, 20, stride=16), 8: 0}
    state = run("buffer_load_dword v4, v[0:1], s[4:7], s8 idxen offen", "gfx942",
                vgprs={0: LANES, 1: np.full(64, 4, np.uint32)}, sgprs=sgprs, memory=[array])  # fmt: skip
    found = array[:1024].view(np.uint32).reshape(64, 4)[:, 1]
    np.testing.assert_array_equal(state.v[4], np.where(LANES < 20, found, 0))


def test_buffer_within_num_records_but_beyond_the_tensor_is_reported() -> None:
    array = memory(size=128)
    sgprs = {**resource(array.ctypes.data, 0x7FFFFFFE), 8: 0}
    with pytest.raises(LabFault, match=r"OUT_OF_BOUNDS.*lane 32"):
        run("buffer_load_dword v4, v0, s[4:7], s8 offen", "gfx942", vgprs={0: LANES * 4}, sgprs=sgprs, memory=[array])


def test_swizzled_buffer_stops() -> None:
    array = memory()
    sgprs = {**resource(array.ctypes.data, 64, stride=16, swizzle=True), 8: 0}
    with pytest.raises(LabFault, match=r"UNSUPPORTED.*swizzled"):
        run("buffer_load_dword v4, v0, s[4:7], s8 offen", "gfx942", vgprs={0: LANES}, sgprs=sgprs, memory=[array])


# ---- bounds ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["load_dwordx4 v[4:7], v0", "store_dwordx4 v0, v[4:7]", "atomic_add v0, v4"])
@pytest.mark.parametrize("place", [-4, 8192, 2**32 - 16])
def test_access_outside_every_tensor_names_the_lane(name: str, place: int) -> None:
    array = memory()
    offsets = LANES * 16
    offsets[41] = np.uint32(place % 2**32)
    base = array.ctypes.data
    with pytest.raises(LabFault, match=r"OUT_OF_BOUNDS.*lane 41"):
        run(
            f"global_{name}, s[4:5]",
            "gfx942",
            vgprs={0: offsets},
            sgprs={4: base & 0xFFFFFFFF, 5: base >> 32},
            memory=[array],
        )


@pytest.mark.parametrize("operation", ["load_dwordx2 v[4:5], v0", "store_dwordx2 v0, v[4:5]"])
def test_access_that_only_begins_inside_a_tensor_is_reported(operation: str) -> None:
    array = memory()
    base = array.ctypes.data
    with pytest.raises(LabFault, match=r"OUT_OF_BOUNDS.*lane 0"):
        run(f"global_{operation}, s[4:5]", "gfx942", vgprs={0: LANES + 8192 - 4},
            sgprs={4: base & 0xFFFFFFFF, 5: base >> 32}, memory=[array])  # fmt: skip


def test_lanes_may_reach_different_tensors() -> None:
    arrays = [memory(seed, 64) for seed in range(64)]
    addresses = np.array([array.ctypes.data + 12 for array in arrays], np.uint64)
    vgprs = {0: addresses.astype(np.uint32), 1: (addresses >> np.uint64(32)).astype(np.uint32)}
    state = run("global_load_dword v4, v[0:1], off", "gfx942", vgprs=vgprs, memory=arrays)
    np.testing.assert_array_equal(state.v[4], [array.view(np.uint32)[3] for array in arrays])


def test_lane_that_is_off_may_point_anywhere() -> None:
    state = run("global_load_dword v4, v[0:1], off", "gfx942", vgprs={0: LANES, 1: LANES, 4: LANES}, exec=0)
    np.testing.assert_array_equal(state.v[4], LANES)


# ---- straight into LDS ----------------------------------------------------------------------------------------


TO_LDS = [("ubyte", 1, False), ("sbyte", 1, True), ("ushort", 2, False), ("dword", 4, False)]
WIDE_TO_LDS = [("dwordx3", 12, False), ("dwordx4", 16, False)]


@pytest.mark.parametrize("mask", [EVERY, OFF_LANES])
@pytest.mark.parametrize(
    "form", ["global_load_lds_{} v0, s[4:5] offset:16", "buffer_load_{} v0, s[4:7], s8 offen offset:16 lds"]
)
@pytest.mark.parametrize(
    ("arch", "name", "width", "signed"),
    [*(("gfx942", *case) for case in TO_LDS), *(("gfx950", *case) for case in TO_LDS + WIDE_TO_LDS)],
)
def test_load_to_lds_goes_to_m0_plus_the_lane(
    arch: str, form: str, name: str, width: int, signed: bool, mask: int
) -> None:
    array = memory()
    offsets = np.random.default_rng(2).integers(0, 4000, 64).astype(np.uint32)
    sgprs = resource(array.ctypes.data, array.nbytes) | {8: 0, 124: 0x100}
    before = bytes(range(256)) * 16
    state = run(form.format(name), arch, vgprs={0: offsets}, sgprs=sgprs, exec=mask, memory=[array], lds=before)
    expected = bytearray(before)
    step = max(width, 4)
    words = loaded(array, offsets + 16, width, signed, None)
    for lane in np.flatnonzero(active(mask)):
        start = 0x100 + 16 + int(lane) * step
        expected[start : start + step] = words[:, lane].tobytes()
    assert bytes(state.lds) == bytes(expected)


def test_load_to_lds_writes_zeros_for_a_buffer_lane_out_of_range() -> None:
    array = memory(size=4096)
    sgprs = {**resource(array.ctypes.data, 128), 8: 0, 124: 0}
    state = run("buffer_load_dword v0, s[4:7], s8 offen lds", "gfx942", vgprs={0: LANES * 4}, sgprs=sgprs,
                memory=[array], lds=b"\xff" * 512)  # fmt: skip
    assert bytes(state.lds) == array[:128].tobytes() + bytes(128) + b"\xff" * 256


# ---- scratch --------------------------------------------------------------------------------------------------


def test_scratch_keeps_a_value_per_lane() -> None:
    text = """
    scratch_store_dwordx2 off, v[4:5], off offset:8
    scratch_store_short v1, v6, off
    scratch_store_byte off, v6, s4 offset:3
    s_waitcnt vmcnt(0)
    scratch_load_dwordx2 v[10:11], off, off offset:8
    scratch_load_ushort v12, v1, off
    scratch_load_ubyte v13, off, s4 offset:3
    scratch_load_dword v14, v1, s4 offset:-20
    """
    data = {4: LANES * 3 + 1, 5: LANES * 5 + 2, 6: LANES * 0x10001 + 0x1234, 1: LANES % 2 * 2 + 20}
    state = run(text, "gfx942", vgprs=data, sgprs={4: 40}, scratch_bytes=64)
    np.testing.assert_array_equal(state.v[10], data[4])
    np.testing.assert_array_equal(state.v[11], data[5])
    np.testing.assert_array_equal(state.v[12], data[6] & 0xFFFF)
    np.testing.assert_array_equal(state.v[13], data[6] & 0xFF)


def test_scratch_address_is_vector_plus_scalar_plus_offset() -> None:
    text = "scratch_store_dword off, v4, off offset:12\nscratch_load_dword v5, v1, s4 offset:-8"
    state = run(text, "gfx950", vgprs={4: LANES + 7, 1: np.full(64, 16, np.uint32)}, sgprs={4: 4}, scratch_bytes=16)
    np.testing.assert_array_equal(state.v[5], LANES + 7)


@pytest.mark.parametrize("offset", [-4, 62])
def test_access_outside_scratch_is_reported(offset: int) -> None:
    with pytest.raises(LabFault, match=r"OUT_OF_BOUNDS.*scratch"):
        run(f"scratch_load_dword v4, off, off offset:{offset}", "gfx942", scratch_bytes=64)
