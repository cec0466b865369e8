"""Code objects from anywhere: what they say, how their waves start, what a launch of them refuses."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cdna_emulator import CodeObject, CodeObjectError, LaunchError, Options, OutOfBoundsError, Program
from cdna_emulator.assemble import assemble_kernel
from cdna_emulator.code_object import Argument
from cdna_emulator.counters import Registers, occupancy
from cdna_emulator.metadata import unpack

POINTER = "{.offset: %d, .size: 8, .value_kind: global_buffer, .address_space: global, .name: %s}"
NUMBER = "{.offset: %d, .size: %d, .value_kind: by_value}"


def source(body: str, arguments: str, *, directives: str = "", size: int = 64, threads: int = 256, arch: str = "gfx942",
           target: str | None = None) -> str:  # fmt: skip
    """A kernel `probe`; its argument pointer is in s[0:1] unless the directives move it."""
    return f"""
        .amdgcn_target "{target or f"amdgcn-amd-amdhsa--{arch}"}"
        .amdhsa_code_object_version 5
        .text
        .globl probe
        .p2align 8
        .type probe,@function
        probe:
        {body}
        s_endpgm
        .Lend: .size probe, .Lend-probe
        .rodata
        .p2align 6
        .amdhsa_kernel probe
            .amdhsa_next_free_vgpr 32
            .amdhsa_next_free_sgpr 40
            .amdhsa_accum_offset 32
            .amdhsa_user_sgpr_kernarg_segment_ptr 1
            {directives}
        .end_amdhsa_kernel
        .amdgpu_metadata
---
amdhsa.version: [1, 2]
amdhsa.kernels:
  - .name: probe
    .symbol: probe.kd
    .kernarg_segment_size: {size}
    .kernarg_segment_align: 8
    .group_segment_fixed_size: 16
    .private_segment_fixed_size: 0
    .wavefront_size: 64
    .sgpr_count: 46
    .vgpr_count: 32
    .agpr_count: 0
    .max_flat_workgroup_size: {threads}
    .args: [{arguments}]
