"""Bytes, lines and bank conflicts, on patterns whose counts follow from the model by hand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from cdna_emulator.lab import State, address, run

LANES = np.arange(64, dtype=np.uint32)
U32 = npt.NDArray[np.uint32]


def aligned(size: int, alignment: int = 128) -> npt.NDArray[np.uint8]:
    room = np.zeros(size + alignment, np.uint8)
    return room[-room.ctypes.data % alignment :][:size]


def loaded(offsets: U32, *, mask: int = 2**64 - 1, width: str = "dword", registers: str = "v4") -> State:
    array = aligned(65536)
    return run(f"global_load_{width} {registers}, v0, s[4:5]", "gfx942", vgprs={0: offsets}, sgprs={4: address(array)},
               memory=[array], exec=mask)  # fmt: skip


@pytest.mark.parametrize(
    ("offsets", "lines"),
    [
        (LANES * 4, 2),
        (LANES * 4 + 64, 3),
        (LANES * 0, 1),
        (LANES * 128, 64),
        (LANES[::-1] * 128, 64),
        (LANES % 2 * 4096 + LANES // 2 * 4, 2),
        (LANES * 128 + 126, 65),  # each lane crosses into its neighbour's line
        (np.random.default_rng(0).permutation(64).astype(np.uint32) * 128 + 126, 65),
        (np.random.default_rng(0).permutation(64).astype(np.uint32) * 64, 32),
    ],
)
def test_distinct_lines_of_an_instruction(offsets: U32, lines: int) -> None:
    counters = loaded(offsets.astype(np.uint32)).counters
    assert counters.instruction_lines == lines
    assert counters.load_bytes == 256


def test_only_active_lanes_count() -> None:
    state = loaded(LANES * 128, mask=0b1011, width="dwordx4", registers="v[4:7]")
    assert (state.counters.load_bytes, state.counters.instruction_lines) == (48, 3)
    state = loaded(LANES * 128, mask=0)
    assert (state.counters.load_bytes, state.counters.instruction_lines) == (0, 0)


def test_bytes_by_kind_and_by_allocation() -> None:
    first, second = aligned(4096), aligned(4096)
    text = """
    global_load_dwordx2 v[4:5], v0, s[4:5]
    global_store_dword v0, v1, s[6:7]
    global_atomic_add v0, v1, s[6:7]
    buffer_load_dword v6, v0, s[8:11], 0 offen
    buffer_store_dword v1, v0, s[8:11], 0 offen
    """
    base = address(first)
    resource = {8: base & 0xFFFFFFFF, 9: base >> 32 & 0xFFFF, 10: 128, 11: 0x27000}
    state = run(text, "gfx942", vgprs={0: LANES * 8}, sgprs={4: base, 6: address(second), **resource},
                memory=[first, second])  # fmt: skip
    counters = state.counters
    assert counters.load_bytes == 512 + 64  # 16 lanes of the buffer load lie within its 128 bytes
    assert counters.store_bytes == 256 + 64
    assert counters.atomic_bytes == 256
    assert state.allocations == [(512 + 64, 64), (256, 256 + 256)]


@pytest.mark.parametrize("arch", ["gfx942", "gfx950"])
def test_lds_bytes(arch: str) -> None:
    text = "ds_write_b64 v0, v[2:3]\nds_read_b128 v[4:7], v1\nds_add_u32 v0, v2\nds_read2_b32 v[8:9], v0 offset1:1"
    counters = run(text, arch, vgprs={0: LANES * 8, 1: LANES * 16}, lds=4096, exec=0xFFFF).counters
    assert counters.lds_write_bytes == 16 * (8 + 4)
    assert counters.lds_read_bytes == 16 * (16 + 4 + 8)


def conflicts(text: str, places: U32, arch: str = "gfx942", mask: int = 2**64 - 1) -> int:
    data = dict.fromkeys(range(4, 12), LANES)
    return int(run(text, arch, vgprs={**data, 0: places}, lds=65536, exec=mask).counters.lds_bank_conflicts)


@pytest.mark.parametrize(
    ("stride", "extra"),
    [(4, 0), (8, 2), (16, 6), (32, 14), (128, 62), (132, 0), (256, 62), (0, 0), (12, 0), (20, 0)],
)
@pytest.mark.parametrize("text", ["ds_read_b32 v4, v0", "ds_write_b32 v0, v4"])
@pytest.mark.parametrize("arch", ["gfx942", "gfx950"])
def test_dwords_at_a_stride(arch: str, text: str, stride: int, extra: int) -> None:
    """Two groups of 32 lanes over 32 banks: a stride of 2**k dwords leaves 32 >> k banks in use."""
    assert conflicts(text, LANES * stride, arch) == extra


def test_half_dwords_of_one_dword_do_not_conflict() -> None:
    assert conflicts("ds_write_b16 v0, v4", LANES * 2) == 0
    assert conflicts("ds_read_u8 v4, v0", LANES) == 0


def test_lanes_of_different_groups_do_not_conflict() -> None:
    assert conflicts("ds_read_b32 v4, v0", LANES % 32 * 4 + LANES // 32 * 128) == 0
    assert conflicts("ds_read_b32 v4, v0", LANES // 32 * 128 + 0) == 0
    assert conflicts("ds_read_b32 v4, v0", LANES * 128, mask=1 << 3 | 1 << 40) == 0
    assert conflicts("ds_read_b32 v4, v0", LANES * 128, mask=1 << 3 | 1 << 9) == 1


@pytest.mark.parametrize(("arch", "extra"), [("gfx942", 4), ("gfx950", 2)])
def test_pairs_of_dwords_at_twice_their_width(arch: str, extra: int) -> None:
    """Stride 16: 16 lanes over 32 banks meet in twos, in four groups; 32 lanes over 64 banks likewise, in two."""
    assert conflicts("ds_read_b64 v[4:5], v0", LANES * 8, arch) == 0
    assert conflicts("ds_read_b64 v[4:5], v0", LANES * 16, arch) == extra
    assert conflicts("ds_write_b64 v0, v[4:5]", LANES * 16, arch) == 4
    assert conflicts("ds_read2_b64 v[4:7], v0 offset1:1", LANES * 16, arch) == 8


GROUPS = {
    "gfx942": [[*range(0, 4), *range(20, 24)], [*range(4, 8), *range(16, 20)], [*range(8, 12), *range(28, 32)],
               [*range(12, 16), *range(24, 28)]],
    "gfx950": [[*range(0, 4), *range(12, 16), *range(20, 28)], [*range(4, 12), *range(16, 20), *range(28, 32)]],
}  # fmt: skip


@pytest.mark.parametrize("arch", ["gfx942", "gfx950"])
def test_quads_of_dwords_are_read_in_interleaved_groups(arch: str) -> None:
    """Each group is given its own conflict-free row of banks; then one lane moves onto another of its group."""
    places = np.zeros(64, np.uint32)
    for number, group in enumerate(GROUPS[arch]):
        for slot, lane in enumerate(group):
            places[lane] = number * 4096 + slot * 16
            places[lane + 32] = number * 4096 + slot * 16 + 256 * len(group)
    assert conflicts("ds_read_b128 v[4:7], v0", places, arch) == 0
    for group in GROUPS[arch]:
        moved = places.copy()
        moved[group[-1]] = places[group[0]] + 1024  # the same banks, other dwords
        assert conflicts("ds_read_b128 v[4:7], v0", moved, arch) == 1


@pytest.mark.parametrize(("arch", "extra"), [("gfx942", 8), ("gfx950", 4)])
def test_quads_are_written_in_groups_of_eight_lanes(arch: str, extra: int) -> None:
    """Eight consecutive lanes fill the banks once; lanes 0-3 and 20-23 share theirs."""
    places = (LANES + LANES // 16 % 2 * 4) % 8 * 16 + LANES // 8 * 4096
    assert conflicts("ds_write_b128 v0, v[4:7]", places, arch) == 0
    assert conflicts("ds_read_b128 v[4:7], v0", places, arch) == extra


def modelled(places: U32, width: int, groups: list[list[int]], banks: int) -> int:
    """Extra cycles, counted with sets."""
    extra = 0
    for group in groups:
        wanted: dict[int, set[int]] = {}
        for lane in group:
            for dword in range(int(places[lane]) // 4, (int(places[lane]) + width - 1) // 4 + 1):
                wanted.setdefault(dword % banks, set()).add(dword)
        extra += max(len(dwords) for dwords in wanted.values()) - 1
    return extra


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("arch", ["gfx942", "gfx950"])
@pytest.mark.parametrize("width", [4, 8, 12, 16])
def test_scattered_reads(arch: str, width: int, seed: int) -> None:
    places = np.random.default_rng(seed).integers(0, 1024, 64).astype(np.uint32) * 4
    name = f"b{8 * width}"
    wide = arch == "gfx950" and width in (8, 16)
    if width == 16:
        groups = [[lane + half for lane in group] for half in (0, 32) for group in GROUPS[arch]]
    else:
        size = 32 if width == 4 or wide else 16 if width == 8 else 8
        groups = [list(range(first, first + size)) for first in range(0, 64, size)]
    registers = f"v[4:{3 + width // 4}]" if width > 4 else "v4"
    expected = modelled(places, width, groups, 64 if wide else 32)
    assert conflicts(f"ds_read_{name} {registers}, v0", places, arch) == expected


def test_rows_of_a_power_of_two_conflict_and_padded_rows_do_not() -> None:
    """Sixteen rows of 128 bytes read by columns of 16 bytes, the usual operand of an MFMA."""
    rows = LANES % 16 * 128 + LANES // 16 * 16
    padded = LANES % 16 * (128 + 16) + LANES // 16 * 16
    assert conflicts("ds_read_b128 v[4:7], v0", rows) == 8 * 3  # four lanes of each group are in one column
    assert conflicts("ds_read_b128 v[4:7], v0", padded) == 8 * 1  # the eighth row is back at the first bank


def test_permutations_touch_no_bank() -> None:
    assert conflicts("ds_bpermute_b32 v4, v0, v5", LANES * 0) == 0
    assert conflicts("ds_swizzle_b32 v4, v0 offset:0x41f", LANES * 128) == 0


def test_counts_are_the_same_each_time() -> None:
    places = np.random.default_rng(0).integers(0, 4096, 64).astype(np.uint32) * 4
    assert len({conflicts("ds_read_b32 v4, v0", places) for _ in range(3)}) == 1
