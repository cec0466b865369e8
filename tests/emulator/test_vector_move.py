"""Moves, selections, exchanges between lanes, and between lanes and scalars."""

from __future__ import annotations

import numpy as np
import pytest

from cdna_emulator.lab import LabFault, run

LANES = 64
EVERY = np.arange(LANES, dtype=np.uint32)
FULL = 2**64 - 1
SOME = 0x8000_0000_DEAD_BEE0


def on(mask: int) -> np.ndarray:
    return np.array([bool(mask >> lane & 1) for lane in range(LANES)])


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**32, (count, LANES), dtype=np.uint32)


@pytest.mark.parametrize("mask", [FULL, SOME, 0])
def test_moves_under_exec(mask: int) -> None:
    a, old, other = noise(3)
    text = "v_mov_b32 v8, v2\nv_mov_b32 v9, s4\nv_mov_b32 v10, -2.0\nv_mov_b32 v11, 0xdeadbeef\nv_mov_b32 v2, v2"
    given = dict.fromkeys(range(8, 12), old) | {2: a, 3: other}
    state = run(text, "gfx942", vgprs=given, sgprs={4: 77}, exec=mask)
    wanted = (a, 77, 0xC0000000, 0xDEADBEEF)
    for register, value in zip(range(8, 12), wanted, strict=True):
        assert (state.v[register] == np.where(on(mask), np.uint32(value), old)).all()
    assert (state.v[2] == a).all()
    assert (state.v[3] == other).all()


@pytest.mark.parametrize("mask", [FULL, SOME])
def test_moves_of_64_bits(mask: int) -> None:
    a, b, old = noise(3)
    text = "v_mov_b64 v[8:9], v[2:3]\nv_mov_b64 v[10:11], s[4:5]\nv_mov_b64 v[12:13], -5"
    given = dict.fromkeys(range(8, 14), old) | {2: a, 3: b}
    state = run(text, "gfx942", vgprs=given, sgprs={4: 0x1234, 5: 0x5678}, exec=mask)
    wanted = (a, b, 0x1234, 0x5678, 2**32 - 5, 2**32 - 1)
    for register, value in zip(range(8, 14), wanted, strict=True):
        assert (state.v[register] == np.where(on(mask), np.uint32(value), old)).all()


@pytest.mark.parametrize("mask", [FULL, SOME])
def test_accumulation_registers(mask: int) -> None:
    a, old = noise(2)
    text = (
        "v_accvgpr_write_b32 a7, v2\nv_accvgpr_read_b32 v8, a7\nv_accvgpr_mov_b32 a9, a7\nv_accvgpr_write_b32 a10, 1.0"
    )
    state = run(text, "gfx942", vgprs={2: a, 8: old}, agprs={7: old, 9: old, 10: old}, exec=mask)
    for got in (state.a[7], state.a[9], state.v[8]):
        assert (got == np.where(on(mask), a, old)).all()
    assert (state.a[10] == np.where(on(mask), np.uint32(0x3F800000), old)).all()


@pytest.mark.parametrize("mask", [FULL, SOME])
@pytest.mark.parametrize("choice", [0, FULL, 0x0F0F_1234_FFFF_8001])
def test_selection_by_a_mask(choice: int, mask: int) -> None:
    a, b, old = noise(3)
    text = "v_cndmask_b32 v8, v2, v4, vcc\nv_cndmask_b32 v9, 0, v4, s[10:11]\nv_cndmask_b32 v10, -v2, |v4|, s[10:11]"
    given = {2: a, 4: b, 8: old, 9: old, 10: old}
    sgprs = {10: choice & 0xFFFFFFFF, 11: choice >> 32}
    state = run(text, "gfx942", vgprs=given, sgprs=sgprs, vcc=choice, exec=mask)
    picked, sign = on(choice), np.uint32(1 << 31)
    for register, first, second in ((8, a, b), (9, np.uint32(0), b), (10, a ^ sign, b & ~sign)):
        assert (state.v[register] == np.where(on(mask), np.where(picked, second, first), old)).all()


@pytest.mark.parametrize("mask", [FULL, SOME])
def test_swap(mask: int) -> None:
    a, b = noise(2)
    state = run("v_swap_b32 v2, v4", "gfx942", vgprs={2: a, 4: b}, exec=mask)
    assert (state.v[2] == np.where(on(mask), b, a)).all()
    assert (state.v[4] == np.where(on(mask), a, b)).all()


@pytest.mark.parametrize(("mask", "lane"), [(FULL, 0), (SOME, 5), (1 << 63, 63), (0, 0)])
def test_first_active_lane(mask: int, lane: int) -> None:
    a = noise(1)[0]
    assert run("v_readfirstlane_b32 s4, v2", "gfx942", vgprs={2: a}, exec=mask).s[4] == a[lane]


def test_one_lane_whatever_exec_says() -> None:
    a = noise(1)[0]
    text = "v_readlane_b32 s4, v2, 63\nv_readlane_b32 s5, v2, s8\nv_readlane_b32 s6, v2, m0"
    state = run(text, "gfx942", vgprs={2: a}, sgprs={8: 64 + 17, 124: 3}, exec=0)
    assert state.s[4:7].tolist() == [a[63], a[17], a[3]]


def test_write_of_one_lane_whatever_exec_says() -> None:
    a = noise(1)[0]
    text = "v_writelane_b32 v2, s4, 9\nv_writelane_b32 v2, -1, s8"
    state = run(text, "gfx942", vgprs={2: a}, sgprs={4: 0x1234, 8: 64 + 50}, exec=0)
    wanted = a.copy()
    wanted[9], wanted[50] = 0x1234, 0xFFFFFFFF
    assert (state.v[2] == wanted).all()


@pytest.mark.parametrize("half", [16, 32])
def test_exchange_of_rows_on_gfx950(half: int) -> None:
    """Odd rows of the destination change places with even rows of the source."""
    a, b = noise(2)
    state = run(f"v_permlane{half}_swap_b32 v2, v4", "gfx950", vgprs={2: a, 4: b})
    to, source = a.reshape(-1, 2, half).copy(), b.reshape(-1, 2, half).copy()
    to[:, 1], source[:, 0] = b.reshape(-1, 2, half)[:, 0], a.reshape(-1, 2, half)[:, 1]
    assert (state.v[2] == to.reshape(-1)).all()
    assert (state.v[4] == source.reshape(-1)).all()


def test_exchange_of_rows_with_lanes_off_stops() -> None:
    with pytest.raises(LabFault, match="some of them off"):
        run("v_permlane32_swap_b32 v2, v4", "gfx950", exec=1)
