"""How many cards a GLM needs: GLM's own table for H100 and H200 held against our sums, and the same for other cards.

`python -m glm_rocm.plan.gputable > docs/gpus.md` writes the page.
"""

from __future__ import annotations

from dataclasses import dataclass

from glm_rocm.model import KNOWN
from glm_rocm.plan.memory import MEMORY_FRACTION, Workload, estimate, smallest_tp
from glm_rocm.target import parse_target

CARDS = ("h100", "h200", "mi300x", "mi325x", "mi355x")

# GLM's conditions: MTP with 3 steps (4 draft tokens), no offload, at most 8 requests, weights and cache both in FP8
# (taken to hold for its FP8 rows). Its first table names no context: 8192 is taken. Its second says "full 128K".
REQUESTS = 8
MTP = 3
SHORT, FULL = 8192, 131072

README_COUNTS: dict[tuple[str, int], tuple[int, int]] = {
    ("zai-org/GLM-4.5", SHORT): (16, 8),
    ("zai-org/GLM-4.5-FP8", SHORT): (8, 4),
    ("zai-org/GLM-4.5-Air", SHORT): (4, 2),
    ("zai-org/GLM-4.5-Air-FP8", SHORT): (2, 1),
    ("zai-org/GLM-4.5", FULL): (32, 16),
    ("zai-org/GLM-4.5-FP8", FULL): (16, 8),
    ("zai-org/GLM-4.5-Air", FULL): (8, 4),
    ("zai-org/GLM-4.5-Air-FP8", FULL): (4, 2),
}
"""Counts of (H100, H200) in the README of zai-org/GLM-4.5, July 2025, by model and context."""

WHY_DIFFERENT: dict[tuple[str, int, str], str] = {
    ("zai-org/GLM-4.5-FP8", FULL, "h100"): (
        "GLM's second table doubles its first throughout; by our sum 8 hold it with 3 GB each to spare at vLLM's "
        "memory share of 0.92, which is about what the estimates may be off, and do not at the 0.7 of GLM's SGLang "
        "command"
    ),
}
"""Rows in which our count is not the README's, each with its reason."""


@dataclass(frozen=True)
class CountRow:
    """Cards of one kind for one model.

    Attributes:
        context: tokens of each of 8 requests.
        count: the smallest TP that fits; None where no TP does.
        spare: bytes left per card at `count`.
        readme: GLM's own count; None where its table has no such card.
        why: the reason where the two differ, else "".
    """

    model: str
    context: int
    card: str
    count: int | None
    spare: int
    readme: int | None
    why: str


def gpu_table() -> tuple[CountRow, ...]:
    """Every row: four checkpoints, two contexts, five cards."""
    return tuple(_row(model, context, card) for model, context in README_COUNTS for card in CARDS)


def workload(model: str, context: int, fraction: float = MEMORY_FRACTION) -> Workload:
    """GLM's conditions for its tables: 8 requests, MTP, an FP8 cache beside FP8 weights."""
    fp8 = KNOWN[model].quantization.scheme != "none"
    kv_dtype = "float8_e4m3fn" if fp8 else "bfloat16"
    return Workload(context, REQUESTS, REQUESTS, "bfloat16", kv_dtype, MTP, fraction)


def _row(model: str, context: int, card: str) -> CountRow:
    spec, target, work = KNOWN[model], parse_target(card), workload(model, context)
    count = smallest_tp(spec, target, work)
    spare = estimate(spec, target, count, work).free if count else 0
    readme = dict(zip(CARDS, README_COUNTS[model, context], strict=False)).get(card)
    return CountRow(model, context, card, count, spare, readme, WHY_DIFFERENT.get((model, context, card), ""))


def render() -> str:
    """docs/gpus.md."""
    rows = {(row.model, row.context, row.card): row for row in gpu_table()}
    lines = [
        "# How many cards",
        "",
        "Made by `python -m glm_rocm.plan.gputable`: the smallest tensor-parallel degree at which weights, KV cache,",
        "activations, graphs and runtime fit, counted by `glm_rocm/memory.py`. Conditions as in GLM's README: 8",
        "requests at once, MTP on, nothing in host memory, weights and cache both BF16 or both FP8. Weights and KV",
        "cache are exact, the rest is estimated, and no cell was measured on these cards: try one with little to",
        "spare before you buy it. In brackets: GB to spare per card.",
        "",
    ]
    for context, title in ((SHORT, "8 requests of 8K tokens"), (FULL, "8 requests of the full 128K tokens")):
        names = [parse_target(card).name for card in CARDS]
        lines += [f"## {title}", "", "| model | " + " | ".join(names) + " |", "| --- |" + " --- |" * len(names)]
        for model in dict.fromkeys(model for model, _ in README_COUNTS):
            cells = (_cell(rows[model, context, card]) for card in CARDS)
            lines.append(f"| {model.removeprefix('zai-org/')} | " + " | ".join(cells) + " |")
        lines.append("")
    lines += ["## Against GLM's README", ""]
    held = [row for row in rows.values() if row.readme is not None]
    equal = [row for row in held if row.count == row.readme]
    lines.append(f"GLM gives {len(held)} counts, for H100 and H200; {len(equal)} are the same here.")
    for row in held:
        if row.count != row.readme:
            where = f"{row.model.removeprefix('zai-org/')}, {row.context // 1024}K, {row.card.upper()}"
            lines.append(f"- {where}: GLM says {row.readme}, we say {row.count}. {_sentence(row.why)}")
    lines += [
        "",
        "GLM's first table names no context; 8K is ours. Where TP exceeds the 8 KV heads each head is kept by several",
        "cards, which is why BF16 at 128K takes 32 H100 and not 16; pipeline parallelism would avoid that and is not",
        "planned here. A count above 8 spans machines, of which `glm-rocm serve` starts one.",
    ]
    return "\n".join(lines) + "\n"


def _cell(row: CountRow) -> str:
    return f"{row.count} ({row.spare / 1e9:.0f})" if row.count else "none"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "." if text else ""


if __name__ == "__main__":
    print(render(), end="")
