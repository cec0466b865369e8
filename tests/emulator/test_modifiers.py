"""EXEC, DPP, SDWA, clamp, output modifiers, op_sel and MODE, on instructions whose plain result is simple."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from exact import is_nan, same_floats
from lanes import F16, F32, LANES, execute, tuples, wide, words

from cdna_emulator.assemble import assemble
from cdna_emulator.errors import UnsupportedInstruction
from cdna_emulator.lab import LabFault, run

FULL = 2**64 - 1
SOME = 0xF0F0_1234_8001_FEDC
OLD = 0xDEADBEEF
IEEE = 0x200
DX10_CLAMP = 0x100
KEEP_ALL = 0xF0


def on(mask: int) -> np.ndarray:
    return np.array([bool(mask >> lane & 1) for lane in range(LANES)])


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**32, LANES, dtype=np.uint32)


# ---- EXEC ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [SOME, 1, 1 << 63, 0])
@pytest.mark.parametrize(
    "text",
    [
        "v_add_u32 v8, v2, v4",
        "v_add_f32 v8, v2, v4",
        "v_fma_f32 v8, v2, v4, v6",
        "v_add_f16 v8, v2, v4",
        "v_fma_f16 v8, v2, v4, v6",
        "v_fma_f64 v[8:9], v[2:3], v[4:5], v[6:7]",
        "v_lshlrev_b64 v[8:9], v2, v[4:5]",
        "v_pk_add_f32 v[8:9], v[2:3], v[4:5]",
        "v_pk_add_f16 v8, v2, v4",
        "v_mad_u64_u32 v[8:9], vcc, v2, v4, v[6:7]",
        "v_div_fixup_f32 v8, v2, v4, v6",
        "v_dot4_i32_i8 v8, v2, v4, v6",
        "v_ldexp_f32 v8, v2, v4",
        "v_frexp_exp_i32_f64 v8, v[2:3]",
    ],
)
def test_lanes_that_are_off_keep_their_registers(text: str, mask: int) -> None:
    given = {n: noise(n) for n in range(2, 10)}
    full, part = run(text, "gfx942", vgprs=given), run(text, "gfx942", vgprs=given, exec=mask)
    for register in (8, 9):
        assert (part.v[register] == np.where(on(mask), full.v[register], given[register])).all()
    assert not np.array_equal(full.v[8], given[8])


# ---- DPP -----------------------------------------------------------------------------------------------------------

CONTROLS: dict[str, Callable[[int], int | None]] = {  # assembly: the lane that a lane reads
    "quad_perm:[3,1,0,2]": lambda i: i - i % 4 + (3, 1, 0, 2)[i % 4],
    "row_shl:1": lambda i: i + 1 if i % 16 < 15 else None,
    "row_shl:15": lambda i: i + 15 if i % 16 < 1 else None,
    "row_shr:1": lambda i: i - 1 if i % 16 > 0 else None,
    "row_shr:8": lambda i: i - 8 if i % 16 > 7 else None,
    "row_ror:3": lambda i: i - i % 16 + (i % 16 - 3) % 16,
    "row_newbcast:5": lambda i: i - i % 16 + 5,
    "wave_shl:1": lambda i: i + 1 if i < 63 else None,
    "wave_rol:1": lambda i: (i + 1) % 64,
    "wave_shr:1": lambda i: i - 1 if i > 0 else None,
    "wave_ror:1": lambda i: (i - 1) % 64,
    "row_mirror": lambda i: i - i % 16 + 15 - i % 16,
    "row_half_mirror": lambda i: i - i % 8 + 7 - i % 8,
    "row_bcast:15": lambda i: i - i % 16 - 1 if i >= 16 else None,
    "row_bcast:31": lambda i: 31 if i >= 32 else None,
}


def moved(control: str, a: np.ndarray, old: np.ndarray, mask: int, *, zero: bool, rows: int, banks: int) -> np.ndarray:
    result = old.copy()
    for lane in range(LANES):
        source = CONTROLS[control](lane)
        valid = source is not None and bool(mask >> source & 1)
        wanted = rows >> lane // 16 & 1 and banks >> lane % 16 // 4 & 1 and mask >> lane & 1
        if wanted and (valid or zero):
            result[lane] = a[source] if valid else 0
    return result


@pytest.mark.parametrize("mask", [FULL, SOME])
@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("control", CONTROLS)
def test_lanes_read_other_lanes(control: str, zero: bool, mask: int) -> None:
    a, old = noise(1), noise(2)
    text = f"v_mov_b32_dpp v8, v2 {control} row_mask:0xf bank_mask:0xf" + (" bound_ctrl:0" if zero else "")
    state = run(text, "gfx942", vgprs={2: a, 8: old}, exec=mask)
    assert (state.v[8] == moved(control, a, old, mask, zero=zero, rows=15, banks=15)).all()


@pytest.mark.parametrize(("rows", "banks"), [(0xA, 0xF), (0xF, 0x6), (0x1, 0x8), (0, 0)])
def test_rows_and_banks_that_are_not_written(rows: int, banks: int) -> None:
    a, old = noise(3), noise(4)
    text = f"v_mov_b32_dpp v8, v2 row_shr:2 row_mask:{rows:#x} bank_mask:{banks:#x} bound_ctrl:0"
    state = run(text, "gfx942", vgprs={2: a, 8: old})
    assert (state.v[8] == moved_by_two(a, old, rows, banks)).all()


def moved_by_two(a: np.ndarray, old: np.ndarray, rows: int, banks: int) -> np.ndarray:
    shifted = np.concatenate([np.zeros((4, 2), np.uint32), a.reshape(4, 16)[:, :-2]], axis=1).reshape(-1)
    lane = np.arange(LANES)
    return np.where((rows >> lane // 16 & 1) & (banks >> lane % 16 // 4 & 1), shifted, old)


def test_dpp_applies_to_the_first_source_alone() -> None:
    a, b = noise(5), noise(6)
    state = run("v_sub_u32_dpp v8, v2, v4 row_mirror row_mask:0xf bank_mask:0xf", "gfx942", vgprs={2: a, 4: b})
    assert (state.v[8] == a.reshape(4, 16)[:, ::-1].reshape(-1) - b).all()


def test_dpp_with_signs_and_an_accumulator() -> None:
    a, b, c = (np.arange(n, n + LANES, dtype=np.float32) for n in (1, 2, 3))
    text = "v_fmac_f32_dpp v6, -v2, |v4| quad_perm:[1,0,3,2] row_mask:0xf bank_mask:0xf"
    state = run(text, "gfx942", vgprs={2: a, 4: -b, 6: c})
    assert (state.f32(6) == -a.reshape(-1, 2)[:, ::-1].reshape(-1) * b + c).all()


def test_dpp_in_place() -> None:
    a = noise(7)
    state = run("v_add_u32_dpp v2, v2, v2 row_ror:8 row_mask:0xf bank_mask:0xf", "gfx942", vgprs={2: a})
    assert (state.v[2] == np.roll(a.reshape(4, 16), 8, axis=1).reshape(-1) + a).all()


def test_dpp_carries_nothing_where_nothing_is_read() -> None:
    text = "v_add_co_u32_dpp v8, vcc, v2, v4 row_shr:1 row_mask:0xf bank_mask:0xf"
    state = run(text, "gfx942", vgprs={2: 0xFFFFFFFF, 4: 1, 8: OLD}, vcc=FULL)
    assert state.vcc == 0xFFFE_FFFE_FFFE_FFFE
    assert (state.v[8] == np.where(np.arange(LANES) % 16 == 0, OLD, 0)).all()


def test_dpp_of_64_bits() -> None:
    a = np.random.default_rng(8).integers(0, 2**64, LANES, dtype=np.uint64)
    state = run("v_mov_b64_dpp v[8:9], v[2:3] row_newbcast:3 row_mask:0xf bank_mask:0xf", "gfx942", vgprs={2: a})
    assert (state.u64(8) == np.repeat(a[3::16], 16)).all()


# ---- SDWA ----------------------------------------------------------------------------------------------------------

PARTS = {f"BYTE_{n}": (8 * n, 8) for n in range(4)} | {"WORD_0": (0, 16), "WORD_1": (16, 16), "DWORD": (0, 32)}


def part(a: np.ndarray, name: str, *, sign: bool = False) -> np.ndarray:
    shift, bits = PARTS[name]
    field = (a.astype(np.int64) >> shift) & (1 << bits) - 1
    if sign:
        field = np.where(field >> bits - 1 & 1, field - (1 << bits), field)
    return field


@pytest.mark.parametrize("sign", [False, True])
@pytest.mark.parametrize("second", PARTS)
@pytest.mark.parametrize("first", PARTS)
def test_parts_of_the_sources(first: str, second: str, sign: bool) -> None:
    a, b = noise(9), noise(10)
    x, y = ("sext(v2)", "sext(v4)") if sign else ("v2", "v4")
    text = f"v_sub_u32_sdwa v8, {x}, {y} dst_sel:DWORD dst_unused:UNUSED_PAD src0_sel:{first} src1_sel:{second}"
    state = run(text, "gfx942", vgprs={2: a, 4: b})
    assert (state.v[8] == (part(a, first, sign=sign) - part(b, second, sign=sign)).astype(np.uint32)).all()


@pytest.mark.parametrize("mask", [FULL, SOME])
@pytest.mark.parametrize("unused", ["UNUSED_PAD", "UNUSED_SEXT", "UNUSED_PRESERVE"])
@pytest.mark.parametrize("to", PARTS)
def test_part_of_the_result(to: str, unused: str, mask: int) -> None:
    a, b, old = noise(11), noise(12), noise(13)
    text = f"v_xor_b32_sdwa v8, v2, v4 dst_sel:{to} dst_unused:{unused} src0_sel:DWORD src1_sel:DWORD"
    state = run(text, "gfx942", vgprs={2: a, 4: b, 8: old}, exec=mask)
    shift, bits = PARTS[to]
    field = (a ^ b).astype(np.int64) & (1 << bits) - 1
    if unused == "UNUSED_PRESERVE":
        placed = old.astype(np.int64) & ~(((1 << bits) - 1) << shift) | field << shift
    elif unused == "UNUSED_SEXT":
        placed = np.where(field >> bits - 1 & 1, field - (1 << bits), field) << shift
    else:
        placed = field << shift
    assert (state.v[8] == np.where(on(mask), (placed & 0xFFFFFFFF).astype(np.uint32), old)).all()


def test_sdwa_with_a_scalar_source() -> None:
    a = noise(14)
    text = "v_add_u32_sdwa v8, v2, s4 dst_sel:DWORD dst_unused:UNUSED_PAD src0_sel:WORD_1 src1_sel:BYTE_3"
    state = run(text, "gfx942", vgprs={2: a}, sgprs={4: 0xAB000000})
    assert (state.v[8] == (a >> 16) + 0xAB).all()


def test_sdwa_of_halves_with_signs() -> None:
    pairs = tuples(F16, 2, np.uint16)
    sources = [(pairs[0].astype(np.uint32) << 16) | 0x3C00, pairs[1].astype(np.uint32) | 0x7C00_0000]
    text = "v_mul_f16_sdwa v8, -v2, |v4| dst_sel:WORD_1 dst_unused:UNUSED_PRESERVE src0_sel:WORD_1 src1_sel:WORD_0"
    got = words(execute(text, "gfx942", sources, vgprs={8: OLD}), 8)
    with np.errstate(all="ignore"):
        wanted = (-pairs[0].view(np.float16) * np.abs(pairs[1].view(np.float16))).view(np.uint16)
    assert same_floats((got >> 16).astype(np.uint16), wanted, 16).all()
    assert (got & 0xFFFF == OLD & 0xFFFF).all()


def test_sdwa_of_a_comparison() -> None:
    a, b = noise(15), noise(16)
    text = "v_cmp_lt_i32_sdwa s[10:11], sext(v2), v4 src0_sel:BYTE_2 src1_sel:WORD_1"
    state = run(text, "gfx942", vgprs={2: a, 4: b})
    assert (on(state.s64(10)) == (part(a, "BYTE_2", sign=True) < part(b, "WORD_1"))).all()


def test_sdwa_of_a_sum_with_carry() -> None:
    a = noise(20)
    text = "v_add_co_u32_sdwa v8, vcc, v2, v4 dst_sel:DWORD dst_unused:UNUSED_PAD src0_sel:BYTE_0 src1_sel:DWORD"
    state = run(text, "gfx942", vgprs={2: a, 4: 0xFFFFFFFF})
    low = a & np.uint32(0xFF)
    assert (state.v[8] == low - np.uint32(1)).all()
    assert (on(state.vcc) == (low > 0)).all()


# ---- clamp, output modifier, signs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("zero_nan", [False, True])
@pytest.mark.parametrize(("size", "edges", "dtype"), [(32, F32, np.uint32), (16, F16, np.uint16)])
def test_clamp_between_0_and_1(size: int, edges: tuple[int, ...], dtype: type, zero_nan: bool) -> None:
    """A NaN becomes 0 with MODE.DX10_CLAMP, and stays without."""
    a = tuples(edges, 1, dtype)[0]
    mode = KEEP_ALL | IEEE | DX10_CLAMP * zero_nan
    got = words(execute(f"v_mul_f{size} v8, 1.0, v2 clamp", "gfx942", [a], mode=mode), 8).astype(dtype)
    floats = a.view(f"f{size // 8}")
    one = np.array(1, floats.dtype).view(dtype)
    for bits, value, result in zip(a.tolist(), floats.tolist(), got.tolist(), strict=True):
        if value != value:
            assert result == 0 if zero_nan else is_nan(result, size)
        else:
            assert result == (0 if value <= 0 else int(one) if value >= 1 else bits)


def test_clamp_of_double_precision() -> None:
    a = np.resize(np.array([-1.5, 0.25, 7.0, np.inf, -np.inf, np.nan, -0.0, 1.0]), LANES)
    state = run("v_add_f64 v[8:9], v[2:3], 0 clamp", "gfx942", vgprs={2: a}, mode=KEEP_ALL | IEEE | DX10_CLAMP)
    assert state.u64(8)[:8].view(np.float64).tolist() == [0.0, 0.25, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0]


FLUSH_ALL = 0x00
OMODS = {"mul:2": 2.0, "mul:4": 4.0, "div:2": 0.5}


@pytest.mark.parametrize("modifier", OMODS)
@pytest.mark.parametrize("size", [16, 32, 64])
def test_output_modifier(size: int, modifier: str) -> None:
    """Applies only where denormals are flushed and MODE.IEEE is off, as the ISA has it; then -0 becomes +0."""
    dtype = {16: np.float16, 32: np.float32, 64: np.float64}[size]
    a = np.resize(np.array([1.5, -3.0, 0.25, -0.0, np.inf], dtype), LANES)
    registers = ("v[8:9]", "v[2:3]") if size == 64 else ("v8", "v2")
    text = f"v_add_f{size} {registers[0]}, {registers[1]}, {registers[1]} {modifier}"

    def result(mode: int) -> np.ndarray:
        state = execute(text, "gfx942", [a.view(f"u{size // 8}")], mode=mode)
        got = wide(state, 8) if size == 64 else words(state, 8).astype(f"u{size // 8}")
        return got.view(dtype)

    scaled = result(FLUSH_ALL)
    assert (scaled == 2 * a * dtype(OMODS[modifier])).all()
    assert not np.signbit(scaled[a == 0]).any()
    for mode in (FLUSH_ALL | IEEE, KEEP_ALL):
        assert (result(mode) == 2 * a).all()


def test_output_modifier_before_the_clamp() -> None:
    a = np.full(LANES, 0.3, np.float32)
    state = run("v_add_f32 v8, v2, v2 clamp mul:4", "gfx942", vgprs={2: a}, mode=FLUSH_ALL)
    assert (state.f32(8) == 1).all()


def test_signs_of_sources() -> None:
    a, b = tuples(F32, 2, np.uint32)
    state = execute("v_max_f32 v8, -v2, -|v4|\nv_mul_f32 v9, |v2|, 1.0", "gfx942", [a, b])
    with np.errstate(all="ignore"):
        x, y = a.view(np.float32), b.view(np.float32)
        wanted = np.fmax(-x, -np.abs(y))
    clean = ~(np.isnan(x) | np.isnan(y)) & (wanted != 0)
    assert (words(state, 8).view(np.float32)[clean] == wanted[clean]).all()
    assert same_floats(words(state, 9), a & np.uint32(0x7FFFFFFF), 32).all()


@pytest.mark.parametrize("to_upper", [0, 1])
@pytest.mark.parametrize("choice", [(0, 0, 0), (1, 0, 0), (0, 1, 1), (1, 1, 1)])
def test_op_sel_chooses_halves(choice: tuple[int, int, int], to_upper: int) -> None:
    a, b, c = noise(17), noise(18), noise(19)
    text = f"v_mad_u16 v8, v2, v4, v6 op_sel:[{choice[0]},{choice[1]},{choice[2]},{to_upper}]"
    state = run(text, "gfx942", vgprs={2: a, 4: b, 6: c, 8: OLD})
    x, y, z = ((s >> 16 * upper) & 0xFFFF for s, upper in zip((a, b, c), choice, strict=True))
    result = (x * y + z) & 0xFFFF
    wanted = result << 16 | OLD & 0xFFFF if to_upper else result | OLD & 0xFFFF0000
    assert (state.v[8] == wanted).all()


def test_op_sel_with_signs() -> None:
    a = np.full(LANES, 0x4000_3C00, np.uint32)  # 1 and 2
    state = run("v_fma_f16 v8, -v2, v2, |v2| op_sel:[1,0,1,1]", "gfx942", vgprs={2: a, 8: OLD})
    assert (state.v[8] == (OLD & 0xFFFF)).all()  # -2 * 1 + 2


# ---- MODE ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "bits"), [(32, 0x30), (16, 0xC0), (64, 0xC0)])
@pytest.mark.parametrize("keep", ["none", "in", "out", "both"])
def test_denormals_go_as_mode_says(size: int, bits: int, keep: str) -> None:
    """The lower of the two bits keeps denormal sources, the upper one denormal results."""
    low = bits & -bits
    kept_in, kept_out = keep in ("in", "both"), keep in ("out", "both")
    mode = IEEE | 0xF0 & ~bits | low * kept_in | 2 * low * kept_out
    smallest = {16: 0x400, 32: 0x800000, 64: 1 << 52}[size]
    dtype = {16: np.uint16, 32: np.uint32, 64: np.uint64}[size]
    sign = 1 << size - 1
    denormal = np.full(LANES, smallest >> 1 | sign, dtype)
    normal = np.full(LANES, smallest, dtype)
    names = ("v[8:9]", "v[2:3]", "v[4:5]") if size == 64 else ("v8", "v2", "v4")

    def run_one(text: str, *sources: np.ndarray) -> int:
        state = execute(text, "gfx942", sources, mode=mode)
        return int((wide(state, 8) if size == 64 else words(state, 8))[0])

    out = run_one(f"v_mul_f{size} {names[0]}, 0.5, {names[1]}", normal | dtype(sign))
    assert out == (smallest >> 1 | sign if kept_out else sign)
    # -smallest / 2 + smallest is denormal; where the source is flushed the sum is normal.
    both = run_one(f"v_add_f{size} {names[0]}, {names[1]}, {names[2]}", denormal, normal)
    assert both == (smallest if not kept_in else smallest >> 1 if kept_out else 0)


def test_mode_of_single_precision_leaves_moves_alone() -> None:
    a = np.full(LANES, 1, np.uint32)
    state = run("v_mov_b32 v8, v2\nv_cndmask_b32 v9, -v2, v2, vcc", "gfx942", vgprs={2: a}, mode=0)
    assert (state.v[8] == 1).all()
    assert (state.v[9] == 0x80000001).all()


@pytest.mark.parametrize(
    ("text", "mode"),
    [("v_add_f32 v8, v2, v4", 1), ("v_fma_f64 v[8:9], v[2:3], v[4:5], v[6:7]", 4), ("v_add_f16 v8, v2, v4", 12)],
)
def test_other_roundings_stop(text: str, mode: int) -> None:
    with pytest.raises(LabFault, match="FP_ROUND"):
        run(text, "gfx942", mode=KEEP_ALL | mode)


@pytest.mark.parametrize("bit", [15, 8, 11, 61, 59])
def test_modifier_that_the_operation_does_not_have_is_refused(bit: int) -> None:
    """Clamp, abs, op_sel, neg and omod bits of v_bfe_u32, set by hand: no assembler writes them."""
    code = int.from_bytes(assemble("v_bfe_u32 v8, v2, v4, v6", "gfx942"), "little")
    with pytest.raises(UnsupportedInstruction, match="v_bfe_u32"):
        run((code | 1 << bit).to_bytes(8, "little"), "gfx942")


def test_packed_form_without_its_default_high_halves() -> None:
    """op_sel_hi = 0 on packed single precision reads the first register twice."""
    a = np.arange(LANES, dtype=np.float32)
    state = run("v_pk_mul_f32 v[8:9], v[2:3], v[4:5] op_sel_hi:[0,0]", "gfx942", vgprs={2: a, 3: a + 1, 4: a, 5: a + 2})
    assert (state.f32(8) == a * a).all()
    assert (state.f32(9) == a * a).all()


def test_nan_is_made_quiet_in_ieee_mode_only() -> None:
    a = np.full(LANES, 0x7F800001, np.uint32)
    for mode, wanted in ((KEEP_ALL | IEEE, 0x7FC00001), (KEEP_ALL, 0x3F800000)):
        state = run("v_min_f32 v8, v2, 1.0", "gfx942", vgprs={2: a}, mode=mode)
        assert (state.v[8] == wanted).all()
