"""Our Triton kernels on AMD's matrix cores: first choice on gfx942 and gfx950.

Declarations only; Triton is imported when a kernel is loaded. No card was at hand: what is known of each kernel is that
its machine code, executed by the emulator, gives the reference's results (tests/kernels).
"""

from __future__ import annotations

from glm_rocm.backends.triton_kernels import triton_kernels
from glm_rocm.ops.kernel import Evidence

ARCHS = ("gfx942", "gfx950")


def _emulated(test: str, *dtypes: str) -> tuple[Evidence, ...]:
    where = f"machine code of Triton 3.9.0 run by cdna_emulator, tests/kernels/{test}"
    return tuple(Evidence(arch, dtype, "emulated", where) for arch in ARCHS for dtype in dtypes)


KERNELS = triton_kernels("rocm", ARCHS, _emulated)
