"""Write docs/parsers.md from the golden messages and what the engines' parsers make of them. Run by `make pictures`.

python docs/make_parsers.py [FILE]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

GOLDEN = Path(__file__).parents[1] / "tests/golden"
HEAD = """# Reading GLM's answers

Made by `make pictures` from tests/golden, whose outcomes the tests hold in each engine's environment. An answer of
GLM-4.5 / 4.6 is thinking, text and tool calls; each of these messages was read whole, and streamed in every cut in two
and in pieces of every small size.

- `right`: thinking, text and calls as they were written, and the same in every cut.
- `wrong`: something else, the same in every cut; a line break of the layout that is left counts.
- `torn`: what comes out depends on where the answer is cut.

`vLLM` and `SGLang` are the engines' own parsers of the installed versions, as `--tool-call-parser glm45` (`glm` in
SGLang) and `--reasoning-parser glm45` name them; beside each is what the plug-in puts in their place. The parsers that
`glm47` names are the engines' own in either case.

"""
COLUMNS = (
    ("vLLM 0.32", "vllm", "stock"),
    ("with the plug-in", "vllm", "ours"),
    ("SGLang 0.5.23", "sglang", "stock"),
    ("with the plug-in", "sglang", "ours"),
)


def page() -> str:
    """The whole page."""
    messages = json.loads((GOLDEN / "messages.json").read_text(encoding="utf-8"))["messages"]
    outcomes = json.loads((GOLDEN / "outcomes.json").read_text(encoding="utf-8"))
    lines = ["| message | " + " | ".join(title for title, _, _ in COLUMNS) + " |", "| --- " * (len(COLUMNS) + 1) + "|"]
    for name in messages:
        shown = name.replace("<", "&lt;").replace(">", "&gt;")
        lines.append(f"| {shown} | " + " | ".join(outcomes[engine][whose][name] for _, engine, whose in COLUMNS) + " |")
    right = [sum(word == "right" for word in outcomes[engine][whose].values()) for _, engine, whose in COLUMNS]
    lines.append("| **right** | " + " | ".join(f"{number} of {len(messages)}" for number in right) + " |")
    return HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "parsers.md"
    target.write_text(page(), encoding="utf-8")
