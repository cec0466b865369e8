"""Atomics of memory and LDS against a loop over the lanes, with the values that are awkward for each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch

from cdna_emulator.lab import LabFault, run

LANES = np.arange(64, dtype=np.uint32)
OFF_LANES = 0x5A5AF00F12345678
EVERY = 2**64 - 1
PLACES = 7  # how many places the 64 lanes share
Update = Callable[[int, int, int], int]


def signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value


def floats(value: int, bits: int) -> float:
    kind = {32: ("<u4", "<f4"), 64: ("<u8", "<f8")}[bits]
    return float(np.array([value], kind[0]).view(kind[1])[0])


def integers(bits: int) -> dict[str, Update]:
    """New value from old, first and second operand."""
    top = 1 << bits
    return {
        "add": lambda old, a, _: (old + a) % top,
        "sub": lambda old, a, _: (old - a) % top,
        "rsub": lambda old, a, _: (a - old) % top,
        "inc": lambda old, a, _: 0 if old >= a else old + 1,
        "dec": lambda old, a, _: a if old == 0 or old > a else old - 1,
        "smin": lambda old, a, _: min(old, a, key=lambda x: signed(x, bits)),
        "smax": lambda old, a, _: max(old, a, key=lambda x: signed(x, bits)),
        "umin": lambda old, a, _: min(old, a),
        "umax": lambda old, a, _: max(old, a),
        "and": lambda old, a, _: old & a,
        "or": lambda old, a, _: old | a,
        "xor": lambda old, a, _: old ^ a,
        "swap": lambda old, a, _: a,
        "compare": lambda old, a, b: b if old == a else old,
        "mskor": lambda old, a, b: old & ~a | b,
        "wrap": lambda old, a, b: (old - a if old >= a else old + b) % top,
    }


def add_float(bits: int) -> Update:
    integer, real = {32: (np.uint32, np.float32), 64: (np.uint64, np.float64)}[bits]

    def update(old: int, a: int, _: int) -> int:
        with np.errstate(all="ignore"):
            total = np.array([old], integer).view(real) + np.array([a], integer).view(real)
        return int(total.view(integer)[0])

    return update


def add_pair(dtype: torch.dtype) -> Update:
    """Two halves in a dword; torch rounds each sum to nearest even."""

    def update(old: int, a: int, _: int) -> int:
        pair = torch.tensor([old, a], dtype=torch.int64).to(torch.int32).view(dtype).reshape(2, 2)
        return int((pair[0] + pair[1]).view(torch.int32)[0]) & 0xFFFFFFFF

    return update


def chosen_float(bits: int, better: Callable[[float, float], bool]) -> Update:
    return lambda old, a, _: a if better(floats(a, bits), floats(old, bits)) else old


def less(x: float, y: float) -> bool:
    return x < y


def greater(x: float, y: float) -> bool:
    return x > y


def equal_floats(bits: int) -> Update:
    return lambda old, a, b: b if floats(old, bits) == floats(a, bits) else old


def memory_atomics() -> list[tuple[str, int, Update]]:
    cases: list[tuple[str, int, Update]] = []
    for bits, suffix in ((32, ""), (64, "_x2")):
        table = integers(bits)
        for name in ("swap", "add", "sub", "smin", "umin", "smax", "umax", "and", "or", "xor", "inc", "dec"):
            cases.append((name + suffix, bits, table[name]))
        cases.append(("cmpswap" + suffix, bits, lambda old, a, b: a if old == b else old))
    cases += [
        ("add_f32", 32, add_float(32)),
        ("pk_add_f16", 32, add_pair(torch.float16)),
        ("pk_add_bf16", 32, add_pair(torch.bfloat16)),
        ("add_f64", 64, add_float(64)),
        ("min_f64", 64, chosen_float(64, less)),
        ("max_f64", 64, chosen_float(64, greater)),
    ]
    return cases


def lds_atomics() -> list[tuple[str, int, int, Update]]:
    """Mnemonic with {} for _rtn, width, operands, update."""
    cases: list[tuple[str, int, int, Update]] = []
    for bits, (u, s, b, f) in ((32, ("u32", "i32", "b32", "f32")), (64, ("u64", "i64", "b64", "f64"))):
        table = integers(bits)
        for name in ("add", "sub", "rsub", "inc", "dec"):
            cases.append((f"{name}{{}}_{u}", bits, 1, table[name]))
        for name in ("min", "max"):
            cases.append((f"{name}{{}}_{s}", bits, 1, table["s" + name]))
            cases.append((f"{name}{{}}_{u}", bits, 1, table["u" + name]))
        for name in ("and", "or", "xor"):
            cases.append((f"{name}{{}}_{b}", bits, 1, table[name]))
        cases += [
            (f"mskor{{}}_{b}", bits, 2, table["mskor"]),
            (f"cmpst{{}}_{b}", bits, 2, table["compare"]),
            (f"cmpst{{}}_{f}", bits, 2, equal_floats(bits)),
            (f"min{{}}_{f}", bits, 1, chosen_float(bits, less)),
            (f"max{{}}_{f}", bits, 1, chosen_float(bits, greater)),
            (f"add{{}}_{f}", bits, 1, add_float(bits)),
        ]
    cases += [
        ("pk_add{}_f16", 32, 1, add_pair(torch.float16)),
        ("pk_add{}_bf16", 32, 1, add_pair(torch.bfloat16)),
    ]
    return cases


ONLY_RETURNING = [
    ("wrxchg_rtn_b32", 32, 1, integers(32)["swap"]),
    ("wrxchg_rtn_b64", 64, 1, integers(64)["swap"]),
    ("wrap_rtn_b32", 32, 2, integers(32)["wrap"]),
]
# Small numbers (so that compares hit), the ends of the signed range, and float specials of both widths.
AWKWARD = {
    32: [0, 1, 2, 5, 2**31 - 1, 2**31, 2**32 - 1, 0x7F800000, 0xFF800000, 0x7FC00000, 0x80000000, 0x00000001,
         0x3F800000, 0xBF800000, 0x7C003C00, 0xFC00BC00, 0x00018001, 0x7F7FFFFF, 0x7BFF7BFF],
    64: [0, 1, 2, 5, 2**63 - 1, 2**63, 2**64 - 1, 0x7FF0 << 48, 0xFFF0 << 48, 0x7FF8 << 48, 0x3FF0 << 48,
         0xBFF0 << 48, 0x7FEFFFFFFFFFFFFF, 0x000FFFFFFFFFFFFF],
}  # fmt: skip


def values(bits: int, count: int, seed: int) -> list[int]:
    random = np.random.default_rng(seed)
    some = random.integers(0, 2**bits, count, dtype=np.uint64 if bits == 64 else np.uint32)
    return [AWKWARD[bits][random.integers(len(AWKWARD[bits]))] if random.random() < 0.7 else int(each) for each in some]


def split(numbers: list[int], bits: int, first: int) -> dict[int, npt.NDArray[np.uint32]]:
    """VGPRs from `first` on that hold the numbers."""
    return {first + i: np.array([n >> 32 * i & 0xFFFFFFFF for n in numbers], np.uint32) for i in range(bits // 32)}


def is_nan(value: int, bits: int, name: str) -> list[bool]:
    """Of each half or the whole of a float sum: whether it is a NaN, whose payload nothing fixes."""
    if "pk_add" in name:
        mantissa, infinity = (0x7FFF, 0x7C00) if "_f16" in name else (0x7FFF, 0x7F80)
        return [(value >> 16 * half & mantissa) > infinity for half in range(2)]
    if name.startswith("add") and name[-3:] in ("f32", "f64"):
        return [floats(value, bits) != floats(value, bits)]
    return [False]


def same(found: int, expected: int, bits: int, name: str) -> bool:
    nan_found, nan_expected = is_nan(found, bits, name), is_nan(expected, bits, name)
    width = bits // len(nan_expected)
    for i, nan in enumerate(nan_expected):
        part = (1 << width) - 1 << width * i
        if nan != nan_found[i] or (not nan and (found ^ expected) & part):
            return False
    return True


def replay(
    start: list[int], places: npt.NDArray[np.uint32], a: list[int], b: list[int], mask: int, update: Update
) -> tuple[list[int], dict[int, int]]:
    """What the places hold after all active lanes, and what each lane found there."""
    now, before = list(start), {}
    for lane in range(64):
        if mask >> lane & 1:
            place = int(places[lane])
            before[lane] = now[place]
            now[place] = update(now[place], a[lane], b[lane])
    return now, before


def joined(state: object, bits: int, first: int, lane: int) -> int:
    return sum(int(state.v[first + i][lane]) << 32 * i for i in range(bits // 32))  # type: ignore[attr-defined]


FLOAT_SUM = ("add_f32", "pk_add_f16", "pk_add_bf16", "add_f64")


def quiet(numbers: list[int], name: str, bits: int) -> list[int]:
    """Float sums chain through every lane: without NaNs, which would drown the rest (they have a test of their own)."""
    return [0x3C003F80 if any(is_nan(n, bits, name)) else n for n in numbers] if name in FLOAT_SUM else numbers


@pytest.mark.parametrize("mask", [EVERY, OFF_LANES])
@pytest.mark.parametrize("form", ["global", "flat", "buffer"])
@pytest.mark.parametrize(("name", "bits", "update"), memory_atomics())
def test_memory_atomic(form: str, name: str, bits: int, update: Update, mask: int) -> None:
    arch = "gfx950" if (form, name) == ("buffer", "pk_add_bf16") else "gfx942"  # gfx942 has no such instruction
    start, size = quiet(values(bits, PLACES, 0), name, bits), bits // 8
    array = np.array(start, f"<u{size}")
    places = np.random.default_rng(1).integers(0, PLACES, 64).astype(np.uint32)
    a, b = quiet(values(bits, 64, 2), name, bits), values(bits, 64, 3)
    operands = 2 if "cmpswap" in name else 1
    data = split(a, bits, 8) | (split(b, bits, 8 + bits // 32) if operands == 2 else {})
    last = 8 + operands * bits // 32 - 1
    source = "v8" if last == 8 else f"v[8:{last}]"
    result = "v20" if bits == 32 else "v[20:21]"
    address = array.ctypes.data + places.astype(np.uint64) * np.uint64(size)
    vgprs = {0: places * np.uint32(size), 2: address.astype(np.uint32), 3: (address >> np.uint64(32)).astype(np.uint32)}
    base = {4: array.ctypes.data & 0xFFFFFFFF, 5: array.ctypes.data >> 32, 6: array.nbytes, 7: 0x27000}
    first = {"global": 20, "flat": 20, "buffer": 8}[form]  # a buffer atomic returns into its data
    text = {
        "global": f"global_atomic_{name} {result}, v0, {source}, s[4:5] sc0",
        "flat": f"flat_atomic_{name} {result}, v[2:3], {source} sc0",
        "buffer": f"buffer_atomic_{name} {source}, v0, s[4:7], 0 offen sc0",
    }[form]
    state = run(text, arch, vgprs=vgprs | data, sgprs=base, exec=mask, memory=[array])
    now, before = replay(start, places, a, b, mask, update)
    for place in range(PLACES):
        assert same(int(array[place]), now[place], bits, name), hex(now[place])
    for lane, value in before.items():
        assert same(joined(state, bits, first, lane), value, bits, name)

    array[:] = start
    text = text.replace(" sc0", "").replace(f"{result}, ", "")
    state = run(text, arch, vgprs=vgprs | data, sgprs=base, exec=mask, memory=[array])
    assert all(same(int(array[place]), now[place], bits, name) for place in range(PLACES))
    for number, row in data.items():  # nothing comes back
        np.testing.assert_array_equal(state.v[number], row)


@pytest.mark.parametrize("mask", [EVERY, OFF_LANES])
@pytest.mark.parametrize(
    ("name", "bits", "operands", "update", "returns"),
    [
        *((n.format(r), w, o, u, bool(r)) for n, w, o, u in lds_atomics() for r in ("", "_rtn")),
        *((*case, True) for case in ONLY_RETURNING),
    ],
)
def test_lds_atomic(name: str, bits: int, operands: int, update: Update, returns: bool, mask: int) -> None:
    plain, size = name.replace("_rtn", ""), bits // 8
    start = quiet(values(bits, PLACES, 0), plain, bits)
    places = np.random.default_rng(1).integers(0, PLACES, 64).astype(np.uint32)
    a, b = quiet(values(bits, 64, 2), plain, bits), values(bits, 64, 3)
    data = split(a, bits, 8) | split(b, bits, 12)
    ranges = {first: f"v{first}" if bits == 32 else f"v[{first}:{first + 1}]" for first in (8, 12, 20)}
    text = f"ds_{name} " + (f"{ranges[20]}, " if returns else "") + f"v0, {ranges[8]}"
    text += (f", {ranges[12]}" if operands == 2 else "") + " offset:16"
    lds = bytes(16) + np.array(start, f"<u{size}").tobytes() + bytes(16)
    state = run(text, "gfx942", vgprs=data | {0: places * np.uint32(size)}, exec=mask, lds=lds)
    now, before = replay(start, places, a, b, mask, update)
    found = np.frombuffer(bytes(state.lds), f"<u{size}", PLACES, 16)
    for place in range(PLACES):
        assert same(int(found[place]), now[place], bits, plain), hex(now[place])
    assert bytes(state.lds)[:16] == bytes(16) == bytes(state.lds)[-16:]
    for lane, value in before.items():
        assert joined(state, bits, 20, lane) == (value if returns else 0)


@pytest.mark.parametrize(
    ("name", "old", "added"),
    [
        ("add_f32", 0x7F800000, 0xFF800000),  # inf - inf
        ("add_f32", 0x7FC12345, 0x3F800000),
        ("add_f64", 0x7FF0 << 48, 0xFFF0 << 48),
        ("pk_add_f16", 0x7C003C00, 0xFC003C00),  # NaN above, 2.0 below
        ("pk_add_bf16", 0x7F803F80, 0xFF803F80),
        ("pk_add_bf16", 0x7FFFFFFF, 0x3F803F80),  # a NaN whose payload must not carry into the sign
    ],
)
def test_sum_that_is_not_a_number(name: str, old: int, added: int) -> None:
    bits = 64 if name.endswith("f64") else 32
    array = np.array([old], f"<u{bits // 8}")
    source = "v8" if bits == 32 else "v[8:9]"
    address = split([array.ctypes.data] * 64, 64, 0)
    run(f"global_atomic_{name} v[0:1], {source}, off", "gfx942", vgprs=address | split([added] * 64, bits, 8), exec=1,
        memory=[array])  # fmt: skip
    expected = {"pk_add_f16": 0x7E004000, "pk_add_bf16": 0x7FC04000}.get(
        name, 0x7FF8 << 48 if bits == 64 else 0x7FC00000
    )
    if old == 0x7FFFFFFF:
        expected = 0x7FC07FC0
    assert any(is_nan(expected, bits, name))
    assert same(int(array[0]), expected, bits, name)


def test_denormal_sums_are_kept() -> None:
    array = np.array([1], np.uint32)
    address = split([array.ctypes.data] * 64, 64, 0)
    run("global_atomic_add_f32 v[0:1], v8, off", "gfx942", vgprs=address | {8: np.ones(64, np.uint32)}, memory=[array])
    assert array[0] == 65


def test_buffer_atomic_out_of_range_is_dropped_whole_and_returns_zero() -> None:
    array = np.arange(10, dtype=np.uint32)
    base = {4: array.ctypes.data & 0xFFFFFFFF, 5: array.ctypes.data >> 32, 6: 20, 7: 0x27000}
    data = {8: np.ones(64, np.uint32), 9: np.zeros(64, np.uint32)}
    text = "buffer_atomic_add_x2 v[8:9], v0, s[4:7], 0 offen sc0"
    state = run(text, "gfx942", vgprs={0: LANES * 8, **data}, sgprs=base, memory=[array])
    assert array.tolist() == [1, 1, 3, 3, 4, 5, 6, 7, 8, 9]  # the third one lies half beyond the 20 bytes
    assert state.v[8].tolist() == [0, 2] + [0] * 62


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("global_atomic_add v[0:1], v8, off", 2),
        ("global_atomic_add_x2 v[0:1], v[8:9], off", 4),
        ("global_atomic_pk_add_bf16 v[0:1], v8, off", 2),
    ],
)
def test_atomic_off_its_alignment_is_a_violation(text: str, step: int) -> None:
    array = np.zeros(8, np.uint64)
    with pytest.raises(LabFault, match=r"MISALIGNED.*multiple"):
        run(text, "gfx942", vgprs=split([array.ctypes.data + step] * 64, 64, 0), memory=[array])


def test_lds_atomic_off_its_alignment_is_a_violation() -> None:
    with pytest.raises(LabFault, match=r"MISALIGNED.*multiple of 8"):
        run("ds_add_u64 v0, v[8:9]", "gfx942", vgprs={0: LANES * 0 + 4}, lds=bytes(64))
