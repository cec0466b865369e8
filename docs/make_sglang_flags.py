"""Write docs/sglang-flags.md from the table that `glm-rocm serve` translates by. Run by `make pictures`.

python docs/make_sglang_flags.py [FILE]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from glm_rocm.engines.sglang.flags import FLAGS, ROUTER_FLAGS, Flag

HEAD = """# GLM's SGLang commands, flag by flag

Made by `make pictures` from `glm_rocm/engines/sglang/flags.py`. GLM's README starts SGLang by hand; `glm-rocm serve`
takes the same flags as they stand there, and tells what became of them in the plan's notes:

    glm-rocm serve --engine sglang --model-path zai-org/GLM-4.5-Air --tp-size 8 --tool-call-parser glm45 \\
      --reasoning-parser glm45 --speculative-algorithm EAGLE --speculative-num-steps 3 --speculative-eagle-topk 1 \\
      --speculative-num-draft-tokens 4 --mem-fraction-static 0.7 --served-model-name glm-4.5-air --dry-run

The commands are those of the README for GLM-4.5 (July 2025), of its guide to GLM-4.6's tools and of the README for
GLM-4.7; `recipes of 2025` are flags that guides beside it used. Each present name was found in the argument parser of
SGLang 0.5.23 and sglang-router 0.3.2, and each dropped one was not.
"""
ROUTER = """
## The router of prefill and decode

`glm-rocm serve MODEL --engine sglang --disaggregate prefill=1,decode=1` starts both servers and the router.
"""
VALUES = " \\| "
COLUMNS = ("README's flag", "stands in", "SGLang 0.5.23", "`glm-rocm serve`", "remark")


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *_table(FLAGS), ROUTER, *_table(ROUTER_FLAGS)]) + "\n"


def _table(flags: Sequence[Flag]) -> Iterator[str]:
    yield "| " + " | ".join(COLUMNS) + " |"
    yield "| --- " * len(COLUMNS) + "|"
    for flag in flags:
        said = f"`{flag.name} {VALUES.join(flag.values)}`" if flag.values else f"`{flag.name}`"
        now = {"kept": "kept", "dropped": "dropped"}.get(flag.fate, f"`{flag.now}`")
        yield "| " + " | ".join((said, flag.where, now, _ours(flag), flag.remark)) + " |"


def _ours(flag: Flag) -> str:
    match flag.effect:
        case "same":
            return "as it is" if flag.ours == flag.name else f"part of `{flag.ours}`"
        case "pass":
            return "passed on"
        case "parser":
            return "part of every plan"
        case "refuse":
            return f"refused: `{flag.ours}`"
        case _:
            return flag.ours if flag.ours.isupper() else f"`{flag.ours}`"


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "sglang-flags.md"
    target.write_text(page(), encoding="utf-8")
