"""Write docs/support.md from what the kernels declare. Run by `make pictures`.

python docs/make_support.py [FILE]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from glm_rocm.backends import candidates
from glm_rocm.cli.planview import evidence_dtype
from glm_rocm.model import KNOWN
from glm_rocm.ops.kernel import Accepted, Problem
from glm_rocm.plan.problems import problems_of
from glm_rocm.target import Target, parse_target
from glm_rocm.target.cards import ARCHS

MODELS = ("zai-org/GLM-4.6", "zai-org/GLM-4.6-FP8")
TP = 8
WORDS = {"cuda.flashinfer_": "FlashInfer", "cuda.xformers_": "XFormers", "cpu.": "torch", "": "Triton"}
"""What a kernel is written in, by how its name begins."""
HEAD = """# What runs where, and how that is known

Made by `make pictures` from the kernels' own declarations; `glm-rocm backends --target KIND` prints the same for one
target and any model, with the reason of each refusal. Per op and compute dtype at the shapes of GLM-4.6 at TP 8: the
first kernel that accepts, and what its word stands on.

- `hardware`: it ran on that device and gave the reference's results.
- `emulated`: no such device was at hand; its machine code, executed by the emulator on a CPU, gave them.
- `compiled`: it compiles for that device as it ships; nothing ran.
- `none`: neither. The torch kernels are the same code everywhere, so they are likely to be right; nobody has seen it.
"""


def rows() -> Iterator[tuple[str, str, list[str]]]:
    """(op, dtype, one cell per architecture)."""
    seen = set()
    for name in MODELS:
        quantized = KNOWN[name].quantization.scheme != "none"
        for dtype in ("bfloat16",) if quantized else ("bfloat16", "float16", "float32"):
            for problem in problems_of(KNOWN[name], TP, dtype=dtype, kv_dtype=dtype, block_size=16):
                key = (problem.op, evidence_dtype(problem))
                if key not in seen:
                    seen.add(key)
                    yield *key, [_cell(problem, parse_target(arch)) for arch in ARCHS]


def _cell(problem: Problem, card: Target) -> str:
    dtype = evidence_dtype(problem)
    if dtype == "float8" and card.fp8_dtype is None:
        return "no FP8"
    for kernel in candidates(card):
        if kernel.op == problem.op and isinstance(kernel.check(problem, card), Accepted):
            word = next(word for prefix, word in WORDS.items() if kernel.name.startswith(prefix))
            return f"{word}: `{kernel.evidence_for(card.arch, dtype).level}`"
    return "refused"


def page() -> str:
    """The whole page."""
    lines = [HEAD, "| op | dtype | " + " | ".join(ARCHS) + " |", "| --- " * (2 + len(ARCHS)) + "|"]
    lines += [f"| {op} | {dtype} | " + " | ".join(cells) + " |" for op, dtype, cells in sorted(rows())]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "support.md"
    target.write_text(page(), encoding="utf-8")
