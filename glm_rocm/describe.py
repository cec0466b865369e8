"""A plan and the support table as plain rows of text, for whoever prints them."""

from __future__ import annotations

from dataclasses import dataclass

from glm_rocm import backends
from glm_rocm.memory import MemoryFit
from glm_rocm.ops.kernel import EvidenceLevel
from glm_rocm.plan import Plan
from glm_rocm.target import Target

PRECISION_WORDS = {
    "fp8_channel_token": "FP8 weights per channel, activations per token",
    "fp8_block": "FP8 weights in 128 x 128 blocks, activations per token and 128 columns",
}


@dataclass(frozen=True)
class SupportRow:
    """How one kernel is known to be right on one architecture and dtype."""

    kernel: str
    op: str
    arch: str
    dtype: str
    level: EvidenceLevel
    where: str


def support_rows(target: Target) -> tuple[SupportRow, ...]:
    """Every kernel that `select` looks at for the target, at every dtype that it declares, in priority order."""
    rows = []
    for kernel in backends.candidates(target):
        for dtype in kernel.tolerance:
            known = kernel.evidence_for(target.arch, dtype)
            rows.append(SupportRow(kernel.name, kernel.op, target.arch, dtype, known.level, known.where))
    return tuple(rows)


def plan_rows(plan: Plan) -> tuple[tuple[str, str], ...]:
    """(what, how) for everything that a plan decides except kernels, memory and notes."""
    tokens = f"{plan.context} tokens, {plan.fit.full_requests} such requests at once, {plan.max_seqs} in flight at most"
    draft = f"{plan.mtp} draft token{'s' if plan.mtp > 1 else ''} per step" if plan.mtp else "off"
    return (
        ("model", f"{plan.model.name} ({plan.model.source})"),
        ("target", plan.target.describe() + (", stated" if plan.target.stated else ", detected")),
        ("engine", plan.engine),
        ("parallelism", f"TP {plan.tp}"),
        ("precision", f"{PRECISION_WORDS.get(plan.precision, plan.precision)}; KV cache {plan.kv_dtype}"),
        ("context", tokens),
        ("MTP", draft),
    )


def memory_rows(fit: MemoryFit) -> tuple[tuple[str, str], ...]:
    """(item, gigabytes) of one rank, in the order of the sum; estimates are marked."""
    weights = f"{fit.weights.total / 1e9:.2f} GB"
    if fit.offload:
        weights += f", {fit.offload / 1e9:.2f} of them in host memory"
    requests = f"{fit.requests} request{'s' if fit.requests > 1 else ''} of {fit.context} tokens"
    rows = [
        ("weights", weights),
        ("KV cache", f"{fit.kv_asked / 1e9:.2f} GB for {requests} ({fit.kv_per_token} bytes per token)"),
        ("activations", f"{fit.activations / 1e9:.2f} GB (estimate)"),
        ("graphs", f"{fit.graphs / 1e9:.2f} GB (estimate)"),
        ("runtime", f"{fit.runtime / 1e9:.2f} GB (estimate)"),
        ("budget", f"{fit.budget / 1e9:.2f} GB, {fit.free / 1e9:.2f} of them free for more cache"),
    ]
    if fit.smallest_tp is not None:
        rows.append(("smallest TP", f"{fit.smallest_tp} without host memory"))
    return tuple(row for row in rows if row[1] != "0.00 GB (estimate)")
