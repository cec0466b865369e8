"""The process in which a kernel is tried: `python -m glm_rocm.probe.child REPORT < REQUEST`.

It may hang, crash or be killed; the report is there only if it did neither.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from glm_rocm.ops.kernel import Kernel, Tolerance
from glm_rocm.ops.moe import ExpertsProblem
from glm_rocm.plan import records
from glm_rocm.plan.problems import PROBLEMS, AnyProblem

CASES = {
    "attention": ("mixed", 23),  # prefill, a chunk, a verify and decodes in one batch
    "moe.route": ("plain", 5),
    "moe.experts": ("plain", 5),
    "linear": ("plain", 5),
    "norm_rope": ("plain", 5),
    "quant": ("plain", 5),
}
"""Stress and tokens of the one trial of each op (validate/ops.py)."""
FEWEST_EXPERTS = 16
"""Experts are cut to this many, or to top-k: widths decide how a kernel is compiled, their number does not."""


def request_of(kernel: Kernel, problem: Any, device: str, fp8: str) -> str:
    """The request as JSON: all that the process needs to know of a kernel."""
    return json.dumps(
        {
            "kernel": {
                "name": kernel.name,
                "op": kernel.op,
                "entry": kernel.entry,
                "tolerance": {kind: records.encode(value) for kind, value in kernel.tolerance.items()},
            },
            "problem": records.encode(problem),
            "device": device,
            "fp8": fp8,
        },
        sort_keys=True,
    )


def small(problem: AnyProblem) -> AnyProblem:
    """The model's own shape, with fewer experts."""
    if isinstance(problem, ExpertsProblem):
        return replace(problem, experts=min(problem.experts, max(FEWEST_EXPERTS, problem.top_k)))
    return problem


def attempt(request: dict[str, Any]) -> dict[str, str]:
    """Run the trial; the state and the error in one line."""
    named = request["kernel"]
    tolerance = {
        kind: records.decode(Tolerance, value, where="tolerance") for kind, value in named["tolerance"].items()
    }
    kernel = Kernel(named["name"], named["op"], named["entry"], (), tolerance)
    problem = small(records.decode(PROBLEMS[kernel.op], request["problem"], where="problem"))
    stress, m = CASES[kernel.op]
    try:
        run = kernel.load()
    except Exception as raised:
        return {"state": "failed", "error": one_line(raised)}
    # Only now: what fails to load, or dies of it, has been told without waiting for torch.
    import torch

    from glm_rocm.validate.ops import HOLD
    from glm_rocm.validate.trial import Trial

    trial = Trial(
        problem=problem,
        m=m,
        stress=stress,
        kernel=kernel,
        run=run,
        fp8=getattr(torch, request["fp8"]),
        device=torch.device(request["device"]),
        repeat=False,
    )
    try:
        checks = HOLD[kernel.op](trial)
    except Exception as raised:
        return {"state": state_of(raised), "error": one_line(raised)}
    missed = [one for one in checks if not one.passed]
    if missed:
        worst = missed[0]
        where = f" ({worst.where})" if worst.where else ""
        return {"state": "parity", "error": f"{worst.gate} {worst.measured:.3g}, at most {worst.limit:.3g}{where}"}
    return {"state": "ran", "error": ""}


def state_of(raised: Exception) -> str:
    """Which of the states an exception of the kernel means.

    A wrong argument shows as a TypeError of the call or as our kernels' own error; a ValueError of a library says what
    card or shape it does not take, and is a failure like others.
    """
    import torch

    if isinstance(raised, (MemoryError, torch.OutOfMemoryError)) or "out of memory" in str(raised):
        return "memory"
    if isinstance(raised, TypeError) or type(raised).__name__ == "KernelArgumentError":
        return "argument"
    return "failed"


def one_line(raised: BaseException) -> str:
    """Type and message; of a long one the beginning and the end, where a compiler's error stands."""
    text = " ".join(str(raised).split())
    if len(text) > 400:
        text = f"{text[:200]} ... {text[-190:]}"
    return f"{type(raised).__name__}: {text}"


def main() -> None:
    """Read the request, try, report."""
    report = Path(sys.argv[1])
    found = attempt(json.load(sys.stdin))
    report.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
