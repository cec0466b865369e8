"""Compile what ships: the wrappers are called as ever, under a Triton driver that compiles for an architecture and runs
nothing. So the shapes, the specialisation and the launch choice are those of a real launch.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
import triton

from glm_rocm.target.cards import ARCHS as PRODUCT_ARCHS
from glm_rocm_kernels import launch
from glm_rocm_kernels._triton import INTERPRETING
from glm_rocm_kernels.compiling import CDNA, compiling

DTYPES = {
    "f8E4M3FN": r"fp8_fp8|f8f6f4|e4m3",
    "f8E4M3FNUZ": r"fp8_fp8",
    "bf16": r"bf16|kind::f16",
    "f16": r"[x0-9_]f16|\.f16\.f16|kind::f16",
    "f32": r"x\d+_?f32",
}
"""By operand type of a product in Triton's IR: what the mnemonic of the native instruction holds."""

PRODUCT = {
    "amd": re.compile(r"\b(v_s?mfmac?_\w+|v_wmma_\w+)"),
    "nvidia": re.compile(r"\b(wgmma\.mma_async\S*|mma\.sync\S*|tcgen05\.mma\.\S*)"),
}
WIDE_LOAD = r"(?:buffer|global)_load_(?:dwordx4|b128)|cp\.async\S* .*, 0x10|ld\.global\S*\.v4"
"""16 bytes a lane, to registers or straight to LDS."""
WITHOUT_FP32_UNITS = ("gfx1201", "sm90", "sm100")
"""Their matrix units have no IEEE fp32: such products are multiply-adds."""


@dataclass(frozen=True)
class Compiled:
    """One kernel's machine code and what it asks of the hardware."""

    kernel: str
    arch: str
    binary: Any

    @cached_property
    def text(self) -> str:
        found: str = self.binary.asm["ptx" if self.arch.startswith("sm") else "amdgcn"]
        return found

    @property
    def operand_types(self) -> set[str]:
        """Of the products in Triton's IR."""
        operands = re.findall(r"tt\.dot .*: tensor<[\dx]*x(\w+)> \* tensor<[\dx]*x(\w+)>", self.binary.asm["ttir"])
        return {ty for pair in operands for ty in pair}

    @property
    def products(self) -> set[str]:
        """Mnemonics of the matrix instructions."""
        return set(PRODUCT["nvidia" if self.arch.startswith("sm") else "amd"].findall(self.text))

    def figure(self, name: str) -> int:
        """A figure of AMD's kernel descriptor."""
        found = re.search(rf"^[\s-]*\.{name}:\s*(\d+)", self.text, re.MULTILINE)
        assert found, f"{self.kernel}: no `{name}` in the code object's metadata"
        return int(found[1])

    @property
    def occupancy(self) -> int:
        """Waves per SIMD on CDNA: 512 registers a lane, four SIMDs, one LDS."""
        registers = 512 // (-(-max(self.figure("vgpr_count"), 1) // 8) * 8)
        shared = self.binary.metadata.shared
        in_lds = launch.device(self.arch).lds_bytes // shared if shared else 32
        return min(8, registers, in_lds * self.binary.metadata.num_warps // 4)


@pytest.fixture(autouse=True)
def _compiling() -> None:
    if INTERPRETING:
        pytest.fail("`TRITON_INTERPRET` is set: nothing would be compiled")


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], object]], list[Compiled]]:
    """`compiled(arch, call)`: the kernels that a call of a wrapper launches on an architecture."""
    found: list[Compiled] = []
    check = launch.refuse_unfit

    def record(binary: Any, kernel: str, choice: launch.LaunchChoice) -> None:
        found.append(Compiled(kernel, choice.arch, binary))
        check(binary, kernel, choice)

    def run(arch: str, call: Callable[[], object]) -> list[Compiled]:
        found.clear()
        with compiling(arch):
            call()
        assert found, "nothing was launched"
        return list(found)

    monkeypatch.setattr(launch, "refuse_unfit", record)
    monkeypatch.setattr(launch, "_fitting", set())
    return run


@pytest.fixture
def hold(tmp_path: Path) -> Callable[..., None]:
    """`hold(kernel, *products)`: all that is asked of a kernel; `products`: the operand types that it may multiply."""

    def check(kernel: Compiled, *products: str) -> None:
        name = f"{kernel.kernel} on {kernel.arch}"
        shared, limit = kernel.binary.metadata.shared, launch.device(kernel.arch).lds_bytes
        assert shared <= limit, f"{name}: {shared} bytes of LDS of {limit}"
        if kernel.arch.startswith("sm"):
            assert stack_of(kernel, tmp_path) == 0, f"{name} spills"
        else:
            for spill in ("vgpr_spill_count", "sgpr_spill_count", "private_segment_fixed_size"):
                assert kernel.figure(spill) == 0, f"{name}: {spill} {kernel.figure(spill)}"
        if kernel.arch in CDNA:
            assert kernel.occupancy >= 2, (
                f"{name}: occupancy {kernel.occupancy}, {kernel.figure('vgpr_count')} registers"
            )
        if kernel.operand_types:
            assert kernel.operand_types <= set(products), f"{name} multiplies {kernel.operand_types}"
            native(kernel, name)

    return check


def native(kernel: Compiled, name: str) -> None:
    """Products are the matrix units' own for their types, and operands come 16 bytes at a time."""
    types = kernel.operand_types - ({"f32"} if kernel.arch in WITHOUT_FP32_UNITS else set())
    mnemonics = kernel.products
    for ty in types:
        assert any(re.search(DTYPES[ty], found) for found in mnemonics), f"{name}: {mnemonics} for {ty}"
    strangers = [found for found in mnemonics if not any(re.search(DTYPES[ty], found) for ty in types)]
    assert not strangers, f"{name}: {strangers} for {kernel.operand_types}"
    assert re.search(WIDE_LOAD, kernel.text), f"{name} loads its operands in less than 16 bytes"


def stack_of(kernel: Compiled, folder: Path) -> int:
    """Bytes of stack, where a spilled register goes, as NVIDIA's own tool reads them off the binary."""
    cubin = folder / "kernel.cubin"
    cubin.write_bytes(kernel.binary.asm["cubin"])
    tool = triton.knobs.nvidia.cuobjdump.path
    usage = subprocess.run([tool, "-res-usage", str(cubin)], capture_output=True, text=True, check=True).stdout
    found = re.search(r"STACK:(\d+)", usage)
    assert found, usage
    return int(found[1])


TYPES = {
    torch.bfloat16: "bf16",
    torch.float16: "f16",
    torch.float32: "f32",
    torch.float8_e4m3fn: "f8E4M3FN",
    torch.float8_e4m3fnuz: "f8E4M3FNUZ",
}


@pytest.fixture
def type_of() -> Callable[[torch.dtype], str]:
    """The name of a dtype in Triton's IR."""
    return TYPES.__getitem__


@pytest.fixture
def fp8_of() -> Callable[[str], torch.dtype]:
    """The FP8 format that an architecture multiplies, and e4m3fn where it has none."""

    def find(arch: str) -> torch.dtype:
        name = PRODUCT_ARCHS[arch].fp8_dtype if arch in PRODUCT_ARCHS else None
        found: torch.dtype = getattr(torch, name or "float8_e4m3fn")
        return found

    return find