...
        .end_amdgpu_metadata
    """


def program(body: str, arguments: str, **more: Any) -> Program:
    return Program.load(assemble_kernel(source(body, arguments, **more), "gfx942"))


def test_threads_and_workgroups_are_numbered_in_three_dimensions() -> None:
    """Each thread stores its packed numbers at (workgroup * threads + thread)."""
    body = """
        s_load_dwordx2 s[20:21], s[0:1], 0x0
        s_waitcnt lgkmcnt(0)
        s_mul_i32 s22, s4, 3       ; z of 2, y of 3, x of 2
        s_add_u32 s22, s22, s3
        s_lshl_b32 s22, s22, 1
        s_add_u32 s22, s22, s2
        s_mul_i32 s22, s22, 96     ; threads of a workgroup
        v_and_b32 v1, 0x3ff, v0
        v_bfe_u32 v2, v0, 10, 10
        v_bfe_u32 v3, v0, 20, 10
        v_mul_u32_u24 v3, 3, v3    ; 8 x 3 x 4 threads
        v_add_u32 v2, v2, v3
        v_lshlrev_b32 v2, 3, v2
        v_add_u32 v1, v1, v2
        v_add_u32 v1, s22, v1
        v_lshlrev_b32 v1, 2, v1
        global_store_dword v1, v0, s[20:21]
    """
    ids = "\n".join(f".amdhsa_system_sgpr_workgroup_id_{axis} 1" for axis in "xyz")
    probe = program(body, POINTER % (0, "out"), directives=f"{ids}\n.amdhsa_system_vgpr_workitem_id 2")
    out = np.full(2 * 3 * 2 * 96 + 1, -1, np.int32)
    record = probe.launch((2, 3, 2), [out], threads=(8, 3, 4))
    z, y, x = np.meshgrid(range(4), range(3), range(8), indexing="ij")
    assert out[:-1].reshape(12, 96).tolist() == [(x | y << 10 | z << 20).flatten().tolist()] * 12
    assert out[-1] == -1  # the second wave has 32 threads: the other lanes are off
    assert (record.counters.workgroups, record.counters.waves, record.counters.store_bytes) == (12, 24, 12 * 96 * 4)


@pytest.mark.parametrize(("packet", "queue", "kernarg"), [(0, 0, 0), (1, 0, 2), (1, 1, 4)])
def test_argument_pointer_follows_packet_and_queue(packet: int, queue: int, kernarg: int) -> None:
    """Of the dispatch packet the first lane reads grid and workgroup sizes."""
    body = f"s_load_dwordx2 s[20:21], s[{kernarg}:{kernarg + 1}], 0x0\n"
    body += "s_load_dwordx8 s[24:31], s[0:1], 0x0\n" if packet else "s_mov_b64 s[24:25], 0\n"
    body += "s_load_dword s32, s[2:3], 0x40\n" if queue else ""
    body += "s_waitcnt lgkmcnt(0)\n"
    stores = "".join(
        f"v_mov_b32 v1, s{24 + n}\n global_store_dword v0, v1, s[20:21] offset:{16 * n}\n"
        for n in range(8 if packet else 2)
    )
    directives = f".amdhsa_user_sgpr_dispatch_ptr {packet}\n.amdhsa_user_sgpr_queue_ptr {queue}"
    probe = program(f"{body}v_lshlrev_b32 v0, 2, v0\n{stores}", POINTER % (0, "out"), directives=directives)
    out = torch.zeros(64, dtype=torch.int32)
    probe.launch((3, 1, 1), [out], threads=4)
    words = out[:32:4].tolist()
    expected = [0, 4 | 1 << 16, 1, 12, 1, 1, 0, 16] if packet else [0] * 8
    assert words == expected  # sizes as 16 bits, grid in threads, scratch, LDS


def test_kinds_of_arguments() -> None:
    body = """
        s_load_dwordx8 s[4:11], s[0:1], 0x0
        s_load_dwordx4 s[12:15], s[0:1], 0x20
        s_waitcnt lgkmcnt(0)
        v_mov_b32 v2, s6
        v_mov_b32 v3, s7
        v_mov_b32 v4, s8
        v_mov_b32 v5, s9
        global_store_dwordx4 v0, v[2:5], s[4:5]
        v_mov_b32 v2, s10
        v_mov_b32 v3, s11
        v_mov_b32 v4, s12
        v_mov_b32 v5, s13
        global_store_dwordx4 v0, v[2:5], s[4:5] offset:16
    """
    places = [(8, 4), (12, 4), (16, 8), (24, 8), (32, 2), (34, 2), (36, 1), (37, 1)]
    arguments = ", ".join([POINTER % (0, "out"), *(NUMBER % place for place in places)])
    arguments += ", {.offset: 40, .size: 4, .value_kind: hidden_block_count_x}"
    probe = program(body, arguments)
    out = torch.zeros(8, dtype=torch.int32)
    values = [-3, 1.5, 1.25, -(2**62), np.float16(2.0), b"\x34\x12", True, -1]
    probe.launch(1, [out, *values], threads=1)
    raw = out.numpy().tobytes()
    assert struct.unpack("<ifdqeHBb", raw[: 4 + 4 + 8 + 8 + 2 + 2 + 2]) == (-3, 1.5, 1.25, -(2**62), 2.0, 0x1234, 1, -1)
    assert probe.kernel.arguments[-1] == Argument(40, 4, "hidden_block_count_x", None)


def test_numpy_array_and_its_views_are_memory() -> None:
    body = """
        s_load_dwordx2 s[4:5], s[0:1], 0x0
        v_lshlrev_b32 v0, 2, v0
        s_waitcnt lgkmcnt(0)
        global_store_dword v0, v0, s[4:5]
    """
    probe = program(body, POINTER % (0, "out"))
    out = np.zeros(20, np.uint32)
    probe.launch(1, [out[4:]], threads=16)
    assert out.tolist() == [0] * 4 + list(range(0, 64, 4))
    with pytest.raises(OutOfBoundsError, match="at byte 64 of `argument 0`"):
        probe.launch(1, [out[4:]], threads=17)


def test_code_reads_constants_beside_it_through_its_own_address() -> None:
    body = """
        s_load_dwordx2 s[4:5], s[0:1], 0x0
        s_getpc_b64 s[6:7]
        s_add_u32 s6, s6, table@rel32@lo+4
        s_addc_u32 s7, s7, table@rel32@hi+12
        s_load_dword s8, s[6:7], 0x4
        s_waitcnt lgkmcnt(0)
        v_mov_b32 v1, s8
        v_mov_b32 v0, 0
        global_store_dword v0, v1, s[4:5]
        s_endpgm
        table: .long 1, 0xabcd, 3
    """
    out = torch.zeros(1, dtype=torch.int32)
    program(body, POINTER % (0, "out")).launch(1, [out], threads=1)
    assert out.item() == 0xABCD


# ---- what is refused -------------------------------------------------------------------------------------------


NOTHING = "s_nop 0"


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([], "0 arguments for `probe`; 2"),
        ([None, 1, 2], "3 arguments for `probe`; 2"),
        ([None, 2**32], "argument 1` of `probe` is int 4294967296; a value of 4 bytes"),
        ([None, "text"], "argument 1` of `probe` is str; a value of 4 bytes"),
        ([None, b"12345"], "argument 1` of `probe` is bytes; a value of 4 bytes"),
        ([1.5, 1], "argument 0` of `probe` is float 1.5; an address or a tensor, 8 bytes"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(values: list[Any], found: str) -> None:
    probe = program(NOTHING, f"{POINTER % (0, 'out')}, {NUMBER % (8, 4)}")
    with pytest.raises(LaunchError) as caught:
        probe.launch(1, values)
    assert found in str(caught.value)


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ({"grid": (1, 2, 3, 4)}, "grid=(1, 2, 3, 4); one to three whole numbers from 0 on"),
        ({"grid": -1}, "grid=-1"),
        ({"grid": 1.5}, "grid=1.5"),
        ({"threads": 257}, "(257, 1, 1) threads for `probe`; at most 256"),
        ({"threads": 0}, "threads=0"),
        ({"shared": 65536}, "`probe` wants 65552 bytes of LDS; at most 65536 on gfx942"),
    ],
)
def test_launch_that_does_not_fit_is_refused(more: dict[str, Any], found: str) -> None:
    with pytest.raises(LaunchError) as caught:
        program(NOTHING, "").launch(**({"grid": 1, "args": []} | more))
    assert found in str(caught.value)


def test_sample_of_less_than_one_is_refused() -> None:
    with pytest.raises(LaunchError, match="sample=0"):
        Options(sample=0)


def test_what_is_no_code_object_is_refused(tmp_path: Path) -> None:
    elf = assemble_kernel(source(NOTHING, ""), "gfx942")
    path = tmp_path / "probe.hsaco"
    path.write_bytes(elf)
    assert Program.load(path).kernel.name == "probe"
    other_machine = elf[:18] + b"\x3e\x00" + elf[20:]
    other_arch = elf[:48] + bytes([0x3F]) + elf[49:]  # gfx90a
    for data, found in (
        (b"", "0 bytes that are no ELF64"),
        (other_machine, "an ELF for machine 62"),
        (other_arch, "another architecture (ELF machine flags 0x3f); gfx942 or gfx950"),
    ):
        with pytest.raises(CodeObjectError) as caught:
            CodeObject.parse(data)
        assert found in str(caught.value)
    with pytest.raises(CodeObjectError, match="cannot read"):
        Program.load(tmp_path / "absent.hsaco")
    with pytest.raises(CodeObjectError, match="no kernel `other`; one of `probe`"):
        Program.load(elf, "other")


def test_damaged_code_object_is_refused_wherever_it_is_cut() -> None:
    elf = assemble_kernel(source(NOTHING, ""), "gfx942")
    for size in range(5, len(elf), 61):
        with pytest.raises(CodeObjectError):
            CodeObject.parse(elf[:size])


def test_message_pack_of_every_length() -> None:
    assert unpack(b"\x83\xa1a\x01\xa1b\x92\xff\xcd\x01\x00\xa1c\xc3") == {"a": 1, "b": [-1, 256], "c": True}
    assert unpack(b"\xd9\x02hi") == "hi"
    assert unpack(b"\xdc\x00\x02\xc0\xc2") == [None, False]
    assert unpack(b"\xde\x00\x01\xa1k\xcf" + b"\xff" * 8) == {"k": 2**64 - 1}
    assert unpack(b"\xcb" + struct.pack(">d", 0.5)) == 0.5
    assert unpack(b"\xd2" + struct.pack(">i", -70000)) == -70000
    for damaged in (b"", b"\xa5ab", b"\x92\x01", b"\xc1", b"\xcd\x01", b"\xa1\xff"):
        with pytest.raises(ValueError, match="damaged MessagePack"):
            unpack(damaged)


# ---- decoded programs on disk ----------------------------------------------------------------------------------


def test_decoded_program_is_kept_and_a_damaged_file_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cdna_emulator import core, decoded

    core.operations()  # built where it always is
    monkeypatch.setenv("CDNA_EMULATOR_CACHE", str(tmp_path))
    decodings = []
    real = decoded._decoder()

    class Counting:
        def decode(self, text: bytes, **more: Any) -> Any:
            decodings.append(text)
            return real.decode(text, **more)

    monkeypatch.setattr(decoded, "_decoder", lambda: Counting())
    elf = assemble_kernel(source("v_mov_b32 v1, 5", ""), "gfx942")
    first = Program.load(elf).code
    assert np.array_equal(Program.load(elf).code, first)
    assert len(decodings) == 1
    (path,) = (tmp_path / "programs").iterdir()
    for damaged in (path.read_bytes()[:-1], b"", path.read_bytes()[:-1] + b"\xff"):
        path.write_bytes(damaged)
        assert np.array_equal(Program.load(elf).code, first)
        assert np.array_equal(Program.load(elf).code, first)
    assert len(decodings) == 4


def test_folder_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cdna_emulator import core

    core.operations()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CDNA_EMULATOR_CACHE", str(tmp_path / "file"))
    program("v_mov_b32 v1, 6", "").launch(1, [])


# ---- counters --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vgprs", "sgprs", "shared", "warps", "expected"),
    [
        (64, 50, 0, 4, 8),
        (65, 50, 0, 4, 7),
        (128, 50, 0, 4, 4),
        (512, 50, 0, 4, 1),
        (32, 106, 0, 4, 7),
        (32, 50, 32768, 4, 2),
        (32, 50, 65536, 8, 2),
        (32, 50, 65536, 1, 0.25),
    ],
)
def test_occupancy(vgprs: int, sgprs: int, shared: int, warps: int, expected: float) -> None:
    assert occupancy("gfx942", Registers(vgprs, 0, sgprs, 0, 0, 0), shared, warps) == expected


def test_counters_do_not_depend_on_where_memory_lies() -> None:
    body = """
        s_load_dwordx2 s[4:5], s[0:1], 0x0
        v_lshlrev_b32 v0, 2, v0
        s_waitcnt lgkmcnt(0)
        global_load_dword v1, v0, s[4:5]
    """
    probe = program(body, POINTER % (0, "x"))
    room = np.zeros(1000, np.uint8)
    for start in (0, 4, 60, 100):
        record = probe.launch(1, [np.frombuffer(room.data, np.uint8, 512, start)], threads=64)
        assert (record.counters.instruction_lines, record.counters.load_bytes) == (2, 256)
        assert record.traffic["argument 0"].line_bytes == 256
