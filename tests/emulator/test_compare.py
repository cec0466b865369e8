"""v_cmp, v_cmpx and v_cmp_class against Python's comparisons of exact values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from exact import is_inf, is_nan, is_signalling, number, value
from lanes import DOUBLES, F16, F32, F64, HALVES, LANES, WORDS, execute, masks, tuples

FULL = 2**64 - 1
Condition = Callable[..., bool]
INTEGER: dict[str, Condition] = {
    "f": lambda a, b: False,
    "lt": lambda a, b: a < b,
    "eq": lambda a, b: a == b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ne": lambda a, b: a != b,
    "ge": lambda a, b: a >= b,
    "t": lambda a, b: True,
}
FLOAT: dict[str, Condition] = {
    "f": lambda a, b: False,
    "lt": lambda a, b: a < b,
    "eq": lambda a, b: a == b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "lg": lambda a, b: a < b or a > b,
    "ge": lambda a, b: a >= b,
    "o": lambda a, b: a == a and b == b,
    "u": lambda a, b: a != a or b != b,
    "nge": lambda a, b: not a >= b,
    "nlg": lambda a, b: not (a < b or a > b),
    "ngt": lambda a, b: not a > b,
    "nle": lambda a, b: not a <= b,
    "neq": lambda a, b: a != b,
    "nlt": lambda a, b: not a < b,
    "tru": lambda a, b: True,
}
EDGES = {16: HALVES, 32: WORDS, 64: DOUBLES}
FLOAT_EDGES = {16: F16, 32: F32, 64: F64}
TYPES = {16: np.uint16, 32: np.uint32, 64: np.uint64}


def register(first: int, size: int) -> str:
    return f"v[{first}:{first + 1}]" if size == 64 else f"v{first}"


def check(name: str, size: int, sources: list[np.ndarray], wanted: list[bool]) -> None:
    """In the long form into scalars, in the short one into VCC, and with v_cmpx into EXEC, under two EXEC masks."""
    a, b = register(2, size), register(4, size)
    on = np.resize(np.array([True, True, False, True, False]), len(wanted))
    exec_mask = int.from_bytes(np.packbits(on[:LANES], bitorder="little").tobytes(), "little")
    truth = np.array(wanted)
    for mask in (FULL, exec_mask):
        lanes_on = np.resize(np.array([bool(mask >> n & 1) for n in range(LANES)]), len(wanted))
        state = execute(f"v_cmp_{name} s[10:11], {a}, {b}", "gfx942", sources, exec=mask, sgprs={10: FULL})
        assert (masks(state, 10) == (truth & lanes_on)).all()
        assert (masks(state, 126) == lanes_on).all()
        state = execute(f"v_cmp_{name} vcc, {a}, {b}", "gfx942", sources, exec=mask, vcc=FULL)
        assert (masks(state, 106) == (truth & lanes_on)).all()
        state = execute(f"v_cmpx_{name} s[10:11], {a}, {b}", "gfx942", sources, exec=mask)
        assert (masks(state, 126) == (truth & lanes_on)).all()
        assert (masks(state, 10) == (truth & lanes_on)).all()


@pytest.mark.parametrize("condition", INTEGER)
@pytest.mark.parametrize("kind", ["i16", "u16", "i32", "u32", "i64", "u64"])
def test_integers(kind: str, condition: str) -> None:
    size = int(kind[1:])
    sources = tuples(EDGES[size], 2, TYPES[size])
    views = [s.view(f"i{size // 8}") if kind[0] == "i" else s for s in sources]
    wanted = [INTEGER[condition](a, b) for a, b in zip(*(v.tolist() for v in views), strict=True)]
    check(f"{condition}_{kind}", size, sources, wanted)


@pytest.mark.parametrize("condition", FLOAT)
@pytest.mark.parametrize("size", [16, 32, 64])
def test_floats(size: int, condition: str) -> None:
    sources = tuples(FLOAT_EDGES[size], 2, TYPES[size])
    exact = [[number(bits, size) for bits in s.tolist()] for s in sources]
    wanted = [FLOAT[condition](a, b) for a, b in zip(*exact, strict=True)]
    check(f"{condition}_f{size}", size, sources, wanted)


def class_of(bits: int, size: int) -> int:
    """Number of the mask bit that asks for this class."""
    negative = bool(bits >> size - 1)
    smallest = {16: 2.0**-14, 32: 2.0**-126, 64: 2.0**-1022}[size]
    if is_nan(bits, size):
        return 0 if is_signalling(bits, size) else 1
    if is_inf(bits, size):
        return 2 if negative else 9
    magnitude = abs(value(bits, size))
    if magnitude >= smallest:
        return 3 if negative else 8
    if magnitude > 0:
        return 4 if negative else 7
    return 5 if negative else 6


@pytest.mark.parametrize("size", [16, 32, 64])
def test_classes(size: int) -> None:
    numbers = np.repeat(np.array(FLOAT_EDGES[size], TYPES[size]), 10)
    questions = np.tile(1 << np.arange(10, dtype=np.uint32), len(FLOAT_EDGES[size]))
    pad = -len(numbers) % LANES
    numbers, questions = (
        np.append(numbers, numbers[:pad]),
        np.append(questions, questions[:pad] ^ 0x3FF).astype(np.uint32),
    )
    wanted = [bool(q >> class_of(n, size) & 1) for n, q in zip(numbers.tolist(), questions.tolist(), strict=True)]
    state = execute(f"v_cmp_class_f{size} s[10:11], {register(2, size)}, v4", "gfx942", [numbers, questions])
    assert masks(state, 10).tolist() == wanted
    state = execute(f"v_cmpx_class_f{size} s[10:11], {register(2, size)}, v4", "gfx942", [numbers, questions])
    assert masks(state, 126).tolist() == wanted


@pytest.mark.parametrize("size", [16, 32, 64])
def test_class_of_a_modified_number(size: int) -> None:
    numbers = tuples(FLOAT_EDGES[size], 1, TYPES[size])[0]
    state = execute(f"v_cmp_class_f{size} s[10:11], -|{register(2, size)}|, v4", "gfx942", [numbers], vgprs={4: 0x3C})
    sign = 1 << size - 1
    assert masks(state, 10).tolist() == [2 <= class_of(n | sign, size) <= 5 for n in numbers.tolist()]


def test_comparison_with_modifiers_a_scalar_and_a_constant() -> None:
    numbers = tuples(F32, 1, np.uint32)[0]
    text = "v_cmp_lt_f32 s[10:11], -|v2|, s4\nv_cmp_ge_f32 s[12:13], 1.0, v2"
    state = execute(text, "gfx942", [numbers], sgprs={4: 0xC0000000})
    exact = [number(bits, 32) for bits in numbers.tolist()]
    assert masks(state, 10).tolist() == [-abs(x) < -2 for x in exact]
    assert masks(state, 12).tolist() == [x <= 1 for x in exact]


def test_denormals_compare_as_zero_when_they_are_flushed() -> None:
    numbers = np.resize(np.array([1, 0x80000001, 0x800000], np.uint32), LANES * 3)
    kept = execute("v_cmp_eq_f32 s[10:11], 0, v2", "gfx942", [numbers])
    flushed = execute("v_cmp_eq_f32 s[10:11], 0, v2", "gfx942", [numbers], mode=0x2C0)
    assert not masks(kept, 10).any()
    assert masks(flushed, 10).tolist() == [True, True, False] * LANES
