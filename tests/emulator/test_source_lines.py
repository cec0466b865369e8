"""pc -> file and line, through the DWARF of code objects."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from corpus import memory

import cdna_emulator
from cdna_emulator.assemble import assemble_kernel
from cdna_emulator.encoding import split
from cdna_emulator.source_lines import line_of

SOURCE = """
.text
{file}
sum:
.loc 1 7 3
  s_nop 0
  s_nop 1
.loc 1 300 1
  v_add_f32 v0, v1, v2
.loc 1 8 1
  s_endpgm
"""


@pytest.mark.parametrize(
    "file", ['.file 1 "/src/kernels" "sum.py"', '.file 0 "/src" "a.py"\n.file 1 "/src/kernels" "sum.py"']
)
def test_lines_of_an_assembled_object_in_both_versions(file: str) -> None:
    elf = assemble_kernel(SOURCE.format(file=file), "gfx942")
    lines = [line_of(elf, pc) for pc in (0, 4, 8, 12, 16)]
    assert lines == [("/src/kernels/sum.py", 7)] * 2 + [("/src/kernels/sum.py", 300), ("/src/kernels/sum.py", 8), None]


def test_object_without_lines_gives_none() -> None:
    assert line_of(assemble_kernel(".text\ns_endpgm", "gfx942"), 0) is None


def test_store_of_a_triton_kernel_is_found_where_it_is_written() -> None:
    with cdna_emulator.device("gfx942"):
        compiled = memory.cached.warmup(torch.zeros(300), torch.zeros(300), 300, grid=(2,), BLOCK=256)
    text = cdna_emulator.CodeObject.parse(compiled.asm["hsaco"]).text
    found, at = set(), 0
    while at < len(text):
        instruction = split(text, at)
        if "_store_" in instruction.form.mnemonic:
            found.add(line_of(compiled.asm["hsaco"], at))
        at += instruction.size
    ((file, line),) = found
    # By name: Triton's cache may hold the code of another checkout's equal kernel.
    assert Path(file).name == Path(str(memory.__file__)).name
    assert "tl.store(target + at" in Path(str(memory.__file__)).read_text().splitlines()[line - 1]
