"""A plan, and a table of kernels, as a terminal shows them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from glm_rocm.cli.console import EVIDENCE_WORDS, bar, bullets, gigabytes, heading, pairs, table
from glm_rocm.ops.kernel import Accepted, Kernel, Problem, Refused
from glm_rocm.ops.select import Selection
from glm_rocm.plan import Plan
from glm_rocm.target import Target

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

PRECISION_WORDS = {
    "fp8_channel_token": "FP8, weights per channel, activations per token",
    "fp8_block": "FP8, weights per 128x128 block, activations per token and 128 columns",
}


def plan_view(plan: Plan, engine: str) -> RenderableType:
    """The whole plan but its command line. `engine` is the engine with its version, as a person calls it."""
    from rich.console import Group
    from rich.text import Text

    title = Text(f"{plan.model.name} on {plan.target.describe()}\n", "bold")
    parts = [title, pairs(_facts(plan, engine)), heading("memory of one device"), _memory(plan), heading("kernels")]
    parts.append(_kernels(plan.selections, plan.kernel_target))
    refused = list(_refusals(plan.selections))
    if refused:
        parts += [heading("refused"), bullets(refused)]
    if plan.notes:
        parts += [heading("notes"), bullets(plan.notes)]
    return Group(*parts)


def _facts(plan: Plan, engine: str) -> Iterator[tuple[str, str]]:
    spec, rank = plan.model, plan.model.per_rank(plan.tp)
    layers = f"{spec.layers} layers" + (f" and {spec.mtp_layers} MTP" if spec.mtp_layers else "")
    yield "model", f"{layers}, {spec.experts} experts, {spec.top_k} of them per token"
    yield "target", f"{'stated' if plan.target.stated else 'detected'}, FP8 format {plan.target.fp8_dtype or 'none'}"
    yield "engine", engine
    if plan.emulate:
        yield "kernels of", f"{plan.kernel_target.name} ({plan.kernel_target.arch}), emulated"
    if split := plan.disaggregation:
        each = "on devices of its own" if plan.target.vendor != "cpu" else "on the same CPU"
        yield "servers", f"{split.prefill} for prefill, {split.decode} for decode, each {each}; one router"
    heads = f"{_count(rank.heads, 'query head')} on {_count(rank.kv_heads, 'KV head')}"
    yield "parallelism", f"TP {plan.tp}: {heads}, experts of {rank.moe_intermediate} columns per rank"
    yield "precision", f"{PRECISION_WORDS.get(plan.precision, plan.precision)}; KV cache {plan.kv_dtype}"
    yield "requests", f"{plan.context} tokens of context, at most {plan.max_seqs} at once"
    yield "speculation", f"MTP drafts {plan.mtp} a step" if plan.mtp else "off"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _memory(plan: Plan) -> RenderableType:
    from rich.text import Text

    fit = plan.fit
    least = f"fits from TP {fit.smallest_tp} on" if fit.smallest_tp else "fits at no TP without host memory"
    items = [
        ("budget", fit.budget, f"{plan.memory_fraction:.0%} of {gigabytes(plan.target.memory_bytes)}; {least}", "dim"),
        ("weights", fit.weights.total - fit.offload, _offloaded(fit.offload), "blue"),
        ("KV cache", fit.kv_asked, f"{_count(fit.requests, 'request')} of {fit.context} tokens", "cyan"),
        ("activations", fit.activations, "estimate", "magenta"),
        ("graphs", fit.graphs, "estimate", "magenta"),
        ("runtime", fit.runtime, "estimate", "magenta"),
        (
            "left",
            fit.free,
            f"KV cache for {fit.kv_tokens} tokens, {_count(fit.full_requests, 'full request')}",
            "green",
        ),
    ]
    return table(
        (
            (
                Text(name.ljust(11), "dim"),
                gigabytes(size).rjust(8),
                Text(bar(size, fit.budget, 20), style),
                Text(note, "dim"),
            )
            for name, size, note, style in items
            if size
        ),
        whole=(0, 1, 2),
    )


def _offloaded(size: int) -> str:
    return f"{gigabytes(size)} more in host memory" if size else ""


def _kernels(selections: Sequence[Selection], target: Target) -> RenderableType:
    """One line for each op and kernel; further shapes of the same are counted, `--json` lists them."""
    from rich.text import Text

    groups: dict[tuple[str, str], list[Selection]] = {}
    for selection in selections:
        groups.setdefault((selection.problem.op, selection.chosen.name), []).append(selection)
    rows = []
    for (op, kernel), members in groups.items():
        shape = members[0].problem.describe()
        more = f", and {_count(len(members) - 1, 'more shape')}" if len(members) > 1 else ""
        rows.append(
            (
                op,
                Text(kernel, "bold"),
                evidence_words(members[0].chosen, members[0].problem, target),
                Text(shape + more, "dim"),
            )
        )
    return table(rows, header=("op", "runs", "known by", "on one rank"), whole=(0, 1, 2))


def evidence_dtype(problem: Problem) -> str:
    """The dtype under which evidence for a problem is recorded: `float8` where it multiplies FP8, else its own."""
    if getattr(problem, "quant", "none") != "none" or problem.op == "quant":
        return "float8"
    return str(getattr(problem, "dtype", "float32"))


def evidence_words(kernel: Kernel, problem: Problem, target: Target) -> Text:
    """How the kernel is known to be right for the problem on the target's arch."""
    from rich.text import Text

    return Text(*EVIDENCE_WORDS[kernel.evidence_for(target.arch, evidence_dtype(problem)).level])


def _refusals(selections: Sequence[Selection]) -> Iterator[str]:
    """Each refusal once, by op."""
    seen = set()
    for selection in selections:
        for refused in selection.refused:
            text = f"{selection.problem.op}: {refused}"
            if text not in seen:
                seen.add(text)
                yield text


def support_view(rows: Sequence[dict[str, Any]], title: str) -> RenderableType:
    """The rows of `support_rows` as a table, and below it why a kernel does not run something."""
    from rich.console import Group
    from rich.text import Text

    lines = [
        (
            row["op"],
            Text(row["kernel"], "bold"),
            Text("runs", "green") if row["accepted"] else Text("refuses", "red"),
            Text(*EVIDENCE_WORDS[row["evidence"]]),
            Text(row["problem"], "dim"),
        )
        for row in rows
    ]
    reasons = [f"{row['kernel']}: {reason}" for row in rows for reason in row["reasons"]]
    parts: list[RenderableType] = [
        Text(title + "\n", "bold"),
        table(lines, header=("op", "kernel", "", "known by", "on one rank"), whole=(0, 1, 2, 3)),
    ]
    if reasons:
        parts += [heading("refused"), bullets(dict.fromkeys(reasons))]
    return Group(*parts)


def support_rows(problems: Iterable[Problem], kernels: Sequence[Kernel], target: Target) -> list[dict[str, Any]]:
    """Every kernel of each problem's op in priority order: whether it runs it, why not, and how that is known."""
    rows = []
    for problem in problems:
        for kernel in kernels:
            if kernel.op != problem.op:
                continue
            verdict = kernel.check(problem, target)
            evidence = kernel.evidence_for(target.arch, evidence_dtype(problem))
            rows.append(
                {
                    "op": problem.op,
                    "problem": problem.describe(),
                    "kernel": kernel.name,
                    "accepted": isinstance(verdict, Accepted),
                    "reasons": [str(reason) for reason in verdict.reasons] if isinstance(verdict, Refused) else [],
                    "evidence": evidence.level,
                    "where": evidence.where,
                }
            )
    return rows
