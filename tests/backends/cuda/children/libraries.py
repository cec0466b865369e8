"""Hold recorded calls against the installed FlashInfer and XFormers: JSON in, JSON out. Needs no card."""

from __future__ import annotations

import importlib.metadata
import inspect
import json
import sys
import warnings
from typing import Any

warnings.simplefilter("ignore")


def functions() -> dict[str, Any]:
    import flashinfer
    from flashinfer.fused_moe import cutlass_fused_moe
    from xformers.ops import memory_efficient_attention_forward

    wrapper = flashinfer.BatchPrefillWithPagedKVCacheWrapper
    return {
        "prefill.__init__": wrapper.__init__,
        "prefill.plan": wrapper.plan,
        "prefill.run": wrapper.run,
        "cutlass_fused_moe": cutlass_fused_moe,
        "memory_efficient_attention_forward": memory_efficient_attention_forward,
    }


def bind(call: dict[str, Any], known: dict[str, Any]) -> str:
    """Empty where the library takes the call, else what it says."""
    method = call["function"].startswith("prefill.")
    try:
        bound = inspect.signature(known[call["function"]]).bind(
            *[None] * (call["positional"] + method), **dict.fromkeys(call["named"])
        )
    except TypeError as refused:
        return str(refused)
    stray = [
        name for name, kind in bound.signature.parameters.items() if kind.kind in (2, 4) and name in bound.arguments
    ]
    return f"taken by {stray} alone" if stray else ""


def mask(queries: list[int], lengths: list[int]) -> list[list[int]]:
    """What each query of XFormers' mask sees, 1 or 0, by our own call of it."""
    import torch

    from glm_rocm.backends.cuda.xformers_attention import causal_mask

    made = causal_mask(queries, lengths, torch.device("cpu"))
    seen = made.materialize((sum(queries), sum(lengths))) == 0
    found: list[list[int]] = seen.int().tolist()
    return found


def loading() -> str:
    """What our adapter says where XFormers' compiled part is for another PyTorch."""
    from glm_rocm.backends.cuda.xformers_attention import _forward

    try:
        _forward()
    except ImportError as error:
        return str(error)
    return "loaded"


def main() -> None:
    asked = json.load(sys.stdin)
    known = functions()
    answer = {
        "versions": {name: importlib.metadata.version(name) for name in ("flashinfer-python", "xformers")},
        "refused": [bind(call, known) for call in asked["calls"]],
        "mask": mask(*asked["mask"]),
        "loading": loading(),
        "orders": {name: list(inspect.signature(function).parameters) for name, function in known.items()},
    }
    print("RESULT " + json.dumps(answer))


main()
