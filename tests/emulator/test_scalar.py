"""The scalar unit against integer arithmetic in Python: every operation, with the values at which words wrap."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cdna_emulator.lab import LabFault, State, address, run

W32, W64 = 2**32, 2**64
WORDS = [0, 1, 2, 31, 0x7FFFFFFF, 0x80000000, 0xFFFF8000, 0xFFFFFFFF, 0x00050021, 0x12345678]
LONGS = [0, 1, 0x7FFFFFFFFFFFFFFF, 0x8000000000000000, 0xFFFFFFFFFFFFFFFF, 0x00000001_00000000, 0x0F0000F0_12345678]
KEEPS = None  # SCC stays as it was


def signed(value: int, bits: int = 32) -> int:
    value %= 1 << bits
    return value - (1 << bits) if value >> (bits - 1) else value


def overflows(value: int) -> bool:
    return not -(2**31) <= value < 2**31


def bits_of(value: int, count: int) -> list[int]:
    return [value >> n & 1 for n in range(count)]


def word_of(bits: list[int]) -> int:
    return sum(bit << n for n, bit in enumerate(bits))


def field(value: int, where: int, bits: int, sign: bool) -> int:
    offset, width = where % bits, where >> 16 & 127
    if sign:
        value = signed(value, bits)
    part = (value >> offset) % (1 << min(width, bits))
    return (signed(part, width) if sign and 0 < width < bits else part) % (1 << bits)


def nonzero(result: int) -> int:
    return int(result != 0)


# name -> (a, b, scc before) -> (result, scc after); results are taken modulo the width
BINARY_32: dict[str, Callable[[int, int, int], tuple[int, Any]]] = {
    "s_add_u32": lambda a, b, c: (a + b, a + b >= W32),
    "s_sub_u32": lambda a, b, c: (a - b, a < b),
    "s_add_i32": lambda a, b, c: (a + b, overflows(signed(a) + signed(b))),
    "s_sub_i32": lambda a, b, c: (a - b, overflows(signed(a) - signed(b))),
    "s_addc_u32": lambda a, b, c: (a + b + c, a + b + c >= W32),
    "s_subb_u32": lambda a, b, c: (a - b - c, a - b - c < 0),
    "s_min_i32": lambda a, b, c: (min(signed(a), signed(b)), signed(a) < signed(b)),
    "s_min_u32": lambda a, b, c: (min(a, b), a < b),
    "s_max_i32": lambda a, b, c: (max(signed(a), signed(b)), signed(a) >= signed(b)),
    "s_max_u32": lambda a, b, c: (max(a, b), a >= b),
    "s_cselect_b32": lambda a, b, c: (a if c else b, KEEPS),
    "s_and_b32": lambda a, b, c: (a & b, (a & b) != 0),
    "s_or_b32": lambda a, b, c: (a | b, (a | b) != 0),
    "s_xor_b32": lambda a, b, c: (a ^ b, a != b),
    "s_andn2_b32": lambda a, b, c: (a & ~b, (a & ~b) % W32 != 0),
    "s_orn2_b32": lambda a, b, c: (a | ~b, (a | ~b) % W32 != 0),
    "s_nand_b32": lambda a, b, c: (~(a & b), ~(a & b) % W32 != 0),
    "s_nor_b32": lambda a, b, c: (~(a | b), ~(a | b) % W32 != 0),
    "s_xnor_b32": lambda a, b, c: (~(a ^ b), ~(a ^ b) % W32 != 0),
    "s_lshl_b32": lambda a, b, c: (a << b % 32, (a << b % 32) % W32 != 0),
    "s_lshr_b32": lambda a, b, c: (a >> b % 32, a >> b % 32 != 0),
    "s_ashr_i32": lambda a, b, c: (signed(a) >> b % 32, signed(a) >> b % 32 != 0),
    "s_bfm_b32": lambda a, b, c: (((1 << a % 32) - 1) << b % 32, KEEPS),
    "s_mul_i32": lambda a, b, c: (a * b, KEEPS),
    "s_mul_hi_u32": lambda a, b, c: (a * b // W32, KEEPS),
    "s_mul_hi_i32": lambda a, b, c: (signed(a) * signed(b) // W32, KEEPS),
    "s_bfe_u32": lambda a, b, c: (field(a, b, 32, False), nonzero(field(a, b, 32, False))),
    "s_bfe_i32": lambda a, b, c: (field(a, b, 32, True), nonzero(field(a, b, 32, True))),
    "s_absdiff_i32": lambda a, b, c: (abs(signed(a - b)), a != b),
    "s_lshl1_add_u32": lambda a, b, c: (2 * a + b, 2 * a + b >= W32),
    "s_lshl2_add_u32": lambda a, b, c: (4 * a + b, 4 * a + b >= W32),
    "s_lshl3_add_u32": lambda a, b, c: (8 * a + b, 8 * a + b >= W32),
    "s_lshl4_add_u32": lambda a, b, c: (16 * a + b, 16 * a + b >= W32),
    "s_pack_ll_b32_b16": lambda a, b, c: (a % 65536 + b % 65536 * 65536, KEEPS),
    "s_pack_lh_b32_b16": lambda a, b, c: (a % 65536 + b // 65536 * 65536, KEEPS),
    "s_pack_hh_b32_b16": lambda a, b, c: (a // 65536 + b // 65536 * 65536, KEEPS),
}
BINARY_64: dict[str, Callable[[int, int, int], tuple[int, Any]]] = {
    "s_cselect_b64": lambda a, b, c: (a if c else b, KEEPS),
    "s_and_b64": lambda a, b, c: (a & b, (a & b) != 0),
    "s_or_b64": lambda a, b, c: (a | b, (a | b) != 0),
    "s_xor_b64": lambda a, b, c: (a ^ b, a != b),
    "s_andn2_b64": lambda a, b, c: (a & ~b, (a & ~b) % W64 != 0),
    "s_orn2_b64": lambda a, b, c: (a | ~b, (a | ~b) % W64 != 0),
    "s_nand_b64": lambda a, b, c: (~(a & b), ~(a & b) % W64 != 0),
    "s_nor_b64": lambda a, b, c: (~(a | b), ~(a | b) % W64 != 0),
    "s_xnor_b64": lambda a, b, c: (~(a ^ b), ~(a ^ b) % W64 != 0),
}
SHIFTS_64: dict[str, Callable[[int, int, int], tuple[int, Any]]] = {
    "s_lshl_b64": lambda a, b, c: (a << b % 64, (a << b % 64) % W64 != 0),
    "s_lshr_b64": lambda a, b, c: (a >> b % 64, a >> b % 64 != 0),
    "s_ashr_i64": lambda a, b, c: (signed(a, 64) >> b % 64, signed(a, 64) >> b % 64 != 0),
    "s_bfe_u64": lambda a, b, c: (field(a, b, 64, False), nonzero(field(a, b, 64, False))),
    "s_bfe_i64": lambda a, b, c: (field(a, b, 64, True), nonzero(field(a, b, 64, True))),
}


def check(state: State, result: int, scc: Any, before: int, wide: bool) -> None:
    assert (state.s64(0) if wide else int(state.s[0])) == result % (W64 if wide else W32)
    assert state.scc == (before if scc is KEEPS else int(scc))


@pytest.mark.parametrize("name", BINARY_32)
def test_two_words(name: str) -> None:
    for a, b, before in itertools.product(WORDS, WORDS, (0, 1)):
        state = run(f"{name} s0, s2, s4", "gfx942", sgprs={2: a, 4: b}, scc=before)
        check(state, *BINARY_32[name](a, b, before), before, False)


@pytest.mark.parametrize("name", BINARY_64)
def test_two_long_words(name: str) -> None:
    for a, b, before in itertools.product(LONGS, LONGS, (0, 1)):
        state = run(f"{name} s[0:1], s[2:3], s[4:5]", "gfx942", sgprs={2: a, 4: b}, scc=before)
        check(state, *BINARY_64[name](a, b, before), before, True)


@pytest.mark.parametrize("name", SHIFTS_64)
def test_long_word_by_word(name: str) -> None:
    for a, b in itertools.product(LONGS, [*WORDS, 63, 0x00400000, 0x003F0001, 0x00100030]):
        state = run(f"{name} s[0:1], s[2:3], s4", "gfx942", sgprs={2: a, 4: b})
        check(state, *SHIFTS_64[name](a, b, 0), 0, True)


def test_bit_field_mask_of_64() -> None:
    for a, b in itertools.product(WORDS, WORDS):
        state = run("s_bfm_b64 s[0:1], s2, s4", "gfx942", sgprs={2: a, 4: b}, scc=1)
        check(state, ((1 << a % 64) - 1) << b % 64, KEEPS, 1, True)


def first(bits: list[int], wanted: int) -> int:
    return bits.index(wanted) if wanted in bits else -1


def run_of_sign(value: int, count: int) -> int:
    high = bits_of(value, count)[::-1]
    return first(high, 1 - high[0])


def quads(value: int, count: int, whole: bool) -> int:
    found = [int(any(bits_of(value, count)[n : n + 4])) for n in range(0, count, 4)]
    return word_of([bit for bit in found for _ in range(4)] if whole else found)


# name -> (bits of the source, bits of the result, value -> result, does SCC say that the result is not 0?)
UNARY: dict[str, tuple[int, int, Callable[[int], int], bool]] = {
    "s_mov_b32": (32, 32, lambda a: a, False),
    "s_mov_b64": (64, 64, lambda a: a, False),
    "s_not_b32": (32, 32, lambda a: ~a, True),
    "s_not_b64": (64, 64, lambda a: ~a, True),
    "s_wqm_b32": (32, 32, lambda a: quads(a, 32, True), True),
    "s_wqm_b64": (64, 64, lambda a: quads(a, 64, True), True),
    "s_quadmask_b32": (32, 32, lambda a: quads(a, 32, False), True),
    "s_quadmask_b64": (64, 64, lambda a: quads(a, 64, False), True),
    "s_brev_b32": (32, 32, lambda a: word_of(bits_of(a, 32)[::-1]), False),
    "s_brev_b64": (64, 64, lambda a: word_of(bits_of(a, 64)[::-1]), False),
    "s_bcnt0_i32_b32": (32, 32, lambda a: 32 - a.bit_count(), True),
    "s_bcnt0_i32_b64": (64, 32, lambda a: 64 - a.bit_count(), True),
    "s_bcnt1_i32_b32": (32, 32, lambda a: a.bit_count(), True),
    "s_bcnt1_i32_b64": (64, 32, lambda a: a.bit_count(), True),
    "s_ff0_i32_b32": (32, 32, lambda a: first(bits_of(a, 32), 0), False),
    "s_ff0_i32_b64": (64, 32, lambda a: first(bits_of(a, 64), 0), False),
    "s_ff1_i32_b32": (32, 32, lambda a: first(bits_of(a, 32), 1), False),
    "s_ff1_i32_b64": (64, 32, lambda a: first(bits_of(a, 64), 1), False),
    "s_flbit_i32_b32": (32, 32, lambda a: first(bits_of(a, 32)[::-1], 1), False),
    "s_flbit_i32_b64": (64, 32, lambda a: first(bits_of(a, 64)[::-1], 1), False),
    "s_flbit_i32": (32, 32, lambda a: run_of_sign(a, 32), False),
    "s_flbit_i32_i64": (64, 32, lambda a: run_of_sign(a, 64), False),
    "s_sext_i32_i8": (32, 32, lambda a: signed(a, 8), False),
    "s_sext_i32_i16": (32, 32, lambda a: signed(a, 16), False),
    "s_abs_i32": (32, 32, lambda a: abs(signed(a)), True),
    "s_bitreplicate_b64_b32": (32, 64, lambda a: word_of([bit for bit in bits_of(a, 32) for _ in (0, 1)]), False),
}


@pytest.mark.parametrize("name", UNARY)
def test_one_source(name: str) -> None:
    source, result, value, says = UNARY[name]
    registers = {32: ("s0", "s2"), 64: ("s[0:1]", "s[2:3]")}
    for a, before in itertools.product([*(WORDS if source == 32 else LONGS), 0x80, 0x8001], (0, 1)):
        text = f"{name} {registers[result][0]}, {registers[source][1]}"
        state = run(text, "gfx942", sgprs={2: a | 1 << 64}, scc=before)
        expected = value(a) % (1 << result)
        check(state, expected, nonzero(expected) if says else KEEPS, before, result == 64)


# name -> (source, EXEC before) -> EXEC after
EXEC: dict[str, Callable[[int, int], int]] = {
    "and": lambda a, e: a & e,
    "or": lambda a, e: a | e,
    "xor": lambda a, e: a ^ e,
    "andn2": lambda a, e: a & ~e,
    "orn2": lambda a, e: a | ~e,
    "nand": lambda a, e: ~(a & e),
    "nor": lambda a, e: ~(a | e),
    "xnor": lambda a, e: ~(a ^ e),
    "andn1": lambda a, e: ~a & e,
    "orn1": lambda a, e: ~a | e,
}


@pytest.mark.parametrize("name", EXEC)
def test_exec_is_saved_and_changed(name: str) -> None:
    for a, before in itertools.product(LONGS, LONGS):
        state = run(f"s_{name}_saveexec_b64 s[0:1], s[2:3]", "gfx942", sgprs={2: a}, exec=before)
        after = EXEC[name](a, before) % W64
        assert (state.exec, state.s64(0), state.scc) == (after, before, nonzero(after))


@pytest.mark.parametrize("name", ["andn1", "andn2"])
def test_exec_is_changed_and_the_new_one_kept(name: str) -> None:
    for a, before in itertools.product(LONGS, LONGS):
        state = run(f"s_{name}_wrexec_b64 s[0:1], s[2:3]", "gfx942", sgprs={2: a}, exec=before)
        after = EXEC[name](a, before) % W64
        assert (state.exec, state.s64(0), state.scc) == (after, after, nonzero(after))


COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    "eq": lambda a, b: a == b,
    "lg": lambda a, b: a != b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
}


@pytest.mark.parametrize("kind", ["i32", "u32"])
@pytest.mark.parametrize("name", COMPARISONS)
def test_comparison_of_words(name: str, kind: str) -> None:
    for a, b in itertools.product(WORDS, WORDS):
        x, y = (signed(a), signed(b)) if kind == "i32" else (a, b)
        assert run(f"s_cmp_{name}_{kind} s2, s4", "gfx942", sgprs={2: a, 4: b}).scc == COMPARISONS[name](x, y)


@pytest.mark.parametrize("kind", ["i32", "u32"])
@pytest.mark.parametrize("name", COMPARISONS)
def test_comparison_with_16_bits(name: str, kind: str) -> None:
    for a, b in itertools.product([*WORDS, 0x8000, 0xFFFF], (0, 1, 0x7FFF, 0x8000, 0xFFFF)):
        x, y = (signed(a), signed(b, 16)) if kind == "i32" else (a, b)
        text = f"s_cmpk_{name}_{kind} s2, {b if kind == 'u32' else signed(b, 16)}"
        assert run(text, "gfx942", sgprs={2: a}).scc == COMPARISONS[name](x, y)


@pytest.mark.parametrize("name", ["eq", "lg"])
def test_comparison_of_long_words(name: str) -> None:
    for a, b in itertools.product(LONGS, LONGS):
        assert run(f"s_cmp_{name}_u64 s[2:3], s[4:5]", "gfx942", sgprs={2: a, 4: b}).scc == COMPARISONS[name](a, b)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("wanted", [0, 1])
def test_comparison_of_a_bit(wanted: int, wide: bool) -> None:
    register = "s[2:3], s4" if wide else "s2, s4"
    for a, b in itertools.product(LONGS if wide else WORDS, WORDS):
        scc = run(f"s_bitcmp{wanted}_b{64 if wide else 32} {register}", "gfx942", sgprs={2: a | 1 << 64, 4: b}).scc
        assert scc == (a >> b % (64 if wide else 32) & 1 == wanted)


def test_moves_that_depend_on_scc() -> None:
    for scc in (0, 1):
        text = "s_cmov_b32 s0, s4\n s_cmov_b64 s[2:3], s[4:5]\n s_cmovk_i32 s6, -5"
        state = run(text, "gfx942", sgprs={0: 7, 2: 9 << 32 | 8, 4: 11 << 32 | 10, 6: 12}, scc=scc)
        expected = [10, 0, 10, 11, 10, 11, W32 - 5] if scc else [7, 0, 8, 9, 10, 11, 12]
        assert state.s[:7].tolist() == expected


@pytest.mark.parametrize("value", [0, 1])
def test_one_bit_of_the_destination_is_set(value: int) -> None:
    for number in (0, 31, 33, 63, 100):
        text = f"s_bitset{value}_b32 s0, s4\n s_bitset{value}_b64 s[2:3], s4"
        state = run(text, "gfx942", sgprs={0: 0x0F0F0F0F, 2: 0x0F0F0F0F_F0F0F0F0, 4: number})
        for found, before, bits in ((int(state.s[0]), 0x0F0F0F0F, 32), (state.s64(2), 0x0F0F0F0F_F0F0F0F0, 64)):
            bit = 1 << number % bits
            assert found == (before | bit if value else before & ~bit)


def test_arithmetic_with_16_bits() -> None:
    for a, k in itertools.product(WORDS, (0, 1, -1, 0x7FFF, -0x8000)):
        state = run(f"s_addk_i32 s0, {k}\n s_mulk_i32 s1, {k}\n s_movk_i32 s2, {k}", "gfx942", sgprs={0: a, 1: a})
        assert state.s[:3].tolist() == [(signed(a) + k) % W32, signed(a) * k % W32, k % W32]
        assert state.scc == overflows(signed(a) + k)


def test_registers_chosen_by_m0() -> None:
    text = "s_mov_b32 m0, 3\n s_movrels_b32 s0, s10\n s_movreld_b32 s20, s10\n s_movrels_b64 s[2:3], s[9:10]\n"
    state = run(text.replace("s[9:10]", "s[10:11]") + "s_movreld_b64 s[30:31], s[10:11]", "gfx942",
                sgprs={10: 5, 11: 6, 13: 7, 14: 8})  # fmt: skip
    assert [int(state.s[n]) for n in (0, 23, 2, 3, 33, 34)] == [7, 5, 7, 8, 5, 6]
    with pytest.raises(LabFault, match="scalar register 110"):
        run("s_mov_b32 m0, 100\n s_movrels_b32 s0, s10", "gfx942")


def test_a_constant_is_as_wide_as_its_operation() -> None:
    state = run("s_mov_b64 s[0:1], -7\n s_mov_b64 s[2:3], 1.0\n s_mov_b32 s4, 0xdeadbeef\n s_mov_b32 s5, 0.5", "gfx942")
    assert [state.s64(0), state.s64(2)] == [W64 - 7, 0x3FF0000000000000]
    assert state.s[4:6].tolist() == [0xDEADBEEF, 0x3F000000]


# ---- control ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("branch", "state", "taken"),
    [
        ("s_branch", {}, True),
        ("s_cbranch_scc0", {"scc": 0}, True),
        ("s_cbranch_scc0", {"scc": 1}, False),
        ("s_cbranch_scc1", {"scc": 1}, True),
        ("s_cbranch_scc1", {"scc": 0}, False),
        ("s_cbranch_vccz", {"vcc": 0}, True),
        ("s_cbranch_vccz", {"vcc": 1 << 63}, False),
        ("s_cbranch_vccnz", {"vcc": 1 << 63}, True),
        ("s_cbranch_vccnz", {"vcc": 0}, False),
        ("s_cbranch_execz", {"exec": 0}, True),
        ("s_cbranch_execz", {"exec": 1 << 32}, False),
        ("s_cbranch_execnz", {"exec": 1 << 32}, True),
        ("s_cbranch_execnz", {"exec": 0}, False),
    ],
)
def test_branch(branch: str, state: dict[str, int], taken: bool) -> None:
    text = f"{branch} there\n s_mov_b32 s0, 1\n there: s_mov_b32 s1, 1"
    assert run(text, "gfx942", **state).s[:2].tolist() == [0 if taken else 1, 1]


def test_loop_backwards() -> None:
    state = run("again: s_add_u32 s0, s0, 3\n s_sub_u32 s1, s1, 1\n s_cmp_lg_u32 s1, 0\n s_cbranch_scc1 again",
                "gfx942", sgprs={1: 5})  # fmt: skip
    assert int(state.s[0]) == 15
    assert list(state.counters.by_class)[1] == 15
    assert list(state.counters.by_class)[6] == 6  # five branches and the end


def test_call_and_return_by_address() -> None:
    state = run(
        """
        s_getpc_b64 s[0:1]
        s_add_u32 s0, s0, 24           ; from here, at 4, to `called`, at 28
        s_swappc_b64 s[2:3], s[0:1]
        s_mov_b32 s10, 1
        s_call_b64 s[2:3], called
        s_mov_b32 s11, 1
        s_branch end
        called: s_add_u32 s12, s12, 1
        s_setpc_b64 s[2:3]
        end: s_nop 0
        """,
        "gfx942",
    )
    assert state.s[10:13].tolist() == [1, 1, 2]


def test_jump_to_where_no_instruction_starts_is_reported() -> None:
    with pytest.raises(LabFault, match="0x1234, where no instruction starts"):
        run("s_movk_i32 s0, 0x1234\n s_mov_b32 s1, 0\n s_setpc_b64 s[0:1]", "gfx942")


def test_a_trap_stops() -> None:
    with pytest.raises(LabFault, match="TRAP: trap 2"):
        run("s_trap 2", "gfx942")


def test_mode_is_read_and_written_by_fields() -> None:
    text = "s_setreg_imm32_b32 hwreg(HW_REG_MODE, 23, 1), 1\n s_getreg_b32 s0, hwreg(HW_REG_MODE)\n"
    text += "s_setreg_b32 hwreg(HW_REG_MODE, 4, 4), s3\n s_getreg_b32 s1, hwreg(HW_REG_MODE, 4, 2)"
    state = run(text, "gfx942", sgprs={3: 0xFFFFFFF1}, mode=0x2F0)
    assert state.s[:2].tolist() == [0x8002F0, 1]
    assert state.mode == 0x800210


@pytest.mark.parametrize(
    "text", ["s_setreg_imm32_b32 hwreg(HW_REG_MODE, 0, 2), 3", "s_setreg_imm32_b32 hwreg(HW_REG_TRAPSTS, 0, 1), 1",
             "s_getreg_b32 s0, hwreg(HW_REG_LDS_ALLOC)"],
)  # fmt: skip
def test_a_register_or_rounding_mode_that_is_not_modelled_is_reported(text: str) -> None:
    with pytest.raises(LabFault, match="UNSUPPORTED"):
        run(text, "gfx942")


# ---- memory ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dwords", [1, 2, 4, 8, 16])
def test_load(dwords: int) -> None:
    memory = np.arange(100, 164, dtype=np.uint32)
    suffix = "" if dwords == 1 else f"x{dwords}"
    end = f"s[16:{15 + dwords}]" if dwords > 1 else "s16"
    state = run(f"s_load_dword{suffix} {end}, s[4:5], s6 offset:0x10", "gfx942",
                sgprs={4: address(memory), 6: 8}, memory=[memory])  # fmt: skip
    assert state.s[16 : 16 + dwords].tolist() == memory[6 : 6 + dwords].tolist()
    assert not state.s[16 + dwords : 40].any()


def test_load_ignores_the_lowest_address_bits_and_takes_negative_offsets() -> None:
    memory = np.arange(8, dtype=np.uint32)
    state = run("s_load_dword s0, s[4:5], -8", "gfx942", sgprs={4: address(memory) + 19}, memory=[memory])
    assert int(state.s[0]) == 2


def test_load_may_overwrite_its_own_address() -> None:
    memory = np.arange(8, dtype=np.uint32)
    state = run("s_load_dwordx4 s[4:7], s[4:5], 0x4", "gfx942", sgprs={4: address(memory)}, memory=[memory])
    assert state.s[4:8].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("offset", [-4, 20, 4096])
def test_load_beyond_memory_is_reported(offset: int) -> None:
    memory = np.arange(8, dtype=np.uint32)
    with pytest.raises(LabFault, match="OUT_OF_BOUNDS") as caught:
        run(f"s_load_dwordx4 s[8:11], s[4:5], {offset}", "gfx942", sgprs={4: address(memory)}, memory=[memory])
    assert (caught.value.address - memory.ctypes.data, caught.value.bytes) == (offset, 16)


@pytest.mark.parametrize(
    ("offset", "expected"), [(0, [0, 1, 2, 3]), (8, [2, 3, 4, 0]), (20, [0, 0, 0, 0]), (64, [0] * 4)]
)
def test_buffer_load_gives_zero_beyond_its_records(offset: int, expected: list[int]) -> None:
    memory = np.arange(8, dtype=np.uint32)
    state = run(f"s_buffer_load_dwordx4 s[8:11], s[4:7], {offset}", "gfx942",
                sgprs={4: address(memory), 6: 20, 7: 0, 8: 9, 9: 9, 10: 9, 11: 9}, memory=[memory])  # fmt: skip
    assert state.s[8:12].tolist() == expected


def test_clock_counts_instructions() -> None:
    state = run("s_memtime s[0:1]\n s_nop 0\n s_nop 0\n s_memrealtime s[2:3]", "gfx942")
    assert state.s64(2) - state.s64(0) == 3


# ---- waves -----------------------------------------------------------------------------------------------------


def test_wave_that_has_ended_no_longer_counts_for_a_barrier() -> None:
    text = "v_readfirstlane_b32 s0, v0\n s_cmp_eq_u32 s0, 0\n s_cbranch_scc1 out\n"
    text += "s_barrier\n s_mov_b32 s1, 1\n out: s_nop 0"
    state = run(text, "gfx942", waves=3, vgprs={0: np.arange(3, dtype=np.uint32)[:, None] * np.ones(64, np.uint32)})
    assert state.waves_s[:, 1].tolist() == [0, 1, 1]
    assert state.counters.barriers == 2


def test_loop_without_end_is_a_deadlock() -> None:
    with pytest.raises(LabFault, match="DEADLOCK"):
        run("s_nop 0\n again: s_branch again", "gfx942")
