"""What the emulator reports and a card does not: races, undefined reads, results used too early; each with its fault
planted, and each silent on the same code without the fault."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import triton
import triton.language as tl

import cdna_emulator
from cdna_emulator.core import Order
from cdna_emulator.lab import LabFault, address, run

LANES = np.arange(64, dtype=np.uint32)
TWO = np.stack([LANES, LANES])  # one row a wave
OWN = np.stack([LANES * 4, LANES * 4 + 256])  # each wave its half of 512 bytes
OTHER = OWN[::-1].copy()
ORDERS = [Order.FORWARD, Order.REVERSE]


# ---- races ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
def test_reading_what_another_wave_wrote_needs_a_barrier(order: Order) -> None:
    text = "ds_write_b32 v0, v1\ns_waitcnt lgkmcnt(0)\n{}\nds_read_b32 v2, v3"
    given = {"vgprs": {0: OWN, 1: TWO + 7, 3: OTHER}, "lds": 512, "waves": 2, "order": order}
    state = run(text.format("s_barrier"), "gfx942", **given, check_races=True)
    np.testing.assert_array_equal(state.waves_v[:, 2], TWO + 7)
    with pytest.raises(LabFault, match="RACE") as caught:
        run(text.format("s_nop 0"), "gfx942", **given, check_races=True)
    assert {caught.value.wave, caught.value.other_wave} == {0, 1}
    run(text.format("s_nop 0"), "gfx942", **given)  # a card says nothing


@pytest.mark.parametrize("order", ORDERS)
def test_overwriting_what_another_wave_reads_needs_a_barrier(order: Order) -> None:
    text = "ds_read_b32 v2, v3\ns_waitcnt lgkmcnt(0)\n{}\nds_write_b32 v0, v1"
    given = {"vgprs": {0: OWN, 1: TWO + 7, 3: OTHER}, "lds": 512, "waves": 2, "order": order, "check_races": True}
    run(text.format("s_barrier"), "gfx942", **given)
    with pytest.raises(LabFault, match="RACE"):
        run(text.format("s_nop 0"), "gfx942", **given)


def test_two_waves_may_write_one_place_only_with_one_value() -> None:
    same, different = TWO + 7, np.stack([LANES, LANES + 1])
    given = {"lds": 512, "waves": 2, "check_races": True}
    run("ds_write_b32 v0, v1", "gfx942", vgprs={0: TWO * 4, 1: same}, **given)
    with pytest.raises(LabFault, match=r"RACE: wave 1 overwrites what was written by wave 0"):
        run("ds_write_b32 v0, v1", "gfx942", vgprs={0: TWO * 4, 1: different}, **given)


def test_a_wave_may_read_what_it_wrote_itself_as_another_did_too() -> None:
    text = "ds_write_b32 v0, v1\ns_waitcnt lgkmcnt(0)\nds_read_b32 v2, v0"
    run(text, "gfx942", vgprs={0: TWO * 4, 1: TWO + 7}, lds=512, waves=2, check_races=True)


def test_halves_of_a_dword_belong_to_different_waves() -> None:
    halves = np.stack([LANES * 4, LANES * 4 + 2])
    run("ds_write_b16 v0, v1", "gfx942", vgprs={0: halves, 1: TWO + 7}, lds=512, waves=2, check_races=True)


def test_atomics_of_two_waves_do_not_race_but_a_plain_read_does() -> None:
    given = {"vgprs": {0: TWO * 4, 1: TWO + 1}, "lds": 512, "waves": 2, "check_races": True}
    run("ds_add_u32 v0, v1", "gfx942", **given)
    text = "ds_add_u32 v0, v1\ns_waitcnt lgkmcnt(0)\n{}\nds_read_b32 v2, v0"
    run(text.format("s_barrier"), "gfx942", **given)
    with pytest.raises(LabFault, match="RACE"):
        run(text.format("s_nop 0"), "gfx942", **given)


def test_load_straight_into_lds_races_like_a_write() -> None:
    data = np.arange(128, dtype=np.uint32)
    text = "s_mov_b32 m0, 0\nglobal_load_lds_dword v0, s[4:5]\ns_waitcnt vmcnt(0)\n{}\nds_read_b32 v2, v3"
    given: dict[str, Any] = {
        "vgprs": {0: np.stack([LANES * 4, LANES * 4 + 256]), 3: TWO * 4},
        "sgprs": {4: address(data)},
    }
    with pytest.raises(LabFault, match=r"RACE: wave 1 overwrites what was"):
        run(text.format("s_nop 0"), "gfx942", **given, memory=[data], lds=512, waves=2, check_races=True)


# ---- undefined ------------------------------------------------------------------------------------------------


def test_reading_lds_that_was_never_written() -> None:
    text = "ds_write_b32 v0, v1\ns_waitcnt lgkmcnt(0)\nds_read_{} v[2:3], v0"
    given = {"vgprs": {0: LANES * 4, 1: LANES}, "lds": 1024, "check_undefined": True}
    with pytest.raises(LabFault, match=r"UNDEFINED_READ: LDS byte 256 .*lane 63"):
        run(text.format("b64"), "gfx942", **given)
    run(text.replace("v[2:3]", "v2").format("b32"), "gfx942", **given)


def test_atomic_of_lds_reads_before_it_writes() -> None:
    with pytest.raises(LabFault, match="UNDEFINED_READ"):
        run("ds_add_u32 v0, v1", "gfx942", vgprs={0: LANES * 4}, lds=512, check_undefined=True)


def test_reading_memory_that_was_never_written() -> None:
    data, marks = np.zeros(64, np.uint32), np.zeros(256, np.uint8)
    given = {"vgprs": {0: LANES * 4}, "sgprs": {4: address(data)}, "memory": [data], "check_undefined": True}
    store, load = "global_store_short v0, v1, s[4:5]", "global_load_{} v2, v0, s[4:5]"
    run(store, "gfx942", **given, written=[marks])
    assert marks.reshape(64, 4).tolist() == [[1, 1, 0, 0]] * 64
    run(load.format("ushort"), "gfx942", **given, written=[marks])
    with pytest.raises(LabFault, match=r"UNDEFINED_READ.*lane 0"):
        run(load.format("dword"), "gfx942", **given, written=[marks])
    run(load.format("dword"), "gfx942", **given, written=[None])


# ---- waits ----------------------------------------------------------------------------------------------------

DATA = np.arange(256, dtype=np.uint32)


def waiting(text: str, **more: Any) -> None:
    given: dict[str, Any] = {"vgprs": {0: LANES * 4}, "sgprs": {4: address(DATA)}, "memory": [DATA], "lds": 1024}
    run(text, "gfx942", **{**given, **more}, check_waits=True)


LOAD, LOAD_MORE = "global_load_dword v2, v0, s[4:5]", "global_load_dword v3, v0, s[4:5] offset:4"
USE, USE_MORE = "v_mov_b32 v8, v2", "v_mov_b32 v9, v3"
ENOUGH = [
    [LOAD, "s_waitcnt vmcnt(0)", USE],
    [LOAD, LOAD_MORE, "s_waitcnt vmcnt(1)", USE, "s_waitcnt vmcnt(0)", USE_MORE],
    [LOAD, "global_store_dword v0, v0, s[4:5] offset:512", "s_waitcnt vmcnt(1)", USE],  # stores count
    [LOAD, LOAD, "s_waitcnt vmcnt(0)", USE],  # two loads into one register arrive in order
    ["global_store_dword v0, v1, s[4:5] offset:512", "v_mov_b32 v1, 0"],  # a store has read its data when it is issued
    ["ds_read_b32 v2, v0", "ds_read_b32 v3, v0", "s_waitcnt lgkmcnt(1)", USE],
    ["s_load_dword s8, s[4:5], 0x0", "s_waitcnt lgkmcnt(0)", "s_mov_b32 s9, s8"],
    ["ds_read_b32 v2, v0", "s_load_dword s8, s[4:5], 0x0", "s_waitcnt lgkmcnt(0)", USE],
    ["global_load_dword a2, v0, s[4:5]", "s_waitcnt vmcnt(0)", "v_accvgpr_read_b32 v8, a2"],
    ["buffer_inv sc1", LOAD, "s_waitcnt vmcnt(0)", USE],
    ["ds_bpermute_b32 v2, v0, v1", "s_waitcnt lgkmcnt(0)", USE],
]
TOO_LITTLE = [
    ([LOAD, USE], r"v2 read before s_waitcnt vmcnt for the load at pc 0x0"),
    ([LOAD, "v_mov_b32 v2, 0"], "v2 overwritten"),
    ([LOAD, "s_waitcnt lgkmcnt(0)", USE], "v2 read"),
    ([LOAD, LOAD_MORE, "s_waitcnt vmcnt(1)", USE_MORE], r"v3 read .* pc 0x8"),
    (["global_store_dword v0, v0, s[4:5] offset:512", LOAD, "s_waitcnt vmcnt(1)", USE], "v2 read"),
    ([LOAD, "buffer_inv sc1", "s_waitcnt vmcnt(1)", USE], "v2 read"),  # an invalidation is not counted
    ([LOAD, "global_store_dword v0, v2, s[4:5] offset:512"], "v2 read"),
    ([LOAD, "ds_read_b32 v2, v0"], "v2 overwritten"),  # LDS may be faster
    (["global_load_dwordx4 v[4:7], v0, s[4:5]", "v_mov_b32 v8, v7"], "v7 read"),
    (["global_atomic_add v2, v0, v1, s[4:5] sc0", USE], "v2 read"),
    (["ds_read_b32 v2, v0", "s_waitcnt vmcnt(0)", USE], "v2 read before s_waitcnt lgkmcnt"),
    (["ds_read_b32 v3, v0", "ds_read_b32 v2, v0", "s_waitcnt lgkmcnt(1)", USE], "v2 read"),
    (["ds_bpermute_b32 v2, v0, v1", USE], "v2 read"),
    (["s_load_dword s8, s[4:5], 0x0", "s_mov_b32 s9, s8"], "s8 read"),
    (["s_load_dwordx2 s[8:9], s[4:5], 0x0", "s_mov_b32 s9, 0"], "s9 overwritten"),
    # scalar loads come back in any order: only lgkmcnt(0) is enough
    (
        ["s_load_dword s8, s[4:5], 0x0", "s_load_dword s9, s[4:5], 0x4", "s_waitcnt lgkmcnt(1)", "s_mov_b32 s10, s8"],
        "s8 read",
    ),
    (["s_load_dword s4, s[4:5], 0x0", LOAD], "s4 read"),  # an address, too
    (["global_load_dword a2, v0, s[4:5]", "v_accvgpr_read_b32 v8, a2"], "a2 read"),
    (["flat_load_dword v2, v[10:11]", "s_waitcnt vmcnt(0)", USE], r"v2 read before s_waitcnt lgkmcnt\(0\)"),
    (["flat_load_dword v2, v[10:11]", "s_waitcnt lgkmcnt(0)", USE], r"v2 read before s_waitcnt vmcnt\(0\)"),
]


@pytest.mark.parametrize("lines", ENOUGH, ids=lambda lines: "; ".join(lines))
def test_waited_for(lines: list[str]) -> None:
    waiting("\n".join(lines))


@pytest.mark.parametrize(
    ("lines", "what"), TOO_LITTLE, ids=lambda value: "; ".join(value) if isinstance(value, list) else ""
)
def test_not_waited_for(lines: list[str], what: str) -> None:
    place = {
        10: np.full(64, address(DATA) & 0xFFFFFFFF, np.uint32),
        11: np.full(64, address(DATA) >> 32 & 0xFFFFFFFF, np.uint32),
    }
    with pytest.raises(LabFault, match=f"USE_BEFORE_WAIT: .*{what}"):
        waiting("\n".join(lines), vgprs={0: LANES * 4, **place})


def test_a_full_counter_has_stalled_until_the_oldest_is_there() -> None:
    waiting("\n".join([LOAD, *[LOAD_MORE] * 63, USE]))
    with pytest.raises(LabFault, match="v2 read"):
        waiting("\n".join([LOAD, *[LOAD_MORE] * 62, USE]))


TO_LDS = "s_mov_b32 m0, 0\nglobal_load_lds_dword v0, s[4:5]\n"


def test_load_straight_into_lds_arrives_with_vmcnt() -> None:
    waiting(TO_LDS + "s_waitcnt vmcnt(0)\nds_read_b32 v2, v0")
    with pytest.raises(LabFault, match=r"LDS byte 0 read before wave 0 waited \(vmcnt\) for the load at pc 0x4"):
        waiting(TO_LDS + "ds_read_b32 v2, v0")
    with pytest.raises(LabFault, match="LDS byte 0 overwritten before"):
        waiting(TO_LDS + "ds_write_b32 v0, v1")
    waiting(TO_LDS + TO_LDS + "s_waitcnt vmcnt(0)\nds_read_b32 v2, v0")
    with pytest.raises(LabFault, match="USE_BEFORE_WAIT"):
        waiting(TO_LDS + TO_LDS + "s_waitcnt vmcnt(1)\nds_read_b32 v2, v0")


def test_what_is_waited_for_after_the_barrier_is_waited_for_too_late() -> None:
    text = "ds_write_b32 v0, v1\n{}s_barrier\ns_waitcnt lgkmcnt(0)\nds_read_b32 v2, v3"
    given = {"vgprs": {0: OWN, 1: TWO + 7, 3: OTHER}, "waves": 2}
    waiting(text.format("s_waitcnt lgkmcnt(0)\n"), **given)
    with pytest.raises(LabFault, match=r"LDS byte 256 read before wave 1 waited \(lgkmcnt\) for the write at pc 0x0"):
        waiting(text.format(""), **given)


# ---- in Triton's kernels --------------------------------------------------------------------------------------


@triton.jit
def _row_sums(x, out, n, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0)
    columns = tl.arange(0, BLOCK)
    tl.store(out + row, tl.sum(tl.load(x + row * n + columns, mask=columns < n, other=0.0)))


ROWS, COLUMNS = 3, 1000
BARRIER, WAIT, NOP = 0xBF8A0000, 0xBF8C0000, 0xBF800000


def patched(elf: bytes, program: cdna_emulator.Program, kind: int) -> bytes:
    """The code object with its barriers or waits turned into s_nop."""
    text = program.code_object.text
    start = elf.index(text)
    words = bytearray(elf)
    names = {BARRIER: "s_barrier", WAIT: "s_waitcnt"}
    found = 0
    for row in program.code:
        at = start + int(row["pc"])
        (word,) = struct.unpack_from("<I", words, at)
        if word & 0xFFFF0000 == kind:
            struct.pack_into("<I", words, at, NOP)
            found += 1
    assert found, names[kind]
    return bytes(words)


@pytest.fixture(scope="module", params=["gfx942", "gfx950"])
def row_sums(request: pytest.FixtureRequest) -> tuple[bytes, int]:
    """The code object for four warps, and its LDS bytes; the run that compiled it passed all checks."""
    x, out = torch.randn(ROWS, COLUMNS), torch.empty(ROWS)
    with cdna_emulator.device(request.param, check_races=True, check_undefined=True, check_waits=True) as gpu:
        gpu.undefined(out)
        kernel = _row_sums[(ROWS,)](x, out, COLUMNS, BLOCK=1024, num_warps=4)
    torch.testing.assert_close(out, x.sum(1))
    return kernel.asm["hsaco"], kernel.metadata.shared


def launch(elf: bytes, shared: int, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
    x, out = torch.randn(ROWS, COLUMNS), torch.zeros(ROWS)
    chosen = cdna_emulator.Options(**options)
    cdna_emulator.Program.load(elf).launch(ROWS, [x, out, COLUMNS], num_warps=4, shared=shared, options=chosen)
    return out, x.sum(1)


@pytest.mark.parametrize("order", ["forward", "reverse", "seeded"])
def test_kernel_passes_all_checks_in_any_order(row_sums: tuple[bytes, int], order: str) -> None:
    found, expected = launch(*row_sums, order=order, check_races=True, check_undefined=True, check_waits=True)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("order", ["forward", "reverse"])
def test_kernel_without_its_barriers_races(row_sums: tuple[bytes, int], order: str) -> None:
    elf, shared = row_sums
    broken = patched(elf, cdna_emulator.Program.load(elf), BARRIER)
    with pytest.raises(cdna_emulator.RaceError, match="wave") as caught:
        launch(broken, shared, order=order, check_races=True)
    assert caught.value.place.source is not None
    assert caught.value.place.source[0].endswith(".py")
    found, expected = launch(broken, shared, order=order)
    # In reverse, the first wave, which stores the result, comes last by luck: a race that only the check sees.
    assert torch.allclose(found, expected, atol=1e-3) == (order == "reverse")  # a sum may be near zero


def test_kernel_without_its_waits_uses_results_too_early(row_sums: tuple[bytes, int]) -> None:
    elf, shared = row_sums
    broken = patched(elf, cdna_emulator.Program.load(elf), WAIT)
    with pytest.raises(cdna_emulator.UseBeforeWaitError, match="before s_waitcnt"):
        launch(broken, shared, check_waits=True)


@triton.jit
def _shifted_copy(x, out, n, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + at, tl.load(x + at + 1, mask=at < n), mask=at < n)


def test_access_beyond_a_tensor_names_it_and_the_line() -> None:
    x, out = torch.randn(1000), torch.empty(1000)
    with (
        cdna_emulator.device("gfx942"),
        pytest.raises(cdna_emulator.OutOfBoundsError, match=r"`x` \(float32 \[1000\]") as caught,
    ):
        _shifted_copy[(1,)](x, out, 1000, BLOCK=1024, num_warps=1)
    error = caught.value
    assert (error.tensor, error.offset) == ("x", 4000)
    assert error.place.source is not None
    file, line = error.place.source
    # By name: Triton's cache may hold the code of another checkout's equal kernel.
    assert Path(file).name == Path(__file__).name
    assert "tl.load(x + at + 1" in Path(__file__).read_text().splitlines()[line - 1]


def test_output_that_is_read_before_it_is_written_is_undefined() -> None:
    x, out = torch.empty(256), torch.zeros(256)
    with cdna_emulator.device("gfx942", check_undefined=True) as gpu:
        gpu.undefined(x)
        with pytest.raises(cdna_emulator.UndefinedReadError, match="`x`"):
            _shifted_copy[(1,)](x, out, 255, BLOCK=256, num_warps=1)
