"""`glm-rocm backends`: which kernel runs what on which hardware, why not, and how each is known to be right."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from glm_rocm.cli import options
from glm_rocm.cli.console import show, show_plain

ModelFlag = Annotated[
    str,
    typer.Option(
        "--model", metavar="MODEL", help="Whose shapes: a folder, a hub id, or `pocket`.", envvar="GLM_ROCM_MODEL"
    ),
]


def backends(
    target: options.Target = None,
    model: ModelFlag = "pocket",
    tp: options.Tp = None,
    kv_dtype: options.KvDtype = "auto",
    as_json: options.AsJson = False,
) -> None:
    """Every kernel for the target, held against the model's shapes on one rank. Works on any machine."""
    from glm_rocm.backends import candidates
    from glm_rocm.cli.planview import support_rows, support_view
    from glm_rocm.model import load_spec
    from glm_rocm.plan.problems import problems_of
    from glm_rocm.target import detect_target, parse_target

    card = parse_target(target) if target else detect_target()
    spec = load_spec(model)
    degree = tp or max(spec.valid_tps(card.count), default=1)
    cache = spec.dtype if kv_dtype == "auto" else (card.fp8_dtype or "float8_e4m3fn")
    pages = 128 if card.vendor == "cpu" else 16
    problems = problems_of(spec, degree, dtype=spec.dtype, kv_dtype=cache, block_size=pages)
    rows = support_rows(problems, candidates(card), card)
    if as_json:
        show_plain(json.dumps({"target": asdict(card), "model": spec.name, "tp": degree, "kernels": rows}, indent=1))
    else:
        show(support_view(rows, f"{spec.name} at TP {degree} on {card.describe()}"))
