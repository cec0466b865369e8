"""Write docs/support.md from what the kernels declare and what the matrix's cells gave. Run by `make pictures`.

python docs/make_support.py [FILE]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from glm_rocm.backends import candidates
from glm_rocm.cli.planview import evidence_dtype
from glm_rocm.engines import engine_names, get_engine
from glm_rocm.model import KNOWN
from glm_rocm.ops.kernel import Accepted, Problem
from glm_rocm.plan.problems import problems_of
from glm_rocm.target import Target, parse_target
from glm_rocm.target.cards import ARCHS

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "ci"))
import matrix  # of ci/, which is no package

MODELS = ("zai-org/GLM-4.6", "zai-org/GLM-4.6-FP8")
TP = 8
WORDS = {"cuda.flashinfer_": "FlashInfer", "cuda.xformers_": "XFormers", "cpu.": "torch", "": "Triton"}
"""What a kernel is written in, by how its name begins."""
OF_CELLS = {"Triton": ("hardware", "emulated", "compiled"), "torch": ("hardware",)}
"""By word: the proofs of cells whose checks are of those kernels: the torch ones run on the CPU alone."""
HEAD = """# What runs where, and how that is known

Made by `make pictures` from the kernels' own declarations and from `ci/results`, which the cells of the vendor matrix
wrote ([ci.md](ci.md)); `glm-rocm backends --target KIND` prints the declarations for one target and any model, with the
reason of each refusal. Per op and compute dtype at the shapes of GLM-4.6 at TP 8: the first kernel that accepts, and
what its word stands on.

- `hardware`: it ran on that device and gave the reference's results.
- `emulated`: no such device was at hand; its machine code, executed by the emulator on a CPU, gave them.
- `compiled`: it compiles for that device as it ships; nothing ran.
- `none`: neither. The torch kernels are the same code everywhere, so they are likely to be right; nobody has seen it.

In brackets: how many checks of that op and dtype passed in the results below; `not run` where a word has none there.
"""
CELLS = """
## The cells

One line a cell of `ci/matrix.json`; `commit` is the code that ran. What needs a card that nobody had is `not run`, with
the command that runs it on such a machine. Nothing here stands for more than its own line.
"""


def results(folder: Path = matrix.RESULTS) -> dict[str, Any]:
    """The results by cell; those of a checkout with changes count for nothing."""
    found = (json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json")))
    return {one["cell"]: one for one in found if not one["changed"]}


def checks(arch: str, op: str, dtype: str, level: str, found: Mapping[str, Any]) -> int:
    """How many checks of an op and dtype passed in cells that passed and show that level on that architecture."""
    passed = (
        found[cell.name]["ops"].get(op, {}).get(dtype, 0)
        for cell in matrix.load().values()
        if cell.arch == arch and cell.proof == level and found.get(cell.name, {}).get("outcome") == "passed"
    )
    return sum(passed)


def rows(found: Mapping[str, Any]) -> Iterator[tuple[str, str, str, list[str]]]:
    """(op, dtype, the engines that ask us for it, one cell per architecture)."""
    seen = set()
    for name in MODELS:
        quantized = KNOWN[name].quantization.scheme != "none"
        for dtype in ("bfloat16",) if quantized else ("bfloat16", "float16", "float32"):
            for problem in problems_of(KNOWN[name], TP, dtype=dtype, kv_dtype=dtype, block_size=16):
                key = (problem.op, evidence_dtype(problem))
                if key not in seen:
                    seen.add(key)
                    yield *key, _engines(problem.op), [_cell(problem, parse_target(arch), found) for arch in ARCHS]


def _engines(op: str) -> str:
    return ", ".join(name for name in engine_names() if op in get_engine(name).ops)


def _cell(problem: Problem, card: Target, found: Mapping[str, Any]) -> str:
    dtype = evidence_dtype(problem)
    if dtype == "float8" and card.fp8_dtype is None:
        return "no FP8"
    for kernel in candidates(card):
        if kernel.op == problem.op and isinstance(kernel.check(problem, card), Accepted):
            word = next(word for prefix, word in WORDS.items() if kernel.name.startswith(prefix))
            level = kernel.evidence_for(card.arch, dtype).level
            if level == "none":
                return f"{word}: `none`"
            shown = level in OF_CELLS.get(word, ())
            passed = checks(card.arch, problem.op, dtype, level, found) if shown else 0
            return f"{word}: `{level}` ({passed or 'not run'})"
    return "refused"


def cells(found: Mapping[str, Any]) -> Iterator[str]:
    """One line a cell, those that need a card last."""
    for cell in sorted(matrix.load().values(), key=lambda cell: cell.needs_card):
        where = f"{cell.runner.devices} x {cell.arch}" if cell.needs_card else cell.arch
        about = f"| {cell.name} | {where} | {cell.engine} | {', '.join(cell.precision)} | {cell.proof} |"
        one = found.get(cell.name)
        if one is None:
            yield f"{about} not run: `{cell.command}` | | | |"
            continue
        counts = one["counts"] or {"passed": "", "failed": 0, "skipped": 0}
        rest = "".join(f", {counts[kind]} {kind}" for kind in ("failed", "skipped") if counts[kind])
        outcome = one["outcome"] + (f": {one['reason'].replace('|', '/')}" if one["reason"] else "")
        yield f"{about} {outcome} | {counts['passed']}{rest} | {one['commit'][:10]} | {one['date'][:10]} |"


def page(found: Mapping[str, Any]) -> str:
    """The whole page."""
    lines = [HEAD, "| op | dtype | engines | " + " | ".join(ARCHS) + " |", "| --- " * (3 + len(ARCHS)) + "|"]
    lines += [" | ".join(("| " + op, dtype, engines, *row)) + " |" for op, dtype, engines, row in sorted(rows(found))]
    lines += [
        CELLS,
        "| cell | arch | engine | dtypes | would show | outcome | passed | commit | date |",
        "| --- " * 9 + "|",
    ]
    return "\n".join([*lines, *cells(found)]) + "\n"


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "support.md"
    target.write_text(page(results()), encoding="utf-8")
